/*-------------------------------------------------------------------------
 *
 * model.h
 *	  A small world: a ledger, its lanes, a store, and what can go wrong.
 *
 * The world is one flat struct of bytes, so that it can be copied, compared
 * and hashed.  A transition changes it in place; where more than one thing
 * can happen, it asks choose() or fault(), and the search runs it again for
 * each answer.  Names are those of src/, so that the two can be held side by
 * side.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MODEL_H
#define MODEL_H

#include "postgres.h"

#include "part.h"
#include "tokenledger_backend.h"
#include "window.h"

#define EVENTS		3
#define LANES		2
#define FAULTS		3
#define ZOMBIES		FAULTS
#define TOKENS		16
#define STREAMS		8

#define END			EVENTS		/* the position behind every event */

typedef uint8 EventSet;			/* bit i: event i, whose position is i */
typedef uint8 Snapshot;			/* the events that it sees, and by XMAX_SHIFT
								 * how many transactions had begun */
typedef uint8 Token;			/* 0: none */

#define XMAX_SHIFT	4

enum {LANE_DOWN, LANE_IDLE, LANE_CLAIMED};

/* The rules that can be switched off. */
typedef enum Rule
{
	RULE_NONE,
	RULE_RANDOM_TOKEN,
	RULE_NO_COUNTER,
	RULE_DURABLE_TOKEN,
	RULE_ANOTHER_TOKEN,
	RULE_RECOVERED_TOKEN,
	RULE_TOKEN_AGE,
	RULE_SAME_CUT,
	RULE_CHECKSUM,
	RULE_NO_RECUT,
	RULE_FENCE,
	RULE_FENCE_ALL,
	RULE_USED_UP,
	RULE_LAST_TOKEN,
	RULE_DURABLE_CLAIM,
	RULE_SNAPSHOT,
	RULE_TIMELINE,
	RULE_TIMELINE_HELD,
	RULE_TIMELINE_PREPARED,
	RULE_TIMELINE_STATE,
	RULE_SAVED_STATE,
	RULE_FORGOTTEN_STATE,
	RULE_HEARING,
	RULE_TRUE_RETRY,
	RULE_REPEATED_MARKS,
	RULE_DEAD_TOKEN,
	RULE_NOT_INSERTED_AGAIN
} Rule;

/* What a class of stores can do. */
typedef struct StoreClass
{
	const char *name;
	uint8		guarantee;
	bool		resolve;		/* can be asked */
	bool		logs;			/* drops a batch whose token it has seen */
	bool		tears;			/* may log the token without the rows */
	bool		halves;			/* may take a batch in part */
	bool		streams;		/* takes appends to a stream, by offset */
	bool		unseen;			/* a fence does not find what is on its way */
} StoreClass;

typedef struct Config
{
	const char *name;
	const StoreClass *store;
	uint8		events;
	uint8		lanes;
	uint8		claim_rows;
	uint8		batch_rows;
	uint8		faults;			/* at most so many; 0: FAULTS */
	Rule		off;			/* the rule that is broken; RULE_NONE */
	unsigned	at_least;		/* states, or the model has shrunk */
} Config;

/* What a backend has saved: the stream it appends to, and where. */
typedef struct BackendState
{
	uint8		set;
	uint8		stream;			/* 0: none */
	uint8		offset;
} BackendState;

typedef struct QueueRange
{
	uint8		claimed;
	Snapshot	from;
	Snapshot	to;
	uint8		done;			/* number of positions that are behind it */
	uint8		last;
	uint8		rows;
	uint8		done_rows;
	uint8		history;
} QueueRange;

typedef struct QueuePart
{
	uint8		durable;
	uint8		last;
	uint8		rows;
	uint8		checksum;		/* the events in their order */
	Token		token;
	uint8		history;
	uint8		old;			/* the token is older than it is valid */
} QueuePart;

typedef struct LaneRow
{
	QueueRange	range;
	QueuePart	part;
	EventSet	held;
	uint8		held_suspect;
	BackendState state;
	uint8		state_timeline;
	uint8		counter;		/* only where tokens are counted */
} LaneRow;

/* What is durable on the ledger's side. */
typedef struct Database
{
	EventSet	committed;
	EventSet	prepared;		/* transactions that outlive a fail-over */
	Snapshot	from;			/* the target's cursor */
	Snapshot	to;
	uint8		last;
	uint8		has_suspect;
	Snapshot	suspect_to;
	uint8		timeline;		/* of the target's row */
	uint8		forwarded;
	EventSet	dead;
	LaneRow		lanes[LANES];
} Database;

typedef struct Stretch
{
	uint8		begin;
	uint8		end;
} Stretch;

/* A Part of src/part.h, in bytes. */
typedef struct Fates
{
	uint8		nrows;
	uint8		nheld;
	uint8		event[EVENTS];	/* of each row */
	uint8		fate[EVENTS];
	uint8		heard;			/* sets of rows from here on */
	uint8		selected;
	uint8		landed_marks;
	uint8		refused_marks;
	uint8		depth;
	Stretch		stack[EVENTS + 3];
} Fates;

/* A process; all of it is lost when it ends. */
typedef struct Lane
{
	uint8		phase;
	uint8		recovered;
	uint8		claim_was_full;
	uint8		split_rows;
	uint8		pass_over_held;
	uint8		held_crowd;
	uint8		held_heard;
	uint8		has_snapshot;	/* only where it is taken before the lock */
	Snapshot	snapshot;
	LaneRow		row;			/* mirror of the lane's row */
	BackendState new_state;
	uint8		has_part;
	uint8		taken;
	uint8		batches;		/* any attempt was made */
	EventSet	unread_held;
	Fates		part;
	uint8		has_attempt;
	uint8		attempt_base;
	Token		token;
	uint8		history;
	uint8		old;
	uint8		ask_only;
} Lane;

/* A request that nobody waits for any more and that may still arrive. */
typedef struct Zombie
{
	EventSet	events;			/* empty: none */
	uint8		lane;
	Token		token;
	uint8		stream;
	uint8		offset;
} Zombie;

typedef struct LoggedToken
{
	Token		token;
	EventSet	refused;		/* what was marked when it was logged */
} LoggedToken;

typedef struct Stream
{
	uint8		rows;
	uint8		finalized;
} Stream;

typedef struct Store
{
	uint8		copies[EVENTS];
	uint8		trial[EVENTS];	/* see store.c */
	LoggedToken log[TOKENS];
	Stream		streams[STREAMS + 1];	/* by number, from 1 */
	Zombie		zombies[ZOMBIES];
} Store;

typedef struct World
{
	uint8		faults;			/* that may still happen */
	uint8		timeline;
	uint8		cut;			/* the standby hears no more */
	EventSet	gone;			/* commits that a fail-over has lost */
	Database	db;
	Database	standby;		/* once it is cut off */
	Store		store;
	Lane		lanes[LANES];
} World;

/* A batch on its way, as send and resolve see it. */
typedef struct Batch
{
	uint8		lane;
	uint8		history;
	Token		token;
	EventSet	events;
} Batch;

extern World world;
extern const Config *config;

static inline bool
rule(Rule which)
{
	return config->off != which;
}

/* search.c: one of n ways to go on; may something go wrong now? */
extern unsigned choose(unsigned n);
extern bool fault(const char *fmt,...)
			__attribute__((format(printf, 1, 2)));
extern void spend_fault(void);
extern uint8 impossible(void);
extern void say(const char *fmt,...)
			__attribute__((format(printf, 1, 2)));
extern void violated(const char *fmt,...)
			__attribute__((format(printf, 1, 2)));
extern const char *set_text(EventSet events);

/* lane.c */
extern bool lane_cycle(uint8 number);
extern void lane_start(uint8 number);
extern void lane_end(uint8 number);

/* fates.c */
extern void fates_create(Fates *fates, const uint8 *events, uint8 n,
						 uint8 nheld, bool heard);
extern bool fates_select(Fates *fates);
extern void fates_mark(Fates *fates, EventSet events, uint8 fate);
extern void fates_forget_marks(Fates *fates);
extern bool fates_apply(Fates *fates, uint8 outcome, bool fresh);
extern void fates_apply_resolved(Fates *fates, bool recent);
extern EventSet fates_events(const Fates *fates, uint8 rows);
extern EventSet fates_all(const Fates *fates);
extern EventSet fates_with(const Fates *fates, uint8 fate);

/* queue.c */
extern Snapshot queue_snapshot(void);
extern bool queue_look(void);
extern void queue_open(uint8 number);
extern void queue_reload(uint8 number);
extern bool queue_claim(uint8 number);
extern void queue_settle(uint8 number, EventSet held, bool more);
extern void queue_begin_part(uint8 number, const QueuePart *part,
							 EventSet events);
extern void queue_distrust_range(uint8 number);
extern void queue_save_state(uint8 number, BackendState state);
extern uint8 queue_read(uint8 number, bool with_held, uint8 upto,
						uint8 limit, uint8 *events, uint8 *n);
extern void queue_check_accounting(void);
extern EventSet queue_owned(void);

/* store.c */
extern bool store_prepare_stream(uint8 number);
extern uint8 store_send(const Batch *batch, Fates *part);
extern bool store_resolve(const Batch *batch, Fates *part);
extern void store_land(const Zombie *zombie);
extern void store_forget_tokens(void);
extern bool store_has_convicted(uint8 event);

/* world.c */
extern Token random_token(void);
extern uint8 new_stream(void);
extern void rename_everything(void);
extern bool take_step(unsigned action);
extern unsigned count_actions(void);
extern void check_invariants(void);
extern bool quiescent(void);

/* configs.c */
extern const Config configs[];
extern const unsigned nconfigs;

#endif							/* MODEL_H */
