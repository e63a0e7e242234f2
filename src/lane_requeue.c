/*-------------------------------------------------------------------------
 *
 * lane_requeue.c
 *	  When a dead letter that is sent again is dead again.
 *
 * It was judged before: the store refused it, took another event, and refused
 * it again.  So where there are few of them, another refusal is enough.  But
 * somebody who requeues thousands says that the store is mended; if it then
 * refuses all of the first ones, it rather is not.  These go back to those
 * that wait, the target is in error, and they are tried again later: for good
 * as soon as the store has accepted any other event.  So neither does a store
 * that takes nothing cost each of them another refusal, nor do bad events
 * that are requeued by the thousand keep others from being sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "lane.h"

#define REQUEUE_FIRST	100		/* sent at once as long as none has landed */
#define REQUEUE_MOST	1000	/* their ids are in the lane's row */

void
requeue_init(Lane *lane)
{
	lane->queue.requeue_rows = REQUEUE_FIRST;
}

/* Is a refusal of the dead letters that the lane has taken final? */
bool
requeue_heard(const Lane *lane)
{
	return lane->queue.row.requeued &&
		(lane->requeue_heard ||
		 list_length(lane->queue.row.held) < REQUEUE_FIRST);
}

/* All those that the store has not decided on. */
void
requeue_give_back(Lane *lane)
{
	Settlement *settlement = &lane->settlement;

	settlement->requeued = settlement->held;
	settlement->held = NIL;
}

/* sent: the part was of dead letters. */
void
requeue_settled(Lane *lane, const Settlement *settlement, bool sent)
{
	Queue	   *queue = &lane->queue;

	if (settlement->forwarded > 0 && lane->requeue_refused)
	{
		lane->requeue_heard = true;
		queue->requeue_at = 0;
	}
	if (!sent)
		return;
	lane->requeue_refused = settlement->requeued != NIL;
	lane->requeue_heard = false;
	if (settlement->forwarded > 0 && !lane->requeue_refused)
		queue->requeue_rows = Min(queue->requeue_rows * 2, REQUEUE_MOST);
	else
		queue->requeue_rows = REQUEUE_FIRST;
}

/* They are not tried again before the back-off is over; ranges are. */
void
requeue_failed(Lane *lane)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict),
	.cause = TL_CAUSE_DATA};

	strlcpy(verdict.message, "the store refuses every dead letter that was"
			" requeued, and has accepted no other event since",
			sizeof(verdict.message));
	lane_failed(lane, &verdict);
	lane->queue.requeue_at = lane->retry_at;
	lane->retry_at = 0;
}

/* Nothing is to be sent: if they were discarded, no success will come. */
void
requeue_look(Lane *lane)
{
	if (!lane->requeue_refused || lane->queue.has_requeued ||
		lane->queue.row.held != NIL)
		return;
	lane->requeue_refused = lane->requeue_heard = false;
	lane_succeeded(lane);
}
