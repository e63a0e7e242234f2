/* sources: backends/timescale/script.c backends/timescale/chunks.c
 * sources: backends/postgres/names.c
 * libs: -lpq
 *-------------------------------------------------------------------------
 *
 * test_ts_script.c
 *	  Options of backend timescale to SQL; chunks of a batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/timescale/tlts.h"
#include "unit.h"

#define MINUTE		INT64CONST(60000)
#define HOUR		(60 * MINUTE)
#define DAY			(24 * HOUR)
#define DAY_US		(1000 * DAY)

static const TltsOptions defaults = {
	.chunk_interval = DAY,
	.compress_after = 7 * DAY,
	.cagg = true,
	.cagg_start_offset = 7 * DAY,
	.cagg_end_offset = HOUR,
	.cagg_schedule_interval = HOUR
};

static void
check_interval(int64 ms, const char *expected)
{
	StringInfo	out = makeStringInfo();

	tlts_interval(out, ms);
	CHECK_STR(out->data, expected);
}

static void
test_intervals(void)
{
	unit_test("intervals");
	check_interval(DAY, "INTERVAL '1 day'");
	check_interval(90 * DAY, "INTERVAL '90 days'");
	check_interval(36 * HOUR, "INTERVAL '36 hours'");
	check_interval(90 * MINUTE, "INTERVAL '90 minutes'");
	check_interval(90000, "INTERVAL '90 seconds'");
	check_interval(1, "INTERVAL '1 millisecond'");
	check_interval(1500, "INTERVAL '1500 milliseconds'");
	check_interval(0, "INTERVAL '0 days'");
}

static void
test_versions(void)
{
	unit_test("versions");
	CHECK_INT(tlts_version("2.13.0"), 2013);
	CHECK_INT(tlts_version("2.9.3"), 2009);
	CHECK_INT(tlts_version("2.31.0-dev"), 2031);
	CHECK_INT(tlts_version("3.0"), 3000);
	CHECK_INT(tlts_version(""), 0);
	CHECK_INT(tlts_version("two"), 0);
	CHECK_INT(tlts_version("-1.3"), 0);
	CHECK(tlts_version("2.12.2") < TLTS_OLDEST_VERSION);
	CHECK(tlts_version("2.13.0") == TLTS_OLDEST_VERSION);
}

static void
test_options(void)
{
	TlpgTableName table;
	TltsOptions options = defaults;
	StringInfo	lacking = makeStringInfo();

	unit_test("options");
	CHECK(tlpg_parse_table("public.t", &table) == NULL);
	CHECK(tlts_check_options(&options, &table) == NULL);
	options.cagg_start_offset = 2 * DAY + HOUR;
	CHECK(tlts_check_options(&options, &table) == NULL);
	options.cagg_start_offset--;
	CHECK(tlts_check_options(&options, &table) != NULL);
	options.cagg = false;
	CHECK(tlts_check_options(&options, &table) == NULL);

	options = defaults;
	options.drop_after = 7 * DAY;
	CHECK(tlts_check_options(&options, &table) == NULL);
	options.drop_after--;
	CHECK(tlts_check_options(&options, &table) != NULL);
	CHECK(tlpg_parse_table("a234567890123456789012345678901234567890123456",
						   &table) == NULL);
	CHECK(tlts_check_options(&defaults, &table) == NULL);
	CHECK(tlpg_parse_table("a2345678901234567890123456789012345678901234567",
						   &table) == NULL);
	CHECK(tlts_check_options(&defaults, &table) != NULL);

	tlts_list_unavailable(&options, lacking);
	CHECK_STR(lacking->data,
			  "compression, continuous aggregate, retention policy");
	resetStringInfo(lacking);
	options = defaults;
	options.compress_after = 0;
	tlts_list_unavailable(&options, lacking);
	CHECK_STR(lacking->data, "continuous aggregate");
}

/* What the Apache edition is asked for, and what the other one is. */
static void
test_script(void)
{
	static const char hypertable[] =
		"SELECT ext.create_hypertable('\"s\".\"it''s\"'::regclass,"
		" ext.by_range('timestamp', INTERVAL '1 day'),"
		" create_default_indexes => false, if_not_exists => true,"
		" migrate_data => true);";
	TltsServer	server = {.schema = "ext", .full = false};
	TltsOptions options = defaults;
	TlpgTableName table;
	StringInfo	sql = makeStringInfo();

	unit_test("script");
	CHECK(tlpg_parse_table("s.it's", &table) == NULL);
	options.drop_after = 30 * DAY;
	tlts_append_script(sql, &server, &options, &table);
	CHECK_STR(sql->data, hypertable);

	server.full = true;
	resetStringInfo(sql);
	tlts_append_script(sql, &server, &options, &table);
	CHECK(strncmp(sql->data, hypertable, strlen(hypertable)) == 0);
	CHECK(strstr(sql->data, "ext.add_compression_policy(") != NULL);
	CHECK(strstr(sql->data, "ext.time_bucket(INTERVAL '1 day'") != NULL);
	CHECK(strstr(sql->data, "ext.add_continuous_aggregate_policy(") != NULL);
	CHECK(strstr(sql->data, "SELECT ext.add_retention_policy("
				 "'\"s\".\"it''s\"'::regclass, drop_after =>"
				 " INTERVAL '30 days', if_not_exists => true);") != NULL);

	options = (TltsOptions) {.chunk_interval = DAY};
	resetStringInfo(sql);
	tlts_append_script(sql, &server, &options, &table);
	CHECK_STR(sql->data, hypertable);
}

static int32
count_chunks(const int64 *times, int32 n)
{
	TlColumn	columns[] = {
		{"duration_ms", TL_FLOAT64, true, false, 0, NULL, times, NULL},
		{"timestamp", TL_TIMESTAMP, false, false, 0, NULL, times, NULL}
	};
	TlBatch		batch = {.nrows = n, .ncolumns = lengthof(columns),
	.columns = columns};

	return tlts_count_chunks(&batch, DAY_US);
}

static void
test_chunks(void)
{
	const int64 several[] = {DAY_US, 5 * DAY_US, 2 * DAY_US - 1, 0,
	DAY_US - 1, 5 * DAY_US + 7};
	const int64 negative[] = {-1, 0, -DAY_US, -DAY_US - 1};
	const int64 infinite[] = {PG_INT64_MIN, PG_INT64_MAX, 0};
	TlBatch		without = {.nrows = 1};

	unit_test("chunks");
	CHECK_INT(count_chunks(several, 1), 1);
	CHECK_INT(count_chunks(several, 6), 3);
	CHECK_INT(count_chunks(negative, 4), 3);
	CHECK_INT(count_chunks(infinite, 3), 3);
	CHECK_INT(count_chunks(several, 0), 0);
	CHECK_INT(tlts_count_chunks(&without, DAY_US), 0);
}

int
main(void)
{
	test_intervals();
	test_versions();
	test_options();
	test_script();
	test_chunks();
	return unit_done();
}
