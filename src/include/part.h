/*-------------------------------------------------------------------------
 *
 * part.h
 *	  What is known about each event of the part that is on its way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_PART_H
#define TL_PART_H

#include "tokenledger_backend.h"

typedef enum RowFate
{
	ROW_PENDING,				/* to be sent */
	ROW_LANDED,
	ROW_REFUSED,				/* the store is sure: a dead letter */
	ROW_SUSPECT					/* refused, but the store has accepted no
								 * other event since: it may be the store */
} RowFate;

typedef struct PartStretch		/* rows [begin, end) to be sent together */
{
	int32		begin;
	int32		end;
} PartStretch;

typedef struct Part
{
	MemoryContext mcxt;			/* that it lives in */
	int32		nrows;
	int32		nheld;			/* the first of them were refused in an
								 * earlier part */
	uint8	   *fates;			/* RowFate, by row */
	char	  **reasons;		/* of ROW_REFUSED and ROW_SUSPECT */
	bool	   *heard;			/* was suspect, then others were accepted */
	int32		counts[4];		/* by RowFate */
	PartStretch *stack;			/* not yet attempted, topmost next */
	int32		depth;
	int32	   *selected;		/* rows of the current attempt, ascending */
	int32		nselected;
	RowFate    *marks;			/* by index into selected; ROW_PENDING: no
								 * mark */
	const char **mark_reasons;
	int32		nmarked;
} Part;

/* Everything is allocated in the current memory context. */
extern Part *part_create(int32 nrows);

/* Selects the rows of the next attempt; 0: nothing is pending. */
extern int32 part_select(Part *part);

/* Marks an event of the attempt; a later mark replaces an earlier one. */
extern void part_mark(Part *part, int32 index, RowFate fate,
					  const char *reason);
extern void part_forget_marks(Part *part);

/*
 * Applies an attempt's outcome.  true: the attempt stands as it is and can be
 * made again; false: select anew.  TL_UNKNOWN leaves unmarked rows pending.
 * fresh: what is marked as landed did so in this attempt; of another one it
 * may have been there before, which says nothing against those refused now.
 */
extern bool part_apply(Part *part, TlOutcome outcome, const char *reason,
					   bool fresh);

/*
 * Applies what resolve said: the marked rows are there, the others not.
 * recent: they came by this part's attempts.
 */
extern void part_apply_resolved(Part *part, bool recent);

/*
 * The first nheld rows were refused before; heard: and the store has accepted
 * others since.
 */
extern void part_expect(Part *part, int32 nheld, bool heard);

/* Makes the suspects pending again. */
extern void part_retry_suspects(Part *part);

#endif							/* TL_PART_H */
