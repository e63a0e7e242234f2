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

#include "options.h"

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
	value->value = option_normalize(value->option, given->value, hint);
	if (value->value == NULL)
		*error = psprintf("invalid value for option \"%s\": \"%s\"",
						  given->name, option_shown(given->value));
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
			option_normalize(option, option->default_value, &ignored);
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

const TlOption *
option_find(const TlOption *array, const char *name)
{
	for (; array != NULL && array->name != NULL; array++)
		if (strcmp(array->name, name) == 0 &&
			(array->flags & TL_OPT_PREFIX) == 0)
			return array;
	return NULL;
}

static int
count_options(const TlOption *array)
{
	int			n = 0;

	while (array != NULL && array[n].name != NULL)
		n++;
	return n;
}
