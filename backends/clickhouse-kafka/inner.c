/*-------------------------------------------------------------------------
 *
 * inner.c
 *	  A session of ClickHouse within a session of Kafka.
 *
 * The code of the backend "clickhouse" asks a core for options and secrets
 * and has it wait.  Here it gets one that answers for the ClickHouse which
 * the target's URL names besides the brokers: what both stores could have is
 * an option that begins with "clickhouse_", what only a table has is the
 * option itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlck.h"

const TlCore *tlch_core;

static TlCore inner_core;

static const char *parse_url(TlckState *state);
static const char *option(TlSession *session, const char *name);
static bool option_next(TlSession *session, const char *prefix, int *iter,
						const char **name, const char **value);
static bool secret(TlSession *session, const char *name, StringInfo out);
static TlWake wait_for(TlSession *session, TlWaitFd *fds, int nfds,
					   long timeout_ms);
static void write_log(TlSession *session, int elevel, const char *fmt,...)
			pg_attribute_printf(3, 4);

/* To be called once a process.  A table of ClickHouse has no saved state. */
void
tlck_inner_core(const TlCore *core)
{
	inner_core = (TlCore)
	{
		.struct_size = sizeof(TlCore),
		.option = option,
		.option_next = option_next,
		.secret = secret,
		.wait = wait_for,
		.mark_landed = core->mark_landed,
		.mark_refused = core->mark_refused,
		.log = write_log
	};
	tlch_core = &inner_core;
}

/* As TlBackend.open. */
TlOutcome
tlck_inner_open(TlckState *state, TlVerdict *verdict)
{
	TlSession  *outer = state->kafka.session;
	MemoryContext old = MemoryContextSwitchTo(outer->mcxt);
	const char *error;

	state->inner.pub = *outer;
	state->inner.pub.private_state = NULL;
	state->inner.outer = outer;
	state->inner.pub.user = tlkf_core->option(outer, "clickhouse_user");
	error = parse_url(state);
	MemoryContextSwitchTo(old);
	if (error != NULL)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
		return TL_REFUSED;
	}
	return tlch_open(&state->inner.pub, verdict);
}

/* scheme://host[:port][/database] */
static const char *
parse_url(TlckState *state)
{
	static const struct
	{
		const char *prefix;
		const char *tls;
	}			schemes[] = {
		{"https://", "on"}, {"http://", "off"}, {"clickhouse://", NULL}
	};
	const char *url = tlkf_core->option(state->kafka.session, "clickhouse");
	const char *rest = NULL;
	Size		len;

	if (url == NULL || url[0] == '\0')
		return "option \"clickhouse\" is missing: it names ClickHouse as https://host:port/database";
	for (int i = 0; i < lengthof(schemes) && rest == NULL; i++)
	{
		len = strlen(schemes[i].prefix);
		if (pg_strncasecmp(url, schemes[i].prefix, len) != 0)
			continue;
		rest = url + len;
		state->inner.tls = schemes[i].tls;
	}
	if (rest == NULL)
		return "option \"clickhouse\" does not begin with https://, http:// or clickhouse://";
	if (strchr(rest, '@') != NULL)
		return "option \"clickhouse\" names a user: that is option \"clickhouse_user\", and the password is in the file that \"clickhouse_password_file\" names";
	len = strcspn(rest, "/");
	if (len == 0 || strpbrk(rest, "?#,") != NULL)
		return "option \"clickhouse\" is not of the form https://host:port/database";
	state->inner.pub.hosts = pnstrdup(rest, len);
	state->inner.pub.path = rest[len] == '/' ? pstrdup(rest + len + 1) : NULL;
	return NULL;
}

static TlckInner *
inner_of(TlSession *session)
{
	return (TlckInner *) session;
}

static bool
is_one_of(const char *name, const char *const *names)
{
	while (*names != NULL && strcmp(name, *names) != 0)
		names++;
	return *names != NULL;
}

static const char *
option(TlSession *session, const char *name)
{
	static const char *const renamed[] = {
		"ca_file", "cert_file", "key_file", "password_file", "password_env",
		"token_file", "token_env", NULL
	};
	static const char *const same[] = {
		"table", "cluster", "json", "ttl", "timeout", "connect_timeout", NULL
	};
	TlckInner  *inner = inner_of(session);
	const char *engine;

	if (is_one_of(name, renamed))
		return tlkf_core->option(inner->outer,
								 psprintf("clickhouse_%s", name));
	if (is_one_of(name, same))
		return tlkf_core->option(inner->outer, name);
	if (strcmp(name, "tls") == 0)
		return inner->tls;
	if (strcmp(name, "engine") != 0)
		return NULL;
	engine = tlkf_core->option(inner->outer, name);
	return engine ? engine : "ReplacingMergeTree";
}

static bool
option_next(TlSession *session, const char *prefix, int *iter,
			const char **name, const char **value)
{
	return false;
}

static bool
secret(TlSession *session, const char *name, StringInfo out)
{
	return tlkf_core->secret(inner_of(session)->outer,
							 psprintf("clickhouse_%s", name), out);
}

static TlWake
wait_for(TlSession *session, TlWaitFd *fds, int nfds, long timeout_ms)
{
	return tlkf_core->wait(inner_of(session)->outer, fds, nfds, timeout_ms);
}

static void
write_log(TlSession *session, int elevel, const char *fmt,...)
{
	char		text[1024];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	tlkf_core->log(inner_of(session)->outer, elevel, "%s", text);
}
