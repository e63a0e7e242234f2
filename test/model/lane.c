/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  Claim, send, settle, resolve: src/lane_cycle.c, edge by edge.
 *
 * Read this beside src/lane_cycle.c: the functions have the same names and
 * the same order.  What is left out is time (back-off, flush intervals), own
 * refusals, events that vanish, and reports.
 *
 * One call of lane_cycle() goes on until the lane has done something that
 * others can see: a transaction, or a call of the store.  Between two calls
 * it may die, or anything else may happen.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

static uint8 number;			/* of the lane that runs */
static Lane *lane;
static bool acted;				/* others can see what it did */

static void
lane_restart_range(void)
{
	LaneRow		row = lane->row;
	BackendState state = lane->new_state;
	uint8		split_rows = lane->split_rows;
	uint8		claim_was_full = lane->claim_was_full;

	memset(lane, 0, sizeof(Lane));
	lane->row = row;
	lane->split_rows = split_rows;
	lane->claim_was_full = claim_was_full;
	if (!rule(RULE_FORGOTTEN_STATE))
		lane->new_state = state;
	lane->recovered = row.part.durable;
	lane->phase = row.range.claimed || row.part.durable ?
		LANE_CLAIMED : LANE_IDLE;
}

/* IDLE → CLAIMED; false: nothing to do */
static bool
claim(void)
{
	if (!rule(RULE_SNAPSHOT) && !lane->has_snapshot &&
		queue_look())
	{
		lane->has_snapshot = acted = true;
		lane->snapshot = queue_snapshot();
		say("lane %u takes a snapshot, and waits for the target's row", number);
		return true;
	}
	acted = queue_claim(number);
	lane->has_snapshot = lane->snapshot = 0;
	lane->claim_was_full = acted &&
		lane->row.range.rows >= config->claim_rows;
	if (!acted && lane->row.held == 0)
		return false;
	lane->phase = LANE_CLAIMED;
	return true;
}

static uint8
begin_batch(bool keep_cut)
{
	uint8		limit = config->batch_rows;

	if (lane->split_rows > 0 && lane->split_rows < limit)
		limit = lane->split_rows;
	return keep_cut && rule(RULE_SAME_CUT) ? lane->row.part.rows : limit;
}

static uint8
history_before(bool with_held)
{
	if (with_held && lane->row.held_suspect)
		return TL_OVERLAP;
	return lane->row.range.history;
}

/* Where the part ends. */
static QueuePart
cut_part(const uint8 *events, uint8 n, uint8 taken, uint8 upto, bool cut)
{
	QueuePart	part = {0};

	part.last = upto;
	if (!lane->row.range.claimed)
		part.last = END;
	else if (cut)
		part.last = taken > 0 ? events[n - 1] + 1 : lane->row.range.done;
	part.rows = n;
	for (uint8 i = 0; i < n; i++)
		part.checksum = (uint8) (part.checksum << 2 | (events[i] + 1));
	return part;
}

/* Keeps the row's token where the row's part is this one. */
static void
make_part_durable(const QueuePart *part, EventSet events)
{
	const QueuePart *row = &lane->row.part;
	QueuePart	kept = *part;

	if (row->durable && row->last == part->last && row->rows == part->rows &&
		row->checksum == part->checksum &&
		(lane->recovered || row->history == part->history))
		return;
	if (lane->recovered)		/* only without one of the two rules */
	{
		kept.token = row->token;
		kept.history = row->history;
	}
	queue_begin_part(number, &kept, events);
	acted = true;
}

/* May the part be the one that was attempted, as far as we look? */
static bool
same_part(const QueuePart *part)
{
	if (!rule(RULE_SAME_CUT) || !rule(RULE_CHECKSUM))
		return true;
	return part->rows == lane->row.part.rows &&
		part->checksum == lane->row.part.checksum;
}

/* CLAIMED: reads the next part of the range. */
static void
build_part(void)
{
	bool		again = lane->recovered && lane->row.part.durable;
	bool		claimed = lane->row.range.claimed;
	bool		pass_over = lane->pass_over_held && !again && claimed;
	uint8		upto = again && rule(RULE_SAME_CUT) ? lane->row.part.last :
		claimed ? lane->row.range.last : END;
	uint8		limit = begin_batch(again);
	uint8		events[EVENTS];
	uint8		n;
	uint8		taken = queue_read(number, !pass_over, upto, limit, events,
								   &n);
	bool		cut = n >= limit;
	bool		superseded = false;
	QueuePart	part = cut_part(events, n, taken, upto, cut);

	part.history = history_before(!pass_over);
	lane->pass_over_held = pass_over;
	lane->held_crowd = cut && taken == 0 && claimed;
	lane->taken = taken;
	fates_create(&lane->part, events, n, n - taken, lane->held_heard);
	lane->unread_held = lane->row.held &
		~fates_events(&lane->part, (uint8) ((1 << (n - taken)) - 1));

	if (again && same_part(&part))
		part.last = rule(RULE_SAME_CUT) ? upto : part.last;
	else if (again)
	{
		queue_distrust_range(number);
		if (fault("lane %u dies before it makes another part durable", number))
		{
			lane_end(number);
			acted = true;
			return;
		}
		part.history = TL_OVERLAP;
		superseded = rule(RULE_LAST_TOKEN);
		if (superseded)
			part.token = lane->row.part.token;
		again = false;
	}
	lane->attempt_base = part.history;
	if (again && lane->row.part.history > lane->attempt_base)
		lane->attempt_base = lane->row.part.history;
	lane->recovered = again;
	make_part_durable(&part, fates_all(&lane->part));
	lane->recovered |= superseded;
	lane->has_part = true;
}

/* Does the row's token name these events? */
static bool
has_token(void)
{
	if (lane->recovered && lane->attempt_base == TL_OVERLAP &&
		rule(RULE_RECOVERED_TOKEN))
		return false;
	return lane->part.selected == (1 << lane->part.nrows) - 1 &&
		!lane->batches;
}

/* The whole part, under the token that the row has. */
static void
first_token(void)
{
	lane->token = lane->row.part.token;
	lane->old = lane->row.part.old;
	lane->history = lane->attempt_base;
	if (lane->recovered && lane->attempt_base == TL_FRESH)
		lane->history = TL_SAME_AGAIN;
	lane->attempt_base = lane->row.range.history;
}

/* The lane of before may have sent some of these events. */
static bool
may_be_under_way(void)
{
	return lane->recovered && lane->attempt_base == TL_OVERLAP &&
		config->store->resolve &&
		config->store->guarantee != TL_PER_EVENT && rule(RULE_LAST_TOKEN);
}

static void
last_token(void)
{
	lane->token = lane->row.part.token;
	lane->history = TL_OVERLAP;
	lane->ask_only = true;
}

/* Other events: another token, durable before its first attempt. */
static void
another_token(void)
{
	QueuePart	part = lane->row.part;

	if (rule(RULE_ANOTHER_TOKEN))
	{
		part.token = 0;
		part.old = false;
	}
	part.history = TL_OVERLAP;
	lane->history = lane->attempt_base;
	say("lane %u takes another token for %s", number,
		set_text(fates_events(&lane->part, lane->part.selected)));
	queue_begin_part(number, &part,
					 fates_events(&lane->part, lane->part.selected));
	lane->token = lane->row.part.token;
	lane->old = part.old;
	acted = true;
}

/* Selects what is still to be sent; false: nothing is. */
static bool
next_attempt(void)
{
	if (!fates_select(&lane->part))
		return false;
	lane->has_attempt = true;
	if (has_token())
		first_token();
	else if (may_be_under_way())
		last_token();
	else
		another_token();
	lane->batches = true;
	return true;
}

/* Does the store's guarantee cover what may have happened before? */
static bool
must_resolve(void)
{
	const StoreClass *store = config->store;

	if (!lane->has_attempt || !store->resolve)
		return false;
	if (lane->ask_only)
		return true;
	if (lane->history == TL_FRESH || store->guarantee == TL_PER_EVENT)
		return false;
	if (store->guarantee == TL_PER_ATTEMPT || lane->history == TL_OVERLAP)
		return true;
	return lane->old && rule(RULE_TOKEN_AGE);
}

static Batch
batch(void)
{
	Batch		b = {number, lane->history, lane->token, 0};

	b.events = fates_events(&lane->part, lane->part.selected);
	return b;
}

/* After TL_RETRY the history falls back to what it was before. */
static void
retry_later(uint8 outcome)
{
	if (!lane->has_attempt)
	{
		if (outcome == TL_UNKNOWN)
			lane->attempt_base = TL_OVERLAP;
	}
	else if (outcome == TL_RETRY)
		lane->history = lane->attempt_base;
	else if (lane->history == TL_FRESH)
		lane->history = TL_SAME_AGAIN;
}

/* Halve the batches after a split; double them again as they succeed. */
static void
learn_split(uint8 outcome, uint8 rows)
{
	if (outcome == TL_SPLIT)
		lane->split_rows = rows > 1 ? rows / 2 : 1;
	else if (outcome == TL_OK && lane->split_rows > 0)
	{
		lane->split_rows *= 2;
		if (lane->split_rows >= config->batch_rows)
			lane->split_rows = 0;
	}
}

static void
drop_attempt(void)
{
	lane->has_attempt = false;
	lane->token = lane->history = lane->old = lane->ask_only = 0;
}

static void
apply_outcome(uint8 outcome)
{
	Fates	   *part = &lane->part;

	learn_split(outcome, (uint8) __builtin_popcount(part->selected));
	if (outcome == TL_UNKNOWN && config->store->resolve)
		fates_forget_marks(part);
	if (outcome == TL_UNKNOWN && !rule(RULE_NO_RECUT) &&
		part->selected & (part->selected - 1))
		outcome = TL_SPLIT;
	if (!fates_apply(part, outcome, lane->history == TL_FRESH))
		drop_attempt();
	if (outcome == TL_RETRY || outcome == TL_UNKNOWN)
		retry_later(outcome);
}

/* CLAIMED, RETRY → what the verdict says */
static void
send_attempt(void)
{
	static const char *const histories[] = {"fresh", "the same again",
	"overlap"};
	static const char *const outcomes[] = {"OK", "RETRY", "UNKNOWN", "SPLIT",
	"REFUSED"};
	Batch		b = batch();
	uint8		outcome;

	acted = true;
	if (store_prepare_stream(number))
		return;
	say("lane %u sends %s under token %u, %s: ", number, set_text(b.events),
		b.token, histories[b.history]);
	outcome = store_send(&b, &lane->part);
	if (lane->phase == LANE_DOWN)
		return;
	say(": %s", outcomes[outcome]);
	apply_outcome(outcome);
}

/* RESOLVE → CLAIMED, once the store has said what it holds */
static void
resolve_attempt(void)
{
	Batch		b = batch();

	acted = true;
	say("lane %u asks for %s: ", number, set_text(b.events));
	if (!store_resolve(&b, &lane->part))
		return;
	say("%s are there", set_text(fates_events(&lane->part,
											 lane->part.landed_marks)));
	fates_apply_resolved(&lane->part, lane->history != TL_OVERLAP);
	drop_attempt();
	lane->attempt_base = TL_FRESH;
}

/* CLAIMED → IDLE, or CLAIMED again: the settlement is the next claim. */
static void
settle(void)
{
	EventSet	suspects = fates_with(&lane->part, ROW_SUSPECT);
	EventSet	held = suspects | lane->unread_held;
	bool		landed = fates_with(&lane->part, ROW_LANDED) != 0;
	bool		pass_over = lane->pass_over_held;
	uint8		crowd = lane->held_crowd;

	queue_settle(number, held, lane->claim_was_full && held == 0);
	acted = true;

	/* take_turns() */
	lane->held_heard = pass_over && landed && suspects == 0;
	lane->pass_over_held = crowd && suspects != 0;

	/* forget_part() */
	memset(&lane->part, 0, sizeof(Fates));
	lane->has_part = lane->taken = lane->batches = lane->unread_held = 0;
	lane->attempt_base = lane->held_crowd = 0;
	drop_attempt();

	lane->recovered = false;
	lane->claim_was_full = lane->row.range.claimed &&
		lane->row.range.rows >= config->claim_rows;
	lane->phase = lane->row.range.claimed ? LANE_CLAIMED : LANE_IDLE;
}

/* Nothing is pending any more. */
static void
part_finished(void)
{
	if (fault("lane %u fails to settle, and believes only its row", number))
	{
		queue_reload(number);
		lane_restart_range();
		acted = true;
		return;
	}
	settle();
}

static bool
cycle(void)
{
	if (lane->phase == LANE_IDLE)
		return claim();
	if (!lane->has_part)
		build_part();
	else if (!lane->has_attempt && !next_attempt())
		part_finished();
	else if (acted)
		return true;			/* it may die before it sends */
	else if (must_resolve())
		resolve_attempt();
	else
		send_attempt();
	return true;
}

bool
lane_cycle(uint8 which)
{
	number = which;
	lane = &world.lanes[number];
	acted = false;
	while (!acted)
		if (!cycle())
			return false;
	return true;
}

void
lane_start(uint8 which)
{
	number = which;
	lane = &world.lanes[number];
	queue_open(number);
	lane_restart_range();
}

void
lane_end(uint8 which)
{
	memset(&world.lanes[which], 0, sizeof(Lane));
}
