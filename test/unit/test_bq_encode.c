/* sources: backends/bigquery/encode.c
 *-------------------------------------------------------------------------
 *
 * test_bq_encode.c
 *	  Golden bytes of AppendRowsRequest, by the rules of protocol buffers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/common/tl_proto.h"
#include "../../backends/bigquery/tlbq.h"
#include "unit.h"

#define ID_TEXT			"00112233-4455-6677-8899-aabbccddeeff"

static const pg_uuid_t ids[2] = {
	{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
	{{0}}
};
static const int64 times[] = {-1, 1};
static const int64 zeros[] = {0, 300};
static const double doubles[] = {1.5, 0};
static const int64 costs[] = {-1, INT64CONST(123456789012345678)};
static const int32 offsets[] = {0, 0, 3};
static const uint8 second[] = {0x02};

static const TlColumn columns[] = {
	{.name = "event_id", .type = TL_UUID, .values = ids},
	{.name = "timestamp", .type = TL_TIMESTAMP, .values = times},
	{.name = "input_tokens", .type = TL_INT64, .values = zeros},
	{.name = "duration_ms", .type = TL_FLOAT64, .values = doubles},
	{.name = "cost_usd", .type = TL_DECIMAL, .values = costs},
	{.name = "model", .type = TL_TEXT, .values = offsets, .data = "gpt"},
	{.name = "metadata", .type = TL_JSON, .null_count = 1, .nullable = true,
	.validity = second, .values = offsets, .data = "{ }"}
};

/* ID_TEXT is 36 bytes, "-0.00000001" 11. */
static const char first_row[] =
	"\x0a\x4b"
	"\x0a\x24" ID_TEXT
	"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	"\x18\x00"
	"\x21\x00\x00\x00\x00\x00\x00\xf8\x3f"
	"\x2a\x0b-0.00000001"
	"\x32\x00";

static const char second_row[] =
	"\x0a\x53"
	"\x0a\x24" "00000000-0000-0000-0000-000000000000"
	"\x10\x01"
	"\x18\xac\x02"
	"\x21\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x2a\x13" "1234567890.12345678"
	"\x32\x03gpt"
	"\x3a\x03{ }";

static void
test_rows(void)
{
	TlBatch		batch = {.nrows = 2, .ncolumns = lengthof(columns),
	.columns = columns};
	StringInfoData out;
	Size		first_len = sizeof(first_row) - 1;

	unit_test("rows: zero and the empty text are there, NULL is not");
	initStringInfo(&out);
	tlbq_encode_rows(&out, &batch);
	CHECK_INT(out.len, first_len + sizeof(second_row) - 1);
	CHECK_MEM(out.data, first_row, first_len);
	CHECK_MEM(out.data + first_len, second_row, sizeof(second_row) - 1);
}

/* The length before a row takes one byte, two, three. */
static void
test_lengths(void)
{
	static const int lens[] = {10, 124, 125, 16379, 16380, 200000};

	unit_test("rows of all lengths");
	for (int i = 0; i < lengthof(lens); i++)
	{
		int32		ends[] = {0, lens[i]};
		char	   *data = palloc(lens[i]);
		TlColumn	column = {.name = "model", .type = TL_TEXT,
		.values = ends, .data = data};
		TlBatch		batch = {.nrows = 1, .ncolumns = 1, .columns = &column};
		StringInfoData out;
		char		head[32];
		char	   *p = head;
		char		inner[16];
		char	   *q = inner;

		memset(data, 'x', lens[i]);
		initStringInfo(&out);
		tlbq_encode_rows(&out, &batch);
		*q++ = 0x0a;
		q = tl_put_varint(q, lens[i]);
		*p++ = 0x0a;
		p = tl_put_varint(p, q - inner + lens[i]);
		memcpy(p, inner, q - inner);
		p += q - inner;
		CHECK_INT(out.len, p - head + lens[i]);
		CHECK_MEM(out.data, head, p - head);
		CHECK_MEM(out.data + (p - head), data, lens[i]);
	}
}

/* Fields from 16 on have tags of two bytes. */
static void
test_many_columns(void)
{
	TlColumn	many[20];
	TlBatch		batch = {.nrows = 1, .ncolumns = 20, .columns = many};
	StringInfoData out;

	unit_test("tags of two bytes");
	for (int i = 0; i < 20; i++)
		many[i] = columns[2];
	initStringInfo(&out);
	tlbq_encode_rows(&out, &batch);
	CHECK_INT(out.len, 2 + 15 * 2 + 5 * 3);
	CHECK_MEM(out.data + 2 + 15 * 2, "\x80\x01\x00\x88\x01\x00", 6);
}

static void
test_request(void)
{
	TlBatch		batch = {.nrows = 1, .ncolumns = 1, .columns = columns};
	static const char schema[] =
		"\x0a\x19"
		"\x0a\x05" "Event"
		"\x12\x10" "\x0a\x08" "event_id" "\x18\x01" "\x20\x01" "\x28\x09";
	static const char row[] = "\x0a\x26\x0a\x24" ID_TEXT;
	static const char at_zero[] = "\x00\x00\x00\x00\x4e"
		"\x0a\x01s" "\x12\x00" "\x22\x47" "\x0a\x1b";
	StringInfoData out;
	StringInfoData buffer;
	TlbqAppend	append;

	unit_test("the writer's schema");
	initStringInfo(&out);
	tlbq_encode_schema(&out, &batch);
	CHECK_INT(out.len, sizeof(schema) - 1);
	CHECK_MEM(out.data, schema, sizeof(schema) - 1);

	unit_test("a request at offset 0, which is there but empty");
	initStringInfo(&buffer);
	tlbq_encode_append(&batch, "s", 0, &buffer, &append);
	CHECK_INT(append.len, sizeof(at_zero) - 1 + sizeof(schema) - 1 +
			  2 + sizeof(row) - 1);
	CHECK_MEM(append.data, at_zero, sizeof(at_zero) - 1);
	CHECK_MEM(append.data + sizeof(at_zero) - 1, schema, sizeof(schema) - 1);
	CHECK_MEM(append.data + append.len - (sizeof(row) - 1), row,
			  sizeof(row) - 1);

	unit_test("a request at another offset, and at none");
	resetStringInfo(&buffer);
	tlbq_encode_append(&batch, "s", 300, &buffer, &append);
	CHECK_MEM(append.data + 5, "\x0a\x01s\x12\x03\x08\xac\x02\x22", 9);
	resetStringInfo(&buffer);
	tlbq_encode_append(&batch, "s", -1, &buffer, &append);
	CHECK_MEM(append.data + 5, "\x0a\x01s\x22", 4);
}

static void
test_decimals(void)
{
	static const struct
	{
		int64		value;
		const char *text;
	}			pairs[] = {
		{0, "0.00000000"},
		{1, "0.00000001"},
		{-100000000, "-1.00000000"},
		{INT64CONST(999999999999999999), "9999999999.99999999"},
		{PG_INT64_MAX, "92233720368.54775807"},
		{-PG_INT64_MAX, "-92233720368.54775807"}
	};

	unit_test("decimals");
	for (int i = 0; i < lengthof(pairs); i++)
	{
		char		text[32];

		*tlbq_put_decimal(text, pairs[i].value) = '\0';
		CHECK_STR(text, pairs[i].text);
	}
}

int
main(void)
{
	test_rows();
	test_lengths();
	test_many_columns();
	test_request();
	test_decimals();
	return unit_done();
}
