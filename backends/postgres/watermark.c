/*-------------------------------------------------------------------------
 *
 * watermark.c
 *	  Records up to when the events are complete.
 *
 * In a table of its own beside the events table, a row for each ledger:
 * token_ledger_watermark, or T_watermark beside another table T.  So a role
 * that may only fill the table needs INSERT, UPDATE and SELECT on this one
 * and nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

#define WATERMARK_TABLE		"{schema}.{name:*_watermark}"

static bool make_table(TlpgState *state, TlVerdict *verdict);

/* TlBackend.watermark */
TlOutcome
tlpg_watermark(TlSession *session, int64 until, TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);
	StringInfoData sql;

	if (!tlpg_connect(state, verdict) || !make_table(state, verdict))
		return TL_RETRY;
	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, TLPG_NO_FENCE, TLPG_WRITE);
	appendStringInfoString(&sql,
						   tlpg_expand("INSERT INTO " WATERMARK_TABLE
									   " AS w (ledger_id, complete_until) VALUES (",
									   &state->table));
	tlpg_append_uuid(&sql, &session->ledger_id);
	appendStringInfo(&sql, ", 'epoch'::timestamptz + " INT64_FORMAT
					 " * '1 microsecond'::interval)"
					 " ON CONFLICT (ledger_id) DO UPDATE"
					 " SET complete_until = excluded.complete_until,"
					 " written_at = pg_catalog.now();COMMIT", until);
	if (tlpg_query(state, sql.data, NULL, verdict))
		return TL_OK;
	tlpg_rollback(state);
	return TL_RETRY;
}

/* NB: CREATE TABLE needs the right to create also where nothing is to be. */
static bool
make_table(TlpgState *state, TlVerdict *verdict)
{
	StringInfoData sql;
	bool		exists;

	if (!tlpg_companion_exists(state, WATERMARK_TABLE, &exists, verdict))
		return false;
	if (exists)
		return true;
	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, TLPG_NO_FENCE, TLPG_WRITE);
	appendStringInfo(&sql, "SELECT pg_catalog.pg_advisory_xact_lock("
					 INT64_FORMAT ");",
					 tlpg_lock_key(NULL, "migrate", state->table.quoted, 0));
	appendStringInfoString(&sql,
						   tlpg_expand("CREATE TABLE IF NOT EXISTS "
									   WATERMARK_TABLE
									   " (ledger_id uuid PRIMARY KEY,"
									   " complete_until timestamptz NOT NULL,"
									   " written_at timestamptz NOT NULL"
									   " DEFAULT pg_catalog.now());COMMIT",
									   &state->table));
	if (tlpg_query(state, sql.data, NULL, verdict))
		return true;
	tlpg_rollback(state);
	return false;
}
