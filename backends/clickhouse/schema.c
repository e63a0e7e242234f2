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
 * ClickHouse has no transactions: a migration is a series of statements, each
 * of the IF NOT EXISTS kind, and its row in the version table comes last.  So
 * a step that was cut off, or that two sessions do at once, is simply done
 * again.
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
static int32 newest_version(void);
static TlOutcome judge(TlchState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(TlchState *state, TlVerdict *verdict);
static bool prepare(TlchState *state, TlVerdict *verdict);
static bool is_recorded(TlchState *state, int32 version, bool *recorded,
						TlVerdict *verdict);
static bool record(TlchState *state, const TlMigration *step,
				   TlVerdict *verdict);
static bool forget(TlchState *state, const TlMigration *step,
				   TlVerdict *verdict);
static bool run_script(TlchState *state, const char *script,
					   TlVerdict *verdict);
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
	if (remote->differences.data == NULL)
		initStringInfo(&remote->differences);
	remote->exists = remote->has_ledger_id = false;
	remote->version = 0;
	remote->keeps_from = PG_INT64_MIN;
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

static int32
newest_version(void)
{
	int32		newest = 0;

	for (const TlMigration *m = tlch_migrations; m->version != 0; m++)
		newest = m->version;
	return newest;
}

/* Can the table be filled? */
static TlOutcome
judge(TlchState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlch_list_differences(state->remote, remote->version, newest_version(),
						  &remote->differences, &fatal);
	if (fatal.len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, "53",
			"table %s cannot be filled: %s", state->table.quoted,
			fatal.data);
	return TL_REFUSED;
}

/* TlBackend.migrate */
TlOutcome
tlch_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	TlOutcome	outcome;
	bool		recorded;

	if (!up && step->down == NULL)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"version %d.%d of the table cannot be undone",
				step->version / 100, step->version % 100);
		return TL_REFUSED;
	}
	outcome = adoptable(state, verdict);
	if (outcome != TL_OK)
		return outcome;
	if (!prepare(state, verdict) ||
		!is_recorded(state, step->version, &recorded, verdict))
		return TL_RETRY;
	state->remote = NULL;		/* look again */
	if (recorded == up)
		return TL_OK;
	if (!run_script(state, up ? step->up : step->down, verdict) ||
		!(up ? record(state, step, verdict) : forget(state, step, verdict)))
		return TL_RETRY;
	return TL_OK;
}

/*
 * A table that is there but could not be filled at version 1.0 is none of
 * ours: recording versions beside it would only hide what is wrong with it.
 */
static TlOutcome
adoptable(TlchState *state, TlVerdict *verdict)
{
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
	if (fatal.len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, "57",
			"table %s was not made by tokenledger: %s",
			state->table.quoted, fatal.data);
	return TL_REFUSED;
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

	return run_script(state, tables, verdict) &&
		(state->remote->exists ||
		 run_script(state, "TRUNCATE TABLE " VERSION_TABLE "{cluster}",
					verdict));
}

static bool
is_recorded(TlchState *state, int32 version, bool *recorded,
			TlVerdict *verdict)
{
	TlchReader	reader;

	if (!tlch_query(state,
					psprintf("SELECT toInt64(count()) FROM %s WHERE version = %d"
							 " FORMAT RowBinary",
							 expand(state, VERSION_TABLE), version),
					&reader, verdict))
		return false;
	*recorded = tlch_read_int64(&reader) > 0;
	return !broken_answer(&reader, verdict);
}

/* The version, and whose ledger it is. */
static bool
record(TlchState *state, const TlMigration *step, TlVerdict *verdict)
{
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

static bool
forget(TlchState *state, const TlMigration *step, TlVerdict *verdict)
{
	return run_script(state,
					  psprintf("ALTER TABLE " VERSION_TABLE "{cluster}"
							   " DELETE WHERE version >= %d"
							   " SETTINGS mutations_sync = 2",
							   step->version), verdict);
}

/* Statements separated by semicolons, which occur nowhere else. */
static bool
run_script(TlchState *state, const char *script, TlVerdict *verdict)
{
	char	   *statement = expand(state, script);

	while (statement != NULL)
	{
		char	   *end = strchr(statement, ';');

		if (end != NULL)
			*end++ = '\0';
		if (!tlch_query(state, statement, NULL, verdict))
			return false;
		statement = end;
	}
	return true;
}

static bool
broken_answer(const TlchReader *reader, TlVerdict *verdict)
{
	if (reader->broken)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of a ClickHouse server's");
	return reader->broken;
}
