/*-------------------------------------------------------------------------
 *
 * batch_internal.h
 *	  The batch builder from within: shared by the batch_*.c files only.
 *
 * Invariants between two rows, for each column:
 *	- values beyond nrows do not exist, whatever a row that was not kept left
 *	  there: the last offset, not text.len, is where the next text begins;
 *	- the validity bitmap, where there is one, has all bits set from nrows on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_BATCH_INTERNAL_H
#define TL_BATCH_INTERNAL_H

#include "batch.h"
#include "batch_convert.h"
#include "common/hmac.h"

typedef struct BuilderColumn BuilderColumn;

/*
 * Writes a value behind the last row.  false: the event is refused, for
 * builder->reason.  Called in the row's context.
 */
typedef bool (*AppendCB) (BatchBuilder *builder, BuilderColumn *column,
						  Datum value);

typedef struct ValueType		/* of a TlType */
{
	AppendCB	append;
	int			width;			/* of a fixed-width value or an offset */
	Oid			type;			/* of the ledger's column */
} ValueType;

struct BuilderColumn
{
	const LedgerColumn *ledger;
	AppendCB	append;
	int			width;
	bool		has_text;		/* TL_TEXT or TL_JSON */
	uint64		bit;			/* 1 << number of the column */
	char	   *values;			/* capacity values; one more of offsets */
	uint8	   *validity;		/* capacity bits; NULL until the first null */
	int64		null_count;
	StringInfoData text;
};

struct BatchBuilder
{
	DestReceiver receiver;		/* first, so that the one is the other */
	MemoryContext buffers;		/* all that grows with the batch */
	MemoryContext batch_context;	/* refusals; reset by batch_begin */
	MemoryContext row_context;	/* reset for each row */
	int			ncolumns;
	bool		with_event_id;
	bool		with_left_out;	/* rows have a map of them behind */
	bool		with_filter;	/* and at their end whether they pass it */
	const char *hash_key;
	int			hash_key_len;	/* 0: no column is hashed */
	pg_hmac_ctx *hmac;			/* during a query */
	bool		utf8;			/* the encoding of the database */
	Utf8Source	source;
	int64		row_width;		/* bytes of a row without its texts */
	uint64		required;		/* bits of the columns that are NOT NULL */
	BuilderColumn *columns;		/* event_id first */
	BuilderColumn *timestamp;	/* NULL: not among them */
	TlColumn   *result;			/* ncolumns, for batch_finish */
	StringInfoData scratch;		/* JSON that is still to be converted */

	/* The batch. */
	BatchLimits limits;
	int32		capacity;		/* rows the buffers have room for */
	int32		nrows;
	int32		taken;
	bool		full;
	int64		bytes;
	uint64		special;		/* bits of columns with special values */
	int64		min_timestamp;
	int64		max_timestamp;
	QueuePosition last;
	uint64		checksum;
	List	   *refusals;
	StringInfoData left_out;	/* a uint64 for each row; in batch_context */
	StringInfoData filtered;	/* ids of events; in batch_context */
	int32		filter_failures;

	/* The row being converted. */
	int64		row_text;		/* bytes of its texts so far */
	uint64		row_nulls;
	uint64		row_special;
	char	   *reason;			/* in batch_context */
};

/* batch.c */
extern void batch_grow(BatchBuilder *builder);

/* batch_rows.c */
extern void batch_receiver_init(DestReceiver *receiver);

/* batch_hash.c */
extern void batch_hash_begin(BatchBuilder *builder);
extern void batch_hash_end(BatchBuilder *builder);
extern void batch_hash_append(BatchBuilder *builder, StringInfo out,
							  const char *text, int len);

/* batch_values.c */
extern bool append_hashed(BatchBuilder *builder, BuilderColumn *column,
						  Datum value);
extern const ValueType value_types[];	/* by TlType */
extern int64 value_stored_size(Datum value);
extern bool batch_refuse(BatchBuilder *builder, const char *fmt,...)
			pg_attribute_printf(2, 3);
extern bool batch_refuse_size(BatchBuilder *builder, const char *column);

static inline int32 *
column_offsets(const BuilderColumn *column)
{
	return (int32 *) column->values;
}

#endif							/* TL_BATCH_INTERNAL_H */
