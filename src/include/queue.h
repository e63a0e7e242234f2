/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The ledger as a queue: claim, read, settle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_QUEUE_H
#define TL_QUEUE_H

#include "batch.h"
#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"
#include "window.h"

/* A range of the queue: rows visible in to, not in from, in (first, last]. */
typedef struct QueueRange
{
	bool		claimed;
	int64		job;			/* it sends the range again, which is of
								 * job_event and has no snapshots; 0: none */
	Datum		from;			/* pg_snapshot */
	Datum		to;
	QueuePosition first;		/* exclusive */
	QueuePosition done;			/* settled up to here, inclusive */
	QueuePosition last;			/* inclusive */
	int32		rows;
	int32		done_rows;
	TlHistory	history;		/* TL_FRESH, or TL_OVERLAP */
	TimestampTz until;			/* of a window: what was committed before is
								 * visible in from */
} QueueRange;

/* The part of the range that is on its way: (done, last]. */
typedef struct QueuePart
{
	bool		durable;		/* its token is in the lane's row */
	QueuePosition last;
	int32		rows;			/* events in its batch */
	uint64		checksum;		/* over the positions of the events taken */
	pg_uuid_t	token;
	TlHistory	history;		/* TL_FRESH: this token's is the first attempt
								 * with any of its events */
	TimestampTz started_at;
	int64		event_bytes;	/* a larger event is not in its batch */
} QueuePart;

/* What the row of token_ledger.lane says; the truth is the row. */
typedef struct LaneRow
{
	QueueRange	range;
	QueuePart	part;
	List	   *held;			/* of pg_uuid_t *: refused alone, to be judged
								 * again together with later events */
	bool		requeued;		/* held are dead letters, sent again; there is
								 * no range besides */
	bool		held_suspect;	/* some of them may have landed before a
								 * fail-over */
	TimestampTz held_until;		/* what was committed before is not held */
	bytea	   *state;			/* the backend's; NULL: none */
	int32		state_timeline;
	pg_uuid_t	last_event;		/* that was acknowledged; zero: none was */
} LaneRow;

typedef struct Queue			/* one lane's view of one target */
{
	MemoryContext mcxt;
	const char *target;			/* name */
	int32		target_id;
	Oid			ledger;			/* token_ledger.token_ledger_events */
	int32		lane;
	int64		epoch;
	int32		timeline;
	int64		system_identifier;
	int64		event_bytes;	/* of the parts that are made now */
	uint64		routing;		/* of the target: is in their checksums */
	bool		new_target;		/* this open made its row */
	pg_uuid_t	ledger_id;
	ItemPointerData target_tid; /* hints; the keys decide */
	ItemPointerData lane_tid;
	LaneRow		row;			/* lives in row_mcxt */
	MemoryContext row_mcxt;
	MemoryContext spare_mcxt;
	bytea	   *call_state;		/* what the callback that runs has set: it is
								 * forgotten unless the outcome is TL_OK */
	bytea	   *new_state;		/* the backend's, durable with the next
								 * settlement; outlives its session */
	bool		paused;			/* no claims */
	bool		halted;			/* suspended or stopped: nothing is sent */
	bool		lost;			/* the store has lost what it acknowledged:
								 * nothing is claimed */
	bool		in_error;		/* so says the row that was found */
	bool		reopen;			/* the target's row has no window any more */
	int32		ledger_version; /* 100 * major + minor */
	pg_atomic_uint64 *claimed_until;	/* shared: what was committed before
										 * has been claimed */
	WindowSnapshot *last_look;	/* of the last look that found nothing new */
	bool		has_requeued;	/* dead letters wait, says the last look */
	bool		range_first;	/* a range's turn: they had theirs */
	int32		requeue_rows;	/* most that are taken at once */
	TimestampTz requeue_at;		/* none is taken before */
} Queue;

typedef struct DeadLetter
{
	pg_uuid_t	event_id;
	const char *reason;
	const char *code;			/* NULL: none */
} DeadLetter;

/* What a settled part adds to the lane's totals, and takes from the queue. */
typedef struct Settlement
{
	bool		part_done;		/* done moves to the part's last position */
	int32		taken;			/* events of the range the part took */
	int32		held_gone;		/* held events that the ledger has no more */
	int64		forwarded;
	int64		replayed;		/* instead, where a job sends again */
	int64		filtered;
	int64		rows_new;
	int64		batches;
	int64		bytes;
	int64		retries;
	int64		unknowns;
	int64		resolves;
	List	   *dead;			/* of DeadLetter * */
	List	   *held;			/* of pg_uuid_t *; replaces the row's */
	List	   *requeued;		/* of pg_uuid_t *: dead letters that the lane
								 * gives back, to be sent later */
	const void *state;			/* NULL: leave the backend's state */
	Size		state_len;
	pg_uuid_t	last_event;		/* of the forwarded ones; zero: none */
	pg_uuid_t	kept_event;		/* zero: leave the row's */
	const ColumnChoice *choice; /* NULL: no column was left out */
	int64		left_out[LEDGER_NCOLUMNS];	/* values of choice->left_out */
} Settlement;

/*
 * Of a part that is made under the target's routing: under another one it may
 * have other events, or other values.
 */
static inline uint64
routed_checksum(const Queue *queue, uint64 checksum)
{
	return queue->routing == 0 ? checksum :
		hash_combine64(checksum, queue->routing);
}

struct Target;

typedef enum QueueOpen
{
	QUEUE_OPEN,
	QUEUE_NO_EXTENSION,
	QUEUE_BUSY					/* another process still owns the lane */
} QueueOpen;

/*
 * Takes over the lane: makes the target's and the lane's row if need be,
 * takes the lane's advisory lock, increments its epoch, reads its row.  Runs
 * its own transaction, as every function below.
 */
extern QueueOpen queue_open(Queue *queue, const struct Target *target,
							int32 lane);

/* Inside a transaction, for the rest of the process; false: no extension. */
extern bool become_extension_owner(void);

/* Reads the lane's row again; false: another process has taken it over. */
extern bool queue_reload(Queue *queue);

/* Is there an event to claim?  Writes nothing. */
extern bool queue_look(Queue *queue);

/*
 * Claims at most rows events; false: there were none.  If the range fits into
 * one part of part_rows, its part is durable with the claim.
 */
extern bool queue_claim(Queue *queue, int32 rows, int32 part_rows);

/*
 * Settles, and claims the next range in the same transaction if claim_rows is
 * not 0.  false: the lane was lost, nothing was written.
 */
extern bool queue_settle(Queue *queue, const Settlement *settlement,
						 int32 claim_rows, int32 part_rows);

/* Makes a part, or another token for it, durable; false: lane lost. */
extern bool queue_begin_part(Queue *queue, const QueuePart *part);

/* Makes the backend's state durable; false: the lane was lost. */
extern bool queue_save_state(Queue *queue, const void *state, Size len);

/* A send is over: what it has set is its batch's, or nobody's. */
extern void queue_keep_state(Queue *queue, bool keep);

/* Drops what set_state left, once it is durable. */
extern void queue_forget_state(Queue *queue);

/* Puts every later part of the range under the suspicion of overlap. */
extern bool queue_distrust_range(Queue *queue);

/*
 * Reads the held events, if they are wanted, and then the range from its done
 * position up to upto; returns how many events of the range were taken.
 */
extern int32 queue_read(Queue *queue, BatchBuilder *builder,
						const ColumnChoice *choice, bool with_held,
						QueuePosition upto);

/*
 * Reads event_id and timestamp of what the store is asked for: of each lane
 * the last event and an earlier one, and the one that it has lost.  Left out
 * is what the ledger does not hold any more, or what is older than from.
 */
extern void queue_read_acknowledged(Queue *queue, TimestampTz from,
									BatchBuilder *builder);

/*
 * Which one the store has lost; NULL: none, or no longer.  false: the lane's
 * row is another's by now.
 */
extern bool queue_set_lost(Queue *queue, const pg_uuid_t *event_id);

/* Drops the reading statement, as the ledger's columns have changed. */
extern void queue_forget_columns(Queue *queue);

/* The position after every other. */
extern QueuePosition queue_end(void);

/* What inspect found, for the target's row; NULL: nothing to say. */
typedef struct RemoteReport
{
	int32		version;		/* 0: none */
	const char *guarantee;
	const char *differences;
	const char *hint;
	TimestampTz keeps_from;		/* DT_NOBEGIN: everything is kept */
} RemoteReport;

/* The target's row: state, and what inspect found. */
extern void queue_report_error(Queue *queue, const char *cause,
							   const char *code, const char *message);
extern void queue_report_recovery(Queue *queue);
extern void queue_report_remote(Queue *queue, const RemoteReport *report);
extern void queue_retire(Queue *queue);

/* Has any lane of the target ever forwarded an event, to this store? */
extern bool queue_has_forwarded(Queue *queue);

/* Highest lane that holds a range or held events, plus one. */
extern int32 queue_lanes_needed(Queue *queue);

/*
 * Counts some of the events that have been committed since the last time, if
 * they are many; false: they are few, and nothing was written.
 */
extern bool queue_tally(Queue *queue);

/* A request to lane 0 besides forwarding: token_ledger.job. */
typedef struct QueueJob
{
	int64		id;
	char		kind[16];
	int32		version;		/* to reach; 0: the newest */
	bool		automatic;		/* nobody has asked for it but auto_migrate */
	bool		cancel;			/* is to end */
	int32		attempts;		/* since it last got on, this one included */
	int64		done;
	int64		total;			/* -1: not known */
} QueueJob;

/* The target's first open job; false: there is none.  Writes nothing. */
extern bool queue_find_job(Queue *queue, QueueJob *job);

/* An attempt at it begins; false: it is open no more. */
extern bool queue_begin_job(Queue *queue, QueueJob *job);

/* It has got on; or has to be tried again; or has ended. */
extern void queue_job_goes_on(Queue *queue, const QueueJob *job,
							  const char *message);
extern void queue_job_trouble(Queue *queue, const QueueJob *job,
							  const TlVerdict *verdict);
extern void queue_end_job(Queue *queue, const QueueJob *job,
						  const char *state, const char *message,
						  const TlVerdict *verdict);

/* How far a replay has come. */
typedef struct QueueReplay
{
	bool		begun;			/* what is to be sent has been fixed */
	bool		paused;			/* its target is */
	bool		waits;			/* for ranges claimed before it began */
	TimestampTz from;			/* DT_NOBEGIN, DT_NOEND: no bound */
	TimestampTz to;
	int32		rate;			/* events a second; 0: no limit */
	QueuePosition at;			/* the queue has been searched up to here */
	uint64		end;			/* last transaction of interest */
	int64		sent;
	int64		refused;
	const char *refusal;		/* in the current memory context */
} QueueReplay;

/* false: there is no such job any more.  Writes nothing. */
extern bool queue_find_replay(Queue *queue, int64 job, QueueReplay *replay);

/* Fixes what is to be sent; false: lost, or no longer running. */
extern bool queue_begin_replay(Queue *queue, QueueJob *job,
							   const QueueReplay *replay);

/*
 * Searches some of the queue for what is to be sent; false: lost, or no
 * longer running.  *more: there is more to search.
 */
extern bool queue_search_replay(Queue *queue, const QueueJob *job,
								QueueReplay *replay, bool *more);

/* Claims at most rows events that the job has to send; false: none. */
extern bool queue_claim_job(Queue *queue, const QueueJob *job, int32 rows);

/* Of the table to the newest version, unless one is open. */
extern void queue_request_migration(Queue *queue);

/* Is such a request of our own under way, without having failed so often? */
extern bool queue_is_migrating(Queue *queue, int max_failures);

/*
 * Dead letters that are to be sent again: queue_requeue.c.  Both are called
 * inside the transaction that writes the lane's row.
 */
extern bool take_requeued(Queue *queue, LaneRow *row);
extern void settle_requeued(Queue *queue, const Settlement *settlement);

/* What is known to be complete: queue_watermark.c */
extern TimestampTz queue_open_since(void);	/* inside a transaction */
extern void queue_tell_claimed(Queue *queue, TimestampTz until);
extern TimestampTz queue_complete_until(Queue *queue);

/* Between the two halves of the queue: open and steady state. */
extern Datum uuid_array(List *ids);
extern bool is_null_uuid(const pg_uuid_t *uuid);
extern pg_uuid_t *copy_uuid(const pg_uuid_t *id);
extern List *read_uuids(int column);
extern void copy_lane_row(LaneRow *row, MemoryContext mcxt);
extern void queue_adopt_row(Queue *queue, const LaneRow *row);

/* Rows between two positions of a window: queue_walk.c */
typedef struct QueueWalk
{
	int32		rows;
	QueuePosition last;
	uint64		checksum;
} QueueWalk;

extern void walk_window(Datum from, Datum to, const WindowSnapshot *previous,
						QueuePosition after, int32 rows, QueueWalk *walk);
extern void read_window(Datum from, Datum to, QueuePosition after,
						QueuePosition upto, BatchBuilder *builder,
						const ColumnChoice *choice);
extern void read_job_events(int64 job, QueuePosition after,
							QueuePosition upto, BatchBuilder *builder,
							const ColumnChoice *choice);
extern void read_events(List *event_ids, BatchBuilder *builder,
						const ColumnChoice *choice);
extern void read_acknowledged(int32 target_id, TimestampTz from,
							  BatchBuilder *builder);
extern void forget_read_plans(void);
extern WindowSnapshot *parse_snapshot(Datum snapshot);

#endif							/* TL_QUEUE_H */
