/*-------------------------------------------------------------------------
 *
 * lane_kept.c
 *	  Does the store still have what it has acknowledged?
 *
 * A store that was emptied, or restored from an older copy, takes new events
 * as if nothing had happened.  So a lane looks up two events of each lane:
 * the last one that was settled, which any older copy lacks, and one of an
 * earlier batch, which is still missing after others have been sent to what
 * is left.  It asks when it has opened or inspected the store, when a call
 * has failed for want of a connection or has made another one, when the store
 * was not called for a minute, and every ten minutes while it sends: before
 * it settles what it has sent then, since that becomes the last event.
 *
 * If one is missing, the lanes send what they have in hand, claim nothing
 * more, and the target is in error until the store has the event again
 * (reconcile, replay), or somebody says how to go on (retarget).
 * target.lost_event keeps it over a restart.
 *
 * No answer is no loss: the store may not be asked, or has dropped events of
 * that age, or the ledger no longer holds the event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "compat.h"
#include "lane.h"

#define KEPT_MS		600000		/* between two looks while it sends */
#define MAX_EVENTS	256			/* two of each lane, and the lost one */
#define PAUSE_MS	60000		/* without a call: it may be another store */

typedef enum Answer
{
	KEPT,
	LOST,
	NOT_NOW,					/* the verdict says why; ask again */
	CANNOT_TELL
} Answer;

static bool is_due(const Lane *lane);
static Answer ask(Lane *lane, pg_uuid_t *lost, TlVerdict *verdict);
static Attempt *build(Lane *lane);
static Answer answer_of(TlOutcome outcome, const TlVerdict *verdict);
static void kept(Lane *lane);
static void report_lost(Lane *lane, const pg_uuid_t *event);

/* false: not now; the failure has been reported and is tried again. */
bool
lane_store_kept(Lane *lane)
{
	bool		idle = lane->phase == LANE_IDLE;
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};
	pg_uuid_t	event;

	if (lane->queue.lost ? !lane_kept_askable(lane) :
		lane->lost_retry_at != 0)
		kept(lane);				/* nobody asks any more; another lane has */
	if (lane->queue.lost && idle &&
		(lane->lost_retry_at > GetCurrentTimestamp() ||
		 !lane_target_ready(lane)))
		return false;
	if (!is_due(lane))
		return true;
	switch (ask(lane, &event, &verdict))
	{
		case KEPT:
			kept(lane);
			break;
		case LOST:
			report_lost(lane, &event);
			break;
		case NOT_NOW:
			lane->kept_failed = true;
			lane_failed(lane, &verdict);
			return false;
		case CANNOT_TELL:
			kept(lane);
			break;
	}
	lane->kept_at = GetCurrentTimestamp();
	return !idle || !lane->queue.lost;
}

/* Is there a way to? */
bool
lane_kept_askable(const Lane *lane)
{
	return lane->target->check_kept &&
		(lane->session != NULL ? session_resolves(lane->session) :
		 lane->target->backend->resolve != NULL);
}

/* After a call of the store. */
void
lane_kept_called(Lane *lane, const TlVerdict *verdict)
{
	uint32		connects = lane->connects;

	if (lane->session != NULL)
		connects = lane->session->pub.connects;
	if (verdict->cause == TL_CAUSE_NETWORK || connects != lane->connects)
		lane->kept_at = 0;
	lane->connects = connects;
	lane->called_at = GetCurrentTimestamp();
}

/* NB: what a job sends again may be what is missing. */
static bool
is_due(const Lane *lane)
{
	bool		idle = lane->phase == LANE_IDLE;
	TimestampTz next;

	if (lane->session == NULL || !lane->inspected ||
		!lane_kept_askable(lane) || (!idle && lane_sends_again(lane)))
		return false;
	if (lane->kept_at == 0)
		return true;
	if (idle)
		return lane->queue.lost;
	next = TimestampTzPlusMilliseconds(Max(lane->called_at, lane->kept_at),
									   PAUSE_MS);
	next = Min(next, TimestampTzPlusMilliseconds(lane->kept_at, KEPT_MS));
	return next <= GetCurrentTimestamp();
}

static Answer
ask(Lane *lane, pg_uuid_t *lost, TlVerdict *verdict)
{
	Attempt    *attempt = build(lane);
	Part	   *part = attempt->part;
	TlOutcome	outcome;
	bool		dropped;

	if (part_select(part) == 0)
		return CANNOT_TELL;
	outcome = session_resolve(lane->session, attempt, false, verdict,
							  &dropped);
	if (dropped || verdict->cause == TL_CAUSE_SCHEMA)
		lane->inspected = false;
	if (dropped)
	{
		lane->session = NULL;
		return NOT_NOW;
	}
	lane->connects = lane->session->pub.connects;
	if (outcome != TL_OK)
		return lane->queue.lost ? NOT_NOW : answer_of(outcome, verdict);
	for (int32 row = 0; row < part->nrows; row++)
	{
		if (part->marks[row] == ROW_LANDED)
			continue;
		*lost = attempt->pub.event_ids[row];
		return LOST;
	}
	return KEPT;
}

/* Those that the ledger has, and the store still keeps by their age. */
static Attempt *
build(Lane *lane)
{
	Attempt    *attempt = palloc0(sizeof(Attempt));
	ColumnChoice choice = {0};
	BatchLimits limits = {
		.rows = MAX_EVENTS,.bytes = BATCH_MAX_BYTES,
		.event_bytes = BATCH_MAX_BYTES
	};
	BatchBuilder *builder;

	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		if (strcmp(ledger_columns[i].name, "event_id") == 0 ||
			strcmp(ledger_columns[i].name, "timestamp") == 0)
			choice.columns[choice.ncolumns++] = &ledger_columns[i];
	}
	builder = batch_builder_create(CurrentMemoryContext, &choice, true);
	batch_begin(builder, &limits);
	queue_read_acknowledged(&lane->queue, lane->keeps_from, builder);
	batch_finish(builder, &attempt->pub);
	attempt->pub.struct_size = sizeof(TlBatch);
	attempt->pub.history = TL_SAME_AGAIN;
	attempt->pub.mcxt = AllocSetContextCreate(CurrentMemoryContext,
											  "tokenledger call",
											  ALLOCSET_DEFAULT_SIZES);
	attempt->part = part_create(attempt->pub.nrows);
	return attempt;
}

/* One who may write and not read is no reason to stop. */
static Answer
answer_of(TlOutcome outcome, const TlVerdict *verdict)
{
	switch (verdict->cause)
	{
		case TL_CAUSE_NONE:
		case TL_CAUSE_NETWORK:
		case TL_CAUSE_OVERLOAD:
		case TL_CAUSE_SCHEMA:
			return outcome == TL_REFUSED ? CANNOT_TELL : NOT_NOW;
		default:
			return CANNOT_TELL;
	}
}

/* From now on the last event is the earlier one. */
static void
kept(Lane *lane)
{
	bool		tell = lane->kept_failed || lane->queue.lost ||
		lane->lost_retry_at != 0;

	if (lane->queue.lost)
		(void) queue_set_lost(&lane->queue, NULL);
	lane->kept_failed = false;
	lane->lost_retry_at = 0;
	lane->renew_kept = true;
	if (tell && lane->phase == LANE_IDLE)
		lane_succeeded(lane);
}

/*
 * NB: its own time to try again, since jobs may send meanwhile.  And nothing
 * is said of a store that the target has been moved away from.
 */
static void
report_lost(Lane *lane, const pg_uuid_t *event)
{
	const char *name = lane->target->name;
	Datum		id = DirectFunctionCall1(uuid_out, UUIDPGetDatum(event));

	if (!lane->queue.lost && !queue_set_lost(&lane->queue, event))
		return;
	lane_failed_config(lane, TL_CAUSE_SCHEMA,
					   "the store has lost acknowledged events: it does not"
					   " hold event %s any more; token_ledger.reconcile('%s',"
					   " NULL, NULL, requeue => true) sends again what it"
					   " lacks, token_ledger.retarget('%s', 'continue') goes"
					   " on without", DatumGetCString(id), name, name);
	lane->lost_retry_at = lane->retry_at;
	lane->retry_at = 0;
}
