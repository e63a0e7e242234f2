/*-------------------------------------------------------------------------
 *
 * configs.c
 *	  Which worlds are searched: classes of stores, sizes, broken rules.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

static const StoreClass asked = {
	.name = "asked", .guarantee = TL_PER_ATTEMPT, .resolve = true,
	.halves = true
};
static const StoreClass asked_torn = {
	.name = "asked-torn", .guarantee = TL_PER_ATTEMPT, .resolve = true,
	.halves = true, .logs = true, .tears = true
};
static const StoreClass asked_unseen = {
	.name = "asked-unseen", .guarantee = TL_PER_ATTEMPT, .resolve = true,
	.halves = true, .logs = true, .tears = true, .unseen = true
};
static const StoreClass blind = {
	.name = "blind", .guarantee = TL_PER_ATTEMPT, .halves = true
};
static const StoreClass batch = {
	.name = "batch", .guarantee = TL_PER_BATCH, .resolve = true, .logs = true
};
static const StoreClass batch_blind = {
	.name = "batch-blind", .guarantee = TL_PER_BATCH, .logs = true
};
static const StoreClass event = {
	.name = "event", .guarantee = TL_PER_EVENT, .resolve = true
};
static const StoreClass stream = {
	.name = "stream", .guarantee = TL_PER_ATTEMPT, .resolve = true,
	.streams = true
};

/*
 * Events, lanes, claim_rows, batch_rows, faults.  Where there are fewer than
 * three faults, the search of all would take longer than a test may; --full
 * has them everywhere.
 */
#define SINGLE		2, 1, 2, 1, 3
#define PAIR		2, 1, 2, 2, 3
#define TRIPLE		3, 1, 3, 2, 2
#define TRIPLE_3	3, 1, 3, 2, 3
#define TWO_LANES	2, 2, 1, 2, 2
#define TWO_LANES_3	2, 2, 1, 2, 3

const Config configs[] = {
	{"asked/single", &asked, SINGLE, RULE_NONE, 79000},
	{"asked/pair", &asked, PAIR, RULE_NONE, 75000},
	{"asked/triple", &asked, TRIPLE_3, RULE_NONE, 950000},
	{"asked/lanes", &asked, TWO_LANES, RULE_NONE, 133000},
	{"asked-torn/pair", &asked_torn, PAIR, RULE_NONE, 86000},
	{"asked-torn/triple", &asked_torn, TRIPLE, RULE_NONE, 125000},
	{"asked-unseen/pair", &asked_unseen, PAIR, RULE_NONE, 63000},
	{"asked-unseen/triple", &asked_unseen, TRIPLE, RULE_NONE, 98000},
	{"asked-unseen/lanes", &asked_unseen, TWO_LANES, RULE_NONE, 98000},
	{"blind/pair", &blind, PAIR, RULE_NONE, 95000},
	{"blind/triple", &blind, TRIPLE, RULE_NONE, 140000},
	{"batch/single", &batch, SINGLE, RULE_NONE, 100000},
	{"batch/pair", &batch, PAIR, RULE_NONE, 93000},
	{"batch/triple", &batch, TRIPLE_3, RULE_NONE, 1200000},
	{"batch/lanes", &batch, TWO_LANES, RULE_NONE, 144000},
	{"batch-blind/pair", &batch_blind, PAIR, RULE_NONE, 110000},
	{"batch-blind/triple", &batch_blind, TRIPLE, RULE_NONE, 140000},
	{"event/single", &event, SINGLE, RULE_NONE, 75000},
	{"event/pair", &event, PAIR, RULE_NONE, 70000},
	{"event/triple", &event, TRIPLE, RULE_NONE, 100000},
	{"event/lanes", &event, TWO_LANES, RULE_NONE, 100000},
	{"stream/single", &stream, SINGLE, RULE_NONE, 180000},
	{"stream/pair", &stream, PAIR, RULE_NONE, 165000},
	{"stream/triple", &stream, TRIPLE, RULE_NONE, 212000},
	{"stream/lanes", &stream, TWO_LANES, RULE_NONE, 340000},

	/* Each of these must find something. */
	{"without random tokens", &asked_torn, PAIR, RULE_RANDOM_TOKEN, 0},
	{"with counted tokens", &batch, TRIPLE_3, RULE_NO_COUNTER, 0},
	{"with a token in memory", &batch, PAIR, RULE_DURABLE_TOKEN, 0},
	{"with one token for other events",
		&asked_torn, PAIR, RULE_ANOTHER_TOKEN, 0},
	{"with a recovered token for a rest",
		&batch_blind, TRIPLE_3, RULE_RECOVERED_TOKEN, 0},
	{"with old tokens trusted", &batch, PAIR, RULE_TOKEN_AGE, 0},
	{"with another cut", &batch, SINGLE, RULE_SAME_CUT, 0},
	{"without a checksum", &batch, SINGLE, RULE_CHECKSUM, 0},
	{"with a re-cut while unknown", &batch, PAIR, RULE_NO_RECUT, 0},
	{"without a fence", &asked, PAIR, RULE_FENCE, 0},
	{"with a fence of one lane", &asked, TWO_LANES_3, RULE_FENCE_ALL, 0},
	{"with tokens that are not used up",
		&asked_unseen, PAIR, RULE_USED_UP, 0},
	{"with the last token forgotten",
		&asked_unseen, TRIPLE_3, RULE_LAST_TOKEN, 0},
	{"with a claim in memory", &asked, PAIR, RULE_DURABLE_CLAIM, 0},
	{"with a snapshot before the lock", &asked, TWO_LANES, RULE_SNAPSHOT, 0},
	{"with a new timeline trusted", &asked, PAIR, RULE_TIMELINE, 0},
	{"with held events trusted", &asked, PAIR, RULE_TIMELINE_HELD, 0},
	{"with prepared events trusted", &asked, PAIR, RULE_TIMELINE_PREPARED, 0},
	{"with old state trusted", &stream, TRIPLE_3, RULE_TIMELINE_STATE, 0},
	{"with state saved after its use", &stream, PAIR, RULE_SAVED_STATE, 0},
	{"with state that is remembered", &stream, PAIR, RULE_FORGOTTEN_STATE, 0},
	{"without a second hearing", &event, PAIR, RULE_HEARING, 0},
	{"with a false RETRY", &batch, PAIR, RULE_TRUE_RETRY, 0},
	{"with marks that are forgotten", &batch, PAIR, RULE_REPEATED_MARKS, 0},
	{"with requests that outlive tokens", &batch, PAIR, RULE_DEAD_TOKEN, 0},
	{"with lost events inserted again",
		&asked, PAIR, RULE_NOT_INSERTED_AGAIN, 0},
};
const unsigned nconfigs = sizeof(configs) / sizeof(configs[0]);
