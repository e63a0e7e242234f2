/* test_bq_names.c
 * sources: backends/bigquery/names.c backends/bigquery/stream.c
 * sources: backends/bigquery/screen.c backends/bigquery/columns.c
 * sources: backends/common/tl_json.c backends/common/tl_text.c
 * sources: backends/common/tl_columns.c
 * sources: backends/common/tl_screen.c backends/common/tl_verdict.c
 * libs: -ljson-c
 *-------------------------------------------------------------------------
 *
 * test_bq_names.c
 *	  Names, saved streams, schemas, and events that BigQuery cannot hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/bigquery/tlbq.h"
#include "unit.h"

const TlCore *tlbq_core;

static void
test_names(void)
{
	TlbqName	name;

	unit_test("a table's name");
	CHECK(tlbq_parse_name("my-project", "llm", NULL, &name) == NULL);
	CHECK_STR(name.quoted, "`my-project.llm.token_ledger_events`");
	CHECK_STR(name.resource,
			  "projects/my-project/datasets/llm/tables/token_ledger_events");
	CHECK(tlbq_parse_name("p", "d/t", NULL, &name) == NULL);
	CHECK_STR(name.table, "t");
	CHECK(tlbq_parse_name("p", "d/t", "t", &name) == NULL);
	CHECK(tlbq_parse_name("p", "d", "t-1", &name) == NULL);
	CHECK_STR(name.table, "t-1");
	CHECK(tlbq_parse_name("example.com:p", "d", NULL, &name) == NULL);

	unit_test("what is none");
	CHECK(tlbq_parse_name(NULL, "d", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", NULL, NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", "", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", "/t", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p`", "d", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", "d-1", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", "d/t/u", NULL, &name) != NULL);
	CHECK(tlbq_parse_name("p", "d", "t` --", &name) != NULL);
	CHECK(tlbq_parse_name("p", "d/t", "u", &name) != NULL);
}

static void
test_streams(void)
{
	TlbqStream	stream = {.mode = TLBQ_PENDING, .offset = 7, .row_count = -1,
		.doubtful = true,
	.name = "projects/p/datasets/d/tables/t/streams/s 1"};
	TlbqStream	back;
	char	   *text;

	unit_test("a saved stream comes back");
	stream.token.data[0] = 0xab;
	text = tlbq_format_stream(&stream);
	CHECK(tlbq_parse_stream(text, strlen(text), &back));
	CHECK_INT(back.mode, TLBQ_PENDING);
	CHECK_INT(back.offset, 7);
	CHECK_INT(back.row_count, -1);
	CHECK_INT(back.doubtful, true);
	CHECK_STR(back.name, stream.name);
	CHECK_MEM(&back.token, &stream.token, sizeof(pg_uuid_t));

	unit_test("one without a name");
	stream = (TlbqStream) {.mode = TLBQ_DEFAULT, .row_count = -1, .name = ""};
	text = tlbq_format_stream(&stream);
	CHECK(tlbq_parse_stream(text, strlen(text), &back));
	CHECK_INT(back.mode, TLBQ_DEFAULT);
	CHECK_STR(back.name, "");

	unit_test("what is none");
	CHECK(!tlbq_parse_stream("", 0, &back));
	CHECK(!tlbq_parse_stream("2 committed 0", 13, &back));
	CHECK(!tlbq_parse_stream("1 other 0 0 0 00112233445566778899aabbccddeeff x",
							 48, &back));
	CHECK(!tlbq_parse_stream("1 committed 0 0 0 001122 x", 26, &back));
}

#define DAY			(INT64CONST(86400) * 1000000)

static void
test_screen(void)
{
	int64		now = INT64CONST(1800000000) * 1000000;
	int64		values[] = {now, now - 4 * 365 * DAY, now + 300 * DAY,
		now - 1830 * DAY, now + 366 * DAY, PG_INT64_MIN, PG_INT64_MAX,
	INT64CONST(-62135596800000000) - 1, INT64CONST(253402300800000000)};
	TlColumn	column = {.name = "timestamp", .type = TL_TIMESTAMP,
	.values = values};
	TlBatch		batch = {.nrows = lengthof(values), .ncolumns = 1,
	.columns = &column};
	const char *reasons[lengthof(values)] = {NULL};
	static const int64 costs[] = {PG_INT64_MIN, 0};
	TlColumn	cost = {.name = "cost_usd", .type = TL_DECIMAL,
	.special = true, .values = costs};

	unit_test("times of a partitioned table");
	CHECK_INT(tlbq_screen(&batch, true, now, reasons), 6);
	for (int i = 0; i < lengthof(values); i++)
		CHECK_INT(reasons[i] != NULL, i >= 3);
	CHECK(strstr(reasons[3], "5 years ago") != NULL);
	CHECK(strstr(reasons[4], "a year ahead") != NULL);
	CHECK(strstr(reasons[5], "1 to 9999") != NULL);
	CHECK(strstr(reasons[6], "1 to 9999") != NULL);

	unit_test("times of another table");
	memset(reasons, 0, sizeof(reasons));
	CHECK_INT(tlbq_screen(&batch, false, now, reasons), 4);
	CHECK(reasons[3] == NULL && reasons[4] == NULL);

	unit_test("a cost that is not a number");
	memset(reasons, 0, sizeof(reasons));
	batch.nrows = 2;
	batch.columns = &cost;
	CHECK_INT(tlbq_screen(&batch, true, now, reasons), 1);
	CHECK(reasons[0] != NULL && reasons[1] == NULL);
}

static bool
fits(const char *type, const char *mode, int64 precision, int64 scale,
	 const char *expected)
{
	TlbqColumn	column = {expected, type, mode, precision, scale};

	return tlbq_column_fits(&column, tl_find_expected(expected));
}

static void
test_columns(void)
{
	StringInfoData out;

	unit_test("columns that hold the same");
	CHECK(fits("STRING", "REQUIRED", 0, 0, "event_id"));
	CHECK(fits("STRING", "NULLABLE", 0, 0, "event_id"));
	CHECK(!fits("STRING", "REQUIRED", 0, 0, "user_id"));
	CHECK(!fits("STRING", "REPEATED", 0, 0, "user_id"));
	CHECK(!fits("STRING", "NULLABLE", 40, 0, "user_id"));
	CHECK(fits("NUMERIC", "NULLABLE", 0, 0, "cost_usd"));
	CHECK(fits("BIGNUMERIC", "NULLABLE", 0, 0, "cost_usd"));
	CHECK(fits("NUMERIC", "NULLABLE", 18, 8, "cost_usd"));
	CHECK(!fits("NUMERIC", "NULLABLE", 18, 6, "cost_usd"));
	CHECK(!fits("FLOAT", "NULLABLE", 0, 0, "cost_usd"));
	CHECK(!fits("DATETIME", "NULLABLE", 0, 0, "timestamp"));
	CHECK(fits("STRING", "NULLABLE", 0, 0, "metadata"));

	unit_test("the schema of each version");
	initStringInfo(&out);
	tlbq_append_fields(&out, 0, 100, NULL);
	CHECK(strstr(out.data, "{\"name\":\"event_id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"}") != NULL);
	CHECK(strstr(out.data, "cached_tokens") == NULL);
	resetStringInfo(&out);
	tlbq_append_fields(&out, 100, 101, NULL);
	CHECK_STR(out.data,
			  "[{\"name\":\"cached_tokens\",\"type\":\"INTEGER\",\"mode\":\"NULLABLE\"}]");
}

int
main(void)
{
	test_names();
	test_streams();
	test_screen();
	test_columns();
	return unit_done();
}
