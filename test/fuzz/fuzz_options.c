/* sources: src/options.c src/option_value.c src/secret.c src/target_url.c
 *-------------------------------------------------------------------------
 *
 * fuzz_options.c
 *	  The options of a URL, against declarations of every type.
 *
 * What is accepted is accepted again in the form that it was given.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>

#include "fuzz.h"
#include "options.h"
#include "storage/fd.h"

const bool	fuzz_may_throw = false;

static const char *const colors[] = {"red", "Green", NULL};

static const TlOption core[] = {
	{.name = "n", .type = TL_INT_OPT, .default_value = "1", .min = 1,
	.max = 64},
	{.name = "any", .type = TL_INT_OPT},
	{.name = "t", .type = TL_MS_OPT, .default_value = "30s", .min = 100,
	.max = 86400000},
	{.name = "b", .type = TL_BYTES_OPT},
	{.name = "c", .type = TL_BOOL_OPT},
	{.name = NULL}
};

static const TlOption backend[] = {
	{.name = "e", .type = TL_ENUM_OPT, .values = colors},
	{.name = "s", .type = TL_STRING_OPT, .flags = TL_OPT_DESTINATION},
	{.name = "password", .type = TL_STRING_OPT, .flags = TL_OPT_SECRET},
	{.name = "lib.", .type = TL_STRING_OPT, .flags = TL_OPT_PREFIX},
	{.name = NULL}
};

/* No file of this machine is the input's to read. */
int
BasicOpenFile(const char *name, int flags)
{
	return open("/dev/null", O_RDONLY);
}

static void
check_stable(const TlOption *option, const char *text)
{
	char	   *hint = NULL;
	char	   *value = option_normalize(option, text, &hint);

	FUZZ_CHECK((value == NULL) == (hint != NULL));
	if (value == NULL || option->type == TL_STRING_OPT)
		return;
	FUZZ_CHECK(strcmp(option_normalize(option, value, &hint), value) == 0);
}

void
fuzz_one(const char *text, size_t len)
{
	StringInfoData entry;
	OptionSpec	spec = {.core = core, .backend = backend};
	TargetUrl  *url;
	Options    *options;
	char	   *error = NULL;
	char	   *hint = NULL;

	for (const TlOption *option = core; option->name != NULL; option++)
		check_stable(option, text);
	check_stable(&backend[0], text);

	initStringInfo(&entry);
	appendStringInfo(&entry, "a=x://h/?%s", text);
	url = target_url_parse(entry.data);
	if (url == NULL || url->error != NULL)
		return;
	options = options_parse(url->options, &spec, &error, &hint);
	FUZZ_CHECK((options == NULL) == (error != NULL));
	if (options == NULL)
		return;
	FUZZ_CHECK(options_get_int(options, "n") >= 1 &&
			   options_get_int(options, "n") <= 64);
	FUZZ_CHECK(options_get(options, "password") == NULL);
	options_append_destination(options, &entry);
}
