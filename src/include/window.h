/*-------------------------------------------------------------------------
 *
 * window.h
 *	  Snapshot windows: which transactions lie between two snapshots.
 *
 * Pure arithmetic on pg_snapshot values in their text form; compiles with
 * FRONTEND.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_WINDOW_H
#define TL_WINDOW_H

typedef struct WindowSnapshot
{
	uint64		xmin;			/* all before are finished */
	uint64		xmax;			/* all from here on have not begun */
	int			nxip;
	uint64	   *xip;			/* in progress, ascending */
} WindowSnapshot;

typedef struct XidInterval
{
	uint64		lo;				/* both inclusive */
	uint64		hi;
} XidInterval;

/* The snapshot that sees nothing: every normal transaction is after it. */
#define WINDOW_BEGINNING	"3:3:"

/* Parses "xmin:xmax:xip,..."; false if malformed. */
extern bool window_parse(const char *text, WindowSnapshot *snapshot);

/* Is the transaction finished, as far as the snapshot knows? */
extern bool window_visible(const WindowSnapshot *snapshot, uint64 xid);

/* Is everything that inner sees also seen by outer? */
extern bool window_covers(const WindowSnapshot *outer,
						  const WindowSnapshot *inner);

/*
 * May there be a transaction before xid that is visible in to and not in
 * from?
 */
extern bool window_begins_before(const WindowSnapshot *from,
								 const WindowSnapshot *to, uint64 xid);

/*
 * The transactions visible in to and not in from, as sorted disjoint
 * intervals; returns their number.  The last interval may contain
 * transactions that are in progress in to: whoever reads filters them.  Those
 * that were already in progress in previous (NULL: none) are left out, so
 * that the rows of a long transaction are not read again at every look.
 */
extern int	window_intervals(const WindowSnapshot *from,
							 const WindowSnapshot *to,
							 const WindowSnapshot *previous,
							 XidInterval **intervals);

#endif							/* TL_WINDOW_H */
