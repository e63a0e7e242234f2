/*-------------------------------------------------------------------------
 *
 * queue_sql.h
 *	  The statements on the rows of target, lane and dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_QUEUE_SQL_H
#define TL_QUEUE_SQL_H

#include "executor/spi.h"

typedef enum QueueStatement
{
	/* On one row, found by its TID, with the key as fallback. */
	Q_LOCK_TARGET,
	Q_LOOK_TARGET,
	Q_MOVE_CURSOR,
	Q_TARGET_ERROR,
	Q_TARGET_RECOVERY,
	Q_TARGET_REMOTE,
	Q_TARGET_LOST,
	Q_WRITE_LANE,
	Q_SAVE_STATE,
	Q_RETIRE_LANE,
	/* By key alone. */
	Q_INSERT_TARGET,
	Q_FIND_TARGET,
	Q_TAKE_OVER,
	Q_SET_DESTINATION,
	Q_SET_WINDOW,
	Q_WAS_FILLED,
	Q_SET_TIMELINE,
	Q_INSERT_LANE,
	Q_TAKE_LANE,
	Q_READ_LANE,
	Q_LANES_NEEDED,
	Q_HAS_FORWARDED,
	Q_DEAD_LETTER,
	Q_TAKE_REQUEUED,
	Q_GIVE_BACK,
	Q_FORGET_DEAD_LETTERS,
	Q_LEFT_OUT,
	Q_FIND_JOB,
	Q_BEGIN_JOB,
	Q_JOB_GOES_ON,
	Q_JOB_TROUBLE,
	Q_END_JOB,
	Q_REPLAY_STATE,
	Q_REPLAY_EXTENT,
	Q_REPLAY_BEGIN,
	Q_REPLAY_FILL,
	Q_REPLAY_PROGRESS,
	Q_JOB_NEXT,
	Q_JOB_RANGE,
	Q_JOB_SENT,
	Q_JOB_EVENTS_SENT,
	Q_DROP_JOB_EVENTS,
	Q_REQUEST_MIGRATION,
	Q_IS_MIGRATING,
	Q_DELETE_EXPIRED,
	Q_OPEN_SINCE,
	Q_COMPLETE_UNTIL,
	Q_READ_TALLY,
	Q_LOCK_TALLY,
	Q_INSERT_TALLY,
	Q_MOVE_TALLY,
	Q_SNAPSHOT,
	Q_COUNT_VISIBLE,
	Q_NSTATEMENTS
} QueueStatement;

/*
 * What was committed before this is settled; -infinity: nothing need be.  $2
 * has been read from TargetSlot.claimed_until before the statement's snapshot
 * was taken: the claims that it stands for are then visible.
 */
#define COMPLETE_UNTIL_SQL \
	"SELECT LEAST(GREATEST(t.from_until, $2)," \
	" (SELECT pg_catalog.min(LEAST(l.range_until, l.held_until))" \
	" FROM token_ledger.lane l" \
	" WHERE l.target_id OPERATOR(pg_catalog.=) t.id))" \
	" FROM token_ledger.target t WHERE t.id OPERATOR(pg_catalog.=) $1" \
	" AND t.from_until IS NOT NULL"

/* Of $1 target, $2 lane, $3 epoch, and $4 job. */
#define OUR_LANE	"EXISTS (SELECT FROM token_ledger.lane WHERE target_id" \
	" OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2" \
	" AND epoch OPERATOR(pg_catalog.=) $3)"
#define OUR_JOB		"id OPERATOR(pg_catalog.=) $4" \
	" AND state OPERATOR(pg_catalog.=) 'running' AND " OUR_LANE

/* Was the event claimed when the cursor stood there? */
#define CLAIMED_BY(from, to, xid, seq) \
	"pg_catalog.pg_visible_in_snapshot(ingest_xid, " to ")" \
	" AND (pg_catalog.pg_visible_in_snapshot(ingest_xid, " from ")" \
	" OR (ingest_xid, ingest_seq) OPERATOR(pg_catalog.<=) (" xid ", " seq "))"

typedef struct QueueArgs
{
	Datum		values[48];
	char		nulls[49];
	int			n;
} QueueArgs;

extern void arg_add(QueueArgs *args, Datum value);
extern void arg_add_null(QueueArgs *args);
extern void arg_add_text(QueueArgs *args, const char *value);	/* or NULL */

/* Number of rows; SPI_tuptable holds what the statement returns. */
extern uint64 queue_run(QueueStatement statement, QueueArgs *args);

/* The same by TID first: the first argument is the hint, updated. */
extern uint64 queue_run_at(QueueStatement statement, ItemPointer tid,
						   QueueArgs *args);

/* Of the only row returned; column counted from 1. */
extern Datum queue_value(int column, bool *isnull);
extern ItemPointerData queue_tid(int column);

/* A pg_snapshot that does not hang on the row's TOAST. */
extern Datum queue_snapshot(int column, bool *isnull);
extern int64 queue_int64(int column, int64 if_null);

#endif							/* TL_QUEUE_SQL_H */
