/* sources: backends/kafka/encode.c backends/kafka/fields.c
 * sources: backends/kafka/protobuf.c
 *-------------------------------------------------------------------------
 *
 * test_kf_encode.c
 *	  Messages of backend kafka: an event as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "../../backends/kafka/tlkf.h"
#include "unit.h"

#define DAY		INT64CONST(86400000000)

/* The one value of a column, as a member of its object. */
static const char *
encoded(const TlColumn *column)
{
	TlBatch		batch = {.nrows = 1, .ncolumns = 1, .columns = column};
	StringInfo	out = makeStringInfo();

	tlkf_encode_row(tlkf_encoder_create(&batch, TLKF_JSON), 0, out);
	return out->data;
}

static const char *
time_of(int64 value)
{
	TlColumn	column = {.name = "t", .type = TL_TIMESTAMP,.values = &value};

	return encoded(&column);
}

static const char *
refusal_of(int64 value)
{
	TlColumn	column = {.name = "t", .type = TL_TIMESTAMP,.values = &value};
	TlBatch		batch = {.nrows = 1, .ncolumns = 1, .columns = &column};

	return tlkf_refusal(tlkf_encoder_create(&batch, TLKF_JSON), 0);
}

static const char *
double_of(double value)
{
	TlColumn	column = {.name = "d", .type = TL_FLOAT64,.values = &value};

	return encoded(&column);
}

static const char *
decimal_of(int64 value)
{
	TlColumn	column = {.name = "c", .type = TL_DECIMAL,.values = &value};

	return encoded(&column);
}

static const char *
text_of(TlType type, const char *text)
{
	int32		offsets[2] = {0, (int32) strlen(text)};
	TlColumn	column = {.name = "s", .type = type,.values = offsets,
	.data = text};

	return encoded(&column);
}

/* Each byte, wherever it stands among eight, against the plain rule. */
static void
test_escapes(void)
{
	unit_test("escapes at every place");
	for (int byte = 1; byte < 256; byte++)
		for (int at = 0; at < 17; at++)
		{
			char		text[18] = "aaaaaaaaaaaaaaaaa";
			bool		bare = byte >= ' ' && byte != '"' && byte != '\\';
			const char *found;
			StringInfoData expected;

			text[at] = (char) byte;
			found = text_of(TL_TEXT, text);
			initStringInfo(&expected);
			appendStringInfo(&expected, "{\"s\":\"%.*s", at, text);
			CHECK(strncmp(found, expected.data, expected.len) == 0);
			CHECK((found[expected.len] == '\\') == !bare);
			CHECK(strcmp(found + strlen(found) - (16 - at) - 2,
						 psprintf("%s\"}", text + at + 1)) == 0);
		}
}

static void
test_integers(void)
{
	static const int64 values[] = {
		0, 9, 10, -1, 1234567890123, PG_INT64_MAX, PG_INT64_MIN
	};

	unit_test("integers");
	for (int i = 0; i < lengthof(values); i++)
	{
		TlColumn	column = {.name = "n", .type = TL_INT64,
		.values = &values[i]};

		CHECK_STR(encoded(&column),
				  psprintf("{\"n\":" INT64_FORMAT "}", values[i]));
	}
}

static void
test_times(void)
{
	unit_test("times");
	CHECK_STR(time_of(0), "{\"t\":\"1970-01-01T00:00:00.000000Z\"}");
	CHECK_STR(time_of(-1), "{\"t\":\"1969-12-31T23:59:59.999999Z\"}");
	CHECK_STR(time_of(INT64CONST(1704164645678901)),
			  "{\"t\":\"2024-01-02T03:04:05.678901Z\"}");
	CHECK_STR(time_of(11016 * DAY), "{\"t\":\"2000-02-29T00:00:00.000000Z\"}");
	CHECK_STR(time_of(11017 * DAY), "{\"t\":\"2000-03-01T00:00:00.000000Z\"}");
	CHECK_STR(time_of(47540 * DAY), "{\"t\":\"2100-02-28T00:00:00.000000Z\"}");
	CHECK_STR(time_of(47541 * DAY), "{\"t\":\"2100-03-01T00:00:00.000000Z\"}");
	CHECK_STR(time_of(-719162 * DAY), "{\"t\":\"0001-01-01T00:00:00.000000Z\"}");
	CHECK_STR(time_of(2932897 * DAY - 1),
			  "{\"t\":\"9999-12-31T23:59:59.999999Z\"}");

	unit_test("times that JSON's date-time has not");
	CHECK(refusal_of(0) == NULL);
	CHECK(refusal_of(-719162 * DAY) == NULL);
	CHECK(refusal_of(-719162 * DAY - 1) != NULL);
	CHECK(refusal_of(2932897 * DAY - 1) == NULL);
	CHECK(refusal_of(2932897 * DAY) != NULL);
	CHECK(refusal_of(PG_INT64_MAX) != NULL);
	CHECK(refusal_of(PG_INT64_MIN) != NULL);
}

static void
test_numbers(void)
{
	unit_test("numbers");
	CHECK_STR(double_of(0.1), "{\"d\":0.1}");
	CHECK_STR(double_of(1e300), "{\"d\":1e+300}");
	CHECK_STR(double_of(NAN), "{\"d\":\"NaN\"}");
	CHECK_STR(double_of(INFINITY), "{\"d\":\"Infinity\"}");
	CHECK_STR(double_of(-INFINITY), "{\"d\":\"-Infinity\"}");

	unit_test("decimals");
	CHECK_STR(decimal_of(0), "{\"c\":\"0.00000000\"}");
	CHECK_STR(decimal_of(-1), "{\"c\":\"-0.00000001\"}");
	CHECK_STR(decimal_of(INT64CONST(123456789012345678)),
			  "{\"c\":\"1234567890.12345678\"}");
	CHECK_STR(decimal_of(PG_INT64_MIN), "{\"c\":\"NaN\"}");
}

static void
test_texts(void)
{
	unit_test("texts");
	CHECK_STR(text_of(TL_TEXT, ""), "{\"s\":\"\"}");
	CHECK_STR(text_of(TL_TEXT, "a\"b\\c\b\f\n\r\t\x01\x1f\x7f\xc3\xa9"),
			  "{\"s\":\"a\\\"b\\\\c\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"}");
	CHECK_STR(text_of(TL_JSON, "{\"a\": [1, null]}"),
			  "{\"s\":{\"a\": [1, null]}}");
}

static void
test_rows(void)
{
	static const pg_uuid_t ids[2] = {
		{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
		0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}, {{0}}
	};
	static const int64 numbers[2] = {PG_INT64_MIN, PG_INT64_MAX};
	static const uint8 second[1] = {2};
	TlColumn	columns[3] = {
		{.name = "event_id", .type = TL_UUID,.values = ids},
		{.name = "n", .type = TL_INT64,.values = numbers,
		.validity = second,.null_count = 1},
		{.name = "m", .type = TL_INT64,.values = numbers}
	};
	TlBatch		batch = {.nrows = 2, .ncolumns = 3, .columns = columns};
	TlkfEncoder *encoder = tlkf_encoder_create(&batch, TLKF_JSON);
	StringInfo	out = makeStringInfo();

	unit_test("what is NULL is left out");
	tlkf_encode_row(encoder, 0, out);
	CHECK_STR(out->data, "{\"event_id\":\"00112233-4455-6677-8899-aabbccddeeff\","
			  "\"m\":-9223372036854775808}");
	resetStringInfo(out);
	tlkf_encode_row(encoder, 1, out);
	CHECK_STR(out->data, "{\"event_id\":\"00000000-0000-0000-0000-000000000000\","
			  "\"n\":9223372036854775807,\"m\":9223372036854775807}");

	unit_test("nothing but NULLs");
	columns[0] = columns[1];
	batch.ncolumns = 1;
	resetStringInfo(out);
	tlkf_encode_row(tlkf_encoder_create(&batch, TLKF_JSON), 0, out);
	CHECK_STR(out->data, "{}");
}

static void
test_versions(void)
{
	TlColumn	columns[3] = {
		{.name = "event_id"}, {.name = "cached_tokens"}, {.name = "team"}
	};
	TlBatch		batch = {.columns = columns};

	unit_test("the version that has these columns");
	batch.ncolumns = 1;
	CHECK_STR(tlkf_schema_version(&batch), "1.0");
	batch.ncolumns = 2;
	CHECK_STR(tlkf_schema_version(&batch), "1.1");
	batch.ncolumns = 3;
	CHECK_STR(tlkf_schema_version(&batch), "1.3");
}

int
main(void)
{
	test_escapes();
	test_integers();
	test_times();
	test_numbers();
	test_texts();
	test_rows();
	test_versions();
	return unit_done();
}
