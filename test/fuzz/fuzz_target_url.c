/* sources: src/target_url.c
 *-------------------------------------------------------------------------
 *
 * fuzz_target_url.c
 *	  The grammar of tokenledger.targets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"
#include "target_url.h"

const bool	fuzz_may_throw = false;

static void
check_names_differ(const TargetUrl *url)
{
	for (const TargetUrl *u = url->next; u != NULL; u = u->next)
		FUZZ_CHECK(url->database != NULL || u->database != NULL ||
				   strcmp(url->name, u->name) != 0);
}

void
fuzz_one(const char *text, size_t len)
{
	for (const TargetUrl *url = target_url_parse(text); url; url = url->next)
	{
		FUZZ_CHECK(url->name != NULL);
		FUZZ_CHECK(url->error == NULL || url->hosts == NULL);
		FUZZ_CHECK(url->error != NULL || url->scheme != NULL);
		for (const UrlOption *o = url->options; o != NULL; o = o->next)
			FUZZ_CHECK(target_url_option(url, o->name) != NULL);
		(void) target_url_applies(url, "app");
		check_names_differ(url);
	}
}
