/*-------------------------------------------------------------------------
 *
 * option_value.c
 *	  Values of options: text as users write it to base units.
 *
 * One grammar for the core and every backend, and one wording of what is
 * wrong: words for booleans as PostgreSQL has them, numbers with its units.
 * Pure; what belongs to which option is decided in options.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "common/int.h"
#include "options.h"

#define MAX_SHOWN		64		/* bytes of a value in a message */

typedef struct Unit
{
	const char *name;
	int64		factor;
} Unit;

/* Largest first, for format_quantity(); the names are PostgreSQL's. */
static const Unit ms_units[] = {
	{"d", INT64CONST(86400000)}, {"h", 3600000}, {"min", 60000}, {"s", 1000},
	{"ms", 1}, {NULL, 0}
};
static const Unit byte_units[] = {
	{"TB", INT64CONST(1) << 40}, {"GB", 1 << 30}, {"MB", 1 << 20},
	{"kB", 1 << 10}, {"B", 1}, {NULL, 0}
};
static const Unit no_units[] = {
	{NULL, 0}
};

static char *normalize_bool(const char *text, char **hint);
static char *normalize_enum(const TlOption *option, const char *text,
							char **hint);
static char *normalize_number(const TlOption *option, const char *text,
							  char **hint);
static bool parse_quantity(const char *text, const Unit *units,
						   int64 *result);
static const Unit *units_of(TlOptionType type);
static char *range_hint(const TlOption *option);
static char *format_quantity(const Unit *units, int64 value);
static bool name_valid(const char *name);

char *
option_normalize(const TlOption *option, const char *text, char **hint)
{
	*hint = NULL;
	switch (option->type)
	{
		case TL_STRING_OPT:
			return pstrdup(text);
		case TL_BOOL_OPT:
			return normalize_bool(text, hint);
		case TL_ENUM_OPT:
			return normalize_enum(option, text, hint);
		case TL_INT_OPT:
		case TL_MS_OPT:
		case TL_BYTES_OPT:
			return normalize_number(option, text, hint);
	}
	return NULL;
}

static char *
normalize_bool(const char *text, char **hint)
{
	static const char *const words[] = {"on", "true", "yes", "1",
	"off", "false", "no", "0"};

	for (int i = 0; i < lengthof(words); i++)
		if (pg_strcasecmp(text, words[i]) == 0)
			return pstrdup(i < lengthof(words) / 2 ? "on" : "off");
	*hint = pstrdup("Write \"on\" or \"off\".");
	return NULL;
}

static char *
normalize_enum(const TlOption *option, const char *text, char **hint)
{
	StringInfoData known;

	initStringInfo(&known);
	for (const char *const *value = option->values; *value != NULL; value++)
	{
		if (pg_strcasecmp(text, *value) == 0)
			return pstrdup(*value);
		appendStringInfo(&known, "%s%s", known.len > 0 ? ", " : "", *value);
	}
	*hint = psprintf("Available values: %s.", known.data);
	return NULL;
}

static char *
normalize_number(const TlOption *option, const char *text, char **hint)
{
	int64		value;
	bool		limited = option->min != 0 || option->max != 0;

	if (parse_quantity(text, units_of(option->type), &value) &&
		(limited ? value >= option->min && value <= option->max :
		 option->type == TL_INT_OPT || value >= 0))
		return psprintf(INT64_FORMAT, value);
	*hint = range_hint(option);
	return NULL;
}

/* "10", "1.5MB" or "30 s", rounded to the base unit. */
static bool
parse_quantity(const char *text, const Unit *units, int64 *result)
{
	const char *digits = text + (*text == '-' || *text == '+');
	int			whole = strspn(digits, "0123456789");
	int			fraction = 0;
	const char *rest;
	int64		factor = 1;
	double		value;

	if (digits[whole] == '.')
		fraction = 1 + (int) strspn(digits + whole + 1, "0123456789");
	if (whole == 0 || whole > 18 || fraction == 1 ||
		(fraction > 1 && units->name == NULL))
		return false;
	rest = digits + whole + fraction;
	rest += strspn(rest, " ");
	if (*rest != '\0')
	{
		while (units->name != NULL && strcmp(units->name, rest) != 0)
			units++;
		if (units->name == NULL)
			return false;
		factor = units->factor;
	}

	if (fraction == 0)
		return !pg_mul_s64_overflow(strtoll(text, NULL, 10), factor, result);
	value = rint(strtod(text, NULL) * (double) factor);
	*result = fabs(value) < 1e15 ? (int64) value : 0;
	return fabs(value) < 1e15;
}

static const Unit *
units_of(TlOptionType type)
{
	return type == TL_MS_OPT ? ms_units :
		type == TL_BYTES_OPT ? byte_units : no_units;
}

static char *
range_hint(const TlOption *option)
{
	const Unit *units = units_of(option->type);
	const char *what = option->type == TL_MS_OPT ?
		"a time, such as 500ms, 30s, 5min or 2h" :
		option->type == TL_BYTES_OPT ?
		"a size, such as 64kB or 8MB" : "a whole number";

	if (option->min == 0 && option->max == 0)
		return psprintf("Write %s.", what);
	return psprintf("Write %s, from %s to %s.", what,
					format_quantity(units, option->min),
					format_quantity(units, option->max));
}

/* In the largest unit that divides it. */
static char *
format_quantity(const Unit *units, int64 value)
{
	for (; units->name != NULL; units++)
		if (value % units->factor == 0 && (value != 0 || units->factor == 1))
			return psprintf(INT64_FORMAT "%s", value / units->factor,
							units->name);
	return psprintf(INT64_FORMAT, value);
}

char *
option_shown(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	for (; *text != '\0' && out.len < MAX_SHOWN; text++)
		appendStringInfoChar(&out,
							 *text >= ' ' && *text < 0x7f ? *text : '?');
	if (*text != '\0')
		appendStringInfoString(&out, "...");
	return out.data;
}

char *
option_check(const TlOption *option)
{
	const uint32 known = TL_OPT_REQUIRED | TL_OPT_SECRET |
		TL_OPT_DESTINATION | TL_OPT_PREFIX;
	char	   *hint;

	if (!name_valid(option->name))
		return psprintf("option \"%s\" has a malformed name",
						option_shown(option->name));
	if (option->type < TL_STRING_OPT || option->type > TL_ENUM_OPT)
		return psprintf("option \"%s\" is of an unknown type", option->name);
	if ((option->flags & ~known) != 0)
		return psprintf("option \"%s\" has unknown flags", option->name);
	if (option->type == TL_ENUM_OPT &&
		(option->values == NULL || option->values[0] == NULL))
		return psprintf("option \"%s\" has no values", option->name);
	if (option->min > option->max)
		return psprintf("option \"%s\" has a minimum above its maximum",
						option->name);
	if ((option->flags & TL_OPT_SECRET) != 0 &&
		(option->type != TL_STRING_OPT || option->default_value != NULL))
		return psprintf("option \"%s\" is a secret that is not a string, or has a default",
						option->name);
	if (option->default_value != NULL &&
		option_normalize(option, option->default_value, &hint) == NULL)
		return psprintf("option \"%s\" has an invalid default",
						option->name);
	return NULL;
}

/* As the URL's grammar has them. */
static bool
name_valid(const char *name)
{
	if (strlen(name) > 63 ||
		(!isalpha((unsigned char) *name) && *name != '_'))
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char) *name) && strchr("_.-", *name) == NULL)
			return false;
	return true;
}

const char *
option_type_name(TlOptionType type)
{
	switch (type)
	{
		case TL_STRING_OPT:
			return "string";
		case TL_BOOL_OPT:
			return "boolean";
		case TL_INT_OPT:
			return "integer";
		case TL_MS_OPT:
			return "time";
		case TL_BYTES_OPT:
			return "size";
		case TL_ENUM_OPT:
			return "enum";
	}
	return "unknown";
}

/* Levenshtein's distance, of the first 63 bytes. */
static int
edit_distance(const char *a, const char *b)
{
	int			row[64];
	int			la = Min(strlen(a), 63);
	int			lb = Min(strlen(b), 63);

	for (int j = 0; j <= lb; j++)
		row[j] = j;
	for (int i = 1; i <= la; i++)
	{
		int			diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= lb; j++)
		{
			int			above = row[j];
			int			best = diagonal + (a[i - 1] != b[j - 1]);

			best = Min(best, above + 1);
			row[j] = Min(best, row[j - 1] + 1);
			diagonal = above;
		}
	}
	return row[lb];
}

const char *
closest_match(const char *name, const char *const *candidates, int n)
{
	const char *best = NULL;
	int			distance = 1 + (int) strlen(name) / 4;

	for (int i = 0; i < n; i++)
	{
		int			d = edit_distance(name, candidates[i]);

		if (d < distance || (d == distance && best == NULL))
		{
			best = candidates[i];
			distance = d;
		}
	}
	return best;
}
