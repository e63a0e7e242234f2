/*-------------------------------------------------------------------------
 *
 * credentials.c
 *	  Who we are: access tokens of Google's.
 *
 * A key file of a service account signs a JWT, which is exchanged for a token
 * (developers.google.com, "Using OAuth 2.0 for Server to Server
 * Applications") or is one itself; the file of a user brings a refresh token;
 * the metadata server of a machine of Google's gives tokens away.  Without
 * option credentials_file these are looked for in the order of Google's own
 * libraries ("Application Default Credentials").
 *
 * A token is renewed some minutes before it ends, and once more when it is
 * refused.  Key files are read anew for each: keys are rotated under a
 * running server.  Neither keys nor tokens are ever part of a message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"
#include "../common/tl_auth.h"
#include "tlbq.h"

#define SCOPE				"https://www.googleapis.com/auth/bigquery"
#define ALL_SCOPE			"https://www.googleapis.com/auth/cloud-platform"
#define TOKEN_URI			"https://oauth2.googleapis.com/token"
#define METADATA_HOST		"metadata.google.internal"
#define METADATA_PATH		"/computeMetadata/v1/instance/service-accounts/default/token"
#define GCLOUD_FILE			".config/gcloud/application_default_credentials.json"

#define JWT_SECONDS			3600
#define RENEW_BEFORE_MS		300000
#define MAX_KEY_FILE		65536
#define MAX_ANSWER			65536

static bool renew(TlbqState *state, TlVerdict *verdict);
static bool find_key(TlbqState *state, StringInfo key, bool *found,
					 TlVerdict *verdict);
static bool read_key_file(const char *path, bool must_exist, StringInfo key,
						  bool *found, TlVerdict *verdict);
static const char *check_key_file(int fd);
static bool token_of_key(TlbqState *state, TlJson *key, TlVerdict *verdict);
static bool token_of_account(TlbqState *state, TlJson *key,
							 TlVerdict *verdict);
static const char *sign(StringInfo out, TlJson *key, const char *more);
static bool token_of_user(TlbqState *state, TlJson *key, TlVerdict *verdict);
static bool token_of_metadata(TlbqState *state, TlVerdict *verdict);
static bool exchange(TlbqState *state, TlJson *key, StringInfo form,
					 TlVerdict *verdict);
static bool take_token(TlbqState *state, const TlHttpReply *reply,
					   TlVerdict *verdict);
static void keep_token(TlbqState *state, const char *token, int64 seconds);
static bool ask(TlbqState *state, TlHttpRequest *request, TlHttpReply *reply,
				TlVerdict *verdict);

/* Adds up to two headers.  false: there is no token to be had. */
bool
tlbq_authorize(TlbqState *state, const char **headers, int *n,
			   TlVerdict *verdict)
{
	TlbqToken  *token = &state->token;

	if (state->auth == TLBQ_AUTH_NONE)
		return true;
	if ((token->bearer == NULL || tl_http_now_ms() >= token->renew_at) &&
		!renew(state, verdict))
		return false;
	headers[(*n)++] = psprintf("Authorization: Bearer %s", token->bearer);
	if (token->quota_project != NULL)
		headers[(*n)++] = psprintf("x-goog-user-project: %s",
								   token->quota_project);
	return true;
}

/* After a refusal.  false: another token would be no other. */
bool
tlbq_forget_token(TlbqState *state)
{
	TlbqToken  *token = &state->token;

	if (token->bearer == NULL)
		return false;
	explicit_bzero(token->bearer, strlen(token->bearer));
	pfree(token->bearer);
	token->bearer = NULL;
	return true;
}

static bool
renew(TlbqState *state, TlVerdict *verdict)
{
	StringInfoData text;
	bool		found = false;
	bool		ok;

	(void) tlbq_forget_token(state);
	initStringInfo(&text);
	if (state->auth != TLBQ_AUTH_METADATA &&
		!find_key(state, &text, &found, verdict))
		return false;
	if (found)
	{
		TlJson	   *key = tl_json_parse(text.data, text.len);

		explicit_bzero(text.data, text.len);
		ok = token_of_key(state, key, verdict);
	}
	else if (state->auth == TLBQ_AUTH_SELF_SIGNED)
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"auth=self_signed needs the key file of a service account: option \"credentials_file\"");
		return false;
	}
	else
		ok = token_of_metadata(state, verdict);
	return ok;
}

/* In the order of Google's libraries; the first that exists must be right. */
static bool
find_key(TlbqState *state, StringInfo key, bool *found, TlVerdict *verdict)
{
	const char *file = getenv("GOOGLE_APPLICATION_CREDENTIALS");
	const char *home = getenv("HOME");

	if (tlbq_core->option(state->session, "credentials_file") != NULL ||
		tlbq_core->option(state->session, "credentials_env") != NULL)
	{
		*found = tlbq_core->secret(state->session, "credentials", key);
		if (!*found)
			tl_fail(verdict, TL_CAUSE_AUTH, NULL,
					"option \"credentials\": its file or variable cannot be read");
		return *found;
	}
	if (file != NULL && file[0] != '\0')
		return read_key_file(file, true, key, found, verdict);
	if (home == NULL || home[0] != '/')
		return true;
	return read_key_file(psprintf("%s/" GCLOUD_FILE, home), false, key, found,
						 verdict);
}

static bool
read_key_file(const char *path, bool must_exist, StringInfo key, bool *found,
			  TlVerdict *verdict)
{
	int			fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	const char *wrong = NULL;
	ssize_t		n = 0;

	if (fd < 0 && errno == ENOENT && !must_exist)
		return true;
	enlargeStringInfo(key, MAX_KEY_FILE);
	if (fd < 0)
		wrong = psprintf("cannot be opened: %m");
	else
		wrong = check_key_file(fd);
	while (wrong == NULL && key->len < MAX_KEY_FILE &&
		   (n = read(fd, key->data + key->len, MAX_KEY_FILE - key->len)) > 0)
		key->len += n;
	if (wrong == NULL && n < 0)
		wrong = psprintf("cannot be read: %m");
	if (fd >= 0)
		close(fd);
	key->data[key->len] = '\0';
	*found = (wrong == NULL);
	if (wrong != NULL)
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"application default credentials: file \"%s\" %s", path,
				wrong);
	return wrong == NULL;
}

/* The rule of ssl_key_file, as for files that options name. */
static const char *
check_key_file(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return psprintf("cannot be read: %m");
	if (!S_ISREG(st.st_mode))
		return "is not a regular file";
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "belongs neither to the server's user nor to root";
	if (st.st_mode & (st.st_uid == geteuid() ? 0077 : 0037))
		return "can be read by others; its mode must be 0600, or 0640 if it is root's";
	return NULL;
}

static bool
token_of_key(TlbqState *state, TlJson *key, TlVerdict *verdict)
{
	const char *type = tl_json_get_text(key, "type");
	const char *quota = tl_json_get_text(key, "quota_project_id");

	if (state->token.quota_project != NULL)
		pfree(state->token.quota_project);
	state->token.quota_project = quota ?
		MemoryContextStrdup(state->session->mcxt, quota) : NULL;
	if (type != NULL && strcmp(type, "service_account") == 0)
		return token_of_account(state, key, verdict);
	if (state->auth == TLBQ_AUTH_SELF_SIGNED)
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"auth=self_signed needs the key file of a service account");
	else if (type != NULL && strcmp(type, "authorized_user") == 0)
		return token_of_user(state, key, verdict);
	else if (type == NULL)
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"the credentials are not a key file of Google's: they have no \"type\"");
	else
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"credentials of type \"%.40s\" are not supported: only service_account and authorized_user are",
				type);
	return false;
}

static bool
token_of_account(TlbqState *state, TlJson *key, TlVerdict *verdict)
{
	const char *uri = tl_json_get_text(key, "token_uri");
	StringInfoData jwt;
	StringInfoData more;
	const char *error;

	initStringInfo(&jwt);
	initStringInfo(&more);
	if (uri == NULL)
		uri = TOKEN_URI;
	if (state->auth == TLBQ_AUTH_SELF_SIGNED)
		appendStringInfoString(&more, "\"scope\":\"" ALL_SCOPE "\"");
	else
	{
		appendStringInfoString(&more, "\"scope\":\"" SCOPE "\",\"aud\":");
		tl_json_append_string(&more, uri, strlen(uri));
		appendStringInfoString(&jwt,
							   "grant_type=urn%3Aietf%3Aparams%3Aoauth%3A"
							   "grant-type%3Ajwt-bearer&assertion=");
	}
	error = sign(&jwt, key, more.data);
	if (error != NULL)
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL, "credentials: %s", error);
		return false;
	}
	if (state->auth != TLBQ_AUTH_SELF_SIGNED)
		return exchange(state, key, &jwt, verdict);
	keep_token(state, jwt.data, JWT_SECONDS);
	return true;
}

/* NULL, or what is wrong with the key file. */
static const char *
sign(StringInfo out, TlJson *key, const char *more)
{
	const char *email = tl_json_get_text(key, "client_email");
	const char *id = tl_json_get_text(key, "private_key_id");
	const char *pem = tl_json_get_text(key, "private_key");
	int64		now = (int64) time(NULL);
	StringInfoData header;
	StringInfoData claims;

	if (email == NULL || pem == NULL)
		return "the key file lacks \"client_email\" or \"private_key\"";
	initStringInfo(&header);
	initStringInfo(&claims);
	appendStringInfoString(&header, "{\"alg\":\"RS256\",\"typ\":\"JWT\"");
	if (id != NULL)
	{
		appendStringInfoString(&header, ",\"kid\":");
		tl_json_append_string(&header, id, strlen(id));
	}
	appendStringInfoChar(&header, '}');
	appendStringInfoString(&claims, "{\"iss\":");
	tl_json_append_string(&claims, email, strlen(email));
	appendStringInfoString(&claims, ",\"sub\":");
	tl_json_append_string(&claims, email, strlen(email));
	appendStringInfo(&claims, ",%s,\"iat\":" INT64_FORMAT ",\"exp\":"
					 INT64_FORMAT "}", more, now, now + JWT_SECONDS);
	return tl_sign_jwt(out, header.data, claims.data, pem, NULL);
}

static bool
token_of_user(TlbqState *state, TlJson *key, TlVerdict *verdict)
{
	static const char *const members[] = {
		"client_id", "client_secret", "refresh_token"
	};
	StringInfoData form;

	initStringInfo(&form);
	appendStringInfoString(&form, "grant_type=refresh_token");
	for (int i = 0; i < lengthof(members); i++)
	{
		const char *value = tl_json_get_text(key, members[i]);

		if (value == NULL)
		{
			tl_fail(verdict, TL_CAUSE_AUTH, NULL,
					"credentials: the file lacks \"%s\"", members[i]);
			return false;
		}
		appendStringInfo(&form, "&%s=", members[i]);
		tl_http_escape(&form, value);
	}
	return exchange(state, key, &form, verdict);
}

static bool
exchange(TlbqState *state, TlJson *key, StringInfo form, TlVerdict *verdict)
{
	const char *uri = tl_json_get_text(key, "token_uri");
	TlHttpRequest request = {.url = uri ? uri : TOKEN_URI,
		.content_type = "application/x-www-form-urlencoded",
	.body = form->data, .body_len = form->len};
	TlHttpReply reply;
	bool		ok;

	if (tl_url_is_open(request.url))
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"credentials: their \"token_uri\" is not an https address");
		return false;
	}
	ok = ask(state, &request, &reply, verdict) &&
		take_token(state, &reply, verdict);
	explicit_bzero(form->data, form->len);
	return ok;
}

/* Only a real metadata server sends the header back. */
static bool
token_of_metadata(TlbqState *state, TlVerdict *verdict)
{
	static const char *const headers[] = {"Metadata-Flavor: Google", NULL};
	const char *host = getenv("GCE_METADATA_HOST");
	TlHttpRequest request = {.headers = headers};
	TlHttpReply reply;
	StringInfoData flavor;

	request.url = psprintf("http://%s" METADATA_PATH,
						   host && host[0] ? host : METADATA_HOST);
	if (!ask(state, &request, &reply, verdict))
		return false;
	initStringInfo(&flavor);
	if (tl_http_header(state->tokens, "Metadata-Flavor", &flavor) &&
		strcmp(flavor.data, "Google") == 0)
		return take_token(state, &reply, verdict);
	tl_fail(verdict, TL_CAUSE_AUTH, NULL,
			"no metadata server of Google's answers; option \"credentials_file\" names a key file");
	return false;
}

static bool
ask(TlbqState *state, TlHttpRequest *request, TlHttpReply *reply,
	TlVerdict *verdict)
{
	request->max_reply = MAX_ANSWER;
	request->deadline = state->deadline;
	if (!tl_make_client(tlbq_core, state->session, &state->rest_settings,
						&state->tokens, verdict))
		return false;
	tl_http_perform(state->tokens, request, reply);
	if (reply->end == TL_HTTP_ANSWERED)
		return true;
	tlbq_fail_unanswered(reply, "could not get an access token: ", verdict);
	return false;
}

/* {"access_token": ..., "expires_in": 3599}, or {"error": ...} */
static bool
take_token(TlbqState *state, const TlHttpReply *reply, TlVerdict *verdict)
{
	TlJson	   *answer = tl_json_parse(reply->body, reply->body_len);
	const char *token = tl_json_get_text(answer, "access_token");
	const char *error = tl_json_get_text(answer, "error");
	const char *words = tl_json_get_text(answer, "error_description");

	if (reply->status == 200 && token != NULL && token[0] != '\0' &&
		strpbrk(token, "\r\n") == NULL)
	{
		keep_token(state, token,
				   tl_json_get_int64(answer, "expires_in", JWT_SECONDS));
		return true;
	}
	tl_fail(verdict, reply->status >= 500 ? TL_CAUSE_NETWORK :
			TL_CAUSE_AUTH, error,
			"could not get an access token: HTTP status %d%s%.100s%s%.200s",
			reply->status, error ? ": " : "", error ? error : "",
			words ? ": " : "", words ? words : "");
	return false;
}

/* NB: a token that ends soon is used for half of its time. */
static void
keep_token(TlbqState *state, const char *token, int64 seconds)
{
	int64		lives_ms = Max(Min(seconds, 86400), 1) * 1000;

	state->token.bearer = MemoryContextStrdup(state->session->mcxt, token);
	state->token.renew_at = tl_http_now_ms() +
		Max(lives_ms - RENEW_BEFORE_MS, lives_ms / 2);
}
