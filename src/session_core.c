/*-------------------------------------------------------------------------
 *
 * session_core.c
 *	  What the core does for a backend: struct TlCore.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"

#include "compat.h"
#include "lane_transaction.h"
#include "registry.h"
#include "session.h"

static const char *core_option(TlSession *session, const char *name);
static bool core_option_next(TlSession *session, const char *prefix,
							 int *iter, const char **name,
							 const char **value);
static bool core_secret(TlSession *session, const char *name, StringInfo out);
static void remember_secret(Session *self, const char *secret);
static TlWake core_wait(TlSession *session, TlWaitFd *fds, int nfds,
						long timeout_ms);
static void core_mark_landed(TlBatch *batch, int32 row);
static void core_mark_refused(TlBatch *batch, int32 row, const char *reason);
static const void *core_state(TlSession *session, Size *len, bool *suspect);
static void core_set_state(TlSession *session, const void *data, Size len);
static bool core_save_state(TlSession *session, const void *data, Size len);
static void core_log(TlSession *session, int elevel, const char *fmt,...)
			pg_attribute_printf(3, 4);
static uint32 network_wait_event(void);
static bool must_stop(void);
static void serve_signals(void);

const TlCore tl_core = {
	.struct_size = sizeof(TlCore),
	.option = core_option,
	.option_next = core_option_next,
	.secret = core_secret,
	.wait = core_wait,
	.mark_landed = core_mark_landed,
	.mark_refused = core_mark_refused,
	.state = core_state,
	.set_state = core_set_state,
	.save_state = core_save_state,
	.log = core_log
};

static const char *
core_option(TlSession *session, const char *name)
{
	return options_get(((Session *) session)->target->options, name);
}

static bool
core_option_next(TlSession *session, const char *prefix, int *iter,
				 const char **name, const char **value)
{
	return options_next(((Session *) session)->target->options, prefix, iter,
						name, value);
}

static bool
core_secret(TlSession *session, const char *name, StringInfo out)
{
	Session    *self = (Session *) session;
	int			before = out->len;
	char	   *error = NULL;

	if (!options_secret(self->target->options, name, out, &error))
	{
		if (error != NULL)
			core_log(session, WARNING, "%s", error);
		return false;
	}
	remember_secret(self, out->data + before);
	return true;
}

/* Once: some are asked for with each request. */
static void
remember_secret(Session *self, const char *secret)
{
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, self->secrets)
		if (strcmp(lfirst(lc), secret) == 0)
			return;
	old = MemoryContextSwitchTo(self->pub.mcxt);
	self->secrets = lappend(self->secrets, pstrdup(secret));
	MemoryContextSwitchTo(old);
}

/*
 * Waits for sockets, the latch, the postmaster's death, or time.  Serves what
 * CHECK_FOR_INTERRUPTS would, piece by piece, because that may throw and our
 * caller may be a foreign library's callback.
 */
static TlWake
core_wait(TlSession *session, TlWaitFd *fds, int nfds, long timeout_ms)
{
	TimestampTz deadline = 0;

	if (timeout_ms >= 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   timeout_ms);
	for (;;)
	{
		WaitEvent	events[8];
		WaitEventSet *set = tl_create_wait_event_set(nfds + 2);
		long		left = -1;
		int			fired;
		TlWake		wake = TL_WAKE_TIMEOUT;

		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
		for (int i = 0; i < nfds; i++)
		{
			fds[i].fired = 0;
			AddWaitEventToSet(set, fds[i].events, fds[i].fd, NULL, &fds[i]);
		}
		if (timeout_ms >= 0)
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												   deadline);
		fired = WaitEventSetWait(set, left, events, lengthof(events),
								 network_wait_event());
		FreeWaitEventSet(set);
		for (int i = 0; i < fired; i++)
		{
			if (events[i].events & WL_POSTMASTER_DEATH)
				return TL_WAKE_STOP;
			if (events[i].events & WL_LATCH_SET)
				ResetLatch(MyLatch);
			else
			{
				((TlWaitFd *) events[i].user_data)->fired = events[i].events;
				wake = TL_WAKE_FD;
			}
		}
		serve_signals();
		if (must_stop())
			return TL_WAKE_STOP;
		if (wake == TL_WAKE_FD || (timeout_ms >= 0 &&
								   GetCurrentTimestamp() >= deadline))
			return wake;
	}
}

static uint32
network_wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = tl_wait_event("TokenledgerStore");
	return event;
}

/* Has somebody asked this process to end, or this statement? */
static bool
must_stop(void)
{
	return ProcDiePending || QueryCancelPending;
}

/* NB: a barrier must be served, or DROP DATABASE elsewhere waits for us. */
static void
serve_signals(void)
{
	if (ProcSignalBarrierPending)
		ProcessProcSignalBarrier();
	if (LogMemoryContextPending)
		ProcessLogMemoryContextInterrupt();
}

static void
core_mark_landed(TlBatch *batch, int32 row)
{
	part_mark(((Attempt *) batch)->part, row, ROW_LANDED, NULL);
}

static void
core_mark_refused(TlBatch *batch, int32 row, const char *reason)
{
	Attempt    *attempt = (Attempt *) batch;
	char		text[512];

	strlcpy(text, reason ? reason : "refused by the store", sizeof(text));
	session_clean_words(attempt->session, text, sizeof(text));
	part_mark(attempt->part, row, ROW_REFUSED,
			  MemoryContextStrdup(batch->mcxt, text));
}

static const void *
core_state(TlSession *session, Size *len, bool *suspect)
{
	Session    *self = (Session *) session;
	bytea	   *state;

	*len = 0;
	*suspect = false;
	if (self->queue == NULL)
		return NULL;
	state = self->queue->call_state;
	if (state == NULL)
		state = self->queue->new_state;
	if (state == NULL)
	{
		state = self->queue->row.state;
		*suspect = self->queue->row.state_timeline != self->queue->timeline;
	}
	if (state == NULL)
		return NULL;
	*len = VARSIZE_ANY_EXHDR(state);
	return VARDATA_ANY(state);
}

static void
core_set_state(TlSession *session, const void *data, Size len)
{
	Queue	   *queue = ((Session *) session)->queue;
	MemoryContext old;
	bytea	   *state;

	if (queue == NULL)
		return;
	old = MemoryContextSwitchTo(queue->mcxt);
	state = lane_bytea(data, len);
	MemoryContextSwitchTo(old);
	queue_keep_state(queue, false);
	queue->call_state = state;
}

static bool
core_save_state(TlSession *session, const void *data, Size len)
{
	Session    *self = (Session *) session;
	MemoryContext here = CurrentMemoryContext;

	if (self->queue == NULL)
		return false;
	PG_TRY();
	{
		self->lost = !queue_save_state(self->queue, data, len);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(here);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(here);
		self->lost = true;
	}
	PG_END_TRY();
	if (!self->lost)
		queue_forget_state(self->queue);
	return !self->lost;
}

static void
core_log(TlSession *session, int elevel, const char *fmt,...)
{
	char		text[1024];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	session_clean_words((Session *) session, text, sizeof(text));
	ereport(Min(elevel, WARNING),
			(errmsg("tokenledger target \"%s\": %s", session->target, text)));
}
