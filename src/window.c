/*-------------------------------------------------------------------------
 *
 * window.c
 *	  Snapshot windows: which transactions lie between two snapshots.
 *
 * A cursor that remembers the last id it has seen loses every transaction
 * that commits late.  A window is the exact answer: the transactions that are
 * finished in one snapshot and were not in an earlier one.  They are
 *
 *	- the late ones: in progress in the earlier snapshot, finished now;
 *	- the new ones: from the earlier snapshot's xmax up to the later one's.
 *
 * Every late transaction has a smaller id than every new one, so the
 * intervals below are sorted as they are produced and the reader needs no
 * merge.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "window.h"

static bool parse_xid(const char **text, char terminator, uint64 *xid);
static int	find_xid(const WindowSnapshot *snapshot, uint64 xid);
static int	late_intervals(const WindowSnapshot *from,
						   const WindowSnapshot *to, XidInterval *out);
static int	new_intervals(const WindowSnapshot *from,
						  const WindowSnapshot *to,
						  const WindowSnapshot *previous, XidInterval *out);

bool
window_parse(const char *text, WindowSnapshot *snapshot)
{
	const char *p = text;
	int			commas = 0;

	snapshot->nxip = 0;
	snapshot->xip = NULL;
	if (!parse_xid(&p, ':', &snapshot->xmin) ||
		!parse_xid(&p, ':', &snapshot->xmax) ||
		snapshot->xmin > snapshot->xmax)
		return false;
	for (const char *c = p; *c != '\0'; c++)
		commas += (*c == ',');
	snapshot->xip = palloc(sizeof(uint64) * (commas + 1));

	while (*p != '\0')
	{
		uint64		xid;
		bool		last = strchr(p, ',') == NULL;

		if (!parse_xid(&p, last ? '\0' : ',', &xid) ||
			xid < snapshot->xmin || xid >= snapshot->xmax)
			return false;
		if (snapshot->nxip > 0 && xid <= snapshot->xip[snapshot->nxip - 1])
			return false;
		snapshot->xip[snapshot->nxip++] = xid;
		if (!last && *p == '\0')
			return false;
	}
	return true;
}

bool
window_visible(const WindowSnapshot *snapshot, uint64 xid)
{
	if (xid < snapshot->xmin)
		return true;
	if (xid >= snapshot->xmax)
		return false;
	return find_xid(snapshot, xid) < 0;
}

bool
window_covers(const WindowSnapshot *outer, const WindowSnapshot *inner)
{
	if (outer->xmax < inner->xmax)
		return false;
	for (int i = 0; i < outer->nxip; i++)
	{
		if (window_visible(inner, outer->xip[i]))
			return false;
	}
	return true;
}

bool
window_begins_before(const WindowSnapshot *from, const WindowSnapshot *to,
					 uint64 xid)
{
	for (int i = 0; i < from->nxip && from->xip[i] < xid; i++)
	{
		if (window_visible(to, from->xip[i]))
			return true;
	}
	return from->xmax < xid && from->xmax < to->xmax;
}

int
window_intervals(const WindowSnapshot *from, const WindowSnapshot *to,
				 const WindowSnapshot *previous, XidInterval **intervals)
{
	int			most = from->nxip + 1 + (previous ? to->nxip : 0);
	XidInterval *out = palloc(sizeof(XidInterval) * most);
	int			n = late_intervals(from, to, out);

	n += new_intervals(from, to, previous, out + n);
	Assert(n <= most);
	*intervals = out;
	return n;
}

static int
late_intervals(const WindowSnapshot *from, const WindowSnapshot *to,
			   XidInterval *out)
{
	int			n = 0;

	for (int i = 0; i < from->nxip; i++)
	{
		if (window_visible(to, from->xip[i]))
		{
			out[n].lo = out[n].hi = from->xip[i];
			n++;
		}
	}
	return n;
}

static int
new_intervals(const WindowSnapshot *from, const WindowSnapshot *to,
			  const WindowSnapshot *previous, XidInterval *out)
{
	uint64		lo = from->xmax;
	int			n = 0;

	for (int i = 0; previous && i < to->nxip; i++)
	{
		uint64		xid = to->xip[i];

		if (xid < lo || window_visible(previous, xid) ||
			xid >= previous->xmax)
			continue;
		if (xid > lo)
		{
			out[n].lo = lo;
			out[n].hi = xid - 1;
			n++;
		}
		lo = xid + 1;
	}
	if (lo < to->xmax)
	{
		out[n].lo = lo;
		out[n].hi = to->xmax - 1;
		n++;
	}
	return n;
}

/* Parses digits up to the terminator and steps over it. */
static bool
parse_xid(const char **text, char terminator, uint64 *xid)
{
	const char *p = *text;
	uint64		value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		uint64		digit = *p - '0';

		if (value > (PG_UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (*p != terminator)
		return false;
	*text = terminator == '\0' ? p : p + 1;
	*xid = value;
	return true;
}

/* Index of an in-progress transaction; -1: not among them. */
static int
find_xid(const WindowSnapshot *snapshot, uint64 xid)
{
	int			lo = 0;
	int			hi = snapshot->nxip - 1;

	while (lo <= hi)
	{
		int			middle = lo + (hi - lo) / 2;

		if (snapshot->xip[middle] == xid)
			return middle;
		if (snapshot->xip[middle] < xid)
			lo = middle + 1;
		else
			hi = middle - 1;
	}
	return -1;
}
