/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  A TlBatch out of a fuzzer's input: the contract of the header holds,
 *	  the values are the input's.
 *
 * Arrays are allocated exactly, so that reading behind one is seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch.h"
#include "fuzz.h"

#define MAX_ROWS	24

static void fill(FuzzInput *input, TlColumn *column, int32 nrows);
static void fill_validity(FuzzInput *input, TlColumn *column, int32 nrows);
static void fill_words(FuzzInput *input, TlColumn *column, int32 nrows);
static void fill_texts(FuzzInput *input, TlColumn *column, int32 nrows);
static bool is_valid(const TlColumn *column, int32 row);
static int64 take_word(FuzzInput *input);
static void find_times(TlBatch *batch);

void
fuzz_batch(FuzzInput *input, TlBatch *batch)
{
	uint64		chosen = fuzz_take(input, 5);
	int32		nrows = fuzz_take(input, 1) % (MAX_ROWS + 1);
	TlColumn   *columns = palloc0(LEDGER_NCOLUMNS * sizeof(TlColumn));
	pg_uuid_t  *ids = palloc0(Max(nrows, 1) * sizeof(pg_uuid_t));

	memset(batch, 0, sizeof(TlBatch));
	batch->struct_size = sizeof(TlBatch);
	batch->nrows = nrows;
	batch->columns = columns;
	batch->event_ids = ids;
	for (int32 row = 0; row < nrows; row++)
	{
		uint64		word = fuzz_take(input, 2) << 16 | row;

		memcpy(ids[row].data + 8, &word, sizeof(word));
	}
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		TlColumn   *column = &columns[batch->ncolumns];

		if ((chosen >> i & 1) == 0)
			continue;
		column->name = ledger_columns[i].name;
		column->type = ledger_columns[i].type;
		column->nullable = ledger_columns[i].nullable;
		fill(input, column, nrows);
		batch->ncolumns++;
	}
	find_times(batch);
}

static void
fill(FuzzInput *input, TlColumn *column, int32 nrows)
{
	if (column->nullable)
		fill_validity(input, column, nrows);
	switch (column->type)
	{
		case TL_UUID:
			column->values = palloc0(Max(nrows, 1) * UUID_LEN);
			break;
		case TL_TEXT:
		case TL_JSON:
			fill_texts(input, column, nrows);
			break;
		default:
			fill_words(input, column, nrows);
	}
}

static void
fill_validity(FuzzInput *input, TlColumn *column, int32 nrows)
{
	uint8	   *validity = palloc0((nrows + 7) / 8 + 1);

	for (int32 row = 0; row < nrows; row++)
	{
		if (fuzz_take(input, 1) % 4 == 0)
			column->null_count++;
		else
			validity[row / 8] |= 1 << row % 8;
	}
	if (column->null_count > 0)
		column->validity = validity;
}

static void
fill_words(FuzzInput *input, TlColumn *column, int32 nrows)
{
	int64	   *values = palloc0(Max(nrows, 1) * sizeof(int64));

	for (int32 row = 0; row < nrows; row++)
	{
		double		number;

		if (!is_valid(column, row))
			continue;
		values[row] = take_word(input);
		memcpy(&number, &values[row], sizeof(number));
		if (column->type == TL_FLOAT64)
			column->special |= !isfinite(number);
		else if (column->type == TL_DECIMAL)
			column->special |= values[row] == PG_INT64_MIN;
		else if (column->type == TL_TIMESTAMP)
			column->special |= values[row] == PG_INT64_MIN ||
				values[row] == PG_INT64_MAX;
	}
	column->values = values;
}

/* Small, any, or one of the ends. */
static int64
take_word(FuzzInput *input)
{
	switch (fuzz_take(input, 1) % 8)
	{
		case 0:
			return PG_INT64_MIN;
		case 1:
			return PG_INT64_MAX;
		case 2:
			return (int64) fuzz_take(input, 8);
		default:
			return (int64) fuzz_take(input, 2) - 1000;
	}
}

static void
fill_texts(FuzzInput *input, TlColumn *column, int32 nrows)
{
	int32	   *offsets = palloc0((nrows + 1) * sizeof(int32));
	const char *data = input->next;

	for (int32 row = 0; row < nrows; row++)
	{
		size_t		len = 0;

		if (is_valid(column, row) && input->left > 0)
			len = Min((uint8) *data % 32, input->left);
		offsets[row + 1] = offsets[row] + len;
		data += len;
		input->left -= len;
	}
	column->data = palloc(Max(offsets[nrows], 1));
	memcpy(unconstify(char *, column->data), input->next, offsets[nrows]);
	input->next = data;
	column->values = offsets;
}

static bool
is_valid(const TlColumn *column, int32 row)
{
	return column->validity == NULL ||
		(column->validity[row / 8] >> row % 8 & 1) != 0;
}

static void
find_times(TlBatch *batch)
{
	batch->min_timestamp = PG_INT64_MAX;
	batch->max_timestamp = PG_INT64_MIN;
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];
		const int64 *values = column->values;

		if (column->type != TL_TIMESTAMP)
			continue;
		for (int32 row = 0; row < batch->nrows; row++)
		{
			if (values[row] == PG_INT64_MIN || values[row] == PG_INT64_MAX)
				continue;
			batch->min_timestamp = Min(batch->min_timestamp, values[row]);
			batch->max_timestamp = Max(batch->max_timestamp, values[row]);
		}
	}
}
