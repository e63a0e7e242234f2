/* sources: backends/clickhouse/compress.c
 * libs: -lzstd -llz4
 *-------------------------------------------------------------------------
 *
 * test_ch_compress.c
 *	  What is compressed comes back, and a damaged frame is noticed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <lz4frame.h>
#include <zstd.h>

#include "../../backends/clickhouse/tlch.h"
#include "unit.h"

static const Size pieces[] = {1, 0, 70000, 3, 300000, 65536, 1};

static char plain[500000];
static char back[500000];

/* In pieces; some of them are larger than what the libraries take at once. */
static void
compress(TlchCompressor *compressor, StringInfo out, Size *size)
{
	*size = 0;
	resetStringInfo(out);
	CHECK(tlch_compress_begin(compressor, out));
	for (int i = 0; i < lengthof(pieces); i++)
	{
		CHECK(tlch_compress(compressor, plain + *size, pieces[i]));
		*size += pieces[i];
	}
	CHECK(tlch_compress_end(compressor));
}

static Size
decompress_lz4(const StringInfo in)
{
	LZ4F_dctx  *context;
	size_t		to = sizeof(back);
	size_t		from = in->len;
	size_t		rc;

	LZ4F_createDecompressionContext(&context, LZ4F_VERSION);
	rc = LZ4F_decompress(context, back, &to, in->data, &from, NULL);
	LZ4F_freeDecompressionContext(context);
	return rc == 0 ? to : 0;
}

static Size
decompress(TlchCompression kind, const StringInfo in)
{
	size_t		size;

	memset(back, 0, sizeof(back));
	if (kind == TLCH_LZ4)
		return decompress_lz4(in);
	size = ZSTD_decompress(back, sizeof(back), in->data, in->len);
	return ZSTD_isError(size) ? 0 : size;
}

static void
test_round_trip(TlchCompression kind, const char *name)
{
	const char *error;
	TlchCompressor *compressor =
		tlch_compressor_create(CurrentMemoryContext, kind, 3, &error);
	StringInfoData out;
	Size		size;

	unit_test(name);
	initStringInfo(&out);
	for (int again = 0; again < 2; again++)
	{
		compress(compressor, &out, &size);
		CHECK(out.len < size / 2);
		CHECK_INT(decompress(kind, &out), size);
		CHECK_INT(memcmp(back, plain, size), 0);
	}

	unit_test(psprintf("%s: a flipped bit, a missing end", name));
	out.data[out.len - 1] ^= 1;
	CHECK_INT(decompress(kind, &out), 0);
	out.data[out.len - 1] ^= 1;
	out.len -= 4;
	CHECK_INT(decompress(kind, &out), 0);
}

static void
test_none(void)
{
	const char *error;
	TlchCompressor *compressor =
		tlch_compressor_create(CurrentMemoryContext, TLCH_NONE, 1, &error);
	StringInfoData out;
	Size		size;

	unit_test("none");
	initStringInfo(&out);
	compress(compressor, &out, &size);
	CHECK_INT(out.len, size);
	CHECK_INT(memcmp(out.data, plain, size), 0);
}

int
main(void)
{
	for (Size i = 0; i < sizeof(plain); i++)
		plain[i] = "abcdefgh"[i % 7 + (i / 1000) % 2];
	test_round_trip(TLCH_ZSTD, "zstd");
	test_round_trip(TLCH_LZ4, "lz4");
	test_none();
	return unit_done();
}
