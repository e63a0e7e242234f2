/* fuzz_encode.c
 * sources: backends/clickhouse/encode.c backends/clickhouse/dictionary.c
 * sources: backends/clickhouse/columns.c backends/clickhouse/screen.c
 * sources: backends/clickhouse/compress.c backends/postgres/encode.c
 * sources: src/batch_subset.c src/ledger_columns.c
 * sources: backends/common/tl_columns.c
 * sources: backends/common/tl_screen.c backends/common/tl_verdict.c
 * libs: -lzstd -llz4 -lpq
 *-------------------------------------------------------------------------
 *
 * fuzz_encode.c
 *	  Batches, whole and in part, through the encoders.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "../../backends/postgres/tlpg.h"
#include "batch.h"
#include "fuzz.h"

const bool	fuzz_may_throw = false;

static bool
collect(void *arg, const void *data, Size len)
{
	appendBinaryStringInfo(arg, data, len);
	return true;
}

static void
encode_native(const TlBatch *batch, TlchCompression compression)
{
	StringInfoData out;
	const char *error = NULL;
	TlchCompressor *compressor;

	initStringInfo(&out);
	FUZZ_CHECK(tlch_encode_block(batch, collect, &out));
	if (compression == TLCH_NONE)
		return;
	compressor = tlch_compressor_create(CurrentMemoryContext, compression, 1,
										&error);
	FUZZ_CHECK(compressor != NULL);
	resetStringInfo(&out);
	FUZZ_CHECK(tlch_compress_begin(compressor, &out) &&
			   tlch_encode_block(batch, tlch_compress, compressor) &&
			   tlch_compress_end(compressor));
}

static void
encode_copy(const TlBatch *batch)
{
	StringInfoData out;
	TlpgEncoder encoder;

	initStringInfo(&out);
	tlpg_encoder_init(&encoder, batch);
	tlpg_encode_header(&out);
	while (tlpg_encode_rows(&encoder, &out, out.len + 100))
		;
	tlpg_encode_trailer(&out);
	tlpg_encode_uuid_array(&out, batch->event_ids, batch->nrows);
}

static void
screen(const TlBatch *batch)
{
	const char **reasons = palloc0(Max(batch->nrows, 1) * sizeof(char *));
	TlchTable	table = {.exists = true};
	int32		refused = tlch_screen(batch, &table, reasons);

	for (int32 row = 0; row < batch->nrows; row++)
		refused -= reasons[row] != NULL;
	FUZZ_CHECK(refused == 0);
	if (batch->nrows > 0 && tlch_too_many_months(batch))
		(void) tlch_by_month(batch);
}

void
fuzz_one(const char *text, size_t len)
{
	FuzzInput	input = {text, len};
	TlBatch		batch;
	TlBatch		some;
	int32		rows[32];
	int32		nrows = 0;
	uint64		wanted = fuzz_take(&input, 3);

	fuzz_batch(&input, &batch);
	screen(&batch);
	if (wanted >> 20 == 0)		/* seldom: it is slow */
		encode_native(&batch, wanted % (TLCH_ZSTD + 1));
	encode_copy(&batch);
	for (int32 row = 0; row < batch.nrows; row++)
		if ((wanted >> row & 1) != 0)
			rows[nrows++] = row;
	memset(&some, 0, sizeof(some));
	batch_subset(&batch, rows, nrows, &some);
	FUZZ_CHECK(some.nrows == nrows);
	encode_native(&some, TLCH_NONE);
	encode_copy(&some);
}
