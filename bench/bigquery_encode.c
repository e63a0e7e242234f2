/*-------------------------------------------------------------------------
 *
 * bigquery_encode.c
 *	  How fast the columns of a batch become a request for BigQuery.
 *
 * Usage: bigquery_encode ROWS.  Built by bench/run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../backends/bigquery/tlbq.h"
#include "encode_batch.h"

#define SECONDS_EACH	2

int
main(int argc, char **argv)
{
	TlBatch		batch;
	StringInfoData buffer;
	TlbqAppend	append;
	double		begin;
	double		seconds;
	int64		rows = 0;

	bench_make_batch(&batch, argc > 1 ? atoi(argv[1]) : 10000);
	initStringInfo(&buffer);
	begin = bench_now();
	do
	{
		resetStringInfo(&buffer);
		tlbq_encode_append(&batch, "projects/p/datasets/d/tables/t/streams/s",
						   rows, &buffer, &append);
		rows += batch.nrows;
		seconds = bench_now() - begin;
	} while (seconds < SECONDS_EACH);
	printf("%.0f rows/s, %.2f us a row, %d bytes a row\n", rows / seconds,
		   1e6 * seconds / rows, (int) (append.len / batch.nrows));
	return 0;
}
