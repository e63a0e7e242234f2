/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  Columns of a TlBatch become the binary format of COPY.
 *
 * The format is described in PostgreSQL's documentation of COPY ("Binary
 * Format"); the form of each type is what its receive function reads.  Room
 * for a row is made once, after which its fields are written through a plain
 * pointer: this is the hot path.
 *
 * Pure but for palloc.  Invariant: rows are written in the batch's order, so
 * that line n of a COPY error is row n - 1.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "tlpg.h"

/* Microseconds from 1970-01-01 to the server's epoch, 2000-01-01. */
#define EPOCH_OFFSET		INT64CONST(946684800000000)

/* numeric_send's header, and the most base 10000 digits an int64 has. */
#define NUMERIC_HEADER		8
#define NUMERIC_DIGITS		5
#define NUMERIC_NAN			0xC000
#define NUMERIC_NEG			0x4000

/* Bytes of the widest field that is not text, its length word included. */
#define MAX_FIXED_FIELD		(4 + NUMERIC_HEADER + 2 * NUMERIC_DIGITS)

static const char copy_signature[11] = "PGCOPY\n\377\r\n";

static char *put_row(char *p, const TlpgEncoder *encoder, int32 row);
static char *put_value(char *p, const TlColumn *column, int32 row);
static char *put_numeric(char *p, int64 value);
static char *put_text(char *p, const TlColumn *column, int32 row);
static Size text_size(const TlpgEncoder *encoder, int32 row);

static inline char *
put16(char *p, uint16 value)
{
	value = pg_hton16(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline char *
put32(char *p, uint32 value)
{
	value = pg_hton32(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline char *
put64(char *p, uint64 value)
{
	value = pg_hton64(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline char *
put_uuid(char *p, const pg_uuid_t *uuid)
{
	p = put32(p, UUID_LEN);
	memcpy(p, uuid->data, UUID_LEN);
	return p + UUID_LEN;
}

/* Begins with the batch's first row. */
void
tlpg_encoder_init(TlpgEncoder *encoder, const TlBatch *batch)
{
	encoder->batch = batch;
	encoder->columns = palloc((batch->ncolumns + 1) * sizeof(TlColumn *));
	encoder->columns[0] = NULL;
	encoder->ncolumns = 1;
	encoder->next_row = 0;
	for (int i = 0; i < batch->ncolumns; i++)
		if (strcmp(batch->columns[i].name, "event_id") != 0)
			encoder->columns[encoder->ncolumns++] = &batch->columns[i];
	encoder->fixed_size = 2 + encoder->ncolumns * MAX_FIXED_FIELD;
}

void
tlpg_encode_header(StringInfo out)
{
	appendBinaryStringInfo(out, copy_signature, sizeof(copy_signature));
	appendBinaryStringInfo(out, "\0\0\0\0\0\0\0\0", 8);
}

/*
 * Appends rows until the buffer holds stop_after bytes or more, or all rows
 * are written; then returns false.
 */
bool
tlpg_encode_rows(TlpgEncoder *encoder, StringInfo out, int stop_after)
{
	while (encoder->next_row < encoder->batch->nrows && out->len < stop_after)
	{
		int32		row = encoder->next_row++;
		char	   *end;

		enlargeStringInfo(out, encoder->fixed_size + text_size(encoder, row));
		end = put_row(out->data + out->len, encoder, row);
		out->len = end - out->data;
		*end = '\0';
	}
	return encoder->next_row < encoder->batch->nrows;
}

void
tlpg_encode_trailer(StringInfo out)
{
	appendBinaryStringInfo(out, "\377\377", 2);
}

/* Bytes of a row's texts, each with the version byte that jsonb needs. */
static Size
text_size(const TlpgEncoder *encoder, int32 row)
{
	Size		size = 0;

	for (int i = 1; i < encoder->ncolumns; i++)
	{
		const TlColumn *column = encoder->columns[i];

		if (column->type == TL_TEXT || column->type == TL_JSON)
		{
			const int32 *offset = (const int32 *) column->values + row;

			size += offset[1] - offset[0] + 1;
		}
	}
	return size;
}

static char *
put_row(char *p, const TlpgEncoder *encoder, int32 row)
{
	p = put16(p, encoder->ncolumns);
	p = put_uuid(p, &encoder->batch->event_ids[row]);
	for (int i = 1; i < encoder->ncolumns; i++)
	{
		const TlColumn *column = encoder->columns[i];

		if (tl_isnull(column, row))
			p = put32(p, (uint32) -1);
		else
			p = put_value(p, column, row);
	}
	return p;
}

static char *
put_value(char *p, const TlColumn *column, int32 row)
{
	switch (column->type)
	{
		case TL_UUID:
			return put_uuid(p, tl_uuid(column, row));
		case TL_TIMESTAMP:
			p = put32(p, 8);
			return put64(p, tlpg_timestamp_to_server(tl_int64(column, row)));
		case TL_FLOAT64:
		case TL_INT64:
			p = put32(p, 8);
			return put64(p, ((const uint64 *) column->values)[row]);
		case TL_DECIMAL:
			return put_numeric(p, tl_int64(column, row));
		case TL_TEXT:
		case TL_JSON:
			return put_text(p, column, row);
	}
	pg_unreachable();
}

/* The sentinels of both infinities are the same on both sides. */
int64
tlpg_timestamp_to_server(int64 unix_usec)
{
	if (unix_usec == PG_INT64_MIN || unix_usec == PG_INT64_MAX)
		return unix_usec;
	return unix_usec - EPOCH_OFFSET;
}

int64
tlpg_timestamp_from_server(int64 server_usec)
{
	if (server_usec == PG_INT64_MIN || server_usec == PG_INT64_MAX)
		return server_usec;
	return server_usec + EPOCH_OFFSET;
}

/*
 * numeric_recv reads: number of base 10000 digits, weight of the first, sign,
 * scale, digits.  With a scale of 8 the last two digits are the fraction, so
 * no digit has to be shifted.
 */
static char *
put_numeric(char *p, int64 value)
{
	uint16		digits[NUMERIC_DIGITS];
	uint64		rest = value < 0 ? -(uint64) value : (uint64) value;
	int			n = 0;
	bool		nan = value == PG_INT64_MIN;

	for (; !nan && rest > 0; rest /= 10000)
		digits[n++] = rest % 10000;

	p = put32(p, NUMERIC_HEADER + 2 * n);
	p = put16(p, n);
	p = put16(p, n > 0 ? (uint16) (n - 3) : 0);
	p = put16(p, nan ? NUMERIC_NAN : value < 0 ? NUMERIC_NEG : 0);
	p = put16(p, nan ? 0 : 8);
	while (n > 0)
		p = put16(p, digits[--n]);
	return p;
}

static char *
put_text(char *p, const TlColumn *column, int32 row)
{
	int32		len;
	const char *text = tl_text(column, row, &len);
	bool		json = column->type == TL_JSON;

	p = put32(p, len + json);
	if (json)
		*p++ = 1;				/* version of jsonb's binary form */
	if (len > 0)
		memcpy(p, text, len);
	return p + len;
}

/* array_recv's form of a uuid[], for = ANY($1). */
void
tlpg_encode_uuid_array(StringInfo out, const pg_uuid_t *ids, int32 n)
{
	char	   *p;

	enlargeStringInfo(out, 20 + n * (4 + UUID_LEN));
	p = out->data + out->len;
	p = put32(p, 1);			/* dimensions */
	p = put32(p, 0);			/* no nulls */
	p = put32(p, 2950);			/* uuid */
	p = put32(p, n);
	p = put32(p, 1);			/* lower bound */
	for (int32 i = 0; i < n; i++)
		p = put_uuid(p, &ids[i]);
	out->len = p - out->data;
	*p = '\0';
}

int64
tlpg_decode_int64(const char *bytes)
{
	uint64		value;

	memcpy(&value, bytes, sizeof(value));
	return (int64) pg_ntoh64(value);
}
