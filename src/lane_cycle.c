/*-------------------------------------------------------------------------
 *
 * lane_cycle.c
 *	  Claim, send, settle, resolve: one function for each edge.
 *
 * The drawing is in src/README.md.  What must hold, whatever happens between
 * two lines of this file:
 *
 *	- a part's last position, checksum and token are durable in the lane's
 *	  row before its first attempt;
 *	- while the outcome of an attempt is unknown, neither its events nor its
 *	  token change: first resolve, then everything else;
 *	- an attempt with other events gets another token, and the row says that
 *	  the part is no longer one attempt (TL_OVERLAP);
 *	- nothing is sent inside a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "lane.h"
#include "lane_transaction.h"

/*
 * Events refused alone are taken along with the next range, to be judged
 * again; if nothing at all has landed, at most so many.
 */
#define MAX_HELD_WITHOUT_EVIDENCE	100

static void take_up_remote_changes(Lane *lane);
static bool claim_in_turn(Lane *lane);
static bool claim(Lane *lane);
static bool holds_work(const Lane *lane);
static bool may_claim(Lane *lane);
static bool see_work(Lane *lane);
static void build_part(Lane *lane);
static bool next_attempt(Lane *lane);
static bool has_token(const Lane *lane);
static void first_token(Lane *lane, Attempt *attempt);
static bool may_be_under_way(const Lane *lane);
static void last_token(Lane *lane, Attempt *attempt);
static bool another_token(Lane *lane, Attempt *attempt);
static bool must_resolve(const Lane *lane);
static void send_attempt(Lane *lane);
static void resolve_attempt(Lane *lane);
static void apply_outcome(Lane *lane, TlOutcome outcome,
						  const TlVerdict *verdict);
static void learn_split(Lane *lane, TlOutcome outcome);
static void retry_later(Lane *lane, const TlVerdict *verdict,
						TlOutcome outcome);
static void part_finished(Lane *lane);
static bool hold_suspects(Lane *lane);
static void collect(Lane *lane);
static void count_left_out(Lane *lane, int32 row);
static void take_turns(Lane *lane);
static void settle(Lane *lane);
static void held_failed(Lane *lane);
static void forget_part(Lane *lane);
static void lost(Lane *lane);
static void after_call(Lane *lane, const TlVerdict *verdict, bool dropped);

bool
lane_cycle(Lane *lane)
{
	if (lane->queue.halted || lane->failing || lane->queue.lost)
		(void) queue_look(&lane->queue);	/* has anybody decided? */
	if (lane->queue.reopen)
		lane_exit(lane, LANE_EXIT_STOPPED);
	if (lane->queue.halted)
		return false;
	take_up_remote_changes(lane);
	if (!lane->claim_first && lane_job(lane))
		return true;
	lane_watermark(lane);
	if (lane->retry_at > GetCurrentTimestamp())
		return false;
	if (lane->look_first && !lane_target_ready(lane))
		return false;
	lane->look_first = false;
	if (lane->phase == LANE_IDLE)
		return claim_in_turn(lane);
	if (!lane_target_ready(lane))
		return false;
	if (lane->phase == LANE_IDLE)
		return true;			/* nothing but held events, given up */
	if (!lane_store_kept(lane))
		return false;

	if (lane->part == NULL)
		build_part(lane);
	else if (lane->attempt == NULL && !next_attempt(lane))
		part_finished(lane);
	else if (lane->phase == LANE_RESOLVE || must_resolve(lane))
		resolve_attempt(lane);
	else
		send_attempt(lane);
	return true;
}

/*
 * After a start, or an error whose reach is not known: the row is the truth,
 * and its part may have been attempted.  NB: what the backend has set with an
 * outcome that is forgotten would be ahead of the batch it gets again.
 */
void
lane_restart_range(Lane *lane)
{
	forget_part(lane);
	queue_forget_state(&lane->queue);
	lane->recovered = lane->queue.row.part.durable;
	lane->pass_over_held = lane->held_heard = false;
	lane_set_phase(lane, holds_work(lane) ? LANE_CLAIMED : LANE_IDLE);
}

/* Somebody has changed the store's table: what was said of it is over. */
static void
take_up_remote_changes(Lane *lane)
{
	uint32		changes = pg_atomic_read_u32(&lane->shared->remote_changes);

	if (changes == lane->remote_changes)
		return;
	lane->remote_changes = changes;
	lane->inspected = false;
	lane->retry_at = lane->lost_retry_at = 0;
	lane->look_first = lane->slot->lane == 0 || lane->failing;
}

/* A job that sends has its turn after each claim, if there was one or not. */
static bool
claim_in_turn(Lane *lane)
{
	bool		others = lane->claim_first;

	lane->claim_first = false;
	return (lane_store_kept(lane) && claim(lane)) || others;
}

/* IDLE → CLAIMED */
static bool
claim(Lane *lane)
{
	Target	   *target = lane->target;
	bool		claimed;

	if (!may_claim(lane))
		return false;
	claimed = queue_claim(&lane->queue, target->claim_rows,
						  target->batch_rows);
	lane->claim_was_full = lane->queue.row.requeued || (claimed &&
		lane->queue.row.range.rows >= target->claim_rows);
	lane->claim_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 target->flush_interval_ms);
	if (lane->claim_was_full)
		wake_lanes(MyDatabaseId, false);
	if (!claimed && lane->queue.row.held == NIL)
		return false;
	lane_set_phase(lane, LANE_CLAIMED);
	return true;
}

/*
 * Something to be sent that need not be claimed any more.  NB: also a part of
 * held events alone, before a claim makes it another part.
 */
static bool
holds_work(const Lane *lane)
{
	return lane->queue.row.range.claimed || lane->queue.row.requeued ||
		lane->queue.row.part.durable;
}

/* Is there something, and is it time? */
static bool
may_claim(Lane *lane)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		held = lane->queue.row.held != NIL;
	bool		flush = pg_atomic_exchange_u32(&lane->slot->flush, 0) != 0;

	if (lane->slot->lane >= lane->target->lanes && !held)
		return false;
	if (!flush && !lane->claim_was_full && lane->claim_at > now)
		return false;
	return see_work(lane) ||
		(held && !lane->queue.paused && lane->held_retry_at <= now);
}

/*
 * NB: first say that we sleep, then look: a commit in between wakes us.
 * While the target is paused commits need not: resume() wakes every lane.
 */
static bool
see_work(Lane *lane)
{
	bool		found;

	pg_atomic_write_u32(&lane->slot->sleeping, 1);
	pg_memory_barrier();
	found = queue_look(&lane->queue);
	if (!found)
		requeue_look(lane);
	if (found || lane->queue.paused)
		pg_atomic_write_u32(&lane->slot->sleeping, 0);
	return found;
}

/* CLAIMED: the next part of the range */
static void
build_part(Lane *lane)
{
	forget_part(lane);
	if (!lane_build_part(lane))
		lost(lane);
}

/* Selects what is still to be sent; false: nothing is. */
static bool
next_attempt(Lane *lane)
{
	Part	   *part = lane->part;
	Attempt    *attempt;

	MemoryContextReset(lane->attempt_mcxt);
	if (part_select(part) == 0)
		return false;
	MemoryContextSwitchTo(lane->attempt_mcxt);
	attempt = palloc0(sizeof(Attempt));
	if (part->nselected == part->nrows)
		attempt->pub = lane->whole;
	else
		batch_subset(&lane->whole, part->selected, part->nselected,
					 &attempt->pub);
	attempt->pub.struct_size = sizeof(TlBatch);
	attempt->pub.mcxt = AllocSetContextCreate(lane->attempt_mcxt,
											  "tokenledger call",
											  ALLOCSET_DEFAULT_SIZES);
	attempt->part = part;
	lane->attempt = attempt;

	if (has_token(lane))
		first_token(lane, attempt);
	else if (may_be_under_way(lane))
		last_token(lane, attempt);
	else if (!another_token(lane, attempt))
	{
		lost(lane);
		return true;
	}
	lane->settlement.batches++;
	return true;
}

/*
 * Does the row's token name these events?  NB: of a part that is no longer
 * one attempt it may name some of them only, and a store that has seen it
 * would drop the others.
 */
static bool
has_token(const Lane *lane)
{
	if (lane->recovered && lane->attempt_base == TL_OVERLAP)
		return false;
	return lane->part->nselected == lane->part->nrows &&
		lane->settlement.batches == 0;
}

/* The whole part, under the token that the row has. */
static void
first_token(Lane *lane, Attempt *attempt)
{
	attempt->pub.token = lane->queue.row.part.token;
	lane->attempt_at = lane->queue.row.part.started_at;
	attempt->pub.history = lane->attempt_base;
	if (lane->recovered && lane->attempt_base == TL_FRESH)
		attempt->pub.history = TL_SAME_AGAIN;
	lane->attempt_base = lane->queue.row.range.history;
}

/*
 * The lane of before may have sent some of these events under the row's
 * token, which a store's fence has to know.
 */
static bool
may_be_under_way(const Lane *lane)
{
	return lane->recovered && lane->attempt_base == TL_OVERLAP &&
		session_resolves(lane->session) &&
		lane->session->pub.guarantee != TL_PER_EVENT;
}

static void
last_token(Lane *lane, Attempt *attempt)
{
	attempt->pub.token = lane->queue.row.part.token;
	attempt->pub.history = TL_OVERLAP;
	attempt->ask_only = true;
	lane->attempt_at = lane->queue.row.part.started_at;
}

/* Other events: another token, durable before its first attempt. */
static bool
another_token(Lane *lane, Attempt *attempt)
{
	QueuePart	part = lane->queue.row.part;

	lane_random_uuid(&part.token);
	part.history = TL_OVERLAP;
	part.started_at = GetCurrentTimestamp();
	attempt->pub.token = part.token;
	attempt->pub.history = lane->attempt_base;
	lane->attempt_at = part.started_at;
	return queue_begin_part(&lane->queue, &part);
}

/* Does the store's guarantee cover what may have happened before? */
static bool
must_resolve(const Lane *lane)
{
	const TlSession *session = &lane->session->pub;
	int64		age;

	if (lane->attempt == NULL || !session_resolves(lane->session))
		return false;
	if (lane->attempt->ask_only)
		return true;
	if (lane->attempt->pub.history == TL_FRESH ||
		session->guarantee == TL_PER_EVENT)
		return false;
	if (session->guarantee == TL_PER_ATTEMPT ||
		lane->attempt->pub.history == TL_OVERLAP)
		return true;
	age = TimestampDifferenceMilliseconds(lane->attempt_at,
										  GetCurrentTimestamp());
	return age > session->token_valid_ms;
}

/* CLAIMED, RETRY → what the verdict says */
static void
send_attempt(Lane *lane)
{
	TlVerdict	verdict;
	TlOutcome	outcome;
	bool		dropped;

	lane->attempt->pub.attempt++;
	outcome = session_send(lane->session, lane->attempt, &verdict, &dropped);
	if (dropped)
		part_forget_marks(lane->part);
	after_call(lane, &verdict, dropped);
	if (outcome == TL_OK && verdict.rows_new >= 0)
		lane->settlement.rows_new += verdict.rows_new;
	apply_outcome(lane, outcome, &verdict);
}

/* RESOLVE → CLAIMED, once the store has said what it holds */
static void
resolve_attempt(Lane *lane)
{
	TlVerdict	verdict;
	TlOutcome	outcome;
	bool		dropped;

	lane_set_phase(lane, LANE_RESOLVE);
	part_forget_marks(lane->part);
	outcome = session_resolve(lane->session, lane->attempt, true, &verdict,
							  &dropped);
	after_call(lane, &verdict, dropped);
	if (outcome != TL_OK)
	{
		part_forget_marks(lane->part);
		lane_failed(lane, &verdict);
		return;
	}
	lane->settlement.resolves++;
	part_apply_resolved(lane->part,
						lane->attempt->pub.history != TL_OVERLAP);
	lane->attempt = NULL;
	lane->attempt_base = TL_FRESH;
	lane_set_phase(lane, LANE_CLAIMED);
}

static void
apply_outcome(Lane *lane, TlOutcome outcome, const TlVerdict *verdict)
{
	const char *reason = verdict->message[0] ? verdict->message :
		"refused by the store";
	bool		marked = lane->part->nmarked > 0;
	int32		landed = lane->part->counts[ROW_LANDED];

	learn_split(lane, outcome);
	if (outcome == TL_REFUSED || outcome == TL_SPLIT)
		strlcpy(lane->refusal_code, verdict->code,
				sizeof(lane->refusal_code));
	if (outcome == TL_UNKNOWN && marked && lane->session != NULL &&
		session_resolves(lane->session))
		part_forget_marks(lane->part);
	if (!part_apply(lane->part, outcome, reason,
					lane->attempt->pub.history == TL_FRESH))
		lane->attempt = NULL;

	if (outcome == TL_RETRY || outcome == TL_UNKNOWN)
		retry_later(lane, verdict, outcome);
	else
	{
		if (lane->part->counts[ROW_LANDED] > landed)
			lane_succeeded(lane);
		lane_set_phase(lane, LANE_CLAIMED);
	}
}

/* Halve the batches after a split; double them again as they succeed. */
static void
learn_split(Lane *lane, TlOutcome outcome)
{
	int32		rows = lane->attempt->pub.nrows;

	if (outcome == TL_SPLIT)
		lane->split_rows = Max(rows / 2, 1);
	else if (outcome == TL_OK && lane->split_rows > 0)
	{
		lane->split_rows *= 2;
		if (lane->split_rows >= lane->target->batch_rows)
			lane->split_rows = 0;
	}
}

/*
 * TL_RETRY promises that no attempt so far can still land, so the history
 * falls back to what it was before; after TL_UNKNOWN it is another story.
 */
static void
retry_later(Lane *lane, const TlVerdict *verdict, TlOutcome outcome)
{
	Attempt    *attempt = lane->attempt;

	lane->settlement.retries++;
	if (outcome == TL_UNKNOWN)
		lane->settlement.unknowns++;
	if (attempt == NULL)
	{
		if (outcome == TL_UNKNOWN)
			lane->attempt_base = TL_OVERLAP;
	}
	else if (outcome == TL_RETRY)
		attempt->pub.history = lane->attempt_base;
	else if (attempt->pub.history == TL_FRESH)
		attempt->pub.history = TL_SAME_AGAIN;
	lane_failed(lane, verdict);
	lane_set_phase(lane, lane->session != NULL && must_resolve(lane) ?
				   LANE_RESOLVE : LANE_RETRY);
}

/* Nothing is pending any more. */
static void
part_finished(Lane *lane)
{
	bool		suspects = lane->part->counts[ROW_SUSPECT] > 0;
	bool		requeued = lane->queue.row.requeued;

	if (suspects && !requeued && !lane_sends_again(lane) &&
		!hold_suspects(lane))
	{
		TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};

		verdict.cause = TL_CAUSE_DATA;
		snprintf(verdict.message, sizeof(verdict.message),
				 "the store refuses every event: %s",
				 lane->part->reasons[0] ? lane->part->reasons[0] : "no reason");
		part_retry_suspects(lane->part);
		lane_failed(lane, &verdict);
		lane_set_phase(lane, LANE_RETRY);
		return;
	}
	collect(lane);
	if (suspects && requeued)
		requeue_give_back(lane);
	settle(lane);
}

/* false: too many for a store that has taken nothing. */
static bool
hold_suspects(Lane *lane)
{
	const int32 *counts = lane->part->counts;

	return counts[ROW_LANDED] > 0 || lane->held_crowd ||
		counts[ROW_SUSPECT] + list_length(lane->settlement.held) <=
		MAX_HELD_WITHOUT_EVIDENCE;
}

/*
 * Counts the fates into the settlement.  What a job sends again has been
 * settled before, so that nothing of it is held back.
 */
static void
collect(Lane *lane)
{
	MemoryContext old = MemoryContextSwitchTo(lane->part_mcxt);
	Settlement *settlement = &lane->settlement;
	Part	   *part = lane->part;

	settlement->part_done = true;
	if (lane_sends_again(lane))
		settlement->replayed = part->counts[ROW_LANDED];
	else
		settlement->forwarded = part->counts[ROW_LANDED];
	settlement->bytes = part->counts[ROW_LANDED] > 0 ?
		batch_bytes(lane->builder) : 0;
	for (int32 row = 0; row < part->nrows; row++)
	{
		const pg_uuid_t *id = &lane->whole.event_ids[row];

		if (part->fates[row] == ROW_LANDED)
		{
			settlement->last_event = *id;
			count_left_out(lane, row);
		}
		else if (part->fates[row] == ROW_SUSPECT && !lane_sends_again(lane))
			settlement->held = lappend(settlement->held, copy_uuid(id));
		else
		{
			DeadLetter *letter = palloc0(sizeof(DeadLetter));

			letter->event_id = *id;
			letter->reason = part->reasons[row];
			letter->code = lane->refusal_code;
			settlement->dead = lappend(settlement->dead, letter);
		}
	}
	MemoryContextSwitchTo(old);
}

/* NB: before columns are chosen anew, the part is built anew. */
static void
count_left_out(Lane *lane, int32 row)
{
	Settlement *settlement = &lane->settlement;
	const uint64 *maps = batch_left_out(lane->builder);

	if (maps == NULL || lane_sends_again(lane))
		return;
	settlement->choice = &lane->choice;
	for (int i = 0; i < lane->choice.nleft_out; i++)
		settlement->left_out[i] += (maps[row] >> i) & 1;
}

/*
 * Held events may fill a batch, so that no other event gets in: one that is
 * too large for the store does.  Then they and the range take turns, and an
 * event of the range that lands counts as accepted after them.
 */
static void
take_turns(Lane *lane)
{
	const int32 *counts = lane->part->counts;

	lane->held_heard = lane->pass_over_held && counts[ROW_LANDED] > 0 &&
		counts[ROW_SUSPECT] == 0;
	lane->pass_over_held = lane->held_crowd && counts[ROW_SUSPECT] > 0;
}

/* CLAIMED → IDLE, or CLAIMED again: the settlement is the next claim. */
static void
settle(Lane *lane)
{
	Queue	   *queue = &lane->queue;
	Settlement *settlement = &lane->settlement;
	Target	   *target = lane->target;
	bool		held = settlement->held != NIL;
	bool		again = lane_sends_again(lane);
	bool		requeued = queue->row.requeued;
	bool		more = lane->claim_was_full && !held && !again &&
		lane->slot->lane < target->lanes;
	bool		make_room = more && lane_job_wanted(lane);

	if (queue->new_state != NULL)
	{
		settlement->state = VARDATA(queue->new_state);
		settlement->state_len = VARSIZE(queue->new_state) - VARHDRSZ;
	}
	if (lane->renew_kept)
		settlement->kept_event = queue->row.last_event;
	lane->renew_kept = false;
	if (!queue_settle(queue, settlement, more && !make_room ?
					  target->claim_rows : 0, target->batch_rows))
		return lost(lane);
	queue_forget_state(queue);
	lane->slot->failures = 0;	/* it works: a later failure is a new one */
	ConditionVariableBroadcast(&tl_shared->settled);
	take_turns(lane);
	requeue_settled(lane, settlement, requeued);
	forget_part(lane);
	lane->recovered = false;
	lane->claim_first = again && !queue->row.range.claimed;
	if (!again)
		lane->claim_was_full = make_room || requeued ||
			(queue->row.range.claimed &&
			 queue->row.range.rows >= target->claim_rows);
	lane_set_phase(lane, holds_work(lane) ? LANE_CLAIMED : LANE_IDLE);
	if (requeued && lane->requeue_refused)
		requeue_failed(lane);
	else if (held && !requeued)
		held_failed(lane);
	else
		lane_succeeded(lane);
}

/* Ranges are not kept waiting, and take the held events along. */
static void
held_failed(Lane *lane)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict),
	.cause = TL_CAUSE_DATA};

	strlcpy(verdict.message, "the store refuses events, and has accepted none"
			" since that would show that they are to blame",
			sizeof(verdict.message));
	lane_failed(lane, &verdict);
	lane->held_retry_at = lane->retry_at;
	lane->retry_at = 0;
}

static void
forget_part(Lane *lane)
{
	lane->part = NULL;
	lane->attempt = NULL;
	memset(&lane->settlement, 0, sizeof(lane->settlement));
	MemoryContextReset(lane->attempt_mcxt);
	MemoryContextReset(lane->part_mcxt);
}

/* Another process owns the lane: write nothing, go. */
static void
lost(Lane *lane)
{
	lane_exit(lane, LANE_EXIT_STOPPED);
}

/* What every callback may have brought besides its outcome. */
static void
after_call(Lane *lane, const TlVerdict *verdict, bool dropped)
{
	if (dropped)
		lane->session = NULL;
	else if (lane->session->lost)
		lost(lane);
	if (dropped || verdict->cause == TL_CAUSE_SCHEMA ||
		lane->session->pub.guarantee != lane->guarantee)
		lane->inspected = false;
	lane_kept_called(lane, verdict);
}
