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

static void compare_column(const TlsfColumn *column,
						   const TlExpected *expected, StringInfo out,
						   StringInfo fatal);
static bool type_fits(const char *type, TlType wanted);
static bool number_fits(const char *type, int before_point, int after_point);
static bool is_ours(const char *type, TlType wanted);
static const char *type_name(TlType type);

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
tlsf_column_fits(const TlsfColumn *column, const TlExpected *expected)
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
	for (const TlExpected *e = tl_expected; e->name != NULL; e++)
	{
		const TlsfColumn *column = tlsf_find_column(table, e->name);

		if (column != NULL)
			compare_column(column, e, out, fatal);
		else if (e->since <= (version ? version : newest))
			tl_note_missing(e->name, out, fatal);
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		const TlsfColumn *column = &table->columns[i];
		const TlExpected *e = tl_expected;

		while (e->name != NULL && pg_strcasecmp(e->name, column->name) != 0)
			e++;
		if (e->name != NULL)
			continue;
		tl_note(out, "extra column \"%s\" (%s)", column->name, column->type);
		if (!column->nullable && !column->has_default)
			tl_note(fatal, "extra column \"%s\" is NOT NULL and has no default",
					column->name);
	}
}

static void
compare_column(const TlsfColumn *column, const TlExpected *expected,
			   StringInfo out, StringInfo fatal)
{
	bool		fits = tlsf_column_fits(column, expected);

	if (fits && is_ours(column->type, expected->type))
		return;
	tl_note_type(column->name,
				 psprintf("%s%s", column->type,
						  column->nullable ? "" : " NOT NULL"),
				 type_name(expected->type), fits, out, fatal);
}
