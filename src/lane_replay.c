/*-------------------------------------------------------------------------
 *
 * lane_replay.c
 *	  The job replay: a range of time is sent to the store again.
 *
 * A step fixes what is to be sent, or searches a stretch of the queue for it,
 * or claims a range of what was found.  The range is then sent as any other,
 * and after it the cursor has its turn (claim_first), so that forwarding goes
 * on.  With a rate, a range is what may be sent in one second, and the next
 * one waits until its time has passed.
 *
 * It waits, and writes nothing, while the target is paused, the lane has
 * something else in hand, or ranges from before its beginning are under way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "lane.h"

/* With so many refused and none taken, the store is not the one it was. */
#define MAX_REFUSED_WITHOUT_EVIDENCE	100

static bool refuses_everything(const QueueReplay *replay, JobReport *report);
static JobResult begin(Lane *lane, QueueJob *job, const QueueReplay *replay,
					   JobReport *report);
static JobResult sends(Lane *lane, const QueueReplay *replay);
static JobResult done(const QueueReplay *replay, JobReport *report);

bool
lane_replay_ready(Lane *lane, const QueueJob *job)
{
	QueueReplay replay;

	if (lane->phase != LANE_IDLE || lane->queue.row.held != NIL)
		return false;
	return queue_find_replay(&lane->queue, job->id, &replay) &&
		!replay.paused && !replay.waits;
}

/* JobStepCB */
JobResult
lane_replay(Lane *lane, QueueJob *job, JobReport *report)
{
	Queue	   *queue = &lane->queue;
	QueueReplay replay;
	bool		more;
	int32		rows = lane->target->claim_rows;

	if (!queue_find_replay(queue, job->id, &replay))
		return JOB_INTERRUPTED;
	if (!replay.begun)
		return begin(lane, job, &replay, report);
	if (refuses_everything(&replay, report))
		return JOB_FAILED;
	if (replay.rate > 0)
		rows = Min(rows, replay.rate);
	if (queue_claim_job(queue, job, rows))
		return sends(lane, &replay);
	if (!queue_search_replay(queue, job, &replay, &more))
		return JOB_INTERRUPTED;
	if (queue_claim_job(queue, job, rows))
		return sends(lane, &replay);
	if (!more)
		return done(&replay, report);
	lane->claim_first = true;
	snprintf(report->message, sizeof(report->message),
			 "searching the ledger; " INT64_FORMAT " events sent so far",
			 replay.sent);
	return JOB_GOES_ON;
}

static bool
refuses_everything(const QueueReplay *replay, JobReport *report)
{
	if (replay->sent > 0 || replay->refused <= MAX_REFUSED_WITHOUT_EVIDENCE)
		return false;
	report->verdict.cause = TL_CAUSE_DATA;
	snprintf(report->verdict.message, sizeof(report->verdict.message),
			 "the store refuses every event: %s",
			 replay->refusal ? replay->refusal : "no reason");
	return true;
}

static JobResult
begin(Lane *lane, QueueJob *job, const QueueReplay *replay, JobReport *report)
{
	if (!queue_begin_replay(&lane->queue, job, replay))
		return JOB_INTERRUPTED;
	snprintf(report->message, sizeof(report->message),
			 INT64_FORMAT " events are to be sent", job->total);
	return JOB_GOES_ON;
}

/* IDLE → CLAIMED */
static JobResult
sends(Lane *lane, const QueueReplay *replay)
{
	lane_set_phase(lane, LANE_CLAIMED);
	if (replay->rate > 0)
		lane->job_retry_at =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										lane->queue.row.range.rows *
										INT64CONST(1000) / replay->rate);
	return JOB_SENDS;
}

static JobResult
done(const QueueReplay *replay, JobReport *report)
{
	if (replay->refused > 0)
		snprintf(report->message, sizeof(report->message),
				 INT64_FORMAT " events sent, " INT64_FORMAT
				 " refused by the store, the last one with: %.160s",
				 replay->sent, replay->refused,
				 replay->refusal ? replay->refusal : "no reason");
	else
		snprintf(report->message, sizeof(report->message),
				 INT64_FORMAT " events sent", replay->sent);
	return JOB_DONE;
}
