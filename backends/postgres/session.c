/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Opening, closing and describing a session of the libpq backends.
 *
 * The state lives in session->mcxt.  What libpq allocated hangs on a reset
 * callback of that context, registered before any of it exists, so that a
 * session which the core drops after an error leaks neither a connection nor
 * a file descriptor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlpg.h"

#define DEFAULT_PORT		"5432"
#define DEFAULT_TIMEOUT		30000

static void release_state(void *arg);
static const char *parse_options(TlpgState *state);
static int	parse_target_hosts(TlpgState *state);
static void describe_connection(TlpgState *state, TlPairCB emit, void *arg);

/* TlBackend.open: reads the options, connects to nothing. */
TlOutcome
tlpg_open(TlSession *session, TlVerdict *verdict)
{
	MemoryContext old = MemoryContextSwitchTo(session->mcxt);
	TlpgState  *state = palloc0(sizeof(TlpgState));
	const char *error;

	state->session = session;
	state->reset.func = release_state;
	state->reset.arg = state;
	MemoryContextRegisterResetCallback(session->mcxt, &state->reset);
	state->table_mcxt = AllocSetContextCreate(session->mcxt,
											  "tokenledger remote table",
											  ALLOCSET_SMALL_SIZES);
	error = parse_options(state);
	MemoryContextSwitchTo(old);
	session->private_state = state;
	session->guarantee = TL_PER_ATTEMPT;
	if (error == NULL)
		return TL_OK;
	tlpg_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/* The contexts below the session's are already gone. */
static void
release_state(void *arg)
{
	TlpgState  *state = arg;

	state->table_mcxt = NULL;
	tlpg_disconnect(state);
}

/* Returns NULL, or what is wrong with the target's URL. */
static const char *
parse_options(TlpgState *state)
{
	TlSession  *session = state->session;
	const char *table = tlpg_core->option(session, "table");
	const char *timeout = tlpg_core->option(session, "timeout");
	const char *error;

	if (session->path == NULL || session->path[0] == '\0')
		return "the target's URL names no database";
	if (session->hosts != NULL && session->hosts[0] != '\0' &&
		tlpg_core->option(session, "host") != NULL)
		return "the target's URL names a host twice, as such and as option \"host\"";
	if ((session->hosts == NULL || session->hosts[0] == '\0') &&
		tlpg_core->option(session, "host") == NULL &&
		tlpg_core->option(session, "hostaddr") != NULL)
		return "option \"hostaddr\" is the address of a host that the target's URL must name";

	error = tlpg_parse_table(table ? table : tlpg_dialect.default_table,
							 &state->table);
	if (error != NULL)
		return psprintf("option \"table\" %s", error);

	state->nhosts = parse_target_hosts(state);
	if (state->nhosts == 0)
		return "the target's URL has a malformed list of hosts";
	state->timeout_ms = timeout ? atoi(timeout) : 0;
	if (state->timeout_ms <= 0)
		state->timeout_ms = DEFAULT_TIMEOUT;
	return NULL;
}

/* From the URL, or from the options host and port; else a local socket. */
static int
parse_target_hosts(TlpgState *state)
{
	TlSession  *session = state->session;
	const char *host = tlpg_core->option(session, "host");
	const char *port = tlpg_core->option(session, "port");

	if (port == NULL)
		port = DEFAULT_PORT;
	if (session->hosts != NULL && session->hosts[0] != '\0')
		return tlpg_parse_hosts(session->hosts, port, &state->hosts);
	if (host != NULL && strchr(host, ',') != NULL)
		return tlpg_parse_hosts(host, port, &state->hosts);

	/* An empty host is libpq's own default directory. */
	state->hosts = palloc(sizeof(TlpgHost));
	state->hosts->host = pstrdup(host ? host : "");
	state->hosts->port = pstrdup(port);
	return 1;
}

/*
 * TlBackend.close.  There is nothing to retire: whatever a lane holds on the
 * server ends with its transaction.
 */
void
tlpg_close(TlSession *session, bool retire)
{
	tlpg_disconnect(session->private_state);
}

/* To be called at the start of each callback: the clock starts. */
TlpgState *
tlpg_begin(TlSession *session)
{
	TlpgState  *state = session->private_state;

	state->deadline = tlpg_now_ms() + state->timeout_ms;
	return state;
}

/* TlBackend.check_health: is there a server that takes writes? */
TlOutcome
tlpg_check_health(TlSession *session, TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);

	if (!tlpg_connect(state, verdict) ||
		!tlpg_query(state, "SELECT pg_catalog.current_setting("
					"'transaction_read_only')", NULL, verdict))
		return TL_RETRY;
	if (strcmp(PQgetvalue(state->rows, 0, 0), "on") != 0)
		return TL_OK;
	tlpg_fail(verdict, TL_CAUSE_CONFIG, "25006",
			  "the server is a standby, or read-only by its settings");
	return TL_RETRY;
}

/* TlBackend.describe */
void
tlpg_describe(TlSession *session, TlPairCB emit, void *arg)
{
	TlpgState  *state = session->private_state;
	TlpgHost   *host = &state->hosts[state->host];
	StringInfoData hosts;

	initStringInfo(&hosts);
	for (int i = 0; i < state->nhosts; i++)
		appendStringInfo(&hosts, "%s%s:%s", i > 0 ? "," : "",
						 state->hosts[i].host, state->hosts[i].port);
	emit(arg, "hosts", hosts.data);
	emit(arg, "database", session->path);
	if (session->user != NULL)
		emit(arg, "user", session->user);
	emit(arg, "table", state->table.quoted);
	emit(arg, "sslmode", tlpg_sslmode(state, host->host));
	emit(arg, "connected", state->conn != NULL ? "yes" : "no");
	if (state->conn != NULL)
		describe_connection(state, emit, arg);
}

static void
describe_connection(TlpgState *state, TlPairCB emit, void *arg)
{
	const char *version = PQparameterStatus(state->conn, "server_version");

	emit(arg, "connected_host", PQhost(state->conn));
	if (version != NULL)
		emit(arg, "server_version", version);
	emit(arg, "tls", PQsslInUse(state->conn) ? "on" : "off");
	if (PQsslInUse(state->conn))
		emit(arg, "tls_protocol",
			 PQsslAttribute(state->conn, "protocol"));
}
