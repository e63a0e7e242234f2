/*-------------------------------------------------------------------------
 *
 * reconcile.h
 *	  The job reconcile: what its steps and its SQL have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_RECONCILE_H
#define TL_RECONCILE_H

#include "queue.h"
#include "utils/hsearch.h"

/* Costs times 10^8, without NaN; what is out of range stops at its end. */
typedef struct Sums
{
	int64		events;
	int64		tokens;
	int64		cost;
} Sums;

typedef struct LedgerSums
{
	Sums		settled;		/* the store has acknowledged them */
	Sums		unsettled;		/* it may have them, or not */
	Sums		retired;		/* of the hours that lie in the range */
} LedgerSums;

/* An event of the ledger, and what the store says of it. */
typedef struct ComparedEvent
{
	pg_uuid_t	id;				/* the hash key */
	bool		settled;
	bool		different;
	int32		rows;			/* that the store has */
	int64		tokens;
	int64		cost;
	int64		store_tokens;	/* of the last of them */
	int64		store_cost;
} ComparedEvent;

/* The job's row. */
typedef struct Reconcile
{
	bool		begun;
	bool		requeue;
	bool		to_send;		/* what it has found to be missing */
	bool		paused;			/* the target is */
	TimestampTz from;			/* DT_NOBEGIN, DT_NOEND: no bound */
	TimestampTz to;
	TimestampTz at;				/* all before has been compared */
	TimestampTz end;
	int64		sent;
} Reconcile;

typedef enum FindingKind
{
	FOUND_MISSING,
	FOUND_EXTRA,
	FOUND_DIFFERENT,
	FOUND_DOUBLED
} FindingKind;

#define FINDING_KINDS		4
#define STRETCH_EVENTS		50000	/* compared event by event at once */
#define MAX_NAMED			1000	/* of a kind, in a stretch or an hour */

typedef struct NamedFinding
{
	FindingKind kind;
	pg_uuid_t	id;
	int64		tokens[2];		/* the ledger's, the store's */
	int64		cost[2];
} NamedFinding;

/* What was found in a stretch of an hour. */
typedef struct Findings
{
	Sums		ledger;
	Sums		store;
	int64		counts[FINDING_KINDS];
	int			nnamed;
	NamedFinding *named;
	int			nmissing;
	pg_uuid_t  *missing;		/* all of them */
} Findings;

/* How far a step has come. */
typedef struct ReconcileStep
{
	TimestampTz at;
	TimestampTz hour;			/* of what was compared */
	bool		hour_ended;
	int			hours;			/* that have been compared */
	const Findings *findings;	/* NULL: there is no difference */
} ReconcileStep;

typedef struct ReconcileResult
{
	int64		hours;			/* in which something differs */
	int64		counts[FINDING_KINDS];
	int64		retired_missing;
} ReconcileResult;

/* Each of these is a transaction of its own; false: lost, or cancelled. */
extern bool reconcile_find(Queue *queue, int64 job, Reconcile *reconcile);
extern void reconcile_extent(Queue *queue, TimestampTz *first,
							 TimestampTz *last);
extern bool reconcile_begin(Queue *queue, const QueueJob *job,
							TimestampTz at, TimestampTz end);
extern void reconcile_sums(Queue *queue, const char *filter,
						   TimestampTz from, TimestampTz to,
						   LedgerSums *sums);
extern void reconcile_events(Queue *queue, const char *filter,
							 TimestampTz from, TimestampTz to,
							 HTAB *events);
extern bool reconcile_step(Queue *queue, QueueJob *job,
						   const Reconcile *reconcile,
						   const ReconcileStep *step);
extern void reconcile_result(Queue *queue, int64 job,
							 ReconcileResult *result);

/*
 * Of events that were not among those of the range: which are in the ledger
 * by now, and which are there with a timestamp outside of the range?
 */
extern void reconcile_known(Queue *queue, TimestampTz from, TimestampTz to,
							const NamedFinding *found, int nfound,
							HTAB *known);

/* queue_finding.c: in the transaction of a step. */
extern void write_findings(Queue *queue, const QueueJob *job, bool again,
						   const ReconcileStep *step);
extern void end_hour(Queue *queue, const QueueJob *job, TimestampTz hour);
extern Datum uuid_values(const pg_uuid_t *ids, int n);

/* queue_reconcile.c: a statement that is planned with its values. */
extern uint64 reconcile_run(const char *sql, int nargs, const Oid *types,
							Datum *values);

/* lane_compare.c */
typedef struct Comparison Comparison;

extern Comparison *comparison_create(bool tokens, bool cost);
extern HTAB *comparison_events(Comparison *comparison);
extern void comparison_add(void *arg, const TlSum *sum);	/* a TlSumCB */
extern const Findings *comparison_finish(Comparison *comparison,
										 Queue *queue, TimestampTz from,
										 TimestampTz to);
extern Sums sums_add(Sums a, Sums b);

#endif							/* TL_RECONCILE_H */
