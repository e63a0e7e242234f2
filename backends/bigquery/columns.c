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


const TlbqExpected tlbq_expected[] = {
	{"event_id", TL_UUID, true, 100},
	{"trace_id", TL_UUID, false, 100},
	{"span_id", TL_UUID, false, 100},
	{"parent_span_id", TL_UUID, false, 100},
	{"timestamp", TL_TIMESTAMP, true, 100},
	{"duration_ms", TL_FLOAT64, false, 100},
	{"provider", TL_TEXT, true, 100},
	{"model", TL_TEXT, true, 100},
	{"input_tokens", TL_INT64, true, 100},
	{"output_tokens", TL_INT64, true, 100},
	{"total_tokens", TL_INT64, true, 100},
	{"cached_tokens", TL_INT64, false, 101},
	{"cost_usd", TL_DECIMAL, false, 100},
	{"endpoint", TL_TEXT, false, 100},
	{"request_type", TL_TEXT, false, 100},
	{"user_id", TL_TEXT, false, 100},
	{"session_id", TL_TEXT, false, 100},
	{"organization_id", TL_TEXT, false, 100},
	{"app_name", TL_TEXT, false, 100},
	{"environment", TL_TEXT, false, 100},
	{"status", TL_TEXT, false, 100},
	{"error_type", TL_TEXT, false, 100},
	{"error_message", TL_TEXT, false, 100},
	{"metadata", TL_JSON, false, 100},
	{"request_preview", TL_TEXT, false, 100},
	{"response_preview", TL_TEXT, false, 100},
	{"feature", TL_TEXT, false, 103},
	{"page", TL_TEXT, false, 103},
	{"component", TL_TEXT, false, 103},
	{"team", TL_TEXT, false, 103},
	{"project", TL_TEXT, false, 103},
	{"cost_center", TL_TEXT, false, 103},
	{"metadata_extra", TL_JSON, false, 103},
	{.name = NULL}
};

static void compare_column(const TlbqColumn *column,
						   const TlbqExpected *expected, StringInfo out,
						   StringInfo fatal);
static bool type_fits(const TlbqColumn *column, TlType type);
static void compare_layout(const TlbqTable *table, StringInfo out);
static void append_field(StringInfo out, const TlbqExpected *column);
static void note(StringInfo out, const char *fmt,...)
			pg_attribute_printf(2, 3);

const TlbqExpected *
tlbq_find_expected(const char *name)
{
	for (const TlbqExpected *e = tlbq_expected; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

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
tlbq_column_fits(const TlbqColumn *column, const TlbqExpected *expected)
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
		note(out, "it is a %s", table->kind);
		note(fatal, "it is a %s and not a table", table->kind);
	}
	compare_layout(table, out);
	for (const TlbqExpected *e = tlbq_expected; e->name != NULL; e++)
	{
		const TlbqColumn *column = tlbq_find_column(table, e->name);

		if (column != NULL)
			compare_column(column, e, out, fatal);
		else if (e->since <= (version ? version : newest))
		{
			note(out, "column \"%s\" is missing", e->name);
			note(fatal, "column \"%s\" is missing", e->name);
		}
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		const TlbqColumn *column = &table->columns[i];

		if (tlbq_find_expected(column->name) != NULL)
			continue;
		note(out, "extra column \"%s\" (%s)", column->name, column->type);
		if (strcmp(column->mode, "REQUIRED") == 0)
			note(fatal, "extra column \"%s\" is REQUIRED", column->name);
	}
}

static void
compare_column(const TlbqColumn *column, const TlbqExpected *expected,
			   StringInfo out, StringInfo fatal)
{
	const char *type = tlbq_type_name(expected->type);
	bool		fits = tlbq_column_fits(column, expected);

	if (fits && strcmp(column->type, type) == 0)
		return;
	note(out, "column \"%s\" is %s %s instead of %s", column->name,
		 column->type, column->mode, type);
	if (!fits)
		note(fatal, "column \"%s\" is %s %s instead of %s", column->name,
			 column->type, column->mode, type);
}

static void
compare_layout(const TlbqTable *table, StringInfo out)
{
	if (!table->partitioned)
		note(out, "it is not partitioned by time");
	else if (table->partition_field == NULL ||
			 strcmp(table->partition_field, "timestamp") != 0)
		note(out, "it is partitioned by %s instead of timestamp",
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
	for (const TlbqExpected *e = tlbq_expected; e->name != NULL; e++)
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
append_field(StringInfo out, const TlbqExpected *column)
{
	appendStringInfo(out, "{\"name\":\"%s\",\"type\":\"%s\",\"mode\":\"%s\"}",
					 column->name, tlbq_type_name(column->type),
					 column->required ? "REQUIRED" : "NULLABLE");
}

static void
note(StringInfo out, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	appendStringInfo(out, "%s%s", out->len > 0 ? "; " : "", text);
}
