/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  The events table's columns, and which others can hold the same.
 *
 * The server converts what is sent to the type of its column, without a word
 * if that rounds or cuts a value.  So only types are accepted that hold every
 * value of the ledger's as it is; the rest is a difference that keeps the
 * table from being filled.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

#define MICROSECONDS		"DateTime64(6, 'UTC')"

const TlchExpected tlch_expected[] = {
	{"event_id", TL_UUID, "UUID", false, false, 100},
	{"trace_id", TL_UUID, "UUID", true, false, 100},
	{"span_id", TL_UUID, "UUID", true, false, 100},
	{"parent_span_id", TL_UUID, "UUID", true, false, 100},
	{"timestamp", TL_TIMESTAMP, MICROSECONDS, false, false, 100},
	{"duration_ms", TL_FLOAT64, "Float64", true, false, 100},
	{"provider", TL_TEXT, "String", false, true, 100},
	{"model", TL_TEXT, "String", false, true, 100},
	{"input_tokens", TL_INT64, "Int64", false, false, 100},
	{"output_tokens", TL_INT64, "Int64", false, false, 100},
	{"total_tokens", TL_INT64, "Int64", false, false, 100},
	{"cached_tokens", TL_INT64, "Int64", true, false, 101},
	{"cost_usd", TL_DECIMAL, "Decimal(18, 8)", true, false, 100},
	{"endpoint", TL_TEXT, "String", true, false, 100},
	{"request_type", TL_TEXT, "String", true, true, 100},
	{"user_id", TL_TEXT, "String", true, false, 100},
	{"session_id", TL_TEXT, "String", true, false, 100},
	{"organization_id", TL_TEXT, "String", true, false, 100},
	{"app_name", TL_TEXT, "String", true, true, 100},
	{"environment", TL_TEXT, "String", true, true, 100},
	{"status", TL_TEXT, "String", true, true, 100},
	{"error_type", TL_TEXT, "String", true, true, 100},
	{"error_message", TL_TEXT, "String", true, false, 100},
	{"metadata", TL_JSON, "String", true, false, 100},
	{"request_preview", TL_TEXT, "String", true, false, 100},
	{"response_preview", TL_TEXT, "String", true, false, 100},
	{"feature", TL_TEXT, "String", true, true, 103},
	{"page", TL_TEXT, "String", true, false, 103},
	{"component", TL_TEXT, "String", true, true, 103},
	{"team", TL_TEXT, "String", true, true, 103},
	{"project", TL_TEXT, "String", true, true, 103},
	{"cost_center", TL_TEXT, "String", true, true, 103},
	{"metadata_extra", TL_JSON, "String", true, false, 103},
	{.name = NULL}
};

static const char *unwrap(const char *type, bool *nullable);
static bool strip(char *type, const char *wrapper);
static bool base_fits(const char *base, TlType type);
static void compare_expected(const TlchTable *table, int32 version,
							 int32 newest, StringInfo out, StringInfo fatal);
static void compare_column(const TlchColumn *column,
						   const TlchExpected *expected, StringInfo out,
						   StringInfo fatal);
static void compare_engine(const TlchTable *table, StringInfo out,
						   StringInfo fatal);
static bool ends_with(const char *text, const char *end);

const TlchExpected *
tlch_find_expected(const char *name)
{
	for (const TlchExpected *e = tlch_expected; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

/* As ClickHouse writes it. */
const char *
tlch_type_name(const TlchExpected *column)
{
	const char *nullable = column->nullable ?
		psprintf("Nullable(%s)", column->base) : column->base;

	return column->dictionary ? psprintf("LowCardinality(%s)", nullable) :
		nullable;
}

const TlchColumn *
tlch_find_column(const TlchTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, name) == 0)
			return &table->columns[i];
	return NULL;
}

/* Can a column of this type hold every value, NULL included? */
bool
tlch_type_fits(const char *type, const TlchExpected *expected)
{
	bool		nullable;
	const char *base = unwrap(type, &nullable);

	return (nullable || !expected->nullable) &&
		base_fits(base, expected->type);
}

/* Is it ClickHouse's type JSON? */
bool
tlch_is_json(const char *type)
{
	bool		nullable;
	const char *base = unwrap(type, &nullable);

	return strcmp(base, "JSON") == 0 || strncmp(base, "JSON(", 5) == 0;
}

static const char *
unwrap(const char *type, bool *nullable)
{
	char	   *base = pstrdup(type);

	(void) strip(base, "LowCardinality(");
	*nullable = strip(base, "Nullable(");
	return base;
}

static bool
strip(char *type, const char *wrapper)
{
	Size		len = strlen(wrapper);
	Size		all = strlen(type);

	if (all <= len || strncmp(type, wrapper, len) != 0 ||
		type[all - 1] != ')')
		return false;
	type[all - 1] = '\0';
	memmove(type, type + len, all - len);
	return true;
}

/*
 * DateTime64 of more than eight digits ends in 2262, before the ledger does;
 * a Decimal needs eight digits behind the point and ten before it.
 */
static bool
base_fits(const char *base, TlType type)
{
	int			precision;
	int			scale;

	switch (type)
	{
		case TL_UUID:
			return strcmp(base, "UUID") == 0;
		case TL_TIMESTAMP:
			return sscanf(base, "DateTime64(%d", &scale) == 1 &&
				scale >= 6 && scale <= 8;
		case TL_FLOAT64:
			return strcmp(base, "Float64") == 0;
		case TL_INT64:
			return strcmp(base, "Int64") == 0 ||
				strcmp(base, "Int128") == 0 || strcmp(base, "Int256") == 0;
		case TL_DECIMAL:
			return sscanf(base, "Decimal(%d, %d)", &precision, &scale) == 2 &&
				scale >= 8 && precision - scale >= 10;
		case TL_TEXT:
			return strcmp(base, "String") == 0;
		case TL_JSON:
			return strcmp(base, "String") == 0 || tlch_is_json(base);
	}
	return false;
}

/*
 * Describes for people how the table differs from our own at the given
 * version (0: not known, so everything up to the newest is asked for).  What
 * makes it impossible to fill it goes to fatal as well.
 */
void
tlch_list_differences(const TlchTable *table, int32 version, int32 newest,
					  StringInfo out, StringInfo fatal)
{
	compare_engine(table, out, fatal);
	compare_expected(table, version, newest, out, fatal);
	for (int i = 0; i < table->ncolumns; i++)
		if (tlch_find_expected(table->columns[i].name) == NULL)
			tl_note(out, "extra column \"%s\" (%s)", table->columns[i].name,
					table->columns[i].type);
}

static void
compare_expected(const TlchTable *table, int32 version, int32 newest,
				 StringInfo out, StringInfo fatal)
{
	if (version == 0)
		version = newest;
	for (const TlchExpected *e = tlch_expected; e->name != NULL; e++)
	{
		const TlchColumn *column = tlch_find_column(table, e->name);

		if (column != NULL)
			compare_column(column, e, out, fatal);
		else if (e->since <= version)
			tl_note_missing(e->name, out, fatal);
	}
}

static void
compare_column(const TlchColumn *column, const TlchExpected *expected,
			   StringInfo out, StringInfo fatal)
{
	const char *type = tlch_type_name(expected);

	if (column->computed)
	{
		tl_note(out, "column \"%s\" is computed", column->name);
		tl_note(fatal, "column \"%s\" is computed", column->name);
	}
	if (strcmp(column->type, type) == 0)
		return;
	tl_note_type(column->name, column->type, type,
				 tlch_type_fits(column->type, expected), out, fatal);
}

/*
 * Only tables that keep every row on disk: those of the MergeTree family that
 * neither add up nor cancel rows, or a Distributed one in front of them.
 */
static void
compare_engine(const TlchTable *table, StringInfo out, StringInfo fatal)
{
	const char *engine = table->engine;
	bool		replacing = ends_with(engine, "ReplacingMergeTree");

	if (strncmp(engine, "Replicated", 10) == 0)
		engine += 10;
	else if (strncmp(engine, "Shared", 6) == 0)
		engine += 6;
	if (strcmp(engine, "MergeTree") != 0 && !replacing &&
		strcmp(engine, "Distributed") != 0)
	{
		tl_note(out, "its engine is %s", table->engine);
		tl_note(fatal, "its engine %s does not keep every row; MergeTree does",
				table->engine);
	}
	if (replacing && strstr(table->sorting_key, "event_id") == NULL)
	{
		tl_note(out, "its engine replaces rows of other events");
		tl_note(fatal, "its engine %s replaces rows of other events: event_id is"
				" not in its sorting key", table->engine);
	}
	if (strcmp(engine, "Distributed") != 0 && !table->keyed &&
		table->window <= 0)
		tl_note(out, "it remembers no tokens of inserts"
				" (non_replicated_deduplication_window)");
}

static bool
ends_with(const char *text, const char *end)
{
	Size		len = strlen(text);

	return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}
