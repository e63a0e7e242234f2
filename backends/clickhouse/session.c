/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Opening, closing and describing a session of ClickHouse.
 *
 * One server: two hosts would be two stores, unless they are replicas behind
 * one name, and then a look-up might ask the one that does not know yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlch.h"

#define DEFAULT_TIMEOUT		30000
#define NATIVE_PORT			"9000"
#define NATIVE_TLS_PORT		"9440"

static const char *parse_options(TlchState *state);
static const char *parse_place(TlchState *state);
static const char *parse_address(TlchState *state);
static const char *check_port(const char *port, bool tls);
static void parse_compression(TlchState *state);

/* TlBackend.open: reads the options, connects to nothing. */
TlOutcome
tlch_open(TlSession *session, TlVerdict *verdict)
{
	MemoryContext old = MemoryContextSwitchTo(session->mcxt);
	TlchState  *state = palloc0(sizeof(TlchState));
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
parse_options(TlchState *state)
{
	TlSession  *session = state->session;
	const char *error = parse_address(state);

	if (error == NULL)
		error = parse_place(state);
	if (error != NULL)
		return error;
	if (tlch_core->option(session, "key_file") != NULL &&
		tlch_core->option(session, "cert_file") == NULL)
		return "option \"key_file\" needs \"cert_file\"";
	state->http_settings.ca_file = tlch_core->option(session, "ca_file");
	state->http_settings.cert_file = tlch_core->option(session, "cert_file");
	state->http_settings.key_file = tlch_core->option(session, "key_file");
	state->http_settings.connect_timeout_ms =
		tl_int_option(tlch_core, session, "connect_timeout", 10000);
	state->timeout_ms = tl_int_option(tlch_core, session, "timeout",
									  DEFAULT_TIMEOUT);
	parse_compression(state);
	return NULL;
}

/* Which table, and how it is made. */
static const char *
parse_place(TlchState *state)
{
	TlSession  *session = state->session;
	const char *table = tlch_core->option(session, "table");
	const char *json = tlch_core->option(session, "json");
	const char *engine = tlch_core->option(session, "engine");
	const char *database = session->path;
	const char *error;

	if (database == NULL || database[0] == '\0')
		database = "default";
	error = tlch_parse_table(table ? table : "token_ledger_events", database,
							 &state->table);
	if (error != NULL)
		return psprintf("option \"table\" %s", error);
	state->placement.cluster = tlch_core->option(session, "cluster");
	state->placement.engine = engine ? engine : "MergeTree";
	state->placement.json = json && strcmp(json, "JSON") == 0 ?
		"Nullable(JSON)" : "Nullable(String)";
	state->placement.ttl_days = tl_int_option(tlch_core, session, "ttl", 90);
	state->async = tl_bool_option(tlch_core, session, "async_insert", false);
	return NULL;
}

/* TLS unless the option says otherwise or nobody can listen in. */
static const char *
parse_address(TlchState *state)
{
	TlSession  *session = state->session;
	const char *hosts = session->hosts;
	const char *colon;
	char	   *host;
	const char *port;
	const char *error;
	bool		tls;

	if (hosts == NULL || hosts[0] == '\0')
		return "the target's URL names no host";
	if (strchr(hosts, ',') != NULL)
		return "the target's URL names several hosts; each is a store of its own, unless they are replicas behind one address: name that";
	colon = strrchr(hosts, ':');
	if (colon != NULL && strchr(colon, ']') != NULL)
		colon = NULL;			/* within an IPv6 address */
	host = colon ? pnstrdup(hosts, colon - hosts) : pstrdup(hosts);
	tls = tl_bool_option(tlch_core, session, "tls", !tl_host_is_local(host));
	port = colon ? colon + 1 : tls ? "8443" : "8123";
	error = check_port(port, tls);
	if (error != NULL)
		return error;
	if (!tls && tlch_core->option(session, "ca_file") != NULL)
		return "option \"ca_file\" needs tls=on";
	state->url = psprintf("%s://%s:%s/", tls ? "https" : "http", host, port);
	return NULL;
}

static const char *
check_port(const char *port, bool tls)
{
	if (strcmp(port, NATIVE_PORT) == 0 || strcmp(port, NATIVE_TLS_PORT) == 0)
		return psprintf("port %s is ClickHouse's native port; use the HTTP port, 8123 or, with TLS, 8443",
						port);
	if (tls && strcmp(port, "8123") == 0)
		return "port 8123 is ClickHouse's port without TLS; use 8443, or say tls=off if nobody can listen in";
	return NULL;
}

static void
parse_compression(TlchState *state)
{
	const char *name = tlch_core->option(state->session, "compression");

	state->compression = name == NULL || strcmp(name, "zstd") == 0 ?
		TLCH_ZSTD : strcmp(name, "lz4") == 0 ? TLCH_LZ4 : TLCH_NONE;
	state->level = tl_int_option(tlch_core, state->session,
								 "compression_level", 1);
}

/*
 * TlBackend.close: what is foreign hangs on session->mcxt.  Nothing on the
 * server belongs to a lane.
 */
void
tlch_close(TlSession *session, bool retire)
{
}

/* To be called at the start of each callback: the clock starts. */
TlchState *
tlch_begin(TlSession *session)
{
	TlchState  *state = session->private_state;

	state->deadline = tl_http_now_ms() + state->timeout_ms;
	return state;
}

/* TlBackend.check_health: is there a server that lets us in and writes? */
TlOutcome
tlch_check_health(TlSession *session, TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	TlchReader	reader;
	char	   *version;
	int64		readonly;

	if (!tlch_query(state, "SELECT version(), toInt64(getSetting('readonly'))"
					" FORMAT RowBinary", &reader, verdict))
		return TL_RETRY;
	version = tlch_read_string(&reader);
	readonly = tlch_read_int64(&reader);
	if (reader.broken)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of a ClickHouse server's");
		return TL_RETRY;
	}
	strlcpy(state->version, version, sizeof(state->version));
	if (readonly == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_AUTH, "164",
			"the user is read-only (setting readonly)");
	return TL_RETRY;
}

/* TlBackend.describe */
void
tlch_describe(TlSession *session, TlPairCB emit, void *arg)
{
	static const char *const names[] = {
		[TLCH_NONE] = "none", [TLCH_LZ4] = "lz4", [TLCH_ZSTD] = "zstd"
	};
	TlchState  *state = session->private_state;

	emit(arg, "url", state->url);
	emit(arg, "user", session->user ? session->user : "default");
	emit(arg, "table", state->table.quoted);
	emit(arg, "tls", strncmp(state->url, "https:", 6) == 0 ? "on" : "off");
	emit(arg, "compression", names[state->compression]);
	emit(arg, "async_insert", state->async ? "on" : "off");
	if (state->version[0] != '\0')
		emit(arg, "server_version", state->version);
	if (state->remote != NULL && state->remote->exists)
		emit(arg, "engine", state->remote->engine);
}
