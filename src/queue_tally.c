/*-------------------------------------------------------------------------
 *
 * queue_tally.c
 *	  How many events have ever been committed: counted once, not each time.
 *
 * The tally walks the queue as a target does, with windows of its own, and
 * counts.  What lies beyond its cursor is counted by whoever asks: the cursor
 * is moved when that is many, so that asking stays cheap and an idle database
 * is not written to.  The lanes 0 of all targets do it, whoever comes first.
 *
 * As for a target: the row is locked in one statement, and the snapshot taken
 * in the next.  A deletion that has the row locked is not waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue_internal.h"

#define FEW_EVENTS		10000	/* are left to whoever asks */
#define TALLY_ROWS		100000	/* are counted in one transaction */

typedef struct Tally
{
	Datum		from;			/* pg_snapshot */
	Datum		to;
	QueuePosition last;
} Tally;

static bool read_tally(Queue *queue, QueueStatement statement, Tally *tally);
static Datum beginning(void);
static void key(const Queue *queue, QueueArgs *args);
static int32 count(Tally *tally, int32 rows);
static int32 count_window(Tally *tally, int32 rows);
static void move(Queue *queue, const Tally *tally, int64 counted);
static bool are_many(Queue *queue);
static void insert(Queue *queue);

bool
queue_tally(Queue *queue)
{
	Tally		tally;
	int32		counted = 0;

	if (!are_many(queue))
		return false;
	insert(queue);
	lane_begin();
	if (read_tally(queue, Q_LOCK_TALLY, &tally))
	{
		counted = count(&tally, TALLY_ROWS);
		move(queue, &tally, counted);
	}
	lane_commit();
	return counted == TALLY_ROWS;
}

static bool
are_many(Queue *queue)
{
	Tally		tally;
	bool		many;

	lane_begin_reading();
	if (!read_tally(queue, Q_READ_TALLY, &tally))
	{
		tally.from = tally.to = beginning();
		tally.last.xid = 0;
		tally.last.seq = -1;
	}
	many = count(&tally, FEW_EVENTS) == FEW_EVENTS;
	lane_commit();
	return many;
}

/* At most rows of the current window, and of the next one. */
static int32
count(Tally *tally, int32 rows)
{
	int32		counted = count_window(tally, rows);
	QueueArgs	args = {0};
	bool		isnull;

	if (counted == rows)
		return counted;
	queue_run(Q_SNAPSHOT, &args);
	tally->from = tally->to;
	tally->to = queue_value(1, &isnull);
	tally->last.xid = 0;
	tally->last.seq = -1;
	return counted + count_window(tally, rows - counted);
}

static int32
count_window(Tally *tally, int32 rows)
{
	QueueWalk	walk;

	walk_window(tally->from, tally->to, NULL, tally->last, rows, &walk);
	if (walk.rows > 0)
		tally->last = walk.last;
	return walk.rows;
}

static bool
read_tally(Queue *queue, QueueStatement statement, Tally *tally)
{
	QueueArgs	args = {0};
	bool		isnull;

	key(queue, &args);
	if (queue_run(statement, &args) == 0)
		return false;
	tally->from = queue_snapshot(1, &isnull);
	tally->to = queue_snapshot(2, &isnull);
	tally->last.xid = (uint64) queue_int64(3, 0);
	tally->last.seq = queue_int64(4, -1);
	return true;
}

/* NB: waits for deletions that are under way, and they for it. */
static void
insert(Queue *queue)
{
	QueueArgs	args = {0};
	Tally		tally;
	bool		found;

	lane_begin_reading();
	found = read_tally(queue, Q_READ_TALLY, &tally);
	lane_commit();
	if (found)
		return;
	lane_begin();
	key(queue, &args);
	arg_add(&args, beginning());
	queue_run(Q_INSERT_TALLY, &args);
	lane_commit();
}

static void
move(Queue *queue, const Tally *tally, int64 counted)
{
	QueueArgs	args = {0};

	key(queue, &args);
	arg_add(&args, tally->from);
	arg_add(&args, tally->to);
	arg_add(&args, UInt64GetDatum(tally->last.xid));
	arg_add(&args, Int64GetDatum(tally->last.seq));
	arg_add(&args, Int64GetDatum(counted));
	queue_run(Q_MOVE_TALLY, &args);
}

static Datum
beginning(void)
{
	return DirectFunctionCall1(pg_snapshot_in,
							   CStringGetDatum(WINDOW_BEGINNING));
}

static void
key(const Queue *queue, QueueArgs *args)
{
	arg_add(args, Int64GetDatum(queue->system_identifier));
	arg_add(args, ObjectIdGetDatum(MyDatabaseId));
}
