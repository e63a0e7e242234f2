/*-------------------------------------------------------------------------
 *
 * store.c
 *	  A store of any class, its backend, and what can go wrong between them.
 *
 * The backend is honest: it keeps the contract of tokenledger_backend.h.  Of
 * each request at most one thing goes wrong, and costs one fault.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

/* Of an event: what a lane needs to have heard before it gives it up. */
enum {UNTRIED, REFUSED_ONCE, OTHERS_ACCEPTED, REFUSED_AGAIN};

/* What may go wrong with a request. */
typedef enum Mishap
{
	NOTHING,
	NO_CONNECTION,				/* certainly not sent */
	LOST_REQUEST,
	LOST_REPLY,
	LATE_REQUEST,				/* a zombie */
	DEATH,						/* a zombie, and its lane is dead */
	TORN,						/* its token arrives, its rows do not */
	HALF_LOST,					/* one event lands, the reply is lost */
	HALF_UNKNOWN,				/* one event lands and is marked, ... */
	HALF_RETRY,					/* ... the others may have, or have not */
	TOO_LARGE,
	REFUSED_WHOLE,				/* without a name */
	REFUSED_ALL,				/* by name */
	REFUSED_ONE,				/* by name, the others do not land either */
	REFUSED_BUT_OTHERS,			/* by name, the others land */
	MISHAPS
} Mishap;

bool
store_has_convicted(uint8 event)
{
	return world.store.trial[event] == REFUSED_AGAIN;
}

static void
accepted(EventSet events)
{
	uint8	   *trial = world.store.trial;

	for (uint8 e = 0; e < EVENTS && events != 0; e++)
		if (trial[e] == REFUSED_ONCE && events & ~(1 << e))
			trial[e] = OTHERS_ACCEPTED;
}

static void
refused(EventSet events)
{
	uint8	   *trial = world.store.trial;

	for (uint8 e = 0; e < EVENTS; e++)
		if (events & 1 << e)
			trial[e] = trial[e] == UNTRIED ? REFUSED_ONCE :
				trial[e] == OTHERS_ACCEPTED ? REFUSED_AGAIN : trial[e];
}

static EventSet
present(void)
{
	EventSet	events = 0;

	for (uint8 e = 0; e < EVENTS; e++)
		if (world.store.copies[e] > 0)
			events |= 1 << e;
	return events;
}

static const LoggedToken *
find_token(Token token)
{
	for (int i = 0; i < TOKENS; i++)
		if (world.store.log[i].token == token)
			return &world.store.log[i];
	return NULL;
}

static void
log_token(Token token, EventSet marked)
{
	LoggedToken *log = world.store.log;
	int			i = 0;

	if (!config->store->logs || find_token(token) != NULL)
		return;
	while (i < TOKENS - 1 && log[i].token != 0)
		i++;
	log[i].token = token;
	log[i].refused = marked;
}

/* The store takes what it has not seen, as far as it can tell. */
static void
take(const Zombie *request, EventSet marked)
{
	const StoreClass *store = config->store;
	Stream	   *stream = &world.store.streams[request->stream];
	EventSet	events = request->events & ~marked;

	if (store->logs && find_token(request->token) != NULL)
		return;
	if (store->guarantee == TL_PER_EVENT)
		events &= ~present();
	if (store->streams)
	{
		if (stream->finalized || stream->rows != request->offset)
			return;
		stream->rows += __builtin_popcount(events);
	}
	for (uint8 e = 0; e < EVENTS; e++)
		if (events & 1 << e && world.store.copies[e] < 2)
			world.store.copies[e]++;
	accepted(events);
	log_token(request->token, marked);
}

void
store_land(const Zombie *zombie)
{
	take(zombie, 0);
}

static void
add_zombie(const Zombie *request)
{
	int			i = 0;

	while (world.store.zombies[i].events != 0)
		i++;
	world.store.zombies[i] = *request;
}

static BackendState
core_state(uint8 number, bool *suspect)
{
	const Lane *lane = &world.lanes[number];

	*suspect = !lane->new_state.set && rule(RULE_TIMELINE_STATE) &&
		lane->row.state_timeline != world.timeline;
	return lane->new_state.set ? lane->new_state : lane->row.state;
}

/*
 * Before an append: is there a stream?  A new one is saved before its first
 * use.  true: it was, and the append is the next step.
 */
bool
store_prepare_stream(uint8 number)
{
	BackendState state;
	bool		suspect;

	if (!config->store->streams)
		return false;
	state = core_state(number, &suspect);
	if (state.stream != 0 && !suspect &&
		!world.store.streams[state.stream].finalized)
		return false;
	state.set = true;
	state.stream = new_stream();
	state.offset = 0;
	say("lane %u opens stream %u", number, state.stream);
	if (!rule(RULE_SAVED_STATE))
	{
		world.lanes[number].new_state = state;
		say(", does not save it; ");
		return false;
	}
	queue_save_state(number, state);
	say(" and saves it");
	return true;
}

static Zombie
request_for(const Batch *batch)
{
	Zombie		request = {batch->events, batch->lane, batch->token, 0, 0};
	bool		suspect;
	BackendState state = core_state(batch->lane, &suspect);

	if (config->store->streams)
	{
		request.stream = state.stream;
		request.offset = state.offset;
	}
	return request;
}

/* No earlier attempt lands from here on. */
static void
fence(const Batch *batch)
{
	bool		suspect;
	BackendState state = core_state(batch->lane, &suspect);
	bool		all = batch->history == TL_OVERLAP && rule(RULE_FENCE_ALL);

	if (!rule(RULE_FENCE) || config->store->unseen)
		return;
	if (config->store->streams && state.stream != 0)
		world.store.streams[state.stream].finalized = true;
	for (int i = 0; i < ZOMBIES; i++)
	{
		Zombie	   *zombie = &world.store.zombies[i];

		if (all || (zombie->lane == batch->lane && !config->store->streams))
			memset(zombie, 0, sizeof(Zombie));
	}
}

/*
 * What is absent is sent once more under its token, so that what comes late
 * under it finds that it is known.  false: this request may come late itself.
 */
static bool
use_up(const Batch *batch)
{
	Zombie		request = {batch->events & ~present(), batch->lane,
	batch->token, 0, 0};
	unsigned	mishap = request.events && world.faults > 0 ? choose(3) : 0;

	if (request.events == 0)
		return true;
	if (mishap > 0)
		spend_fault();
	switch (mishap)
	{
		case 0:
			say("(%s once more under token %u) ",
				set_text(request.events), batch->token);
			take(&request, 0);
			return true;
		case 1:
			say("(its token is used up, and the rows are lost) ");
			log_token(batch->token, 0);
			return true;
		default:
			say("no answer, what should use its token up is on its way");
			add_zombie(&request);
			return false;
	}
}

/*
 * TlBackend.resolve.  A backend with streams asks the stream of a batch that
 * may be there as a whole; else the table.  false: it could not be done.
 */
bool
store_resolve(const Batch *batch, Fates *part)
{
	bool		suspect;
	BackendState state = core_state(batch->lane, &suspect);
	const Stream *stream = &world.store.streams[state.stream];
	BackendState none = {true, 0, 0};

	fence(batch);
	if (config->store->unseen && rule(RULE_USED_UP) && !use_up(batch))
		return false;
	if (config->store->streams)
		world.lanes[batch->lane].new_state = none;
	if (!config->store->streams || batch->history == TL_OVERLAP)
		fates_mark(part, present(), ROW_LANDED);
	else if (state.stream != 0 && stream->rows > state.offset)
		fates_mark(part, batch->events, ROW_LANDED);
	return true;
}

/* The request is executed, and the answer arrives. */
static uint8
execute(const Batch *batch, Fates *part, EventSet marked)
{
	Zombie		request = request_for(batch);
	const LoggedToken *seen = find_token(batch->token);

	if (config->store->logs && seen != NULL)
	{
		marked = rule(RULE_REPEATED_MARKS) ? seen->refused : 0;
		say(" (its token is known)");
	}
	refused(marked);			/* before the others are accepted */
	take(&request, marked);
	accepted(batch->events & ~marked);
	fates_mark(part, marked, ROW_REFUSED);
	if (config->store->streams)
	{
		BackendState *state = &world.lanes[batch->lane].new_state;

		state->set = true;
		state->stream = request.stream;
		state->offset = request.offset + __builtin_popcount(request.events);
	}
	return TL_OK;
}

/*
 * May we say that nothing is stored?  Of a batch that is not fresh only after
 * a look, with a fence; what is there is marked.
 */
static bool
make_sure(const Batch *batch, Fates *part)
{
	if (batch->history == TL_FRESH || !rule(RULE_TRUE_RETRY))
		return true;
	if (!config->store->resolve || config->store->unseen)
		return false;
	fence(batch);
	fates_mark(part, present(), ROW_LANDED);
	return true;
}

static uint8
refuse(const Batch *batch, Fates *part, EventSet named, uint8 outcome)
{
	bool		alone;

	if (!make_sure(batch, part))
		return TL_UNKNOWN;
	if (part->landed_marks == part->selected)
		return TL_OK;
	if (named & ~fates_events(part, part->selected & ~part->landed_marks))
		return impossible();
	alone = (batch->events & (batch->events - 1)) == 0;
	refused(named == 0 && alone ? batch->events : named);
	fates_mark(part, named, ROW_REFUSED);
	return outcome;
}

static EventSet
one_of(EventSet events)
{
	unsigned	n = choose((unsigned) __builtin_popcount(events));

	while (n-- > 0)
		events &= events - 1;
	return events & -events;
}

static void
become_zombie(const Batch *batch)
{
	Zombie		request = request_for(batch);

	add_zombie(&request);
}

static void
lose_reply(const Batch *batch)
{
	Zombie		request = request_for(batch);

	take(&request, 0);
}

/* One event lands; which of them is not for us to choose. */
static uint8
half(const Batch *batch, Fates *part, Mishap mishap)
{
	Zombie		request = request_for(batch);

	if (!config->store->halves || batch->history != TL_FRESH ||
		(batch->events & (batch->events - 1)) == 0)
		return impossible();
	request.events = one_of(batch->events);
	say("only %s is taken", set_text(request.events));
	take(&request, 0);
	if (mishap != HALF_LOST)
		fates_mark(part, request.events, ROW_LANDED);
	return mishap == HALF_RETRY ? TL_RETRY : TL_UNKNOWN;
}

static uint8
no_connection(const Batch *batch)
{
	say("no connection");
	if (batch->history == TL_FRESH || !rule(RULE_TRUE_RETRY))
		return TL_RETRY;
	return TL_UNKNOWN;
}

static uint8
refusal(const Batch *batch, Fates *part, Mishap mishap)
{
	EventSet	one;

	switch (mishap)
	{
		case TOO_LARGE:
			say("too large");
			return refuse(batch, part, 0, TL_SPLIT);
		case REFUSED_WHOLE:
			say("refused");
			return refuse(batch, part, 0, TL_REFUSED);
		case REFUSED_ALL:
			say("all refused by name");
			return refuse(batch, part, batch->events, TL_REFUSED);
		case REFUSED_ONE:
			one = one_of(batch->events);
			say("%s refused by name", set_text(one));
			return refuse(batch, part, one, TL_REFUSED);
		default:
			one = one_of(batch->events);
			if (config->store->streams || one == batch->events ||
				batch->history != TL_FRESH)
				return impossible();
			say("%s refused by name, the others taken", set_text(one));
			return execute(batch, part, one);
	}
}

/* TlBackend.send */
uint8
store_send(const Batch *batch, Fates *part)
{
	Mishap		mishap = world.faults > 0 ? choose(MISHAPS) : NOTHING;

	if (mishap == NOTHING)
	{
		say("taken");
		return execute(batch, part, 0);
	}
	spend_fault();
	switch (mishap)
	{
		case NO_CONNECTION:
			return no_connection(batch);
		case LOST_REQUEST:
			say("the request is lost");
			return TL_UNKNOWN;
		case LOST_REPLY:
			say("taken, but the reply is lost");
			lose_reply(batch);
			return TL_UNKNOWN;
		case LATE_REQUEST:
			say("no answer, it is still on its way");
			become_zombie(batch);
			return TL_UNKNOWN;
		case DEATH:
			say("the lane dies, it is still on its way");
			become_zombie(batch);
			lane_end(batch->lane);
			return TL_UNKNOWN;
		case TORN:
			if (!config->store->tears)
				return impossible();
			say("the store logs the token and loses the rows");
			log_token(batch->token, 0);
			return TL_UNKNOWN;
		case HALF_LOST:
		case HALF_UNKNOWN:
		case HALF_RETRY:
			return half(batch, part, mishap);
		default:
			return refusal(batch, part, mishap);
	}
}

/* Time passes: the store forgets the tokens, and the lanes know it. */
void
store_forget_tokens(void)
{
	Store	   *store = &world.store;

	memset(store->log, 0, sizeof(store->log));
	for (uint8 i = 0; i < config->lanes; i++)
	{
		Lane	   *lane = &world.lanes[i];

		world.db.lanes[i].part.old = world.db.lanes[i].part.durable;
		world.standby.lanes[i].part.old = world.standby.lanes[i].part.durable;
		lane->row.part.old = lane->row.part.durable;
		lane->old = lane->has_attempt;
	}
	if (rule(RULE_DEAD_TOKEN))
		memset(store->zombies, 0, sizeof(store->zombies));
}
