/* test_sf_encode.c
 * sources: backends/snowflake/encode.c backends/snowflake/columns.c
 * sources: backends/snowflake/names.c backends/snowflake/screen.c
 * sources: backends/snowflake/ndjson.c backends/common/tl_json.c
 * sources: backends/common/tl_text.c backends/common/tl_columns.c
 * sources: backends/common/tl_screen.c backends/common/tl_verdict.c
 * libs: -ljson-c -lzstd
 *-------------------------------------------------------------------------
 *
 * test_sf_encode.c
 *	  The statement and the JSON of backend "snowflake", to the byte.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <zstd.h>

#include "../../backends/snowflake/tlsf.h"
#include "unit.h"

static const pg_uuid_t ids[2] = {
	{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
	{{0}}
};
static const int64 times[] = {INT64CONST(1709208000000001), -1};
static const int64 tokens[] = {PG_INT64_MAX, PG_INT64_MIN};
static const double doubles[] = {1.5, NAN};
static const int64 costs[] = {-1, INT64CONST(123456789012345678)};
static const int32 offsets[] = {0, 0, 9};
static const int32 json_offsets[] = {0, 0, 12};
static const uint8 second[] = {0x02};

static const TlColumn columns[] = {
	{.name = "event_id", .type = TL_UUID, .values = ids},
	{.name = "timestamp", .type = TL_TIMESTAMP, .values = times},
	{.name = "input_tokens", .type = TL_INT64, .values = tokens},
	{.name = "duration_ms", .type = TL_FLOAT64, .values = doubles,
	.special = true},
	{.name = "cost_usd", .type = TL_DECIMAL, .values = costs},
	{.name = "model", .type = TL_TEXT, .values = offsets,
	.data = "a\"\\\n\t\x01\xc3\xa9z"},
	{.name = "metadata", .type = TL_JSON, .null_count = 1, .nullable = true,
	.validity = second, .values = json_offsets, .data = "{\"a\": \"b\\n\"}"}
};

static const char golden_rows[] =
	"[{\"a\":\"00112233-4455-6677-8899-aabbccddeeff\","
	"\"b\":\"2024-02-29T12:00:00.000001\",\"c\":9223372036854775807,"
	"\"d\":1.5,\"e\":\"-0.00000001\",\"f\":\"\"},"
	"{\"a\":\"00000000-0000-0000-0000-000000000000\","
	"\"b\":\"1969-12-31T23:59:59.999999\",\"c\":-9223372036854775808,"
	"\"d\":\"NaN\",\"e\":\"1234567890.12345678\","
	"\"f\":\"a\\\"\\\\\\u000a\\u0009\\u0001\xc3\xa9z\","
	"\"g\":{\"a\": \"b\\n\"}}]";

static TlBatch
two_rows(void)
{
	TlBatch		batch = {.struct_size = sizeof(TlBatch), .nrows = 2,
		.ncolumns = lengthof(columns), .columns = columns, .event_ids = ids,
	.min_timestamp = times[1], .max_timestamp = times[0]};

	return batch;
}

static void
test_rows(void)
{
	TlBatch		batch = two_rows();
	StringInfoData out;

	unit_test("rows: every type, and NULL is left out");
	initStringInfo(&out);
	tlsf_encode_rows(&out, &batch);
	CHECK_STR(out.data, golden_rows);
	CHECK(tl_json_parse(out.data, out.len) != NULL);

	unit_test("no rows");
	resetStringInfo(&out);
	batch.nrows = 0;
	tlsf_encode_rows(&out, &batch);
	CHECK_STR(out.data, "[]");

	unit_test("ids");
	resetStringInfo(&out);
	batch.nrows = 2;
	tlsf_encode_ids(&out, &batch);
	CHECK_STR(out.data, "[{\"a\":\"00112233-4455-6677-8899-aabbccddeeff\"},"
			  "{\"a\":\"00000000-0000-0000-0000-000000000000\"}]");
}

/* With names as the table spells them. */
static void
test_statement(void)
{
	static const TlColumn three[] = {
		{.name = "metadata", .type = TL_JSON},
		{.name = "event_id", .type = TL_UUID},
		{.name = "timestamp", .type = TL_TIMESTAMP}
	};
	TlsfColumn	remote[] = {
		{"EVENT_ID", "VARCHAR(36)", false, false},
		{"Time\"Stamp", "TIMESTAMP_NTZ(6)", false, false},
		{"TIMESTAMP", "TIMESTAMP_NTZ(6)", false, false}
	};
	TlsfTable	table = {true, lengthof(remote), remote};
	TlBatch		batch = {.ncolumns = 3, .columns = three};
	TlsfName	name;
	StringInfoData out;

	unit_test("the statement");
	CHECK(tlsf_parse_name("db/s/t", NULL, false, &name) == NULL);
	initStringInfo(&out);
	tlsf_encode_merge(&out, &batch, &table, &name);
	CHECK_STR(out.data,
			  "MERGE INTO \"DB\".\"S\".\"T\" t USING ("
			  "SELECT f.value:\"a\" AS \"metadata\","
			  " f.value:\"b\"::VARCHAR AS \"EVENT_ID\","
			  " f.value:\"c\"::TIMESTAMP_NTZ AS \"TIMESTAMP\""
			  " FROM (SELECT PARSE_JSON(?) AS j) b,"
			  " LATERAL FLATTEN(INPUT => b.j) f"
			  " QUALIFY ROW_NUMBER() OVER (PARTITION BY"
			  " f.value:\"b\"::VARCHAR ORDER BY f.index) = 1"
			  ") s ON t.\"EVENT_ID\" = s.\"EVENT_ID\""
			  " AND t.\"TIMESTAMP\" >= CAST(? AS TIMESTAMP_NTZ)"
			  " AND t.\"TIMESTAMP\" <= CAST(? AS TIMESTAMP_NTZ)"
			  " WHEN NOT MATCHED THEN INSERT"
			  " (\"metadata\", \"EVENT_ID\", \"TIMESTAMP\")"
			  " VALUES (s.\"metadata\", s.\"EVENT_ID\", s.\"TIMESTAMP\")");
}

static void
test_keys(void)
{
	TlColumn	many[30];
	TlBatch		batch = {.nrows = 1, .ncolumns = 30, .columns = many};
	StringInfoData out;

	unit_test("keys beyond the alphabet");
	for (int i = 0; i < 30; i++)
		many[i] = columns[2];
	initStringInfo(&out);
	tlsf_encode_rows(&out, &batch);
	CHECK(strstr(out.data, ",\"z\":") != NULL);
	CHECK(strstr(out.data, ",\"aa\":") != NULL);
	CHECK(strstr(out.data, ",\"ad\":9223372036854775807}]") != NULL);
}

static const char *
timestamp(int64 usec)
{
	char	   *text = palloc0(TLSF_TIMESTAMP_TEXT);

	*tlsf_put_timestamp(text, usec) = '\0';
	return text;
}

static void
test_timestamps(void)
{
	TlBatch		batch = two_rows();
	char		from[TLSF_TIMESTAMP_TEXT];
	char		to[TLSF_TIMESTAMP_TEXT];

	unit_test("timestamps");
	CHECK_STR(timestamp(0), "1970-01-01T00:00:00.000000");
	CHECK_STR(timestamp(-1), "1969-12-31T23:59:59.999999");
	CHECK_STR(timestamp(TLSF_FIRST_USEC), "0001-01-01T00:00:00.000000");
	CHECK_STR(timestamp(TLSF_END_USEC - 1), "9999-12-31T23:59:59.999999");
	CHECK_STR(timestamp(PG_INT64_MIN), "0001-01-01T00:00:00.000000");
	CHECK_STR(timestamp(PG_INT64_MAX), "9999-12-31T23:59:59.999999");
	CHECK_STR(timestamp(INT64CONST(951782399999999)),
			  "2000-02-28T23:59:59.999999");
	CHECK_STR(timestamp(INT64CONST(951782400000000)),
			  "2000-02-29T00:00:00.000000");
	CHECK_STR(timestamp(INT64CONST(951868800000000)),
			  "2000-03-01T00:00:00.000000");
	CHECK_STR(timestamp(INT64CONST(4107542399000000)),
			  "2100-02-28T23:59:59.000000");
	CHECK_STR(timestamp(INT64CONST(4107542400000000)),
			  "2100-03-01T00:00:00.000000");

	unit_test("the time range covers the batch, and a margin only widens it");
	tlsf_time_range(&batch, 0, from, to);
	CHECK_STR(from, "1969-12-31T23:59:59.999999");
	CHECK_STR(to, "2024-02-29T12:00:00.000001");
	tlsf_time_range(&batch, 86400000, from, to);
	CHECK_STR(from, "1969-12-30T23:59:59.999999");
	CHECK_STR(to, "2024-03-01T12:00:00.000001");
	batch.min_timestamp = PG_INT64_MIN + 1;
	batch.max_timestamp = PG_INT64_MAX - 1;
	tlsf_time_range(&batch, INT64CONST(31536000000), from, to);
	CHECK_STR(from, "0001-01-01T00:00:00.000000");
	CHECK_STR(to, "9999-12-31T23:59:59.999999");
}

static void
test_screen(void)
{
	static const int64 at[] = {
		TLSF_FIRST_USEC - 1, TLSF_FIRST_USEC, TLSF_END_USEC - 1,
		TLSF_END_USEC, PG_INT64_MIN, PG_INT64_MAX, 0
	};
	static const int64 cost[] = {0, 0, 0, 0, 0, 0, PG_INT64_MIN};
	TlColumn	bad[] = {
		{.name = "timestamp", .type = TL_TIMESTAMP, .values = at},
		{.name = "cost_usd", .type = TL_DECIMAL, .values = cost,
		.special = true}
	};
	TlBatch		batch = {.nrows = 7, .ncolumns = 2, .columns = bad};
	const char *reasons[7] = {NULL};

	unit_test("what Snowflake cannot hold");
	CHECK_INT(tlsf_screen(&batch, reasons), 5);
	CHECK(reasons[1] == NULL && reasons[2] == NULL);
	CHECK(reasons[0] != NULL && reasons[3] != NULL);
	CHECK(reasons[4] != NULL && reasons[5] != NULL);
	CHECK_STR(reasons[6], "column \"cost_usd\": a NUMBER cannot be NaN");
}

/* One object a line, by the names of the table's columns. */
static void
test_lines(void)
{
	TlsfColumn	remote[] = {
		{"EVENT_ID", "VARCHAR(36)", false, false},
		{"Mo\"del", "VARCHAR", false, false},
		{"METADATA", "VARIANT", true, false}
	};
	TlsfTable	table = {true, lengthof(remote), remote};
	TlColumn	few[] = {columns[0], columns[5], columns[6]};
	TlBatch		batch = two_rows();
	StringInfoData lines;
	StringInfoData packed;
	char		unpacked[1000];
	size_t		len;

	unit_test("lines");
	batch.columns = few;
	batch.ncolumns = lengthof(few);
	initStringInfo(&lines);
	initStringInfo(&packed);
	CHECK_INT(tlsf_encode_lines(&lines, &batch, &table, 0), 2);
	CHECK_STR(lines.data,
			  "{\"EVENT_ID\":\"00112233-4455-6677-8899-aabbccddeeff\","
			  "\"model\":\"\"}\n"
			  "{\"EVENT_ID\":\"00000000-0000-0000-0000-000000000000\","
			  "\"model\":\"a\\\"\\\\\\u000a\\u0009\\u0001\xc3\xa9z\","
			  "\"METADATA\":{\"a\": \"b\\n\"}}\n");
	CHECK(tlsf_compress(&packed, &lines));
	len = ZSTD_decompress(unpacked, sizeof(unpacked), packed.data,
						  packed.len);
	CHECK_INT(len, lines.len);
	CHECK(memcmp(unpacked, lines.data, len) == 0);
}

/* As many as a request takes, and none that is larger by itself. */
static void
test_many_lines(void)
{
	static const TlsfTable table = {0};
	int32		text_offsets[] = {0, 2000000, 3800000, 8000000};
	TlColumn	text = {.name = "model", .type = TL_TEXT,
	.values = text_offsets};
	TlBatch		batch = {.nrows = 3, .ncolumns = 1, .columns = &text};
	char	   *data = palloc0(8000001);
	StringInfoData lines;

	unit_test("lines of more than one request");
	memset(data, 'x', 8000000);
	text.data = data;
	initStringInfo(&lines);
	CHECK_INT(tlsf_encode_lines(&lines, &batch, &table, 0), 2);
	CHECK_INT(lines.len, 3800000 + 2 * strlen("{\"model\":\"\"}\n"));
	resetStringInfo(&lines);
	CHECK_INT(tlsf_encode_lines(&lines, &batch, &table, 2), 2);
	CHECK_INT(lines.len, 0);
}

int
main(void)
{
	test_lines();
	test_many_lines();
	test_rows();
	test_statement();
	test_keys();
	test_timestamps();
	test_screen();
	return unit_done();
}
