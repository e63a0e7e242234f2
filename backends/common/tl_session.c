/*-------------------------------------------------------------------------
 *
 * tl_session.c
 *	  What sessions of stores that are reached over HTTP have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_session.h"

bool
tl_bool_option(const TlCore *core, TlSession *session, const char *name,
			   bool otherwise)
{
	const char *value = core->option(session, name);

	return value ? strcmp(value, "on") == 0 : otherwise;
}

int
tl_int_option(const TlCore *core, TlSession *session, const char *name,
			  int otherwise)
{
	const char *value = core->option(session, name);

	return value ? atoi(value) : otherwise;
}

const char *
tl_endpoint_option(const TlCore *core, TlSession *session, const char *name,
				   const char **url)
{
	const char *value = core->option(session, name);
	char	   *copy;
	const char *host;

	if (value == NULL)
		return NULL;
	copy = pstrdup(value);
	while (copy[0] != '\0' && copy[strlen(copy) - 1] == '/')
		copy[strlen(copy) - 1] = '\0';
	*url = copy;
	host = strstr(copy, "://");
	if (host == NULL || (strncmp(copy, "https://", 8) != 0 &&
						 strncmp(copy, "http://", 7) != 0) ||
		host[3] == '\0' || strpbrk(host + 3, "/?#@") != NULL)
		return psprintf("option \"%s\" must be http[s]://host[:port]", name);
	return NULL;
}

bool
tl_make_client(const TlCore *core, TlSession *session,
			   const TlHttpSettings *settings, TlHttp **client,
			   TlVerdict *verdict)
{
	const char *error = NULL;

	if (*client == NULL)
		*client = tl_http_create(core, session, settings, &error);
	if (*client == NULL)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return *client != NULL;
}
