/*-------------------------------------------------------------------------
 *
 * session.c
 *	  A target opened in this process: the core's side of the hook table.
 *
 * Calls go through call(), which gives a callback the memory context that the
 * contract promises, turns what it throws into an outcome, and cleans the
 * store's words before anybody sees them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#include "compat.h"
#include "lane_transaction.h"
#include "registry.h"
#include "session.h"

typedef enum Callback
{
	CALL_SEND,
	CALL_RESOLVE,
	CALL_INSPECT,
	CALL_MIGRATE,
	CALL_WATERMARK,
	CALL_AUDIT,
	CALL_CHECK_HEALTH
} Callback;

typedef struct Call
{
	Callback	callback;
	Attempt    *attempt;
	bool		flag;			/* fence, or up */
	TlRemote   *remote;
	const TlMigration *step;
	int64		until;			/* of CALL_WATERMARK */
	const AuditRange *range;
	TlSumCB		emit;
	void	   *arg;
} Call;

static TlOutcome call(Session *session, const Call *c, TlVerdict *verdict,
					  bool *dropped);
static TlOutcome call_guarded(Session *session, const Call *c,
							  TlVerdict *verdict, bool *dropped);
static TlOutcome dispatch(Session *session, const Call *c,
						  TlVerdict *verdict);
static TlOutcome lacks(TlVerdict *verdict, const char *name);
static void thrown(TlVerdict *verdict);
static void clean_verdict(const Session *session, TlVerdict *verdict);
static void clean_text(char *text, size_t size);
static void redact(char *text, const char *secret);

Session *
session_open(const Target *target, TlRole role, Queue *queue,
			 TlVerdict *verdict)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext,
											   "tokenledger session",
											   ALLOCSET_DEFAULT_SIZES);
	Session    *session = MemoryContextAllocZero(mcxt, sizeof(Session));
	TlSession  *pub = &session->pub;
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	TlOutcome	outcome;

	pub->struct_size = sizeof(TlSession);
	pub->role = role;
	pub->target = pstrdup(target->name);
	pub->scheme = target->url->scheme;
	pub->user = target->url->user;
	pub->hosts = target->url->hosts;
	pub->path = target->url->path;
	pub->mcxt = mcxt;
	pub->guarantee = TL_PER_ATTEMPT;
	if (queue != NULL)
	{
		pub->lane = queue->lane;
		pub->epoch = queue->epoch;
		pub->ledger_id = queue->ledger_id;
	}
	session->target = target;
	session->backend = target->backend;
	session->queue = queue;
	session->call_mcxt = AllocSetContextCreate(mcxt, "tokenledger callback",
											   ALLOCSET_DEFAULT_SIZES);
	memset(verdict, 0, sizeof(*verdict));
	verdict->struct_size = sizeof(*verdict);
	PG_TRY();
	{
		outcome = session->backend->open(pub, verdict);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(mcxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	if (outcome == TL_OK)
		return session;
	clean_verdict(session, verdict);
	MemoryContextDelete(mcxt);
	return NULL;
}

void
session_close(Session *session, bool retire)
{
	session->backend->close(&session->pub, retire);
	MemoryContextDelete(session->pub.mcxt);
}

TlOutcome
session_send(Session *session, Attempt *attempt, TlVerdict *verdict,
			 bool *dropped)
{
	Call		c = {.callback = CALL_SEND, .attempt = attempt};
	Queue	   *queue = session->queue;
	TlOutcome	outcome = call(session, &c, verdict, dropped);

	/* NB: the session may be gone. */
	if (queue != NULL)
		queue_keep_state(queue, outcome == TL_OK);
	return outcome;
}

TlOutcome
session_resolve(Session *session, Attempt *attempt, bool fence,
				TlVerdict *verdict, bool *dropped)
{
	Call		c = {.callback = CALL_RESOLVE, .attempt = attempt,
	.flag = fence};

	return call(session, &c, verdict, dropped);
}

TlOutcome
session_inspect(Session *session, TlRemote *remote, TlVerdict *verdict,
				bool *dropped)
{
	Call		c = {.callback = CALL_INSPECT, .remote = remote};

	memset(remote, 0, sizeof(*remote));
	remote->struct_size = sizeof(*remote);
	remote->keeps_from = PG_INT64_MIN;
	initStringInfo(&remote->differences);
	return call(session, &c, verdict, dropped);
}

TlOutcome
session_migrate(Session *session, const TlMigration *step, bool up,
				TlVerdict *verdict, bool *dropped)
{
	Call		c = {.callback = CALL_MIGRATE, .step = step, .flag = up};

	return call(session, &c, verdict, dropped);
}

TlOutcome
session_watermark(Session *session, int64 until, TlVerdict *verdict,
				  bool *dropped)
{
	Call		c = {.callback = CALL_WATERMARK, .until = until};

	return call(session, &c, verdict, dropped);
}

TlOutcome
session_audit(Session *session, const AuditRange *range, TlSumCB emit,
			  void *arg, TlVerdict *verdict, bool *dropped)
{
	Call		c = {.callback = CALL_AUDIT, .range = range, .emit = emit,
	.arg = arg};

	return call(session, &c, verdict, dropped);
}

TlOutcome
session_check_health(Session *session, TlVerdict *verdict)
{
	Call		c = {.callback = CALL_CHECK_HEALTH};
	bool		dropped;

	return call(session, &c, verdict, &dropped);
}

const char *
cause_name(TlCause cause)
{
	static const char *const names[] = {
		[TL_CAUSE_NONE] = "unknown",
		[TL_CAUSE_NETWORK] = "network",
		[TL_CAUSE_OVERLOAD] = "overload",
		[TL_CAUSE_QUOTA] = "quota",
		[TL_CAUSE_AUTH] = "auth",
		[TL_CAUSE_CONFIG] = "config",
		[TL_CAUSE_SCHEMA] = "schema",
		[TL_CAUSE_DATA] = "data"
	};

	return (unsigned) cause < lengthof(names) ? names[cause] : "unknown";
}

bool
session_resolves(const Session *session)
{
	return session->backend->resolve != NULL &&
		session->pub.guarantee != TL_AT_LEAST_ONCE;
}

const char *
guarantee_name(const Session *session)
{
	switch (session->pub.guarantee)
	{
		case TL_PER_EVENT:
			return "exactly once, per event";
		case TL_PER_BATCH:
			return session_resolves(session) ?
				"exactly once, per batch" : "at least once";
		case TL_PER_ATTEMPT:
		case TL_AT_LEAST_ONCE:
			break;
	}
	return session_resolves(session) ?
		"exactly once, by asking the store" : "at least once";
}

static TlOutcome
call(Session *session, const Call *c, TlVerdict *verdict, bool *dropped)
{
	MemoryContext mcxt = session->call_mcxt;
	MemoryContext old;
	TlOutcome	outcome;

	if (c->attempt)
	{
		mcxt = c->attempt->pub.mcxt;
		c->attempt->session = session;
	}
	MemoryContextReset(mcxt);
	old = MemoryContextSwitchTo(mcxt);
	*dropped = false;
	memset(verdict, 0, sizeof(*verdict));
	verdict->struct_size = sizeof(*verdict);
	verdict->rows_new = -1;
	if (session->pub.role == TL_ADMIN)
		outcome = dispatch(session, c, verdict);
	else
		outcome = call_guarded(session, c, verdict, dropped);
	MemoryContextSwitchTo(old);
	clean_verdict(session, verdict);
	if (*dropped)
		MemoryContextDelete(session->pub.mcxt);
	else if (c->attempt == NULL)
		MemoryContextReset(session->call_mcxt);
	return outcome;
}

static TlOutcome
call_guarded(Session *session, const Call *c, TlVerdict *verdict,
			 bool *dropped)
{
	MemoryContext here = CurrentMemoryContext;
	volatile TlOutcome outcome = TL_UNKNOWN;

	PG_TRY();
	{
		outcome = dispatch(session, c, verdict);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(here);
		thrown(verdict);
		*dropped = true;
	}
	PG_END_TRY();
	return outcome;
}

static TlOutcome
dispatch(Session *session, const Call *c, TlVerdict *verdict)
{
	const TlBackend *backend = session->backend;
	TlSession  *pub = &session->pub;

	switch (c->callback)
	{
		case CALL_SEND:
			return backend->send(pub, &c->attempt->pub, verdict);
		case CALL_RESOLVE:
			return backend->resolve ?
				backend->resolve(pub, &c->attempt->pub, c->flag, verdict) :
				lacks(verdict, "resolve");
		case CALL_INSPECT:
			return backend->inspect ?
				backend->inspect(pub, c->remote, verdict) :
				lacks(verdict, "inspect");
		case CALL_MIGRATE:
			return backend->migrate ?
				backend->migrate(pub, c->step, c->flag, verdict) :
				lacks(verdict, "migrate");
		case CALL_WATERMARK:
			return backend->watermark ?
				backend->watermark(pub, c->until, verdict) :
				lacks(verdict, "watermark");
		case CALL_AUDIT:
			return backend->audit ?
				backend->audit(pub, c->range->from, c->range->to,
							   c->range->by_event, c->emit, c->arg,
							   verdict) :
				lacks(verdict, "audit");
		case CALL_CHECK_HEALTH:
			return backend->check_health ?
				backend->check_health(pub, verdict) :
				lacks(verdict, "check_health");
	}
	return TL_UNKNOWN;
}

static TlOutcome
lacks(TlVerdict *verdict, const char *name)
{
	verdict->cause = TL_CAUSE_CONFIG;
	snprintf(verdict->message, sizeof(verdict->message),
			 "the backend has no %s", name);
	return TL_REFUSED;
}

/* A callback threw: keep its message, leave the error state. */
static void
thrown(TlVerdict *verdict)
{
	ErrorData  *error = CopyErrorData();

	FlushErrorState();
	LWLockReleaseAll();
	snprintf(verdict->message, sizeof(verdict->message), "%s",
			 error->message ? error->message : "error without a message");
	strlcpy(verdict->code, unpack_sql_state(error->sqlerrcode),
			sizeof(verdict->code));
	FreeErrorData(error);
}

/*
 * The store's words are foreign: no control characters, whole UTF-8
 * characters, no secret.
 */
static void
clean_verdict(const Session *session, TlVerdict *verdict)
{
	session_clean_words(session, verdict->message, sizeof(verdict->message));
	clean_text(verdict->code, sizeof(verdict->code));
}

void
session_clean_words(const Session *session, char *text, size_t size)
{
	ListCell   *lc;

	foreach(lc, session->secrets)
		redact(text, lfirst(lc));
	clean_text(text, size);
}

/* Only whole, printable characters of the server's encoding. */
static void
clean_text(char *text, size_t size)
{
	int			len;

	text[size - 1] = '\0';
	len = strlen(text);
	text[pg_mbcliplen(text, len, len)] = '\0';
	if (!pg_verifymbstr(text, strlen(text), true))
	{
		for (char *p = text; *p; p++)
			*p = IS_HIGHBIT_SET(*p) ? '?' : *p;
	}
	for (char *p = text; *p; p++)
	{
		if (iscntrl((unsigned char) *p) && !IS_HIGHBIT_SET(*p))
			*p = ' ';
	}
}

static void
redact(char *text, const char *secret)
{
	size_t		len = strlen(secret);

	if (len == 0)
		return;
	for (char *p = strstr(text, secret); p != NULL; p = strstr(p, secret))
	{
		memset(p, '*', len);
		p += len;
	}
}
