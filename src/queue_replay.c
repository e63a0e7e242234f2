/*-------------------------------------------------------------------------
 *
 * queue_replay.c
 *	  What a job sends again: ranges beside those of the cursor.
 *
 * What has still to be sent is in token_ledger.job_event, by place in the
 * queue.  Lane 0 takes its range from there as it takes one from the window;
 * from then on the range is sent as any other, as one whose events may be in
 * the store already.  A part that is settled leaves job_event, and is counted
 * in the job, in the transaction that settles it.  So a job goes on after
 * anything where it was, and nothing that it sends is counted as forwarded
 * twice.
 *
 * Replay must not send what a lane is about to send for the first time: such
 * a lane does not ask the store.  It therefore takes what the cursor had
 * passed when it began (the horizon), waits until the ranges claimed up to
 * then are settled, and leaves out what lanes hold back and dead letters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue_internal.h"

/* Events looked at in one transaction, of whatever time they are. */
#define SEARCH_ROWS		20000

static bool mark_job_range(Queue *queue, int64 job);
static void our_job(const Queue *queue, const QueueJob *job, QueueArgs *args);
static TimestampTz bound(int column, TimestampTz if_null);
static void measure(Queue *queue, const QueueReplay *replay);
static void set_job_range(Queue *queue, LaneRow *row, int64 job,
						  QueuePosition last, int32 rows);
static const char *last_refusal(const Settlement *settlement);

bool
queue_find_replay(Queue *queue, int64 job, QueueReplay *replay)
{
	MemoryContext mcxt = CurrentMemoryContext;
	QueueArgs	args = {0};
	bool		isnull;
	bool		found;

	memset(replay, 0, sizeof(*replay));
	lane_begin_reading();
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int64GetDatum(job));
	found = queue_run(Q_REPLAY_STATE, &args) > 0;
	if (found)
	{
		Datum		words;

		replay->begun = DatumGetBool(queue_value(1, &isnull));
		replay->from = bound(2, DT_NOBEGIN);
		replay->to = bound(3, DT_NOEND);
		replay->rate = (int32) queue_int64(4, 0);
		replay->at.xid = (uint64) queue_int64(5, 0);
		replay->at.seq = queue_int64(6, -1);
		replay->end = (uint64) queue_int64(7, 0);
		replay->sent = queue_int64(8, 0);
		replay->refused = queue_int64(9, 0);
		words = queue_value(10, &isnull);
		if (!isnull)
			replay->refusal =
				MemoryContextStrdup(mcxt, TextDatumGetCString(words));
		replay->paused = DatumGetBool(queue_value(11, &isnull));
		replay->waits = DatumGetBool(queue_value(12, &isnull)) && !isnull;
	}
	lane_commit();
	return found;
}

/*
 * Where the cursor is, which ranges are under way and what there is to send
 * is read in one statement, thus as of one moment.
 */
bool
queue_begin_replay(Queue *queue, QueueJob *job, const QueueReplay *replay)
{
	QueueArgs	args = {0};
	bool		isnull;
	bool		begun;
	Datum		ranges;

	lane_begin();
	lane_allow_every_plan();
	measure(queue, replay);
	our_job(queue, job, &args);
	arg_add(&args, queue_snapshot(1, &isnull));
	arg_add(&args, queue_snapshot(2, &isnull));
	arg_add(&args, UInt64GetDatum((uint64) queue_int64(3, 0)));
	arg_add(&args, Int64GetDatum(queue_int64(4, -1)));
	ranges = queue_value(5, &isnull);
	if (isnull)
		arg_add_null(&args);
	else
		arg_add(&args, ranges);
	job->total = queue_int64(6, 0);
	arg_add(&args, Int64GetDatum(job->total));
	arg_add(&args, UInt64GetDatum((uint64) queue_int64(7, 0)));
	arg_add(&args, UInt64GetDatum((uint64) queue_int64(8, 0)));
	begun = queue_run(Q_REPLAY_BEGIN, &args) > 0;
	lane_commit();
	return begun;
}

bool
queue_search_replay(Queue *queue, const QueueJob *job, QueueReplay *replay,
					bool *more)
{
	QueueArgs	args = {0};
	QueueArgs	progress = {0};
	bool		ours;

	lane_begin();
	our_job(queue, job, &args);
	arg_add(&args, UInt64GetDatum(replay->at.xid));
	arg_add(&args, Int64GetDatum(replay->at.seq));
	arg_add(&args, UInt64GetDatum(replay->end));
	arg_add(&args, Int64GetDatum(SEARCH_ROWS));
	*more = queue_run(Q_REPLAY_FILL, &args) > 0;
	if (*more)
	{
		replay->at.xid = (uint64) queue_int64(1, 0);
		replay->at.seq = queue_int64(2, -1);
	}
	our_job(queue, job, &progress);
	arg_add(&progress, UInt64GetDatum(replay->at.xid));
	arg_add(&progress, Int64GetDatum(replay->at.seq));
	ours = queue_run(Q_REPLAY_PROGRESS, &progress) > 0;
	if (ours)
		lane_commit();
	else
		lane_abort();
	return ours;
}

bool
queue_claim_job(Queue *queue, const QueueJob *job, int32 rows)
{
	Settlement	nothing = {0};
	LaneRow		row = queue->row;
	QueueArgs	args = {0};
	QueuePosition last;

	lane_begin();
	our_job(queue, job, &args);
	arg_add(&args, Int64GetDatum(rows));
	if (queue_run(Q_JOB_NEXT, &args) == 0)
	{
		lane_commit();
		return false;
	}
	last.xid = (uint64) queue_int64(2, 0);
	last.seq = queue_int64(3, 0);
	set_job_range(queue, &row, job->id, last, (int32) queue_int64(1, 0));
	if (!write_lane(queue, &row, &nothing, 0) ||
		!mark_job_range(queue, job->id))
	{
		lane_abort();
		queue->reopen = true;
		return false;
	}
	copy_lane_row(&row, queue->spare_mcxt);
	lane_commit();
	queue_adopt_row(queue, &row);
	return true;
}

/* In the transaction that settles the part which the row had before. */
void
settle_job_part(Queue *queue, const LaneRow *before,
				const Settlement *settlement)
{
	QueueArgs	lane = {0};
	QueueArgs	job = {0};

	lane_key(queue, &lane);
	arg_add(&lane, Int64GetDatum(settlement->replayed));
	queue_run_at(Q_JOB_SENT, &queue->lane_tid, &lane);
	arg_add(&job, Int64GetDatum(before->range.job));
	arg_add(&job, UInt64GetDatum(before->part.last.xid));
	arg_add(&job, Int64GetDatum(before->part.last.seq));
	arg_add(&job, Int64GetDatum(settlement->replayed));
	arg_add(&job, Int64GetDatum(list_length(settlement->dead)));
	arg_add_text(&job, last_refusal(settlement));
	queue_run(Q_JOB_EVENTS_SENT, &job);
}

/* Of which job the range is that has just been written. */
static bool
mark_job_range(Queue *queue, int64 job)
{
	QueueArgs	args = {0};

	lane_key(queue, &args);
	arg_add(&args, Int64GetDatum(job));
	return queue_run_at(Q_JOB_RANGE, &queue->lane_tid, &args) > 0;
}

static void
our_job(const Queue *queue, const QueueJob *job, QueueArgs *args)
{
	arg_add(args, Int32GetDatum(queue->target_id));
	arg_add(args, Int16GetDatum(queue->lane));
	arg_add(args, Int64GetDatum(queue->epoch));
	arg_add(args, Int64GetDatum(job->id));
}

static TimestampTz
bound(int column, TimestampTz if_null)
{
	bool		isnull;
	Datum		value = queue_value(column, &isnull);

	return isnull ? if_null : DatumGetTimestampTz(value);
}

static void
measure(Queue *queue, const QueueReplay *replay)
{
	QueueArgs	args = {0};

	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, TimestampTzGetDatum(replay->from));
	arg_add(&args, TimestampTzGetDatum(replay->to));
	if (queue_run(Q_REPLAY_EXTENT, &args) == 0)
		elog(ERROR, "the row of target \"%s\" has vanished", queue->target);
}

static void
set_job_range(Queue *queue, LaneRow *row, int64 job, QueuePosition last,
			  int32 rows)
{
	QueueRange *range = &row->range;

	memset(range, 0, sizeof(*range));
	range->claimed = true;
	range->job = job;
	range->first.seq = range->done.seq = -1;
	range->last = last;
	range->rows = rows;
	range->history = TL_OVERLAP;
	if (row->state == NULL)		/* else suspect until it is renewed */
		row->state_timeline = queue->timeline;
	memset(&row->part, 0, sizeof(row->part));
}

static const char *
last_refusal(const Settlement *settlement)
{
	DeadLetter *letter;

	if (settlement->dead == NIL)
		return NULL;
	letter = llast(settlement->dead);
	return letter->reason;
}
