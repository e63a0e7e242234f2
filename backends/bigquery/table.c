/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Looks at the table as BigQuery describes it.
 *
 * Which version the table has, and whose ledger fills it, is written in the
 * table's labels: they change in the one request that changes its columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlbq.h"

static void read_table(TlJson *answer, TlbqTable *table);
static void read_columns(TlJson *fields, TlbqTable *table);
static const char *canonical_type(const char *type);
static const char *text_or(const char *text, const char *otherwise);

/* Makes state->remote describe the table; does nothing if it does already. */
bool
tlbq_load_table(TlbqState *state, TlVerdict *verdict)
{
	MemoryContext old;
	TlbqTable  *table;
	TlbqError	error;
	TlJson	   *answer = NULL;
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	bool		sent;
	bool		found;

	if (state->remote != NULL)
		return true;
	MemoryContextReset(state->table_mcxt);
	old = MemoryContextSwitchTo(state->table_mcxt);
	table = palloc0(sizeof(TlbqTable));
	found = tlbq_rest(state, "GET", psprintf("/%s", state->name.resource),
					  NULL, NULL, &answer, &error, &sent, &here);
	if (found && tl_json_get(answer, "tableReference") != NULL)
		read_table(answer, table);
	else if (found || error.status != 404 ||
			 strcmp(error.name, "notFound") != 0)
	{
		MemoryContextSwitchTo(old);
		if (found)
			tl_fail(&here, TL_CAUSE_CONFIG, NULL,
					"the answer is not one of BigQuery's");
		if (verdict->message[0] == '\0')
			*verdict = here;
		return false;
	}
	MemoryContextSwitchTo(old);
	state->remote = table;
	return true;
}

static void
read_table(TlJson *answer, TlbqTable *table)
{
	TlJson	   *partitioning = tl_json_get(answer, "timePartitioning");

	table->exists = true;
	table->etag = tl_json_get_text(answer, "etag");
	table->kind = text_or(tl_json_get_text(answer, "type"), "TABLE");
	table->version = (int32)
		tl_json_get_int64(answer, "labels." TLBQ_VERSION_LABEL, 0);
	table->ledger = tl_json_get_text(answer, "labels." TLBQ_LEDGER_LABEL);
	table->partitioned = (partitioning != NULL);
	table->partition_field = tl_json_get_text(partitioning, "field");
	table->expiration_ms = tl_json_get_int64(partitioning, "expirationMs", 0);
	table->fields = tl_json_get(answer, "schema.fields");
	read_columns(table->fields, table);
}

static void
read_columns(TlJson *fields, TlbqTable *table)
{
	table->ncolumns = tl_json_length(fields);
	table->columns = palloc0((table->ncolumns + 1) * sizeof(TlbqColumn));
	for (int i = 0; i < table->ncolumns; i++)
	{
		TlJson	   *field = tl_json_item(fields, i);
		TlbqColumn *column = &table->columns[i];

		column->name = text_or(tl_json_get_text(field, "name"), "");
		column->type = canonical_type(text_or(tl_json_get_text(field, "type"),
											  ""));
		column->mode = text_or(tl_json_get_text(field, "mode"), "NULLABLE");
		if (column->mode[0] == '\0')
			column->mode = "NULLABLE";
		column->scale = tl_json_get_int64(field, "scale", 0);
		column->precision = Max(tl_json_get_int64(field, "precision", 0),
								tl_json_get_int64(field, "maxLength", 0));
	}
}

/* Each type has a name of old and one of SQL. */
static const char *
canonical_type(const char *type)
{
	static const char *const pairs[][2] = {
		{"INT64", "INTEGER"}, {"FLOAT64", "FLOAT"}, {"BOOL", "BOOLEAN"},
		{"STRUCT", "RECORD"}, {"DECIMAL", "NUMERIC"},
		{"BIGDECIMAL", "BIGNUMERIC"}
	};

	for (int i = 0; i < lengthof(pairs); i++)
		if (strcmp(type, pairs[i][0]) == 0)
			return pairs[i][1];
	return type;
}

static const char *
text_or(const char *text, const char *otherwise)
{
	return text ? text : otherwise;
}

/*
 * Can the batch be written?  Which columns are sent is the core's choice,
 * made when it last inspected the table; it does so again after this.
 */
bool
tlbq_batch_fits(TlbqState *state, const TlBatch *batch, TlVerdict *verdict)
{
	const TlbqTable *table = state->remote;

	if (!table->exists)
	{
		tl_fail(verdict, TL_CAUSE_SCHEMA, "404",
				"table %s does not exist", state->name.quoted);
		return false;
	}
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const char *name = batch->columns[i].name;
		const TlbqColumn *column = tlbq_find_column(table, name);
		const TlExpected *expected = tl_find_expected(name);

		if (column != NULL && expected != NULL &&
			tlbq_column_fits(column, expected))
			continue;
		tl_fail(verdict, TL_CAUSE_SCHEMA, "400",
				column == NULL ? "table %s has no column \"%s\"" :
				"table %s has another type for column \"%s\"",
				state->name.quoted, name);
		return false;
	}
	return true;
}
