/*-------------------------------------------------------------------------
 *
 * fates.c
 *	  What is known about each event of the part: src/part.c, kept as bytes.
 *
 * Nothing is decided here.  Each function unfolds the bytes into a Part, lets
 * src/part.c work on it, and folds it again.  Sets of rows are bits.
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

/* Arrays of a Part; its own functions never ask for more than create does. */
static struct
{
	uint8		fates[EVENTS + 1];
	char	   *reasons[EVENTS + 1];
	bool		heard[EVENTS + 1];
	PartStretch stack[EVENTS + 3];
	int32		selected[EVENTS + 1];
	RowFate		marks[EVENTS + 1];
	const char *mark_reasons[EVENTS + 1];
}			memory;
static Part unfolded;

static uint8
all_rows(const Fates *fates)
{
	return (uint8) ((1 << fates->nrows) - 1);
}

static void
unfold_row(const Fates *fates, uint8 row)
{
	uint8		bit = (uint8) (1 << row);

	memory.fates[row] = fates->fate[row];
	memory.heard[row] = (fates->heard & bit) != 0;
	unfolded.counts[fates->fate[row]]++;
	if ((fates->selected & bit) == 0)
		return;
	if ((fates->landed_marks | fates->refused_marks) & bit)
	{
		memory.marks[unfolded.nselected] = fates->landed_marks & bit ?
			ROW_LANDED : ROW_REFUSED;
		unfolded.nmarked++;
	}
	memory.selected[unfolded.nselected++] = row;
}

static Part *
unfold(const Fates *fates)
{
	Part	   *part = &unfolded;

	memset(part, 0, sizeof(Part));
	memset(memory.marks, 0, sizeof(memory.marks));
	part->nrows = fates->nrows;
	part->nheld = fates->nheld;
	part->fates = memory.fates;
	part->reasons = memory.reasons;
	part->heard = memory.heard;
	part->stack = memory.stack;
	part->selected = memory.selected;
	part->marks = memory.marks;
	part->mark_reasons = memory.mark_reasons;
	for (uint8 row = 0; row < fates->nrows; row++)
		unfold_row(fates, row);
	for (int i = 0; i < fates->depth; i++)
	{
		memory.stack[i].begin = fates->stack[i].begin;
		memory.stack[i].end = fates->stack[i].end;
	}
	part->depth = fates->depth;
	return part;
}

static void
fold(Fates *fates, const Part *part)
{
	fates->heard = fates->selected = 0;
	fates->landed_marks = fates->refused_marks = 0;
	for (uint8 row = 0; row < fates->nrows; row++)
	{
		fates->fate[row] = part->fates[row];
		fates->heard |= (uint8) (part->heard[row] << row);
	}
	for (int i = 0; i < part->nselected; i++)
	{
		uint8		bit = (uint8) (1 << part->selected[i]);

		fates->selected |= bit;
		if (part->marks[i] == ROW_LANDED)
			fates->landed_marks |= bit;
		else if (part->marks[i] == ROW_REFUSED)
			fates->refused_marks |= bit;
	}
	memset(fates->stack, 0, sizeof(fates->stack));
	for (int i = 0; i < part->depth; i++)
	{
		fates->stack[i].begin = (uint8) part->stack[i].begin;
		fates->stack[i].end = (uint8) part->stack[i].end;
	}
	fates->depth = (uint8) part->depth;
}

/* The first nheld events were refused before; heard: as part_expect(). */
void
fates_create(Fates *fates, const uint8 *events, uint8 n, uint8 nheld,
			 bool heard)
{
	Part	   *part;

	memset(fates, 0, sizeof(Fates));
	fates->nrows = n;
	memcpy(fates->event, events, n);
	if (n > 0)
	{
		fates->depth = 1;
		fates->stack[0].end = n;
	}
	part = unfold(fates);
	part_expect(part, nheld, heard);
	fates->nheld = nheld;
	fold(fates, part);
}

bool
fates_select(Fates *fates)
{
	Part	   *part = unfold(fates);
	bool		some = part_select(part) > 0;

	fold(fates, part);
	return some;
}

/* Marks those of the attempt that are among the events. */
void
fates_mark(Fates *fates, EventSet events, uint8 fate)
{
	Part	   *part = unfold(fates);

	for (int i = 0; i < part->nselected; i++)
	{
		if (events & 1 << fates->event[part->selected[i]])
			part_mark(part, i, (RowFate) fate, NULL);
	}
	fold(fates, part);
}

void
fates_forget_marks(Fates *fates)
{
	Part	   *part = unfold(fates);

	part_forget_marks(part);
	fold(fates, part);
}

/* true: the attempt stands as it is and can be made again. */
bool
fates_apply(Fates *fates, uint8 outcome, bool fresh)
{
	Part	   *part = unfold(fates);
	bool		stands;

	if (!rule(RULE_HEARING))
		memset(part->heard, true, fates->nrows);
	stands = part_apply(part, (TlOutcome) outcome, NULL, fresh);
	fold(fates, part);
	return stands;
}

void
fates_apply_resolved(Fates *fates, bool recent)
{
	Part	   *part = unfold(fates);

	part_apply_resolved(part, recent);
	fold(fates, part);
}

EventSet
fates_events(const Fates *fates, uint8 rows)
{
	EventSet	events = 0;

	for (uint8 row = 0; row < fates->nrows; row++)
		if (rows & 1 << row)
			events |= (EventSet) (1 << fates->event[row]);
	return events;
}

EventSet
fates_all(const Fates *fates)
{
	return fates_events(fates, all_rows(fates));
}

EventSet
fates_with(const Fates *fates, uint8 fate)
{
	EventSet	events = 0;

	for (uint8 row = 0; row < fates->nrows; row++)
		if (fates->fate[row] == fate)
			events |= (EventSet) (1 << fates->event[row]);
	return events;
}
