/*-------------------------------------------------------------------------
 *
 * screen.c
 *	  Which events ClickHouse cannot hold, and which cannot go together.
 *
 * ClickHouse does not refuse what is out of a type's range: it would store
 * another value.  So such events are found here, before anything is sent.
 *
 * An INSERT of ours goes to one partition for each month of its events, and
 * the server takes only so many at once, however long one waits.  A batch
 * over more months is sent month by month.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_screen.h"
#include "tlch.h"

#define USECS_PER_SECOND	INT64CONST(1000000)
#define USECS_PER_DAY		(86400 * USECS_PER_SECOND)

/* What DateTime64(6) holds: 1900-01-01 to the last microsecond of 2299. */
#define MIN_TIMESTAMP		(INT64CONST(-2208988800) * USECS_PER_SECOND)
#define MAX_TIMESTAMP		(INT64CONST(10413792000) * USECS_PER_SECOND - 1)

typedef struct MonthRow
{
	int32		month;
	int32		row;
} MonthRow;

static int32 screen_timestamps(const TlColumn *column, int32 nrows,
							   const char **reasons);
static int32 screen_objects(const TlColumn *column, int32 nrows,
							const char **reasons);
static const TlColumn *find_timestamp(const TlBatch *batch);
static int32 month_of(int64 usec);
static int	compare_months(const void *a, const void *b);
static void take_column(const TlColumn *from, const int32 *rows, int32 nrows,
						TlColumn *to);
static void take_validity(const TlColumn *from, const int32 *rows,
						  int32 nrows, TlColumn *to);
static void take_texts(const TlColumn *from, const int32 *rows, int32 nrows,
					   TlColumn *to);

/*
 * Sets reasons[row] for each event that the table cannot hold (the others'
 * must be NULL before) and returns how many there are.
 */
int32
tlch_screen(const TlBatch *batch, const TlchTable *table,
			const char **reasons)
{
	int32		refused = 0;

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];
		const TlchColumn *there = tlch_find_column(table, column->name);

		if (column->type == TL_TIMESTAMP)
			refused += screen_timestamps(column, batch->nrows, reasons);
		else if (column->type == TL_DECIMAL && column->special)
			refused += tl_refuse_nan(column, batch->nrows, "a Decimal",
									 reasons);
		else if (column->type == TL_JSON && there != NULL &&
				 tlch_is_json(there->type))
			refused += screen_objects(column, batch->nrows, reasons);
	}
	return refused;
}

static int32
screen_timestamps(const TlColumn *column, int32 nrows, const char **reasons)
{
	const int64 *values = column->values;
	int32		refused = 0;

	for (int32 row = 0; row < nrows; row++)
	{
		if (values[row] >= MIN_TIMESTAMP && values[row] <= MAX_TIMESTAMP)
			continue;
		if (!tl_isnull(column, row))
			refused += tl_refuse_row(reasons, row,
							  psprintf("column \"%s\": DateTime64 holds times from 1900 to 2299 only",
									   column->name));
	}
	return refused;
}

static int32
screen_objects(const TlColumn *column, int32 nrows, const char **reasons)
{
	int32		refused = 0;

	for (int32 row = 0; row < nrows; row++)
	{
		int32		len;
		const char *text = tl_text(column, row, &len);

		if (!tl_isnull(column, row) && (len == 0 || text[0] != '{'))
			refused += tl_refuse_row(reasons, row,
							  psprintf("column \"%s\": ClickHouse's type JSON holds objects only",
									   column->name));
	}
	return refused;
}

static const TlColumn *
find_timestamp(const TlBatch *batch)
{
	for (int i = 0; i < batch->ncolumns; i++)
		if (strcmp(batch->columns[i].name, "timestamp") == 0)
			return &batch->columns[i];
	return NULL;
}

bool
tlch_too_many_months(const TlBatch *batch)
{
	int32	   *rows;
	bool		too_many;

	if (batch->min_timestamp > batch->max_timestamp ||
		month_of(batch->max_timestamp) - month_of(batch->min_timestamp) <
		TLCH_MAX_MONTHS)
		return false;
	rows = tlch_by_month(batch);
	too_many = tlch_months_end(batch, rows, 0) < batch->nrows;
	pfree(rows);
	return too_many;
}

/* The batch's rows in the order of their months. */
int32 *
tlch_by_month(const TlBatch *batch)
{
	const int64 *values = find_timestamp(batch)->values;
	MonthRow   *months = palloc(batch->nrows * sizeof(MonthRow));
	int32	   *rows = palloc(batch->nrows * sizeof(int32));

	for (int32 row = 0; row < batch->nrows; row++)
	{
		months[row].month = month_of(values[row]);
		months[row].row = row;
	}
	qsort(months, batch->nrows, sizeof(MonthRow), compare_months);
	for (int32 i = 0; i < batch->nrows; i++)
		rows[i] = months[i].row;
	pfree(months);
	return rows;
}

/* Where the rows from begin on have filled as many months as fit. */
int32
tlch_months_end(const TlBatch *batch, const int32 *rows, int32 begin)
{
	const int64 *values = find_timestamp(batch)->values;
	int			months = 0;
	int32		i;

	for (i = begin; i < batch->nrows; i++)
	{
		if (i == begin ||
			month_of(values[rows[i]]) != month_of(values[rows[i - 1]]))
			months++;
		if (months > TLCH_MAX_MONTHS)
			break;
	}
	return i;
}

/* Months since 1900, of the proleptic Gregorian calendar in UTC. */
static int32
month_of(int64 usec)
{
	static const int16 ends[] = {31, 61, 92, 122, 153, 184, 214, 245, 275,
	306, 337, 367};
	int64		days = usec / USECS_PER_DAY - (usec % USECS_PER_DAY < 0);
	int64		day = days + 719468;	/* since 0000-03-01 */
	int64		era = day / 146097;
	int64		year;
	int			month = 0;

	day -= era * 146097;		/* of 400 years that begin with a March */
	year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= year * 365 + year / 4 - year / 100;
	while (day >= ends[month])
		month++;
	return (int32) ((era * 400 + year - 1900) * 12 + month + 2);
}

static int
compare_months(const void *a, const void *b)
{
	const MonthRow *x = a;
	const MonthRow *y = b;

	if (x->month != y->month)
		return x->month < y->month ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Some of the batch's rows as a batch; in the current memory context. */
void
tlch_take_rows(const TlBatch *batch, const int32 *rows, int32 nrows,
			   TlBatch *taken)
{
	TlColumn   *columns = palloc(batch->ncolumns * sizeof(TlColumn));
	pg_uuid_t  *ids = palloc(nrows * sizeof(pg_uuid_t));

	*taken = *batch;
	taken->nrows = nrows;
	taken->columns = columns;
	taken->event_ids = ids;
	for (int32 i = 0; i < nrows; i++)
		ids[i] = batch->event_ids[rows[i]];
	for (int i = 0; i < batch->ncolumns; i++)
		take_column(&batch->columns[i], rows, nrows, &columns[i]);
}

static void
take_column(const TlColumn *from, const int32 *rows, int32 nrows,
			TlColumn *to)
{
	*to = *from;
	take_validity(from, rows, nrows, to);
	if (from->type == TL_TEXT || from->type == TL_JSON)
		take_texts(from, rows, nrows, to);
	else
	{
		Size		width = from->type == TL_UUID ? UUID_LEN : sizeof(int64);
		char	   *values = palloc(nrows * width);

		for (int32 i = 0; i < nrows; i++)
			memcpy(values + i * width,
				   (const char *) from->values + rows[i] * width, width);
		to->values = values;
	}
}

static void
take_validity(const TlColumn *from, const int32 *rows, int32 nrows,
			  TlColumn *to)
{
	uint8	   *validity;

	if (from->validity == NULL)
		return;
	validity = palloc0((nrows + 7) / 8);
	to->null_count = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		if (tl_isnull(from, rows[i]))
			to->null_count++;
		else
			validity[i >> 3] |= 1 << (i & 7);
	}
	to->validity = validity;
}

static void
take_texts(const TlColumn *from, const int32 *rows, int32 nrows,
		   TlColumn *to)
{
	int32	   *offsets = palloc((nrows + 1) * sizeof(int32));
	StringInfoData data;

	initStringInfo(&data);
	offsets[0] = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		int32		len;
		const char *text = tl_text(from, rows[i], &len);

		if (len > 0)
			appendBinaryStringInfo(&data, text, len);
		offsets[i + 1] = data.len;
	}
	to->values = offsets;
	to->data = data.data;
}
