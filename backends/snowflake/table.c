/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Looks at the table as Snowflake describes it.
 *
 * DESCRIBE TABLE and not the information schema: it needs no warehouse, and
 * tells what has just been changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlsf.h"

#define MAX_TABLE_COLUMNS	2000

typedef struct Description
{
	MemoryContext mcxt;			/* of the table's columns */
	TlsfTable  *table;
} Description;

static void take_column(void *arg, const char *const *values, int n);

/*
 * Makes state->remote describe the table; does nothing if it does already.
 *
 * NB: of a table that the role may not see Snowflake says that it does not
 * exist.
 */
bool
tlsf_load_table(TlsfState *state, TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlsfStatement statement = {0};
	Description description = {.mcxt = state->table_mcxt};
	TlsfTable  *table;
	TlsfError	error;
	bool		found;

	if (state->remote != NULL)
		return true;
	MemoryContextReset(state->table_mcxt);
	table = MemoryContextAllocZero(state->table_mcxt, sizeof(TlsfTable));
	table->columns = MemoryContextAllocZero(state->table_mcxt,
											MAX_TABLE_COLUMNS *
											sizeof(TlsfColumn));
	description.table = table;
	statement.sql = psprintf("DESCRIBE TABLE %s", state->name.quoted);
	found = tlsf_query(state, &statement, take_column, &description, &error,
					   &here);
	if (!found && !(error.status == 422 && error.missing))
	{
		if (verdict->message[0] == '\0')
			*verdict = here;
		return false;
	}
	table->exists = found;
	state->remote = table;
	return true;
}

/* A TlsfRowCB: name, type, kind, null?, default, ... */
static void
take_column(void *arg, const char *const *values, int n)
{
	Description *description = arg;
	TlsfTable  *table = description->table;
	MemoryContext old;
	TlsfColumn *column;

	if (n < 5 || values[0] == NULL || values[1] == NULL ||
		table->ncolumns == MAX_TABLE_COLUMNS)
		return;
	column = &table->columns[table->ncolumns++];
	old = MemoryContextSwitchTo(description->mcxt);
	column->name = pstrdup(values[0]);
	column->type = pstrdup(values[1]);
	column->nullable = values[3] == NULL || strcmp(values[3], "N") != 0;
	column->has_default = values[4] != NULL;
	MemoryContextSwitchTo(old);
}

/*
 * Can the batch be written?  Which columns are sent is the core's choice,
 * made when it last inspected the table; it does so again after this.
 */
bool
tlsf_batch_fits(TlsfState *state, const TlBatch *batch, TlVerdict *verdict)
{
	const TlsfTable *table = state->remote;

	if (!table->exists)
	{
		tl_fail(verdict, TL_CAUSE_SCHEMA, "002003",
				"table %s does not exist, or the role may not see it",
				state->name.quoted);
		return false;
	}
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const char *name = batch->columns[i].name;
		const TlsfColumn *column = tlsf_find_column(table, name);
		const TlExpected *expected = tl_find_expected(name);

		if (column != NULL && expected != NULL &&
			tlsf_column_fits(column, expected))
			continue;
		tl_fail(verdict, TL_CAUSE_SCHEMA, "000904",
				column == NULL ? "table %s has no column \"%s\"" :
				"table %s has another type for column \"%s\"",
				state->name.quoted, name);
		return false;
	}
	return true;
}
