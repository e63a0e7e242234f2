/*-------------------------------------------------------------------------
 *
 * queue_internal.h
 *	  The queue from within: shared by the queue_*.c files only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_QUEUE_INTERNAL_H
#define TL_QUEUE_INTERNAL_H

#include "queue.h"
#include "queue_sql.h"

/* queue.c: the lane's row; false: another process has taken it over. */
extern bool write_lane(Queue *queue, const LaneRow *row,
					   const Settlement *settlement, int64 vanished);
extern void lane_key(Queue *queue, QueueArgs *args);

/* queue_replay.c: in the transaction that settles a part of a job's range. */
extern void settle_job_part(Queue *queue, const LaneRow *before,
							const Settlement *settlement);

#endif							/* TL_QUEUE_INTERNAL_H */
