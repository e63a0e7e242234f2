/*-------------------------------------------------------------------------
 *
 * clickhouse_encode.c
 *	  How fast the columns of a batch become a body for ClickHouse.
 *
 * Usage: clickhouse_encode ROWS.  The 26 columns of ledger version 1.1, about
 * 380 bytes an event, as bench/run fills its ledger.  Built by bench/run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "../backends/clickhouse/tlch.h"

#define NCOLUMNS		26
#define SECONDS_EACH	2

static TlColumn columns[NCOLUMNS];

static void make_batch(TlBatch *batch, int32 nrows);
static void make_values(TlColumn *column, int which, int32 nrows);
static void make_texts(TlColumn *column, int which, int32 nrows);
static void measure(const TlBatch *batch, TlchCompression kind,
					const char *name);
static double now(void);

int
main(int argc, char **argv)
{
	TlBatch		batch;

	make_batch(&batch, argc > 1 ? atoi(argv[1]) : 10000);
	measure(&batch, TLCH_NONE, "none");
	measure(&batch, TLCH_LZ4, "lz4");
	measure(&batch, TLCH_ZSTD, "zstd");
	return 0;
}

static void
make_batch(TlBatch *batch, int32 nrows)
{
	int			n = 0;

	for (const TlchExpected *e = tlch_expected; e->since <= 101 && e->name;
		 e++)
	{
		columns[n].name = e->name;
		columns[n].type = e->type;
		columns[n].nullable = e->nullable;
		if (e->type == TL_TEXT || e->type == TL_JSON)
			make_texts(&columns[n], n, nrows);
		else
			make_values(&columns[n], n, nrows);
		n++;
	}
	memset(batch, 0, sizeof(*batch));
	batch->nrows = nrows;
	batch->ncolumns = n;
	batch->columns = columns;
}

static void
make_values(TlColumn *column, int which, int32 nrows)
{
	Size		width = column->type == TL_UUID ? 16 : 8;
	unsigned char *values = malloc(nrows * width);

	for (Size i = 0; i < nrows * width; i++)
		values[i] = column->type == TL_UUID ? rand() :
			i % 8 < 2 ? (i / 8 * (which + 1)) >> (8 * (i % 8)) : 0;
	column->values = values;
}

/* Few distinct values for those that are sent as dictionaries. */
static void
make_texts(TlColumn *column, int which, int32 nrows)
{
	int32	   *offsets = malloc((nrows + 1) * sizeof(int32));
	uint8	   *validity = malloc((nrows + 7) / 8);
	StringInfoData data;
	const TlchExpected *expected = tlch_find_expected(column->name);
	bool		absent = strcmp(column->name, "error_message") == 0 ||
		strcmp(column->name, "error_type") == 0 ||
		strcmp(column->name, "response_preview") == 0;

	initStringInfo(&data);
	offsets[0] = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		if (!absent && expected->type == TL_JSON)
			appendStringInfo(&data, "{\"tag\": \"batch-%d\", \"temperature\": 0.7}",
							 i % 10);
		else if (!absent && expected->dictionary)
			appendStringInfo(&data, "value-%d", i * (which + 1) % 9);
		else if (!absent && strcmp(column->name, "request_preview") == 0)
			appendStringInfoString(&data, "Summarise the following text in one sentence, please.");
		else if (!absent)
			appendStringInfo(&data, "%s-%d", column->name, i % 1000);
		offsets[i + 1] = data.len;
	}
	column->values = offsets;
	column->data = data.data;
	if (absent)
	{
		memset(validity, 0, (nrows + 7) / 8);
		column->validity = validity;
		column->null_count = nrows;
	}
}

static void
measure(const TlBatch *batch, TlchCompression kind, const char *name)
{
	const char *error;
	TlchCompressor *compressor =
		tlch_compressor_create(CurrentMemoryContext, kind, 1, &error);
	StringInfoData out;
	double		begin = now();
	double		seconds;
	int64		rows = 0;

	initStringInfo(&out);
	do
	{
		resetStringInfo(&out);
		tlch_compress_begin(compressor, &out);
		tlch_encode_block(batch, tlch_compress, compressor);
		tlch_compress_end(compressor);
		rows += batch->nrows;
		seconds = now() - begin;
	} while (seconds < SECONDS_EACH);
	printf("%-5s %9.0f rows/s, %4d bytes a row\n", name, rows / seconds,
		   out.len / batch->nrows);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
