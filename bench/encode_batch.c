/*-------------------------------------------------------------------------
 *
 * encode_batch.c
 *	  A batch for the benchmarks of encoders.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "../backends/common/tl_columns.h"
#include "encode_batch.h"

#define NCOLUMNS		26

static TlColumn columns[NCOLUMNS];

static void make_values(TlColumn *column, int which, int32 nrows);
static void make_texts(TlColumn *column, int which, int32 nrows);

void
bench_make_batch(TlBatch *batch, int32 nrows)
{
	int			n = 0;

	for (const TlExpected *e = tl_expected; e->since <= 101 && e->name;
		 e++)
	{
		columns[n].name = e->name;
		columns[n].type = e->type;
		columns[n].nullable = !e->required;
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
			column->type == TL_TIMESTAMP ? (i % 8 < 7 ? rand() : 0) :
			i % 8 < 2 ? (i / 8 * (which + 1)) >> (8 * (i % 8)) : 0;
	column->values = values;
}

static void
make_texts(TlColumn *column, int which, int32 nrows)
{
	int32	   *offsets = malloc((nrows + 1) * sizeof(int32));
	uint8	   *validity = calloc((nrows + 7) / 8, 1);
	StringInfoData data;
	bool		absent = strcmp(column->name, "error_message") == 0 ||
		strcmp(column->name, "error_type") == 0 ||
		strcmp(column->name, "response_preview") == 0;

	initStringInfo(&data);
	offsets[0] = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		if (!absent && column->type == TL_JSON)
			appendStringInfo(&data, "{\"tag\": \"batch-%d\", \"temperature\": 0.7}",
							 i % 10);
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
		column->validity = validity;
		column->null_count = nrows;
	}
}

double
bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
