/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Opening, closing and describing a session of BigQuery.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlbq.h"

#define DEFAULT_TIMEOUT		60000
#define REST_URL			"https://bigquery.googleapis.com"
#define GRPC_URL			"https://bigquerystorage.googleapis.com"

static const char *parse_options(TlbqState *state);
static const char *parse_endpoints(TlbqState *state);
static const char *parse_endpoint(TlbqState *state, const char *option,
								  const char *otherwise, const char **url);
static const char *parse_mode(TlbqState *state);
static const char *parse_auth(TlbqState *state);

/* TlBackend.open: reads the options, connects to nothing. */
TlOutcome
tlbq_open(TlSession *session, TlVerdict *verdict)
{
	MemoryContext old = MemoryContextSwitchTo(session->mcxt);
	TlbqState  *state = palloc0(sizeof(TlbqState));
	const char *error;

	state->session = session;
	state->table_mcxt = AllocSetContextCreate(session->mcxt,
											  "tokenledger remote table",
											  ALLOCSET_SMALL_SIZES);
	error = parse_options(state);
	MemoryContextSwitchTo(old);
	session->private_state = state;
	session->guarantee = TL_PER_ATTEMPT;
	if (error == NULL)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/* Returns NULL, or what is wrong with the target's URL. */
static const char *
parse_options(TlbqState *state)
{
	TlSession  *session = state->session;
	const char *error;

	error = tlbq_parse_name(session->hosts, session->path,
							tlbq_core->option(session, "table"),
							&state->name);
	if (error == NULL)
		error = parse_endpoints(state);
	if (error == NULL)
		error = parse_mode(state);
	if (error == NULL)
		error = parse_auth(state);
	if (error != NULL)
		return error;
	state->location = tlbq_core->option(session, "location");
	state->expiration_days = tl_int_option(tlbq_core, session, "expiration",
										   90);
	state->timeout_ms = tl_int_option(tlbq_core, session, "timeout",
									  DEFAULT_TIMEOUT);
	state->rest_settings.ca_file = tlbq_core->option(session, "ca_file");
	state->rest_settings.connect_timeout_ms =
		tl_int_option(tlbq_core, session, "connect_timeout", 10000);
	state->grpc_settings = state->rest_settings;
	state->grpc_settings.http2 = true;
	return NULL;
}

/* An emulator has two; one alone would send half of it to Google. */
static const char *
parse_endpoints(TlbqState *state)
{
	TlSession  *session = state->session;
	const char *error;

	if ((tlbq_core->option(session, "endpoint") == NULL) !=
		(tlbq_core->option(session, "grpc_endpoint") == NULL))
		return "options \"endpoint\" and \"grpc_endpoint\" go together";
	error = parse_endpoint(state, "endpoint", REST_URL, &state->rest_url);
	return error ? error : parse_endpoint(state, "grpc_endpoint", GRPC_URL,
										  &state->grpc_url);
}

static const char *
parse_endpoint(TlbqState *state, const char *option, const char *otherwise,
			   const char **url)
{
	TlSession  *session = state->session;
	const char *auth = tlbq_core->option(session, "auth");
	const char *error;

	*url = otherwise;
	error = tl_endpoint_option(tlbq_core, session, option, url);
	if (error != NULL)
		return error;
	if (tl_url_is_open(*url) && (auth == NULL || strcmp(auth, "none") != 0))
		return psprintf("option \"%s\" is not https: others could read the access token; without one, say auth=none",
						option);
	return NULL;
}

static const char *
parse_mode(TlbqState *state)
{
	const char *mode = tlbq_core->option(state->session, "mode");

	state->mode = TLBQ_COMMITTED;
	for (int i = TLBQ_COMMITTED; mode != NULL && i <= TLBQ_INSERTALL; i++)
		if (strcmp(mode, tlbq_mode_name(i)) == 0)
			state->mode = i;
	state->ask = tl_bool_option(tlbq_core, state->session, "resolve", true);
	if (!state->ask && state->mode != TLBQ_DEFAULT &&
		state->mode != TLBQ_INSERTALL)
		return "resolve=off is for mode=default and mode=insertall only: the others know without asking";
	return NULL;
}

static const char *
parse_auth(TlbqState *state)
{
	TlSession  *session = state->session;
	const char *auth = tlbq_core->option(session, "auth");

	if (auth == NULL || strcmp(auth, "auto") == 0)
		state->auth = TLBQ_AUTH_AUTO;
	else if (strcmp(auth, "self_signed") == 0)
		state->auth = TLBQ_AUTH_SELF_SIGNED;
	else if (strcmp(auth, "metadata") == 0)
		state->auth = TLBQ_AUTH_METADATA;
	else
		state->auth = TLBQ_AUTH_NONE;
	if (state->auth == TLBQ_AUTH_NONE &&
		tlbq_core->option(session, "endpoint") == NULL)
		return "auth=none is for an emulator: options \"endpoint\" and \"grpc_endpoint\" say where it is";
	return NULL;
}

/*
 * TlBackend.close: what is foreign hangs on session->mcxt.  A lane that will
 * not come back has no unknown outcome, and BigQuery forgets its stream by
 * itself: there is nothing to be waited for.
 */
void
tlbq_close(TlSession *session, bool retire)
{
	TlbqState  *state = session->private_state;

	(void) tlbq_forget_token(state);
}

/* To be called at the start of each callback: the clock starts. */
TlbqState *
tlbq_begin(TlSession *session)
{
	TlbqState  *state = session->private_state;

	state->deadline = tl_http_now_ms() + state->timeout_ms;
	return state;
}

/* TlBackend.check_health: does the dataset let us in? */
TlOutcome
tlbq_check_health(TlSession *session, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	TlbqError	error;
	TlJson	   *answer;
	bool		sent;

	return tlbq_rest(state, "GET",
					 psprintf("/projects/%s/datasets/%s", state->name.project,
							  state->name.dataset),
					 NULL, NULL, &answer, &error, &sent, verdict) ?
		TL_OK : TL_RETRY;
}

/* TlBackend.describe */
void
tlbq_describe(TlSession *session, TlPairCB emit, void *arg)
{
	static const char *const auths[] = {
		[TLBQ_AUTH_AUTO] = "auto", [TLBQ_AUTH_SELF_SIGNED] = "self_signed",
		[TLBQ_AUTH_METADATA] = "metadata", [TLBQ_AUTH_NONE] = "none"
	};
	TlbqState  *state = session->private_state;

	emit(arg, "project", state->name.project);
	emit(arg, "dataset", state->name.dataset);
	emit(arg, "table", state->name.table);
	emit(arg, "mode", tlbq_mode_name(state->mode));
	emit(arg, "auth", auths[state->auth]);
	emit(arg, "endpoint", state->rest_url);
	emit(arg, "grpc_endpoint", state->grpc_url);
}
