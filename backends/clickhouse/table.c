/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Looks at the table in the server, and decides what it guarantees.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlch.h"

/*
 * How long a token can be relied on, given how many tokens the table
 * remembers: as if so many inserts came each second.
 */
#define INSERTS_PER_SECOND	100

static char *table_query(const TlchState *state);
static void append_window(StringInfo sql, const char *setting);
static char *columns_query(const TlchState *state);
static void read_table(TlchState *state, TlchReader *reader,
					   TlchTable *table);
static void read_columns(TlchReader *reader, TlchTable *table);
static void decide_guarantee(TlchState *state, const TlchTable *table);
static int64 token_valid_ms(const TlchTable *table);

/* Makes state->remote describe the table; does nothing if it does already. */
bool
tlch_load_table(TlchState *state, TlVerdict *verdict)
{
	TlchReader	reader;
	TlchTable  *table;
	MemoryContext old;

	if (state->remote != NULL)
		return true;
	if (!tlch_query(state, table_query(state), &reader, verdict))
		return false;
	MemoryContextReset(state->table_mcxt);
	old = MemoryContextSwitchTo(state->table_mcxt);
	table = palloc0(sizeof(TlchTable));
	read_table(state, &reader, table);
	MemoryContextSwitchTo(old);
	if (!reader.broken && table->exists)
	{
		if (!tlch_query(state, columns_query(state), &reader, verdict))
			return false;
		MemoryContextSwitchTo(state->table_mcxt);
		read_columns(&reader, table);
		MemoryContextSwitchTo(old);
	}
	if (reader.broken)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of a ClickHouse server's");
		return false;
	}
	state->remote = table;
	decide_guarantee(state, table);
	return true;
}

/*
 * One row, also where there is no such table: the version comes first, then
 * an empty engine.
 */
static char *
table_query(const TlchState *state)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT version(), any(engine), any(engine_full),"
						   " any(sorting_key),"
						   " toInt64(max(length(dependencies_table))), ");
	append_window(&sql, "non_replicated_deduplication_window");
	appendStringInfoString(&sql, ", ");
	append_window(&sql, "replicated_deduplication_window");
	appendStringInfoString(&sql, ", ");
	append_window(&sql, "replicated_deduplication_window_seconds");
	appendStringInfoString(&sql, " FROM system.tables WHERE database = ");
	tlch_quote_literal(&sql, state->table.database);
	appendStringInfoString(&sql, " AND name = ");
	tlch_quote_literal(&sql, state->table.name);
	appendStringInfoString(&sql, " FORMAT RowBinary");
	return sql.data;
}

/* The table's own value of a setting, else the server's. */
static void
append_window(StringInfo sql, const char *setting)
{
	appendStringInfo(sql,
					 "toInt64OrZero(coalesce(nullIf(extract(any(engine_full),"
					 " ' %s = (\\\\d+)'), ''), (SELECT any(value)"
					 " FROM system.merge_tree_settings WHERE name = '%s')))",
					 setting, setting);
}

static char *
columns_query(const TlchState *state)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT name, type, default_kind"
						   " FROM system.columns WHERE database = ");
	tlch_quote_literal(&sql, state->table.database);
	appendStringInfoString(&sql, " AND table = ");
	tlch_quote_literal(&sql, state->table.name);
	appendStringInfoString(&sql, " ORDER BY position FORMAT RowBinary");
	return sql.data;
}

static void
read_table(TlchState *state, TlchReader *reader, TlchTable *table)
{
	int64		own_window;
	int64		replicated_window;
	int64		seconds;
	bool		replicated;

	strlcpy(state->version, tlch_read_string(reader),
			sizeof(state->version));
	table->engine = tlch_read_string(reader);
	table->engine_full = tlch_read_string(reader);
	table->sorting_key = tlch_read_string(reader);
	table->exists = table->engine[0] != '\0';
	table->keyed = state->final;
	table->has_views = tlch_read_int64(reader) > 0;
	own_window = tlch_read_int64(reader);
	replicated_window = tlch_read_int64(reader);
	seconds = tlch_read_int64(reader);
	replicated = strncmp(table->engine, "Replicated", 10) == 0 ||
		strncmp(table->engine, "Shared", 6) == 0;
	table->window = replicated ? replicated_window : own_window;
	table->window_seconds = replicated ? seconds : 0;
}

static void
read_columns(TlchReader *reader, TlchTable *table)
{
	int			room = 64;

	table->columns = palloc(room * sizeof(TlchColumn));
	while (reader->next < reader->end)
	{
		TlchColumn *column;
		char	   *kind;

		if (table->ncolumns == room)
			table->columns = repalloc(table->columns,
									  (room *= 2) * sizeof(TlchColumn));
		column = &table->columns[table->ncolumns++];
		column->name = tlch_read_string(reader);
		column->type = tlch_read_string(reader);
		kind = tlch_read_string(reader);
		column->computed = kind[0] != '\0' && strcmp(kind, "DEFAULT") != 0;
	}
}

/*
 * A plain MergeTree logs an insert's token before its rows appear, so that
 * after a crash in between the token is known and the rows are not there: its
 * tokens alone are no proof.  Replicated tables do both in one step.  Views
 * that read the table's inserts make them several steps again, as does
 * gathering several inserts.
 */
static void
decide_guarantee(TlchState *state, const TlchTable *table)
{
	bool		atomic = table->window_seconds > 0 && table->window > 0 &&
		!table->has_views && !state->async;

	state->session->guarantee = atomic ? TL_PER_BATCH : TL_PER_ATTEMPT;
	state->session->token_valid_ms = atomic ? token_valid_ms(table) : 0;
}

/* Half of the window, in time or in inserts, whichever is shorter. */
static int64
token_valid_ms(const TlchTable *table)
{
	return Min(table->window_seconds * 1000,
			   table->window * 1000 / INSERTS_PER_SECOND) / 2;
}

/*
 * Can the batch be written?  Which columns are sent is the core's choice,
 * made when it last inspected the table; it does so again after this.
 */
bool
tlch_batch_fits(TlchState *state, const TlBatch *batch, TlVerdict *verdict)
{
	const TlchTable *table = state->remote;

	if (!table->exists)
	{
		tl_fail(verdict, TL_CAUSE_SCHEMA, "60",
				"table %s does not exist", state->table.quoted);
		return false;
	}
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const char *name = batch->columns[i].name;
		const TlchColumn *column = tlch_find_column(table, name);
		const TlchExpected *expected = tlch_find_expected(name);

		if (column != NULL && !column->computed &&
			(expected == NULL || tlch_type_fits(column->type, expected)))
			continue;
		tl_fail(verdict, TL_CAUSE_SCHEMA, column ? "53" : "16",
				column == NULL ? "table %s has no column \"%s\"" :
				column->computed ? "table %s computes its column \"%s\"" :
				"table %s has another type for column \"%s\"",
				state->table.quoted, name);
		return false;
	}
	return true;
}
