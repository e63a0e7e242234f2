/*-------------------------------------------------------------------------
 *
 * batch_values.c
 *	  Single values of a row are written into their columns.
 *
 * One function for each type, chosen when the builder is made.  They may
 * write behind the last row as they like: what counts is set when the row is
 * kept (batch_rows.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "batch_internal.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* PostgreSQL counts from 2000-01-01, columns count from 1970-01-01. */
#define EPOCH_SHIFT \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static bool append_uuid(BatchBuilder *builder, BuilderColumn *column,
						Datum value);
static bool append_timestamp(BatchBuilder *builder, BuilderColumn *column,
							 Datum value);
static bool append_float64(BatchBuilder *builder, BuilderColumn *column,
						   Datum value);
static bool append_int64(BatchBuilder *builder, BuilderColumn *column,
						 Datum value);
static bool append_decimal(BatchBuilder *builder, BuilderColumn *column,
						   Datum value);
static bool append_text(BatchBuilder *builder, BuilderColumn *column,
						Datum value);
static bool append_json(BatchBuilder *builder, BuilderColumn *column,
						Datum value);
static bool append_foreign(BatchBuilder *builder, BuilderColumn *column,
						   const char *text, int len);
static void begin_text(const BatchBuilder *builder, BuilderColumn *column);
static void end_text(BatchBuilder *builder, BuilderColumn *column);
static bool refuse_text(BatchBuilder *builder, const BuilderColumn *column,
						TextResult result);
static int64 text_room(const BatchBuilder *builder);

const ValueType value_types[] = {
	[TL_UUID] = {append_uuid, sizeof(pg_uuid_t), UUIDOID},
	[TL_TIMESTAMP] = {append_timestamp, sizeof(int64), TIMESTAMPTZOID},
	[TL_FLOAT64] = {append_float64, sizeof(float8), FLOAT8OID},
	[TL_INT64] = {append_int64, sizeof(int64), INT8OID},
	[TL_DECIMAL] = {append_decimal, sizeof(int64), NUMERICOID},
	[TL_TEXT] = {append_text, sizeof(int32), TEXTOID},
	[TL_JSON] = {append_json, sizeof(int32), JSONBOID}
};

/* Bytes of a text or jsonb as it is stored, but uncompressed. */
int64
value_stored_size(Datum value)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(value);

	if (VARATT_IS_EXTERNAL(stored) || VARATT_IS_COMPRESSED(stored))
		return (int64) toast_raw_datum_size(value) - VARHDRSZ;
	return VARSIZE_ANY_EXHDR(stored);
}

static inline int64 *
place_int64(const BatchBuilder *builder, const BuilderColumn *column)
{
	return (int64 *) column->values + builder->nrows;
}

static bool
append_uuid(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	memcpy((pg_uuid_t *) column->values + builder->nrows,
		   DatumGetUUIDP(value), sizeof(pg_uuid_t));
	return true;
}

static bool
append_timestamp(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	TimestampTz time = DatumGetTimestampTz(value);
	int64	   *place = place_int64(builder, column);

	if (TIMESTAMP_NOT_FINITE(time))
	{
		*place = time == DT_NOBEGIN ? PG_INT64_MIN : PG_INT64_MAX;
		builder->row_special |= column->bit;
		return true;
	}
	/* PostgreSQL's last 30 years, of 294247 to 294276, do not fit. */
	if (time >= PG_INT64_MAX - EPOCH_SHIFT)
		return batch_refuse(builder,
							"column \"%s\" is too late to be forwarded",
							column->ledger->name);
	*place = time + EPOCH_SHIFT;
	return true;
}

static bool
append_float64(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	float8		number = DatumGetFloat8(value);

	((float8 *) column->values)[builder->nrows] = number;
	if (!isfinite(number))
		builder->row_special |= column->bit;
	return true;
}

static bool
append_int64(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	*place_int64(builder, column) = DatumGetInt64(value);
	return true;
}

static bool
append_decimal(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	struct varlena *stored = PG_DETOAST_DATUM_PACKED(value);
	int64	   *place = place_int64(builder, column);

	switch (decimal_decode(VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored),
						   place))
	{
		case DECIMAL_OK:
			return true;
		case DECIMAL_NAN:
			*place = PG_INT64_MIN;
			builder->row_special |= column->bit;
			return true;
		case DECIMAL_UNFIT:
			break;
	}
	return batch_refuse(builder, "column \"%s\" does not fit decimal64(18,8)",
						column->ledger->name);
}

static bool
append_text(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);
	const char *data = VARDATA_ANY(text);
	int			len = VARSIZE_ANY_EXHDR(text);

	begin_text(builder, column);
	if (unlikely(!builder->utf8))
		return append_foreign(builder, column, data, len);
	if (unlikely(len > text_room(builder)))
		return refuse_text(builder, column, TEXT_TOO_LARGE);
	bytes_append(&column->text, data, len);
	end_text(builder, column);
	return true;
}

static bool
append_json(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	Jsonb	   *json = DatumGetJsonbP(value);
	StringInfo	out = builder->utf8 ? &column->text : &builder->scratch;
	TextResult	result;

	begin_text(builder, column);
	builder->scratch.len = 0;
	result = json_append(out, &json->root, text_room(builder));
	if (result != TEXT_OK)
		return refuse_text(builder, column, result);
	if (!builder->utf8)
		return append_foreign(builder, column, out->data, out->len);
	end_text(builder, column);
	return true;
}

/* Of a text: its hash. */
bool
append_hashed(BatchBuilder *builder, BuilderColumn *column, Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);
	const char *data = VARDATA_ANY(text);
	int			len = VARSIZE_ANY_EXHDR(text);

	begin_text(builder, column);
	if (!builder->utf8)
	{
		TextResult	result;

		builder->scratch.len = 0;
		result = utf8_append(&builder->source, &builder->scratch, data, len,
							 text_room(builder));
		if (result != TEXT_OK)
			return refuse_text(builder, column, result);
		data = builder->scratch.data;
		len = builder->scratch.len;
	}
	batch_hash_append(builder, &column->text, data, len);
	end_text(builder, column);
	return true;
}

/* Appends text that is in the encoding of a database other than UTF8. */
static bool
append_foreign(BatchBuilder *builder, BuilderColumn *column,
			   const char *text, int len)
{
	TextResult	result = utf8_append(&builder->source, &column->text,
									 text, len, text_room(builder));

	if (result != TEXT_OK)
		return refuse_text(builder, column, result);
	end_text(builder, column);
	return true;
}

/* What an earlier row left there, which was not kept, is overwritten. */
static void
begin_text(const BatchBuilder *builder, BuilderColumn *column)
{
	column->text.len = column_offsets(column)[builder->nrows];
}

static void
end_text(BatchBuilder *builder, BuilderColumn *column)
{
	int32	   *offsets = column_offsets(column) + builder->nrows;

	offsets[1] = column->text.len;
	builder->row_text += offsets[1] - offsets[0];
}

/* What the texts of this event may still take. */
static int64
text_room(const BatchBuilder *builder)
{
	return builder->limits.event_bytes - builder->row_text;
}

static bool
refuse_text(BatchBuilder *builder, const BuilderColumn *column,
			TextResult result)
{
	if (result == TEXT_TOO_LARGE)
		return batch_refuse_size(builder, column->ledger->name);
	return batch_refuse(builder, "column \"%s\" cannot be converted to UTF-8",
						column->ledger->name);
}

/* Always false, for the callers to return. */
bool
batch_refuse_size(BatchBuilder *builder, const char *column)
{
	return batch_refuse(builder, "event is larger than max_event_bytes ("
						INT64_FORMAT "), mostly by column \"%s\"",
						builder->limits.event_bytes, column);
}

/* Always false, for the callers to return. */
bool
batch_refuse(BatchBuilder *builder, const char *fmt,...)
{
	MemoryContext old = MemoryContextSwitchTo(builder->batch_context);
	char		reason[256];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	builder->reason = pstrdup(reason);
	MemoryContextSwitchTo(old);
	return false;
}
