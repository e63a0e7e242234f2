/*-------------------------------------------------------------------------
 *
 * streaming.c
 *	  Requests of Snowpipe Streaming (the high-performance architecture, by
 *	  REST).
 *
 * The account's address tells which host takes rows, and gives a token that
 * is good for that host only (Snowflake's documentation, "Snowpipe Streaming
 * REST API").  Both are answered as bare text by some servers and within JSON
 * by the documentation: either is taken.
 *
 * Every append names the continuation token of the one before, so that it is
 * taken once, in order, and only while nobody else has opened the channel.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/memutils.h"
#include "../common/tl_auth.h"
#include "tlsf.h"

#define MAX_ANSWER			(1024 * 1024)
#define RENEW_BEFORE_MS		60000
#define DEFAULT_LIFE_MS		(10 * 60 * 1000)
#define GRANT				"grant_type=urn%3Aietf%3Aparams%3Aoauth%3A" \
							"grant-type%3Ajwt-bearer&scope="

static bool find_host(TlsfState *state, TlVerdict *verdict);
static bool ask_account(TlsfState *state, TlHttpRequest *request,
						const char *member, char **text, TlVerdict *verdict);
static bool ask_once(TlsfState *state, TlHttpRequest *request,
					 TlHttpReply *reply, TlVerdict *verdict);
static char *bare_text(const TlHttpReply *reply, const char *member);
static bool is_host(const char *text);
static bool renew_scoped(TlsfState *state, TlVerdict *verdict);
static int64 token_life_ms(const char *token);
static bool perform(TlsfState *state, TlHttpRequest *request,
					TlHttpReply *reply, bool *sent, TlVerdict *verdict);

/* The pipe that Snowflake makes for each table, and the lane's channel. */
char *
tlsf_channel_path(const TlsfState *state, const char *prefix,
				  const char *suffix)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "%s/databases/", prefix);
	tl_http_escape(&path, state->name.database);
	appendStringInfoString(&path, "/schemas/");
	tl_http_escape(&path, state->name.schema);
	appendStringInfoString(&path, "/pipes/");
	tl_http_escape(&path, psprintf("%s-STREAMING", state->name.table));
	appendStringInfoString(&path, suffix);
	return path.data;
}

/*
 * As tlsf_rest, at the host that takes rows.  encoding: of the body; NULL:
 * none.
 */
bool
tlsf_ingest(TlsfState *state, const char *method, const char *path,
			const char *content_type, const char *encoding, StringInfo body,
			TlJson **answer, TlsfError *error, bool *sent,
			TlVerdict *verdict)
{
	TlHttpReply reply;

	memset(error, 0, sizeof(*error));
	error->outcome = TL_UNKNOWN;
	error->cause = TL_CAUSE_NETWORK;
	*sent = false;
	for (int attempt = 1;; attempt++)
	{
		const char *headers[5];
		TlHttpRequest request = {.method = method, .headers = headers,
			.content_type = content_type, .max_reply = MAX_ANSWER,
		.deadline = state->deadline, .decode = true};
		int			n = 0;

		if (!find_host(state, verdict) || !renew_scoped(state, verdict))
			return false;
		headers[n++] = psprintf("Authorization: Bearer %s",
								state->scoped.bearer);
		headers[n++] = "X-Snowflake-Authorization-Token-Type: OAUTH";
		headers[n++] = "User-Agent: tokenledger";
		if (encoding != NULL)
			headers[n++] = psprintf("Content-Encoding: %s", encoding);
		headers[n] = NULL;
		request.url = psprintf("%s%s", state->ingest_url, path);
		request.body = body->data;
		request.body_len = body->len;
		if (!perform(state, &request, &reply, sent, verdict))
			return false;
		*answer = tl_json_parse(reply.body, reply.body_len);
		if (reply.status == 200 && *answer != NULL)
			return true;
		tlsf_classify_streaming(reply.status,
								tl_json_get_text(*answer, "code"),
								tl_json_get_text(*answer, "message"), error);
		if (!error->unauthenticated || attempt > 1)
			break;
		tlsf_drop_token(&state->scoped);
	}
	*sent = (error->outcome == TL_UNKNOWN);
	tlsf_record_error(error, verdict);
	return false;
}

static bool
perform(TlsfState *state, TlHttpRequest *request, TlHttpReply *reply,
		bool *sent, TlVerdict *verdict)
{
	if (!tl_make_client(tlsf_core, state->session, &state->http_settings,
						&state->ingest, verdict))
		return false;
	tl_http_perform(state->ingest, request, reply);
	*sent = reply->sent;
	if (reply->end == TL_HTTP_ANSWERED)
		return true;
	tlsf_fail_unanswered(reply, verdict);
	return false;
}

/* Once a session; and anew when it is opened anew. */
static bool
find_host(TlsfState *state, TlVerdict *verdict)
{
	TlHttpRequest request = {0};
	char	   *host;

	if (state->ingest_url != NULL)
		return true;
	request.url = psprintf("%s/v2/streaming/hostname", state->url);
	if (!ask_account(state, &request, "hostname", &host, verdict))
		return false;
	for (char *p = host; *p != '\0'; p++)
		if (*p == '_')
			*p = '-';
	if (!is_host(host))
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"Snowflake named no host that takes rows");
		return false;
	}
	state->ingest_host = MemoryContextStrdup(state->session->mcxt, host);
	state->ingest_url =
		MemoryContextStrdup(state->session->mcxt,
							psprintf("%.*s%s",
									 (int) (strstr(state->url, "://") + 3 -
											state->url),
									 state->url, host));
	return true;
}

/* NB: rows and a token are sent there. */
static bool
is_host(const char *text)
{
	Size		len = strlen(text);

	return len > 0 && len < 256 &&
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789.-:") == len;
}

/* The answer's text, or that of its member; not empty. */
static bool
ask_account(TlsfState *state, TlHttpRequest *request, const char *member,
			char **text, TlVerdict *verdict)
{
	TlHttpReply reply;
	TlsfError	error;

	for (int attempt = 1;; attempt++)
	{
		TlJson	   *answer;

		if (!ask_once(state, request, &reply, verdict))
			return false;
		if (reply.status == 200)
			break;
		answer = tl_json_parse(reply.body, reply.body_len);
		tlsf_classify(reply.status, tl_json_get_text(answer, "code"), NULL,
					  tl_json_get_text(answer, "message"), &error);
		if (!error.unauthenticated || attempt > 1 ||
			!tlsf_forget_token(state))
		{
			tlsf_record_error(&error, verdict);
			return false;
		}
	}
	*text = bare_text(&reply, member);
	if (*text[0] != '\0')
		return true;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer has no \"%s\"", member);
	return false;
}

static bool
ask_once(TlsfState *state, TlHttpRequest *request, TlHttpReply *reply,
		 TlVerdict *verdict)
{
	const char *headers[4];
	int			n = 0;

	if (!tl_make_client(tlsf_core, state->session, &state->http_settings,
						&state->http, verdict) ||
		!tlsf_authorize(state, headers, &n, verdict))
		return false;
	headers[n++] = "User-Agent: tokenledger";
	headers[n] = NULL;
	request->headers = headers;
	request->max_reply = MAX_ANSWER;
	request->deadline = state->deadline;
	request->decode = true;
	tl_http_perform(state->http, request, reply);
	if (reply->end == TL_HTTP_ANSWERED)
		return true;
	tlsf_fail_unanswered(reply, verdict);
	return false;
}

/* text, "text", or {"member": "text"}, without space around it. */
static char *
bare_text(const TlHttpReply *reply, const char *member)
{
	static const char space[] = " \t\r\n\"";
	TlJson	   *answer = tl_json_parse(reply->body, reply->body_len);
	const char *value = tl_json_get_text(answer, member);
	char	   *text = value ? pstrdup(value) :
		pnstrdup(reply->body, reply->body_len);
	Size		len;

	text += strspn(text, space);
	len = strlen(text);
	while (len > 0 && strchr(space, text[len - 1]) != NULL)
		text[--len] = '\0';
	if (strpbrk(text, "{}\r\n") != NULL)
		text[0] = '\0';
	return text;
}

/* A token for the host that takes rows. */
static bool
renew_scoped(TlsfState *state, TlVerdict *verdict)
{
	TlHttpRequest request = {
	.content_type = "application/x-www-form-urlencoded"};
	StringInfoData form;
	char	   *token;

	if (state->scoped.bearer != NULL &&
		tl_http_now_ms() < state->scoped.renew_at)
		return true;
	tlsf_drop_token(&state->scoped);
	initStringInfo(&form);
	appendStringInfoString(&form, GRANT);
	tl_http_escape(&form, state->ingest_host);
	request.url = psprintf("%s/oauth/token", state->url);
	request.body = form.data;
	request.body_len = form.len;
	if (!ask_account(state, &request, "token", &token, verdict))
		return false;
	state->scoped.bearer = MemoryContextStrdup(state->session->mcxt, token);
	state->scoped.renew_at = tl_http_now_ms() + token_life_ms(token);
	explicit_bzero(token, strlen(token));
	return true;
}

/* As the token says it, if it is a JWT; half of it where that is short. */
static int64
token_life_ms(const char *token)
{
	const char *claims = strchr(token, '.');
	const char *end = claims ? strchr(claims + 1, '.') : NULL;
	StringInfoData text;
	TlJson	   *json;
	int64		left;

	initStringInfo(&text);
	if (end == NULL ||
		!tl_base64_decode(&text, claims + 1, end - claims - 1))
		return DEFAULT_LIFE_MS;
	json = tl_json_parse(text.data, text.len);
	left = (tl_json_get_int64(json, "exp", 0) - (int64) time(NULL)) * 1000;
	return left <= 0 ? DEFAULT_LIFE_MS :
		Max(left - RENEW_BEFORE_MS, left / 2);
}
