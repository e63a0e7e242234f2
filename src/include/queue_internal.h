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

/* queue_row.c: the lane's row; false: another process has taken it over. */
extern bool write_lane(Queue *queue, const LaneRow *row,
					   const Settlement *settlement, int64 vanished);

/* The first arguments of a statement on a row of either, a TID foremost. */
extern void lane_key(Queue *queue, QueueArgs *args);
extern void target_key(Queue *queue, QueueArgs *args);
extern void add_position(QueueArgs *args, bool valid, QueuePosition position);

/* queue_replay.c: in the transaction that settles a part of a job's range. */
extern void settle_job_part(Queue *queue, const LaneRow *before,
							const Settlement *settlement);

/* queue_walk.c: runs a statement with a snapshot of its own. */
extern void walk_execute(SPIPlanPtr plan, int nargs, const Oid *types,
						 const Datum *values, DestReceiver *receiver);

/*
 * A statement that reads events behind a position, parameters $2 and $3, and
 * up to one, $4 and $5.
 */
typedef struct WalkStatement
{
	SPIPlanPtr	events;			/* returns what a batch builder expects */
	SPIPlanPtr	places;			/* ingest_xid, ingest_seq, event_id */
	int			nargs;
	const Oid  *types;
	Datum	   *values;
} WalkStatement;

/*
 * queue_filtered.c: the same with a filter that may throw.  Past each event
 * for which it does; the statement's positions are moved.
 */
extern void filtered_walk(WalkStatement *walk, BatchBuilder *builder);
extern void filtered_read(SPIPlanPtr plan, Datum id, BatchBuilder *builder);

/*
 * At the end of a batch: throws if the filter, rather than its events, is to
 * blame.
 */
extern void filter_evidence(const BatchBuilder *builder);

#endif							/* TL_QUEUE_INTERNAL_H */
