/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  One lane: a process that carries one range at a time of one target.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_LANE_H
#define TL_LANE_H

#include "queue.h"
#include "session.h"
#include "shmem.h"
#include "target.h"

typedef struct Lane
{
	/* For life. */
	LaneSlot   *slot;
	TargetSlot *shared;			/* what the target's lanes share */
	Target	   *target;
	Queue		queue;
	MemoryContext mcxt;
	MemoryContext cycle_mcxt;	/* reset with each cycle */
	MemoryContext part_mcxt;	/* reset with each part */
	MemoryContext attempt_mcxt; /* reset with each attempt */

	/* While the target is open. */
	Session    *session;		/* NULL: not open */
	bool		inspected;		/* the store has been looked at */
	int32		version;		/* of the columns that are sent */
	TlGuarantee guarantee;		/* that has been reported */
	TimestampTz keeps_from;		/* the store may have dropped what is older */
	ColumnChoice choice;
	BatchBuilder *builder;		/* NULL: columns are to be chosen */
	MemoryContext builder_mcxt;

	/* Does the store still have what it has acknowledged? */
	TimestampTz kept_at;		/* when it last said so; 0: ask */
	TimestampTz called_at;		/* when the store was last called */
	uint32		connects;		/* of the session, by then */
	TimestampTz lost_retry_at;	/* it has not; not asked before, while idle */
	bool		kept_failed;	/* that it could not be asked was reported */
	bool		renew_kept;		/* the next settlement renews kept_event */

	/* Where the lane stands. */
	LanePhase	phase;
	TimestampTz retry_at;		/* no range is tried before */
	TimestampTz held_retry_at;	/* held events are not sent alone before */
	TimestampTz claim_at;		/* a smaller claim waits for company */
	int32		attempts;		/* failed in a row */
	bool		look_first;		/* at the store, before there is work */
	bool		recovered;		/* the row's part may have been attempted by a
								 * predecessor, or before an error */
	bool		claim_was_full; /* there is probably more */
	int32		split_rows;		/* limit learnt from TL_SPLIT; 0: none */
	bool		held_crowd;		/* the part is of held events, which leave no
								 * room for the range's */
	bool		pass_over_held; /* so it is the range's turn now */
	bool		held_heard;		/* the store has accepted some since */
	bool		requeue_refused;	/* dead letters that were sent again, all
									 * of them */
	bool		requeue_heard;	/* the store has accepted others since */

	/* The part that is on its way; NULL: none is built. */
	Part	   *part;
	TlBatch		whole;
	Attempt    *attempt;		/* NULL: to be selected */
	TlHistory	attempt_base;	/* what its history falls back to */
	TimestampTz attempt_at;		/* of the first one under its token */
	Settlement	settlement;
	char		refusal_code[24];	/* of the last refusal */

	/* Jobs; of lane 0. */
	TimestampTz jobs_at;		/* when to look for one unasked */
	TimestampTz tally_at;		/* when to look whether events are to be
								 * counted */
	int64		job_tried;		/* the last one */
	TimestampTz job_retry_at;	/* it is not tried before */
	const TlMigration *job_step;	/* that it has applied last */
	int32		reconcile_hours;	/* that it looks at at once */
	bool		claim_first;	/* a job's range is settled: now the cursor's
								 * has its turn */
	uint32		remote_changes; /* of lane->shared, as far as taken up */

	/* Of lane 0, with watermark=on. */
	TimestampTz watermark;		/* that the store has */
	TimestampTz watermark_at;	/* the next one is not written before */
	bool		watermark_failing;	/* the log has it */

	/* What has been reported. */
	bool		failing;
	char		reported[160];	/* cause, code and beginning of the message */
} Lane;

/* lane.c */
extern PGDLLEXPORT void tl_lane_main(Datum main_arg);
extern void lane_set_phase(Lane *lane, LanePhase phase);

/* The beginning of a process that has a slot: handlers, slot, database. */
extern void lane_connect(LaneSlot *slot);
extern void lane_exit(Lane *lane, LaneExit reason);

/* retention.c */
extern PGDLLEXPORT void tl_retention_main(Datum main_arg);

/* lane_part.c: reads the next part and makes it durable. */
extern bool lane_build_part(Lane *lane);

/* lane_cycle.c: the edges of the state machine. */
extern bool lane_cycle(Lane *lane);	/* false: nothing to do for now */
extern void lane_restart_range(Lane *lane);

/* lane_requeue.c: dead letters that are sent again. */
extern void requeue_init(Lane *lane);
extern bool requeue_heard(const Lane *lane);
extern void requeue_give_back(Lane *lane);
extern void requeue_settled(Lane *lane, const Settlement *settlement,
							bool sent);
extern void requeue_failed(Lane *lane);
extern void requeue_look(Lane *lane);

/* lane_kept.c */
extern bool lane_store_kept(Lane *lane);	/* false: not now */
extern bool lane_kept_askable(const Lane *lane);
extern void lane_kept_called(Lane *lane, const TlVerdict *verdict);

/* lane_watermark.c */
extern void lane_watermark(Lane *lane);

/* What a step of a job has come to. */
typedef enum JobResult
{
	JOB_GOES_ON,				/* there is another step */
	JOB_SENDS,					/* it has claimed a range */
	JOB_DONE,
	JOB_AGAIN,					/* the step has failed for now */
	JOB_FAILED,
	JOB_CANCELLED,
	JOB_INTERRUPTED				/* this process has to end */
} JobResult;

typedef struct JobReport
{
	char		message[256];	/* what was done */
	TlVerdict	verdict;		/* what went wrong */
	bool		no_table;		/* the store has none: nothing can be sent */
} JobReport;

typedef JobResult (*JobStepCB) (Lane *lane, QueueJob *job, JobReport *report);

/* lane_job.c: what lane 0 does besides. */
extern bool lane_job(Lane *lane);	/* false: nothing to do for now */
extern bool lane_job_wanted(const Lane *lane);

/* lane_replay.c */
extern bool lane_replay_ready(Lane *lane, const QueueJob *job);
extern JobResult lane_replay(Lane *lane, QueueJob *job, JobReport *report);

/* lane_reconcile.c */
extern bool lane_reconcile_ready(Lane *lane, const QueueJob *job);
extern JobResult lane_reconcile(Lane *lane, QueueJob *job, JobReport *report);

/* lane_migrate.c */
extern JobResult lane_migrate(Lane *lane, QueueJob *job, JobReport *report);

/* lane_target.c: opens the target, looks at the store. */
extern bool lane_target_ready(Lane *lane);
extern bool lane_target_open(Lane *lane, TlVerdict *verdict);
extern bool lane_remote_ours(const Lane *lane, const TlRemote *remote,
							 TlVerdict *verdict);
extern void lane_target_close(Lane *lane, bool retire);
extern void lane_drop_builder(Lane *lane);

/* lane_report.c: failure and recovery, told once. */
extern void lane_failed(Lane *lane, const TlVerdict *verdict);
extern void lane_failed_config(Lane *lane, TlCause cause,
							   const char *fmt,...)
			pg_attribute_printf(3, 4);
extern void lane_succeeded(Lane *lane);
extern TimestampTz lane_back_off(const Lane *lane, int32 failures,
								 int32 wish_ms);

/* Is the range one that a job sends again? */
static inline bool
lane_sends_again(const Lane *lane)
{
	return lane->queue.row.range.job != 0;
}

#endif							/* TL_LANE_H */
