/*-------------------------------------------------------------------------
 *
 * batch_subset.c
 *	  Some rows of a TlBatch as a batch of their own.
 *
 * For a part that is split or bisected, and for what a store does not hold
 * yet after resolve.  Pure: a TlBatch in, a TlBatch out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "batch.h"

static void subset_column(const TlColumn *column, const int32 *rows,
						  int32 nrows, TlColumn *subset);
static void subset_validity(const TlColumn *column, const int32 *rows,
							int32 nrows, TlColumn *subset);
static void *subset_values(const void *values, int width, const int32 *rows,
						   int32 nrows);
static void subset_text(const TlColumn *column, const int32 *rows,
						int32 nrows, TlColumn *subset);
static bool has_special(const TlColumn *column, int32 nrows);
static bool is_special(const TlColumn *column, int32 row);
static void subset_times(const TlBatch *batch, TlBatch *subset);

static inline void *
alloc_huge(Size size)
{
	return palloc_extended(size, MCXT_ALLOC_HUGE);
}

void
batch_subset(const TlBatch *batch, const int32 *rows, int32 nrows,
			 TlBatch *subset)
{
	TlColumn   *columns = palloc0(Max(batch->ncolumns, 1) * sizeof(TlColumn));

	for (int i = 0; i < batch->ncolumns; i++)
		subset_column(&batch->columns[i], rows, nrows, &columns[i]);
	subset->struct_size = sizeof(TlBatch);
	subset->nrows = nrows;
	subset->ncolumns = batch->ncolumns;
	subset->columns = columns;
	subset->event_ids = subset_values(batch->event_ids, sizeof(pg_uuid_t),
									  rows, nrows);
	subset_times(batch, subset);
}

static void
subset_column(const TlColumn *column, const int32 *rows, int32 nrows,
			  TlColumn *subset)
{
	subset->name = column->name;
	subset->type = column->type;
	subset->nullable = column->nullable;
	subset_validity(column, rows, nrows, subset);
	switch (column->type)
	{
		case TL_UUID:
			subset->values = subset_values(column->values, sizeof(pg_uuid_t),
										   rows, nrows);
			break;
		case TL_TIMESTAMP:
		case TL_FLOAT64:
		case TL_INT64:
		case TL_DECIMAL:
			subset->values = subset_values(column->values, sizeof(int64),
										   rows, nrows);
			break;
		case TL_TEXT:
		case TL_JSON:
			subset_text(column, rows, nrows, subset);
			break;
	}
	subset->special = column->special && has_special(subset, nrows);
}

static void
subset_validity(const TlColumn *column, const int32 *rows, int32 nrows,
				TlColumn *subset)
{
	uint8	   *validity;

	if (column->validity == NULL)
		return;
	validity = palloc0(Max((nrows + (Size) 7) / 8, 1));
	for (int32 i = 0; i < nrows; i++)
	{
		if (tl_isnull(column, rows[i]))
			subset->null_count++;
		else
			validity[i / 8] |= 1 << (i % 8);
	}
	if (subset->null_count > 0)
		subset->validity = validity;
}

static void *
subset_values(const void *values, int width, const int32 *rows, int32 nrows)
{
	char	   *subset = alloc_huge(Max(nrows, 1) * (Size) width);

	for (int32 i = 0; i < nrows; i++)
		memcpy(subset + i * (Size) width,
			   (const char *) values + rows[i] * (Size) width, width);
	return subset;
}

static void
subset_text(const TlColumn *column, const int32 *rows, int32 nrows,
			TlColumn *subset)
{
	int32	   *offsets = alloc_huge((nrows + (Size) 1) * sizeof(int32));
	char	   *data;

	offsets[0] = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		int32		len;

		(void) tl_text(column, rows[i], &len);
		offsets[i + 1] = offsets[i] + len;
	}
	data = alloc_huge(Max(offsets[nrows], 1));
	for (int32 i = 0; i < nrows; i++)
	{
		int32		len;
		const char *text = tl_text(column, rows[i], &len);

		memcpy(data + offsets[i], text, len);
	}
	subset->values = offsets;
	subset->data = data;
}

static bool
has_special(const TlColumn *column, int32 nrows)
{
	for (int32 i = 0; i < nrows; i++)
	{
		if (!tl_isnull(column, i) && is_special(column, i))
			return true;
	}
	return false;
}

static bool
is_special(const TlColumn *column, int32 row)
{
	switch (column->type)
	{
		case TL_TIMESTAMP:
			return tl_int64(column, row) == PG_INT64_MIN ||
				tl_int64(column, row) == PG_INT64_MAX;
		case TL_DECIMAL:
			return tl_int64(column, row) == PG_INT64_MIN;
		case TL_FLOAT64:
			return !isfinite(tl_float64(column, row));
		default:
			return false;
	}
}

/* Without the column, what holds for the whole batch holds for its part. */
static void
subset_times(const TlBatch *batch, TlBatch *subset)
{
	const TlColumn *column = NULL;

	for (int i = 0; i < subset->ncolumns; i++)
	{
		if (strcmp(subset->columns[i].name, "timestamp") == 0)
			column = &subset->columns[i];
	}
	subset->min_timestamp = batch->min_timestamp;
	subset->max_timestamp = batch->max_timestamp;
	if (column == NULL)
		return;
	subset->min_timestamp = PG_INT64_MAX;
	subset->max_timestamp = PG_INT64_MIN;
	for (int32 i = 0; i < subset->nrows; i++)
	{
		int64		value = tl_int64(column, i);

		if (is_special(column, i))
			continue;
		subset->min_timestamp = Min(subset->min_timestamp, value);
		subset->max_timestamp = Max(subset->max_timestamp, value);
	}
}
