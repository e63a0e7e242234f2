/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Opening, closing and describing a session of Snowflake.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlsf.h"

#define DEFAULT_TIMEOUT		60000
#define DROP_MS				5000

static const char *parse_options(TlsfState *state);
static const char *parse_endpoint(TlsfState *state, const char *host);
static const char *parse_auth(TlsfState *state);
static const char *parse_mode(TlsfState *state);
static const char *parse_user(TlsfState *state);
static const char *parse_object(const TlsfState *state, const char *option,
								const char **value);
static bool has_secret(const TlsfState *state, const char *name);

/*
 * TlBackend.open: reads the options, connects to nothing.
 *
 * One requestId runs one statement, and a MERGE finds what an earlier one has
 * brought; only two at the same time might not see each other.  After twice
 * the time that a statement may take the core asks: see resolve.c.
 */
TlOutcome
tlsf_open(TlSession *session, TlVerdict *verdict)
{
	MemoryContext old = MemoryContextSwitchTo(session->mcxt);
	TlsfState  *state = palloc0(sizeof(TlsfState));
	const char *error;

	state->session = session;
	state->table_mcxt = AllocSetContextCreate(session->mcxt,
											  "tokenledger remote table",
											  ALLOCSET_SMALL_SIZES);
	error = parse_options(state);
	MemoryContextSwitchTo(old);
	session->private_state = state;
	session->guarantee = state->mode == TLSF_SQL &&
		!tlsf_left_streaming(session) ? TL_PER_BATCH : TL_PER_ATTEMPT;
	session->token_valid_ms = 2 * (int64) state->statement_timeout_ms;
	state->fence_until = tl_http_now_ms() + state->statement_timeout_ms;
	if (error == NULL)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/* Returns NULL, or what is wrong with the target's URL. */
static const char *
parse_options(TlsfState *state)
{
	TlSession  *session = state->session;
	const char *identifiers = tlsf_core->option(session, "identifiers");
	const char *margin = tlsf_core->option(session, "time_margin");
	bool		exact = identifiers && strcmp(identifiers, "exact") == 0;
	char	   *host;
	char	   *account;
	const char *error;

	state->statement_timeout_ms = tl_int_option(tlsf_core, session,
												"statement_timeout", 60000);
	state->timeout_ms = tl_int_option(tlsf_core, session, "timeout",
									  DEFAULT_TIMEOUT);
	state->time_margin_ms = margin ? strtoll(margin, NULL, 10) : 0;
	state->http_settings.ca_file = tlsf_core->option(session, "ca_file");
	state->http_settings.connect_timeout_ms =
		tl_int_option(tlsf_core, session, "connect_timeout", 10000);
	error = tlsf_parse_account(session->hosts, &host, &account);
	if (error != NULL)
		return error;
	state->jwt_account = account;
	error = tlsf_parse_name(session->path,
							tlsf_core->option(session, "table"), exact,
							&state->name);
	if (error == NULL)
		error = parse_endpoint(state, host);
	if (error == NULL)
		error = parse_object(state, "warehouse", &state->warehouse);
	if (error == NULL)
		error = parse_object(state, "role", &state->role);
	if (error == NULL)
		error = parse_auth(state);
	return error ? error : parse_mode(state);
}

static const char *
parse_endpoint(TlsfState *state, const char *host)
{
	const char *error;

	state->url = psprintf("https://%s.snowflakecomputing.com", host);
	error = tl_endpoint_option(tlsf_core, state->session, "endpoint",
							   &state->url);
	if (error == NULL && tl_url_is_open(state->url))
		return "option \"endpoint\" is not https: others could read the token";
	return error;
}

/* Exactly one way to say who we are. */
static const char *
parse_auth(TlsfState *state)
{
	bool		key = has_secret(state, "private_key");
	bool		oauth = has_secret(state, "oauth_token");
	bool		pat = has_secret(state, "pat");

	if (has_secret(state, "password"))
		return "Snowflake's SQL API takes no passwords: options \"private_key_file\", \"oauth_token_file\" and \"pat_file\" name what it takes";
	if (key + oauth + pat != 1)
		return key + oauth + pat == 0 ?
			"one of the options \"private_key_file\", \"oauth_token_file\" and \"pat_file\" is needed" :
			"options \"private_key_file\", \"oauth_token_file\" and \"pat_file\" exclude each other";
	if (has_secret(state, "private_key_passphrase") && !key)
		return "option \"private_key_passphrase_file\" goes with \"private_key_file\"";
	state->auth = key ? TLSF_KEY_PAIR : oauth ? TLSF_OAUTH : TLSF_PAT;
	return parse_user(state);
}

/* The token that streaming needs is given for a JWT only. */
static const char *
parse_mode(TlsfState *state)
{
	const char *mode = tlsf_core->option(state->session, "mode");

	state->mode = mode && strcmp(mode, "streaming") == 0 ?
		TLSF_STREAMING : TLSF_SQL;
	if (state->mode == TLSF_STREAMING && state->auth != TLSF_KEY_PAIR)
		return "mode=streaming needs a key pair: option \"private_key_file\"";
	return NULL;
}

/* Has this lane appended to a channel, and not been through a MERGE since? */
bool
tlsf_left_streaming(TlSession *session)
{
	Size		len = 0;
	bool		suspect;
	const void *data;

	if (session->role != TL_LANE)
		return false;
	data = tlsf_core->state(session, &len, &suspect);
	return data != NULL && len == strlen(TLSF_STREAMING_STATE) &&
		memcmp(data, TLSF_STREAMING_STATE, len) == 0;
}

/* From the option, or from where a URL has it. */
static const char *
parse_user(TlsfState *state)
{
	const char *option = tlsf_core->option(state->session, "user");
	const char *user = option ? option : state->session->user;
	char	   *upper;

	if (option != NULL && state->session->user != NULL &&
		strcmp(option, state->session->user) != 0)
		return "the URL and option \"user\" name two users";
	if (user == NULL || user[0] == '\0')
		return state->auth == TLSF_KEY_PAIR ?
			"option \"user\" is needed: whose key is it?" : NULL;
	upper = pstrdup(user);
	for (char *p = upper; *p != '\0'; p++)
		*p = pg_ascii_toupper((unsigned char) *p);
	state->user = upper;
	return NULL;
}

/* Of a name that the API takes as it is kept. */
static const char *
parse_object(const TlsfState *state, const char *option, const char **value)
{
	const char *text = tlsf_core->option(state->session, option);

	if (text == NULL)
		return NULL;
	*value = tlsf_identifier(text, state->name.exact);
	return *value != NULL ? NULL :
		psprintf("option \"%s\" must be a name that needs no quotes in SQL; option identifiers=exact takes others",
				 option);
}

static bool
has_secret(const TlsfState *state, const char *name)
{
	return tlsf_core->option(state->session,
							 psprintf("%s_file", name)) != NULL ||
		tlsf_core->option(state->session, psprintf("%s_env", name)) != NULL;
}

/*
 * TlBackend.close: what is foreign hangs on session->mcxt.  A lane that will
 * not come back has no unknown outcome; its channel may have been opened by
 * an earlier session.
 */
void
tlsf_close(TlSession *session, bool retire)
{
	TlsfState  *state = session->private_state;

	if (retire && state->auth == TLSF_KEY_PAIR &&
		(state->channel.open || tlsf_left_streaming(session)))
	{
		state->deadline = tl_http_now_ms() + DROP_MS;
		tlsf_drop_channel(state);
	}
	(void) tlsf_forget_token(state);
	(void) tlsf_drop_token(&state->scoped);
}

/* To be called at the start of each callback: the clock starts. */
TlsfState *
tlsf_begin(TlSession *session)
{
	TlsfState  *state = session->private_state;

	state->deadline = tl_http_now_ms() + state->timeout_ms;
	return state;
}

/* Until tl_http_now_ms() says so.  false: the core wants its process back. */
bool
tlsf_sleep(TlsfState *state, int64 until)
{
	int64		left;

	while ((left = until - tl_http_now_ms()) > 0)
		if (tlsf_core->wait(state->session, NULL, 0, (long) left) ==
			TL_WAKE_STOP)
			return false;
	return true;
}

/* TlBackend.check_health: needs no warehouse. */
TlOutcome
tlsf_check_health(TlSession *session, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);

	return tlsf_run(state, "SELECT CURRENT_VERSION()", verdict) ?
		TL_OK : TL_RETRY;
}

/* TlBackend.describe */
void
tlsf_describe(TlSession *session, TlPairCB emit, void *arg)
{
	static const char *const auths[] = {
		[TLSF_KEY_PAIR] = "key pair", [TLSF_OAUTH] = "OAuth",
		[TLSF_PAT] = "programmatic access token"
	};
	TlsfState  *state = session->private_state;

	emit(arg, "account", state->jwt_account);
	emit(arg, "database", state->name.database);
	emit(arg, "schema", state->name.schema);
	emit(arg, "table", state->name.table);
	emit(arg, "mode", state->mode == TLSF_STREAMING ? "streaming" : "sql");
	emit(arg, "auth", auths[state->auth]);
	emit(arg, "endpoint", state->url);
	if (state->warehouse != NULL)
		emit(arg, "warehouse", state->warehouse);
	if (state->role != NULL)
		emit(arg, "role", state->role);
}
