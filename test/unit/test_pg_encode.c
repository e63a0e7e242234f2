/* sources: backends/postgres/encode.c
 * libs: -lpq
 *-------------------------------------------------------------------------
 *
 * test_pg_encode.c
 *	  Golden bytes of binary COPY.
 *
 * The values are what the send functions of a server print for the same
 * input (numeric_send and so on), but for trailing zero digits of a numeric,
 * which the server would leave out and reads all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "../../backends/postgres/tlpg.h"
#include "unit.h"

/* The first of ids, as a string. */
#define UUID_BYTES		"\x00\x11\x22\x33\x44\x55\x66\x77" \
						"\x88\x99\xaa\xbb\xcc\xdd\xee\xff"

/* Two events; the second has a NULL in each column that allows it. */
static const pg_uuid_t ids[2] = {
	{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
	{{0xff, [15] = 0x01}}
};
static const uint8 first_only[8] = {0x01};
static const int64 first_int[2] = {-2, 7};
static const double duration[2] = {1.5, 0};
static const int32 text_offsets[3] = {0, 3, 3};
static const int32 json_offsets[3] = {0, 2, 4};

/* Encodes one value in a batch of one row; its field with the length word. */
static StringInfo
field(TlType type, const void *values, const char *data)
{
	TlColumn	column = {"c", type, true, false, 0, NULL, values, data};
	TlBatch		batch = {.nrows = 1, .ncolumns = 1, .columns = &column,
	.event_ids = ids};
	TlpgEncoder encoder;
	StringInfo	out = makeStringInfo();

	tlpg_encoder_init(&encoder, &batch);
	tlpg_encode_rows(&encoder, out, INT_MAX);
	CHECK_MEM(out->data, "\0\2\0\0\0\20" UUID_BYTES, 22);
	out->data += 22;
	out->len -= 22;
	return out;
}

#define CHECK_FIELD(field_, expected) \
	do { \
		StringInfo	f = (field_); \
		CHECK_INT(f->len, sizeof(expected) - 1); \
		CHECK_MEM(f->data, expected, Min(f->len, sizeof(expected) - 1)); \
	} while (0)

static void
check_decimal(int64 value, const char *expected, int len)
{
	StringInfo	f = field(TL_DECIMAL, &value, NULL);

	CHECK_INT(f->len, len);
	CHECK_MEM(f->data, expected, Min(f->len, len));
}

#define CHECK_DECIMAL(value, expected) \
	check_decimal(INT64CONST(value), expected, sizeof(expected) - 1)

static void
test_numeric(void)
{
	unit_test("numeric");
	CHECK_DECIMAL(0, "\0\0\0\10\0\0\0\0\0\0\0\10");
	CHECK_DECIMAL(100000000,
				  "\0\0\0\16\0\3\0\0\0\0\0\10\0\1\0\0\0\0");
	CHECK_DECIMAL(-100000000,
				  "\0\0\0\16\0\3\0\0\100\0\0\10\0\1\0\0\0\0");
	CHECK_DECIMAL(1, "\0\0\0\12\0\1\377\376\0\0\0\10\0\1");
	CHECK_DECIMAL(10000, "\0\0\0\14\0\2\377\377\0\0\0\10\0\1\0\0");
	CHECK_DECIMAL(1234567890000,
				  "\0\0\0\20\0\4\0\1\0\0\0\10\0\1\x09\x29\x1a\x85\0\0");
	CHECK_DECIMAL(999999999999999999,
				  "\0\0\0\22\0\5\0\2\0\0\0\10\0\x63\x27\x0f\x27\x0f\x27\x0f\x27\x0f");
	check_decimal(PG_INT64_MIN, "\0\0\0\10\0\0\0\0\300\0\0\0", 12);
}

static void
test_fixed_width(void)
{
	int64		epoch = 0;
	int64		later = INT64CONST(1767323045678901);
	int64		forever = PG_INT64_MAX;
	int64		never = PG_INT64_MIN;

	unit_test("fixed width");
	CHECK_FIELD(field(TL_INT64, first_int, NULL),
				"\0\0\0\10\377\377\377\377\377\377\377\376");
	CHECK_FIELD(field(TL_FLOAT64, duration, NULL),
				"\0\0\0\10\x3f\xf8\0\0\0\0\0\0");
	CHECK_FIELD(field(TL_UUID, ids, NULL), "\0\0\0\20" UUID_BYTES);
	CHECK_FIELD(field(TL_TIMESTAMP, &epoch, NULL),
				"\0\0\0\10\xff\xfc\xa2\xfe\xc4\xc8\x20\x00");
	CHECK_FIELD(field(TL_TIMESTAMP, &later, NULL),
				"\0\0\0\10\x00\x02\xea\x5d\xbb\x1f\x6f\x35");
	CHECK_FIELD(field(TL_TIMESTAMP, &forever, NULL),
				"\0\0\0\10\x7f\xff\xff\xff\xff\xff\xff\xff");
	CHECK_FIELD(field(TL_TIMESTAMP, &never, NULL),
				"\0\0\0\10\x80\0\0\0\0\0\0\0");
	CHECK_INT(tlpg_timestamp_from_server(tlpg_timestamp_to_server(later)),
			  later);
	CHECK_INT(tlpg_timestamp_from_server(forever), forever);
	CHECK_INT(tlpg_timestamp_from_server(never), never);
}

static void
test_texts(void)
{
	static const int32 empty[2] = {0, 0};

	unit_test("texts");
	CHECK_FIELD(field(TL_TEXT, text_offsets, "abc"), "\0\0\0\3" "abc");
	CHECK_FIELD(field(TL_TEXT, empty, NULL), "\0\0\0\0");
	CHECK_FIELD(field(TL_JSON, json_offsets, "{}[]"), "\0\0\0\3\1{}");
}

/* The whole of a COPY; event_id comes first wherever the batch has it. */
static void
test_whole_batch(void)
{
	static const char expected[] =
		"PGCOPY\n\377\r\n\0" "\0\0\0\0" "\0\0\0\0"
		"\0\3" "\0\0\0\20" UUID_BYTES "\0\0\0\3" "abc"
		"\0\0\0\10\377\377\377\377\377\377\377\376"
		"\0\3" "\0\0\0\20" "\377\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
		"\377\377\377\377" "\0\0\0\10\0\0\0\0\0\0\0\7"
		"\377\377";
	TlColumn	columns[3] = {
		{"t", TL_TEXT, true, false, 1, first_only, text_offsets, "abc"},
		{"event_id", TL_UUID, false, false, 0, NULL, ids, NULL},
		{"i", TL_INT64, false, false, 0, NULL, first_int, NULL}
	};
	TlBatch		batch = {.nrows = 2, .ncolumns = 3, .columns = columns,
	.event_ids = ids};
	TlpgEncoder encoder;
	StringInfoData out;

	unit_test("whole batch");
	initStringInfo(&out);
	tlpg_encoder_init(&encoder, &batch);
	tlpg_encode_header(&out);
	CHECK(tlpg_encode_rows(&encoder, &out, out.len + 1));	/* one row only */
	CHECK_INT(encoder.next_row, 1);
	CHECK(!tlpg_encode_rows(&encoder, &out, INT_MAX));
	tlpg_encode_trailer(&out);
	CHECK_INT(out.len, sizeof(expected) - 1);
	CHECK_MEM(out.data, expected, Min(out.len, sizeof(expected) - 1));
}

static void
test_uuid_array(void)
{
	static const char expected[] =
		"\0\0\0\1\0\0\0\0\0\0\x0b\x86\0\0\0\1\0\0\0\1" "\0\0\0\20" UUID_BYTES;
	StringInfoData out;

	unit_test("uuid array");
	initStringInfo(&out);
	tlpg_encode_uuid_array(&out, ids, 1);
	CHECK_INT(out.len, sizeof(expected) - 1);
	CHECK_MEM(out.data, expected, Min(out.len, sizeof(expected) - 1));
	CHECK_INT(tlpg_decode_int64("\377\377\377\377\377\377\377\376"), -2);
}

int
main(void)
{
	test_numeric();
	test_fixed_width();
	test_texts();
	test_whole_batch();
	test_uuid_array();
	return unit_done();
}
