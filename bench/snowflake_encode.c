/*-------------------------------------------------------------------------
 *
 * snowflake_encode.c
 *	  How fast the columns of a batch become JSON for Snowflake, and lines for
 *	  Snowpipe Streaming.
 *
 * Usage: snowflake_encode ROWS.  Built by bench/run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../backends/snowflake/tlsf.h"
#include "encode_batch.h"

#define SECONDS_EACH	2

static void measure(const char *what, const TlBatch *batch, bool lines);

int
main(int argc, char **argv)
{
	TlBatch		batch;

	bench_make_batch(&batch, argc > 1 ? atoi(argv[1]) : 1500);
	measure("sql", &batch, false);
	measure("streaming", &batch, true);
	return 0;
}

static void
measure(const char *what, const TlBatch *batch, bool lines)
{
	static const TlsfTable table = {0};
	StringInfoData buffer;
	StringInfoData packed;
	double		begin = bench_now();
	double		seconds;
	int64		rows = 0;

	initStringInfo(&buffer);
	initStringInfo(&packed);
	do
	{
		resetStringInfo(&buffer);
		resetStringInfo(&packed);
		if (!lines)
			tlsf_encode_rows(&buffer, batch);
		else if (tlsf_encode_lines(&buffer, batch, &table, 0) !=
				 batch->nrows || !tlsf_compress(&packed, &buffer))
			exit(1);
		rows += batch->nrows;
		seconds = bench_now() - begin;
	} while (seconds < SECONDS_EACH);
	printf("%s%s %.0f rows/s, %.2f us a row, %d bytes a row", lines ? ", " : "",
		   what, rows / seconds, 1e6 * seconds / rows,
		   (int) ((lines ? packed.len : buffer.len) / batch->nrows));
	if (lines)
		printf("\n");
}
