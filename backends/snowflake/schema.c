/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Inspects and migrates the events table.
 *
 * Beside it, in its schema, stand two small ones: the version table, a row
 * for each migration applied, and the source table, a row for each ledger
 * that fills the events table.  Those of the default table are named
 * TOKEN_LEDGER_SCHEMA_VERSION and TOKEN_LEDGER_SOURCE, those of another table
 * T are named T_SCHEMA_VERSION and T_SOURCE.
 *
 * DDL is not transactional: a migration is a series of statements, each of
 * the IF NOT EXISTS kind, and its row in the version table comes last.  So a
 * step that was cut off, or that two sessions do at once, is simply done
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

typedef struct Text				/* the first value of an answer */
{
	bool		found;
	char		value[64];
} Text;

static bool ask(TlsfState *state, const char *template, Text *answer,
				bool *exists, TlVerdict *verdict);
static void take_text(void *arg, const char *const *values, int n);
static bool read_version(TlsfState *state, TlRemote *remote,
						 bool *kept, TlVerdict *verdict);
static bool read_source(TlsfState *state, TlRemote *remote,
						TlVerdict *verdict);
static int32 newest_version(void);
static TlOutcome judge(TlsfState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(TlsfState *state, TlVerdict *verdict);
static bool prepare(TlsfState *state, TlVerdict *verdict);
static bool is_recorded(TlsfState *state, int32 version, bool *kept,
						bool *recorded, TlVerdict *verdict);
static bool record(TlsfState *state, const TlMigration *step,
				   TlVerdict *verdict);
static bool forget(TlsfState *state, const TlMigration *step,
				   TlVerdict *verdict);
static bool run_script(TlsfState *state, const char *script,
					   TlVerdict *verdict);

/* TlBackend.inspect */
TlOutcome
tlsf_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	bool		kept;

	state->remote = NULL;		/* look again, whatever is known */
	if (remote->differences.data == NULL)
		initStringInfo(&remote->differences);
	remote->exists = remote->has_ledger_id = false;
	remote->version = 0;
	remote->keeps_from = PG_INT64_MIN;
	if (!tlsf_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	remote->exists = true;
	if (!read_version(state, remote, &kept, verdict) ||
		!read_source(state, remote, verdict))
		return TL_RETRY;

	/* The step that makes the table, or adopts it, was cut off. */
	if (kept && remote->version == 0)
	{
		remote->exists = false;
		return TL_OK;
	}
	return judge(state, remote, verdict);
}

/* *exists: is there such a table? */
static bool
ask(TlsfState *state, const char *template, Text *answer, bool *exists,
	TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlsfStatement statement = {.sql = tlsf_expand(&state->name, template)};
	TlsfError	error;

	answer->found = false;
	*exists = tlsf_query(state, &statement, take_text, answer, &error, &here);
	if (*exists || (error.status == 422 && error.missing))
		return true;
	if (verdict->message[0] == '\0')
		*verdict = here;
	return false;
}

/* A TlsfRowCB. */
static void
take_text(void *arg, const char *const *values, int n)
{
	Text	   *text = arg;

	if (text->found || n < 1 || values[0] == NULL)
		return;
	text->found = true;
	strlcpy(text->value, values[0], sizeof(text->value));
}

/* *kept: is there a record of versions? */
static bool
read_version(TlsfState *state, TlRemote *remote, bool *kept,
			 TlVerdict *verdict)
{
	Text		newest;

	if (!ask(state, "SELECT MAX({version}) FROM {schema_version}", &newest,
			 kept, verdict))
		return false;
	if (newest.found)
		remote->version = atoi(newest.value);
	return true;
}

/* Of several ledgers, ours, or else the first that came. */
static bool
read_source(TlsfState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData sql;
	Text		first;
	bool		exists;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT {ledger_id} FROM {source}"
						   " ORDER BY CASE WHEN {ledger_id} = '");
	tl_append_uuid(&sql, &state->session->ledger_id);
	appendStringInfoString(&sql, "' THEN 0 ELSE 1 END, {first_at} LIMIT 1");
	if (!ask(state, sql.data, &first, &exists, verdict))
		return false;
	remote->has_ledger_id = first.found &&
		tl_read_uuid(first.value, &remote->ledger_id);
	return true;
}

static int32
newest_version(void)
{
	int32		newest = 0;

	for (const TlMigration *m = tlsf_migrations; m->version != 0; m++)
		newest = m->version;
	return newest;
}

/* Can the table be filled? */
static TlOutcome
judge(TlsfState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlsf_list_differences(state->remote, remote->version, newest_version(),
						  &remote->differences, &fatal);
	if (fatal.len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, "000904",
			"table %s cannot be filled: %s", state->name.quoted,
			fatal.data);
	return TL_REFUSED;
}

/* TlBackend.migrate */
TlOutcome
tlsf_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	TlOutcome	outcome;
	bool		kept;
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
	if (!is_recorded(state, step->version, &kept, &recorded, verdict))
		return TL_RETRY;
	if (!kept || !state->remote->exists)
	{
		if (!prepare(state, verdict))
			return TL_RETRY;
		recorded = false;
	}
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
adoptable(TlsfState *state, TlVerdict *verdict)
{
	StringInfoData differences;
	StringInfoData fatal;

	state->remote = NULL;
	if (!tlsf_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
		return TL_OK;
	initStringInfo(&differences);
	initStringInfo(&fatal);
	tlsf_list_differences(state->remote, 100, 100, &differences, &fatal);
	if (fatal.len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, "002002",
			"table %s was not made by tokenledger: %s",
			state->name.quoted, fatal.data);
	return TL_REFUSED;
}

/*
 * The two small tables; that of the versions comes last, and stands for both.
 * The versions of an events table that has been dropped are forgotten.
 */
static bool
prepare(TlsfState *state, TlVerdict *verdict)
{
	static const char tables[] =
		"CREATE TABLE IF NOT EXISTS {source}"
		" ({ledger_id} VARCHAR(36) NOT NULL,"
		" {first_at} TIMESTAMP_NTZ(6) NOT NULL);"
		"CREATE TABLE IF NOT EXISTS {schema_version}"
		" ({version} NUMBER(9,0) NOT NULL,"
		" {applied_at} TIMESTAMP_NTZ(6) NOT NULL, {description} VARCHAR)";

	return run_script(state, tables, verdict) &&
		(state->remote->exists ||
		 run_script(state, "DELETE FROM {schema_version}", verdict));
}

/* *kept: is there a record at all? */
static bool
is_recorded(TlsfState *state, int32 version, bool *kept, bool *recorded,
			TlVerdict *verdict)
{
	Text		count;

	if (!ask(state, psprintf("SELECT COUNT(*) FROM {schema_version}"
							 " WHERE {version} = %d", version), &count,
			 kept, verdict))
		return false;
	*recorded = *kept && count.found && atoi(count.value) > 0;
	return true;
}

/* The version, and whose ledger it is. */
static bool
record(TlsfState *state, const TlMigration *step, TlVerdict *verdict)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO {source}"
						   " ({ledger_id}, {first_at}) SELECT '");
	tl_append_uuid(&sql, &state->session->ledger_id);
	appendStringInfoString(&sql, "', SYSDATE() WHERE NOT EXISTS"
						   " (SELECT 1 FROM {source})");
	if (!run_script(state, sql.data, verdict))
		return false;
	resetStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO {schema_version} ({version},"
					 " {applied_at}, {description})"
					 " SELECT %d, SYSDATE(), ", step->version);
	tlsf_quote_literal(&sql, step->description);
	return run_script(state, sql.data, verdict);
}

static bool
forget(TlsfState *state, const TlMigration *step, TlVerdict *verdict)
{
	return run_script(state,
					  psprintf("DELETE FROM {schema_version}"
							   " WHERE {version} >= %d", step->version),
					  verdict);
}

/* Statements separated by semicolons, which occur nowhere else. */
static bool
run_script(TlsfState *state, const char *script, TlVerdict *verdict)
{
	char	   *statement = pstrdup(script);

	while (statement != NULL && statement[0] != '\0')
	{
		char	   *end = strchr(statement, ';');

		if (end != NULL)
			*end++ = '\0';
		if (!tlsf_run(state, tlsf_expand(&state->name, statement), verdict))
			return false;
		statement = end;
	}
	return true;
}
