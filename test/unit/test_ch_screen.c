/* sources: backends/clickhouse/screen.c backends/clickhouse/columns.c
 * sources: backends/common/tl_columns.c
 * sources: backends/common/tl_screen.c backends/common/tl_verdict.c
 *-------------------------------------------------------------------------
 *
 * test_ch_screen.c
 *	  Events that ClickHouse cannot hold, and batches over many months.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "unit.h"

#define SECOND		INT64CONST(1000000)
#define FIRST		(INT64CONST(-2208988800) * SECOND)	/* 1900-01-01 */
#define LAST		(INT64CONST(10413792000) * SECOND - 1)	/* 2299-12-31 */
#define DAY			(86400 * SECOND)

static const TlchTable no_table;

static int
screened(const TlColumn *column, const TlchTable *table, int32 nrows,
		 const char **reasons)
{
	TlBatch		batch = {.nrows = nrows, .ncolumns = 1, .columns = column};

	memset(reasons, 0, nrows * sizeof(char *));
	return tlch_screen(&batch, table, reasons);
}

static void
test_timestamps(void)
{
	static const int64 values[] = {FIRST, LAST, 0, FIRST - 1, LAST + 1,
	PG_INT64_MIN, PG_INT64_MAX};
	TlColumn	column = {.name = "timestamp", .type = TL_TIMESTAMP,
	.values = values};
	const char *reasons[7];

	unit_test("times");
	CHECK_INT(screened(&column, &no_table, 7, reasons), 4);
	for (int i = 0; i < 7; i++)
		CHECK_INT(reasons[i] != NULL, i >= 3);
	CHECK_STR(reasons[3], "column \"timestamp\": DateTime64 holds times from"
			  " 1900 to 2299 only");
}

static void
test_decimals(void)
{
	static const int64 values[] = {PG_INT64_MIN, PG_INT64_MAX, PG_INT64_MIN};
	static const uint8 valid[] = {0x03};
	TlColumn	column = {.name = "cost_usd", .type = TL_DECIMAL,
		.special = true, .null_count = 1, .validity = valid,
	.values = values};
	const char *reasons[3];

	unit_test("a cost that is not a number");
	CHECK_INT(screened(&column, &no_table, 3, reasons), 1);
	CHECK(reasons[0] != NULL && reasons[1] == NULL && reasons[2] == NULL);
}

static void
test_objects(void)
{
	static const int32 offsets[] = {0, 2, 5, 9, 9};
	static const uint8 valid[] = {0x07};
	TlColumn	column = {.name = "metadata", .type = TL_JSON,
		.null_count = 1, .validity = valid, .values = offsets,
	.data = "{}[1]null"};
	TlchColumn	there = {"metadata", "Nullable(JSON)", false};
	TlchTable	table = {.ncolumns = 1, .columns = &there};
	const char *reasons[4];

	unit_test("what is no object, where the column's type is JSON");
	CHECK_INT(screened(&column, &table, 4, reasons), 2);
	CHECK(reasons[0] == NULL && reasons[1] != NULL && reasons[2] != NULL &&
		  reasons[3] == NULL);

	unit_test("and where it is String");
	there.type = "Nullable(String)";
	CHECK_INT(screened(&column, &table, 4, reasons), 0);
}

/* One event in each of n months from 1899-03 on, two days before its end. */
static void
test_months(int n, bool too_many)
{
	int64	   *values = palloc(n * sizeof(int64));
	TlColumn	column = {.name = "timestamp", .type = TL_TIMESTAMP,
	.values = values};
	TlBatch		batch = {.nrows = n, .ncolumns = 1, .columns = &column};
	int64		usec = FIRST + 28 * DAY;
	int32	   *rows;

	unit_test(psprintf("%d months", n));
	for (int i = 0; i < n; i++)
	{
		static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31};
		int			year = 1900 + (i + 1) / 12;
		int			month = (i + 1) % 12;
		bool		leap = year % 4 == 0 && year != 1900;

		values[n - 1 - i] = usec;
		usec += (lengths[month] + (month == 1 && leap)) * DAY;
	}
	batch.min_timestamp = values[n - 1];
	batch.max_timestamp = values[0];
	CHECK_INT(tlch_too_many_months(&batch), too_many);
	rows = tlch_by_month(&batch);
	for (int i = 0; i < n; i++)
		if (rows[i] != n - 1 - i)
		{
			CHECK_INT(rows[i], n - 1 - i);
			break;
		}
	CHECK_INT(tlch_months_end(&batch, rows, 0), Min(n, TLCH_MAX_MONTHS));
	CHECK_INT(tlch_months_end(&batch, rows, n - 1), n);
}

static void
test_month_borders(void)
{
	static const int64 values[] = {
		/* 1969-12-31 23:59:59.999999, 1970-01-01 */
		-1, 0,
		/* 2000-02-29 23:59:59.999999, 2000-03-01, 2000-02-29 */
		INT64CONST(951868799999999), INT64CONST(951868800000000),
		INT64CONST(951782400000000)
	};
	TlColumn	column = {.name = "timestamp", .type = TL_TIMESTAMP,
	.values = values};
	TlBatch		batch = {.nrows = 5, .ncolumns = 1, .columns = &column};
	int32	   *rows;

	unit_test("ends of months");
	rows = tlch_by_month(&batch);
	CHECK_INT(rows[0], 0);
	CHECK_INT(rows[1], 1);
	CHECK_INT(rows[2], 2);		/* of one month, in their order */
	CHECK_INT(rows[3], 4);
	CHECK_INT(rows[4], 3);
}

static void
test_take(void)
{
	static const int64 numbers[] = {10, 20, 30};
	static const int32 offsets[] = {0, 1, 1, 3};
	static const uint8 not_second[] = {0x05};
	static const pg_uuid_t ids[] = {{{1}}, {{2}}, {{3}}};
	static const int32 rows[] = {2, 1};
	TlColumn	columns[] = {
		{.name = "n", .type = TL_INT64, .values = numbers},
		{.name = "t", .type = TL_TEXT, .null_count = 1,
		.validity = not_second, .values = offsets, .data = "abc"},
		{.name = "u", .type = TL_UUID, .values = ids}
	};
	TlBatch		batch = {.nrows = 3, .ncolumns = 3, .columns = columns,
	.event_ids = ids};
	TlBatch		taken;
	int32		len;

	unit_test("some of the rows");
	tlch_take_rows(&batch, rows, 2, &taken);
	CHECK_INT(taken.nrows, 2);
	CHECK_INT(taken.event_ids[0].data[0], 3);
	CHECK_INT(tl_int64(&taken.columns[0], 1), 20);
	CHECK_INT(taken.columns[1].null_count, 1);
	CHECK(!tl_isnull(&taken.columns[1], 0));
	CHECK(tl_isnull(&taken.columns[1], 1));
	CHECK_MEM(tl_text(&taken.columns[1], 0, &len), "bc", 2);
	CHECK_INT(len, 2);
	CHECK_INT(tl_uuid(&taken.columns[2], 0)->data[0], 3);
}

int
main(void)
{
	test_timestamps();
	test_decimals();
	test_objects();
	test_months(100, false);
	test_months(101, true);
	test_months(1200, true);
	test_month_borders();
	test_take();
	return unit_done();
}
