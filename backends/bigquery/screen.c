/*-------------------------------------------------------------------------
 *
 * screen.c
 *	  Which events BigQuery cannot hold.
 *
 * One row that it cannot take makes it refuse the whole request, so such
 * events are found here, before anything is sent.  A streaming write to a
 * table that is partitioned by time takes five years of the past and one of
 * the future (BigQuery's documentation, "Streaming into partitioned tables");
 * a TIMESTAMP holds the years 1 to 9999, and a NUMERIC no NaN.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_screen.h"
#include "tlbq.h"

#define USECS_PER_SECOND	INT64CONST(1000000)
#define USECS_PER_DAY		(86400 * USECS_PER_SECOND)

/* A day less than the limits: a request takes its time to arrive. */
#define PAST				(5 * 365 * USECS_PER_DAY)
#define FUTURE				((365 - 1) * USECS_PER_DAY)

static int32 screen_timestamps(const TlColumn *column, int32 nrows,
							   bool partitioned, int64 now,
							   const char **reasons);

/*
 * Sets reasons[row] for each event that the table cannot hold (the others'
 * must be NULL before) and returns how many there are.  now: microseconds
 * since 1970.
 */
int32
tlbq_screen(const TlBatch *batch, bool partitioned, int64 now,
			const char **reasons)
{
	int32		refused = 0;

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if (column->type == TL_TIMESTAMP)
			refused += screen_timestamps(column, batch->nrows, partitioned,
										 now, reasons);
		else if (column->type == TL_DECIMAL && column->special)
			refused += tl_refuse_nan(column, batch->nrows, "a NUMERIC",
									 reasons);
	}
	return refused;
}

static int32
screen_timestamps(const TlColumn *column, int32 nrows, bool partitioned,
				  int64 now, const char **reasons)
{
	const int64 *values = column->values;
	int64		first = partitioned ? now - PAST : TLBQ_FIRST_USEC;
	int64		last = partitioned ? now + FUTURE : TLBQ_END_USEC - 1;
	int32		refused = 0;

	for (int32 row = 0; row < nrows; row++)
	{
		if ((values[row] >= first && values[row] <= last) ||
			tl_isnull(column, row))
			continue;
		refused += tl_refuse_row(reasons, row,
						  psprintf(values[row] < TLBQ_FIRST_USEC ||
								   values[row] >= TLBQ_END_USEC ?
								   "column \"%s\": TIMESTAMP holds times of the years 1 to 9999 only" :
								   values[row] < first ?
								   "column \"%s\": BigQuery takes no event of more than 5 years ago into a table that is partitioned by time" :
								   "column \"%s\": BigQuery takes no event of more than a year ahead into a table that is partitioned by time",
								   column->name));
	}
	return refused;
}
