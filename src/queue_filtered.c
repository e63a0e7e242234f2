/*-------------------------------------------------------------------------
 *
 * queue_filtered.c
 *	  Reads events through a target's filter, also where it throws.
 *
 * The filter is a column of the statement that reads, so that events which do
 * not pass are known and counted.  What a client has written may make it
 * throw, and that must stop nobody.  The statement evaluates it for one row
 * after the other; so, in a subtransaction, it ends at the event that is to
 * blame, with all before it in the batch.  That event is read alone to make
 * sure, and set aside; then it goes on behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/resowner.h"
#include "utils/uuid.h"

#include "compat.h"
#include "queue_internal.h"

/* A filter that throws for so many and for no other is a faulty filter. */
#define MAX_FAILED_WITHOUT_EVIDENCE		100

/* Positions among the parameters of a statement that walks. */
#define AFTER_XID		1
#define AFTER_SEQ		2
#define UPTO_XID		3
#define UPTO_SEQ		4

typedef struct PlaceReceiver
{
	DestReceiver pub;
	bool		found;
	QueuePosition position;
	pg_uuid_t	event_id;
} PlaceReceiver;

/* Events set aside since the filter last had an answer for one. */
static int32 failed_in_a_row = 0;

static bool try_on(WalkStatement *walk, BatchBuilder *builder, char *code);
static bool step_over(WalkStatement *walk, BatchBuilder *builder);
static bool next_place(const WalkStatement *walk, PlaceReceiver *next);
static void set_aside(BatchBuilder *builder, QueuePosition position,
					  const pg_uuid_t *event_id, const char *code);
static bool try_execute(SPIPlanPtr plan, int nargs, const Oid *types,
						const Datum *values, DestReceiver *receiver,
						char *code);
static bool is_of_the_event(int sqlerrcode);
static bool place_receive(TupleTableSlot *slot, DestReceiver *self);
static void place_startup(DestReceiver *self, int operation, TupleDesc type);
static void place_ignore(DestReceiver *self);

void
filtered_walk(WalkStatement *walk, BatchBuilder *builder)
{
	char		code[6];

	while (!batch_full(builder) && !try_on(walk, builder, code) &&
		   step_over(walk, builder))
	{
	}
}

/* The event of this id, if it is there: passed, filtered or set aside. */
void
filtered_read(SPIPlanPtr plan, Datum id, BatchBuilder *builder)
{
	Oid			type = UUIDARRAYOID;
	Datum		array =
		PointerGetDatum(construct_array(&id, 1, UUIDOID, UUID_LEN, false,
										TYPALIGN_CHAR));
	QueuePosition nowhere = {0, -1};
	char		code[6];

	if (!try_execute(plan, 1, &type, &array, batch_receiver(builder), code))
		set_aside(builder, nowhere, DatumGetUUIDP(id), code);
}

void
filter_evidence(const BatchBuilder *builder)
{
	int32		failures = batch_filter_failures(builder);

	if (batch_taken(builder) > failures)
		failed_in_a_row = 0;
	else if (failed_in_a_row + failures > MAX_FAILED_WITHOUT_EVIDENCE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the target's filter cannot be evaluated for any event"),
				 errhint("Change option \"filter\" in tokenledger.targets.")));
	else
		failed_in_a_row += failures;
}

/* false: the filter throws for the event that now comes next. */
static bool
try_on(WalkStatement *walk, BatchBuilder *builder, char *code)
{
	int32		taken = batch_taken(builder);
	bool		ok = try_execute(walk->events, walk->nargs, walk->types,
								 walk->values, batch_receiver(builder), code);

	if (batch_taken(builder) > taken)
	{
		walk->values[AFTER_XID] = UInt64GetDatum(batch_last(builder).xid);
		walk->values[AFTER_SEQ] = Int64GetDatum(batch_last(builder).seq);
	}
	return ok;
}

/* Past the next event; false: it is gone, and there is none after it. */
static bool
step_over(WalkStatement *walk, BatchBuilder *builder)
{
	Datum		upto[2] = {walk->values[UPTO_XID], walk->values[UPTO_SEQ]};
	PlaceReceiver next;
	char		code[6];

	if (!next_place(walk, &next))
		return false;
	walk->values[UPTO_XID] = UInt64GetDatum(next.position.xid);
	walk->values[UPTO_SEQ] = Int64GetDatum(next.position.seq);
	if (!try_on(walk, builder, code))
		set_aside(builder, next.position, &next.event_id, code);
	walk->values[AFTER_XID] = walk->values[UPTO_XID];
	walk->values[AFTER_SEQ] = walk->values[UPTO_SEQ];
	walk->values[UPTO_XID] = upto[0];
	walk->values[UPTO_SEQ] = upto[1];
	return true;
}

static bool
next_place(const WalkStatement *walk, PlaceReceiver *next)
{
	memset(next, 0, sizeof(*next));
	next->pub.receiveSlot = place_receive;
	next->pub.rStartup = place_startup;
	next->pub.rShutdown = place_ignore;
	next->pub.rDestroy = place_ignore;
	next->pub.mydest = DestNone;
	walk_execute(walk->places, walk->nargs, walk->types, walk->values,
				 &next->pub);
	return next->found;
}

/* NB: a batch of none but these may be as large as any other. */
static void
set_aside(BatchBuilder *builder, QueuePosition position,
		  const pg_uuid_t *event_id, const char *code)
{
	batch_filter_failed(builder, position, event_id, code);
	if (batch_filter_failures(builder) > MAX_FAILED_WITHOUT_EVIDENCE)
		filter_evidence(builder);
}

/*
 * In a subtransaction; false: a value has made it throw, and code is the
 * error's.  Every other error is thrown again.
 */
static bool
try_execute(SPIPlanPtr plan, int nargs, const Oid *types,
			const Datum *values, DestReceiver *receiver, char *code)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		walk_execute(plan, nargs, types, values, receiver);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		if (!is_of_the_event(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		strlcpy(code, unpack_sql_state(error->sqlerrcode), 6);
		FreeErrorData(error);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return ok;
}

/*
 * May what a client has written cause it?  Besides impossible values: texts
 * that are too long or too deep for a function, or that it cannot parse.
 */
static bool
is_of_the_event(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		sqlerrcode == ERRCODE_SYNTAX_ERROR;
}

/* The first row is enough. */
static bool
place_receive(TupleTableSlot *slot, DestReceiver *self)
{
	PlaceReceiver *place = (PlaceReceiver *) self;

	slot_getallattrs(slot);
	place->found = true;
	place->position.xid = DatumGetUInt64(slot->tts_values[0]);
	place->position.seq = DatumGetInt64(slot->tts_values[1]);
	place->event_id = *DatumGetUUIDP(slot->tts_values[2]);
	return false;
}

static void
place_startup(DestReceiver *self, int operation, TupleDesc type)
{
}

static void
place_ignore(DestReceiver *self)
{
}
