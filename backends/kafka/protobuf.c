/*-------------------------------------------------------------------------
 *
 * protobuf.c
 *	  An event becomes the message Event of event.proto.
 *
 * Field by field, straight from the columns: what is NULL is not there, zero
 * and the empty text are.  Any order of the fields would do; it is the
 * batch's.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_proto.h"
#include "tlkf.h"

/* Of fixed width: tag, length and a UUID. */
#define MAX_FIELD		(TLKF_UUID_LEN + 4)

static char *put_head(char *p, int number, int32 len);

/* Of a column that is not NULL. */
void
tlkf_put_field(StringInfo out, int number, const TlColumn *column, int32 row)
{
	char		field[MAX_FIELD];
	char		decimal[TLKF_MAX_DECIMAL];
	char	   *p = field;
	const char *text;
	int32		len;

	switch (column->type)
	{
		case TL_UUID:
			p = put_head(p, number, TLKF_UUID_LEN);
			tlkf_format_uuid(p, tl_uuid(column, row));
			p += TLKF_UUID_LEN;
			break;
		case TL_TIMESTAMP:
		case TL_INT64:
			p = tl_put_tag(p, number, TL_WIRE_VARINT);
			p = tl_put_varint(p, (uint64) tl_int64(column, row));
			break;
		case TL_FLOAT64:
			p = tl_put_tag(p, number, TL_WIRE_FIXED64);
			p = tl_put_double(p, tl_float64(column, row));
			break;
		case TL_DECIMAL:
			len = tlkf_format_decimal(decimal, tl_int64(column, row)) -
				decimal;
			p = put_head(p, number, len);
			memcpy(p, decimal, len);
			p += len;
			break;
		case TL_TEXT:
		case TL_JSON:
			text = tl_text(column, row, &len);
			p = put_head(p, number, len);
			appendBinaryStringInfo(out, field, p - field);
			appendBinaryStringInfo(out, text, len);
			return;
	}
	appendBinaryStringInfo(out, field, p - field);
}

static char *
put_head(char *p, int number, int32 len)
{
	return tl_put_varint(tl_put_tag(p, number, TL_WIRE_DELIMITED), len);
}

/* What precedes a message in a file of several (writeDelimitedTo). */
void
tlkf_put_length(StringInfo out, int32 len)
{
	char		length[TL_MAX_VARINT];

	appendBinaryStringInfo(out, length,
						   tl_put_varint(length, len) - length);
}
