/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  An event becomes a JSON object, which event.schema.json describes; or a
 *	  protocol buffer (protobuf.c).
 *
 * A column that is NULL is left out.  Numbers that a reader of JSON would
 * round are texts: costs, exact to the last digit.  Doubles that JSON has no
 * number for are the texts that Protocol Buffers' JSON has for them.  jsonb
 * values stand as they are, so that they can be reached by path.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "tlkf.h"

#define SECOND			INT64CONST(1000000)
#define DAY				(86400 * SECOND)

#define MAX_NUMBER_LEN	20		/* of 64 bits, without a sign */
#define EIGHT(byte)		(UINT64CONST(0x0101010101010101) * (byte))

/* 0001-01-01 and 10000-01-01, in microseconds since 1970: RFC 3339. */
#define FIRST_TIME		(-INT64CONST(62135596800) * SECOND)
#define END_OF_TIME		(INT64CONST(253402300800) * SECOND)

typedef struct EncodedColumn
{
	const TlColumn *column;
	int			number;			/* in event.proto */
	const char *label;			/* "name": with the comma before it */
	int			label_len;
} EncodedColumn;

struct TlkfEncoder
{
	TlkfFormat	format;
	int			ncolumns;
	EncodedColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

static void put_fields(const TlkfEncoder *encoder, int32 row,
					   StringInfo out);
static void put_members(const TlkfEncoder *encoder, int32 row,
						StringInfo out);
static void put_value(StringInfo out, const TlColumn *column, int32 row);
static void put_uuid(StringInfo out, const pg_uuid_t *uuid);
static void put_time(StringInfo out, int64 time);
static char *put_date(char *p, int64 days);
static char *put_digits(char *p, uint32 value, int digits);
static void put_double(StringInfo out, double value);
static void put_int64(StringInfo out, int64 value);
static void put_decimal(StringInfo out, int64 value);
static char *put_number(char *p, uint64 value);
static bool needs_escape(const char *text);
static void put_string(StringInfo out, const char *text, int32 len);
static void put_escape(StringInfo out, unsigned char c);

/* Belongs to the current memory context, and to the batch. */
TlkfEncoder *
tlkf_encoder_create(const TlBatch *batch, TlkfFormat format)
{
	Size		columns = sizeof(EncodedColumn) * (batch->ncolumns + 1);
	TlkfEncoder *encoder = palloc(offsetof(TlkfEncoder, columns) + columns);

	encoder->format = format;
	encoder->ncolumns = batch->ncolumns;
	for (int i = 0; i < batch->ncolumns; i++)
	{
		EncodedColumn *column = &encoder->columns[i];

		column->column = &batch->columns[i];
		column->number = tlkf_field_number(batch->columns[i].name);
		column->label = psprintf(",\"%s\":", batch->columns[i].name);
		column->label_len = strlen(column->label);
	}
	return encoder;
}

/* Appends the event; to be asked before: tlkf_refusal(). */
void
tlkf_encode_row(const TlkfEncoder *encoder, int32 row, StringInfo out)
{
	if (encoder->format == TLKF_PROTOBUF)
		put_fields(encoder, row, out);
	else
		put_members(encoder, row, out);
}

/* NB: the core gives a store of some version no columns that it has not. */
static void
put_fields(const TlkfEncoder *encoder, int32 row, StringInfo out)
{
	for (int i = 0; i < encoder->ncolumns; i++)
	{
		const EncodedColumn *column = &encoder->columns[i];

		if (column->number > 0 && !tl_isnull(column->column, row))
			tlkf_put_field(out, column->number, column->column, row);
	}
}

static void
put_members(const TlkfEncoder *encoder, int32 row, StringInfo out)
{
	int			start = out->len;

	for (int i = 0; i < encoder->ncolumns; i++)
	{
		const EncodedColumn *column = &encoder->columns[i];

		if (tl_isnull(column->column, row))
			continue;
		appendBinaryStringInfo(out, column->label, column->label_len);
		put_value(out, column->column, row);
	}
	if (out->len == start)
		appendStringInfoChar(out, '{');
	else
		out->data[start] = '{'; /* for the first comma */
	appendStringInfoChar(out, '}');
}

/* Why the event has no message; NULL: it has one. */
const char *
tlkf_refusal(const TlkfEncoder *encoder, int32 row)
{
	for (int i = 0; i < encoder->ncolumns; i++)
	{
		const TlColumn *column = encoder->columns[i].column;
		int64		time;

		if (column->type != TL_TIMESTAMP || tl_isnull(column, row))
			continue;
		time = tl_int64(column, row);
		if (time < FIRST_TIME || time >= END_OF_TIME)
			return psprintf("column \"%s\": a message has times of the years 1 to 9999 only",
							column->name);
	}
	return NULL;
}

static void
put_value(StringInfo out, const TlColumn *column, int32 row)
{
	const char *text;
	int32		len;

	switch (column->type)
	{
		case TL_UUID:
			put_uuid(out, tl_uuid(column, row));
			break;
		case TL_TIMESTAMP:
			put_time(out, tl_int64(column, row));
			break;
		case TL_FLOAT64:
			put_double(out, tl_float64(column, row));
			break;
		case TL_INT64:
			put_int64(out, tl_int64(column, row));
			break;
		case TL_DECIMAL:
			put_decimal(out, tl_int64(column, row));
			break;
		case TL_TEXT:
			text = tl_text(column, row, &len);
			put_string(out, text, len);
			break;
		case TL_JSON:
			text = tl_text(column, row, &len);
			appendBinaryStringInfo(out, text, len);
			break;
	}
}

/* TLKF_UUID_LEN bytes; no NUL. */
void
tlkf_format_uuid(char *out, const pg_uuid_t *uuid)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[uuid->data[i] >> 4];
		*out++ = hex[uuid->data[i] & 15];
	}
}

/* The other way round; what is no hexadecimal digit counts as 0. */
void
tlkf_parse_uuid(pg_uuid_t *uuid, const char *text)
{
	memset(uuid, 0, sizeof(*uuid));
	for (int i = 0, nibble = 0; i < TLKF_UUID_LEN && nibble < 32; i++)
	{
		char		c = text[i];
		int			value = c >= 'a' && c <= 'f' ? c - 'a' + 10 :
			c >= '0' && c <= '9' ? c - '0' : 0;

		if (c == '-')
			continue;
		uuid->data[nibble >> 1] |= nibble & 1 ? value : value << 4;
		nibble++;
	}
}

static void
put_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	char		text[TLKF_UUID_LEN + 2];

	text[0] = text[TLKF_UUID_LEN + 1] = '"';
	tlkf_format_uuid(text + 1, uuid);
	appendBinaryStringInfo(out, text, sizeof(text));
}

/* "2026-01-31T23:59:59.999999Z" */
static void
put_time(StringInfo out, int64 time)
{
	int64		days = time / DAY - (time % DAY < 0);
	int64		rest = time - days * DAY;
	uint32		seconds = (uint32) (rest / SECOND);
	char		text[32];
	char	   *p = text;

	*p++ = '"';
	p = put_date(p, days);
	*p++ = 'T';
	p = put_digits(p, seconds / 3600, 2);
	*p++ = ':';
	p = put_digits(p, seconds / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, seconds % 60, 2);
	*p++ = '.';
	p = put_digits(p, (uint32) (rest % SECOND), 6);
	*p++ = 'Z';
	*p++ = '"';
	appendBinaryStringInfo(out, text, p - text);
}

/*
 * Gregorian, from days since 1970-01-01.  Years begin in March here, so that
 * the day that comes and goes is the last one.
 */
static char *
put_date(char *p, int64 days)
{
	int64		shifted = days + 719468;	/* since 0000-03-01 */
	int64		era = shifted / 146097; /* of 400 years */
	uint32		day = (uint32) (shifted - era * 146097);
	uint32		year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint32		month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	p = put_digits(p, (uint32) (era * 400) + year + (month >= 10), 4);
	*p++ = '-';
	p = put_digits(p, month < 10 ? month + 3 : month - 9, 2);
	*p++ = '-';
	return put_digits(p, day + 1, 2);
}

static char *
put_digits(char *p, uint32 value, int digits)
{
	for (int i = digits - 1; i >= 0; i--, value /= 10)
		p[i] = (char) ('0' + value % 10);
	return p + digits;
}

/* The shortest text that reads back as the same double. */
static void
put_double(StringInfo out, double value)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(value))
		appendStringInfoString(out, "\"NaN\"");
	else if (isinf(value))
		appendStringInfoString(out, value > 0 ? "\"Infinity\"" :
							   "\"-Infinity\"");
	else
		appendBinaryStringInfo(out, text,
							   double_to_shortest_decimal_buf(value, text));
}

static void
put_decimal(StringInfo out, int64 value)
{
	char		text[TLKF_MAX_DECIMAL + 2];
	char	   *p = text;

	*p++ = '"';
	p = tlkf_format_decimal(p, value);
	*p++ = '"';
	appendBinaryStringInfo(out, text, p - text);
}

/* "-0.00000001": always 8 digits behind the point; no NUL. */
char *
tlkf_format_decimal(char *p, int64 value)
{
	uint64		magnitude = value < 0 ? -(uint64) value : (uint64) value;

	if (value == PG_INT64_MIN)
	{
		memcpy(p, "NaN", 3);
		return p + 3;
	}
	if (value < 0)
		*p++ = '-';
	p = put_number(p, magnitude / 100000000);
	*p++ = '.';
	return put_digits(p, (uint32) (magnitude % 100000000), 8);
}

static void
put_int64(StringInfo out, int64 value)
{
	char		text[MAX_NUMBER_LEN + 1];
	char	   *p = text;

	if (value < 0)
		*p++ = '-';
	p = put_number(p, value < 0 ? -(uint64) value : (uint64) value);
	appendBinaryStringInfo(out, text, p - text);
}

static char *
put_number(char *p, uint64 value)
{
	char		digits[MAX_NUMBER_LEN];
	char	   *d = digits + sizeof(digits);

	do
		*--d = (char) ('0' + value % 10);
	while ((value /= 10) != 0);
	memcpy(p, d, digits + sizeof(digits) - d);
	return p + (digits + sizeof(digits) - d);
}

/* Copies what needs no escape in as long pieces as there are. */
static void
put_string(StringInfo out, const char *text, int32 len)
{
	int32		copied = 0;

	appendStringInfoCharMacro(out, '"');
	for (int32 i = 0; i < len; i++)
	{
		unsigned char c;

		while (i + 8 <= len && !needs_escape(text + i))
			i += 8;
		if (i >= len)
			break;
		c = (unsigned char) text[i];
		if (likely(c >= ' ' && c != '"' && c != '\\'))
			continue;
		appendBinaryStringInfo(out, text + copied, i - copied);
		put_escape(out, c);
		copied = i + 1;
	}
	appendBinaryStringInfo(out, text + copied, len - copied);
	appendStringInfoCharMacro(out, '"');
}

/*
 * Does one of these eight bytes?  Bytewise without loops: the high bit of
 * x - 0x01 and not x is set where x is zero, of x - 0x20 where x is below.
 */
static bool
needs_escape(const char *text)
{
	uint64		x;
	uint64		quote;
	uint64		backslash;

	memcpy(&x, text, 8);
	quote = x ^ EIGHT('"');
	backslash = x ^ EIGHT('\\');
	return ((((x - EIGHT(' ')) & ~x) |
			 ((quote - EIGHT(1)) & ~quote) |
			 ((backslash - EIGHT(1)) & ~backslash)) & EIGHT(0x80)) != 0;
}

static void
put_escape(StringInfo out, unsigned char c)
{
	static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (const char *n = named; *n != '\0'; n += 2)
		if ((unsigned char) *n == c)
		{
			appendStringInfoCharMacro(out, '\\');
			appendStringInfoCharMacro(out, n[1]);
			return;
		}
	appendStringInfo(out, "\\u%04x", c);
}
