/*-------------------------------------------------------------------------
 *
 * world.c
 *	  What can happen next, and what must hold whatever happens.
 *
 * Tokens and streams are names without order, so a world is the same under
 * other names: rename_everything() gives them the first numbers, and forgets
 * those that nothing refers to any more.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

#define RANDOM_TOKENS	32		/* above are those of broken rules */

World		world;
const Config *config;

/* Names */

typedef void (*NameCB) (uint8 *name);

static void
visit_row(LaneRow *row, NameCB token, NameCB stream)
{
	token(&row->part.token);
	stream(&row->state.stream);
}

/* All that names a token or a stream, but for the store's own books. */
static void
visit_names(NameCB token, NameCB stream)
{
	for (int i = 0; i < LANES; i++)
	{
		visit_row(&world.db.lanes[i], token, stream);
		visit_row(&world.standby.lanes[i], token, stream);
		visit_row(&world.lanes[i].row, token, stream);
		token(&world.lanes[i].token);
		stream(&world.lanes[i].new_state.stream);
	}
	for (int i = 0; i < ZOMBIES; i++)
	{
		token(&world.store.zombies[i].token);
		stream(&world.store.zombies[i].stream);
	}
}

static uint8 token_names[256];
static uint8 stream_names[STREAMS + 1];
static uint8 ntokens;
static uint8 nstreams;

static void
ignore(uint8 *name)
{
}

static void
rename_token(uint8 *name)
{
	if (*name == 0 || *name >= RANDOM_TOKENS)
		return;
	if (token_names[*name] == 0)
		token_names[*name] = ++ntokens;
	*name = token_names[*name];
}

static void
rename_stream(uint8 *name)
{
	if (*name == 0)
		return;
	if (stream_names[*name] == 0)
		stream_names[*name] = ++nstreams;
	*name = stream_names[*name];
}

static void
note_token(uint8 *name)
{
	token_names[*name] = 1;
}

static void
note_stream(uint8 *name)
{
	stream_names[*name] = 1;
}

Token
random_token(void)
{
	Token		token = 1;

	memset(token_names, 0, sizeof(token_names));
	visit_names(note_token, ignore);
	for (int i = 0; i < TOKENS; i++)
		note_token(&world.store.log[i].token);
	while (token_names[token])
		token++;
	return token;
}

uint8
new_stream(void)
{
	uint8		stream = 1;

	memset(stream_names, 0, sizeof(stream_names));
	visit_names(ignore, note_stream);
	while (stream_names[stream])
		stream++;
	if (stream > STREAMS)
		abort();
	memset(&world.store.streams[stream], 0, sizeof(Stream));
	return stream;
}

static int
descending_tokens(const void *a, const void *b)
{
	return memcmp(b, a, sizeof(LoggedToken));
}

static int
descending_zombies(const void *a, const void *b)
{
	return memcmp(b, a, sizeof(Zombie));
}

static void
rename_log(void)
{
	LoggedToken *log = world.store.log;

	for (int i = 0; i < TOKENS; i++)
	{
		Token		token = log[i].token;

		if (token >= RANDOM_TOKENS)
			continue;
		log[i].token = token_names[token];
		if (log[i].token == 0)
			log[i].refused = 0;
	}
	qsort(log, TOKENS, sizeof(LoggedToken), descending_tokens);
}

static void
rename_streams(void)
{
	Stream		streams[STREAMS + 1] = {{0, 0}};

	for (int i = 1; i <= STREAMS; i++)
		if (stream_names[i] != 0)
			streams[stream_names[i]] = world.store.streams[i];
	memcpy(world.store.streams, streams, sizeof(streams));
}

void
rename_everything(void)
{
	ntokens = nstreams = 0;
	memset(token_names, 0, sizeof(token_names));
	memset(stream_names, 0, sizeof(stream_names));
	qsort(world.store.zombies, ZOMBIES, sizeof(Zombie), descending_zombies);
	visit_names(rename_token, rename_stream);
	rename_log();
	rename_streams();
}

/* Steps */

static bool
run_lane(uint8 number)
{
	if (number >= config->lanes)
		return false;
	if (world.lanes[number].phase != LANE_DOWN)
		return lane_cycle(number);
	lane_start(number);
	return true;
}

static bool
commit(uint8 e)
{
	EventSet	event = 1 << e;

	if (e >= config->events || world.db.committed & event ||
		(world.gone & event && rule(RULE_NOT_INSERTED_AGAIN)))
		return false;
	say("%s is committed", set_text(event));
	world.db.committed |= event;
	world.db.prepared &= ~event;
	world.gone &= ~event;
	return true;
}

static bool
prepare(uint8 e)
{
	EventSet	event = 1 << e;

	if ((world.db.committed | world.db.prepared | world.gone) & event)
		return false;
	say("%s is prepared", set_text(event));
	world.db.prepared |= event;
	return true;
}

static bool
land_zombie(int i)
{
	Zombie		zombie = world.store.zombies[i];

	if (zombie.events == 0)
		return false;
	say("a late request of lane %u arrives: %s", zombie.lane,
		set_text(zombie.events));
	memset(&world.store.zombies[i], 0, sizeof(Zombie));
	store_land(&zombie);
	return true;
}

static bool
crash(unsigned which)
{
	bool		any = false;

	for (uint8 i = 0; i < config->lanes; i++)
	{
		if ((which & 1 << i) == 0 || world.lanes[i].phase == LANE_DOWN)
			continue;
		lane_end(i);
		any = true;
	}
	if (any)
		spend_fault();
	say("%s", which == (1u << config->lanes) - 1 ? "the server crashes" :
		"a lane dies");
	return any;
}

/* The rest of this timeline will be lost. */
static bool
cut_off(void)
{
	if (world.cut)
		return false;
	say(rule(RULE_DURABLE_CLAIM) ? "the standby hears no more" :
		"nothing is flushed from here on");
	spend_fault();
	world.cut = true;
	world.standby = world.db;
	return true;
}

/* Transactions that end with their sessions. */
static EventSet
begun_and_not_finished(void)
{
	Snapshot	snapshot = queue_snapshot();
	EventSet	begun = (EventSet) ((1 << (snapshot >> XMAX_SHIFT)) - 1);

	return begun & ~(world.db.committed | world.db.prepared);
}

static bool
fail_over(void)
{
	EventSet	lost;
	EventSet	begun;

	if (!world.cut)
		return false;
	lost = world.db.committed & ~world.standby.committed;
	begun = begun_and_not_finished();
	say(rule(RULE_DURABLE_CLAIM) ? "the standby is promoted" :
		"the server crashes");
	if (lost)
		say(", commits of %s are lost", set_text(lost));
	world.gone |= (lost | begun) & ~world.standby.prepared;
	world.db = world.standby;
	memset(&world.standby, 0, sizeof(Database));
	memset(world.lanes, 0, sizeof(world.lanes));
	world.cut = false;

	/* Nobody remembers their tokens: not promised (doc/guarantees.md). */
	if (config->store->unseen)
		memset(world.store.zombies, 0, sizeof(world.store.zombies));
	if (rule(RULE_DURABLE_CLAIM))
		world.timeline++;
	return true;
}

static bool
forget_tokens(void)
{
	if (config->store->guarantee != TL_PER_BATCH)
		return false;
	say("the store forgets the tokens so far, they are too old");
	spend_fault();
	store_forget_tokens();
	return true;
}

/* From the least surprising one on: the search tries them in this order. */
enum
{
	RUN_LANE,
	COMMIT = RUN_LANE + LANES,
	FAIL_OVER = COMMIT + EVENTS,
	PREPARE,
	LAND_ZOMBIE,
	FREE_STEPS = LAND_ZOMBIE + ZOMBIES,
	CUT_OFF = FREE_STEPS,
	FORGET_TOKENS,
	CRASH,
	STEPS = CRASH + (1 << LANES)
};

unsigned
count_actions(void)
{
	return world.faults > 0 ? STEPS : FREE_STEPS;
}

/* false: that cannot happen now */
bool
take_step(unsigned action)
{
	if (action < COMMIT)
		return run_lane((uint8) action);
	if (action < FAIL_OVER)
		return commit((uint8) (action - COMMIT));
	if (action == FAIL_OVER)
		return fail_over();
	if (action == PREPARE)
		return prepare(0);
	if (action < FREE_STEPS)
		return land_zombie((int) (action - LAND_ZOMBIE));
	if (action == CUT_OFF)
		return cut_off();
	if (action == FORGET_TOKENS)
		return forget_tokens();
	return action - CRASH < 1u << config->lanes && crash(action - CRASH);
}

/* Invariants */

static void
check_event(uint8 e, bool settled)
{
	const StoreClass *store = config->store;
	bool		exact = store->resolve || store->guarantee == TL_PER_EVENT;
	uint8		copies = world.store.copies[e];
	bool		dead = (world.db.dead & 1 << e) != 0;

	if (copies > 1 && exact)
		violated("event %u is in the store twice", e + 1);
	if (dead && copies > 0)
		violated("event %u is a dead letter, and in the store", e + 1);
	if (dead && !store_has_convicted(e))
		violated("event %u is a dead letter, and the store has not refused it"
				 " again after accepting another", e + 1);
	if (settled && !dead && copies == 0)
		violated("event %u is settled, and not in the store", e + 1);
}

void
check_invariants(void)
{
	EventSet	settled = world.db.committed & ~queue_owned();

	for (uint8 e = 0; e < config->events; e++)
	{
		EventSet	event = 1 << e;

		if (world.db.committed & event)
			check_event(e, (settled & event) != 0);
		else if (world.store.copies[e] > 0 &&
				 !((world.gone | world.db.prepared) & event))
			violated("event %u is in the store, and was never committed",
					 e + 1);
	}
	queue_check_accounting();
}

/* Is everything done that was asked for? */
bool
quiescent(void)
{
	EventSet	all = (1 << config->events) - 1;

	return (world.db.committed | world.gone) == all && queue_owned() == 0;
}
