/*-------------------------------------------------------------------------
 *
 * screen.c
 *	  Which events Snowflake cannot hold.
 *
 * One value that does not convert makes the whole statement fail, and
 * Snowflake does not say whose it was, so such events are found here, before
 * anything is sent: a TIMESTAMP_NTZ holds the years 1 to 9999, and a NUMBER
 * no NaN.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_screen.h"
#include "tlsf.h"

static int32 screen_timestamps(const TlColumn *column, int32 nrows,
							   const char **reasons);

/*
 * Sets reasons[row] for each event that the table cannot hold (the others'
 * must be NULL before) and returns how many there are.
 */
int32
tlsf_screen(const TlBatch *batch, const char **reasons)
{
	int32		refused = 0;

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if (column->type == TL_TIMESTAMP)
			refused += screen_timestamps(column, batch->nrows, reasons);
		else if (column->type == TL_DECIMAL && column->special)
			refused += tl_refuse_nan(column, batch->nrows, "a NUMBER",
									 reasons);
	}
	return refused;
}

static int32
screen_timestamps(const TlColumn *column, int32 nrows, const char **reasons)
{
	const int64 *values = column->values;
	int32		refused = 0;

	for (int32 row = 0; row < nrows; row++)
		if ((values[row] < TLSF_FIRST_USEC || values[row] >= TLSF_END_USEC) &&
			!tl_isnull(column, row))
			refused += tl_refuse_row(reasons, row,
							  psprintf("column \"%s\": TIMESTAMP_NTZ holds times of the years 1 to 9999 only",
									   column->name));
	return refused;
}
