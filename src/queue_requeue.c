/*-------------------------------------------------------------------------
 *
 * queue_requeue.c
 *	  Dead letters that are to be sent again.
 *
 * requeue() marks them; a lane that is free takes some of them into its row,
 * as events that it holds.  They may be in the store: the refusal may have
 * come after another batch had brought them, and whoever requeues them need
 * not know.  So they are under the suspicion of overlap, like the events of a
 * fail-over.
 *
 *		dead --requeue()--> requeued --take_requeued()--> sending
 *		 ^					   ^						   | | |
 *		 |					   +------- given back --------+ | |
 *		 +------------------------------ refused ------------+ |
 *										  landed, vanished ----+--> no row
 *
 * What is sending is in the row of one lane, and counted there: both change
 * in one transaction, and the lane's row names its owner's epoch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "queue.h"
#include "queue_sql.h"

/*
 * Takes at most requeue_rows; false: other lanes have them, or somebody has
 * them locked.
 */
bool
take_requeued(Queue *queue, LaneRow *row)
{
	QueueArgs	args = {0};

	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, Int64GetDatum(queue->requeue_rows));
	queue_run(Q_TAKE_REQUEUED, &args);
	row->held = read_uuids(1);
	if (row->held == NIL)
		return false;
	row->requeued = row->held_suspect = true;
	memset(&row->part, 0, sizeof(row->part));
	queue->range_first = true;
	return true;
}

/* NB: after the dead letters of the settlement: they are dead again. */
void
settle_requeued(Queue *queue, const Settlement *settlement)
{
	QueueArgs	args = {0};

	if (settlement->requeued != NIL)
	{
		QueueArgs	back = {0};

		arg_add(&back, Int32GetDatum(queue->target_id));
		arg_add(&back, uuid_array(settlement->requeued));
		queue_run(Q_GIVE_BACK, &back);
	}
	arg_add(&args, Int32GetDatum(queue->target_id));
	arg_add(&args, uuid_array(queue->row.held));
	if (settlement->held == NIL)
		arg_add_null(&args);
	else
		arg_add(&args, uuid_array(settlement->held));
	queue_run(Q_FORGET_DEAD_LETTERS, &args);
}
