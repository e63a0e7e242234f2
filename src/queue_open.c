/*-------------------------------------------------------------------------
 *
 * queue_open.c
 *	  A lane takes its place: which ledger this is, which target, which lane.
 *
 * Everything happens in one transaction under the lock of the target's row.
 *
 *	- A row of this cluster and database is made where there is none.  Where
 *	  another cluster's or database's row has the name, this database is a
 *	  copy (a template copy, a restored dump), and a copy must not forward as
 *	  the original: the new row is suspended until adopt().
 *	- pg_upgrade is no copy: it keeps the transaction id of the row in
 *	  instance_local, which a dump does not even contain.
 *	- A new timeline may have lost settlements: everything that a transaction
 *	  from before it has inserted, and that is not settled, is suspected to be
 *	  in the store already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "instance.h"
#include "lane_transaction.h"
#include "queue.h"
#include "queue_sql.h"
#include "target.h"

/* Fourth field of the advisory lock: SQL functions use 1 and 2. */
#define LANE_LOCK_CLASS		0x544C

static void find_target(Queue *queue, const Target *target);
static void check_destination(Queue *queue, const Target *target);
static void start_window(Queue *queue, const Target *target,
						 const char *request);
static bool was_filled(Queue *queue, const char *destination);
static void suspect_everything(Queue *queue);
static Datum snapshot_now(void);
static bool take_lane(Queue *queue);
static void read_lane(Queue *queue, LaneRow *row);
static void suspect_lane(LaneRow *row);
static void read_range(LaneRow *row);
static void read_part(QueuePart *part);
static void read_event(int column, pg_uuid_t *event_id);
static QueuePosition read_position(int column);
static void find_ledger(Queue *queue);

QueueOpen
queue_open(Queue *queue, const Target *target, int32 lane)
{
	LaneRow		row = {0};

	queue->target = target->name;
	queue->lane = lane;
	queue->event_bytes = target->max_event_bytes;
	queue->routing = target->routing;
	lane_begin();
	if (!become_extension_owner())
	{
		lane_commit();
		return QUEUE_NO_EXTENSION;
	}
	instance_check(&queue->ledger_id, &queue->system_identifier,
				   &queue->timeline);
	find_target(queue, target);
	check_destination(queue, target);
	if (!take_lane(queue))
	{
		lane_commit();
		return QUEUE_BUSY;
	}
	find_ledger(queue);
	read_lane(queue, &row);
	copy_lane_row(&row, queue->spare_mcxt);
	lane_commit();
	queue_adopt_row(queue, &row);
	return QUEUE_OPEN;
}

bool
queue_reload(Queue *queue)
{
	LaneRow		row = {0};
	int64		epoch = queue->epoch;

	lane_begin();
	if (!become_extension_owner())
	{
		lane_commit();
		return false;
	}
	find_ledger(queue);
	read_lane(queue, &row);
	copy_lane_row(&row, queue->spare_mcxt);
	lane_commit();
	queue_adopt_row(queue, &row);
	return queue->epoch == epoch;
}

/* false: the extension is not there (any more). */
bool
become_extension_owner(void)
{
	bool		isnull;

	if (!OidIsValid(get_extension_oid("tokenledger", true)))
		return false;
	SPI_execute("SELECT extowner FROM pg_catalog.pg_extension"
				" WHERE extname OPERATOR(pg_catalog.=) 'tokenledger'", true, 1);
	if (SPI_processed == 0)
		return false;
	SetUserIdAndSecContext(DatumGetObjectId(queue_value(1, &isnull)), 0);
	return true;
}

static void
find_target(Queue *queue, const Target *target)
{
	QueueArgs	args = {0};
	bool		isnull;
	bool		without_window;
	char	   *request;

	arg_add(&args, Int64GetDatum(queue->system_identifier));
	arg_add(&args, ObjectIdGetDatum(MyDatabaseId));
	arg_add_text(&args, queue->target);
	queue_run(Q_INSERT_TARGET, &args);
	if (queue_run(Q_FIND_TARGET, &args) == 0)
		elog(ERROR, "the row of target \"%s\" has vanished", queue->target);
	queue->target_tid = queue_tid(1);
	queue->target_id = (int32) queue_int64(2, 0);
	without_window = DatumGetBool(queue_value(3, &isnull));
	request = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5);
	if (without_window)
		start_window(queue, target, request);
	else if (queue_int64(4, queue->timeline) != queue->timeline)
		suspect_everything(queue);
}

/*
 * Once anything was claimed, the target belongs to its destination: under
 * another one it is stopped, and goes on when the URL is set back.  A name
 * that takes over a destination is the only one that ever goes on there: what
 * another would send from its place in the queue is there already.
 */
static void
check_destination(Queue *queue, const Target *target)
{
	QueueArgs	args = {0};
	QueueArgs	others = {0};
	bool		isnull;

	arg_add(&others, Int32GetDatum(queue->target_id));
	arg_add_text(&others, target->destination);
	queue_run(Q_TAKE_OVER, &others);
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add_text(&args, target->backend->name);
	arg_add_text(&args, target->destination);
	queue_run(Q_SET_DESTINATION, &args);
	queue->halted = DatumGetBool(queue_value(1, &isnull));
	queue->in_error = DatumGetBool(queue_value(2, &isnull));
	ItemPointerSetInvalid(&queue->target_tid);
}

/*
 * A store that has got events before, from a target of whatever name, may
 * have any of those that are there.  NB: the snapshot is taken after the
 * statement that locked the row.
 */
static void
start_window(Queue *queue, const Target *target, const char *request)
{
	QueueArgs	args = {0};
	Datum		now = snapshot_now();
	bool		adopted = request != NULL;
	bool		skip = adopted ? strcmp(request, "now") == 0 :
		target->start_now;
	int64		skipped = 0;

	if (skip)
	{
		QueueArgs	count = {0};

		arg_add(&count, now);
		queue_run(Q_COUNT_VISIBLE, &count);
		skipped = queue_int64(1, 0);
	}
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, skip ? now :
			DirectFunctionCall1(pg_snapshot_in,
								CStringGetDatum(WINDOW_BEGINNING)));
	arg_add(&args, Int64GetDatum(skipped));
	arg_add(&args, Int32GetDatum(queue->timeline));
	if (!skip && (adopted || was_filled(queue, target->destination)))
		arg_add(&args, now);
	else
		arg_add_null(&args);
	arg_add(&args, TimestampTzGetDatum(skip ?
									   GetCurrentTransactionStartTimestamp() :
									   DT_NOBEGIN));
	pg_atomic_write_u64(queue->claimed_until, 0);
	queue_run(Q_SET_WINDOW, &args);
	ItemPointerSetInvalid(&queue->target_tid);
}

static bool
was_filled(Queue *queue, const char *destination)
{
	QueueArgs	args = {0};

	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add_text(&args, destination);
	return queue_run(Q_WAS_FILLED, &args) > 0;
}

static void
suspect_everything(Queue *queue)
{
	QueueArgs	args = {0};

	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int32GetDatum(queue->timeline));
	arg_add(&args, snapshot_now());
	queue_run(Q_SET_TIMELINE, &args);
	ItemPointerSetInvalid(&queue->target_tid);
}

static Datum
snapshot_now(void)
{
	QueueArgs	args = {0};
	bool		isnull;

	queue_run(Q_SNAPSHOT, &args);
	return queue_value(1, &isnull);
}

/* The lock lives as long as this process; the epoch outlives it. */
static bool
take_lane(Queue *queue)
{
	QueueArgs	args = {0};
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, queue->target_id, queue->lane,
						 LANE_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int16GetDatum(queue->lane));
	queue_run(Q_INSERT_LANE, &args);
	queue_run(Q_TAKE_LANE, &args);
	return true;
}

static void
read_lane(Queue *queue, LaneRow *row)
{
	QueueArgs	args = {0};
	bool		isnull;
	Datum		state;

	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int16GetDatum(queue->lane));
	if (queue_run(Q_READ_LANE, &args) == 0)
		elog(ERROR, "the row of lane %d of target \"%s\" has vanished",
			 queue->lane, queue->target);
	queue->lane_tid = queue_tid(1);
	queue->epoch = queue_int64(2, 0);
	read_range(row);
	read_part(&row->part);
	row->held = read_uuids(23);
	state = queue_value(24, &isnull);
	row->state = isnull ? NULL : DatumGetByteaP(state);
	row->state_timeline = (int32) queue_int64(25, queue->timeline);
	row->held_suspect = DatumGetBool(queue_value(26, &isnull));
	row->held_until = (TimestampTz) queue_int64(29, DT_NOBEGIN);
	read_event(30, &row->last_event);
	if (row->state_timeline != queue->timeline)
		suspect_lane(row);
}

/* A predecessor on another timeline may have sent what the row holds. */
static void
suspect_lane(LaneRow *row)
{
	if (row->range.claimed)
		row->range.history = row->part.history = TL_OVERLAP;
	if (row->held != NIL)
		row->held_suspect = true;
}

static void
read_range(LaneRow *row)
{
	QueueRange *range = &row->range;
	bool		isnull;
	Datum		source = queue_value(3, &isnull);

	row->requeued = !isnull &&
		strcmp(TextDatumGetCString(source), "dead_letter") == 0;
	range->claimed = !isnull && !row->requeued;
	if (!range->claimed)
		return;
	range->job = queue_int64(27, 0);
	range->from = queue_snapshot(4, &isnull);
	range->to = queue_snapshot(5, &isnull);
	range->first = read_position(6);
	range->done = read_position(8);
	range->last = read_position(10);
	range->rows = (int32) queue_int64(12, 0);
	range->done_rows = (int32) queue_int64(13, 0);
	range->history = (TlHistory) queue_int64(14, TL_FRESH);
	range->until = (TimestampTz) queue_int64(28, DT_NOBEGIN);
}

static void
read_part(QueuePart *part)
{
	bool		isnull;
	Datum		token = queue_value(19, &isnull);

	part->durable = !isnull;
	if (!part->durable)
		return;
	part->last = read_position(15);
	part->rows = (int32) queue_int64(17, 0);
	part->checksum = (uint64) queue_int64(18, 0);
	part->token = *DatumGetUUIDP(token);
	part->history = (TlHistory) queue_int64(20, TL_OVERLAP);
	part->started_at = (TimestampTz) queue_int64(21, 0);
	part->event_bytes = queue_int64(22, 0);
}

static void
read_event(int column, pg_uuid_t *event_id)
{
	bool		isnull;
	Datum		value = queue_value(column, &isnull);

	memset(event_id, 0, UUID_LEN);
	if (!isnull)
		*event_id = *DatumGetUUIDP(value);
}

static QueuePosition
read_position(int column)
{
	QueuePosition position;

	position.xid = (uint64) queue_int64(column, 0);
	position.seq = queue_int64(column + 1, -1);
	return position;
}

List *
read_uuids(int column)
{
	bool		isnull;
	Datum		array = queue_value(column, &isnull);
	Datum	   *values;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), UUIDOID, UUID_LEN, false,
					  TYPALIGN_CHAR, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, DatumGetUUIDP(values[i]));
	return list;
}

/* Its version is the newest whose columns it has. */
static void
find_ledger(Queue *queue)
{
	Oid			schema = get_namespace_oid("token_ledger", false);
	Oid			ledger = get_relname_relid("token_ledger_events", schema);
	int32		version = 0;

	if (!OidIsValid(ledger))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table token_ledger.token_ledger_events does not exist")));
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		if (get_attnum(ledger, ledger_columns[i].name) != InvalidAttrNumber)
			version = Max(version, ledger_columns[i].since);
	}
	queue->ledger = ledger;
	queue->ledger_version = version;
}
