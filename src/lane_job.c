/*-------------------------------------------------------------------------
 *
 * lane_job.c
 *	  Lane 0 carries out jobs between its ranges.
 *
 * One lane of a target does it, so that no two jobs of a target run at once;
 * lane 0 because every target has it.  A job is done in steps, each one cycle
 * of the lane, so that the process serves its interrupts in between, and what
 * a step has done is durable before the next.  Migrations go before jobs that
 * take long.
 *
 * A range that the lane is busy with is settled first.  One that waits to be
 * tried again, or for the store's table, is not waited for: what it waits for
 * may be the migration.  No call is on its way then, and no step may touch
 * the range.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "guc.h"
#include "lane.h"

/*
 * So often a job that somebody asked for is begun without getting on, before
 * it is given up: one that ends the server each time must end as well.
 */
#define MAX_ATTEMPTS	10

#define TALLY_MS		5000	/* between looks whether to count */

typedef struct JobKind
{
	const char *name;
	JobStepCB	step;

	/* Can it do anything now?  Asked before anything is written. */
	bool		(*ready) (Lane *lane, const QueueJob *job);
} JobKind;

static const JobKind kinds[] = {
	{"migrate", lane_migrate, NULL},
	{"rollback", lane_migrate, NULL},
	{"replay", lane_replay, lane_replay_ready},
	{"reconcile", lane_reconcile, lane_reconcile_ready}
};

static bool may_look(Lane *lane);
static void tally(Lane *lane);
static bool is_due(Lane *lane, const QueueJob *job);
static void attempt(Lane *lane, QueueJob *job);
static JobResult run_step(Lane *lane, QueueJob *job, JobReport *report);
static const JobKind *find_kind(const char *name);
static void try_again(Lane *lane, const QueueJob *job,
					  const JobReport *report);
static void end(Lane *lane, const QueueJob *job, const char *state,
				const JobReport *report);

/* IDLE, or a range that waits: one step of the target's first job. */
bool
lane_job(Lane *lane)
{
	QueueJob	job;

	if (!may_look(lane))
		return false;
	tally(lane);
	lane->jobs_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												guc_poll_interval);
	if (!queue_find_job(&lane->queue, &job) || !is_due(lane, &job))
		return false;
	if (job.cancel)
		end(lane, &job, "cancelled", NULL);
	else if (queue_begin_job(&lane->queue, &job))
		attempt(lane, &job);
	return true;
}

/* Has somebody asked, or is it time to look unasked? */
bool
lane_job_wanted(const Lane *lane)
{
	return lane->slot->lane == 0 &&
		(pg_atomic_read_u32(&lane->slot->look) != 0 ||
		 lane->jobs_at <= GetCurrentTimestamp());
}

/* NB: first the mark is cleared, then the table is read. */
static bool
may_look(Lane *lane)
{
	if (!lane_job_wanted(lane))
		return false;
	if (lane->phase != LANE_IDLE && lane->attempts == 0 && lane->inspected)
		return false;
	pg_atomic_write_u32(&lane->slot->look, 0);
	pg_memory_barrier();
	return true;
}

/* Counts what has been committed, where that has become much. */
static void
tally(Lane *lane)
{
	TimestampTz now = GetCurrentTimestamp();

	if (lane->tally_at > now)
		return;
	if (!queue_tally(&lane->queue))
		lane->tally_at = TimestampTzPlusMilliseconds(now, TALLY_MS);
}

static bool
is_due(Lane *lane, const QueueJob *job)
{
	const JobKind *kind = find_kind(job->kind);

	if (job->cancel)
		return true;
	if (job->id == lane->job_tried &&
		lane->job_retry_at > GetCurrentTimestamp())
		return false;
	return kind == NULL || kind->ready == NULL || kind->ready(lane, job);
}

static void
attempt(Lane *lane, QueueJob *job)
{
	JobReport	report = {.verdict.struct_size = sizeof(TlVerdict)};

	if (lane->job_tried != job->id)
		lane->job_step = NULL;
	lane->job_tried = job->id;
	lane->job_retry_at = 0;
	switch (run_step(lane, job, &report))
	{
		case JOB_GOES_ON:
			queue_job_goes_on(&lane->queue, job, report.message);
			lane->jobs_at = 0;
			break;
		case JOB_SENDS:			/* not before its range is settled */
			lane->jobs_at = lane->job_retry_at;
			break;
		case JOB_DONE:
			end(lane, job, "done", &report);
			break;
		case JOB_AGAIN:
			try_again(lane, job, &report);
			break;
		case JOB_FAILED:
			end(lane, job, "failed", &report);
			break;
		case JOB_CANCELLED:
			end(lane, job, "cancelled", &report);
			break;
		case JOB_INTERRUPTED:	/* the next owner of the lane goes on */
			break;
	}
}

static JobResult
run_step(Lane *lane, QueueJob *job, JobReport *report)
{
	const JobKind *kind = find_kind(job->kind);
	JobResult	result;

	if (kind == NULL)
	{
		snprintf(report->verdict.message, sizeof(report->verdict.message),
				 "this version of tokenledger knows no job \"%s\"",
				 job->kind);
		return JOB_FAILED;
	}
	if (job->attempts > MAX_ATTEMPTS && !job->automatic)
	{
		snprintf(report->verdict.message, sizeof(report->verdict.message),
				 "begun %d times without getting on; see the server's log",
				 job->attempts - 1);
		return JOB_FAILED;
	}
	result = kind->step(lane, job, report);
	if (ProcDiePending && (result == JOB_AGAIN || result == JOB_FAILED))
		return JOB_INTERRUPTED;

	/* Nobody waits for its end, and the cause may go away. */
	if (result == JOB_FAILED && job->automatic)
		return JOB_AGAIN;
	return result;
}

static const JobKind *
find_kind(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

/* NB: a table that is missing is the lane's own trouble as well. */
static void
try_again(Lane *lane, const QueueJob *job, const JobReport *report)
{
	queue_job_trouble(&lane->queue, job, &report->verdict);
	lane->job_retry_at = lane_back_off(lane, job->attempts,
									   report->verdict.retry_after_ms);
	if (job->automatic && report->no_table)
		lane_failed(lane, &report->verdict);
}

static void
end(Lane *lane, const QueueJob *job, const char *state,
	const JobReport *report)
{
	const char *message = NULL;
	const TlVerdict *verdict = NULL;

	if (report != NULL && report->message[0] != '\0')
		message = report->message;
	if (report != NULL && report->verdict.message[0] != '\0')
		verdict = &report->verdict;
	queue_end_job(&lane->queue, job, state, message, verdict);
	lane->jobs_at = 0;			/* there may be another one */
	if (pg_atomic_read_u64(&lane->shared->failing) != 0)
		tell_remote_changed(MyDatabaseId, lane->target->name);
	ereport(LOG,
			(errmsg("tokenledger target \"%s\": job " INT64_FORMAT
					" (%s) %s", lane->target->name, job->id, job->kind,
					strcmp(state, "done") == 0 ? "is done" :
					strcmp(state, "failed") == 0 ? "has failed" :
					"was cancelled"),
			 verdict ? errdetail_internal("%s", verdict->message) :
			 message ? errdetail_internal("%s", message) : 0));
}
