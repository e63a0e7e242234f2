/*-------------------------------------------------------------------------
 *
 * queue_job.c
 *	  What lane 0 of a target is asked to do besides forwarding.
 *
 * A job is a row of token_ledger.job: SQL functions insert it, lane 0 finds
 * it, and each change of it is one short transaction.  What a job has done is
 * in the row or in the store before anything else follows, so that whoever
 * owns the lane next goes on where its predecessor ended.
 *
 * As everywhere, what is written names the owner's epoch; and it is written
 * only while the row says that the job is running, so that a job which was
 * cancelled or deleted meanwhile stays that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue.h"
#include "queue_sql.h"
#include "shmem.h"

static void read_job(QueueJob *job);
static void job_key(const Queue *queue, const QueueJob *job, QueueArgs *args);
static void add_total(QueueArgs *args, int64 total);
static void run(QueueStatement statement, QueueArgs *args);

bool
queue_find_job(Queue *queue, QueueJob *job)
{
	QueueArgs	args = {0};
	bool		found;

	memset(job, 0, sizeof(*job));
	lane_begin_reading();
	arg_add(&args, Int32GetDatum(queue->target_id));
	found = queue_run(Q_FIND_JOB, &args) > 0;
	if (found)
		read_job(job);
	lane_commit();
	return found;
}

bool
queue_begin_job(Queue *queue, QueueJob *job)
{
	QueueArgs	args = {0};
	bool		open;

	lane_begin();
	job_key(queue, job, &args);
	open = queue_run(Q_BEGIN_JOB, &args) > 0;
	if (open)
		job->attempts = (int32) queue_int64(1, 0);
	lane_commit();
	return open;
}

void
queue_job_goes_on(Queue *queue, const QueueJob *job, const char *message)
{
	QueueArgs	args = {0};

	lane_begin();
	job_key(queue, job, &args);
	arg_add(&args, Int64GetDatum(job->done));
	add_total(&args, job->total);
	arg_add_text(&args, message);
	run(Q_JOB_GOES_ON, &args);
}

void
queue_job_trouble(Queue *queue, const QueueJob *job, const TlVerdict *verdict)
{
	QueueArgs	args = {0};

	lane_begin();
	job_key(queue, job, &args);
	arg_add_text(&args, verdict->code[0] ? verdict->code : NULL);
	arg_add_text(&args, verdict->message);
	run(Q_JOB_TROUBLE, &args);
}

void
queue_end_job(Queue *queue, const QueueJob *job, const char *state,
			  const char *message, const TlVerdict *verdict)
{
	QueueArgs	args = {0};

	lane_begin();
	job_key(queue, job, &args);
	arg_add_text(&args, state);
	arg_add(&args, Int64GetDatum(job->done));
	add_total(&args, job->total);
	arg_add_text(&args, message);
	arg_add_text(&args, verdict && verdict->code[0] ? verdict->code : NULL);
	arg_add_text(&args, verdict ? verdict->message : NULL);
	queue_run(Q_END_JOB, &args);
	memset(&args, 0, sizeof(args));
	arg_add(&args, Int64GetDatum(job->id));
	run(Q_DROP_JOB_EVENTS, &args);
}

void
queue_request_migration(Queue *queue)
{
	QueueArgs	args = {0};

	lane_begin();
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int16GetDatum(queue->lane));
	arg_add(&args, Int64GetDatum(queue->epoch));
	run(Q_REQUEST_MIGRATION, &args);
}

bool
queue_is_migrating(Queue *queue, int max_failures)
{
	QueueArgs	args = {0};
	bool		found;

	lane_begin_reading();
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int32GetDatum(max_failures));
	found = queue_run(Q_IS_MIGRATING, &args) > 0;
	lane_commit();
	return found;
}

static void
read_job(QueueJob *job)
{
	bool		isnull;

	job->id = queue_int64(1, 0);
	strlcpy(job->kind, TextDatumGetCString(queue_value(2, &isnull)),
			sizeof(job->kind));
	job->version = (int32) queue_int64(3, 0);
	job->automatic = DatumGetBool(queue_value(4, &isnull));
	job->cancel = DatumGetBool(queue_value(5, &isnull));
	job->done = queue_int64(6, 0);
	job->total = queue_int64(7, -1);
}

static void
job_key(const Queue *queue, const QueueJob *job, QueueArgs *args)
{
	arg_add(args, Int32GetDatum(queue->target_id));
	arg_add(args, Int16GetDatum(queue->lane));
	arg_add(args, Int64GetDatum(queue->epoch));
	arg_add(args, Int64GetDatum(job->id));
}

static void
add_total(QueueArgs *args, int64 total)
{
	if (total < 0)
		arg_add_null(args);
	else
		arg_add(args, Int64GetDatum(total));
}

/* The end of a transaction that others may wait for. */
static void
run(QueueStatement statement, QueueArgs *args)
{
	queue_run(statement, args);
	lane_commit();
	ConditionVariableBroadcast(&tl_shared->settled);
}
