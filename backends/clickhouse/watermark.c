/*-------------------------------------------------------------------------
 *
 * watermark.c
 *	  Records up to when the events are complete.
 *
 * In a table of its own beside the events table, token_ledger_watermark or
 * T_watermark: a row each time, of which merges leave the last one of each
 * ledger.  Readers take max(complete_until).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

#define WATERMARK_TABLE		"{name:*_watermark}"

static bool make_table(TlchState *state, TlVerdict *verdict);
static bool table_exists(TlchState *state, bool *exists, TlVerdict *verdict);
static const char *replacing_engine(const char *engine);

/* TlBackend.watermark */
TlOutcome
tlch_watermark(TlSession *session, int64 until, TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	StringInfoData sql;
	bool		exists;

	if (!table_exists(state, &exists, verdict) ||
		(!exists && !make_table(state, verdict)))
		return TL_RETRY;
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s SELECT '",
					 tlch_expand(WATERMARK_TABLE, &state->table,
								 &state->placement));
	tl_append_uuid(&sql, &session->ledger_id);
	appendStringInfo(&sql, "', fromUnixTimestamp64Micro(toInt64("
					 INT64_FORMAT "), 'UTC'), now64(6)", until);
	return tlch_query(state, sql.data, NULL, verdict) ? TL_OK : TL_RETRY;
}

/* NB: CREATE TABLE needs its right also where there is nothing to create. */
static bool
make_table(TlchState *state, TlVerdict *verdict)
{
	TlchPlacement placement = state->placement;

	placement.engine = replacing_engine(placement.engine);
	return tlch_query(state,
					  tlch_expand("CREATE TABLE IF NOT EXISTS "
								  WATERMARK_TABLE "{cluster}"
								  " (ledger_id UUID,"
								  " complete_until DateTime64(6, 'UTC'),"
								  " written_at DateTime64(6, 'UTC'))"
								  " ENGINE = {engine} ORDER BY ledger_id",
								  &state->table, &placement), NULL, verdict);
}

static bool
table_exists(TlchState *state, bool *exists, TlVerdict *verdict)
{
	StringInfoData sql;
	TlchReader	reader;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT toInt64(count()) FROM system.tables"
						   " WHERE name = ");
	tlch_quote_literal(&sql, psprintf("%s_watermark", state->table.base));
	appendStringInfoString(&sql, " AND database = ");
	tlch_quote_literal(&sql, state->table.database);
	appendStringInfoString(&sql, " FORMAT RowBinary");
	if (!tlch_query(state, sql.data, &reader, verdict))
		return false;
	*exists = tlch_read_int64(&reader) > 0;
	return true;
}

/* ReplicatedMergeTree: ReplicatedReplacingMergeTree. */
static const char *
replacing_engine(const char *engine)
{
	const char *family = strstr(engine, "MergeTree");

	if (family == NULL)
		return engine;
	return psprintf("%.*sReplacing%s", (int) (family - engine), engine,
					family);
}
