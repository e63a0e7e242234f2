/*-------------------------------------------------------------------------
 *
 * part.c
 *	  What is known about each event of the part that is on its way.
 *
 * A part is sent in attempts: at first all of it, after a refusal or a split
 * the halves.  Its membership does not change; only what is known of each
 * event does.
 *
 * An event becomes a dead letter only if the store named it, or accepted
 * another event after it had refused this one alone.  A store that refuses
 * everything therefore leaves suspects and no dead letter; so does one that
 * names every event of an attempt, as one does whose table has another shape.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "part.h"

static void push(Part *part, int32 begin, int32 end);
static void push_halves(Part *part);
static void set_fate(Part *part, int32 row, RowFate fate, const char *reason);
static void apply_marks(Part *part, bool everything_refused);
static void land_unmarked(Part *part);
static void convict_suspects(Part *part);
static void keep_pending(Part *part);

Part *
part_create(int32 nrows)
{
	Part	   *part = palloc0(sizeof(Part));

	part->nrows = nrows;
	part->fates = palloc0(nrows + 1);
	part->reasons = palloc0(sizeof(char *) * (nrows + 1));
	part->selected = palloc(sizeof(int32) * (nrows + 1));
	part->marks = palloc0(sizeof(RowFate) * (nrows + 1));
	part->mark_reasons = palloc0(sizeof(char *) * (nrows + 1));
	part->stack = palloc(sizeof(PartStretch) * (nrows + 2));
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
part_apply(Part *part, TlOutcome outcome, const char *reason)
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
			apply_marks(part, false);
			keep_pending(part);
			break;
		case TL_SPLIT:
			if (unmarked == 1 && !named)
				part_mark(part, 0, ROW_REFUSED, reason);
			apply_marks(part, false);
			push_halves(part);
			break;
		case TL_REFUSED:
			if (!named && part->nselected == 1)
				set_fate(part, part->selected[0], ROW_SUSPECT, reason);
			else if (!named)
				push_halves(part);
			else
			{
				apply_marks(part, unmarked == 0 && part->nselected > 1);
				keep_pending(part);
			}
			break;
	}
	part->nselected = 0;
	return false;
}

void
part_apply_resolved(Part *part)
{
	apply_marks(part, false);
	keep_pending(part);
	part->nselected = 0;
}

void
part_retry_suspects(Part *part)
{
	for (int32 row = 0; row < part->nrows; row++)
	{
		if (part->fates[row] == ROW_SUSPECT)
			set_fate(part, row, ROW_PENDING, NULL);
	}
	part->depth = 0;
	push(part, 0, part->nrows);
}

/*
 * NB: the stretches on the stack are disjoint, and a stretch that is split
 * has been popped, so nrows + 2 elements are enough.
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

static void
set_fate(Part *part, int32 row, RowFate fate, const char *reason)
{
	part->counts[part->fates[row]]--;
	part->counts[fate]++;
	part->fates[row] = fate;
	part->reasons[row] = reason;
}

/* everything_refused: nothing was accepted beside the named events. */
static void
apply_marks(Part *part, bool everything_refused)
{
	bool		accepted = false;

	for (int32 i = 0; i < part->nselected; i++)
		accepted |= (part->marks[i] == ROW_LANDED);
	for (int32 i = 0; i < part->nselected; i++)
	{
		RowFate		fate = part->marks[i];

		if (fate == ROW_PENDING)
			continue;
		if (fate == ROW_REFUSED && everything_refused && !accepted)
			fate = ROW_SUSPECT;
		set_fate(part, part->selected[i], fate, part->mark_reasons[i]);
	}
	if (accepted)
		convict_suspects(part);
}

static void
land_unmarked(Part *part)
{
	bool		everything_refused = part->nmarked == part->nselected &&
		part->nselected > 1;

	for (int32 i = 0; i < part->nselected; i++)
	{
		if (part->marks[i] == ROW_PENDING)
			part_mark(part, i, ROW_LANDED, NULL);
	}
	apply_marks(part, everything_refused);
}

/* The store has accepted an event after it had refused them. */
static void
convict_suspects(Part *part)
{
	if (part->counts[ROW_SUSPECT] == 0)
		return;
	for (int32 row = 0; row < part->nrows; row++)
	{
		if (part->fates[row] == ROW_SUSPECT)
			set_fate(part, row, ROW_REFUSED, part->reasons[row]);
	}
}
