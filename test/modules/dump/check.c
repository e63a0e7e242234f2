/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Verifies what tokenledger_backend.h promises about a batch.
 *
 * Everything is computed anew from the values, nothing is taken on trust.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "dump.h"
#include "mb/pg_wchar.h"

static const char *check_ids(const TlBatch *batch);
static int	compare_ids(const void *a, const void *b);
static const char *check_column(const TlBatch *batch, const TlColumn *column);
static const char *check_nulls(const TlColumn *column, int32 nrows);
static const char *check_text(const TlColumn *column, int32 nrows);
static const char *check_special(const TlColumn *column, int32 nrows);
static bool is_special(const TlColumn *column, int32 row);
static const char *check_times(const TlBatch *batch, const TlColumn *column);

const char *
tldump_check(const TlBatch *batch)
{
	const char *wrong;

	if (batch->struct_size < sizeof(TlBatch))
		return "struct_size is too small";
	if (batch->nrows < 1 || batch->ncolumns < 1 || batch->attempt < 1)
		return "no rows, no columns or no attempt";
	if ((wrong = check_ids(batch)) != NULL)
		return wrong;
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if ((wrong = check_column(batch, column)) != NULL)
			return psprintf("column \"%s\": %s", column->name, wrong);
	}
	return NULL;
}

static const char *
check_ids(const TlBatch *batch)
{
	Size		size = batch->nrows * sizeof(pg_uuid_t);
	pg_uuid_t  *ids = palloc(size);

	memcpy(ids, batch->event_ids, size);
	qsort(ids, batch->nrows, sizeof(pg_uuid_t), compare_ids);
	for (int32 i = 1; i < batch->nrows; i++)
	{
		if (compare_ids(&ids[i - 1], &ids[i]) == 0)
			return "event_ids has an id twice";
	}
	return NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}

static const char *
check_column(const TlBatch *batch, const TlColumn *column)
{
	const char *wrong;

	if (column->values == NULL || (uintptr_t) column->values % 8 != 0)
		return "values are missing or not aligned";
	if ((wrong = check_nulls(column, batch->nrows)) != NULL)
		return wrong;
	if (column->type == TL_TEXT || column->type == TL_JSON)
		return check_text(column, batch->nrows);
	if (strcmp(column->name, "event_id") == 0 &&
		memcmp(column->values, batch->event_ids,
			   batch->nrows * sizeof(pg_uuid_t)) != 0)
		return "differs from event_ids";
	if (strcmp(column->name, "timestamp") == 0 &&
		(wrong = check_times(batch, column)) != NULL)
		return wrong;
	return check_special(column, batch->nrows);
}

static const char *
check_nulls(const TlColumn *column, int32 nrows)
{
	int64		count = 0;

	for (int32 i = 0; i < nrows; i++)
		count += tl_isnull(column, i);
	if (count != column->null_count)
		return "null_count is wrong";
	if (count > 0 && !column->nullable)
		return "a null in a column that is not nullable";
	if (count == 0 && column->validity != NULL)
		return "a bitmap without nulls";
	return NULL;
}

static const char *
check_text(const TlColumn *column, int32 nrows)
{
	const int32 *offsets = column->values;

	if (offsets[0] != 0 || column->data == NULL)
		return "data are missing or do not begin at 0";
	for (int32 i = 0; i < nrows; i++)
	{
		if (offsets[i + 1] < offsets[i])
			return "offsets go back";
		if (tl_isnull(column, i))
			continue;
		if (!pg_verify_mbstr(PG_UTF8, column->data + offsets[i],
							 offsets[i + 1] - offsets[i], true))
			return "not UTF-8";
	}
	if (column->special)
		return "special in a text column";
	return NULL;
}

static const char *
check_special(const TlColumn *column, int32 nrows)
{
	bool		special = false;

	for (int32 i = 0; i < nrows; i++)
	{
		if (!tl_isnull(column, i) && is_special(column, i))
			special = true;
	}
	return special == column->special ? NULL : "special is wrong";
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
			return isnan(tl_float64(column, row)) ||
				isinf(tl_float64(column, row));
		default:
			return false;
	}
}

static const char *
check_times(const TlBatch *batch, const TlColumn *column)
{
	int64		min = PG_INT64_MAX;
	int64		max = PG_INT64_MIN;

	for (int32 i = 0; i < batch->nrows; i++)
	{
		int64		value = tl_int64(column, i);

		if (is_special(column, i))
			continue;
		min = Min(min, value);
		max = Max(max, value);
	}
	if (min > max && batch->min_timestamp > batch->max_timestamp)
		return NULL;			/* none is finite, and it says so */
	if (min != batch->min_timestamp || max != batch->max_timestamp)
		return "min_timestamp or max_timestamp is wrong";
	return NULL;
}
