/*-------------------------------------------------------------------------
 *
 * batch_rows.c
 *	  The receiver: each row that the executor returns joins the batch.
 *
 * This is the hot path: every event passes here once for each target.  A row
 * goes straight from the executor's slot, whose values point into the pinned
 * buffer, to the columns.  Nothing is allocated for it unless it is toasted
 * or holds JSON.
 *
 * A row is converted first and kept afterwards.  Until then nothing that is
 * counted has changed, so a row that does not fit, or that is refused, needs
 * no undoing.  Only the event's own contents make it a BatchRefusal; what
 * throws here is a fault of the server or of the query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_internal.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

/* The query's first columns. */
#define INGEST_XID		0
#define INGEST_SEQ		1
#define EVENT_COLUMNS	2		/* event_id and those that follow it */

typedef enum ConvertResult
{
	CONVERT_OK,
	CONVERT_REFUSED,
	CONVERT_NO_ROOM
} ConvertResult;

static void check_types(DestReceiver *self, int operation, TupleDesc desc);
static void check_type(TupleDesc desc, int number, const char *name,
					   Oid expected);
static bool receive_row(TupleTableSlot *slot, DestReceiver *self);
static void end_query(DestReceiver *self);
static void do_nothing(DestReceiver *self);
static bool filter_out(BatchBuilder *builder, TupleTableSlot *slot);
static ConvertResult convert_row(BatchBuilder *builder, const Datum *values,
								 const bool *isnull);
static bool convert_values(BatchBuilder *builder, const Datum *values,
						   const bool *isnull);
static bool refuse_null(BatchBuilder *builder);
static void refuse_stored_size(BatchBuilder *builder, const Datum *values,
							   const bool *isnull);
static void keep_row(BatchBuilder *builder);
static void keep_left_out(BatchBuilder *builder, const Datum *values);
static void keep_null(BatchBuilder *builder, BuilderColumn *column);
static void keep_timestamp(BatchBuilder *builder);
static void refuse_row(BatchBuilder *builder, const pg_uuid_t *event_id,
					   const char *code);
static void take_row(BatchBuilder *builder, const Datum *values);
static void take_position(BatchBuilder *builder, QueuePosition position);

void
batch_receiver_init(DestReceiver *receiver)
{
	receiver->receiveSlot = receive_row;
	receiver->rStartup = check_types;
	receiver->rShutdown = end_query;
	receiver->rDestroy = do_nothing;
	receiver->mydest = DestNone;
}

/* Somebody may have altered the table: no value is read as another type. */
static void
check_types(DestReceiver *self, int operation, TupleDesc desc)
{
	BatchBuilder *builder = (BatchBuilder *) self;

	int			maps = EVENT_COLUMNS + builder->ncolumns;
	int			expected = maps + builder->with_left_out +
		builder->with_filter;

	if (desc->natts != expected)
		elog(ERROR, "query for %d columns of the ledger returns %d",
			 expected, desc->natts);
	check_type(desc, INGEST_XID, "ingest_xid", XID8OID);
	check_type(desc, INGEST_SEQ, "ingest_seq", INT8OID);
	for (int i = 0; i < builder->ncolumns; i++)
	{
		const LedgerColumn *ledger = builder->columns[i].ledger;

		check_type(desc, EVENT_COLUMNS + i, ledger->name,
				   value_types[ledger->type].type);
	}
	if (builder->with_left_out)
		check_type(desc, maps, "left_out", INT8OID);
	if (builder->with_filter)
		check_type(desc, expected - 1, "filter", BOOLOID);
	batch_hash_begin(builder);
}

static void
check_type(TupleDesc desc, int number, const char *name, Oid expected)
{
	Oid			found = TupleDescAttr(desc, number)->atttypid;

	if (found == VARCHAROID)	/* stored as text is */
		found = TEXTOID;
	if (found != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the ledger is not of its type any more",
						name),
				 errhint("ALTER TABLE ... ALTER COLUMN ... TYPE %s.",
						 format_type_be(expected))));
}

static void
end_query(DestReceiver *self)
{
	batch_hash_end((BatchBuilder *) self);
}

static void
do_nothing(DestReceiver *self)
{
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	BatchBuilder *builder = (BatchBuilder *) self;
	MemoryContext old;
	ConvertResult result;

	if (builder->full)
		return false;
	slot_getallattrs(slot);
	if (slot->tts_isnull[INGEST_XID] || slot->tts_isnull[INGEST_SEQ] ||
		slot->tts_isnull[EVENT_COLUMNS])
		elog(ERROR, "event without a position or an id");
	if (builder->with_filter && filter_out(builder, slot))
		return !builder->full;

	old = MemoryContextSwitchTo(builder->row_context);
	result = convert_row(builder, slot->tts_values + EVENT_COLUMNS,
						 slot->tts_isnull + EVENT_COLUMNS);
	MemoryContextSwitchTo(old);
	MemoryContextReset(builder->row_context);

	if (result == CONVERT_NO_ROOM)
	{
		builder->full = true;
		return false;
	}
	if (result == CONVERT_OK)
	{
		keep_row(builder);
		if (builder->with_left_out)
			keep_left_out(builder, slot->tts_values);
	}
	else
		refuse_row(builder,
				   DatumGetUUIDP(slot->tts_values[EVENT_COLUMNS]), "");
	take_row(builder, slot->tts_values);
	return !builder->full;
}

/*
 * Stored sizes are looked at before anything is detoasted, so that a text of
 * 1 GB costs no memory to refuse, and a row that does not fit into this batch
 * is not detoasted twice.
 */
static ConvertResult
convert_row(BatchBuilder *builder, const Datum *values, const bool *isnull)
{
	bool		empty = builder->nrows == 0;	/* one event always fits */
	int64		room = builder->limits.bytes - builder->bytes -
		builder->row_width;
	int64		text = 0;
	int64		json = 0;
	uint64		nulls = 0;

	for (int i = 0; i < builder->ncolumns; i++)
	{
		const BuilderColumn *column = &builder->columns[i];

		if (isnull[i])
			nulls |= column->bit;
		else if (!column->has_text)
			continue;
		else if (column->ledger->type == TL_TEXT)
			text += value_stored_size(values[i]);
		else
			json += value_stored_size(values[i]);
	}
	builder->row_nulls = nulls;
	if (text + json > builder->limits.event_bytes)
	{
		refuse_stored_size(builder, values, isnull);
		return CONVERT_REFUSED;
	}

	/* JSON may take less than its stored size, so it is left out here. */
	if (!empty && text > room)
		return CONVERT_NO_ROOM;
	if (!convert_values(builder, values, isnull))
		return CONVERT_REFUSED;
	return empty || builder->row_text <= room ? CONVERT_OK : CONVERT_NO_ROOM;
}

static bool
convert_values(BatchBuilder *builder, const Datum *values, const bool *isnull)
{
	if (unlikely(builder->row_nulls & builder->required))
		return refuse_null(builder);
	if (unlikely(builder->nrows == builder->capacity))
		batch_grow(builder);
	builder->row_text = 0;
	builder->row_special = 0;
	for (int i = 0; i < builder->ncolumns; i++)
	{
		BuilderColumn *column = &builder->columns[i];

		if (!isnull[i] && !column->append(builder, column, values[i]))
			return false;
	}
	return true;
}

/*
 * A column that stores declare NOT NULL holds a null: somebody dropped the
 * constraint here.
 */
static bool
refuse_null(BatchBuilder *builder)
{
	uint64		missing = builder->row_nulls & builder->required;
	int			number = pg_rightmost_one_pos64(missing);

	return batch_refuse(builder, "column \"%s\" must not be null",
						builder->columns[number].ledger->name);
}

/* Names the largest column. */
static void
refuse_stored_size(BatchBuilder *builder, const Datum *values,
				   const bool *isnull)
{
	const char *name = NULL;
	int64		largest = -1;

	for (int i = 0; i < builder->ncolumns; i++)
	{
		const BuilderColumn *column = &builder->columns[i];
		int64		size;

		if (!column->has_text || isnull[i])
			continue;
		size = value_stored_size(values[i]);
		if (size > largest)
		{
			largest = size;
			name = column->ledger->name;
		}
	}
	batch_refuse_size(builder, name);
}

static void
keep_row(BatchBuilder *builder)
{
	uint64		nulls = builder->row_nulls;

	for (; nulls != 0; nulls &= nulls - 1)
		keep_null(builder, &builder->columns[pg_rightmost_one_pos64(nulls)]);
	if (builder->timestamp != NULL)
		keep_timestamp(builder);
	builder->special |= builder->row_special;
	builder->bytes += builder->row_width + builder->row_text;
	builder->nrows++;
}

/* NB: a number without null, as the query makes it. */
static void
keep_left_out(BatchBuilder *builder, const Datum *values)
{
	uint64		map = DatumGetInt64(values[EVENT_COLUMNS +
										   builder->ncolumns]);

	appendBinaryStringInfo(&builder->left_out, (const char *) &map,
						   sizeof(map));
}

/* The value's place is filled with zeros, or with an empty text. */
static void
keep_null(BatchBuilder *builder, BuilderColumn *column)
{
	int32		row = builder->nrows;

	if (unlikely(column->validity == NULL))
	{
		Size		size = (builder->capacity + (Size) 7) / 8;

		column->validity = MemoryContextAllocHuge(builder->buffers, size);
		memset(column->validity, 0xFF, size);
	}
	column->validity[row / 8] &= ~(1 << (row % 8));
	column->null_count++;
	if (column->has_text)
		column_offsets(column)[row + 1] = column_offsets(column)[row];
	else
		memset(column->values + row * (Size) column->width, 0, column->width);
}

/* The column is NOT NULL. */
static void
keep_timestamp(BatchBuilder *builder)
{
	const int64 *values = (const int64 *) builder->timestamp->values;
	int64		value = values[builder->nrows];

	if (builder->row_special & builder->timestamp->bit)
		return;
	builder->min_timestamp = Min(builder->min_timestamp, value);
	builder->max_timestamp = Max(builder->max_timestamp, value);
}

/* Takes an event that the filter leaves out; false: it passes. */
static bool
filter_out(BatchBuilder *builder, TupleTableSlot *slot)
{
	int			number = EVENT_COLUMNS + builder->ncolumns +
		builder->with_left_out;
	const pg_uuid_t *event_id;

	if (DatumGetBool(slot->tts_values[number]))
		return false;
	event_id = DatumGetUUIDP(slot->tts_values[EVENT_COLUMNS]);
	appendBinaryStringInfo(&builder->filtered, (const char *) event_id,
						   sizeof(*event_id));
	take_row(builder, slot->tts_values);
	builder->checksum = hash_bytes_extended(event_id->data, UUID_LEN,
											builder->checksum);
	return true;
}

void
batch_filter_failed(BatchBuilder *builder, QueuePosition position,
					const pg_uuid_t *event_id, const char *code)
{
	(void) batch_refuse(builder,
						"the target's filter cannot be evaluated for this event");
	refuse_row(builder, event_id, code);
	builder->filter_failures++;
	take_position(builder, position);
}

static void
refuse_row(BatchBuilder *builder, const pg_uuid_t *event_id, const char *code)
{
	MemoryContext old = MemoryContextSwitchTo(builder->batch_context);
	BatchRefusal *refusal = palloc(sizeof(BatchRefusal));

	refusal->event_id = *event_id;
	refusal->reason = builder->reason;
	strlcpy(refusal->code, code, sizeof(refusal->code));
	builder->refusals = lappend(builder->refusals, refusal);
	MemoryContextSwitchTo(old);
}

/* From here on the event is this batch's, kept or refused. */
static void
take_row(BatchBuilder *builder, const Datum *values)
{
	FullTransactionId xid = DatumGetFullTransactionId(values[INGEST_XID]);
	QueuePosition position = {
		U64FromFullTransactionId(xid), DatumGetInt64(values[INGEST_SEQ])
	};

	take_position(builder, position);
}

static void
take_position(BatchBuilder *builder, QueuePosition position)
{
	builder->last = position;
	builder->checksum = batch_checksum_add(builder->checksum, builder->last);
	builder->taken++;
	builder->full = builder->taken >= builder->limits.rows ||
		builder->bytes >= builder->limits.bytes;
}
