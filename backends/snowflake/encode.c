/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  Columns of a TlBatch become a MERGE and the one text it is given.
 *
 * The SQL API takes no arrays as bind values, and no bind value is a VARIANT:
 * all rows go as one JSON array of objects, which the statement takes apart
 * (PARSE_JSON, FLATTEN).  Keys are as short as can be, since a statement with
 * all that it is given has to stay below 1 MB: the n-th column is "a", "b",
 * ... "z", "aa".  What is NULL is left out: in a VARIANT column JSON's null
 * is another value than SQL's.
 *
 * Numbers that JSON's readers might take for a double, and doubles that JSON
 * has no number for, go as text; the statement casts all of them.  Only the
 * names in a statement depend on the table, so that Snowflake compiles it
 * once for all batches.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "tlsf.h"

#define USECS_PER_SECOND	INT64CONST(1000000)
#define SECONDS_PER_DAY		86400
#define COST_UNIT			INT64CONST(100000000)	/* 10^8 */

static void append_columns(StringInfo out, const TlBatch *batch,
						   const TlsfTable *table, const char *alias);
static void append_source(StringInfo out, const TlBatch *batch,
						  const TlsfTable *table);
static const char *cast_of(TlType type);
static const char *column_name(const TlsfTable *table, const char *name);
static void make_key(char *key, int column);
static void encode_value(StringInfo out, const TlColumn *column, int32 row);
static void encode_integer(StringInfo out, int64 value);
static void encode_double(StringInfo out, double value);
static void encode_decimal(StringInfo out, int64 value);
static char *put_number(char *p, uint64 value);
static char *put_digits(char *p, uint32 value, int digits);

/*
 * The statement.  Its binds: the rows, and the first and the last time at
 * which an event of the batch may be in the table.  Both borders let
 * Snowflake skip what holds other times; they must not be tighter than the
 * batch's, or an event that is there would be inserted once more.
 *
 * NB: of two rows with one id that are both not in the table MERGE would
 * insert both: hence QUALIFY.
 */
void
tlsf_encode_merge(StringInfo out, const TlBatch *batch,
				  const TlsfTable *table, const TlsfName *name)
{
	StringInfoData id;
	StringInfoData timestamp;

	initStringInfo(&id);
	initStringInfo(&timestamp);
	tlsf_quote_identifier(&id, column_name(table, "event_id"));
	tlsf_quote_identifier(&timestamp, column_name(table, "timestamp"));
	appendStringInfo(out, "MERGE INTO %s t USING (", name->quoted);
	append_source(out, batch, table);
	appendStringInfo(out, ") s ON t.%s = s.%s"
					 " AND t.%s >= CAST(? AS TIMESTAMP_NTZ)"
					 " AND t.%s <= CAST(? AS TIMESTAMP_NTZ)"
					 " WHEN NOT MATCHED THEN INSERT (", id.data, id.data,
					 timestamp.data, timestamp.data);
	append_columns(out, batch, table, "");
	appendStringInfoString(out, ") VALUES (");
	append_columns(out, batch, table, "s.");
	appendStringInfoChar(out, ')');
}

static void
append_columns(StringInfo out, const TlBatch *batch, const TlsfTable *table,
			   const char *alias)
{
	for (int i = 0; i < batch->ncolumns; i++)
	{
		appendStringInfo(out, "%s%s", i > 0 ? ", " : "", alias);
		tlsf_quote_identifier(out, column_name(table,
											   batch->columns[i].name));
	}
}

static void
append_source(StringInfo out, const TlBatch *batch, const TlsfTable *table)
{
	char		id_key[4] = "";

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];
		char		key[4];

		make_key(key, i);
		if (strcmp(column->name, "event_id") == 0)
			strlcpy(id_key, key, sizeof(id_key));
		appendStringInfo(out, "%s f.value:\"%s\"%s AS ",
						 i > 0 ? "," : "SELECT", key, cast_of(column->type));
		tlsf_quote_identifier(out, column_name(table, column->name));
	}
	appendStringInfo(out, " FROM (SELECT PARSE_JSON(?) AS j) b,"
					 " LATERAL FLATTEN(INPUT => b.j) f"
					 " QUALIFY ROW_NUMBER() OVER (PARTITION BY"
					 " f.value:\"%s\"::VARCHAR ORDER BY f.index) = 1",
					 id_key);
}

static const char *
cast_of(TlType type)
{
	switch (type)
	{
		case TL_TIMESTAMP:
			return "::TIMESTAMP_NTZ";
		case TL_FLOAT64:
			return "::FLOAT";
		case TL_INT64:
			return "::NUMBER(19,0)";
		case TL_DECIMAL:
			return "::NUMBER(18,8)";
		case TL_JSON:
			return "";
		case TL_UUID:
		case TL_TEXT:
			break;
	}
	return "::VARCHAR";
}

/* As the table spells it. */
static const char *
column_name(const TlsfTable *table, const char *name)
{
	const TlsfColumn *column = tlsf_find_column(table, name);

	return column ? column->name : name;
}

static void
make_key(char *key, int column)
{
	int			n = 0;

	if (column >= 26)
		key[n++] = 'a' + column / 26 - 1;
	key[n++] = 'a' + column % 26;
	key[n] = '\0';
}

/* [{"a":"6f1c...","b":"2026-01-02T03:04:05.678901",...},...] */
void
tlsf_encode_rows(StringInfo out, const TlBatch *batch)
{
	const char **keys = palloc0((batch->ncolumns + 1) * sizeof(char *));

	for (int i = 0; i < batch->ncolumns; i++)
	{
		char		key[4];

		make_key(key, i);
		keys[i] = psprintf("\"%s\"", key);
	}
	appendStringInfoChar(out, '[');
	for (int32 row = 0; row < batch->nrows; row++)
	{
		if (row > 0)
			appendStringInfoChar(out, ',');
		tlsf_encode_row(out, batch, row, keys);
	}
	appendStringInfoChar(out, ']');
}

/* keys: of the columns, as JSON writes them. */
void
tlsf_encode_row(StringInfo out, const TlBatch *batch, int32 row,
				const char *const *keys)
{
	char		separator = '{';

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if (tl_isnull(column, row))
			continue;
		appendStringInfoChar(out, separator);
		appendStringInfoString(out, keys[i]);
		appendStringInfoChar(out, ':');
		encode_value(out, column, row);
		separator = ',';
	}
	appendStringInfoString(out, separator == '{' ? "{}" : "}");
}

static void
encode_value(StringInfo out, const TlColumn *column, int32 row)
{
	char		buffer[TLSF_TIMESTAMP_TEXT];
	const char *text;
	int32		len;

	switch (column->type)
	{
		case TL_UUID:
			appendStringInfoChar(out, '"');
			tl_append_uuid(out, tl_uuid(column, row));
			appendStringInfoChar(out, '"');
			break;
		case TL_TIMESTAMP:
			*tlsf_put_timestamp(buffer, tl_int64(column, row)) = '\0';
			appendStringInfo(out, "\"%s\"", buffer);
			break;
		case TL_INT64:
			encode_integer(out, tl_int64(column, row));
			break;
		case TL_FLOAT64:
			encode_double(out, tl_float64(column, row));
			break;
		case TL_DECIMAL:
			encode_decimal(out, tl_int64(column, row));
			break;
		case TL_TEXT:
			text = tl_text(column, row, &len);
			tl_json_append_string(out, text, len);
			break;
		case TL_JSON:
			text = tl_text(column, row, &len);
			appendBinaryStringInfo(out, text, len);
			break;
	}
}

static void
encode_integer(StringInfo out, int64 value)
{
	char		buffer[24];
	char	   *p = buffer;

	if (value < 0)
		*p++ = '-';
	p = put_number(p, value < 0 ? -(uint64) value : (uint64) value);
	appendBinaryStringInfo(out, buffer, p - buffer);
}

static void
encode_double(StringInfo out, double value)
{
	if (isnan(value))
		appendStringInfoString(out, "\"NaN\"");
	else if (isinf(value))
		appendStringInfoString(out, value > 0 ? "\"inf\"" : "\"-inf\"");
	else
		appendStringInfo(out, "%.17g", value);
}

static void
encode_decimal(StringInfo out, int64 value)
{
	uint64		magnitude = value < 0 ? -(uint64) value : (uint64) value;
	char		buffer[32];
	char	   *p = buffer;

	*p++ = '"';
	if (value < 0)
		*p++ = '-';
	p = put_number(p, magnitude / COST_UNIT);
	*p++ = '.';
	p = put_digits(p, (uint32) (magnitude % COST_UNIT), 8);
	*p++ = '"';
	appendBinaryStringInfo(out, buffer, p - buffer);
}

/* [{"a":"6f1c..."},...] */
void
tlsf_encode_ids(StringInfo out, const TlBatch *batch)
{
	appendStringInfoChar(out, '[');
	for (int32 row = 0; row < batch->nrows; row++)
	{
		appendStringInfoString(out, row > 0 ? ",{\"a\":\"" : "{\"a\":\"");
		tl_append_uuid(out, &batch->event_ids[row]);
		appendStringInfoString(out, "\"}");
	}
	appendStringInfoChar(out, ']');
}

/*
 * "2026-01-02T03:04:05.678901", UTC; what lies beyond the years 1 to 9999
 * becomes the nearest.  The days are those of the proleptic Gregorian
 * calendar, counted in eras of 400 years that begin on March 1st.
 */
char *
tlsf_put_timestamp(char *p, int64 usec)
{
	int64		usecs = Min(Max(usec, TLSF_FIRST_USEC), TLSF_END_USEC - 1) -
		TLSF_FIRST_USEC;
	int64		seconds = usecs / USECS_PER_SECOND;
	uint32		of_day = (uint32) (seconds % SECONDS_PER_DAY);
	uint32		days = (uint32) (seconds / SECONDS_PER_DAY) + 306;
	uint32		era = days / 146097;
	uint32		of_era = days % 146097;
	uint32		year = (of_era - of_era / 1460 + of_era / 36524 -
						of_era / 146096) / 365;
	uint32		of_year = of_era - (365 * year + year / 4 - year / 100);
	uint32		month = (5 * of_year + 2) / 153;
	uint32		day = of_year - (153 * month + 2) / 5 + 1;

	month += month < 10 ? 3 : -9;
	p = put_digits(p, year + era * 400 + (month <= 2), 4);
	*p++ = '-';
	p = put_digits(p, month, 2);
	*p++ = '-';
	p = put_digits(p, day, 2);
	*p++ = 'T';
	p = put_digits(p, of_day / 3600, 2);
	*p++ = ':';
	p = put_digits(p, of_day / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, of_day % 60, 2);
	*p++ = '.';
	return put_digits(p, (uint32) (usecs % USECS_PER_SECOND), 6);
}

static char *
put_number(char *p, uint64 value)
{
	char		reversed[20];
	int			n = 0;

	do
		reversed[n++] = '0' + value % 10;
	while ((value /= 10) > 0);
	while (n > 0)
		*p++ = reversed[--n];
	return p;
}

static char *
put_digits(char *p, uint32 value, int digits)
{
	for (int i = digits - 1; i >= 0; i--)
	{
		p[i] = '0' + value % 10;
		value /= 10;
	}
	return p + digits;
}

/* Where the batch's events are, margin_ms more on either side; as text. */
void
tlsf_time_range(const TlBatch *batch, int64 margin_ms, char *from, char *to)
{
	int64		margin = margin_ms * 1000;
	int64		first = Max(batch->min_timestamp, TLSF_FIRST_USEC);
	int64		last = Min(batch->max_timestamp, TLSF_END_USEC - 1);

	*tlsf_put_timestamp(from, first - margin) = '\0';
	*tlsf_put_timestamp(to, last + margin) = '\0';
}
