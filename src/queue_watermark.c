/*-------------------------------------------------------------------------
 *
 * queue_watermark.c
 *	  Up to when everything that was committed has been settled.
 *
 * watermark.c says which bounds there are.  A lane moves the first of them:
 * with each new window, and with each look that finds nothing to claim.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue.h"
#include "queue_sql.h"

/*
 * The moment before which nothing can be committed any more that the next
 * snapshot does not see: now, or the beginning of the oldest transaction
 * whose events bear the time of its beginning.  One that has written nothing
 * for a minute will hardly do so: a report that takes hours does not hold the
 * watermark.  NB: before the snapshot.
 */
TimestampTz
queue_open_since(void)
{
	QueueArgs	args = {0};

	arg_add(&args, ObjectIdGetDatum(MyDatabaseId));
	queue_run(Q_OPEN_SINCE, &args);
	return (TimestampTz) queue_int64(1, 0);
}

/* It only moves forward. */
void
queue_tell_claimed(Queue *queue, TimestampTz until)
{
	uint64		known = pg_atomic_read_u64(queue->claimed_until);

	while ((TimestampTz) known < until &&
		   !pg_atomic_compare_exchange_u64(queue->claimed_until, &known,
										   (uint64) until))
		;
}

/* DT_NOBEGIN: nothing is known. */
TimestampTz
queue_complete_until(Queue *queue)
{
	QueueArgs	args = {0};
	TimestampTz claimed = (TimestampTz)
		pg_atomic_read_u64(queue->claimed_until);
	TimestampTz until = DT_NOBEGIN;

	lane_begin_reading();
	arg_add(&args, Int32GetDatum(queue->target_id));
	if (claimed == 0)
		arg_add_null(&args);
	else
		arg_add(&args, TimestampTzGetDatum(claimed));
	if (queue_run(Q_COMPLETE_UNTIL, &args) > 0)
		until = (TimestampTz) queue_int64(1, DT_NOBEGIN);
	lane_commit();
	return until;
}
