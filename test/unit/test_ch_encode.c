/* sources: backends/clickhouse/encode.c backends/clickhouse/dictionary.c
 * sources: backends/clickhouse/columns.c backends/common/tl_columns.c
 *-------------------------------------------------------------------------
 *
 * test_ch_encode.c
 *	  Golden bytes of ClickHouse's Native format.
 *
 * The engine itself wrote the golden file, two blocks of one row each, and
 * read it back.  Where it is at hand (TOKENLEDGER_VECTORS names its
 * directory), each of its columns whose type is one of ours is compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>

#include "../../backends/clickhouse/tlch.h"
#include "unit.h"

static const pg_uuid_t ids[2] = {
	{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
	{{0xff, 0xff, 0xff, 0xff, [15] = 0x01}}
};

static bool
collect(void *arg, const void *data, Size len)
{
	appendBinaryStringInfo(arg, data, len);
	return true;
}

/* A block of one column. */
static StringInfo
block(const TlColumn *column, int32 nrows)
{
	TlBatch		batch = {.nrows = nrows, .ncolumns = 1, .columns = column};
	StringInfo	out = makeStringInfo();

	CHECK(tlch_encode_block(&batch, collect, out));
	return out;
}

static void
check_block(const TlColumn *column, int32 nrows, const char *expected,
			int len)
{
	StringInfo	out = block(column, nrows);

	CHECK_INT(out->len, len);
	CHECK_MEM(out->data, expected, Min(out->len, len));
}

#define CHECK_BLOCK(column, nrows, expected) \
	check_block(column, nrows, expected, sizeof(expected) - 1)

/* The golden file's column of this name, without that name, in its block. */
static const char *
golden(const char *contents, Size size, int nth, const char *name, Size *left)
{
	Size		len = strlen(name);

	for (Size i = 0; i + len < size; i++)
		if (contents[i] == (char) len &&
			memcmp(contents + i + 1, name, len) == 0 && nth-- == 0)
		{
			*left = size - i - 1 - len;
			return contents + i + 1 + len;
		}
	*left = 0;
	return NULL;
}

/* Our encoding of a value, against the golden file's of another name. */
static void
check_golden(const char *contents, Size size, int nth,
			 const char *golden_name, const TlColumn *column)
{
	StringInfo	ours = block(column, 1);
	Size		skip = 3 + strlen(column->name);	/* counts and the name */
	Size		left;
	const char *theirs = golden(contents, size, nth, golden_name, &left);

	if (CHECK(theirs != NULL && left >= ours->len - skip))
		CHECK_MEM(ours->data + skip, theirs, ours->len - skip);
}

static const int32 red[] = {0, 3};
static const int32 eu[] = {0, 2};
static const int32 none[] = {0, 0};
static const int32 blue[] = {0, 4};
static const uint8 no_bit[] = {0};
static const int64 times[] = {INT64CONST(1704164645678901), 1};
static const int64 costs[] = {123456789, -1};
static const double scores[] = {0.5, -1};

static void
test_golden_file(void)
{
	const char *dir = getenv("TOKENLEDGER_VECTORS");
	static char contents[4096];
	Size		size;
	FILE	   *file;

	unit_test("the engine's own bytes");
	if (dir == NULL)
	{
		unit_skip("TOKENLEDGER_VECTORS is not set");
		return;
	}
	file = fopen(psprintf("%s/clickhouse_golden.native", dir), "rb");
	if (!CHECK(file != NULL))
		return;
	size = fread(contents, 1, sizeof(contents), file);
	fclose(file);
	for (int row = 0; row < 2; row++)
	{
		TlColumn	id = {.name = "event_id", .type = TL_UUID, .values = &ids[row]};
		TlColumn	ts = {.name = "timestamp", .type = TL_TIMESTAMP,
		.values = &times[row]};
		TlColumn	team = {.name = "provider", .type = TL_TEXT,
			.values = row == 0 ? red : blue, .data = row == 0 ? "red" : "blue"};
		TlColumn	region = {.name = "team", .type = TL_TEXT, .nullable = true,
			.null_count = row == 0, .validity = row == 0 ? no_bit : NULL,
		.values = row == 0 ? none : eu, .data = "eu"};
		TlColumn	cost = {.name = "x", .type = TL_DECIMAL,
		.values = &costs[row]};
		TlColumn	score = {.name = "x", .type = TL_FLOAT64,
		.values = &scores[row]};
		TlColumn	text = {.name = "endpoint", .type = TL_TEXT,
			.nullable = true, .null_count = row, .values = row ? none : eu,
		.validity = row ? no_bit : NULL, .data = "hi"};

		check_golden(contents, size, row, "event_id", &id);
		check_golden(contents, size, row, "ts", &ts);
		check_golden(contents, size, row, "team", &team);
		check_golden(contents, size, row, "region", &region);
		check_golden(contents, size, row, "cost", &cost);
		check_golden(contents, size, row, "score", &score);
		check_golden(contents, size, row, "note", &text);
	}
}

static void
test_fixed(void)
{
	static const int64 values[3] = {1, -2, 0x1122334455667788};
	static const uint8 first_and_last[1] = {0x05};
	TlColumn	column = {.name = "a", .type = TL_INT64, .values = values};

	unit_test("numbers are copied as they stand");
	CHECK_BLOCK(&column, 3, "\1\3\1a\5Int64"
				"\1\0\0\0\0\0\0\0" "\xfe\xff\xff\xff\xff\xff\xff\xff"
				"\x88\x77\x66\x55\x44\x33\x22\x11");

	unit_test("a NULL is marked, and zero stands in its place");
	column.nullable = true;
	column.null_count = 1;
	column.validity = first_and_last;
	CHECK_BLOCK(&column, 3, "\1\3\1a\17Nullable(Int64)" "\0\1\0"
				"\1\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0"
				"\x88\x77\x66\x55\x44\x33\x22\x11");

	unit_test("the ledger's own columns have their own types");
	column.name = "cost_usd";
	column.type = TL_DECIMAL;
	column.null_count = 0;
	column.validity = NULL;
	CHECK_BLOCK(&column, 1, "\1\1\10cost_usd\30Nullable(Decimal(18, 8))"
				"\0" "\1\0\0\0\0\0\0\0");
}

static void
test_texts(void)
{
	static const int32 offsets[4] = {0, 2, 2, 5};
	static const uint8 not_second[1] = {0x05};
	static char large[300];
	static const int32 large_offsets[2] = {0, 300};
	TlColumn	column = {.name = "user_id", .type = TL_TEXT,
		.nullable = true, .null_count = 1, .validity = not_second,
	.values = offsets, .data = "hixyz"};
	StringInfo	out;

	unit_test("texts");
	CHECK_BLOCK(&column, 3, "\1\3\7user_id\20Nullable(String)" "\0\1\0"
				"\2hi" "\0" "\3xyz");

	unit_test("a length of two bytes");
	memset(large, 'z', sizeof(large));
	column = (TlColumn) {.name = "t", .type = TL_JSON,
	.values = large_offsets, .data = large};
	out = block(&column, 1);
	CHECK_INT(out->len, 2 + 2 + 7 + 2 + 300);
	CHECK_MEM(out->data + 11, "\xac\2zz", 4);

	unit_test("a column without any data");
	column = (TlColumn) {.name = "t", .type = TL_TEXT, .values = none};
	CHECK_BLOCK(&column, 1, "\1\1\1t\6String\0");
}

static void
test_dictionary(void)
{
	static const int32 offsets[6] = {0, 1, 2, 3, 3, 4};
	static const uint8 not_fourth[1] = {0x17};
	TlColumn	column = {.name = "model", .type = TL_TEXT,
	.values = offsets, .data = "abab"};

	unit_test("a dictionary begins with the empty text");
	CHECK_BLOCK(&column, 3, "\1\3\5model\26LowCardinality(String)"
				"\1\0\0\0\0\0\0\0" "\0\6\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0"
				"\0\1a\1b" "\3\0\0\0\0\0\0\0" "\1\2\1");

	unit_test("a nullable one with NULL, then the empty text");
	column.name = "status";
	column.nullable = true;
	column.null_count = 1;
	column.validity = not_fourth;
	CHECK_BLOCK(&column, 5, "\1\5\6status\40LowCardinality(Nullable(String))"
				"\1\0\0\0\0\0\0\0" "\0\6\0\0\0\0\0\0" "\4\0\0\0\0\0\0\0"
				"\0\0\1a\1b" "\5\0\0\0\0\0\0\0" "\2\3\2\0\3");
}

/* Numbers get wider with the dictionary. */
static void
test_large_dictionary(int32 nrows, int width, int code)
{
	int32	   *offsets = palloc((nrows + 1) * sizeof(int32));
	StringInfo	data = makeStringInfo();
	TlColumn	column = {.name = "provider", .type = TL_TEXT};
	StringInfo	out;
	Size		keys = 0;

	for (int32 i = 0; i < nrows; i++)
	{
		offsets[i] = data->len;
		appendStringInfo(data, "%06d", i);
	}
	offsets[nrows] = data->len;
	column.values = offsets;
	column.data = data->data;
	out = block(&column, nrows);
	keys = 1 + (Size) nrows * 7;
	unit_test(psprintf("%d distinct texts", nrows));
	CHECK_INT((unsigned char) out->data[out->len - nrows * width - 8 - keys -
										16], code);
	for (int32 i = 0; i < nrows; i++)
	{
		uint32		number = 0;

		memcpy(&number, out->data + out->len - (nrows - i) * width, width);
		if (number != (uint32) i + 1)
		{
			CHECK_INT(number, i + 1);
			break;
		}
	}
}

int
main(void)
{
	test_golden_file();
	test_fixed();
	test_texts();
	test_dictionary();
	test_large_dictionary(255, 1, 0);
	test_large_dictionary(256, 2, 1);
	test_large_dictionary(65535, 2, 1);
	test_large_dictionary(65536, 4, 2);
	return unit_done();
}
