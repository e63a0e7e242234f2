/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  Columns of a TlBatch become the message AppendRowsRequest.
 *
 * Rows are messages of proto2 whose fields are the batch's columns, numbered
 * from 1 in their order.  NULL is a field that is not there; zero and the
 * empty text are there.  They are written by hand, straight from the columns:
 * a general library would take several times as long.  Types are those that
 * BigQuery's documentation, "Supported protocol buffer and Arrow data types",
 * names: text for STRING, JSON and NUMERIC, int64 for INT64 and, in
 * microseconds since 1970, TIMESTAMP, and double for FLOAT64.
 *
 * A message is preceded by its length, so the request is built from the
 * inside: its rows first, behind room for what comes before them.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_proto.h"
#include "tlbq.h"

/* Types and labels of google/protobuf/descriptor.proto. */
#define TYPE_DOUBLE			1
#define TYPE_INT64			3
#define TYPE_STRING			9
#define LABEL_OPTIONAL		1

#define UUID_TEXT			36
#define DECIMAL_TEXT		24
#define FRAME_HEADER		5

/* Longest field of a fixed width with its tag: a UUID. */
#define MAX_FIXED			(UUID_TEXT + 4)

/* Before the rows: tags, lengths, the stream's name, besides the schema. */
#define HEAD_ROOM			2048

static void encode_row(StringInfo out, const TlBatch *batch, int32 row);
static char *put_field(char *p, const TlColumn *column, int number,
					   int32 row);
static char *put_uuid(char *p, const pg_uuid_t *uuid);
static int	proto_type(TlType type);
static void put_message(StringInfo out, int number, const StringInfo inner);
static void put_text(StringInfo out, int number, const char *text);
static void put_int(StringInfo out, int number, uint64 value);
static void put_tag_and_length(StringInfo out, int number, uint64 len);
static void put_frame(StringInfo head, Size len);

static inline int
varint_len(uint64 value)
{
	int			len = 1;

	while (value >= 0x80)
	{
		value >>= 7;
		len++;
	}
	return len;
}

/*
 * Builds the request in buffer, framed as gRPC wants it.  offset < 0: none,
 * as the default stream wants it.
 */
void
tlbq_encode_append(const TlBatch *batch, const char *stream, int64 offset,
				   StringInfo buffer, TlbqAppend *append)
{
	StringInfoData schema;
	StringInfoData head;
	StringInfoData frame;
	int			room;
	Size		rows;
	Size		data;

	initStringInfo(&schema);
	initStringInfo(&head);
	initStringInfo(&frame);
	tlbq_encode_schema(&schema, batch);
	room = schema.len + strlen(stream) + HEAD_ROOM;
	enlargeStringInfo(buffer, room);
	buffer->len = room;
	tlbq_encode_rows(buffer, batch);
	rows = buffer->len - room;

	put_text(&head, 1, stream);
	if (offset >= 0)
	{
		StringInfoData value;

		initStringInfo(&value);
		if (offset > 0)
			put_int(&value, 1, offset);
		put_message(&head, 2, &value);
	}
	data = 1 + varint_len(schema.len) + schema.len +
		1 + varint_len(rows) + rows;
	put_tag_and_length(&head, 4, data);
	put_message(&head, 1, &schema);
	put_tag_and_length(&head, 2, rows);

	put_frame(&frame, head.len + rows);
	append->len = frame.len + head.len + rows;
	append->data = buffer->data + buffer->len - append->len;
	Assert(append->data >= buffer->data);
	memcpy((char *) append->data, frame.data, frame.len);
	memcpy((char *) append->data + frame.len, head.data, head.len);
}

/* A ProtoSchema: what the rows' fields are called, and their types. */
void
tlbq_encode_schema(StringInfo out, const TlBatch *batch)
{
	StringInfoData descriptor;

	initStringInfo(&descriptor);
	put_text(&descriptor, 1, "Event");
	for (int i = 0; i < batch->ncolumns; i++)
	{
		StringInfoData field;

		initStringInfo(&field);
		put_text(&field, 1, batch->columns[i].name);
		put_int(&field, 3, i + 1);
		put_int(&field, 4, LABEL_OPTIONAL);
		put_int(&field, 5, proto_type(batch->columns[i].type));
		put_message(&descriptor, 2, &field);
	}
	put_message(out, 1, &descriptor);
}

static int
proto_type(TlType type)
{
	return type == TL_FLOAT64 ? TYPE_DOUBLE :
		type == TL_INT64 || type == TL_TIMESTAMP ? TYPE_INT64 : TYPE_STRING;
}

/* A ProtoRows. */
void
tlbq_encode_rows(StringInfo out, const TlBatch *batch)
{
	for (int32 row = 0; row < batch->nrows; row++)
	{
		int			begin = out->len;
		int			head;
		int			len;
		char		length[1 + TL_MAX_VARINT];

		/* Most rows' lengths take two bytes; others' rows are moved. */
		enlargeStringInfo(out, 3);
		out->len += 3;
		encode_row(out, batch, row);
		len = out->len - begin - 3;
		head = tl_put_varint(tl_put_tag(length, 1, TL_WIRE_DELIMITED),
							 len) - length;
		if (head != 3)
		{
			enlargeStringInfo(out, head);
			memmove(out->data + begin + head, out->data + begin + 3, len);
			out->len = begin + head + len;
		}
		memcpy(out->data + begin, length, head);
	}
}

static void
encode_row(StringInfo out, const TlBatch *batch, int32 row)
{
	char	   *p;

	/* For all of fixed width, and the heads of texts. */
	enlargeStringInfo(out, batch->ncolumns * MAX_FIXED);
	p = out->data + out->len;
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];
		const char *text;
		int32		len;

		if (tl_isnull(column, row))
			continue;
		if (column->type != TL_TEXT && column->type != TL_JSON)
		{
			p = put_field(p, column, i + 1, row);
			continue;
		}
		text = tl_text(column, row, &len);
		p = tl_put_varint(tl_put_tag(p, i + 1, TL_WIRE_DELIMITED), len);
		out->len = p - out->data;
		enlargeStringInfo(out, len + (batch->ncolumns - i) * MAX_FIXED);
		p = out->data + out->len;
		if (len > 0)
			memcpy(p, text, len);
		p += len;
	}
	out->len = p - out->data;
}

/* Of a column of fixed width; at most MAX_FIXED bytes. */
static char *
put_field(char *p, const TlColumn *column, int number, int32 row)
{
	char		text[DECIMAL_TEXT];
	int			len;

	switch (column->type)
	{
		case TL_UUID:
			p = tl_put_tag(p, number, TL_WIRE_DELIMITED);
			*p++ = UUID_TEXT;
			return put_uuid(p, tl_uuid(column, row));
		case TL_TIMESTAMP:
		case TL_INT64:
			p = tl_put_tag(p, number, TL_WIRE_VARINT);
			return tl_put_varint(p, (uint64) tl_int64(column, row));
		case TL_FLOAT64:
			p = tl_put_tag(p, number, TL_WIRE_FIXED64);
			return tl_put_double(p, tl_float64(column, row));
		case TL_DECIMAL:
			len = tlbq_put_decimal(text, tl_int64(column, row)) - text;
			p = tl_put_tag(p, number, TL_WIRE_DELIMITED);
			*p++ = (char) len;
			memcpy(p, text, len);
			return p + len;
		case TL_TEXT:
		case TL_JSON:
			break;
	}
	return p;
}

static char *
put_uuid(char *p, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[uuid->data[i] >> 4];
		*p++ = digits[uuid->data[i] & 15];
	}
	return p;
}

/* value / 10^8 in decimal, all eight digits; at most DECIMAL_TEXT bytes. */
char *
tlbq_put_decimal(char *p, int64 value)
{
	char		digits[DECIMAL_TEXT];
	int			n = 0;
	uint64		left = value < 0 ? 0 - (uint64) value : (uint64) value;

	if (value < 0)
		*p++ = '-';
	do
	{
		digits[n++] = (char) ('0' + left % 10);
		left /= 10;
	} while (left > 0 || n < 9);
	while (n > 0)
	{
		if (n == 8)
			*p++ = '.';
		*p++ = digits[--n];
	}
	return p;
}

/* Fields of messages, as in any protocol buffer. */

static void
put_message(StringInfo out, int number, const StringInfo inner)
{
	put_tag_and_length(out, number, inner->len);
	appendBinaryStringInfo(out, inner->data, inner->len);
	pfree(inner->data);
}

static void
put_text(StringInfo out, int number, const char *text)
{
	put_tag_and_length(out, number, strlen(text));
	appendStringInfoString(out, text);
}

static void
put_int(StringInfo out, int number, uint64 value)
{
	char		field[2 * TL_MAX_VARINT];
	char	   *p = tl_put_tag(field, number, TL_WIRE_VARINT);

	p = tl_put_varint(p, value);
	appendBinaryStringInfo(out, field, p - field);
}

static void
put_tag_and_length(StringInfo out, int number, uint64 len)
{
	char		field[2 * TL_MAX_VARINT];
	char	   *p = tl_put_tag(field, number, TL_WIRE_DELIMITED);

	p = tl_put_varint(p, len);
	appendBinaryStringInfo(out, field, p - field);
}

/* Not compressed; the length is big-endian. */
static void
put_frame(StringInfo head, Size len)
{
	char		frame[FRAME_HEADER] = {0, (char) (len >> 24),
		(char) (len >> 16), (char) (len >> 8), (char) len};

	appendBinaryStringInfo(head, frame, sizeof(frame));
}
