/*-------------------------------------------------------------------------
 *
 * destroy.c
 *	  Destroying librdkafka's handle, within limited time.
 *
 * That joins the handle's threads, one of which may be looking a name up.  So
 * it happens on a thread of its own, which is waited for a while.  What takes
 * longer is left to that thread, together with the end of the pipe that
 * librdkafka writes to.
 *
 * The thread starts with all signals blocked and touches neither server nor
 * core: its memory is malloc'd.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tlkf.h"

struct TlkfDestroy
{
	pthread_mutex_t lock;		/* of the next two */
	pthread_cond_t changed;
	bool		ended;
	bool		left;			/* nobody waits for it any more */

	rd_kafka_t *rk;
	int			fd;				/* closed by the thread if it was left */
};

static bool start_thread(TlkfDestroy *destroy);
static void *run(void *arg);
static void release(TlkfDestroy *destroy);
static void time_from_now(struct timespec *time, int ms);

/* NULL: there is no memory, or no thread. */
TlkfDestroy *
tlkf_destroy_start(rd_kafka_t *rk, int fd)
{
	TlkfDestroy *destroy = calloc(1, sizeof(TlkfDestroy));

	if (destroy == NULL)
		return NULL;
	destroy->rk = rk;
	destroy->fd = fd;
	pthread_mutex_init(&destroy->lock, NULL);
	pthread_cond_init(&destroy->changed, NULL);
	if (start_thread(destroy))
		return destroy;
	release(destroy);
	return NULL;
}

static bool
start_thread(TlkfDestroy *destroy)
{
	pthread_t	thread;
	sigset_t	all;
	sigset_t	before;
	bool		ok;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ok = pthread_create(&thread, NULL, run, destroy) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ok)
		pthread_detach(thread);
	return ok;
}

static void *
run(void *arg)
{
	TlkfDestroy *destroy = arg;
	bool		left;

	rd_kafka_destroy_flags(destroy->rk,
						   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	pthread_mutex_lock(&destroy->lock);
	destroy->ended = true;
	left = destroy->left;
	pthread_cond_signal(&destroy->changed);
	pthread_mutex_unlock(&destroy->lock);

	/* NB: if somebody waits, the struct may be gone by now. */
	if (left)
	{
		close(destroy->fd);
		release(destroy);
	}
	return NULL;
}

static void
release(TlkfDestroy *destroy)
{
	pthread_cond_destroy(&destroy->changed);
	pthread_mutex_destroy(&destroy->lock);
	free(destroy);
}

/* true: it is done.  false: handle and descriptor are the thread's. */
bool
tlkf_destroy_await(TlkfDestroy *destroy, int timeout_ms)
{
	struct timespec until;
	int			failed = 0;
	bool		ended;

	time_from_now(&until, timeout_ms);
	pthread_mutex_lock(&destroy->lock);
	while (!destroy->ended && failed == 0)
		failed = pthread_cond_timedwait(&destroy->changed, &destroy->lock,
										&until);
	ended = destroy->ended;
	destroy->left = !ended;
	pthread_mutex_unlock(&destroy->lock);
	if (ended)
		release(destroy);
	return ended;
}

static void
time_from_now(struct timespec *time, int ms)
{
	clock_gettime(CLOCK_REALTIME, time);
	time->tv_sec += ms / 1000;
	time->tv_nsec += ms % 1000 * 1000000L;
	if (time->tv_nsec >= 1000000000L)
	{
		time->tv_sec++;
		time->tv_nsec -= 1000000000L;
	}
}
