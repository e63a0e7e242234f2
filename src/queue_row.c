/*-------------------------------------------------------------------------
 *
 * queue_row.c
 *	  The lane's row: how it is written, and how it is kept in memory.
 *
 * Each write names the epoch of the lane's owner, so that a late predecessor
 * writes nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "compat.h"
#include "queue_internal.h"

static void add_range(QueueArgs *args, const LaneRow *row);
static void add_part(QueueArgs *args, const QueuePart *part);
static void add_totals(QueueArgs *args, const Settlement *settlement,
					   int64 dead, int64 vanished);
static void add_event(QueueArgs *args, const pg_uuid_t *event_id);
static void add_until(QueueArgs *args, bool valid, TimestampTz until);

/* Moves what the row points to out of the transaction's memory. */
void
copy_lane_row(LaneRow *row, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	List	   *held = NIL;
	ListCell   *lc;

	if (row->range.claimed && row->range.job == 0)
	{
		row->range.from = datumCopy(row->range.from, false, -1);
		row->range.to = datumCopy(row->range.to, false, -1);
	}
	foreach(lc, row->held)
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = *(pg_uuid_t *) lfirst(lc);
		held = lappend(held, id);
	}
	row->held = held;
	if (row->state != NULL)
	{
		Datum		state = PointerGetDatum(row->state);

		row->state = DatumGetByteaP(datumCopy(state, false, -1));
	}
	MemoryContextSwitchTo(old);
}

/* The row in the spare context becomes the mirror. */
void
queue_adopt_row(Queue *queue, const LaneRow *row)
{
	MemoryContext old = queue->row_mcxt;

	queue->row = *row;
	queue->row_mcxt = queue->spare_mcxt;
	queue->spare_mcxt = old;
	MemoryContextReset(old);
}

/* false: another process has taken the lane over. */
bool
write_lane(Queue *queue, const LaneRow *row, const Settlement *settlement,
		   int64 vanished)
{
	QueueArgs	args = {0};

	lane_key(queue, &args);
	add_range(&args, row);
	add_part(&args, &row->part);
	if (row->held == NIL)
		arg_add_null(&args);
	else
		arg_add(&args, uuid_array(row->held));
	if (row->state == NULL)
		arg_add_null(&args);
	else
		arg_add(&args, PointerGetDatum(row->state));
	arg_add(&args, Int32GetDatum(row->state_timeline));
	arg_add(&args, BoolGetDatum(row->held_suspect));
	add_totals(&args, settlement, queue->row.range.job != 0 ? 0 :
			   list_length(settlement->dead), vanished);
	add_event(&args, &settlement->last_event);
	add_event(&args, &settlement->kept_event);
	add_until(&args, row->range.claimed && row->range.job == 0,
			  row->range.until);
	add_until(&args, row->held != NIL && !row->requeued, row->held_until);
	return queue_run_at(Q_WRITE_LANE, &queue->lane_tid, &args) > 0;
}

static void
add_range(QueueArgs *args, const LaneRow *row)
{
	const QueueRange *range = &row->range;
	const char *source = range->job != 0 ? "job" : "window";

	arg_add_text(args, range->claimed ? source :
				 row->requeued ? "dead_letter" : NULL);
	if (range->claimed && range->job == 0)
	{
		arg_add(args, range->from);
		arg_add(args, range->to);
	}
	else
	{
		arg_add_null(args);
		arg_add_null(args);
	}
	add_position(args, range->claimed, range->first);
	add_position(args, range->claimed, range->done);
	add_position(args, range->claimed, range->last);
	arg_add(args, Int32GetDatum(range->rows));
	arg_add(args, Int32GetDatum(range->done_rows));
	arg_add(args, Int16GetDatum(range->history));
}

static void
add_part(QueueArgs *args, const QueuePart *part)
{
	add_position(args, part->durable, part->last);
	if (!part->durable)
	{
		for (int i = 0; i < 6; i++)
			arg_add_null(args);
		return;
	}
	arg_add(args, Int32GetDatum(part->rows));
	arg_add(args, Int64GetDatum((int64) part->checksum));
	arg_add(args, UUIDPGetDatum(&part->token));
	arg_add(args, Int16GetDatum(part->history));
	arg_add(args, TimestampTzGetDatum(part->started_at));
	arg_add(args, Int64GetDatum(part->event_bytes));
}

static void
add_totals(QueueArgs *args, const Settlement *settlement, int64 dead,
		   int64 vanished)
{
	arg_add(args, Int64GetDatum(settlement->forwarded));
	arg_add(args, Int64GetDatum(settlement->rows_new));
	arg_add(args, Int64GetDatum(dead));
	arg_add(args, Int64GetDatum(vanished));
	arg_add(args, Int64GetDatum(settlement->batches));
	arg_add(args, Int64GetDatum(settlement->bytes));
	arg_add(args, Int64GetDatum(settlement->retries));
	arg_add(args, Int64GetDatum(settlement->unknowns));
	arg_add(args, Int64GetDatum(settlement->resolves));
	arg_add(args, Int64GetDatum(settlement->filtered));
}

void
add_position(QueueArgs *args, bool valid, QueuePosition position)
{
	if (valid)
	{
		arg_add(args, UInt64GetDatum(position.xid));
		arg_add(args, Int64GetDatum(position.seq));
	}
	else
	{
		arg_add_null(args);
		arg_add_null(args);
	}
}

static void
add_event(QueueArgs *args, const pg_uuid_t *event_id)
{
	if (is_null_uuid(event_id))
		arg_add_null(args);
	else
		arg_add(args, UUIDPGetDatum(event_id));
}

static void
add_until(QueueArgs *args, bool valid, TimestampTz until)
{
	if (valid)
		arg_add(args, TimestampTzGetDatum(until));
	else
		arg_add_null(args);
}

Datum
uuid_array(List *ids)
{
	Datum	   *values = palloc(sizeof(Datum) * list_length(ids));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, ids)
		values[n++] = UUIDPGetDatum((pg_uuid_t *) lfirst(lc));
	return PointerGetDatum(construct_array(values, n, UUIDOID, UUID_LEN,
										   false, TYPALIGN_CHAR));
}

bool
is_null_uuid(const pg_uuid_t *uuid)
{
	static const pg_uuid_t zero = {{0}};

	return memcmp(uuid, &zero, sizeof(zero)) == 0;
}

pg_uuid_t *
copy_uuid(const pg_uuid_t *id)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *id;
	return copy;
}

void
lane_key(Queue *queue, QueueArgs *args)
{
	arg_add_null(args);
	arg_add(args, Int32GetDatum(queue->target_id));
	arg_add(args, Int16GetDatum(queue->lane));
	arg_add(args, Int64GetDatum(queue->epoch));
}

void
target_key(Queue *queue, QueueArgs *args)
{
	arg_add_null(args);
	arg_add(args, Int32GetDatum(queue->target_id));
}
