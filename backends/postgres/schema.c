/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Inspects and migrates the remote table.
 *
 * Beside the events table, in its schema, stand two small ones: the version
 * table, a row for each migration applied, and the source table, a row for
 * each ledger that fills the events table.  Those of the default table are
 * named token_ledger_schema_version and token_ledger_source, those of another
 * table T are named T_schema_version and T_source.
 *
 * A step is one transaction under an advisory lock of the table: of two
 * sessions that migrate at once, the second finds the version recorded and
 * does nothing.  Besides, every statement is of the IF NOT EXISTS kind, so
 * that a table which somebody made by hand becomes ours if its columns are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

/* How long a step waits for a lock, and others behind it. */
#define LOCK_TIMEOUT_MS		5000

static bool read_version(TlpgState *state, TlRemote *remote,
						 TlVerdict *verdict);
static bool read_source(TlpgState *state, TlRemote *remote,
						TlVerdict *verdict);
static bool parse_uuid(const char *text, pg_uuid_t *uuid);
static TlOutcome judge(TlpgState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(TlpgState *state, TlVerdict *verdict);
static bool begin_step(TlpgState *state, const TlMigration *step,
					   bool *recorded, TlVerdict *verdict);
static bool end_step(TlpgState *state, const TlMigration *step, bool up,
					 bool wanted, TlVerdict *verdict);
static void append_source(TlpgState *state, StringInfo sql);
static void explain_timeout(TlpgState *state, TlVerdict *verdict);
static void append_words(TlVerdict *verdict, const char *words);

/* TlBackend.inspect */
TlOutcome
tlpg_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);

	state->remote = NULL;		/* look again, whatever is known */
	if (remote->differences.data == NULL)
		initStringInfo(&remote->differences);
	remote->exists = remote->has_ledger_id = false;
	remote->version = 0;
	remote->keeps_from = PG_INT64_MIN;
	if (!tlpg_connect(state, verdict) || !tlpg_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	remote->exists = true;
	if (!read_version(state, remote, verdict) ||
		!read_source(state, remote, verdict))
		return TL_RETRY;
	if (tlpg_dialect.inspect != NULL &&
		!tlpg_dialect.inspect(state, remote, verdict))
		return TL_RETRY;
	return judge(state, remote, verdict);
}

bool
tlpg_companion_exists(TlpgState *state, const char *template, bool *exists,
					  TlVerdict *verdict)
{
	StringInfoData select;

	initStringInfo(&select);
	appendStringInfoString(&select, "SELECT pg_catalog.to_regclass(");
	tlpg_quote_literal(&select, tlpg_expand(template, &state->table));
	appendStringInfoString(&select, ") IS NOT NULL");
	if (!tlpg_look_up(state, select.data, verdict))
		return false;
	*exists = PQgetvalue(state->rows, 0, 0)[0] == 't';
	return true;
}

static bool
read_version(TlpgState *state, TlRemote *remote, TlVerdict *verdict)
{
	bool		exists;
	char	   *select = tlpg_expand("SELECT coalesce(pg_catalog.max(version), 0)"
									 " FROM {schema}.{name:*_schema_version}",
									 &state->table);

	if (!tlpg_companion_exists(state, "{schema}.{name:*_schema_version}",
							   &exists, verdict))
		return false;
	if (!exists)
		return true;
	if (!tlpg_look_up(state, select, verdict))
		return false;
	remote->version = atoi(PQgetvalue(state->rows, 0, 0));
	return true;
}

/* Of several ledgers, ours, or else the first that came. */
static bool
read_source(TlpgState *state, TlRemote *remote, TlVerdict *verdict)
{
	bool		exists;
	StringInfoData select;

	if (!tlpg_companion_exists(state, "{schema}.{name:*_source}", &exists,
							   verdict))
		return false;
	if (!exists)
		return true;
	initStringInfo(&select);
	appendStringInfoString(&select,
						   tlpg_expand("SELECT ledger_id FROM {schema}.{name:*_source}"
									   " ORDER BY ledger_id <> ",
									   &state->table));
	tlpg_append_uuid(&select, &state->session->ledger_id);
	appendStringInfoString(&select, ", first_at LIMIT 1");
	if (!tlpg_look_up(state, select.data, verdict))
		return false;
	if (PQntuples(state->rows) > 0)
		remote->has_ledger_id = parse_uuid(PQgetvalue(state->rows, 0, 0),
										   &remote->ledger_id);
	return true;
}

/* As a literal. */
void
tlpg_append_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	appendStringInfoChar(out, '\'');
	for (int i = 0; i < UUID_LEN; i++)
		appendStringInfo(out, "%02x", uuid->data[i]);
	appendStringInfoString(out, "'::uuid");
}

static bool
parse_uuid(const char *text, pg_uuid_t *uuid)
{
	for (int i = 0; i < UUID_LEN; i++)
	{
		unsigned int byte;

		text += (*text == '-');
		if (sscanf(text, "%2x", &byte) != 1)
			return false;
		uuid->data[i] = (unsigned char) byte;
		text += 2;
	}
	return true;
}

/* Can the table be filled? */
static TlOutcome
judge(TlpgState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlpg_list_differences(state->remote, remote->version,
						  &remote->differences, &fatal);
	if (fatal.len > 0)
	{
		tlpg_fail(verdict, TL_CAUSE_SCHEMA, "42804",
				  "table %s cannot be filled: %s", state->table.quoted,
				  fatal.data);
		return TL_REFUSED;
	}
	if (!state->remote->may_insert || !state->remote->may_select)
	{
		tlpg_fail(verdict, TL_CAUSE_AUTH, "42501",
				  "table %s cannot be filled: the role needs INSERT and SELECT on it",
				  state->table.quoted);
		return TL_REFUSED;
	}
	return TL_OK;
}

/* TlBackend.migrate */
TlOutcome
tlpg_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);
	TlOutcome	outcome;
	bool		recorded;

	if (!up && step->down == NULL)
	{
		tlpg_fail(verdict, TL_CAUSE_CONFIG, NULL,
				  "version %d.%d of the remote table cannot be undone",
				  step->version / 100, step->version % 100);
		return TL_REFUSED;
	}
	outcome = adoptable(state, verdict);
	if (outcome != TL_OK)
		return outcome;
	state->remote = NULL;
	if (begin_step(state, step, &recorded, verdict) &&
		end_step(state, step, up, recorded != up, verdict))
		return TL_OK;
	tlpg_rollback(state);
	if (state->conn == NULL)
		return TL_UNKNOWN;
	explain_timeout(state, verdict);
	return TL_RETRY;
}

/*
 * A table that is there but could not be filled at version 1.0 is none of
 * ours: recording versions beside it would only hide what is wrong with it.
 */
static TlOutcome
adoptable(TlpgState *state, TlVerdict *verdict)
{
	StringInfoData differences;
	StringInfoData fatal;

	state->remote = NULL;
	if (!tlpg_connect(state, verdict) || !tlpg_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	initStringInfo(&differences);
	initStringInfo(&fatal);
	tlpg_list_differences(state->remote, 100, &differences, &fatal);
	if (fatal.len == 0)
		return TL_OK;
	tlpg_fail(verdict, TL_CAUSE_SCHEMA, "42P07",
			  "table %s was not made by tokenledger: %s",
			  state->table.quoted, fatal.data);
	return TL_REFUSED;
}

/*
 * Begins the transaction, takes the lock, and says whether the version is
 * recorded.  The versions of a table that has been dropped are forgotten
 * first.  Locks are waited for but shortly: whoever wants the table queues up
 * behind us.
 */
static bool
begin_step(TlpgState *state, const TlMigration *step, bool *recorded,
		   TlVerdict *verdict)
{
	char	   *version = tlpg_expand("{schema}.{name:*_schema_version}",
									  &state->table);
	StringInfoData sql;

	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, TLPG_NO_FENCE, TLPG_WRITE);
	appendStringInfo(&sql,
					 "SELECT pg_catalog.set_config('lock_timeout', '%d', true);"
					 "SELECT pg_catalog.pg_advisory_xact_lock(" INT64_FORMAT
					 ");", Min(Max(state->timeout_ms / 2, 1), LOCK_TIMEOUT_MS),
					 tlpg_lock_key(NULL, "migrate", state->table.quoted, 0));
	appendStringInfoString(&sql,
						   tlpg_expand("CREATE TABLE IF NOT EXISTS {schema}.{name:*_schema_version}"
									   " (version integer PRIMARY KEY,"
									   " applied_at timestamptz NOT NULL DEFAULT pg_catalog.now(),"
									   " description text);"
									   "CREATE TABLE IF NOT EXISTS {schema}.{name:*_source}"
									   " (ledger_id uuid PRIMARY KEY,"
									   " first_at timestamptz NOT NULL DEFAULT pg_catalog.now());",
									   &state->table));
	appendStringInfo(&sql, "DELETE FROM %s WHERE pg_catalog.to_regclass(",
					 version);
	tlpg_quote_literal(&sql, state->table.quoted);
	appendStringInfo(&sql, ") IS NULL;"
					 "SELECT EXISTS (SELECT FROM %s WHERE version = %d)",
					 version, step->version);
	if (!tlpg_query(state, sql.data, NULL, verdict))
		return false;
	*recorded = PQgetvalue(state->rows, 0, 0)[0] == 't';
	return true;
}

/*
 * The step's script unless it has been done, the record of its version, and
 * whose ledger it is; then the end of the transaction.
 */
static bool
end_step(TlpgState *state, const TlMigration *step, bool up, bool wanted,
		 TlVerdict *verdict)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (wanted)
		appendStringInfo(&sql, "%s;",
						 tlpg_expand(up ? step->up : step->down,
									 &state->table));
	if (wanted && up)
	{
		if (tlpg_dialect.append_step != NULL)
			tlpg_dialect.append_step(state, step, &sql);
		appendStringInfoString(&sql,
							   tlpg_expand("INSERT INTO {schema}.{name:*_schema_version}"
										   " (version, description)",
										   &state->table));
		appendStringInfo(&sql, " VALUES (%d, ", step->version);
		tlpg_quote_literal(&sql, step->description);
		appendStringInfoString(&sql, ");");
	}
	else if (wanted)
		appendStringInfo(&sql, "DELETE FROM %s WHERE version >= %d;",
						 tlpg_expand("{schema}.{name:*_schema_version}",
									 &state->table), step->version);
	if (up)
		append_source(state, &sql);
	appendStringInfoString(&sql, "COMMIT");
	return tlpg_query(state, sql.data, NULL, verdict);
}

/* The first ledger that fills the table. */
static void
append_source(TlpgState *state, StringInfo sql)
{
	char	   *source = tlpg_expand("{schema}.{name:*_source}",
									 &state->table);

	appendStringInfo(sql, "INSERT INTO %s (ledger_id) SELECT ", source);
	tlpg_append_uuid(sql, &state->session->ledger_id);
	appendStringInfo(sql, " WHERE NOT EXISTS (SELECT FROM %s);", source);
}

/* Who was in the way, or what takes less time. */
static void
explain_timeout(TlpgState *state, TlVerdict *verdict)
{
	static const char holders[] =
		"SELECT pg_catalog.string_agg(DISTINCT CASE WHEN l.pid IS NULL"
		" THEN 'a prepared transaction' ELSE pg_catalog.format("
		"'process %s (user \"%s\", application \"%s\")', l.pid, a.usename,"
		" a.application_name) END, ', ') FROM pg_catalog.pg_locks l"
		" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
		" WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
		" AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"
		" WHERE d.datname = pg_catalog.current_database())"
		" AND l.relation = pg_catalog.to_regclass(";
	TlVerdict	ignored = {0};
	StringInfoData sql;

	if (strcmp(verdict->code, "57014") == 0)
		append_words(verdict, "; raise the target's option timeout, or make"
					 " the index CONCURRENTLY beforehand");
	if (strcmp(verdict->code, "55P03") != 0)
		return;
	initStringInfo(&sql);
	appendStringInfoString(&sql, holders);
	tlpg_quote_literal(&sql, state->table.quoted);
	appendStringInfoChar(&sql, ')');
	if (!tlpg_look_up(state, sql.data, &ignored) ||
		PQgetisnull(state->rows, 0, 0))
		return;
	append_words(verdict, psprintf("; the table is locked by %s",
								   PQgetvalue(state->rows, 0, 0)));
}

static void
append_words(TlVerdict *verdict, const char *words)
{
	strlcat(verdict->message, words, sizeof(verdict->message));
	tlpg_clean(verdict->message);
}
