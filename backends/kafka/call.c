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

#define DESTROY_MS		2000
#define LEAVE_MS		100		/* see end() */

struct TlkfCall
{
	pthread_mutex_t lock;		/* of the next three */
	pthread_cond_t changed;
	bool		ended;
	bool		left;

	TlkfCallArgs args;
	char	   *group;			/* malloc'd copy */
	rd_kafka_error_t *error;	/* what the call said */
};

static bool start_thread(TlkfCall *call);
static void *run(void *arg);
static rd_kafka_error_t *perform(const TlkfCallArgs *args);
static rd_kafka_error_t *send_offsets(const TlkfCallArgs *args);
static rd_kafka_error_t *read_offsets(const TlkfCallArgs *args);
static void end(rd_kafka_t *rk);
static void release(TlkfCall *call);

/* NULL: there is no memory, or no thread; the offsets stay the caller's. */
TlkfCall *
tlkf_call_start(const TlkfCallArgs *args)
{
	TlkfCall   *call = calloc(1, sizeof(TlkfCall));

	if (call == NULL)
		return NULL;
	call->args = *args;
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->changed, NULL);
	if (args->group != NULL)
		call->args.group = call->group = strdup(args->group);
	if ((args->group == NULL || call->group != NULL) && start_thread(call))
		return call;
	call->args.offsets = NULL;
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
	rd_kafka_error_t *error = perform(&call->args);
	bool		left;

	pthread_mutex_lock(&call->lock);
	call->error = error;
	call->ended = true;
	left = call->left;
	if (!left && write(call->args.notify_fd, "", 1) < 0)
	{
		/* A full pipe wakes its reader as well. */
	}
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);

	/* NB: if nobody has left it, the call may be gone by now. */
	if (left)
	{
		if (call->args.kind != TLKF_DESTROY)
			end(call->args.rk);
		close(call->args.notify_fd);
		release(call);
	}
	return NULL;
}

static rd_kafka_error_t *
perform(const TlkfCallArgs *args)
{
	switch (args->kind)
	{
		case TLKF_INIT_TRANSACTIONS:
			return rd_kafka_init_transactions(args->rk, args->timeout_ms);
		case TLKF_SEND_OFFSETS:
			return send_offsets(args);
		case TLKF_COMMIT:
			return rd_kafka_commit_transaction(args->rk, args->timeout_ms);
		case TLKF_READ_OFFSETS:
			return read_offsets(args);
		case TLKF_DESTROY:
			end(args->rk);
			break;
	}
	return NULL;
}

/*
 * Destroys the handle.
 *
 * NB: not in the midst of a transaction.  Then a request that librdkafka's
 * main thread is just sending (AddPartitionsToTxn) is failed by the broker's
 * thread before the main thread has counted it, and an assertion ends the
 * process, and with it the whole server (seen with 2.0.2; the code is the
 * same up to 2.15).  rd_kafka_abort_transaction() begins with a step of the
 * main thread after which none is sent, whatever becomes of the rest in so
 * short a time; rd_kafka_begin_transaction() then fails at once, or when the
 * main thread has taken that step.  The rest has no time, since a transaction
 * that was aborted while such a request is under way has its counts wrong
 * too.  Where there are no transactions both fail at once.
 */
static void
end(rd_kafka_t *rk)
{
	rd_kafka_error_t *error = rd_kafka_abort_transaction(rk, LEAVE_MS);

	if (error != NULL)
		rd_kafka_error_destroy(error);
	error = rd_kafka_begin_transaction(rk);
	if (error != NULL)
		rd_kafka_error_destroy(error);
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static rd_kafka_error_t *
send_offsets(const TlkfCallArgs *args)
{
	rd_kafka_consumer_group_metadata_t *group =
		rd_kafka_consumer_group_metadata_new(args->group);
	rd_kafka_error_t *error;

	error = rd_kafka_send_offsets_to_transaction(args->rk, args->offsets,
												 group, args->timeout_ms);
	rd_kafka_consumer_group_metadata_destroy(group);
	return error;
}

static rd_kafka_error_t *
read_offsets(const TlkfCallArgs *args)
{
	rd_kafka_resp_err_t code = rd_kafka_committed(args->rk, args->offsets,
												  args->timeout_ms);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		code = args->offsets->elems[0].err;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL :
		rd_kafka_error_new(code, "%s", rd_kafka_err2str(code));
}

static void
release(TlkfCall *call)
{
	if (call->error != NULL)
		rd_kafka_error_destroy(call->error);
	if (call->args.offsets != NULL)
		rd_kafka_topic_partition_list_destroy(call->args.offsets);
	free(call->group);
	pthread_cond_destroy(&call->changed);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

/*
 * true: it has ended, the call is gone with its offsets, and what librdkafka
 * said is the caller's.
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
 * Destroys a handle within limited time; what takes longer ends on its own.
 * The descriptor, which librdkafka may write to, is closed afterwards.
 */
void
tlkf_destroy(rd_kafka_t *rk, int fd)
{
	TlkfCall   *call = tlkf_call_start(&(TlkfCallArgs) {
		.kind = TLKF_DESTROY,.rk = rk,.notify_fd = fd
	});
	rd_kafka_error_t *error;

	if (call == NULL)
		end(rk);
	else if (!tlkf_call_await(call, DESTROY_MS) && tlkf_call_leave(call))
		return;					/* it is the thread's */
	else
		(void) tlkf_call_ended(call, &error);
	close(fd);
}

/* Of a call that has ended, and has not been told so. */
const rd_kafka_topic_partition_list_t *
tlkf_call_offsets(const TlkfCall *call)
{
	return call->args.offsets;
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
