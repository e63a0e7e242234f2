/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  Columns of a TlBatch become one block of ClickHouse's Native format.
 *
 * Native is columnar as a TlBatch is, so most columns are copied as they
 * stand: Int64, Float64, DateTime64(6) and Decimal(18, 8) have the very bytes
 * of their Arrow counterparts (little-endian).  Validity bits become a byte
 * for each row, offsets become lengths before each text, and the halves of a
 * UUID are turned around.  The format: ClickHouse's documentation, "Native",
 * and the source of its SerializationNullable, SerializationUUID and
 * SerializationLowCardinality.
 *
 * The whole batch is one block, so that the server inserts it at once or,
 * over several partitions, partition by partition; never a half of a block
 * that it could not read.
 *
 * Columns are sent in the types of our own table; where the table in front of
 * us has others that hold the same values (columns.c), the server converts.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "tlch.h"

static void put_header(StringInfo out, const TlBatch *batch);
static void put_string(StringInfo out, const char *text);
static bool encode_column(const TlColumn *column, int32 nrows,
						  StringInfo scratch, TlchSinkCB sink, void *arg);
static const TlchExpected *sent_as(const TlColumn *column,
								   TlchExpected *plain);
static void put_null_map(StringInfo out, const TlColumn *column,
						 int32 nrows);
static void put_fixed(StringInfo out, const TlColumn *column, int32 nrows);
static void put_uuids(StringInfo out, const TlColumn *column, int32 nrows);
static void put_texts(StringInfo out, const TlColumn *column, int32 nrows);

#ifdef WORDS_BIGENDIAN
#error "a TlBatch's values are sent as they stand, which needs little-endian order"
#endif

/* false: the sink gave up. */
bool
tlch_encode_block(const TlBatch *batch, TlchSinkCB sink, void *arg)
{
	StringInfoData scratch;
	bool		ok;

	initStringInfo(&scratch);
	put_header(&scratch, batch);
	ok = sink(arg, scratch.data, scratch.len);
	for (int i = 0; ok && i < batch->ncolumns; i++)
		ok = encode_column(&batch->columns[i], batch->nrows, &scratch, sink,
						   arg);
	pfree(scratch.data);
	return ok;
}

static void
put_header(StringInfo out, const TlBatch *batch)
{
	char	   *p;

	enlargeStringInfo(out, 2 * TLCH_MAX_VARINT);
	p = tlch_put_varint(out->data, batch->ncolumns);
	p = tlch_put_varint(p, batch->nrows);
	out->len = p - out->data;
}

static void
put_string(StringInfo out, const char *text)
{
	Size		len = strlen(text);
	char	   *p;

	enlargeStringInfo(out, TLCH_MAX_VARINT);
	p = tlch_put_varint(out->data + out->len, len);
	out->len = p - out->data;
	appendBinaryStringInfo(out, text, len);
}

/* NB: a column that has no NULL and needs no change is not copied. */
static bool
encode_column(const TlColumn *column, int32 nrows, StringInfo scratch,
			  TlchSinkCB sink, void *arg)
{
	TlchExpected plain;
	const TlchExpected *as = sent_as(column, &plain);

	resetStringInfo(scratch);
	put_string(scratch, column->name);
	put_string(scratch, tlch_type_name(as));
	if (as->dictionary)
		tlch_encode_dictionary(scratch, column, nrows, as->nullable);
	else
	{
		if (as->nullable)
			put_null_map(scratch, column, nrows);
		switch (column->type)
		{
			case TL_UUID:
				put_uuids(scratch, column, nrows);
				break;
			case TL_TEXT:
			case TL_JSON:
				put_texts(scratch, column, nrows);
				break;
			case TL_TIMESTAMP:
			case TL_FLOAT64:
			case TL_INT64:
			case TL_DECIMAL:
				if (column->null_count == 0)
					return sink(arg, scratch->data, scratch->len) &&
						sink(arg, column->values, nrows * sizeof(int64));
				put_fixed(scratch, column, nrows);
				break;
		}
	}
	return sink(arg, scratch->data, scratch->len);
}

/* A column that is none of ours goes in the simplest type of its kind. */
static const TlchExpected *
sent_as(const TlColumn *column, TlchExpected *plain)
{
	static const char *const bases[] = {
		[TL_UUID] = "UUID",
		[TL_TIMESTAMP] = "DateTime64(6, 'UTC')",
		[TL_FLOAT64] = "Float64",
		[TL_INT64] = "Int64",
		[TL_DECIMAL] = "Decimal(18, 8)",
		[TL_TEXT] = "String",
		[TL_JSON] = "String"
	};
	const TlchExpected *expected = tlch_find_expected(column->name);

	if (expected != NULL && expected->type == column->type)
		return expected;
	memset(plain, 0, sizeof(*plain));
	plain->name = column->name;
	plain->type = column->type;
	plain->base = bases[column->type];
	plain->nullable = column->nullable;
	return plain;
}

/* A byte for each row, 1 if it is NULL. */
static void
put_null_map(StringInfo out, const TlColumn *column, int32 nrows)
{
	char	   *p;

	enlargeStringInfo(out, nrows);
	p = out->data + out->len;
	if (column->null_count == 0)
		memset(p, 0, nrows);
	else
		for (int32 row = 0; row < nrows; row++)
			p[row] = (column->validity[row >> 3] >> (row & 7) & 1) ^ 1;
	out->len += nrows;
}

/* What stands in place of a NULL is zero, whatever the batch has there. */
static void
put_fixed(StringInfo out, const TlColumn *column, int32 nrows)
{
	const int64 *values = column->values;
	char	   *p;

	enlargeStringInfo(out, nrows * sizeof(int64));
	p = out->data + out->len;
	for (int32 row = 0; row < nrows; row++, p += sizeof(int64))
	{
		int64		value = tl_isnull(column, row) ? 0 : values[row];

		memcpy(p, &value, sizeof(value));
	}
	out->len = p - out->data;
}

/* Two little-endian 64-bit halves, the first half first. */
static void
put_uuids(StringInfo out, const TlColumn *column, int32 nrows)
{
	const char *from = column->values;
	char	   *p;

	enlargeStringInfo(out, nrows * UUID_LEN);
	p = out->data + out->len;
	for (int32 row = 0; row < nrows; row++)
	{
		uint64		halves[2] = {0, 0};

		if (!tl_isnull(column, row))
			memcpy(halves, from + row * UUID_LEN, UUID_LEN);
		halves[0] = pg_bswap64(halves[0]);
		halves[1] = pg_bswap64(halves[1]);
		memcpy(p, halves, UUID_LEN);
		p += UUID_LEN;
	}
	out->len = p - out->data;
}

static void
put_texts(StringInfo out, const TlColumn *column, int32 nrows)
{
	const int32 *offsets = column->values;
	bool		nulls = column->null_count > 0;
	char	   *p;

	enlargeStringInfo(out, offsets[nrows] - offsets[0] + nrows * 5);
	p = out->data + out->len;
	for (int32 row = 0; row < nrows; row++)
	{
		int32		len = offsets[row + 1] - offsets[row];

		if (nulls && tl_isnull(column, row))
			len = 0;
		p = tlch_put_varint(p, len);
		if (len > 0)
			memcpy(p, column->data + offsets[row], len);
		p += len;
	}
	out->len = p - out->data;
}
