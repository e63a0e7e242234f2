/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The durable side: src/queue.c and src/queue_open.c.
 *
 * Each function below is one transaction.  A snapshot is the set of events
 * that it sees; a later one sees more.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

#define FIRST_XID	3			/* of the event 0 */

static EventSet
seen(Snapshot snapshot)
{
	return snapshot & ((1 << EVENTS) - 1);
}

/* What src/window.c works on: each event is a transaction of its own. */
static WindowSnapshot *
unfold(Snapshot snapshot, WindowSnapshot *to, uint64 *xip)
{
	to->xmax = FIRST_XID + (snapshot >> XMAX_SHIFT);
	to->xip = xip;
	to->nxip = 0;
	for (uint64 xid = FIRST_XID; xid < to->xmax; xid++)
		if ((seen(snapshot) & 1 << (xid - FIRST_XID)) == 0)
			xip[to->nxip++] = xid;
	to->xmin = to->nxip > 0 ? xip[0] : to->xmax;
	return to;
}

Snapshot
queue_snapshot(void)
{
	EventSet	begun = world.db.committed | world.db.prepared;
	int			xmax = begun == 0 ? 0 : 32 - __builtin_clz(begun);

	return (Snapshot) (xmax << XMAX_SHIFT | world.db.committed);
}

/* Events of a window behind a position, in the queue's order; how many. */
static uint8
walk_window(Snapshot from, Snapshot to, uint8 after, uint8 upto, uint8 limit,
			uint8 *events)
{
	WindowSnapshot f;
	WindowSnapshot t;
	uint64		xips[2][EVENTS];
	XidInterval *intervals;
	uint8		n = 0;
	int			nintervals;

	nintervals = window_intervals(unfold(from, &f, xips[0]),
								  unfold(to, &t, xips[1]), NULL, &intervals);
	for (int i = 0; i < nintervals; i++)
	{
		for (uint64 xid = intervals[i].lo; xid <= intervals[i].hi; xid++)
		{
			uint8		event = (uint8) (xid - FIRST_XID);

			if (event >= after && event < upto && n < limit &&
				window_visible(&t, xid))
				events[n++] = event;
		}
	}
	pfree(intervals);
	return n;
}

/* Is there an event to claim? */
bool
queue_look(void)
{
	const Database *db = &world.db;
	uint8		events[EVENTS];

	return walk_window(db->from, db->to, db->last, END, 1, events) > 0 ||
		walk_window(db->to, queue_snapshot(), 0, END, 1, events) > 0;
}

static uint8
checksum(const uint8 *events, uint8 n)
{
	uint8		sum = 0;

	for (uint8 i = 0; i < n; i++)
		sum = (uint8) (sum << 2 | (events[i] + 1));
	return sum;
}

static Token
new_token(LaneRow *row, uint8 number, EventSet events)
{
	if (!rule(RULE_RANDOM_TOKEN))
		return (Token) (32 + events);
	if (!rule(RULE_NO_COUNTER))
		return (Token) (64 + 32 * number + row->counter++);
	return random_token();
}

/* Writes the lane's row, and the mirror of it. */
static void
write_lane(uint8 number, const LaneRow *row)
{
	world.db.lanes[number] = world.lanes[number].row = *row;
}

static bool
is_suspect(void)
{
	const Database *db = &world.db;
	WindowSnapshot suspect;
	WindowSnapshot from;
	WindowSnapshot to;
	uint64		xips[3][EVENTS];

	if (!db->has_suspect)
		return false;
	unfold(db->from, &from, xips[0]);
	unfold(db->to, &to, xips[1]);
	unfold(db->suspect_to, &suspect, xips[2]);
	if (!rule(RULE_TIMELINE_PREPARED))
		return !window_covers(&from, &suspect);
	return window_begins_before(&from, &to, suspect.xmax);
}

static void
set_range(LaneRow *row, uint8 first, uint8 n)
{
	const Database *db = &world.db;
	QueueRange *range = &row->range;

	range->claimed = true;
	range->from = db->from;
	range->to = db->to;
	range->done = first;
	range->last = db->last;
	range->rows = n;
	range->done_rows = 0;
	range->history = TL_FRESH;
	if (is_suspect() || row->part.durable)
		range->history = TL_OVERLAP;
	if (!row->state.set)
		row->state_timeline = world.timeline;
	memset(&row->part, 0, sizeof(row->part));
}

static EventSet
claimed_by(const LaneRow *row)
{
	const QueueRange *range = &row->range;
	EventSet	events = 0;
	uint8		found[EVENTS];
	uint8		n = 0;

	if (range->claimed)
		n = walk_window(range->from, range->to, range->done, range->last,
						EVENTS, found);
	for (uint8 i = 0; i < n; i++)
		events |= (EventSet) (1 << found[i]);
	return events;
}

static void
set_whole_part(LaneRow *row, uint8 number, const uint8 *events, uint8 n)
{
	EventSet	set = 0;

	for (uint8 i = 0; i < n; i++)
		set |= 1 << events[i];
	row->part.durable = true;
	row->part.last = row->range.last;
	row->part.rows = n;
	row->part.checksum = checksum(events, n);
	row->part.history = row->range.history;
	row->part.token = new_token(row, number, set);
}

/* As the code: with an error if a window would move backward. */
static bool
advance_to_new_window(const Lane *lane)
{
	Database   *db = &world.db;
	Snapshot	snapshot = lane->has_snapshot ? lane->snapshot :
		queue_snapshot();
	WindowSnapshot new_to;
	WindowSnapshot old_to;
	uint64		xips[2][EVENTS];

	if (!window_covers(unfold(snapshot, &new_to, xips[0]),
					   unfold(db->to, &old_to, xips[1])))
	{
		violated("a snapshot window would move backward");
		return false;
	}
	db->from = db->to;
	db->to = snapshot;
	db->last = 0;
	return true;
}

static bool
claim_into(uint8 number, LaneRow *row)
{
	Database   *db = &world.db;
	Lane	   *lane = &world.lanes[number];
	uint8		events[EVENTS];
	uint8		first;
	uint8		n = walk_window(db->from, db->to, db->last, END,
								config->claim_rows, events);

	if (n == 0)
	{
		if ((!lane->has_snapshot && !queue_look()) ||
			!advance_to_new_window(lane))
			return false;
		n = walk_window(db->from, db->to, 0, END, config->claim_rows, events);
		if (n == 0)
			return false;
	}
	first = db->last;
	db->last = events[n - 1] + 1;
	set_range(row, first, n);
	if (n <= config->batch_rows && row->held == 0)
		set_whole_part(row, number, events, n);
	say(", and claims %s", set_text(claimed_by(row)));
	return true;
}

static void
apply_settlement(LaneRow *row, Lane *lane, EventSet held)
{
	QueueRange *range = &row->range;

	row->held = held;
	if (held == 0)
		row->held_suspect = false;
	if (lane->new_state.set)
	{
		row->state = lane->new_state;
		row->state_timeline = world.timeline;
	}
	if (range->claimed)
	{
		range->done = row->part.last;
		range->done_rows += lane->taken;
		if (range->done == range->last)
			memset(range, 0, sizeof(*range));
	}
	memset(&row->part, 0, sizeof(row->part));
	memset(&lane->new_state, 0, sizeof(BackendState));
}

/* The part is done: off the range, into the totals; maybe the next claim. */
void
queue_settle(uint8 number, EventSet held, bool more)
{
	Lane	   *lane = &world.lanes[number];
	LaneRow		row = lane->row;
	EventSet	dead = fates_with(&lane->part, ROW_REFUSED);

	say("lane %u settles: %s landed", number,
		set_text(fates_with(&lane->part, ROW_LANDED)));
	if (dead)
		say(", %s dead", set_text(dead));
	if (held)
		say(", %s held back", set_text(held));
	apply_settlement(&row, lane, held);
	world.db.forwarded += (uint8)
		__builtin_popcount(fates_with(&lane->part, ROW_LANDED));
	world.db.dead |= dead;
	if (more && !row.range.claimed)
		claim_into(number, &row);
	write_lane(number, &row);
}

bool
queue_claim(uint8 number)
{
	LaneRow		row = world.lanes[number].row;

	say("lane %u looks into the queue", number);
	if (!claim_into(number, &row))
		return false;
	write_lane(number, &row);
	return true;
}

/* A part without a token gets one; events: those it is to name. */
void
queue_begin_part(uint8 number, const QueuePart *part, EventSet events)
{
	LaneRow		row = world.lanes[number].row;

	row.part = *part;
	row.part.durable = true;
	if (row.part.token == 0)
		row.part.token = new_token(&row, number, events);
	write_lane(number, &row);
	say("; token %u is durable", row.part.token);
}

void
queue_distrust_range(uint8 number)
{
	LaneRow		row = world.lanes[number].row;

	row.range.history = TL_OVERLAP;
	write_lane(number, &row);
	say("; the range is not trusted any more");
}

void
queue_save_state(uint8 number, BackendState state)
{
	Lane	   *lane = &world.lanes[number];
	LaneRow		row = world.db.lanes[number];

	row.state = state;
	row.state_timeline = world.timeline;
	if (row.range.history < lane->row.range.history)
		row.range.history = lane->row.range.history;
	row.held_suspect |= lane->row.held_suspect;
	world.db.lanes[number] = row;
	lane->row.state = state;
	lane->row.state_timeline = world.timeline;
	memset(&lane->new_state, 0, sizeof(BackendState));
}

/*
 * Reads the held events, then the range up to a position; returns how many
 * of the range's were taken.
 */
uint8
queue_read(uint8 number, bool with_held, uint8 upto, uint8 limit,
		   uint8 *events, uint8 *n)
{
	const LaneRow *row = &world.lanes[number].row;
	uint8		taken = 0;

	*n = 0;
	for (uint8 e = 0; with_held && e < EVENTS && *n < limit; e++)
		if (row->held & 1 << e)
			events[(*n)++] = e;
	if (row->range.claimed)
		taken = walk_window(row->range.from, row->range.to, row->range.done,
							upto, limit - *n, events + *n);
	*n += taken;
	return taken;
}

/* What a predecessor on another timeline has sent may have been forgotten. */
void
queue_reload(uint8 number)
{
	Lane	   *lane = &world.lanes[number];
	LaneRow    *row = &lane->row;

	*row = world.db.lanes[number];
	if (row->state_timeline == 0)
		row->state_timeline = world.timeline;
	if (row->state_timeline == world.timeline || !rule(RULE_TIMELINE))
		return;
	if (row->range.claimed)
		row->range.history = row->part.history = TL_OVERLAP;
	if (!row->part.durable)
		row->part.history = TL_FRESH;
	if (row->held && rule(RULE_TIMELINE_HELD))
		row->held_suspect = true;
}

void
queue_open(uint8 number)
{
	Database   *db = &world.db;

	say("lane %u starts", number);
	if (db->timeline != world.timeline && rule(RULE_TIMELINE))
	{
		db->has_suspect = true;
		db->suspect_to = queue_snapshot();
		say(" on a new timeline: everything so far is suspect");
	}
	db->timeline = world.timeline;
	if (!rule(RULE_DURABLE_TOKEN) && db->lanes[number].part.durable)
		db->lanes[number].part.token = random_token();
	queue_reload(number);
}

/* Committed, and in no window up to the cursor. */
static EventSet
pending(void)
{
	const Database *db = &world.db;

	return db->committed &
		~(seen(db->from) | (seen(db->to) & ((1 << db->last) - 1)));
}

/* Events that the ledger has not done with. */
EventSet
queue_owned(void)
{
	EventSet	owned = pending();

	for (uint8 i = 0; i < config->lanes; i++)
		owned |= world.db.lanes[i].held | claimed_by(&world.db.lanes[i]);
	return owned;
}

/* The view token_ledger.accounting. */
void
queue_check_accounting(void)
{
	const Database *db = &world.db;
	int			sum = db->forwarded + __builtin_popcount(db->dead) +
		__builtin_popcount(pending());
	int			ledger = __builtin_popcount(db->committed);

	for (uint8 i = 0; i < config->lanes; i++)
		sum += db->lanes[i].range.rows - db->lanes[i].range.done_rows +
			__builtin_popcount(db->lanes[i].held);
	if (sum != ledger)
		violated("the accounts have %d events, the ledger %d", sum, ledger);
}
