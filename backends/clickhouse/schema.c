/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Inspects and migrates the events table.
 *
 * Beside it, in its database, stand two small ones: the version table, a row
 * for each migration applied, and the source table, a row for each ledger
 * that fills the events table.  Those of the default table are named
 * token_ledger_schema_version and token_ledger_source, those of another table
 * T are named T_schema_version and T_source.
 *
 * ClickHouse has no transactions: ../common/tl_schema.c says what follows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "tlch.h"

#define VERSION_TABLE		"{name:*_schema_version}"
#define SOURCE_TABLE		"{name:*_source}"

static bool companions_exist(TlchState *state, bool *version, bool *source,
							 TlVerdict *verdict);
static bool read_version(TlchState *state, TlRemote *remote,
						 TlVerdict *verdict);
static bool read_source(TlchState *state, TlRemote *remote,
						TlVerdict *verdict);
static int64 keeps_from(const TlchTable *table);
static TlOutcome judge(TlchState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(void *arg, TlVerdict *verdict);
static bool prepare(TlchState *state, TlVerdict *verdict);
static bool is_recorded(void *arg, int32 version, bool *recorded,
						TlVerdict *verdict);
static bool run(void *arg, const char *statement, TlVerdict *verdict);
static bool record(void *arg, const TlMigration *step, TlVerdict *verdict);
static bool forget(void *arg, const TlMigration *step, TlVerdict *verdict);

static const TlScripts scripts = {
	.judge = adoptable,
	.is_recorded = is_recorded,
	.run = run,
	.record = record,
	.forget = forget
};
static bool broken_answer(const TlchReader *reader, TlVerdict *verdict);

static char *
expand(const TlchState *state, const char *template)
{
	return tlch_expand(template, &state->table, &state->placement);
}

/* TlBackend.inspect */
TlOutcome
tlch_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	bool		has_version;
	bool		has_source;

	state->remote = NULL;		/* look again, whatever is known */
	tl_clear_remote(remote);
	if (!tlch_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	remote->exists = true;
	remote->keeps_from = keeps_from(state->remote);
	if (!companions_exist(state, &has_version, &has_source, verdict) ||
		(has_version && !read_version(state, remote, verdict)) ||
		(has_source && !read_source(state, remote, verdict)))
		return TL_RETRY;

	/* The step that makes the table, or adopts it, was cut off. */
	if (has_version && remote->version == 0)
	{
		remote->exists = false;
		return TL_OK;
	}
	return judge(state, remote, verdict);
}

static bool
companions_exist(TlchState *state, bool *version, bool *source,
				 TlVerdict *verdict)
{
	StringInfoData sql;
	TlchReader	reader;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT toInt64(countIf(name = ");
	tlch_quote_literal(&sql, psprintf("%s_schema_version",
									  state->table.base));
	appendStringInfoString(&sql, ")), toInt64(countIf(name = ");
	tlch_quote_literal(&sql, psprintf("%s_source", state->table.base));
	appendStringInfoString(&sql, ")) FROM system.tables WHERE database = ");
	tlch_quote_literal(&sql, state->table.database);
	appendStringInfoString(&sql, " FORMAT RowBinary");
	if (!tlch_query(state, sql.data, &reader, verdict))
		return false;
	*version = tlch_read_int64(&reader) > 0;
	*source = tlch_read_int64(&reader) > 0;
	return !broken_answer(&reader, verdict);
}

static bool
read_version(TlchState *state, TlRemote *remote, TlVerdict *verdict)
{
	TlchReader	reader;

	if (!tlch_query(state, expand(state, "SELECT toInt64(max(version)) FROM "
								  VERSION_TABLE " FORMAT RowBinary"),
					&reader, verdict))
		return false;
	remote->version = (int32) tlch_read_int64(&reader);
	return !broken_answer(&reader, verdict);
}

/* Of several ledgers, ours, or else the first that came. */
static bool
read_source(TlchState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData sql;
	TlchReader	reader;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT ledger_id FROM %s ORDER BY ledger_id != '",
					 expand(state, SOURCE_TABLE));
	tl_append_uuid(&sql, &state->session->ledger_id);
	appendStringInfoString(&sql, "', first_at LIMIT 1 FORMAT RowBinary");
	if (!tlch_query(state, sql.data, &reader, verdict))
		return false;
	if (reader.next == reader.end)
		return true;
	tlch_read_uuid(&reader, &remote->ledger_id);
	remote->has_ledger_id = !reader.broken;
	return !broken_answer(&reader, verdict);
}

/* By our clock: it need not be exact, see TlRemote. */
static int64
keeps_from(const TlchTable *table)
{
	int64		kept = tlch_kept_seconds(table->engine_full);

	if (kept < 0)
		return PG_INT64_MIN;
	return ((int64) time(NULL) - kept) * 1000000;
}

/* Can the table be filled? */
static TlOutcome
judge(TlchState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlch_list_differences(state->remote, remote->version,
						  tl_newest_version(tlch_migrations),
						  &remote->differences, &fatal);
	return tl_judge_fillable(state->table.quoted, &fatal, "53", verdict);
}

/* TlBackend.migrate */
TlOutcome
tlch_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	TlOutcome	outcome = tl_migrate(&scripts, state, step, up, verdict);

	state->remote = NULL;		/* look again */
	return outcome;
}

/* TlScripts.judge */
static TlOutcome
adoptable(void *arg, TlVerdict *verdict)
{
	TlchState  *state = arg;
	StringInfoData differences;
	StringInfoData fatal;

	state->remote = NULL;
	if (!tlch_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	initStringInfo(&differences);
	initStringInfo(&fatal);
	tlch_list_differences(state->remote, 100, 100, &differences, &fatal);
	return tl_judge_ours(state->table.quoted, &fatal, "57", verdict);
}

/*
 * The two small tables.  The versions of an events table that has been
 * dropped are forgotten.
 */
static bool
prepare(TlchState *state, TlVerdict *verdict)
{
	static const char tables[] =
		"CREATE TABLE IF NOT EXISTS " VERSION_TABLE "{cluster}"
		" (version Int32, applied_at DateTime64(6, 'UTC'),"
		" description String) ENGINE = {engine} ORDER BY version;"
		"CREATE TABLE IF NOT EXISTS " SOURCE_TABLE "{cluster}"
		" (ledger_id UUID, first_at DateTime64(6, 'UTC'))"
		" ENGINE = {engine} ORDER BY ledger_id";

	return tl_run_script(&scripts, state, tables, verdict) &&
		(state->remote->exists ||
		 run(state, "TRUNCATE TABLE " VERSION_TABLE "{cluster}", verdict));
}

/* TlScripts.is_recorded */
static bool
is_recorded(void *arg, int32 version, bool *recorded, TlVerdict *verdict)
{
	TlchState  *state = arg;
	TlchReader	reader;

	if (!prepare(state, verdict) ||
		!tlch_query(state,
					psprintf("SELECT toInt64(count()) FROM %s WHERE version = %d"
							 " FORMAT RowBinary",
							 expand(state, VERSION_TABLE), version),
					&reader, verdict))
		return false;
	*recorded = tlch_read_int64(&reader) > 0;
	return !broken_answer(&reader, verdict);
}

/* TlScripts.run */
static bool
run(void *arg, const char *statement, TlVerdict *verdict)
{
	TlchState  *state = arg;

	return tlch_query(state, expand(state, statement), NULL, verdict);
}

/* TlScripts.record */
static bool
record(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	TlchState  *state = arg;
	StringInfoData sql;
	char	   *source = expand(state, SOURCE_TABLE);

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s SELECT '", source);
	tl_append_uuid(&sql, &state->session->ledger_id);
	appendStringInfo(&sql, "', now64(6) FROM (SELECT count() AS n FROM %s)"
					 " WHERE n = 0", source);
	if (!tlch_query(state, sql.data, NULL, verdict))
		return false;
	resetStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s SELECT %d, now64(6), ",
					 expand(state, VERSION_TABLE), step->version);
	tlch_quote_literal(&sql, step->description);
	return tlch_query(state, sql.data, NULL, verdict);
}

/* TlScripts.forget */
static bool
forget(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	return run(arg, psprintf("ALTER TABLE " VERSION_TABLE "{cluster}"
							 " DELETE WHERE version >= %d"
							 " SETTINGS mutations_sync = 2", step->version),
			   verdict);
}

static bool
broken_answer(const TlchReader *reader, TlVerdict *verdict)
{
	if (reader->broken)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of a ClickHouse server's");
	return reader->broken;
}
