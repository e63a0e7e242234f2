/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  The events table's columns, and which others can hold the same.
 *
 * A table of somebody else's is filled if each of its columns holds every
 * value of the ledger's as it is; the rest is a difference that keeps the
 * table from being filled.  Types are as DESCRIBE TABLE writes them.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

const TlsfExpected tlsf_expected[] = {
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

static void compare_column(const TlsfColumn *column,
						   const TlsfExpected *expected, StringInfo out,
						   StringInfo fatal);
static bool type_fits(const char *type, TlType wanted);
static bool number_fits(const char *type, int before_point, int after_point);
static bool is_ours(const char *type, TlType wanted);
static const char *type_name(TlType type);
static void note(StringInfo out, const char *fmt,...)
			pg_attribute_printf(2, 3);

const TlsfExpected *
tlsf_find_expected(const char *name)
{
	for (const TlsfExpected *e = tlsf_expected; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

/* Whatever its case: whoever made the table may have quoted its names. */
const TlsfColumn *
tlsf_find_column(const TlsfTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (pg_strcasecmp(table->columns[i].name, name) == 0)
			return &table->columns[i];
	return NULL;
}

/* Can the column hold every value of the ledger's, NULL included? */
bool
tlsf_column_fits(const TlsfColumn *column, const TlsfExpected *expected)
{
	return (column->nullable || expected->required) &&
		type_fits(column->type, expected->type);
}

/* NB: a TIMESTAMP_LTZ would be read in the session's time zone. */
static bool
type_fits(const char *type, TlType wanted)
{
	int			n = 0;

	switch (wanted)
	{
		case TL_UUID:
			return sscanf(type, "VARCHAR(%d)", &n) == 1 && n >= 36;
		case TL_TEXT:
			return sscanf(type, "VARCHAR(%d)", &n) == 1 && n >= 16777216;
		case TL_TIMESTAMP:
			return sscanf(type, "TIMESTAMP_NTZ(%d)", &n) == 1 && n >= 6;
		case TL_FLOAT64:
			return strcmp(type, "FLOAT") == 0;
		case TL_INT64:
			return number_fits(type, 19, 0);
		case TL_DECIMAL:
			return number_fits(type, 10, 8);
		case TL_JSON:
			return strcmp(type, "VARIANT") == 0;
	}
	return false;
}

static bool
number_fits(const char *type, int before_point, int after_point)
{
	int			precision;
	int			scale;

	return sscanf(type, "NUMBER(%d,%d)", &precision, &scale) == 2 &&
		scale >= after_point && precision - scale >= before_point;
}

/* As the migrations make it. */
static bool
is_ours(const char *type, TlType wanted)
{
	int			n = 0;

	if (wanted == TL_TEXT || wanted == TL_TIMESTAMP)
		return type_fits(type, wanted);
	if (wanted == TL_UUID)
		return sscanf(type, "VARCHAR(%d)", &n) == 1 && n == 36;
	return strcmp(type, type_name(wanted)) == 0;
}

static const char *
type_name(TlType type)
{
	switch (type)
	{
		case TL_UUID:
			return "VARCHAR(36)";
		case TL_TIMESTAMP:
			return "TIMESTAMP_NTZ(6)";
		case TL_FLOAT64:
			return "FLOAT";
		case TL_INT64:
			return "NUMBER(19,0)";
		case TL_DECIMAL:
			return "NUMBER(18,8)";
		case TL_JSON:
			return "VARIANT";
		case TL_TEXT:
			break;
	}
	return "VARCHAR";
}

/*
 * Describes for people how the table differs from our own at the given
 * version (0: not known, so everything up to the newest is asked for).  What
 * makes it impossible to fill it goes to fatal as well.
 */
void
tlsf_list_differences(const TlsfTable *table, int32 version, int32 newest,
					  StringInfo out, StringInfo fatal)
{
	for (const TlsfExpected *e = tlsf_expected; e->name != NULL; e++)
	{
		const TlsfColumn *column = tlsf_find_column(table, e->name);

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
		const TlsfColumn *column = &table->columns[i];
		const TlsfExpected *e = tlsf_expected;

		while (e->name != NULL && pg_strcasecmp(e->name, column->name) != 0)
			e++;
		if (e->name != NULL)
			continue;
		note(out, "extra column \"%s\" (%s)", column->name, column->type);
		if (!column->nullable && !column->has_default)
			note(fatal, "extra column \"%s\" is NOT NULL and has no default",
				 column->name);
	}
}

static void
compare_column(const TlsfColumn *column, const TlsfExpected *expected,
			   StringInfo out, StringInfo fatal)
{
	bool		fits = tlsf_column_fits(column, expected);

	if (fits && is_ours(column->type, expected->type))
		return;
	note(out, "column \"%s\" is %s%s instead of %s", column->name,
		 column->type, column->nullable ? "" : " NOT NULL",
		 type_name(expected->type));
	if (!fits)
		note(fatal, "column \"%s\" is %s%s instead of %s", column->name,
			 column->type, column->nullable ? "" : " NOT NULL",
			 type_name(expected->type));
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
