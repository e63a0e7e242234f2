/* sources: backends/clickhouse/names.c backends/clickhouse/columns.c
 * sources: backends/clickhouse/ttl.c backends/common/tl_columns.c
 *-------------------------------------------------------------------------
 *
 * test_ch_names.c
 *	  Names, column types and times to live of ClickHouse.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "unit.h"

static const char *
quoted(const char *text)
{
	TlchTableName table;
	const char *error = tlch_parse_table(text, "db", &table);

	return error ? error : table.quoted;
}

static void
test_table(void)
{
	unit_test("tables");
	CHECK_STR(quoted("t"), "`db`.`t`");
	CHECK_STR(quoted("other.t"), "`other`.`t`");
	CHECK_STR(quoted("\"a.b\".`c``d`"), "`a.b`.`c\\`d`");
	CHECK_STR(quoted("\"back\\slash\""), "`db`.`back\\\\slash`");
	CHECK_STR(quoted(""), "must be table or database.table");
	CHECK_STR(quoted("a.b.c"), "must be table or database.table");
	CHECK_STR(quoted("\"open"), "must be table or database.table");
	CHECK_STR(quoted("a."), "must be table or database.table");
}

static void
test_literal(void)
{
	StringInfoData out;

	unit_test("literals");
	initStringInfo(&out);
	tlch_quote_literal(&out, "it's \\ done");
	CHECK_STR(out.data, "'it\\'s \\\\ done'");
}

static void
test_expand(void)
{
	TlchTableName table;
	TlchPlacement placement = {NULL, "MergeTree", "Nullable(String)", 0};

	unit_test("scripts");
	tlch_parse_table("token_ledger_events", "db", &table);
	CHECK_STR(tlch_expand("A {table}{cluster} {engine}{ttl} {json}", &table,
						  &placement),
			  "A `db`.`token_ledger_events` MergeTree Nullable(String)");
	CHECK_STR(tlch_expand("{name:*_source}", &table, &placement),
			  "`db`.`token_ledger_source`");
	tlch_parse_table("usage", "db", &table);
	placement.cluster = "c`1";
	placement.ttl_days = 30;
	CHECK_STR(tlch_expand("{name:*_source}{cluster}", &table, &placement),
			  "`db`.`usage_source` ON CLUSTER `c\\`1`");
	CHECK(strstr(tlch_expand("{ttl}", &table, &placement),
				 "+ toIntervalDay(30)") != NULL);
}

static bool
fits(const char *type, const char *column)
{
	return tlch_type_fits(type, tlch_find_expected(column));
}

static void
test_types(void)
{
	unit_test("each column's own type fits");
	for (const TlchExpected *e = tlch_expected; e->name != NULL; e++)
		CHECK(tlch_type_fits(tlch_type_name(e), e));
	CHECK_STR(tlch_type_name(tlch_find_expected("status")),
			  "LowCardinality(Nullable(String))");

	unit_test("so do types that hold the same");
	CHECK(fits("String", "model"));
	CHECK(fits("Nullable(String)", "model"));
	CHECK(fits("LowCardinality(Nullable(String))", "user_id"));
	CHECK(fits("DateTime64(8)", "timestamp"));
	CHECK(fits("Nullable(DateTime64(6, 'Europe/Berlin'))", "timestamp"));
	CHECK(fits("Nullable(Decimal(38, 12))", "cost_usd"));
	CHECK(fits("Int128", "input_tokens"));
	CHECK(fits("Nullable(JSON)", "metadata"));
	CHECK(fits("Nullable(JSON(max_dynamic_paths=8))", "metadata"));

	unit_test("and others do not");
	CHECK(!fits("String", "user_id"));	/* has no place for a NULL */
	CHECK(!fits("JSON", "metadata"));
	CHECK(!fits("DateTime64(3, 'UTC')", "timestamp"));
	CHECK(!fits("DateTime64(9, 'UTC')", "timestamp"));
	CHECK(!fits("DateTime", "timestamp"));
	CHECK(!fits("Nullable(Decimal(18, 4))", "cost_usd"));
	CHECK(!fits("Nullable(Decimal(16, 8))", "cost_usd"));
	CHECK(!fits("UInt64", "input_tokens"));
	CHECK(!fits("Int32", "input_tokens"));
	CHECK(!fits("Nullable(Float32)", "duration_ms"));
	CHECK(!fits("FixedString(16)", "event_id"));
	CHECK(!fits("Nullable(FixedString(8))", "user_id"));
}

static const char *
fatal(const char *engine, const char *sorting_key, TlchColumn *columns,
	  int ncolumns, int32 version)
{
	TlchTable	table = {.exists = true, .engine = engine,
		.sorting_key = sorting_key, .window = 100, .ncolumns = ncolumns,
	.columns = columns};
	StringInfoData out;
	StringInfoData why;

	initStringInfo(&out);
	initStringInfo(&why);
	tlch_list_differences(&table, version, 103, &out, &why);
	return why.data;
}

static void
test_differences(void)
{
	TlchColumn	columns[34];
	int			n = 0;

	for (const TlchExpected *e = tlch_expected; e->name != NULL; e++)
		columns[n++] = (TlchColumn) {e->name, tlch_type_name(e), false};

	unit_test("engines");
	CHECK_STR(fatal("MergeTree", "", columns, n, 103), "");
	CHECK_STR(fatal("SharedMergeTree", "", columns, n, 103), "");
	CHECK_STR(fatal("ReplicatedMergeTree", "", columns, n, 103), "");
	CHECK_STR(fatal("Distributed", "", columns, n, 103), "");
	CHECK_STR(fatal("ReplacingMergeTree", "timestamp, event_id", columns, n,
					103), "");
	CHECK(fatal("ReplicatedReplacingMergeTree", "timestamp", columns, n,
				103)[0] != '\0');
	CHECK(fatal("SummingMergeTree", "", columns, n, 103)[0] != '\0');
	CHECK(fatal("Memory", "", columns, n, 103)[0] != '\0');
	CHECK(fatal("Buffer", "", columns, n, 103)[0] != '\0');

	unit_test("versions");
	n -= 7;
	CHECK_STR(fatal("MergeTree", "", columns, n, 102), "");
	CHECK(strstr(fatal("MergeTree", "", columns, n, 103),
				 "column \"feature\" is missing") != NULL);
	CHECK(strstr(fatal("MergeTree", "", columns, n, 0),
				 "column \"feature\" is missing") != NULL);

	unit_test("columns that cannot be filled");
	columns[3].computed = true;
	columns[4].type = "DateTime64(3)";
	CHECK_STR(fatal("MergeTree", "", columns, n, 102),
			  "column \"parent_span_id\" is computed;"
			  " column \"timestamp\" is DateTime64(3) instead of"
			  " DateTime64(6, 'UTC')");
}

static void
test_ttl(void)
{
#define PREFIX "MergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY x"
	unit_test("times to live");
	CHECK_INT(tlch_kept_seconds(PREFIX " SETTINGS index_granularity = 8192"),
			  -1);
	CHECK_INT(tlch_kept_seconds(PREFIX " TTL toDateTime(least(timestamp,"
								" toDateTime64('2095-01-01 00:00:00', 6,"
								" 'UTC'))) + toIntervalDay(90) SETTINGS a = 1"),
			  90 * 86400);
	CHECK_INT(tlch_kept_seconds(PREFIX " TTL t + toIntervalMonth(6)"),
			  6 * 28 * 86400);
	CHECK_INT(tlch_kept_seconds(PREFIX " TTL a + toIntervalYear(1),"
								" b + toIntervalHour(36) WHERE c = ', d'"),
			  36 * 3600);
	CHECK_INT(tlch_kept_seconds(PREFIX " TTL a + toIntervalDay(1) TO DISK 'cold',"
								" a + toIntervalDay(5) TO VOLUME 'v',"
								" a + toIntervalDay(2) RECOMPRESS CODEC(ZSTD(9))"),
			  -1);
	CHECK_INT(tlch_kept_seconds(PREFIX " TTL expires_at"), 0);
}

int
main(void)
{
	test_table();
	test_literal();
	test_expand();
	test_types();
	test_differences();
	test_ttl();
	return unit_done();
}
