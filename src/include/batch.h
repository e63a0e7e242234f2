/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Rows of the ledger become a TlBatch: columns in the Arrow layout.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_BATCH_H
#define TL_BATCH_H

#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "tcop/dest.h"
#include "tokenledger_backend.h"

/* An event column of the ledger. */
typedef struct LedgerColumn
{
	const char *name;
	TlType		type;
	bool		nullable;
	int32		since;			/* 100 * major + minor of the ledger's
								 * version */
} LedgerColumn;

#define LEDGER_NCOLUMNS		33

/* In the table's order: event_id first, columns of later versions last. */
extern const LedgerColumn ledger_columns[LEDGER_NCOLUMNS];

/* Which of them a target gets. */
typedef struct ColumnChoice
{
	int			ncolumns;
	const LedgerColumn *columns[LEDGER_NCOLUMNS];
	int			nleft_out;		/* that the store's table lacks: */
	const LedgerColumn *left_out[LEDGER_NCOLUMNS];	/* values are counted */
	uint64		hashed;			/* bits of ledger_columns: sent as a hash */
	const char *hash_key;		/* lives as long as the builder */
	int			hash_key_len;	/* 0: none is hashed */
	const char *filter;			/* SQL condition on the ledger's columns, of
								 * filter_compile(); NULL: all events */
} ColumnChoice;

/* Where an event stands in the queue. */
typedef struct QueuePosition
{
	uint64		xid;			/* ingest_xid */
	int64		seq;			/* ingest_seq */
} QueuePosition;

/*
 * A part that is read again must come out the same: give it the row count it
 * had, and BATCH_MAX_BYTES.
 */
typedef struct BatchLimits
{
	int32		rows;			/* events taken; at least 1 */
	int64		bytes;			/* of column data, fixed-width values and
								 * offsets included; one event always fits */
	int64		event_bytes;	/* of an event's texts and JSON; the core
								 * refuses an event over it */
} BatchLimits;

/*
 * Larger limits count as this.  It keeps a column's text, the row that is
 * found not to fit included, within the 1 GB of a StringInfo, and so its
 * int32 offsets too.
 */
#define BATCH_MAX_BYTES		(INT64CONST(256) * 1024 * 1024)

/* An event that the core itself refuses: no store ever sees it. */
typedef struct BatchRefusal
{
	pg_uuid_t	event_id;
	char	   *reason;			/* names the column and the limit, never its
								 * contents */
	char		code[6];		/* SQLSTATE; empty: none */
} BatchRefusal;

typedef struct BatchBuilder BatchBuilder;

/*
 * A builder for rows of these columns: ingest_xid, ingest_seq, event_id, then
 * the chosen ones (ledger_columns entries) in their order, event_id left out
 * if it is among them; if any are left out, a bigint whose bit n is set where
 * left_out[n] has a value; and if there is a filter, whether the event passes
 * it.  with_event_id: the batch has event_id as
 * its first column; event_ids has it anyway.  Without "timestamp" no batch
 * has a finite timestamp, so a target's columns should always have it.
 *
 * Its buffers live in a context below parent and are kept from batch to
 * batch, but given back when they have grown beyond what batches need: they
 * hold at most four times limits.bytes and a megabyte, and twice the largest
 * event.
 */
extern BatchBuilder *batch_builder_create(MemoryContext parent,
										  const ColumnChoice *choice,
										  bool with_event_id);

/* Begins a new batch.  The previous batch of this builder becomes invalid. */
extern void batch_begin(BatchBuilder *builder, const BatchLimits *limits);

/*
 * A DestReceiver that appends each row and stops the executor when the
 * limits are reached; may be used for several queries in a row.  It throws if
 * a column of the query is not of the type that the ledger gives it.
 */
extern DestReceiver *batch_receiver(BatchBuilder *builder);

/* Has a limit been reached?  The row that did not fit was not taken. */
extern bool batch_full(const BatchBuilder *builder);

/* Events taken from the queue so far, refused and filtered ones included. */
extern int32 batch_taken(const BatchBuilder *builder);

/* Position of the last event taken; only if batch_taken() > 0. */
extern QueuePosition batch_last(const BatchBuilder *builder);

/*
 * Hash over the positions of all events taken, in their order, and the ids of
 * those that were filtered; 0 for none.  Stable from version to version, but
 * not between machines of other byte orders.
 */
extern uint64 batch_checksum(const BatchBuilder *builder);
extern uint64 batch_checksum_add(uint64 checksum, QueuePosition position);

/*
 * Bytes of column data in the batch, as BatchLimits.bytes counts them.  An
 * event's refusal costs nothing.
 */
extern int64 batch_bytes(const BatchBuilder *builder);

/*
 * For each row of the batch, which of the columns left out have a value, as a
 * bit map; NULL: none is left out.
 */
extern const uint64 *batch_left_out(const BatchBuilder *builder);

/* Events that did not pass the filter, and their ids until the next batch. */
extern int32 batch_filtered(const BatchBuilder *builder);
extern const pg_uuid_t *batch_filtered_ids(const BatchBuilder *builder);

/*
 * Takes an event that the query could not return since the filter throws for
 * it: it is refused.  And how many there were.
 */
extern void batch_filter_failed(BatchBuilder *builder,
								QueuePosition position,
								const pg_uuid_t *event_id,
								const char *code);
extern int32 batch_filter_failures(const BatchBuilder *builder);

/* Events the core refuses: a List of BatchRefusal *, until the next batch. */
extern List *batch_refusals(const BatchBuilder *builder);

/*
 * Fills in struct_size, nrows, ncolumns, columns, event_ids and the
 * timestamps of *batch; everything else is left alone.  It ends the batch:
 * nothing can be appended afterwards.
 */
extern void batch_finish(BatchBuilder *builder, TlBatch *batch);

/*
 * Makes *subset the given rows (ascending) of *batch, copied into the current
 * memory context; fills in the same members as batch_finish.
 */
extern void batch_subset(const TlBatch *batch, const int32 *rows, int32 nrows,
						 TlBatch *subset);

#endif							/* TL_BATCH_H */
