/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  The events table's columns, and which others can hold the same.
 *
 * A table of somebody else's is filled if each of its columns holds every
 * value of the ledger's as it is; the rest is a difference that keeps the
 * table from being filled.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

static void compare_column(const TlbqColumn *column,
						   const TlExpected *expected, StringInfo out,
						   StringInfo fatal);
static bool type_fits(const TlbqColumn *column, TlType type);
static void compare_layout(const TlbqTable *table, StringInfo out);
static void append_field(StringInfo out, const TlExpected *column);

/* As the REST interface writes it. */
const char *
tlbq_type_name(TlType type)
{
	switch (type)
	{
		case TL_TIMESTAMP:
			return "TIMESTAMP";
		case TL_FLOAT64:
			return "FLOAT";
		case TL_INT64:
			return "INTEGER";
		case TL_DECIMAL:
			return "NUMERIC";
		case TL_JSON:
			return "JSON";
		case TL_UUID:
		case TL_TEXT:
			break;
	}
	return "STRING";
}

/* Names of columns do not depend on case. */
const TlbqColumn *
tlbq_find_column(const TlbqTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (pg_strcasecmp(table->columns[i].name, name) == 0)
			return &table->columns[i];
	return NULL;
}

/* Can the column hold every value of the ledger's, NULL included? */
bool
tlbq_column_fits(const TlbqColumn *column, const TlExpected *expected)
{
	if (strcmp(column->mode, "REPEATED") == 0 ||
		(strcmp(column->mode, "REQUIRED") == 0 && !expected->required))
		return false;
	return type_fits(column, expected->type);
}

/* A decimal needs eight digits behind the point and ten before it. */
static bool
type_fits(const TlbqColumn *column, TlType type)
{
	bool		big = strcmp(column->type, "BIGNUMERIC") == 0;

	if (type == TL_DECIMAL && (big || strcmp(column->type, "NUMERIC") == 0))
		return column->precision == 0 ||
			(column->scale >= 8 && column->precision - column->scale >= 10);
	if (type == TL_INT64 && (big || strcmp(column->type, "NUMERIC") == 0))
		return column->precision == 0 ||
			column->precision - column->scale >= 19;
	if (type == TL_JSON && strcmp(column->type, "STRING") == 0)
		return column->precision == 0;
	return strcmp(column->type, tlbq_type_name(type)) == 0 &&
		column->precision == 0;
}

/*
 * Describes for people how the table differs from our own at the given
 * version (0: not known, so everything up to the newest is asked for).  What
 * makes it impossible to fill it goes to fatal as well.
 */
void
tlbq_list_differences(const TlbqTable *table, int32 version, int32 newest,
					  StringInfo out, StringInfo fatal)
{
	if (strcmp(table->kind, "TABLE") != 0)
	{
		tl_note(out, "it is a %s", table->kind);
		tl_note(fatal, "it is a %s and not a table", table->kind);
	}
	compare_layout(table, out);
	for (const TlExpected *e = tl_expected; e->name != NULL; e++)
	{
		const TlbqColumn *column = tlbq_find_column(table, e->name);

		if (column != NULL)
			compare_column(column, e, out, fatal);
		else if (e->since <= (version ? version : newest))
			tl_note_missing(e->name, out, fatal);
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		const TlbqColumn *column = &table->columns[i];

		if (tl_find_expected(column->name) != NULL)
			continue;
		tl_note(out, "extra column \"%s\" (%s)", column->name, column->type);
		if (strcmp(column->mode, "REQUIRED") == 0)
			tl_note(fatal, "extra column \"%s\" is REQUIRED", column->name);
	}
}

static void
compare_column(const TlbqColumn *column, const TlExpected *expected,
			   StringInfo out, StringInfo fatal)
{
	const char *type = tlbq_type_name(expected->type);
	bool		fits = tlbq_column_fits(column, expected);

	if (fits && strcmp(column->type, type) == 0)
		return;
	tl_note_type(column->name, psprintf("%s %s", column->type, column->mode),
				 type, fits, out, fatal);
}

static void
compare_layout(const TlbqTable *table, StringInfo out)
{
	if (!table->partitioned)
		tl_note(out, "it is not partitioned by time");
	else if (table->partition_field == NULL ||
			 strcmp(table->partition_field, "timestamp") != 0)
		tl_note(out, "it is partitioned by %s instead of timestamp",
				table->partition_field ? table->partition_field :
				"the time of arrival");
}

/*
 * Appends the schema.fields of a table that goes from one version to another:
 * what it has (NULL: nothing), then what the versions in between add.  Given
 * as a whole, as BigQuery wants it.
 */
void
tlbq_append_fields(StringInfo out, int32 after, int32 version,
				   const TlbqTable *table)
{
	const char *separator = "";

	appendStringInfoChar(out, '[');
	for (int i = 0; table != NULL && i < tl_json_length(table->fields); i++)
	{
		appendStringInfo(out, "%s%s", separator,
						 tl_json_print(tl_json_item(table->fields, i)));
		separator = ",";
	}
	for (const TlExpected *e = tl_expected; e->name != NULL; e++)
	{
		if (e->since <= after || e->since > version ||
			(table != NULL && tlbq_find_column(table, e->name) != NULL))
			continue;
		appendStringInfoString(out, separator);
		append_field(out, e);
		separator = ",";
	}
	appendStringInfoChar(out, ']');
}

static void
append_field(StringInfo out, const TlExpected *column)
{
	appendStringInfo(out, "{\"name\":\"%s\",\"type\":\"%s\",\"mode\":\"%s\"}",
					 column->name, tlbq_type_name(column->type),
					 column->required ? "REQUIRED" : "NULLABLE");
}
