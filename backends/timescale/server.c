/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Is the server a TimescaleDB, which version, and which edition?
 *
 * The licence decides the edition: under "apache" there are hypertables, but
 * neither compression nor policies nor continuous aggregates.  It is a
 * setting of the server, so it is looked up on each connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlts.h"

static bool report_absence(TlpgState *state, TlVerdict *verdict);

/* Makes state->server describe it; false, with a verdict: it will not do. */
bool
tlts_check_server(TlpgState *state, TlVerdict *verdict)
{
	TltsServer *server = state->server;

	if (!tlpg_look_up(state,
					  "SELECT e.extversion,"
					  " pg_catalog.quote_ident(n.nspname::text),"
					  " pg_catalog.current_setting('timescaledb.license', true)"
					  " FROM pg_catalog.pg_extension e"
					  " JOIN pg_catalog.pg_namespace n"
					  " ON n.oid = e.extnamespace"
					  " WHERE e.extname = 'timescaledb'", verdict))
		return false;
	if (PQntuples(state->rows) == 0)
		return report_absence(state, verdict);

	if (server == NULL)
		server = MemoryContextAllocZero(state->session->mcxt,
										sizeof(TltsServer));
	state->server = server;
	strlcpy(server->version, PQgetvalue(state->rows, 0, 0),
			sizeof(server->version));
	strlcpy(server->schema, PQgetvalue(state->rows, 0, 1),
			sizeof(server->schema));
	strlcpy(server->license, PQgetvalue(state->rows, 0, 2),
			sizeof(server->license));
	server->full = strcmp(server->license, "apache") != 0;

	if (server->license[0] == '\0')
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "55000",
				  "TimescaleDB is not loaded; add timescaledb to shared_preload_libraries of the store's server and restart it");
	else if (tlts_version(server->version) < TLTS_OLDEST_VERSION)
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "0A000",
				  "TimescaleDB %s is older than 2.13; install a newer one and run ALTER EXTENSION timescaledb UPDATE in the store",
				  server->version);
	else
		return true;
	return false;
}

/* Says how the extension comes into the database. */
static bool
report_absence(TlpgState *state, TlVerdict *verdict)
{
	if (!tlpg_look_up(state,
					  "SELECT pg_catalog.current_database(), EXISTS (SELECT"
					  " FROM pg_catalog.pg_available_extensions"
					  " WHERE name = 'timescaledb')", verdict))
		return false;
	if (PQgetvalue(state->rows, 0, 1)[0] == 't')
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "42704",
				  "database \"%s\" lacks the extension timescaledb; run CREATE EXTENSION timescaledb there, or use the backend \"postgres\"",
				  PQgetvalue(state->rows, 0, 0));
	else
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "42704",
				  "the server of database \"%s\" has no TimescaleDB; install it, or use the backend \"postgres\"",
				  PQgetvalue(state->rows, 0, 0));
	return false;
}
