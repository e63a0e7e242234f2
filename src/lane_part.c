/*-------------------------------------------------------------------------
 *
 * lane_part.c
 *	  The next part of a claimed range, read from the ledger.
 *
 * A part is what one batch can hold: of the events that are held back, and of
 * the range behind what is done.  Before it is sent, its last position,
 * checksum and token are durable in the lane's row.  After a restart the part
 * that the row names is read again; if it is not the same, as events have
 * vanished or limits have changed, its token is not used for it, but kept
 * until the store has been asked: some may be under way under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lane.h"
#include "lane_transaction.h"

static int32 read_part(Lane *lane, bool again, QueuePart *part);
static void begin_batch(Lane *lane, bool keep_cut, int64 event_bytes);
static void cut_part(Lane *lane, QueuePart *part, int32 taken,
					 QueuePosition upto, bool cut);
static TlHistory history_before(const Lane *lane, bool with_held);
static uint64 part_checksum(const Lane *lane);
static void keep_unread_held(Lane *lane);
static bool is_kept_back(const BatchBuilder *builder, const pg_uuid_t *id);
static int32 held_rows(const Lane *lane, int32 taken);
static bool same_membership(const QueuePart *a, const QueuePart *b);
static bool make_part_durable(Lane *lane, const QueuePart *part, bool same);
static void refuse_ours(Lane *lane);

/* false: the lane's row is another's. */
bool
lane_build_part(Lane *lane)
{
	const QueuePart *row = &lane->queue.row.part;
	bool		again = lane->recovered && row->durable;
	bool		same;
	QueuePart	part;
	int32		taken = read_part(lane, again, &part);

	same = again && part.rows == row->rows && part.checksum == row->checksum;
	if (same)
		part.last = row->last;
	else if (again)
	{
		if (!queue_distrust_range(&lane->queue))
			return false;
		part.history = TL_OVERLAP;
		part.token = row->token;
	}
	lane->attempt_base = same ? Max(part.history, row->history) :
		part.history;
	if (!make_part_durable(lane, &part, same))
		return false;
	lane->recovered = again;
	lane->part = part_create(lane->whole.nrows);
	part_expect(lane->part, held_rows(lane, taken),
				lane->held_heard || requeue_heard(lane));
	refuse_ours(lane);
	return true;
}

/*
 * Reads the row's part again, or the next one; returns how many of the
 * range's events it has.  NB: a part that may have been attempted is read
 * with the limit of then for one event: one that would be too large now may
 * have landed.
 */
static int32
read_part(Lane *lane, bool again, QueuePart *part)
{
	Queue	   *queue = &lane->queue;
	LaneRow    *row = &queue->row;
	bool		pass_over = lane->pass_over_held && !again &&
		row->range.claimed;
	QueuePosition upto = again ? row->part.last :
		row->range.claimed ? row->range.last : queue_end();
	int32		taken;
	bool		cut;

	memset(part, 0, sizeof(*part));
	part->event_bytes = again ? row->part.event_bytes : queue->event_bytes;
	begin_batch(lane, again, part->event_bytes);
	taken = queue_read(queue, lane->builder, &lane->choice, !pass_over, upto);
	cut = batch_full(lane->builder);
	MemoryContextSwitchTo(lane->part_mcxt);
	batch_finish(lane->builder, &lane->whole);
	cut_part(lane, part, taken, upto, cut);
	part->history = history_before(lane, !pass_over);
	lane->pass_over_held = pass_over;
	lane->held_crowd = cut && taken == 0 && row->range.claimed;
	if (cut || pass_over)
		keep_unread_held(lane);
	else
		lane->settlement.held_gone = list_length(row->held) -
			(batch_taken(lane->builder) - taken);
	lane->settlement.taken = taken;
	if (!lane_sends_again(lane))
		lane->settlement.filtered = batch_filtered(lane->builder);
	return taken;
}

/* keep_cut: the batch holds what the row's part held. */
static void
begin_batch(Lane *lane, bool keep_cut, int64 event_bytes)
{
	const TlBackend *backend = lane->target->backend;
	BatchLimits limits = {
		.rows = lane->target->batch_rows,
		.bytes = lane->target->batch_bytes,
		.event_bytes = event_bytes
	};

	if (backend->max_rows > 0)
		limits.rows = Min(limits.rows, backend->max_rows);
	if (lane->split_rows > 0)
		limits.rows = Min(limits.rows, lane->split_rows);
	if (backend->max_bytes > 0)
		limits.bytes = Min(limits.bytes, backend->max_bytes);
	if (keep_cut)
	{
		limits.rows = lane->queue.row.part.rows;
		limits.bytes = BATCH_MAX_BYTES;
	}
	batch_begin(lane->builder, &limits);
}

/*
 * Where the part ends.  Events that have vanished behind its last one belong
 * to it, unless a limit has cut it.
 */
static void
cut_part(Lane *lane, QueuePart *part, int32 taken, QueuePosition upto,
		 bool cut)
{
	Queue	   *queue = &lane->queue;

	part->last = upto;
	if (!queue->row.range.claimed)
		part->last = queue_end();
	else if (cut)
		part->last = taken > 0 ? batch_last(lane->builder) :
			queue->row.range.done;
	part->rows = batch_taken(lane->builder);
	part->checksum = part_checksum(lane);
	part->started_at = GetCurrentTimestamp();
	lane_random_uuid(&part->token);
}

/* What may have become of a part's events before this lane claimed them. */
static TlHistory
history_before(const Lane *lane, bool with_held)
{
	const LaneRow *row = &lane->queue.row;

	if (with_held && row->held_suspect)
		return TL_OVERLAP;
	return row->range.history;
}

/*
 * Also over what we refuse ourselves: under another limit an event would be
 * left out, or sent, under a token that says otherwise.
 */
static uint64
part_checksum(const Lane *lane)
{
	uint64		checksum = batch_checksum(lane->builder);
	ListCell   *lc;

	foreach(lc, batch_refusals(lane->builder))
	{
		const BatchRefusal *refusal = lfirst(lc);

		checksum = hash_bytes_extended(refusal->event_id.data, UUID_LEN,
									   checksum);
	}
	return routed_checksum(&lane->queue, checksum);
}

/* Held events that were passed over, or that a limit cut off, stay held. */
static void
keep_unread_held(Lane *lane)
{
	ListCell   *lc;

	foreach(lc, lane->queue.row.held)
	{
		const pg_uuid_t *id = lfirst(lc);
		bool		read = is_kept_back(lane->builder, id);

		for (int32 row = 0; row < lane->whole.nrows && !read; row++)
			read = memcmp(id, &lane->whole.event_ids[row], UUID_LEN) == 0;
		if (!read)
			lane->settlement.held = lappend(lane->settlement.held,
											copy_uuid(id));
	}
}

/* Was it read, and is not in the batch? */
static bool
is_kept_back(const BatchBuilder *builder, const pg_uuid_t *id)
{
	const pg_uuid_t *filtered = batch_filtered_ids(builder);
	ListCell   *lc;

	for (int32 i = 0; i < batch_filtered(builder); i++)
	{
		if (memcmp(id, &filtered[i], UUID_LEN) == 0)
			return true;
	}
	foreach(lc, batch_refusals(builder))
	{
		const BatchRefusal *refusal = lfirst(lc);

		if (memcmp(id, &refusal->event_id, UUID_LEN) == 0)
			return true;
	}
	return false;
}

/* How many held events the part begins with. */
static int32
held_rows(const Lane *lane, int32 taken)
{
	int32		n = batch_taken(lane->builder) - taken;
	ListCell   *lc;

	foreach(lc, lane->queue.row.held)
		n -= is_kept_back(lane->builder, lfirst(lc));
	return Max(n, 0);
}

static bool
same_membership(const QueuePart *a, const QueuePart *b)
{
	return a->last.xid == b->last.xid && a->last.seq == b->last.seq &&
		a->rows == b->rows && a->checksum == b->checksum;
}

/*
 * Keeps the row's token where the row's part is this one.  same: it was read
 * again, and is what it was.
 */
static bool
make_part_durable(Lane *lane, const QueuePart *part, bool same)
{
	const QueuePart *row = &lane->queue.row.part;

	if (row->durable && same_membership(part, row) &&
		(same || row->history == part->history))
		return true;
	return queue_begin_part(&lane->queue, part);
}

/* Events that no store is asked to take. */
static void
refuse_ours(Lane *lane)
{
	ListCell   *lc;

	foreach(lc, batch_refusals(lane->builder))
	{
		BatchRefusal *refusal = lfirst(lc);
		DeadLetter *letter = palloc0(sizeof(DeadLetter));

		letter->event_id = refusal->event_id;
		letter->reason = pstrdup(refusal->reason);
		letter->code = pstrdup(refusal->code);
		lane->settlement.dead = lappend(lane->settlement.dead, letter);
	}
}
