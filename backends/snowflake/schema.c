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
 * DDL is not transactional: ../common/tl_schema.c says what follows.
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
static TlOutcome judge(TlsfState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(void *arg, TlVerdict *verdict);
static bool prepare(TlsfState *state, TlVerdict *verdict);
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

/* TlBackend.inspect */
TlOutcome
tlsf_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	bool		kept;

	state->remote = NULL;		/* look again, whatever is known */
	tl_clear_remote(remote);
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

/* Can the table be filled? */
static TlOutcome
judge(TlsfState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlsf_list_differences(state->remote, remote->version,
						  tl_newest_version(tlsf_migrations),
						  &remote->differences, &fatal);
	return tl_judge_fillable(state->name.quoted, &fatal, "000904", verdict);
}

/* TlBackend.migrate */
TlOutcome
tlsf_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	TlOutcome	outcome = tl_migrate(&scripts, state, step, up, verdict);

	state->remote = NULL;		/* look again */
	return outcome;
}

/* TlScripts.judge */
static TlOutcome
adoptable(void *arg, TlVerdict *verdict)
{
	TlsfState  *state = arg;
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
	return tl_judge_ours(state->name.quoted, &fatal, "002002", verdict);
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

	return tl_run_script(&scripts, state, tables, verdict) &&
		(state->remote->exists ||
		 run(state, "DELETE FROM {schema_version}", verdict));
}

/* TlScripts.is_recorded */
static bool
is_recorded(void *arg, int32 version, bool *recorded, TlVerdict *verdict)
{
	TlsfState  *state = arg;
	Text		count;
	bool		kept;

	if (!ask(state, psprintf("SELECT COUNT(*) FROM {schema_version}"
							 " WHERE {version} = %d", version), &count,
			 &kept, verdict))
		return false;
	*recorded = kept && state->remote->exists && count.found &&
		atoi(count.value) > 0;
	return (kept && state->remote->exists) || prepare(state, verdict);
}

/* TlScripts.run */
static bool
run(void *arg, const char *statement, TlVerdict *verdict)
{
	TlsfState  *state = arg;

	return tlsf_run(state, tlsf_expand(&state->name, statement), verdict);
}

/* TlScripts.record */
static bool
record(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	TlsfState  *state = arg;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO {source}"
						   " ({ledger_id}, {first_at}) SELECT '");
	tl_append_uuid(&sql, &state->session->ledger_id);
	appendStringInfoString(&sql, "', SYSDATE() WHERE NOT EXISTS"
						   " (SELECT 1 FROM {source})");
	if (!run(state, sql.data, verdict))
		return false;
	resetStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO {schema_version} ({version},"
					 " {applied_at}, {description})"
					 " SELECT %d, SYSDATE(), ", step->version);
	tlsf_quote_literal(&sql, step->description);
	return run(state, sql.data, verdict);
}

/* TlScripts.forget */
static bool
forget(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	return run(arg, psprintf("DELETE FROM {schema_version}"
							 " WHERE {version} >= %d", step->version),
			   verdict);
}
