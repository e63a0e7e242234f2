/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  The batch builder: buffers that rows of the ledger become columns in.
 *
 * batch_rows.c takes the rows, batch_values.c converts their values.
 *
 * A builder lives as long as its lane and keeps its buffers from batch to
 * batch: fresh memory for each would cost a page fault for every 4 kB of
 * events.  What they hold is bounded all the same (give_back).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_internal.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#define MIN_ROWS		1024	/* capacity of a fresh builder */
#define SPARE_BYTES		(1024 * 1024)

static MemoryContext sub_context(MemoryContext parent);
static void init_columns(BatchBuilder *builder, const ColumnChoice *choice);
static void add_column(BatchBuilder *builder, const LedgerColumn *ledger);
static void hash_columns(BatchBuilder *builder, uint64 hashed);
static void init_buffers(BatchBuilder *builder);
static void give_back(BatchBuilder *builder);
static void forget_rows(BuilderColumn *column, int32 capacity);
static void grow_column(BuilderColumn *column, int32 old_rows, int32 rows,
						MemoryContext context);
static void finish_column(const BatchBuilder *builder,
						  const BuilderColumn *column, TlColumn *result);

BatchBuilder *
batch_builder_create(MemoryContext parent, const ColumnChoice *choice,
					 bool with_event_id)
{
	MemoryContext context = AllocSetContextCreate(parent, "tokenledger batch",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	BatchBuilder *builder = palloc0(sizeof(BatchBuilder));

	batch_receiver_init(&builder->receiver);
	builder->buffers = sub_context(context);
	builder->batch_context = sub_context(context);
	builder->row_context = sub_context(context);
	builder->with_event_id = with_event_id;
	builder->source.encoding = GetDatabaseEncoding();
	builder->utf8 = builder->source.encoding == PG_UTF8;
	init_columns(builder, choice);
	hash_columns(builder, choice->hashed);
	builder->with_left_out = choice->nleft_out > 0;
	builder->with_filter = choice->filter != NULL;
	builder->hash_key = choice->hash_key;
	builder->hash_key_len = choice->hash_key_len;
	builder->result = palloc0(builder->ncolumns * sizeof(TlColumn));
	init_buffers(builder);
	MemoryContextSwitchTo(old);
	return builder;
}

static MemoryContext
sub_context(MemoryContext parent)
{
	return AllocSetContextCreate(parent, "tokenledger batch data",
								 ALLOCSET_DEFAULT_SIZES);
}

/* event_id first, whether the caller has it or not. */
static void
init_columns(BatchBuilder *builder, const ColumnChoice *choice)
{
	const LedgerColumn *event_id = &ledger_columns[0];

	builder->columns = palloc0((choice->ncolumns + 1) *
							   sizeof(BuilderColumn));
	add_column(builder, event_id);
	for (int i = 0; i < choice->ncolumns; i++)
	{
		if (choice->columns[i] != event_id)
			add_column(builder, choice->columns[i]);
	}
}

static void
add_column(BatchBuilder *builder, const LedgerColumn *ledger)
{
	int			number = builder->ncolumns++;
	BuilderColumn *column = &builder->columns[number];

	StaticAssertStmt(LEDGER_NCOLUMNS <= 64, "no bit for each column");
	Assert(number < LEDGER_NCOLUMNS);
	column->ledger = ledger;
	column->append = value_types[ledger->type].append;
	column->width = value_types[ledger->type].width;
	column->has_text = ledger->type == TL_TEXT || ledger->type == TL_JSON;
	column->bit = UINT64CONST(1) << number;
	builder->row_width += column->width;
	if (!ledger->nullable)
		builder->required |= column->bit;
	if (strcmp(ledger->name, "timestamp") == 0)
		builder->timestamp = column;
}

static void
hash_columns(BatchBuilder *builder, uint64 hashed)
{
	for (int i = 0; i < builder->ncolumns; i++)
	{
		BuilderColumn *column = &builder->columns[i];

		if ((hashed >> (column->ledger - ledger_columns)) & 1)
			column->append = append_hashed;
	}
}

static void
init_buffers(BatchBuilder *builder)
{
	MemoryContext old = MemoryContextSwitchTo(builder->buffers);

	initStringInfo(&builder->scratch);
	builder->capacity = 0;
	for (int i = 0; i < builder->ncolumns; i++)
	{
		BuilderColumn *column = &builder->columns[i];

		column->values = NULL;
		column->validity = NULL;
		column->null_count = 0;
		if (column->has_text)
			initStringInfo(&column->text);
	}
	MemoryContextSwitchTo(old);
}

void
batch_begin(BatchBuilder *builder, const BatchLimits *limits)
{
	MemoryContext old;

	builder->limits.rows = Max(limits->rows, 1);
	builder->limits.bytes = Min(limits->bytes, BATCH_MAX_BYTES);
	builder->limits.event_bytes = Min(limits->event_bytes, BATCH_MAX_BYTES);
	give_back(builder);
	for (int i = 0; i < builder->ncolumns; i++)
		forget_rows(&builder->columns[i], builder->capacity);
	if (builder->capacity == 0)
		batch_grow(builder);

	builder->nrows = 0;
	builder->taken = 0;
	builder->full = false;
	builder->bytes = 0;
	builder->special = 0;
	builder->min_timestamp = PG_INT64_MAX;
	builder->max_timestamp = PG_INT64_MIN;
	builder->last.xid = 0;
	builder->last.seq = 0;
	builder->checksum = 0;
	builder->refusals = NIL;
	builder->filter_failures = 0;
	MemoryContextReset(builder->batch_context);
	old = MemoryContextSwitchTo(builder->batch_context);
	initStringInfo(&builder->left_out);
	initStringInfo(&builder->filtered);
	MemoryContextSwitchTo(old);
}

/*
 * Frees the buffers if earlier batches left them larger than a batch of this
 * size can need: large texts that came in one column today and in another
 * one yesterday would leave every column with a large buffer.  Twice the
 * limit is what doubling can reach, so that batches which are all alike never
 * come here.
 */
static void
give_back(BatchBuilder *builder)
{
	Size		needed = 2 * (Size) builder->limits.bytes + SPARE_BYTES;

	if (MemoryContextMemAllocated(builder->buffers, false) <= needed)
		return;
	MemoryContextReset(builder->buffers);
	init_buffers(builder);
}

static void
forget_rows(BuilderColumn *column, int32 capacity)
{
	if (column->null_count > 0)
		memset(column->validity, 0xFF, (capacity + (Size) 7) / 8);
	column->null_count = 0;
}

/* Doubles the number of rows that there is room for. */
void
batch_grow(BatchBuilder *builder)
{
	int32		rows = builder->capacity;

	rows = rows == 0 ? MIN_ROWS : (int32) Min(2 * (int64) rows, PG_INT32_MAX);
	rows = Max(Min(rows, builder->limits.rows), builder->capacity + 1);
	for (int i = 0; i < builder->ncolumns; i++)
		grow_column(&builder->columns[i], builder->capacity, rows,
					builder->buffers);
	builder->capacity = rows;
}

static void
grow_column(BuilderColumn *column, int32 old_rows, int32 rows,
			MemoryContext context)
{
	Size		size = (rows + (Size) 1) * column->width;
	Size		old_bytes = (old_rows + (Size) 7) / 8;
	Size		new_bytes = (rows + (Size) 7) / 8;

	if (column->values == NULL)
	{
		column->values = MemoryContextAllocHuge(context, size);
		memset(column->values, 0, column->width);	/* the first offset */
	}
	else
		column->values = repalloc_huge(column->values, size);
	if (column->validity != NULL)
	{
		column->validity = repalloc_huge(column->validity, new_bytes);
		memset(column->validity + old_bytes, 0xFF, new_bytes - old_bytes);
	}
}

/*
 * What the queue asks about the batch.
 */

DestReceiver *
batch_receiver(BatchBuilder *builder)
{
	return &builder->receiver;
}

bool
batch_full(const BatchBuilder *builder)
{
	return builder->full;
}

int32
batch_taken(const BatchBuilder *builder)
{
	return builder->taken;
}

QueuePosition
batch_last(const BatchBuilder *builder)
{
	Assert(builder->taken > 0);
	return builder->last;
}

uint64
batch_checksum(const BatchBuilder *builder)
{
	return builder->checksum;
}

uint64
batch_checksum_add(uint64 checksum, QueuePosition position)
{
	return hash_bytes_extended((const unsigned char *) &position,
							   sizeof(position), checksum);
}

int64
batch_bytes(const BatchBuilder *builder)
{
	return builder->bytes;
}

const uint64 *
batch_left_out(const BatchBuilder *builder)
{
	return builder->with_left_out ? (const uint64 *) builder->left_out.data :
		NULL;
}

int32
batch_filtered(const BatchBuilder *builder)
{
	return builder->filtered.len / (int32) sizeof(pg_uuid_t);
}

const pg_uuid_t *
batch_filtered_ids(const BatchBuilder *builder)
{
	return (const pg_uuid_t *) builder->filtered.data;
}

int32
batch_filter_failures(const BatchBuilder *builder)
{
	return builder->filter_failures;
}

List *
batch_refusals(const BatchBuilder *builder)
{
	return builder->refusals;
}

void
batch_finish(BatchBuilder *builder, TlBatch *batch)
{
	int			skipped = builder->with_event_id ? 0 : 1;

	for (int i = 0; i < builder->ncolumns; i++)
		finish_column(builder, &builder->columns[i], &builder->result[i]);
	builder->full = true;
	batch->struct_size = sizeof(TlBatch);
	batch->nrows = builder->nrows;
	batch->ncolumns = builder->ncolumns - skipped;
	batch->columns = builder->result + skipped;
	batch->event_ids = (const pg_uuid_t *) builder->columns[0].values;
	batch->min_timestamp = builder->min_timestamp;
	batch->max_timestamp = builder->max_timestamp;
}

static void
finish_column(const BatchBuilder *builder, const BuilderColumn *column,
			  TlColumn *result)
{
	int32		nrows = builder->nrows;

	result->name = column->ledger->name;
	result->type = column->ledger->type;
	result->nullable = column->ledger->nullable;
	result->special = (builder->special & column->bit) != 0;
	result->null_count = column->null_count;
	result->validity = NULL;
	result->values = column->values;
	result->data = column->has_text ? column->text.data : NULL;
	if (column->null_count > 0)
	{
		/* Bits beyond the last row: zero, as Arrow recommends. */
		if (nrows % 8 != 0)
			column->validity[nrows / 8] &= (1 << (nrows % 8)) - 1;
		result->validity = column->validity;
	}
}
