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
 * A migration is one transaction under an advisory lock of the table: two
 * sessions that migrate at once do it one after the other, and the second
 * finds nothing left to do, for every statement is of the IF NOT EXISTS kind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

static bool companion_exists(TlpgState *state, const char *template,
							 bool *exists, TlVerdict *verdict);
static bool read_version(TlpgState *state, TlRemote *remote,
						 TlVerdict *verdict);
static bool read_source(TlpgState *state, TlRemote *remote,
						TlVerdict *verdict);
static void append_uuid(StringInfo out, const pg_uuid_t *uuid);
static bool parse_uuid(const char *text, pg_uuid_t *uuid);
static TlOutcome judge(TlpgState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(TlpgState *state, TlVerdict *verdict);
static void append_step(TlpgState *state, StringInfo sql,
						const TlMigration *step, bool up);

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

static bool
companion_exists(TlpgState *state, const char *template, bool *exists,
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

	if (!companion_exists(state, "{schema}.{name:*_schema_version}", &exists,
						  verdict))
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

	if (!companion_exists(state, "{schema}.{name:*_source}", &exists,
						  verdict))
		return false;
	if (!exists)
		return true;
	initStringInfo(&select);
	appendStringInfoString(&select,
						   tlpg_expand("SELECT ledger_id FROM {schema}.{name:*_source}"
									   " ORDER BY ledger_id <> ",
									   &state->table));
	append_uuid(&select, &state->session->ledger_id);
	appendStringInfoString(&select, ", first_at LIMIT 1");
	if (!tlpg_look_up(state, select.data, verdict))
		return false;
	if (PQntuples(state->rows) > 0)
		remote->has_ledger_id = parse_uuid(PQgetvalue(state->rows, 0, 0),
										   &remote->ledger_id);
	return true;
}

/* As a literal. */
static void
append_uuid(StringInfo out, const pg_uuid_t *uuid)
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
	StringInfoData sql;

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

	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, TLPG_NO_FENCE, TLPG_WRITE);
	appendStringInfo(&sql, "SELECT pg_catalog.pg_advisory_xact_lock("
					 INT64_FORMAT ");",
					 tlpg_lock_key(NULL, "migrate", state->table.quoted, 0));
	append_step(state, &sql, step, up);
	appendStringInfoString(&sql, "COMMIT");
	state->remote = NULL;
	if (tlpg_query(state, sql.data, NULL, verdict))
		return TL_OK;
	tlpg_rollback(state);
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
 * The step's script, what it leaves in the version table, and whose ledger it
 * is.  The versions of a table that has been dropped are forgotten first.
 */
static void
append_step(TlpgState *state, StringInfo sql, const TlMigration *step,
			bool up)
{
	char	   *version = tlpg_expand("{schema}.{name:*_schema_version}",
									  &state->table);

	appendStringInfoString(sql,
						   tlpg_expand("CREATE TABLE IF NOT EXISTS {schema}.{name:*_schema_version}"
									   " (version integer PRIMARY KEY,"
									   " applied_at timestamptz NOT NULL DEFAULT pg_catalog.now(),"
									   " description text);"
									   "CREATE TABLE IF NOT EXISTS {schema}.{name:*_source}"
									   " (ledger_id uuid PRIMARY KEY,"
									   " first_at timestamptz NOT NULL DEFAULT pg_catalog.now());",
									   &state->table));
	appendStringInfo(sql, "DELETE FROM %s WHERE pg_catalog.to_regclass(",
					 version);
	tlpg_quote_literal(sql, state->table.quoted);
	appendStringInfo(sql, ") IS NULL;%s;",
					 tlpg_expand(up ? step->up : step->down, &state->table));
	if (!up)
	{
		appendStringInfo(sql, "DELETE FROM %s WHERE version >= %d;", version,
						 step->version);
		return;
	}
	if (tlpg_dialect.append_step != NULL)
		tlpg_dialect.append_step(state, step, sql);
	appendStringInfo(sql,
					 "INSERT INTO %s (version, description) VALUES (%d, ",
					 version, step->version);
	tlpg_quote_literal(sql, step->description);
	appendStringInfoString(sql, ") ON CONFLICT DO NOTHING;");
	appendStringInfo(sql, "INSERT INTO %s (ledger_id) SELECT ",
					 tlpg_expand("{schema}.{name:*_source}", &state->table));
	append_uuid(sql, &state->session->ledger_id);
	appendStringInfo(sql, " WHERE NOT EXISTS (SELECT FROM %s);",
					 tlpg_expand("{schema}.{name:*_source}", &state->table));
}
