/*-------------------------------------------------------------------------
 *
 * tl_schema.c
 *	  Judging and migrating the events table of a store without transactions.
 *
 * A step is a series of statements, each of the IF NOT EXISTS kind, and its
 * row in the version table comes last.  So a step that was cut off, or that
 * two sessions do at once, is simply done again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_schema.h"
#include "tl_verdict.h"

void
tl_clear_remote(TlRemote *remote)
{
	if (remote->differences.data == NULL)
		initStringInfo(&remote->differences);
	remote->exists = remote->has_ledger_id = false;
	remote->version = 0;
	remote->keeps_from = PG_INT64_MIN;
}

int32
tl_newest_version(const TlMigration *migrations)
{
	return tl_version_before(migrations, PG_INT32_MAX);
}

int32
tl_version_before(const TlMigration *migrations, int32 version)
{
	int32		before = 0;

	for (const TlMigration *m = migrations;
		 m->version != 0 && m->version < version; m++)
		before = m->version;
	return before;
}

TlOutcome
tl_judge_fillable(const char *table, const StringInfo fatal, const char *code,
				  TlVerdict *verdict)
{
	if (fatal->len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, code, "table %s cannot be filled: %s",
			table, fatal->data);
	return TL_REFUSED;
}

/*
 * A table that is there but could not be filled at version 1.0 is none of
 * ours: recording versions for it would only hide what is wrong with it.
 */
TlOutcome
tl_judge_ours(const char *table, const StringInfo fatal, const char *code,
			  TlVerdict *verdict)
{
	if (fatal->len == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, code,
			"table %s was not made by tokenledger: %s", table, fatal->data);
	return TL_REFUSED;
}

TlOutcome
tl_migrate(const TlScripts *scripts, void *state, const TlMigration *step,
		   bool up, TlVerdict *verdict)
{
	TlOutcome	outcome;
	bool		recorded;

	if (!up && step->down == NULL)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"version %d.%d of the table cannot be undone",
				step->version / 100, step->version % 100);
		return TL_REFUSED;
	}
	outcome = scripts->judge(state, verdict);
	if (outcome != TL_OK)
		return outcome;
	if (!scripts->is_recorded(state, step->version, &recorded, verdict))
		return TL_RETRY;
	if (recorded == up)
		return TL_OK;
	if (!tl_run_script(scripts, state, up ? step->up : step->down, verdict) ||
		!(up ? scripts->record : scripts->forget) (state, step, verdict))
		return TL_RETRY;
	return TL_OK;
}

bool
tl_run_script(const TlScripts *scripts, void *state, const char *script,
			  TlVerdict *verdict)
{
	char	   *statement = pstrdup(script);

	while (statement != NULL && statement[0] != '\0')
	{
		char	   *end = strchr(statement, ';');

		if (end != NULL)
			*end++ = '\0';
		if (!scripts->run(state, statement, verdict))
			return false;
		statement = end;
	}
	return true;
}
