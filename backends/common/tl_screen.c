/*-------------------------------------------------------------------------
 *
 * tl_screen.c
 *	  Events that a store cannot hold, found before they are sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_screen.h"
#include "tl_verdict.h"

int32
tl_refuse_row(const char **reasons, int32 row, const char *reason)
{
	if (reasons[row] != NULL)
		return 0;
	reasons[row] = reason;
	return 1;
}

int32
tl_refuse_nan(const TlColumn *column, int32 nrows, const char *type,
			  const char **reasons)
{
	const int64 *values = column->values;
	int32		refused = 0;

	for (int32 row = 0; row < nrows; row++)
		if (values[row] == PG_INT64_MIN && !tl_isnull(column, row))
			refused += tl_refuse_row(reasons, row,
									 psprintf("column \"%s\": %s cannot be NaN",
											  column->name, type));
	return refused;
}

TlOutcome
tl_refuse_rows(const TlCore *core, TlBatch *batch, const char **reasons,
			   TlVerdict *verdict)
{
	TlOutcome	outcome = TL_OK;

	for (int32 row = 0; row < batch->nrows; row++)
	{
		if (reasons[row] == NULL)
			continue;
		core->mark_refused(batch, row, reasons[row]);
		tl_fail(verdict, TL_CAUSE_DATA, NULL, "%s", reasons[row]);
		outcome = TL_REFUSED;
	}
	return outcome;
}
