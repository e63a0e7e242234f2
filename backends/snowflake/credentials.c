/*-------------------------------------------------------------------------
 *
 * credentials.c
 *	  Who we are: a JWT of our own, or somebody else's token.
 *
 * With a key pair the server signs a JWT by itself (Snowflake's
 * documentation, "Authenticating to the server"): it names the account, the
 * user and the key's fingerprint, and lives an hour at most, whatever it
 * says.  A token of OAuth or a programmatic access token is read from its
 * file; whoever renews it replaces the file.
 *
 * Files are read anew for each token, and once more when it is refused: keys
 * are rotated under a running server.  Neither keys nor tokens are ever part
 * of a message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/memutils.h"
#include "../common/tl_auth.h"
#include "tlsf.h"

#define JWT_SECONDS			(59 * 60)
#define JWT_RENEW_MS		(50 * 60 * 1000)
#define FILE_RENEW_MS		(60 * 1000)

static bool renew(TlsfState *state, TlVerdict *verdict);
static bool token_of_key(TlsfState *state, TlVerdict *verdict);
static const char *sign(const TlsfState *state, const char *key,
						const char *passphrase, StringInfo jwt);
static void append_claims(StringInfo out, const TlsfState *state,
						  const char *fingerprint);
static bool token_of_file(TlsfState *state, const char *secret,
						  TlVerdict *verdict);
static void keep_token(TlsfState *state, const char *token, int64 lives_ms);
static void wipe(StringInfo secret);

/* Adds two headers.  false: there is no token to be had. */
bool
tlsf_authorize(TlsfState *state, const char **headers, int *n,
			   TlVerdict *verdict)
{
	static const char *const types[] = {
		[TLSF_KEY_PAIR] = "X-Snowflake-Authorization-Token-Type: KEYPAIR_JWT",
		[TLSF_OAUTH] = "X-Snowflake-Authorization-Token-Type: OAUTH",
		[TLSF_PAT] = "X-Snowflake-Authorization-Token-Type: PROGRAMMATIC_ACCESS_TOKEN"
	};

	if ((state->token.bearer == NULL ||
		 tl_http_now_ms() >= state->token.renew_at) &&
		!renew(state, verdict))
		return false;
	headers[(*n)++] = psprintf("Authorization: Bearer %s",
							   state->token.bearer);
	headers[(*n)++] = types[state->auth];
	return true;
}

/* After a refusal.  false: there is none. */
bool
tlsf_forget_token(TlsfState *state)
{
	return tlsf_drop_token(&state->token);
}

bool
tlsf_drop_token(TlsfToken *token)
{
	if (token->bearer == NULL)
		return false;
	explicit_bzero(token->bearer, strlen(token->bearer));
	pfree(token->bearer);
	token->bearer = NULL;
	return true;
}

static bool
renew(TlsfState *state, TlVerdict *verdict)
{
	(void) tlsf_forget_token(state);
	switch (state->auth)
	{
		case TLSF_KEY_PAIR:
			return token_of_key(state, verdict);
		case TLSF_OAUTH:
			return token_of_file(state, "oauth_token", verdict);
		case TLSF_PAT:
			return token_of_file(state, "pat", verdict);
	}
	return false;
}

static bool
token_of_key(TlsfState *state, TlVerdict *verdict)
{
	TlSession  *session = state->session;
	StringInfoData key;
	StringInfoData passphrase;
	StringInfoData jwt;
	const char *error = NULL;
	bool		encrypted;

	initStringInfo(&key);
	initStringInfo(&passphrase);
	initStringInfo(&jwt);
	encrypted =
		tlsf_core->option(session, "private_key_passphrase_file") != NULL ||
		tlsf_core->option(session, "private_key_passphrase_env") != NULL;
	if (!tlsf_core->secret(session, "private_key", &key))
		error = "option \"private_key_file\": the key cannot be read";
	else if (encrypted && !tlsf_core->secret(session,
											 "private_key_passphrase",
											 &passphrase))
		error = "option \"private_key_passphrase_file\": the passphrase cannot be read";
	else
		error = sign(state, key.data, encrypted ? passphrase.data : NULL,
					 &jwt);
	wipe(&key);
	wipe(&passphrase);
	if (error != NULL)
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL, "%s", error);
		return false;
	}
	keep_token(state, jwt.data, JWT_RENEW_MS);
	wipe(&jwt);
	return true;
}

/* NULL, or what is wrong with the key. */
static const char *
sign(const TlsfState *state, const char *key, const char *passphrase,
	 StringInfo jwt)
{
	StringInfoData fingerprint;
	StringInfoData claims;
	const char *error;

	initStringInfo(&fingerprint);
	error = tl_key_fingerprint(&fingerprint, key, passphrase);
	if (error != NULL)
		return error;
	initStringInfo(&claims);
	append_claims(&claims, state, fingerprint.data);
	return tl_sign_jwt(jwt, "{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
					   claims.data, key, passphrase);
}

static void
append_claims(StringInfo out, const TlsfState *state, const char *fingerprint)
{
	char	   *subject = psprintf("%s.%s", state->jwt_account, state->user);
	char	   *issuer = psprintf("%s.SHA256:%s", subject, fingerprint);
	int64		now = (int64) time(NULL);

	appendStringInfoString(out, "{\"iss\":");
	tl_json_append_string(out, issuer, strlen(issuer));
	appendStringInfoString(out, ",\"sub\":");
	tl_json_append_string(out, subject, strlen(subject));
	appendStringInfo(out, ",\"iat\":" INT64_FORMAT ",\"exp\":" INT64_FORMAT
					 "}", now, now + JWT_SECONDS);
}

static bool
token_of_file(TlsfState *state, const char *secret, TlVerdict *verdict)
{
	StringInfoData token;
	bool		ok;

	initStringInfo(&token);
	ok = tlsf_core->secret(state->session, secret, &token) && token.len > 0 &&
		strpbrk(token.data, " \t\r\n") == NULL;
	if (ok)
		keep_token(state, token.data, FILE_RENEW_MS);
	else
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"option \"%s_file\": there is no token to be read", secret);
	wipe(&token);
	return ok;
}

static void
keep_token(TlsfState *state, const char *token, int64 lives_ms)
{
	state->token.bearer = MemoryContextStrdup(state->session->mcxt, token);
	state->token.renew_at = tl_http_now_ms() + lives_ms;
}

static void
wipe(StringInfo secret)
{
	explicit_bzero(secret->data, secret->maxlen);
}
