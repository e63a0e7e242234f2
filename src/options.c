/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Checks the options of a target's URL against their declarations.
 *
 * Core and backends declare options as data (TlOption), so that every backend
 * has the same grammar of numbers and units, the same messages and the same
 * treatment of secrets: a secret is never written in the URL, because no
 * setting can be kept out of pg_settings, pg_file_settings and the log.  It
 * is named as <name>_file or <name>_env and read when it is needed.
 *
 * Values are kept as text in base units, which is what backends are given.
 * Nothing here looks at settings or throws (but for lack of memory).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "common/int.h"
#include "options.h"

#define MAX_SHOWN		64		/* bytes of a value in a message */

/* How the URL gave a value. */
typedef enum OptionKind
{
	OPTION_PLAIN,
	OPTION_FILE,				/* of a secret: the file's path */
	OPTION_ENV					/* of a secret: the variable's name */
} OptionKind;

typedef struct OptionValue
{
	const char *name;			/* as in the URL: "password_file" */
	const char *value;			/* in base units */
	const TlOption *option;
	OptionKind	kind;
	bool		given;			/* in the URL */
	bool		is_default;		/* has the default's value */
} OptionValue;

struct Options
{
	int			nvalues;
	OptionValue *values;
};

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

static const char *const secret_suffix[] = {"", "_file", "_env"};

static bool add_given(Options *options, const UrlOption *given,
					  const OptionSpec *spec, char **error, char **hint);
static bool add_defaults(Options *options, const TlOption *array,
						 const TlOption *precedence, char **error);
static int	compare_with_default(Options *options, const TlOption *option,
								 const char *value);
static bool check_count(const TlOption *option, int found, char **error);
static const TlOption *find_declaration(const OptionSpec *spec,
										const char *name, OptionKind *kind);
static const TlOption *find_plain(const OptionSpec *spec, const char *name);
static bool refuse_unknown(const char *name, const OptionSpec *spec,
						   char **error, char **hint);
static bool refuse_inline(const char *name, bool has_file, char **error,
						  char **hint);
static bool looks_secret(const char *name);
static bool check_secret(const OptionValue *value, char **error,
						 char **hint);
static char *normalize(const TlOption *option, const char *text, char **hint);
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
static char *shown(const char *text);
static const OptionValue *find_value(const Options *options,
									 const char *name);
static int	count_options(const TlOption *array);

Options *
options_parse(const UrlOption *given, const OptionSpec *spec, char **error,
			  char **hint)
{
	Options    *options = palloc0(sizeof(Options));
	int			n = count_options(spec->core) + count_options(spec->backend);

	*error = NULL;
	*hint = NULL;
	for (const UrlOption *option = given; option; option = option->next)
		n++;
	options->values = palloc0(sizeof(OptionValue) * (n + 1));

	for (; given != NULL; given = given->next)
		if (!add_given(options, given, spec, error, hint))
			return NULL;
	if (!add_defaults(options, spec->backend, NULL, error) ||
		!add_defaults(options, spec->core, spec->backend, error))
		return NULL;
	return options;
}

/* Checks an option of the URL and keeps it. */
static bool
add_given(Options *options, const UrlOption *given, const OptionSpec *spec,
		  char **error, char **hint)
{
	OptionValue *value = &options->values[options->nvalues];

	value->name = given->name;
	value->given = true;
	value->option = find_declaration(spec, given->name, &value->kind);
	if (value->option == NULL)
		return spec->core_only ||
			refuse_unknown(given->name, spec, error, hint);
	if (value->kind == OPTION_PLAIN &&
		((value->option->flags & TL_OPT_SECRET) != 0 ||
		 ((value->option->flags & TL_OPT_PREFIX) != 0 &&
		  looks_secret(given->name))))
		return refuse_inline(given->name,
							 (value->option->flags & TL_OPT_SECRET) != 0,
							 error, hint);

	options->nvalues++;
	if (value->kind != OPTION_PLAIN)
	{
		value->value = given->value;
		return check_secret(value, error, hint);
	}
	value->value = normalize(value->option, given->value, hint);
	if (value->value == NULL)
		*error = psprintf("invalid value for option \"%s\": \"%s\"",
						  given->name, shown(given->value));
	return value->value != NULL;
}

/* Can the secret be read? */
static bool
check_secret(const OptionValue *value, char **error, char **hint)
{
	if (value->kind == OPTION_ENV)
		return secret_read_env(value->name, value->value, NULL, error);
	if (secret_read_file(value->name, value->value, NULL, error))
		return true;
	*hint = pstrdup("The file must hold the secret and nothing else, and belong to the server's user with mode 0600 or to root with mode 0640.");
	return false;
}

/*
 * Adds what the URL does not give, in the order of the declarations.  Those
 * that precedence declares as well are left to it.
 */
static bool
add_defaults(Options *options, const TlOption *array,
			 const TlOption *precedence, char **error)
{
	for (const TlOption *option = array; option != NULL && option->name;
		 option++)
	{
		char	   *ignored;
		char	   *value = option->default_value == NULL ? NULL :
			normalize(option, option->default_value, &ignored);
		int			found;

		if ((option->flags & TL_OPT_PREFIX) != 0 ||
			option_find(precedence, option->name) != NULL)
			continue;
		found = compare_with_default(options, option, value);
		if (!check_count(option, found, error))
			return false;
		if (found == 0 && value != NULL)
			options->values[options->nvalues++] = (OptionValue) {
				.name = option->name,.value = value,.option = option,
				.is_default = true
			};
	}
	return true;
}

/* How often the URL gave the option; notes whether as its default. */
static int
compare_with_default(Options *options, const TlOption *option,
					 const char *value)
{
	int			found = 0;

	for (int i = 0; i < options->nvalues; i++)
		if (options->values[i].option == option)
		{
			found++;
			options->values[i].is_default = value != NULL &&
				strcmp(value, options->values[i].value) == 0;
		}
	return found;
}

/* NB: the URL's grammar refuses repetitions, but of a secret by two names. */
static bool
check_count(const TlOption *option, int found, char **error)
{
	if (found > 1)
		*error = psprintf("options \"%s_file\" and \"%s_env\" exclude each other",
						  option->name, option->name);
	else if (found == 0 && (option->flags & TL_OPT_REQUIRED) != 0)
		*error = psprintf("option \"%s%s\" is required", option->name,
						  (option->flags & TL_OPT_SECRET) ? "_file" : "");
	return *error == NULL;
}

/*
 * The declaration that an option of the URL belongs to.  An exact name comes
 * first, so that a backend may have a plain option "x_file" besides a secret
 * "x".
 */
static const TlOption *
find_declaration(const OptionSpec *spec, const char *name, OptionKind *kind)
{
	const TlOption *option = find_plain(spec, name);
	int			len = strlen(name);

	*kind = OPTION_PLAIN;
	if (option != NULL && (option->flags & TL_OPT_PREFIX) == 0)
		return option;
	for (int k = OPTION_FILE; k <= OPTION_ENV; k++)
	{
		int			base = len - (int) strlen(secret_suffix[k]);
		const TlOption *secret;

		if (base <= 0 || strcmp(name + base, secret_suffix[k]) != 0)
			continue;
		secret = find_plain(spec, pnstrdup(name, base));
		if (secret != NULL && (secret->flags & TL_OPT_SECRET) != 0)
		{
			*kind = k;
			return secret;
		}
	}
	return option;
}

/* By its name, else by a prefix. */
static const TlOption *
find_plain(const OptionSpec *spec, const char *name)
{
	const TlOption *option = option_find(spec->backend, name);

	if (option == NULL)
		option = option_find(spec->core, name);
	if (option != NULL || spec->backend == NULL)
		return option;
	for (option = spec->backend; option->name != NULL; option++)
		if ((option->flags & TL_OPT_PREFIX) != 0 &&
			strncmp(option->name, name, strlen(option->name)) == 0 &&
			name[strlen(option->name)] != '\0')
			return option;
	return NULL;
}

/* Says which options there are, and which one was probably meant. */
static bool
refuse_unknown(const char *name, const OptionSpec *spec, char **error,
			   char **hint)
{
	const TlOption *arrays[] = {spec->backend, spec->core};
	const char **names = palloc(sizeof(char *) *
								(count_options(spec->backend) +
								 count_options(spec->core) + 1));
	int			n = 0;
	const char *near;
	StringInfoData text;

	for (int a = 0; a < lengthof(arrays); a++)
		for (const TlOption *o = arrays[a]; o != NULL && o->name; o++)
			if (a == 0 || option_find(spec->backend, o->name) == NULL)
				names[n++] = psprintf("%s%s%s", o->name,
									  (o->flags & TL_OPT_PREFIX) ? "*" : "",
									  (o->flags & TL_OPT_SECRET) ? "_file" : "");

	initStringInfo(&text);
	near = closest_match(name, names, n);
	if (near != NULL)
		appendStringInfo(&text, "Perhaps you mean \"%s\". ", near);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s%s", i == 0 ? "Known options: " : ", ",
						 names[i]);
	appendStringInfoChar(&text, '.');
	*error = psprintf("unknown option \"%s\"", name);
	*hint = text.data;
	return false;
}

static bool
refuse_inline(const char *name, bool has_file, char **error, char **hint)
{
	*error = psprintf("option \"%s\" holds a secret, which must not be written in the URL",
					  name);
	if (has_file)
		*hint = psprintf("Put it into a file that only the server can read, and write %s_file=/path/to/file in tokenledger.targets.",
						 name);
	else
		*hint = pstrdup("The function token_ledger.backend_options() shows which options read secrets from files.");
	return false;
}

/* Of a name that only a prefix declares: is it some library's secret? */
static bool
looks_secret(const char *name)
{
	static const char *const words[] = {"password", "passwd", "passphrase",
	"secret", "private.key", "key.pem"};

	for (int i = 0; i < lengthof(words); i++)
		if (strstr(name, words[i]) != NULL)
			return true;
	return false;
}

/* The value in base units; NULL: invalid, *hint says what is valid. */
static char *
normalize(const TlOption *option, const char *text, char **hint)
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

/* Text for a message: not too long, and ASCII for every encoding. */
static char *
shown(const char *text)
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

const char *
options_get(const Options *options, const char *name)
{
	const OptionValue *value = find_value(options, name);

	return value != NULL ? value->value : NULL;
}

int64
options_get_int(const Options *options, const char *name)
{
	const char *value = options_get(options, name);

	return value != NULL ? strtoll(value, NULL, 10) : 0;
}

bool
options_get_bool(const Options *options, const char *name)
{
	const char *value = options_get(options, name);

	return value != NULL && strcmp(value, "on") == 0;
}

bool
options_given(const Options *options, const char *name)
{
	const OptionValue *value = find_value(options, name);

	return value != NULL && value->given;
}

static const OptionValue *
find_value(const Options *options, const char *name)
{
	for (int i = 0; i < options->nvalues; i++)
		if (strcmp(options->values[i].name, name) == 0)
			return &options->values[i];
	return NULL;
}

bool
options_next(const Options *options, const char *prefix, int *iter,
			 const char **name, const char **value)
{
	while (*iter < options->nvalues)
	{
		const OptionValue *found = &options->values[(*iter)++];

		if (found->kind == OPTION_PLAIN &&
			strncmp(found->name, prefix, strlen(prefix)) == 0)
		{
			*name = found->name;
			*value = found->value;
			return true;
		}
	}
	return false;
}

bool
options_secret(const Options *options, const char *name, StringInfo out,
			   char **error)
{
	const OptionValue *value;

	*error = NULL;
	value = find_value(options, psprintf("%s_file", name));
	if (value != NULL && value->kind == OPTION_FILE)
		return secret_read_file(value->name, value->value, out, error);
	value = find_value(options, psprintf("%s_env", name));
	if (value != NULL && value->kind == OPTION_ENV)
		return secret_read_env(value->name, value->value, out, error);
	return false;
}

static int
compare_values(const void *a, const void *b)
{
	return strcmp((*(const OptionValue *const *) a)->name,
				  (*(const OptionValue *const *) b)->name);
}

/*
 * Defaults are left out: so a new option with a default, and the default
 * written down, leave the destination as it was.
 */
void
options_append_destination(const Options *options, StringInfo out)
{
	const OptionValue **named = palloc(sizeof(OptionValue *) *
									   (options->nvalues + 1));
	int			n = 0;

	for (int i = 0; i < options->nvalues; i++)
	{
		const OptionValue *value = &options->values[i];

		if (value->kind == OPTION_PLAIN && !value->is_default &&
			(value->option->flags & TL_OPT_DESTINATION) != 0)
			named[n++] = value;
	}
	qsort(named, n, sizeof(OptionValue *), compare_values);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(out, "%c%s=", i == 0 ? '?' : '&', named[i]->name);
		url_append_encoded(out, named[i]->value, "/:,@");
	}
}

void
url_append_encoded(StringInfo out, const char *text, const char *also)
{
	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL ||
						 strchr(also, c) != NULL))
			appendStringInfoChar(out, *text);
		else
			appendStringInfo(out, "%%%02X", c);
	}
}

char *
option_check(const TlOption *option)
{
	const uint32 known = TL_OPT_REQUIRED | TL_OPT_SECRET |
		TL_OPT_DESTINATION | TL_OPT_PREFIX;
	char	   *hint;

	if (strlen(option->name) > 63 ||
		(!isalpha((unsigned char) *option->name) && *option->name != '_'))
		return psprintf("option \"%s\" has a malformed name",
						shown(option->name));
	for (const char *c = option->name; *c != '\0'; c++)
		if (!isalnum((unsigned char) *c) && strchr("_.-", *c) == NULL)
			return psprintf("option \"%s\" has a malformed name",
							shown(option->name));
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
		normalize(option, option->default_value, &hint) == NULL)
		return psprintf("option \"%s\" has an invalid default",
						option->name);
	return NULL;
}

const TlOption *
option_find(const TlOption *array, const char *name)
{
	for (; array != NULL && array->name != NULL; array++)
		if (strcmp(array->name, name) == 0 &&
			(array->flags & TL_OPT_PREFIX) == 0)
			return array;
	return NULL;
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

static int
count_options(const TlOption *array)
{
	int			n = 0;

	while (array != NULL && array[n].name != NULL)
		n++;
	return n;
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
