/*-------------------------------------------------------------------------
 *
 * test_window.c
 *	  Snapshot windows: every transaction lies in exactly one.
 *
 * sources: src/window.c
 * flags: -DFRONTEND
 *
 * A history is a sequence of begins and ends of transactions.  All histories
 * of four transactions are played with a snapshot after every step or not, in
 * each way; longer ones at random.  Whether a transaction commits or aborts
 * is nothing that a snapshot shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "unit.h"
#include "window.h"

#define FIRST_XID		3
#define MAX_XACTS		24
#define MAX_SNAPSHOTS	(2 * MAX_XACTS + 2)

typedef struct History
{
	int			nxacts;
	int			begun;
	bool		finished[MAX_XACTS];
	int			nsnapshots;
	WindowSnapshot snapshots[MAX_SNAPSHOTS];
	uint64		xips[MAX_SNAPSHOTS][MAX_XACTS];
} History;

static History history;
static int	wrong;				/* of the properties below */
static int	played;

static uint64
random_number(void)
{
	static uint64 state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void
begin_history(int nxacts)
{
	WindowSnapshot *first = &history.snapshots[0];

	memset(&history, 0, sizeof(history));
	history.nxacts = nxacts;
	history.nsnapshots = 1;
	first->xmin = first->xmax = FIRST_XID;
	first->xip = history.xips[0];
}

/* As the server takes it. */
static void
take_snapshot(void)
{
	WindowSnapshot *s = &history.snapshots[history.nsnapshots];

	s->xip = history.xips[history.nsnapshots++];
	s->nxip = 0;
	s->xmax = FIRST_XID + history.begun;
	s->xmin = s->xmax;
	for (int i = 0; i < history.begun; i++)
	{
		if (history.finished[i])
			continue;
		if (s->nxip == 0)
			s->xmin = FIRST_XID + i;
		s->xip[s->nxip++] = FIRST_XID + i;
	}
}

/* Is the transaction among them?  Also checks that they ascend. */
static bool
in_intervals(const XidInterval *intervals, int n, uint64 xid)
{
	bool		found = false;

	for (int i = 0; i < n; i++)
	{
		if (intervals[i].lo > intervals[i].hi ||
			(i > 0 && intervals[i].lo <= intervals[i - 1].hi))
			wrong++;
		found |= xid >= intervals[i].lo && xid <= intervals[i].hi;
	}
	return found;
}

static bool
in_window(const WindowSnapshot *from, const WindowSnapshot *to,
		  const WindowSnapshot *previous, uint64 xid)
{
	XidInterval *intervals;
	int			n = window_intervals(from, to, previous, &intervals);
	bool		found = in_intervals(intervals, n, xid);

	pg_free(intervals);
	return found;
}

/* Each that has ended by the last snapshot is read in one window only. */
static void
check_windows(void)
{
	const WindowSnapshot *s = history.snapshots;
	int			last = history.nsnapshots - 1;

	for (uint64 xid = FIRST_XID; xid < FIRST_XID + history.nxacts + 2; xid++)
	{
		int			times = 0;

		for (int i = 0; i < last; i++)
			times += in_window(&s[i], &s[i + 1], NULL, xid) &&
				window_visible(&s[i + 1], xid);
		if (times != (window_visible(&s[last], xid) ? 1 : 0))
			wrong++;
	}
}

/*
 * A look that knows an earlier one: what has ended since is in it, what is
 * still running is not.
 */
static void
check_looks(void)
{
	const WindowSnapshot *s = history.snapshots;

	for (int i = 0; i + 2 < history.nsnapshots; i++)
	{
		const WindowSnapshot *from = &s[i];
		const WindowSnapshot *previous = &s[i + 1];
		const WindowSnapshot *to = &s[i + 2];

		for (int x = 0; x < history.nxacts; x++)
		{
			uint64		xid = FIRST_XID + x;
			bool		found = in_window(from, to, previous, xid);

			if (window_visible(to, xid) && !window_visible(previous, xid) &&
				!found)
				wrong++;
			if (!window_visible(to, xid) && xid < previous->xmax && found)
				wrong++;
		}
	}
}

/* By trying every transaction. */
static bool
covers(const WindowSnapshot *outer, const WindowSnapshot *inner)
{
	for (int x = 0; x < MAX_XACTS + 2; x++)
		if (window_visible(inner, FIRST_XID + x) &&
			!window_visible(outer, FIRST_XID + x))
			return false;
	return true;
}

/*
 * "Yes" is always true.  "No" may be too careful where the inner snapshot has
 * seen more transactions begin, though none of them end.
 */
static void
check_covering(const WindowSnapshot *outer, const WindowSnapshot *inner)
{
	bool		answer = window_covers(outer, inner);
	bool		truth = covers(outer, inner);

	if (answer && !truth)
		wrong++;
	if (truth && !answer && outer->xmax >= inner->xmax)
		wrong++;
}

/* NB: a later snapshot covers every earlier one. */
static void
check_covers(void)
{
	const WindowSnapshot *s = history.snapshots;

	for (int i = 0; i < history.nsnapshots; i++)
	{
		for (int j = 0; j < history.nsnapshots; j++)
		{
			check_covering(&s[i], &s[j]);
			if (i >= j && !window_covers(&s[i], &s[j]))
				wrong++;
		}
	}
}

/* By trying every transaction. */
static bool
begins_before(const WindowSnapshot *from, const WindowSnapshot *to,
			  uint64 xid)
{
	for (uint64 x = FIRST_XID; x < xid; x++)
		if (window_visible(to, x) && !window_visible(from, x))
			return true;
	return false;
}

/* NB: "yes" may be too careful where what began before has not ended. */
static void
check_begins(void)
{
	const WindowSnapshot *s = history.snapshots;

	for (int i = 0; i < history.nsnapshots; i++)
	{
		for (int j = i; j < history.nsnapshots; j++)
		{
			for (uint64 x = FIRST_XID; x < FIRST_XID + MAX_XACTS + 2; x++)
			{
				bool		answer = window_begins_before(&s[i], &s[j], x);

				if (begins_before(&s[i], &s[j], x) && !answer)
					wrong++;
				if (answer && s[i].xmax >= x &&
					!begins_before(&s[i], &s[j], x))
					wrong++;
				if (answer && s[i].xmax >= s[j].xmax && s[i].nxip == 0)
					wrong++;
			}
		}
	}
}

static void
check_history(void)
{
	check_windows();
	check_looks();
	check_covers();
	check_begins();
	played++;
}

/* Plays on in each way; bit n of snapshots: one is taken after step n. */
static void
play_all(int step, unsigned snapshots)
{
	History		before = history;

	if (step == 2 * history.nxacts)
	{
		take_snapshot();
		check_history();
		return;
	}
	for (int x = -1; x < before.begun; x++)
	{
		if (x < 0 ? before.begun == before.nxacts : before.finished[x])
			continue;
		history = before;
		if (x < 0)
			history.begun++;
		else
			history.finished[x] = true;
		if (snapshots & (1u << step))
			take_snapshot();
		for (int i = 0; i < history.nsnapshots; i++)
			history.snapshots[i].xip = history.xips[i];
		play_all(step + 1, snapshots);
	}
	history = before;
}

static void
play_at_random(int nxacts)
{
	begin_history(nxacts);
	for (int step = 0; step < 2 * nxacts; step++)
	{
		int			x = random_number() % nxacts;

		if (history.begun < nxacts && random_number() % 2 == 0)
			history.begun++;
		else if (x < history.begun)
			history.finished[x] = true;
		if (random_number() % 3 == 0)
			take_snapshot();
	}
	take_snapshot();
	check_history();
}

static void
test_all_small(void)
{
	unit_test("all histories of four transactions");
	wrong = played = 0;
	for (unsigned snapshots = 0; snapshots < 1u << 8; snapshots++)
	{
		begin_history(4);
		play_all(0, snapshots);
	}
	CHECK_INT(played, 105 * 256);
	CHECK_INT(wrong, 0);
}

static void
test_random(void)
{
	unit_test("random histories");
	wrong = played = 0;
	for (int i = 0; i < 3000; i++)
		play_at_random(1 + i % MAX_XACTS);
	CHECK_INT(played, 3000);
	CHECK_INT(wrong, 0);
}

/* Snapshots of different histories, as a restore brings together. */
static void
test_strangers(void)
{
	unit_test("snapshots of different histories");
	wrong = 0;
	for (int i = 0; i < 20000; i++)
	{
		begin_history(6);
		for (int n = 0; n < 2; n++)
		{
			history.begun = random_number() % 7;
			for (int x = 0; x < 6; x++)
				history.finished[x] = random_number() % 2;
			take_snapshot();
		}
		check_covering(&history.snapshots[1], &history.snapshots[2]);
		check_covering(&history.snapshots[2], &history.snapshots[1]);
	}
	CHECK_INT(wrong, 0);
}

static void
test_parse(void)
{
	static const char *const bad[] = {
		"", ":", "3", "3:", "3:3", "::", "a:3:", "3:b:", "3:3:x", "3:3:,",
		"5:3:", "3:9:4,", "3:9:,4", "3:9:4,,5", "3:9:5,4", "3:9:4,4",
		"3:9:2", "3:9:9", "3:9:4 ", " 3:9:4", "3:9:-4", "-3:9:",
		"3:18446744073709551616:", "3:9:4:5"
	};
	WindowSnapshot s;

	unit_test("text of snapshots");
	CHECK(window_parse(WINDOW_BEGINNING, &s));
	CHECK(s.xmin == 3 && s.xmax == 3 && s.nxip == 0);
	CHECK(window_parse("10:20:10,14,19", &s));
	CHECK(s.xmin == 10 && s.xmax == 20 && s.nxip == 3);
	CHECK(s.xip[0] == 10 && s.xip[1] == 14 && s.xip[2] == 19);
	CHECK(window_visible(&s, 9) && window_visible(&s, 11));
	CHECK(!window_visible(&s, 14) && !window_visible(&s, 20));
	CHECK(window_parse("3:18446744073709551615:18446744073709551614", &s));
	CHECK(s.xip[0] == PG_UINT64_MAX - 1);
	for (int i = 0; i < lengthof(bad); i++)
		if (window_parse(bad[i], &s))
			CHECK_STR(bad[i], "refused");
}

int
main(void)
{
	test_parse();
	test_all_small();
	test_random();
	test_strangers();
	return unit_done();
}
