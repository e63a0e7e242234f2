/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The ledger as a queue: claim, read, settle.
 *
 * The rules that keep every event, each found by enumerating faults:
 *
 *	- The target's row is locked in one statement and the snapshot taken in
 *	  the next: in the same statement a lane that waited for the lock would
 *	  store an older snapshot over a newer one.  Windows only move forward.
 *	- Only lanes take cursor snapshots: a transaction's own id is not among
 *	  those in progress in its snapshot, so a transaction that has inserted
 *	  events would pass over them.
 *	- The cursor moves, and the range is written into the lane's row, in one
 *	  transaction that is durable before anything is sent.
 *	- Each write to the lane's row names the epoch of its owner, so that a
 *	  late predecessor writes nothing.
 *
 * queue->row mirrors the lane's row.  A transaction works on a copy that
 * replaces it after the commit; whoever catches an error calls
 * queue_reload(), because the commit may have happened.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue_internal.h"

/*
 * So many transactions after a promotion are suspect: enough for whatever
 * waited for its ledger to come back, and no burden for long.
 */
#define SUSPECT_XIDS	UINT64CONST(1000000)

typedef struct Cursor			/* of the target's row */
{
	Datum		from;
	Datum		to;
	QueuePosition last;
	TimestampTz from_until;		/* what was committed before is visible */
	TimestampTz to_until;
	bool		stopped;		/* paused, or halted */
	bool		has_suspect;
	Datum		suspect_to;
} Cursor;

static bool settle_and_claim(Queue *queue, const Settlement *settlement,
							 int32 claim_rows, int32 part_rows);
static bool claim_into(Queue *queue, LaneRow *row, int32 rows,
					   int32 part_rows);
static void advance_to_new_window(const Queue *queue, Cursor *cursor);
static bool is_suspect(const Cursor *cursor);
static bool may_take_requeued(const Queue *queue, const LaneRow *row);
static void set_range(LaneRow *row, const Cursor *cursor,
					  QueuePosition first, const QueueWalk *walk,
					  int32 timeline);
static void set_whole_part(const Queue *queue, LaneRow *row,
						   const QueueWalk *walk);
static void apply_settlement(LaneRow *row, const Settlement *settlement,
							 int32 timeline, int64 *vanished);
static void write_dead_letters(Queue *queue, List *dead);
static void write_left_out(Queue *queue, const Settlement *settlement);
static bool read_cursor(Queue *queue, QueueStatement statement,
						Cursor *cursor);
static void move_cursor(Queue *queue, const Cursor *cursor, bool new_window);
static Datum current_snapshot(void);

bool
queue_look(Queue *queue)
{
	Cursor		cursor;
	QueueWalk	walk = {0};
	WindowSnapshot *now = NULL;
	bool		requeued = false;
	TimestampTz until = 0;

	lane_begin();
	if (read_cursor(queue, Q_LOOK_TARGET, &cursor) && !cursor.stopped)
	{
		requeued = may_take_requeued(queue, &queue->row);
		walk_window(cursor.from, cursor.to, NULL, cursor.last, 1, &walk);
		if (walk.rows == 0)
		{
			Datum		snapshot;
			QueuePosition start = {0, -1};

			until = queue_open_since();
			snapshot = current_snapshot();
			walk_window(cursor.to, snapshot, queue->last_look, start, 1,
						&walk);
			MemoryContextSwitchTo(queue->mcxt);
			now = parse_snapshot(snapshot);
		}
	}
	lane_commit();

	if (now != NULL && queue->last_look != NULL)
	{
		if (queue->last_look->xip)
			pfree(queue->last_look->xip);
		pfree(queue->last_look);
	}
	if (now != NULL)
		queue->last_look = now;
	if (now != NULL && walk.rows == 0)
		queue_tell_claimed(queue, until);
	return walk.rows > 0 || requeued;
}

bool
queue_claim(Queue *queue, int32 rows, int32 part_rows)
{
	Settlement	nothing = {0};

	nothing.held = queue->row.held;
	return settle_and_claim(queue, &nothing, rows, part_rows) &&
		queue->row.range.claimed;
}

bool
queue_settle(Queue *queue, const Settlement *settlement, int32 claim_rows,
			 int32 part_rows)
{
	return settle_and_claim(queue, settlement, claim_rows, part_rows);
}

bool
queue_begin_part(Queue *queue, const QueuePart *part)
{
	Settlement	nothing = {0};
	LaneRow		row = queue->row;
	bool		mine;

	row.part = *part;
	row.part.durable = true;
	lane_begin();
	mine = write_lane(queue, &row, &nothing, 0);
	lane_commit();
	if (mine)
		queue->row = row;
	return mine;
}

bool
queue_distrust_range(Queue *queue)
{
	Settlement	nothing = {0};
	LaneRow		row = queue->row;
	bool		mine;

	row.range.history = TL_OVERLAP;
	lane_begin();
	mine = write_lane(queue, &row, &nothing, 0);
	lane_commit();
	if (mine)
		queue->row = row;
	return mine;
}

/*
 * NB: the row's timeline also tells that its range and its held events may
 * overlap with what was sent before a fail-over; now the histories, and
 * held_suspect, have to tell it.
 */
bool
queue_save_state(Queue *queue, const void *state, Size len)
{
	QueueArgs	args = {0};
	LaneRow		row = queue->row;

	lane_begin();
	row.state = lane_bytea(state, len);
	row.state_timeline = queue->timeline;
	lane_key(queue, &args);
	arg_add(&args, PointerGetDatum(row.state));
	arg_add(&args, Int32GetDatum(row.state_timeline));
	arg_add(&args, Int16GetDatum(row.range.history));
	arg_add(&args, BoolGetDatum(row.held_suspect));
	if (queue_run_at(Q_SAVE_STATE, &queue->lane_tid, &args) == 0)
	{
		lane_abort();
		return false;
	}
	copy_lane_row(&row, queue->spare_mcxt);
	lane_commit();
	queue_adopt_row(queue, &row);
	return true;
}

/* Of a callback that is over: does its batch's outcome acknowledge it? */
void
queue_keep_state(Queue *queue, bool keep)
{
	bytea	   *state = queue->call_state;

	queue->call_state = NULL;
	if (state == NULL)
		return;
	if (!keep)
	{
		pfree(state);
		return;
	}
	queue_forget_state(queue);
	queue->new_state = state;
}

void
queue_forget_state(Queue *queue)
{
	queue_keep_state(queue, false);
	if (queue->new_state != NULL)
		pfree(queue->new_state);
	queue->new_state = NULL;
}

int32
queue_read(Queue *queue, BatchBuilder *builder, const ColumnChoice *choice,
		   bool with_held, QueuePosition upto)
{
	QueueRange *range = &queue->row.range;
	int32		held;

	lane_begin_reading();
	if (with_held && queue->row.held != NIL)
		read_events(queue->row.held, builder, choice);
	held = batch_taken(builder);
	if (range->claimed && range->job != 0)
		read_job_events(range->job, range->done, upto, builder, choice);
	else if (range->claimed)
		read_window(range->from, range->to, range->done, upto, builder,
					choice);
	lane_commit();
	return batch_taken(builder) - held;
}

void
queue_read_acknowledged(Queue *queue, TimestampTz from, BatchBuilder *builder)
{
	lane_begin_reading();
	read_acknowledged(queue->target_id, from, builder);
	lane_commit();
}

/*
 * NB: the target's row is locked first, so that the lane's row is looked for
 * after whoever has moved the target to another store meanwhile.
 */
bool
queue_set_lost(Queue *queue, const pg_uuid_t *event_id)
{
	Cursor		cursor;
	QueueArgs	args = {0};
	bool		ours;

	lane_begin();
	ours = read_cursor(queue, Q_LOCK_TARGET, &cursor);
	if (ours)
	{
		target_key(queue, &args);
		if (event_id == NULL)
			arg_add_null(&args);
		else
			arg_add(&args, UUIDPGetDatum(event_id));
		arg_add(&args, Int16GetDatum(queue->lane));
		arg_add(&args, Int64GetDatum(queue->epoch));
		ours = queue_run_at(Q_TARGET_LOST, &queue->target_tid, &args) > 0;
	}
	lane_commit();
	queue->lost = ours && event_id != NULL;
	return ours;
}

void
queue_forget_columns(Queue *queue)
{
	forget_read_plans();
}

/*
 * The only transaction of the steady state: the part that was sent is taken
 * off the range, its dead letters are written, and the next range is claimed.
 */
static bool
settle_and_claim(Queue *queue, const Settlement *settlement, int32 claim_rows,
				 int32 part_rows)
{
	LaneRow		row = queue->row;
	int64		vanished = 0;
	bool		mine = true;
	bool		claimed = false;

	lane_begin();
	apply_settlement(&row, settlement, queue->timeline, &vanished);
	if (queue->row.range.job == 0)
		write_dead_letters(queue, settlement->dead);
	if (queue->row.requeued && settlement->part_done)
		settle_requeued(queue, settlement);
	write_left_out(queue, settlement);
	if (claim_rows > 0 && !row.range.claimed)
		claimed = claim_into(queue, &row, claim_rows, part_rows);
	if (claimed || settlement->part_done ||
		settlement->held != queue->row.held)
		mine = write_lane(queue, &row, settlement, vanished);
	if (mine && queue->row.range.job != 0 && settlement->part_done)
		settle_job_part(queue, &queue->row, settlement);
	if (!mine)
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

/*
 * Claims into row: a range, or dead letters that are to be sent again, in
 * turns.  The target's row stays locked until the commit.
 */
static bool
claim_into(Queue *queue, LaneRow *row, int32 rows, int32 part_rows)
{
	Cursor		cursor;
	QueueWalk	walk;
	QueuePosition first;
	bool		new_window = false;

	if (row->requeued)
		return false;			/* the rest of them comes first */
	if (!read_cursor(queue, Q_LOCK_TARGET, &cursor) || cursor.stopped)
		return false;
	if (may_take_requeued(queue, row) && !queue->range_first &&
		take_requeued(queue, row))
		return true;
	walk_window(cursor.from, cursor.to, NULL, cursor.last, rows, &walk);
	if (walk.rows == 0)
	{
		advance_to_new_window(queue, &cursor);
		new_window = true;
		walk_window(cursor.from, cursor.to, NULL, cursor.last, rows, &walk);
	}
	if (walk.rows == 0)
		return may_take_requeued(queue, row) && take_requeued(queue, row);
	queue->range_first = false;
	first = cursor.last;
	cursor.last = walk.last;
	move_cursor(queue, &cursor, new_window);
	set_range(row, &cursor, first, &walk, queue->timeline);
	if (walk.rows <= part_rows && row->held == NIL)
		set_whole_part(queue, row, &walk);
	return true;
}

/* Are there dead letters to be sent, and is the lane free for them? */
static bool
may_take_requeued(const Queue *queue, const LaneRow *row)
{
	return queue->has_requeued && row->held == NIL &&
		queue->requeue_at <= GetCurrentTimestamp();
}

/* NB: after the statement that locked the target's row, never in it. */
static void
advance_to_new_window(const Queue *queue, Cursor *cursor)
{
	TimestampTz until = queue_open_since();
	Datum		snapshot = current_snapshot();
	TimestampTz looked = (TimestampTz)
		pg_atomic_read_u64(queue->claimed_until);

	if (!window_covers(parse_snapshot(snapshot), parse_snapshot(cursor->to)))
		elog(ERROR, "a snapshot window would move backward");
	cursor->from = cursor->to;
	cursor->to = snapshot;
	cursor->from_until = Max(cursor->to_until, looked);
	cursor->to_until = Max(cursor->from_until, until);
	cursor->last.xid = 0;
	cursor->last.seq = -1;
}

/*
 * Does the window reach back before the new timeline, or begin soon after?
 *
 * NB: what suspect_to does not see, but could have, is suspect as well: a
 * transaction that was prepared then may have been committed, and its events
 * sent, before.  And of what the old primary had committed and sent, and the
 * fail-over took from the ledger, applications insert some again, under the
 * same ids.
 */
static bool
is_suspect(const Cursor *cursor)
{
	return cursor->has_suspect &&
		window_begins_before(parse_snapshot(cursor->from),
							 parse_snapshot(cursor->to),
							 parse_snapshot(cursor->suspect_to)->xmax +
							 SUSPECT_XIDS);
}

static void
set_range(LaneRow *row, const Cursor *cursor, QueuePosition first,
		  const QueueWalk *walk, int32 timeline)
{
	QueueRange *range = &row->range;

	range->claimed = true;
	range->job = 0;
	range->from = cursor->from;
	range->to = cursor->to;
	range->first = range->done = first;
	range->last = walk->last;
	range->rows = walk->rows;
	range->done_rows = 0;
	range->job = 0;
	range->until = cursor->from_until;
	range->history = TL_FRESH;
	if (is_suspect(cursor))
		range->history = TL_OVERLAP;
	if (row->part.durable)		/* of held events, its outcome unknown */
		range->history = TL_OVERLAP;
	if (row->state == NULL)		/* else suspect until it is renewed */
		row->state_timeline = timeline;
	memset(&row->part, 0, sizeof(row->part));
}

/* The cut is known: the range is one part. */
static void
set_whole_part(const Queue *queue, LaneRow *row, const QueueWalk *walk)
{
	QueuePart  *part = &row->part;

	part->durable = true;
	part->last = walk->last;
	part->rows = walk->rows;
	part->checksum = routed_checksum(queue, walk->checksum);
	part->history = row->range.history;
	part->started_at = GetCurrentTimestamp();
	part->event_bytes = queue->event_bytes;
	lane_random_uuid(&part->token);
}

static void
apply_settlement(LaneRow *row, const Settlement *settlement, int32 timeline,
				 int64 *vanished)
{
	if (row->held == NIL)
		row->held_until = row->range.until;
	row->held = settlement->held;
	if (row->held == NIL)
		row->held_suspect = row->requeued = false;
	if (settlement->state != NULL)
	{
		row->state = lane_bytea(settlement->state, settlement->state_len);
		row->state_timeline = timeline;
	}
	if (!settlement->part_done)
		return;
	if (!is_null_uuid(&settlement->last_event))
		row->last_event = settlement->last_event;
	*vanished = settlement->held_gone;
	if (row->range.claimed)
	{
		QueueRange *range = &row->range;

		range->done = row->part.last;
		range->done_rows += settlement->taken;
		if (range->done.xid == range->last.xid &&
			range->done.seq == range->last.seq)
		{
			if (range->job == 0)
				*vanished += range->rows - range->done_rows;
			memset(range, 0, sizeof(*range));
		}
	}
	memset(&row->part, 0, sizeof(row->part));
}

static void
write_dead_letters(Queue *queue, List *dead)
{
	ListCell   *lc;

	foreach(lc, dead)
	{
		DeadLetter *letter = lfirst(lc);
		QueueArgs	args = {0};

		arg_add(&args, Int32GetDatum(queue->target_id));
		arg_add(&args, UUIDPGetDatum(&letter->event_id));
		arg_add_text(&args, letter->reason);
		arg_add_text(&args, letter->code && letter->code[0] ?
					 letter->code : NULL);
		queue_run(Q_DEAD_LETTER, &args);
	}
}

static void
write_left_out(Queue *queue, const Settlement *settlement)
{
	for (int i = 0; settlement->choice && i < settlement->choice->nleft_out;
		 i++)
	{
		QueueArgs	args = {0};

		if (settlement->left_out[i] == 0)
			continue;
		arg_add(&args, Int32GetDatum(queue->target_id));
		arg_add(&args, Int16GetDatum(queue->lane));
		arg_add_text(&args, settlement->choice->left_out[i]->name);
		arg_add(&args, Int64GetDatum(settlement->left_out[i]));
		queue_run(Q_LEFT_OUT, &args);
	}
}

/*
 * false: the target's row is gone, or adopt() or retarget() has taken its
 * window or its destination away.  The lane has to take its place anew.
 */
static bool
read_cursor(Queue *queue, QueueStatement statement, Cursor *cursor)
{
	QueueArgs	args = {0};
	bool		isnull;
	char	   *state;

	target_key(queue, &args);
	queue->reopen = queue_run_at(statement, &queue->target_tid, &args) == 0;
	if (queue->reopen)
		return false;
	cursor->from = queue_snapshot(2, &isnull);
	queue->reopen = isnull || DatumGetBool(queue_value(12, &isnull));
	if (queue->reopen)
		return false;
	cursor->to = queue_snapshot(3, &isnull);
	cursor->last.xid = (uint64) queue_int64(4, 0);
	cursor->last.seq = queue_int64(5, -1);
	cursor->suspect_to = queue_snapshot(8, &isnull);
	cursor->has_suspect = !isnull;
	state = TextDatumGetCString(queue_value(7, &isnull));
	queue->paused = DatumGetBool(queue_value(6, &isnull));
	queue->has_requeued = DatumGetBool(queue_value(9, &isnull));
	cursor->from_until = (TimestampTz) queue_int64(10, DT_NOBEGIN);
	cursor->to_until = (TimestampTz) queue_int64(11, DT_NOBEGIN);
	queue->halted = strcmp(state, "suspended") == 0 ||
		strcmp(state, "stopped") == 0;
	queue->lost = DatumGetBool(queue_value(13, &isnull));
	cursor->stopped = queue->paused || queue->halted || queue->lost;
	return true;
}

static void
move_cursor(Queue *queue, const Cursor *cursor, bool new_window)
{
	QueueArgs	args = {0};

	target_key(queue, &args);
	arg_add(&args, cursor->from);
	arg_add(&args, cursor->to);
	add_position(&args, true, cursor->last);
	arg_add(&args, BoolGetDatum(new_window));
	arg_add(&args, TimestampTzGetDatum(cursor->from_until));
	arg_add(&args, TimestampTzGetDatum(cursor->to_until));
	if (queue_run_at(Q_MOVE_CURSOR, &queue->target_tid, &args) == 0)
		elog(ERROR, "the row of target \"%s\" has vanished", queue->target);
}

static Datum
current_snapshot(void)
{
	QueueArgs	args = {0};
	bool		isnull;

	queue_run(Q_SNAPSHOT, &args);
	return queue_value(1, &isnull);
}
