/* sources: src/batch_subset.c
 *-------------------------------------------------------------------------
 *
 * test_batch_subset.c
 *	  Some rows of a batch as a batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "batch.h"
#include "unit.h"

#define NROWS	10

static pg_uuid_t ids[NROWS];
static int64 times[NROWS] = {
	50, 40, PG_INT64_MIN, 30, 60, PG_INT64_MAX, 20, 70, 10, 80
};
static int64 costs[NROWS] = {
	0, 1, 2, 3, PG_INT64_MIN, 5, 6, 7, PG_INT64_MIN, 9
};
static double durations[NROWS] = {0, 1, 2, INFINITY, 4, 5, 6, 7, 8, NAN};
static const int32 offsets[NROWS + 1] = {0, 0, 1, 3, 3, 6, 6, 6, 7, 8, 10};
static const char data[] = "abbccc" "d" "e" "ff";

/* Row 8 of cost and rows 3, 5 of text are null. */
static const uint8 cost_validity[] = {0xFF, 0x02};
static const uint8 text_validity[] = {0xD7, 0x03};

static const TlColumn columns[] = {
	{"event_id", TL_UUID, .values = ids},
	{"timestamp", TL_TIMESTAMP, .special = true, .values = times},
	{"cost_usd", TL_DECIMAL, .nullable = true, .special = true,
	.null_count = 1, .validity = cost_validity, .values = costs},
	{"duration_ms", TL_FLOAT64, .nullable = true, .special = true,
	.values = durations},
	{"model", TL_TEXT, .nullable = true, .null_count = 2,
	.validity = text_validity, .values = offsets, .data = data}
};

static TlBatch
whole_batch(int ncolumns)
{
	TlBatch		batch = {0};

	for (int i = 0; i < NROWS; i++)
		memset(&ids[i], i, sizeof(pg_uuid_t));
	batch.nrows = NROWS;
	batch.ncolumns = ncolumns;
	batch.columns = columns;
	batch.event_ids = ids;
	batch.min_timestamp = 10;
	batch.max_timestamp = 80;
	return batch;
}

static void
check_rows(const TlBatch *subset, const int32 *rows, int32 nrows)
{
	CHECK_INT(subset->struct_size, sizeof(TlBatch));
	CHECK_INT(subset->nrows, nrows);
	CHECK_INT(subset->ncolumns, lengthof(columns));
	for (int32 i = 0; i < nrows; i++)
	{
		int32		len;
		int32		expected_len;
		const char *text = tl_text(&subset->columns[4], i, &len);
		const char *expected = tl_text(&columns[4], rows[i], &expected_len);

		CHECK_MEM(&subset->event_ids[i], &ids[rows[i]], UUID_LEN);
		CHECK_MEM(tl_uuid(&subset->columns[0], i), &ids[rows[i]], UUID_LEN);
		CHECK_INT(tl_int64(&subset->columns[1], i), times[rows[i]]);
		CHECK_INT(tl_int64(&subset->columns[2], i), costs[rows[i]]);
		CHECK_INT(len, expected_len);
		CHECK_MEM(text, expected, expected_len);
		for (int c = 0; c < subset->ncolumns; c++)
			CHECK_INT(tl_isnull(&subset->columns[c], i),
					  tl_isnull(&columns[c], rows[i]));
	}
}

static void
test_some_rows(void)
{
	static const int32 rows[] = {0, 3, 4, 8, 9};
	TlBatch		batch = whole_batch(lengthof(columns));
	TlBatch		subset = {.attempt = 7};

	unit_test("some rows");
	batch_subset(&batch, rows, lengthof(rows), &subset);
	check_rows(&subset, rows, lengthof(rows));
	CHECK_INT(subset.attempt, 7);
	CHECK_INT(subset.min_timestamp, 10);
	CHECK_INT(subset.max_timestamp, 80);
	CHECK(!subset.columns[1].special);
	CHECK(subset.columns[2].special);
	CHECK(subset.columns[3].special);
	CHECK_INT(subset.columns[2].null_count, 1);
	CHECK_INT(subset.columns[4].null_count, 1);
}

/* The sentinel below a null is no special value. */
static void
test_nothing_special(void)
{
	static const int32 rows[] = {1, 6, 8};
	TlBatch		batch = whole_batch(lengthof(columns));
	TlBatch		subset = {0};

	unit_test("no special value, no null but one");
	batch_subset(&batch, rows, lengthof(rows), &subset);
	check_rows(&subset, rows, lengthof(rows));
	for (int c = 0; c < subset.ncolumns; c++)
		CHECK(!subset.columns[c].special);
	CHECK(subset.columns[4].validity == NULL);
	CHECK_INT(subset.columns[4].null_count, 0);
	CHECK_INT(subset.min_timestamp, 10);
	CHECK_INT(subset.max_timestamp, 40);
}

static void
test_no_finite_time(void)
{
	static const int32 rows[] = {2, 5};
	TlBatch		batch = whole_batch(lengthof(columns));
	TlBatch		subset = {0};

	unit_test("no finite timestamp");
	batch_subset(&batch, rows, lengthof(rows), &subset);
	check_rows(&subset, rows, lengthof(rows));
	CHECK(subset.min_timestamp > subset.max_timestamp);
}

static void
test_all_and_none(void)
{
	static const int32 rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
	TlBatch		batch = whole_batch(lengthof(columns));
	TlBatch		subset = {0};

	unit_test("all rows");
	batch_subset(&batch, rows, NROWS, &subset);
	check_rows(&subset, rows, NROWS);

	unit_test("no rows");
	batch_subset(&batch, rows, 0, &subset);
	check_rows(&subset, rows, 0);
	CHECK(subset.min_timestamp > subset.max_timestamp);

	unit_test("no timestamp column");
	batch = whole_batch(1);
	batch_subset(&batch, rows, 2, &subset);
	CHECK_INT(subset.min_timestamp, 10);
	CHECK_INT(subset.max_timestamp, 80);
}

int
main(void)
{
	test_some_rows();
	test_nothing_special();
	test_no_finite_time();
	test_all_and_none();
	return unit_done();
}
