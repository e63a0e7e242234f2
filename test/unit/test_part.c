/*-------------------------------------------------------------------------
 *
 * test_part.c
 *	  The fates of a part's events, for every small part and kind of store.
 *
 * sources: src/part.c
 *
 * A store refuses a fixed set of events, in one of several manners; before it
 * gets there it may answer wrongly a few times.  Every part of up to six
 * events is sent to every such store, and what became of each event is
 * compared with what the store really took.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "part.h"
#include "unit.h"

#define MAX_ROWS		6
#define MAX_TROUBLE		7
#define MAX_ATTEMPTS	1000

typedef enum Manner
{
	UNNAMED,					/* refuses the batch */
	NAMED,						/* the same, and names the bad ones */
	NAMED_FIRST,				/* and names the first bad one */
	NAMED_OTHERS_LAND,
	TOO_LARGE,					/* splits, down to the event */
	HALF_LANDS,					/* takes good ones in front, then fails */
	MANNERS
} Manner;

typedef enum Trouble
{
	REFUSES_ALL,
	NAMES_ALL,
	FAILS,
	FORGETS,
	SPLITS,
	TROUBLES
} Trouble;

typedef struct Store
{
	int			nrows;
	int			nheld;			/* rows that an earlier part has left over */
	bool		heard;			/* and others were taken since */
	unsigned	bad;			/* set of rows */
	Manner		manner;
	Trouble		trouble;
	int			troubled;		/* attempts that it will last */
	bool		was_troubled;	/* since the suspects were last retried */
	unsigned	landed;
	int			attempts;
	int			landed_at;		/* last attempt that took an event */
	int			refused_at[MAX_ROWS];	/* alone, or by name, the first time;
										 * 0: never */
} Store;

static int	wrong;				/* findings of the current test */
static int	parts;				/* that were sent */

static void
expect(bool ok, const Store *store, const char *what)
{
	if (ok)
		return;
	if (wrong++ < 10)
		printf("# %s: %d rows, bad %x, manner %d, trouble %d, %d attempts\n",
			   what, store->nrows, store->bad, store->manner, store->trouble,
			   store->attempts);
}

static bool
is_bad(const Store *store, int32 row)
{
	return (store->bad & (1u << row)) != 0;
}

static int
count_bad(const Store *store, const Part *part)
{
	int			bad = 0;

	for (int32 i = 0; i < part->nselected; i++)
		bad += is_bad(store, part->selected[i]);
	return bad;
}

/* The first rows of the attempt that are good land; max of them. */
static void
take(Store *store, Part *part, int max, bool mark)
{
	for (int32 i = 0; i < part->nselected && max > 0; i++)
	{
		int32		row = part->selected[i];

		if (is_bad(store, row))
			continue;
		store->landed |= 1u << row;
		store->landed_at = store->attempts;
		max--;
		if (mark)
			part_mark(part, i, ROW_LANDED, NULL);
	}
}

static void
refuse(Store *store, int32 row)
{
	if (store->refused_at[row] == 0)
		store->refused_at[row] = store->attempts;
}

static void
name_bad(Store *store, Part *part, int max)
{
	for (int32 i = 0; i < part->nselected && max > 0; i++)
	{
		if (!is_bad(store, part->selected[i]))
			continue;
		part_mark(part, i, ROW_REFUSED, "bad");
		refuse(store, part->selected[i]);
		max--;
	}
}

static TlOutcome
answer_troubled(Store *store, Part *part)
{
	store->troubled--;
	store->was_troubled = true;
	switch (store->trouble)
	{
		case NAMES_ALL:
			for (int32 i = 0; i < part->nselected; i++)
				part_mark(part, i, ROW_REFUSED, "trouble");
			return TL_REFUSED;
		case FAILS:
			return TL_RETRY;
		case FORGETS:
			return TL_UNKNOWN;
		case SPLITS:
			return part->nselected > 1 ? TL_SPLIT : TL_RETRY;
		default:
			return TL_REFUSED;
	}
}

static TlOutcome
answer_bad(Store *store, Part *part)
{
	switch (store->manner)
	{
		case NAMED:
			name_bad(store, part, MAX_ROWS);
			return TL_REFUSED;
		case NAMED_FIRST:
			name_bad(store, part, 1);
			return TL_REFUSED;
		case NAMED_OTHERS_LAND:
			take(store, part, MAX_ROWS, false);
			name_bad(store, part, MAX_ROWS);
			return TL_OK;
		case TOO_LARGE:
			return TL_SPLIT;
		case HALF_LANDS:
			take(store, part, (part->nselected + 1) / 2, true);
			return part->nmarked > 0 ? TL_RETRY : TL_REFUSED;
		default:
			return TL_REFUSED;
	}
}

static TlOutcome
answer(Store *store, Part *part)
{
	store->attempts++;
	if (store->troubled > 0)
		return answer_troubled(store, part);
	if (count_bad(store, part) > 0)
	{
		if (part->nselected == 1)
			refuse(store, part->selected[0]);
		return answer_bad(store, part);
	}
	take(store, part, MAX_ROWS, false);
	return TL_OK;
}

static void
check_selection(const Store *store, const Part *part)
{
	for (int32 i = 0; i < part->nselected; i++)
	{
		int32		row = part->selected[i];

		expect(row >= 0 && row < part->nrows, store, "no such row");
		expect(i == 0 || row > part->selected[i - 1], store,
			   "rows do not ascend");
		expect((store->landed & (1u << row)) == 0, store,
			   "sent again what had landed");
	}
}

static void
check_counts(const Store *store, const Part *part)
{
	int32		counts[4] = {0};

	for (int32 row = 0; row < part->nrows; row++)
		counts[part->fates[row]]++;
	expect(memcmp(counts, part->counts, sizeof(counts)) == 0, store,
		   "counts are not those of the fates");
}

/*
 * What must be true of any store.  Only bad events are left over as suspects,
 * and only if nothing was accepted after they had been refused.
 */
static void
check_fates(const Store *store, const Part *part)
{
	for (int32 row = 0; row < part->nrows; row++)
	{
		RowFate		fate = part->fates[row];
		bool		landed = (store->landed & (1u << row)) != 0;
		bool		heard = store->heard && row < store->nheld;

		expect(fate != ROW_PENDING, store, "an event was left out");
		expect((fate == ROW_LANDED) == landed, store,
			   "the fate is not what happened");
		expect(fate != ROW_REFUSED || is_bad(store, row), store,
			   "a good event became a dead letter");
		expect(fate != ROW_REFUSED || store->landed != 0 || heard, store,
			   "a dead letter of a store that took nothing");
		expect(fate != ROW_REFUSED || part->reasons[row] != NULL, store,
			   "a dead letter has no reason");
		expect(landed == !is_bad(store, row), store,
			   "a good event was not taken");
		if (is_bad(store, row) &&
			(heard || store->refused_at[row] < store->landed_at))
			expect(fate == ROW_REFUSED, store,
				   "a bad event was not set aside");
	}
}

/* Sends until nothing is pending; suspects once more, as a lane does. */
static void
send_part(Store *store)
{
	Part	   *part = part_create(store->nrows);

	part_expect(part, store->nheld, store->heard);
	while (store->attempts < MAX_ATTEMPTS)
	{
		if (part_select(part) == 0)
		{
			if (!store->was_troubled || part->counts[ROW_SUSPECT] == 0)
				break;
			store->was_troubled = false;
			memset(store->refused_at, 0, sizeof(store->refused_at));
			part_retry_suspects(part);
			continue;
		}
		do
		{
			check_selection(store, part);
		} while (part_apply(part, answer(store, part), "refused", true) &&
				 store->attempts < MAX_ATTEMPTS);
		check_counts(store, part);
	}
	expect(store->attempts < MAX_ATTEMPTS, store, "it does not end");
	parts++;
	if (store->attempts < MAX_ATTEMPTS)
		check_fates(store, part);
}

/* To all stores that are otherwise like this one. */
static void
send_to_all_stores(const Store *like)
{
	for (unsigned bad = 0; bad < 1u << like->nrows; bad++)
	{
		for (Manner manner = 0; manner < MANNERS; manner++)
		{
			Store		store = *like;

			store.bad = bad;
			store.manner = manner;
			send_part(&store);
		}
	}
}

static void
test_stores(void)
{
	unit_test("stores that refuse events");
	wrong = parts = 0;
	for (int nrows = 1; nrows <= MAX_ROWS; nrows++)
		send_to_all_stores(&(Store) {.nrows = nrows});
	CHECK_INT(parts, (2 + 4 + 8 + 16 + 32 + 64) * MANNERS);
	CHECK_INT(wrong, 0);
}

static void
test_held(void)
{
	unit_test("events that an earlier part has left over");
	wrong = 0;
	for (int nrows = 1; nrows <= MAX_ROWS; nrows++)
		for (int nheld = 1; nheld <= nrows; nheld++)
			for (int heard = 0; heard < 2; heard++)
				send_to_all_stores(&(Store) {.nrows = nrows, .nheld = nheld,
					.heard = heard});
	CHECK_INT(wrong, 0);
}

/* Nobody is to blame for what a store says while it is broken. */
static void
test_troubled_stores(void)
{
	static const char *const names[TROUBLES] = {
		"a store that refuses everything for a while",
		"a store that names everything for a while",
		"a store that fails for a while",
		"a store whose answers are lost for a while",
		"a store that splits for a while"
	};

	for (Trouble trouble = 0; trouble < TROUBLES; trouble++)
	{
		unit_test(names[trouble]);
		wrong = 0;
		for (int troubled = 1; troubled <= MAX_TROUBLE; troubled++)
			for (int nrows = 1; nrows <= MAX_ROWS; nrows++)
				send_to_all_stores(&(Store) {.nrows = nrows,
					.trouble = trouble, .troubled = troubled});
		CHECK_INT(wrong, 0);
	}
}

/* What resolve marks is there, the rest is sent. */
static void
test_resolved(void)
{
	unit_test("resolve");
	wrong = 0;
	for (unsigned there = 0; there < 1u << MAX_ROWS; there++)
	{
		Store		store = {.nrows = MAX_ROWS, .landed = there};
		Part	   *part = part_create(MAX_ROWS);

		part_select(part);
		for (int32 row = 0; row < MAX_ROWS; row++)
			if (there & (1u << row))
				part_mark(part, row, ROW_LANDED, NULL);
		part_apply_resolved(part, there % 2 == 0);
		while (part_select(part) > 0)
		{
			check_selection(&store, part);
			part_apply(part, answer(&store, part), NULL, true);
		}
		check_fates(&store, part);
		expect(store.attempts == (there != (1u << MAX_ROWS) - 1), &store,
			   "not one attempt");
	}
	CHECK_INT(wrong, 0);
}

static void
test_marks(void)
{
	Part	   *part = part_create(2);

	unit_test("marks");
	CHECK_INT(part_select(part), 2);
	part_mark(part, 0, ROW_REFUSED, "first");
	part_mark(part, 0, ROW_LANDED, NULL);
	part_mark(part, 2, ROW_LANDED, NULL);
	part_mark(part, -1, ROW_LANDED, NULL);
	CHECK_INT(part->nmarked, 1);
	part_forget_marks(part);
	CHECK_INT(part->nmarked, 0);
	CHECK(part_apply(part, TL_UNKNOWN, NULL, true));
	CHECK_INT(part->nselected, 2);
	CHECK(!part_apply(part, TL_OK, NULL, true));
	CHECK_INT(part->counts[ROW_LANDED], 2);
	CHECK_INT(part_select(part), 0);
}

/* What was there before is no evidence against those refused now. */
static void
test_found(void)
{
	unit_test("events found in the store when others are refused");
	for (int fresh = 0; fresh < 2; fresh++)
	{
		Part	   *part = part_create(2);

		CHECK_INT(part_select(part), 2);
		part_mark(part, 0, ROW_LANDED, NULL);
		part_mark(part, 1, ROW_REFUSED, "refused");
		CHECK(!part_apply(part, TL_REFUSED, NULL, fresh));
		CHECK_INT(part->counts[ROW_LANDED], 1);
		CHECK_INT(part->counts[ROW_SUSPECT], fresh ? 0 : 1);
		CHECK_INT(part_select(part), fresh ? 1 : 0);
	}
}

int
main(void)
{
	test_marks();
	test_found();
	test_stores();
	test_held();
	test_troubled_stores();
	test_resolved();
	return unit_done();
}
