/*-------------------------------------------------------------------------
 *
 * part.c
 *	  What is known about each event of the part that is on its way.
 *
 * A part is sent in attempts: at first all of it, after a refusal or a split
 * the halves.  Its membership does not change; only what is known of each
 * event does.
 *
 * An event becomes a dead letter only if the store has refused it (by name,
 * or alone), then accepted another one of the part, and then refused it
 * again: it gets a second hearing, after all others.  A store that refuses
 * everything therefore leaves suspects and no dead letter, also if it names
 * the events, one at a time or all of them at once; and when it is mended in
 * the middle of a part, those that it refused just before are not to blame.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "part.h"

static void push(Part *part, int32 begin, int32 end);
static void push_halves(Part *part);
static void set_fate(Part *part, int32 row, RowFate fate, const char *reason);
static void apply_marks(Part *part, bool recent);
static void land_unmarked(Part *part);
static RowFate refusal(const Part *part, int32 row);
static void hear_suspects(Part *part);
static void keep_pending(Part *part);

Part *
part_create(int32 nrows)
{
	Part	   *part = palloc0(sizeof(Part));

	part->mcxt = CurrentMemoryContext;
	part->nrows = nrows;
	part->fates = palloc0(nrows + 1);
	part->reasons = palloc0(sizeof(char *) * (nrows + 1));
	part->selected = palloc(sizeof(int32) * (nrows + 1));
	part->marks = palloc0(sizeof(RowFate) * (nrows + 1));
	part->mark_reasons = palloc0(sizeof(char *) * (nrows + 1));
	part->heard = palloc0(sizeof(bool) * (nrows + 1));
	part->stack = palloc(sizeof(PartStretch) * (nrows + 3));
	part->counts[ROW_PENDING] = nrows;
	push(part, 0, nrows);
	return part;
}

int32
part_select(Part *part)
{
	part->nselected = 0;
	part_forget_marks(part);
	while (part->depth > 0 && part->nselected == 0)
	{
		PartStretch *top = &part->stack[--part->depth];

		for (int32 row = top->begin; row < top->end; row++)
		{
			if (part->fates[row] == ROW_PENDING)
				part->selected[part->nselected++] = row;
		}
	}
	return part->nselected;
}

void
part_mark(Part *part, int32 index, RowFate fate, const char *reason)
{
	if (index < 0 || index >= part->nselected)
		return;
	if (part->marks[index] == ROW_PENDING)
		part->nmarked++;
	part->marks[index] = fate;
	part->mark_reasons[index] = reason;
}

void
part_forget_marks(Part *part)
{
	memset(part->marks, 0, sizeof(RowFate) * (part->nrows + 1));
	part->nmarked = 0;
}

bool
part_apply(Part *part, TlOutcome outcome, const char *reason, bool fresh)
{
	int32		unmarked = part->nselected - part->nmarked;
	bool		named = part->nmarked > 0;

	switch (outcome)
	{
		case TL_OK:
			land_unmarked(part);
			break;
		case TL_RETRY:
		case TL_UNKNOWN:
			if (!named)
				return true;
			apply_marks(part, fresh);
			keep_pending(part);
			break;
		case TL_SPLIT:
			if (unmarked == 1 && !named)
				part_mark(part, 0, ROW_REFUSED, reason);
			apply_marks(part, fresh);
			push_halves(part);
			break;
		case TL_REFUSED:
			if (!named && part->nselected == 1)
				set_fate(part, part->selected[0],
						 refusal(part, part->selected[0]), reason);
			else if (!named)
				push_halves(part);
			else
			{
				apply_marks(part, fresh);
				keep_pending(part);
			}
			break;
	}
	part->nselected = 0;
	return false;
}

void
part_apply_resolved(Part *part, bool recent)
{
	apply_marks(part, recent);
	keep_pending(part);
	part->nselected = 0;
}

void
part_expect(Part *part, int32 nheld, bool heard)
{
	part->nheld = nheld;
	memset(part->heard, heard, sizeof(bool) * nheld);
}

void
part_retry_suspects(Part *part)
{
	for (int32 row = 0; row < part->nrows; row++)
	{
		if (part->fates[row] == ROW_SUSPECT)
			set_fate(part, row, ROW_PENDING, NULL);
	}
	memset(part->heard, 0, sizeof(bool) * part->nrows);
	part->depth = 0;
	push(part, 0, part->nrows);
}

/*
 * NB: the stretches on the stack are disjoint but for the one of the second
 * hearing, and a stretch that is split has been popped, so nrows + 3 elements
 * are enough.
 */
static void
push(Part *part, int32 begin, int32 end)
{
	if (begin >= end)
		return;
	part->stack[part->depth].begin = begin;
	part->stack[part->depth].end = end;
	part->depth++;
}

/* The first half goes on top. */
static void
push_halves(Part *part)
{
	int32		first = part->selected[0];
	int32		middle = part->selected[part->nselected / 2];
	int32		end = part->selected[part->nselected - 1] + 1;

	push(part, middle, end);
	push(part, first, middle);
}

static void
keep_pending(Part *part)
{
	push(part, part->selected[0], part->selected[part->nselected - 1] + 1);
}

/* NB: what the reason points to lives as long as the attempt at most. */
static void
set_fate(Part *part, int32 row, RowFate fate, const char *reason)
{
	part->counts[part->fates[row]]--;
	part->counts[fate]++;
	part->fates[row] = fate;
	if (part->reasons[row] != NULL)
		pfree(part->reasons[row]);
	part->reasons[row] = NULL;
	if (reason != NULL)
		part->reasons[row] = MemoryContextStrdup(part->mcxt, reason);
}

/* recent: what has landed did so now, after the refusals so far. */
static void
apply_marks(Part *part, bool recent)
{
	bool		accepted = false;

	for (int32 i = 0; i < part->nselected; i++)
	{
		RowFate		fate = part->marks[i];
		int32		row = part->selected[i];

		if (fate == ROW_PENDING)
			continue;
		accepted |= (fate == ROW_LANDED);
		if (fate == ROW_REFUSED)
			fate = refusal(part, row);
		set_fate(part, row, fate, part->mark_reasons[i]);
	}
	if (accepted && recent)
		hear_suspects(part);
}

/* What a refusal makes of an event. */
static RowFate
refusal(const Part *part, int32 row)
{
	return part->heard[row] ? ROW_REFUSED : ROW_SUSPECT;
}

static void
land_unmarked(Part *part)
{
	for (int32 i = 0; i < part->nselected; i++)
	{
		if (part->marks[i] == ROW_PENDING)
			part_mark(part, i, ROW_LANDED, NULL);
	}
	apply_marks(part, true);
}

/*
 * The store has accepted an event after it had refused them.  They go to the
 * bottom of the stack, so that they do not spoil attempts of others.
 */
static void
hear_suspects(Part *part)
{
	PartStretch all = {0, part->nrows};

	for (int32 row = 0; row < part->nheld; row++)
	{
		if (part->fates[row] == ROW_PENDING)
			part->heard[row] = true;
	}
	if (part->counts[ROW_SUSPECT] == 0)
		return;
	for (int32 row = 0; row < part->nrows; row++)
	{
		if (part->fates[row] != ROW_SUSPECT)
			continue;
		set_fate(part, row, ROW_PENDING, NULL);
		part->heard[row] = true;
	}
	if (part->depth > 0 && part->stack[0].begin == all.begin &&
		part->stack[0].end == all.end)
		return;
	memmove(part->stack + 1, part->stack, sizeof(PartStretch) * part->depth);
	part->stack[0] = all;
	part->depth++;
}
