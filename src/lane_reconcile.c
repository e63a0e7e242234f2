/*-------------------------------------------------------------------------
 *
 * lane_reconcile.c
 *	  The job reconcile: does the store hold what the ledger says?
 *
 * A step compares up to a day: the store is asked for its sums by hour, the
 * ledger is read hour by hour, each in a short transaction of its own.  An
 * hour whose sums differ is looked at a second time, and if they still differ
 * event by event, in stretches of a bounded number of events.  Events move
 * between the two all the time, so the order of the looks decides what can be
 * said:
 *
 *	- missing is what was settled before the store was asked.  What lanes
 *	  have in hand, and what waits, is neither missing nor extra.
 *	- extra is what the ledger does not have after the store was asked.
 *
 * Sums may differ by what is under way, and that is no difference: they agree
 * if the store has exactly what is settled, or all of what is under way too.
 *
 * All before reconcile.at has been compared; that is the whole state.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"

#include "compat.h"
#include "lane.h"
#include "reconcile.h"

#define DAY_HOURS		24
#define MAX_HOURS		(10 * 366 * DAY_HOURS)	/* of an empty stretch */
#define MAX_EVENTS		2000000 /* that no time tells apart */

#define UNIX_EPOCH \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* One look at the store. */
typedef struct Audit
{
	int64		from;			/* as TL_TIMESTAMP */
	int			nhours;
	Sums	   *hours;
	int64		first;			/* hour that has events */
	int64		last;
	bool		tokens;			/* are they sent? */
	bool		cost;
} Audit;

typedef struct Work
{
	Lane	   *lane;
	QueueJob   *job;
	JobReport  *report;
	Reconcile	reconcile;
} Work;

static JobResult begin(Work *work);
static JobResult measure(Work *work, TimestampTz *at, TimestampTz *end);
static JobResult compare(Work *work);
static JobResult pass_over_old(Work *work, TimestampTz kept);
static JobResult compare_day(Work *work);
static JobResult pass_over_empty(Work *work, bool *passed);
static JobResult compare_stretch(Work *work, TimestampTz to);
static JobResult compare_events(Work *work, TimestampTz to);
static JobResult advance(Work *work, TimestampTz at, int hours,
						 const Findings *findings);
static JobResult done(Work *work);
static JobResult look_at_store(Work *work, TimestampTz *kept);
static void ledger_sums(Work *work, TimestampTz from, TimestampTz to,
						LedgerSums *sums);
static JobResult audit_hours(Work *work, Audit *audit, TimestampTz from,
							 TimestampTz to, int nhours);
static JobResult ask(Work *work, const AuditRange *range, TlSumCB emit,
					 void *arg);
static JobResult trouble(Work *work, TlOutcome outcome);
static void add_hour(void *arg, const TlSum *sum);
static bool agree(const Audit *audit, const LedgerSums *ledger,
				  const Sums *store);
static bool is_sent(const Lane *lane, const char *column);
static TimestampTz hour_of(TimestampTz at);
static TimestampTz end_of_hour(const Work *work);

bool
lane_reconcile_ready(Lane *lane, const QueueJob *job)
{
	Reconcile	reconcile;

	if (!reconcile_find(&lane->queue, job->id, &reconcile))
		return false;
	return !reconcile.to_send ||
		(lane->phase == LANE_IDLE && lane->queue.row.held == NIL &&
		 !reconcile.paused);
}

/* JobStepCB */
JobResult
lane_reconcile(Lane *lane, QueueJob *job, JobReport *report)
{
	Work		work = {.lane = lane, .job = job, .report = report};
	JobResult	result;

	if (!reconcile_find(&lane->queue, job->id, &work.reconcile))
		return JOB_INTERRUPTED;
	if (work.reconcile.to_send &&
		queue_claim_job(&lane->queue, job, lane->target->claim_rows))
	{
		lane_set_phase(lane, LANE_CLAIMED);
		return JOB_SENDS;
	}
	if (lane->target->backend->audit == NULL)
	{
		report->verdict.cause = TL_CAUSE_CONFIG;
		snprintf(report->verdict.message, sizeof(report->verdict.message),
				 "backend \"%s\" cannot say what its store holds",
				 lane->target->backend->name);
		return JOB_FAILED;
	}
	if (!lane_target_ready(lane))
	{
		strlcpy(report->verdict.message, "the target cannot be reached, or its"
				" table cannot be used: see token_ledger.status",
				sizeof(report->verdict.message));
		return JOB_AGAIN;
	}
	result = !work.reconcile.begun ? begin(&work) :
		work.reconcile.at >= work.reconcile.end ? done(&work) :
		compare(&work);
	lane->claim_first = lane->phase == LANE_IDLE;
	return result;
}

/* Fixes which hours are compared. */
static JobResult
begin(Work *work)
{
	QueueJob   *job = work->job;
	TimestampTz at = work->reconcile.from;
	TimestampTz end = work->reconcile.to;

	if (TIMESTAMP_NOT_FINITE(at) || TIMESTAMP_NOT_FINITE(end))
	{
		JobResult	result = measure(work, &at, &end);

		if (result != JOB_GOES_ON)
			return result;
	}
	if (at >= end)
		at = end = Min(at, end);
	job->total = at >= end ? 0 :
		(hour_of(end - 1) - hour_of(at)) / USECS_PER_HOUR + 1;
	if (!reconcile_begin(&work->lane->queue, job, at, end))
		return JOB_INTERRUPTED;
	work->lane->reconcile_hours = DAY_HOURS;
	snprintf(work->report->message, sizeof(work->report->message),
			 INT64_FORMAT " hours are to be compared", job->total);
	return JOB_GOES_ON;
}

/* From the first hour that either has to the last. */
static JobResult
measure(Work *work, TimestampTz *at, TimestampTz *end)
{
	Audit		audit = {.first = PG_INT64_MAX, .last = PG_INT64_MIN};
	AuditRange	everything = {PG_INT64_MIN, PG_INT64_MAX, false};
	TimestampTz first;
	TimestampTz last;
	JobResult	result = ask(work, &everything, add_hour, &audit);

	if (result != JOB_GOES_ON)
		return result;
	reconcile_extent(&work->lane->queue, &first, &last);
	if (audit.first <= audit.last)
	{
		first = Min(first, audit.first - UNIX_EPOCH);
		last = Max(last, audit.last - UNIX_EPOCH);
	}
	if (first > last)
		first = last = 0;		/* nothing is anywhere */
	else
		last = hour_of(last) + USECS_PER_HOUR;
	if (TIMESTAMP_NOT_FINITE(*at))
		*at = TIMESTAMP_IS_NOBEGIN(*at) ? hour_of(first) : last;
	if (TIMESTAMP_NOT_FINITE(*end))
		*end = TIMESTAMP_IS_NOEND(*end) ? last : hour_of(first);
	return JOB_GOES_ON;
}

static JobResult
compare(Work *work)
{
	Reconcile  *reconcile = &work->reconcile;
	TimestampTz kept;
	JobResult	result = look_at_store(work, &kept);
	bool		passed = false;

	if (result != JOB_GOES_ON)
		return result;
	if (reconcile->at < kept)
		return pass_over_old(work, kept);
	if (reconcile->at != hour_of(reconcile->at))
		return compare_stretch(work, end_of_hour(work));
	if (work->lane->reconcile_hours > DAY_HOURS)
	{
		result = pass_over_empty(work, &passed);
		if (result != JOB_GOES_ON || passed)
			return result;
	}
	return compare_day(work);
}

/* NB: what is about to expire may go while it is compared. */
static JobResult
pass_over_old(Work *work, TimestampTz kept)
{
	TimestampTz at = hour_of(kept) + 2 * USECS_PER_HOUR;

	return advance(work, Min(at, work->reconcile.end), 0, NULL);
}

static JobResult
compare_day(Work *work)
{
	TimestampTz at = work->reconcile.at;
	TimestampTz end = Min(at + DAY_HOURS * USECS_PER_HOUR,
						  work->reconcile.end);
	Sums		store[DAY_HOURS] = {{0}};
	Audit		audit = {.hours = store};
	bool		empty = true;
	int			hours = 0;
	JobResult	result = audit_hours(work, &audit, at, end, DAY_HOURS);

	if (result != JOB_GOES_ON)
		return result;
	while (at < end && !ProcDiePending)
	{
		LedgerSums	ledger;
		TimestampTz to = Min(at + USECS_PER_HOUR, end);

		ledger_sums(work, at, to, &ledger);
		if (!agree(&audit, &ledger, &store[hours]))
			break;
		empty = empty && store[hours].events == 0;
		hours++;
		at = to;
	}
	if (hours == 0)
		return compare_stretch(work, end_of_hour(work));
	if (empty && at == end)
		work->lane->reconcile_hours = 2 * DAY_HOURS;
	return advance(work, at, hours, NULL);
}

/* Neither has anything for long: then look at ever longer stretches. */
static JobResult
pass_over_empty(Work *work, bool *passed)
{
	Lane	   *lane = work->lane;
	TimestampTz at = work->reconcile.at;
	TimestampTz end = Min(at + lane->reconcile_hours * USECS_PER_HOUR,
						  hour_of(work->reconcile.end));
	Sums		store = {0};
	Audit		audit = {.hours = &store};
	LedgerSums	ledger;
	JobResult	result;

	if (end <= at)
		return JOB_GOES_ON;
	result = audit_hours(work, &audit, at, end, 1);
	if (result != JOB_GOES_ON)
		return result;
	ledger_sums(work, at, end, &ledger);
	*passed = audit.first > audit.last && ledger.settled.events == 0 &&
		ledger.unsettled.events == 0 && ledger.retired.events == 0;
	lane->reconcile_hours = *passed ?
		Min(lane->reconcile_hours * 2, MAX_HOURS) : DAY_HOURS;
	return *passed ?
		advance(work, end, (int) ((end - at) / USECS_PER_HOUR), NULL) :
		JOB_GOES_ON;
}

/* An hour, or what is left of it, that differed: halves, until few remain. */
static JobResult
compare_stretch(Work *work, TimestampTz to)
{
	TimestampTz at = work->reconcile.at;

	for (;;)
	{
		Sums		store = {0};
		Audit		audit = {.hours = &store};
		LedgerSums	ledger;
		int64		events;
		JobResult	result = audit_hours(work, &audit, at, to, 1);

		if (result != JOB_GOES_ON)
			return result;
		ledger_sums(work, at, to, &ledger);
		if (agree(&audit, &ledger, &store))
			return advance(work, to, 1, NULL);
		events = Max(ledger.settled.events + ledger.unsettled.events,
					 store.events);
		if (events <= STRETCH_EVENTS ||
			(to - at <= 1 && events <= MAX_EVENTS))
			return compare_events(work, to);
		if (to - at <= 1)
		{
			snprintf(work->report->verdict.message,
					 sizeof(work->report->verdict.message),
					 INT64_FORMAT " events have one timestamp: too many to be"
					 " compared", events);
			return JOB_FAILED;
		}
		to = at + (to - at) / 2;
	}
}

/* NB: the ledger first, then the store, then the ledger for what is new. */
static JobResult
compare_events(Work *work, TimestampTz to)
{
	Lane	   *lane = work->lane;
	Comparison *comparison = comparison_create(is_sent(lane, "total_tokens"),
											   is_sent(lane, "cost_usd"));
	TimestampTz at = work->reconcile.at;
	AuditRange	range = {at + UNIX_EPOCH, to + UNIX_EPOCH, true};
	JobResult	result;

	reconcile_events(&lane->queue, lane->choice.filter, at, to,
					 comparison_events(comparison));
	result = ask(work, &range, comparison_add, comparison);
	if (result != JOB_GOES_ON)
		return result;
	return advance(work, to, 1, comparison_finish(comparison, &lane->queue,
												  at, to));
}

static JobResult
advance(Work *work, TimestampTz at, int hours, const Findings *findings)
{
	TimestampTz hour = hour_of(work->reconcile.at);
	bool		ended = at >= Min(hour + USECS_PER_HOUR, work->reconcile.end);
	ReconcileStep step = {
		.at = at, .hour = hour, .hour_ended = ended && hours == 1,
		.hours = ended ? hours : 0, .findings = findings
	};

	if (!reconcile_step(&work->lane->queue, work->job, &work->reconcile,
						&step))
		return JOB_INTERRUPTED;
	snprintf(work->report->message, sizeof(work->report->message),
			 INT64_FORMAT " of " INT64_FORMAT " hours compared",
			 work->job->done, work->job->total);
	return JOB_GOES_ON;
}

static JobResult
done(Work *work)
{
	ReconcileResult result;
	StringInfoData text;
	const int64 *n = result.counts;

	reconcile_result(&work->lane->queue, work->job->id, &result);
	initStringInfo(&text);
	appendStringInfo(&text, INT64_FORMAT " hours compared, " INT64_FORMAT
					 " differ", work->job->done, result.hours);
	if (result.hours > 0)
		appendStringInfo(&text, ": " INT64_FORMAT " events missing, "
						 INT64_FORMAT " extra, " INT64_FORMAT " different, "
						 INT64_FORMAT " doubled", n[FOUND_MISSING],
						 n[FOUND_EXTRA], n[FOUND_DIFFERENT],
						 n[FOUND_DOUBLED]);
	if (result.retired_missing > 0)
		appendStringInfo(&text, ", " INT64_FORMAT " retired ones missing",
						 result.retired_missing);
	if (work->reconcile.requeue)
		appendStringInfo(&text, "; " INT64_FORMAT " sent again",
						 work->reconcile.sent);
	if (work->job->total > work->job->done)
		appendStringInfo(&text, "; " INT64_FORMAT " hours are no longer kept",
						 work->job->total - work->job->done);
	strlcpy(work->report->message, text.data, sizeof(work->report->message));
	return JOB_DONE;
}

/* Is there a table, and since when does it keep what it has? */
static JobResult
look_at_store(Work *work, TimestampTz *kept)
{
	TlRemote	remote;
	bool		dropped;
	TlOutcome	outcome = session_inspect(work->lane->session, &remote,
										  &work->report->verdict, &dropped);

	if (dropped)
		work->lane->session = NULL;
	*kept = remote.keeps_from == PG_INT64_MIN ? DT_NOBEGIN :
		remote.keeps_from - UNIX_EPOCH;
	if (outcome == TL_OK && !remote.exists)
	{
		work->report->verdict.cause = TL_CAUSE_SCHEMA;
		strlcpy(work->report->verdict.message, "the store has no table",
				sizeof(work->report->verdict.message));
		return JOB_FAILED;
	}
	return trouble(work, outcome);
}

static void
ledger_sums(Work *work, TimestampTz from, TimestampTz to, LedgerSums *sums)
{
	reconcile_sums(&work->lane->queue, work->lane->choice.filter, from, to,
				   sums);
}

static JobResult
audit_hours(Work *work, Audit *audit, TimestampTz from, TimestampTz to,
			int nhours)
{
	AuditRange	range = {from + UNIX_EPOCH, to + UNIX_EPOCH, false};

	audit->from = hour_of(from) + UNIX_EPOCH;
	audit->nhours = nhours;
	audit->first = PG_INT64_MAX;
	audit->last = PG_INT64_MIN;
	audit->tokens = is_sent(work->lane, "total_tokens");
	audit->cost = is_sent(work->lane, "cost_usd");
	return ask(work, &range, add_hour, audit);
}

static JobResult
ask(Work *work, const AuditRange *range, TlSumCB emit, void *arg)
{
	bool		dropped;
	TlOutcome	outcome;

	if (work->lane->session == NULL)
		return JOB_AGAIN;		/* the look at the store has lost it */
	outcome = session_audit(work->lane->session, range, emit, arg,
							&work->report->verdict, &dropped);
	if (dropped)
		work->lane->session = NULL;
	return trouble(work, outcome);
}

static JobResult
trouble(Work *work, TlOutcome outcome)
{
	if (ProcDiePending)
		return JOB_INTERRUPTED;
	if (outcome == TL_OK)
	{
		work->report->verdict.message[0] = '\0';
		return JOB_GOES_ON;
	}
	switch (work->report->verdict.cause)
	{
		case TL_CAUSE_NONE:
		case TL_CAUSE_NETWORK:
		case TL_CAUSE_OVERLOAD:
			return JOB_AGAIN;
		default:
			return JOB_FAILED;
	}
}

/* A TlSumCB: sums by hour. */
static void
add_hour(void *arg, const TlSum *sum)
{
	Audit	   *audit = arg;
	int64		hour;

	if (sum->from == PG_INT64_MIN || sum->from == PG_INT64_MAX)
		return;					/* infinite timestamps are in no hour */
	audit->first = Min(audit->first, sum->from);
	audit->last = Max(audit->last, sum->from);
	hour = (sum->from - audit->from) / USECS_PER_HOUR;
	if (hour >= 0 && hour < audit->nhours)
	{
		Sums		more = {sum->events, sum->tokens, sum->cost};

		audit->hours[hour] = sums_add(audit->hours[hour], more);
	}
}

/* Is what differs under way, or retired? */
static bool
agree(const Audit *audit, const LedgerSums *ledger, const Sums *store)
{
	for (int i = 0; i < 4; i++)
	{
		Sums		expected = ledger->settled;

		if (i & 1)
			expected = sums_add(expected, ledger->unsettled);
		if (i & 2)
			expected = sums_add(expected, ledger->retired);
		if (expected.events == store->events &&
			(!audit->tokens || expected.tokens == store->tokens) &&
			(!audit->cost || expected.cost == store->cost))
			return true;
	}
	return false;
}

static bool
is_sent(const Lane *lane, const char *column)
{
	for (int i = 0; i < lane->choice.ncolumns; i++)
	{
		if (strcmp(lane->choice.columns[i]->name, column) == 0)
			return true;
	}
	return false;
}

/* NB: the server's time begins at a full hour of UTC. */
static TimestampTz
hour_of(TimestampTz at)
{
	int64		within = at % USECS_PER_HOUR;

	return at - (within < 0 ? within + USECS_PER_HOUR : within);
}

static TimestampTz
end_of_hour(const Work *work)
{
	return Min(hour_of(work->reconcile.at) + USECS_PER_HOUR,
			   work->reconcile.end);
}
