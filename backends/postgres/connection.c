/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  Connecting with libpq without ever blocking outside of core->wait.
 *
 * Hosts are tried one by one here and not by libpq, because libpq's
 * non-blocking interface has no time limit per host: one that swallows
 * packets would hide the others for ever.  The host that answered last is
 * tried first.
 *
 * libpq looks host names up synchronously (getaddrinfo); the resolver's own
 * time limit applies there.  An address, or the option hostaddr, avoids it.
 *
 * No query is ever cancelled by a cancel request, which would block before
 * libpq 17: transactions carry a statement_timeout instead, and a connection
 * that no longer answers is closed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "../common/tl_verdict.h"
#include "tlpg.h"

#define MAX_PARAMETERS		32

/* Keywords and values for PQconnectStartParams. */
typedef struct Parameters
{
	int			n;
	const char *keywords[MAX_PARAMETERS + 1];
	const char *values[MAX_PARAMETERS + 1];
} Parameters;

/* Options of a target that libpq knows by the same name. */
static const char *const passed_on[] = {
	"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "krbsrvname",
	"channel_binding", "require_auth", "gssencmode", "hostaddr", NULL
};

/* Values of options, for tlpg_options.h. */
const char *const tlpg_session_attrs[] = {
	"any", "read-write", "primary", NULL
};

const char *const tlpg_ssl_modes[] = {
	"disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL
};

const char *const tlpg_gss_modes[] = {
	"disable", "prefer", "require", NULL
};

static bool still_open(PGconn *conn);
static bool connect_host(TlpgState *state, TlpgHost *host,
						 TlVerdict *verdict);
static void start_connection(TlpgState *state, TlpgHost *host);
static void add_security(TlpgState *state, TlpgHost *host,
						 Parameters *parameters);
static const char *default_root_certificate(TlpgState *state,
											const char *sslmode);
static bool poll_connection(TlpgState *state, int64 deadline,
							TlVerdict *verdict);
static void record_connect_error(TlpgState *state, TlVerdict *verdict);
static void ignore_notice(void *arg, const PGresult *result);

int64
tlpg_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* As tl_fail(), in words of the store's that may need cleaning. */
void
tlpg_fail(TlVerdict *verdict, TlCause cause, const char *code,
		  const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	tl_vfail(verdict, cause, code, fmt, args);
	va_end(args);
	tlpg_clean(verdict->message);
}

/* Returns true with a connection; false with a verdict. */
bool
tlpg_connect(TlpgState *state, TlVerdict *verdict)
{
	TlVerdict	last = {0};

	if (state->conn != NULL && still_open(state->conn))
		return true;

	for (int i = 0; i < state->nhosts; i++)
	{
		memset(&last, 0, sizeof(last));
		tlpg_disconnect(state);
		if (connect_host(state, &state->hosts[state->host], &last))
		{
			state->session->connects++;
			return true;
		}
		state->host = (state->host + 1) % state->nhosts;
		if (state->deadline <= tlpg_now_ms())
			break;
	}
	tlpg_disconnect(state);
	tlpg_fail(verdict, last.cause, last.code, "%s", last.message);
	return false;
}

/*
 * Has an idle connection been closed from the other side (a restart, a
 * pooler's time limit)?  The first read may only find the server's farewell.
 */
static bool
still_open(PGconn *conn)
{
	return PQconsumeInput(conn) && PQconsumeInput(conn) &&
		PQstatus(conn) == CONNECTION_OK;
}

void
tlpg_disconnect(TlpgState *state)
{
	PGconn	   *conn = state->conn;

	state->conn = NULL;
	PQclear(state->result);
	PQclear(state->rows);
	state->result = state->rows = NULL;
	if (conn != NULL)
		PQfinish(conn);
	if (state->fd_reserved)
		ReleaseExternalFD();
	state->fd_reserved = false;
	state->remote = NULL;
	if (state->table_mcxt != NULL)
		MemoryContextReset(state->table_mcxt);
}

static bool
connect_host(TlpgState *state, TlpgHost *host, TlVerdict *verdict)
{
	const char *timeout = tlpg_core->option(state->session,
											"connect_timeout");
	int64		deadline = tlpg_now_ms() + (timeout ? atoi(timeout) : 10000);

	if (!AcquireExternalFD())
	{
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "53000",
				  "no file descriptor left for a connection; raise max_files_per_process");
		return false;
	}
	state->fd_reserved = true;
	start_connection(state, host);
	if (state->conn == NULL)
	{
		tlpg_fail(verdict, TL_CAUSE_CONFIG, "53200", "out of memory");
		return false;
	}
	if (PQstatus(state->conn) == CONNECTION_BAD)
	{
		record_connect_error(state, verdict);
		return false;
	}
	PQsetErrorVerbosity(state->conn, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(state->conn, ignore_notice, NULL);
	if (!poll_connection(state, Min(deadline, state->deadline), verdict))
		return false;
	if (PQsetnonblocking(state->conn, 1) != 0)
	{
		tlpg_fail(verdict, TL_CAUSE_NETWORK, NULL, "%s",
				  PQerrorMessage(state->conn));
		return false;
	}
	return true;
}

static inline void
add(Parameters *parameters, const char *keyword, const char *value)
{
	if (value == NULL)
		return;
	Assert(parameters->n < MAX_PARAMETERS);
	parameters->keywords[parameters->n] = keyword;
	parameters->values[parameters->n++] = value;
}

/*
 * Sets state->conn.  The only startup parameters besides the usual ones are
 * client_encoding and application_name, which every pooler lets through.
 */
static void
start_connection(TlpgState *state, TlpgHost *host)
{
	TlSession  *session = state->session;
	Parameters	parameters = {0};
	StringInfoData password;
	char		name[NAMEDATALEN];
	const char *given = tlpg_core->option(session, "application_name");

	snprintf(name, sizeof(name), "tokenledger %s/%d", session->target,
			 session->lane);
	add(&parameters, "host", host->host);
	add(&parameters, "port", host->port);
	add(&parameters, "dbname", session->path);
	add(&parameters, "user", session->user);
	add(&parameters, "application_name", given ? given : name);
	add(&parameters, "client_encoding", "UTF8");
	add(&parameters, "keepalives_idle", "30");
	add(&parameters, "keepalives_interval", "10");
	add(&parameters, "keepalives_count", "3");
	add_security(state, host, &parameters);

	initStringInfo(&password);
	if (tlpg_core->secret(session, "password", &password))
		add(&parameters, "password", password.data);
	state->conn = PQconnectStartParams(parameters.keywords,
									   parameters.values, false);
	explicit_bzero(password.data, password.maxlen);
	pfree(password.data);
}

static void
add_security(TlpgState *state, TlpgHost *host, Parameters *parameters)
{
	TlSession  *session = state->session;
	const char *attrs = tlpg_core->option(session, "target_session_attrs");
	const char *sslmode = tlpg_sslmode(state, host->host);

	if (attrs == NULL && state->nhosts > 1)
		attrs = "read-write";	/* of several hosts, find the primary */
	add(parameters, "target_session_attrs", attrs);
	add(parameters, "sslmode", sslmode);
	add(parameters, "sslrootcert", default_root_certificate(state, sslmode));
	for (const char *const *name = passed_on; *name != NULL; name++)
		add(parameters, *name, tlpg_core->option(session, *name));
}

/* Verification is the default wherever a network lies in between. */
const char *
tlpg_sslmode(TlpgState *state, const char *host)
{
	const char *sslmode = tlpg_core->option(state->session, "sslmode");
	const char *hostaddr = tlpg_core->option(state->session, "hostaddr");

	if (sslmode != NULL)
		return sslmode;
	if (hostaddr != NULL && !tlpg_host_is_local(hostaddr))
		return "verify-full";
	return host[0] == '\0' || tlpg_host_is_local(host) ?
		"prefer" : "verify-full";
}

/* libpq 16 and later can use the operating system's certificates. */
static const char *
default_root_certificate(TlpgState *state, const char *sslmode)
{
	if (PQlibVersion() >= 160000 && strcmp(sslmode, "verify-full") == 0 &&
		tlpg_core->option(state->session, "sslrootcert") == NULL)
		return "system";
	return NULL;
}

static bool
poll_connection(TlpgState *state, int64 deadline, TlVerdict *verdict)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK)
	{
		TlWaitFd	fd = {PQsocket(state->conn), 0, 0};
		long		left = deadline - tlpg_now_ms();
		TlWake		wake = TL_WAKE_TIMEOUT;

		fd.events = status == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		if (left > 0)
			wake = tlpg_core->wait(state->session, &fd, 1, left);
		if (wake != TL_WAKE_FD)
		{
			tlpg_fail(verdict, TL_CAUSE_NETWORK, NULL,
					  wake == TL_WAKE_STOP ? "stopped while connecting" :
					  "no connection to \"%s\" port %s within connect_timeout",
					  state->hosts[state->host].host,
					  state->hosts[state->host].port);
			return false;
		}
		status = PQconnectPoll(state->conn);
		if (status == PGRES_POLLING_FAILED)
		{
			record_connect_error(state, verdict);
			return false;
		}
	}
	return true;
}

static void
record_connect_error(TlpgState *state, TlVerdict *verdict)
{
	char		sqlstate[6];
	char		message[sizeof(verdict->message)];
	const char *text = PQerrorMessage(state->conn);

	if (PQconnectionNeedsPassword(state->conn))
		tlpg_fail(verdict, TL_CAUSE_AUTH, "28P01",
				  "the server asks for a password, and none is set (option password_file)");
	else if (tlpg_parse_connect_error(text, sqlstate, message,
									  sizeof(message)))
		tlpg_fail(verdict, tlpg_classify(sqlstate)->cause, sqlstate, "%s",
				  message);
	else
		tlpg_fail(verdict, TL_CAUSE_NETWORK, NULL, "%s", text);
}

/* Notices would go to the server's standard error. */
static void
ignore_notice(void *arg, const PGresult *result)
{
}
