/*-------------------------------------------------------------------------
 *
 * call.c
 *	  Calls of librdkafka that block, on a thread of their own.
 *
 * Transactions have no form of their calls that returns at once, and one that
 * is given little time and repeated may not be resumed; destroying a handle
 * joins its threads, one of which may be looking a name up.  So such a call
 * runs on a thread that lives as long as the call, and the lane waits for its
 * byte in a pipe, and with it for everything else that it must serve.
 *
 * The thread starts with all signals blocked and touches neither server nor
 * core: its memory is malloc'd.  Whoever cannot wait any longer leaves the
 * call: then handle and pipe are the thread's, which destroys them when the
 * call has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tlkf.h"

struct TlkfCall
{
	pthread_mutex_t lock;		/* of the next three */
	pthread_cond_t changed;
	bool		ended;
	bool		left;

	rd_kafka_t *rk;
	TlkfCallKind kind;
	int			timeout_ms;
	int			notify_fd;
	rd_kafka_error_t *error;	/* what the call said */
};

static bool start_thread(TlkfCall *call);
static void *run(void *arg);
static rd_kafka_error_t *perform(TlkfCall *call);
static void release(TlkfCall *call);

/* NULL: there is no memory, or no thread. */
TlkfCall *
tlkf_call_start(rd_kafka_t *rk, TlkfCallKind kind, int timeout_ms,
				int notify_fd)
{
	TlkfCall   *call = calloc(1, sizeof(TlkfCall));

	if (call == NULL)
		return NULL;
	call->rk = rk;
	call->kind = kind;
	call->timeout_ms = timeout_ms;
	call->notify_fd = notify_fd;
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->changed, NULL);
	if (start_thread(call))
		return call;
	release(call);
	return NULL;
}

static bool
start_thread(TlkfCall *call)
{
	pthread_t	thread;
	sigset_t	all;
	sigset_t	before;
	bool		ok;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ok = pthread_create(&thread, NULL, run, call) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ok)
		pthread_detach(thread);
	return ok;
}

static void *
run(void *arg)
{
	TlkfCall   *call = arg;
	rd_kafka_error_t *error = perform(call);
	bool		left;

	pthread_mutex_lock(&call->lock);
	call->error = error;
	call->ended = true;
	left = call->left;
	if (!left && write(call->notify_fd, "", 1) < 0)
	{
		/* A full pipe wakes its reader as well. */
	}
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);

	/* NB: if nobody has left it, the call may be gone by now. */
	if (left)
	{
		if (call->kind != TLKF_DESTROY)
			rd_kafka_destroy_flags(call->rk,
								   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
		close(call->notify_fd);
		release(call);
	}
	return NULL;
}

static rd_kafka_error_t *
perform(TlkfCall *call)
{
	switch (call->kind)
	{
		case TLKF_INIT_TRANSACTIONS:
			return rd_kafka_init_transactions(call->rk, call->timeout_ms);
		case TLKF_COMMIT:
			return rd_kafka_commit_transaction(call->rk, call->timeout_ms);
		case TLKF_DESTROY:
			rd_kafka_destroy_flags(call->rk,
								   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
			break;
	}
	return NULL;
}

static void
release(TlkfCall *call)
{
	if (call->error != NULL)
		rd_kafka_error_destroy(call->error);
	pthread_cond_destroy(&call->changed);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

/*
 * true: it has ended, the call is gone, and what librdkafka said is the
 * caller's.
 */
bool
tlkf_call_ended(TlkfCall *call, rd_kafka_error_t **error)
{
	bool		ended;

	pthread_mutex_lock(&call->lock);
	ended = call->ended;
	pthread_mutex_unlock(&call->lock);
	if (!ended)
		return false;
	*error = call->error;
	call->error = NULL;
	release(call);
	return true;
}

/* Waits until it has ended, without serving anything: for short times. */
bool
tlkf_call_await(TlkfCall *call, int timeout_ms)
{
	struct timespec until;
	int			failed = 0;
	bool		ended;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&call->lock);
	while (!call->ended && failed == 0)
		failed = pthread_cond_timedwait(&call->changed, &call->lock, &until);
	ended = call->ended;
	pthread_mutex_unlock(&call->lock);
	return ended;
}

/*
 * true: handle, pipe and call are the thread's from now on.  false: it has
 * ended after all.
 */
bool
tlkf_call_leave(TlkfCall *call)
{
	bool		left;

	pthread_mutex_lock(&call->lock);
	left = call->left = !call->ended;
	pthread_mutex_unlock(&call->lock);
	return left;
}
