/* sources: backends/kafka/encode.c backends/kafka/fields.c
 * sources: backends/kafka/protobuf.c
 *-------------------------------------------------------------------------
 *
 * test_kf_protobuf.c
 *	  Messages of backend kafka: an event as a protocol buffer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/kafka/tlkf.h"
#include "unit.h"

static const pg_uuid_t id = {
	{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
};
static const int64 time_value = -1;
static const double duration = 0.1;
static const int64 zero = 0;
static const int64 largest = PG_INT64_MAX;
static const int64 smallest = PG_INT64_MIN;
static const int64 cost = -INT64CONST(123456789012345678);
static const int64 cached = 300;
static const int32 no_text[2] = {0, 0};
static const int32 two_bytes[2] = {0, 2};
static const int32 three_bytes[2] = {0, 3};
static const uint8 null[1] = {0};

/* An event as text, given to protoc-c --encode=tokenledger.Event event.proto:
 *
 *		event_id: "00112233-4455-6677-8899-aabbccddeeff"
 *		timestamp: -1
 *		duration_ms: 0.1
 *		provider: ""
 *		input_tokens: 0
 *		output_tokens: 9223372036854775807
 *		total_tokens: -9223372036854775808
 *		cost_usd: "-1234567890.12345678"
 *		organization_id: "\303\251"
 *		cached_tokens: 300
 *		metadata_extra: "[1]"
 */
static const uint8 golden[] = {
	0x0a, 0x24, 0x30, 0x30, 0x31, 0x31, 0x32, 0x32, 0x33, 0x33, 0x2d, 0x34,
	0x34, 0x35, 0x35, 0x2d, 0x36, 0x36, 0x37, 0x37, 0x2d, 0x38, 0x38, 0x39,
	0x39, 0x2d, 0x61, 0x61, 0x62, 0x62, 0x63, 0x63, 0x64, 0x64, 0x65, 0x65,
	0x66, 0x66, 0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0x01, 0x31, 0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f, 0x3a, 0x00,
	0x48, 0x00, 0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	0x58, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x62,
	0x14, 0x2d, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x30,
	0x2e, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x8a, 0x01, 0x02,
	0xc3, 0xa9, 0xd0, 0x01, 0xac, 0x02, 0x8a, 0x02, 0x03, 0x5b, 0x31, 0x5d
};

static const TlColumn event[] = {
	{.name = "event_id", .type = TL_UUID,.values = &id},
	{.name = "timestamp", .type = TL_TIMESTAMP,.values = &time_value},
	{.name = "duration_ms", .type = TL_FLOAT64,.values = &duration},
	{.name = "provider", .type = TL_TEXT,.values = no_text,.data = ""},
	{.name = "model", .type = TL_TEXT,.values = no_text,.data = "",
	.validity = null,.null_count = 1},
	{.name = "input_tokens", .type = TL_INT64,.values = &zero},
	{.name = "output_tokens", .type = TL_INT64,.values = &largest},
	{.name = "total_tokens", .type = TL_INT64,.values = &smallest},
	{.name = "cost_usd", .type = TL_DECIMAL,.values = &cost},
	{.name = "organization_id", .type = TL_TEXT,.values = two_bytes,
	.data = "\xc3\xa9"},
	{.name = "cached_tokens", .type = TL_INT64,.values = &cached},
	{.name = "metadata_extra", .type = TL_JSON,.values = three_bytes,
	.data = "[1]"}
};

static StringInfo
encoded(const TlColumn *columns, int ncolumns)
{
	TlBatch		batch = {.nrows = 1, .ncolumns = ncolumns,.columns = columns};
	StringInfo	out = makeStringInfo();

	tlkf_encode_row(tlkf_encoder_create(&batch, TLKF_PROTOBUF), 0, out);
	return out;
}

static void
test_golden(void)
{
	StringInfo	out = encoded(event, lengthof(event));

	unit_test("an event as protoc has it");
	CHECK_INT(out->len, sizeof(golden));
	CHECK_MEM(out->data, golden, sizeof(golden));

	unit_test("nothing but NULLs");
	CHECK_INT(encoded(&event[4], 1)->len, 0);
}

static void
test_nan(void)
{
	TlColumn	column = {.name = "cost_usd", .type = TL_DECIMAL,
	.values = &smallest};
	StringInfo	out = encoded(&column, 1);

	unit_test("a cost that is not a number");
	CHECK_INT(out->len, 5);
	CHECK_MEM(out->data, "\x62\x03NaN", 5);
}

static void
test_length(void)
{
	StringInfo	out = makeStringInfo();

	unit_test("lengths before messages");
	tlkf_put_length(out, 127);
	tlkf_put_length(out, 300);
	CHECK_INT(out->len, 3);
	CHECK_MEM(out->data, "\x7f\xac\x02", 3);
}

static void
test_numbers(void)
{
	unit_test("numbers of fields");
	CHECK_INT(tlkf_field_number("event_id"), 1);
	CHECK_INT(tlkf_field_number("response_preview"), 25);
	CHECK_INT(tlkf_field_number("cached_tokens"), 26);
	CHECK_INT(tlkf_field_number("metadata_extra"), 33);
	CHECK_INT(tlkf_field_number("ingest_xid"), 0);
}

int
main(void)
{
	test_golden();
	test_nan();
	test_length();
	test_numbers();
	return unit_done();
}
