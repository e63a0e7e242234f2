/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  flush(target, timeout): waits until everything committed is delivered.
 *
 * Everything means: the events visible in a snapshot taken at the call, but
 * not those of the caller's own transaction, which no lane can see.  They are
 * delivered when none of them lies beyond the cursor, and the ranges that
 * were claimed up to then are settled.  Ranges claimed later do not matter,
 * so that a flush ends under any load.  Dead letters that were requeued are
 * waited for as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/wait_event.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"	/* get_database_name() of 18 */
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shmem.h"
#include "target.h"

TL_FUNCTION_INFO(tl_flush);

#define LOOK_AGAIN_MS	100

#define RANGE_KEY \
	"pg_catalog.format('%s %s %s %s', lane, range_from, first_xid, first_seq)"

static const char find_sql[] =
"SELECT id, paused, state FROM token_ledger.target t,"
" token_ledger.cluster_key() k"
" WHERE t.system_identifier OPERATOR(pg_catalog.=) k.system_identifier"
" AND t.database_oid OPERATOR(pg_catalog.=) k.database_oid"
" AND t.name OPERATOR(pg_catalog.=) $1";

/* Is an event of the snapshot $2 beyond the cursor?  $3: our transaction. */
static const char beyond_sql[] =
"SELECT EXISTS (SELECT FROM ONLY token_ledger.token_ledger_events e"
" WHERE e.ingest_xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(t.window_to)"
" AND NOT pg_catalog.pg_visible_in_snapshot(e.ingest_xid, t.window_to)"
" AND pg_catalog.pg_visible_in_snapshot(e.ingest_xid, $2)"
" AND e.ingest_xid IS DISTINCT FROM $3)"
" OR EXISTS (SELECT FROM ONLY token_ledger.token_ledger_events e"
" WHERE (e.ingest_xid, e.ingest_seq) OPERATOR(pg_catalog.>) (t.last_xid, t.last_seq)"
" AND e.ingest_xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(t.window_to)"
" AND pg_catalog.pg_visible_in_snapshot(e.ingest_xid, t.window_to)"
" AND NOT pg_catalog.pg_visible_in_snapshot(e.ingest_xid, t.window_from)"
" AND e.ingest_xid IS DISTINCT FROM $3)"
" OR EXISTS (SELECT FROM token_ledger.dead_letter d"
" WHERE d.target_id OPERATOR(pg_catalog.=) t.id"
" AND d.state OPERATOR(pg_catalog.=) 'requeued')"
" FROM token_ledger.target t WHERE t.id OPERATOR(pg_catalog.=) $1"
" AND t.window_to IS NOT NULL";

static const char claimed_sql[] =
"SELECT pg_catalog.array_agg(" RANGE_KEY ") FROM token_ledger.lane"
" WHERE target_id OPERATOR(pg_catalog.=) $1"
" AND source OPERATOR(pg_catalog.<>) 'job'";

static const char unsettled_sql[] =
"SELECT EXISTS (SELECT FROM token_ledger.lane"
" WHERE target_id OPERATOR(pg_catalog.=) $1 AND (held IS NOT NULL"
" OR source IS NOT NULL AND " RANGE_KEY " OPERATOR(pg_catalog.=) ANY ($2)))";

typedef struct Flush
{
	const char *target;
	int32		target_id;		/* 0: its first lane has yet to start */
	Datum		snapshot;
	bool		given_up;		/* waiting would not help */
	bool		claimed_all;	/* ranges is what is left to be settled */
	Datum		ranges;			/* text[] */
	bool		ranges_null;
} Flush;

static TimestampTz later_by(Datum interval);
static void take_snapshot(Flush *flush);
static bool find_target(Flush *flush);
static void refuse_unknown(const char *name);
static bool is_flushed(Flush *flush);
static bool beyond_cursor(Flush *flush);
static bool query(const char *sql, int nargs, Oid *types, Datum *values,
				  const char *nulls);
static bool returned_true(void);
static Datum kept(int column, int16 typlen, bool *isnull);
static void hurry_lanes(const char *target);

/* flush(target text, timeout interval) RETURNS boolean */
Datum
tl_flush(PG_FUNCTION_ARGS)
{
	Flush		flush = {0};
	TimestampTz deadline;
	bool		flushed;

	if (tl_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing is forwarded: tokenledger is not preloaded"),
				 errhint("Add tokenledger to shared_preload_libraries and restart the server.")));
	flush.target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	deadline = later_by(PG_GETARG_DATUM(1));
	SPI_connect();
	take_snapshot(&flush);
	ConditionVariablePrepareToSleep(&tl_shared->settled);
	for (;;)
	{
		long		left;

		flushed = is_flushed(&flush);
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											   deadline);
		if (flushed || flush.given_up || left <= 0)
			break;
		hurry_lanes(flush.target);
		(void) ConditionVariableTimedSleep(&tl_shared->settled,
										   Min(left, LOOK_AGAIN_MS),
										   PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	ConditionVariableCancelSleep();
	SPI_finish();
	PG_RETURN_BOOL(flushed);
}

static TimestampTz
later_by(Datum interval)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());

	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   now, interval));
}

static void
take_snapshot(Flush *flush)
{
	bool		isnull;

	query("SELECT pg_catalog.pg_current_snapshot()", 0, NULL, NULL, NULL);
	flush->snapshot = kept(1, -1, &isnull);
}

/*
 * false: not yet, or given up and the caller has been told.  A target that is
 * configured gets its row when its first lane starts, a moment after CREATE
 * EXTENSION or a reload.
 */
static bool
find_target(Flush *flush)
{
	Oid			type = TEXTOID;
	Datum		name = CStringGetTextDatum(flush->target);
	bool		isnull;
	char	   *state;

	if (!query(find_sql, 1, &type, &name, NULL))
	{
		refuse_unknown(flush->target);
		return false;
	}
	state = TextDatumGetCString(kept(3, -1, &isnull));
	if (DatumGetBool(kept(2, 1, &isnull)))
		state = "paused";
	if (strcmp(state, "running") != 0 && strcmp(state, "error") != 0)
	{
		ereport(WARNING,
				(errmsg("target \"%s\" is %s", flush->target, state)));
		flush->given_up = true;
		return false;
	}
	flush->target_id = DatumGetInt32(kept(1, 4, &isnull));
	return true;
}

/* Throws unless a lane will take the target up. */
static void
refuse_unknown(const char *name)
{
	const char *database = get_database_name(MyDatabaseId);
	Target	   *target = target_load(database, name);

	if (target == NULL || !target_database_listed(database))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("target \"%s\" has not started in this database",
						name),
				 errhint("See token_ledger.status, and tokenledger.targets.")));
	if (target->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target \"%s\" is invalid: %s", name, target->error),
				 target->hint ? errhint("%s", target->hint) : 0));
}

static bool
is_flushed(Flush *flush)
{
	Oid			types[] = {INT4OID, TEXTARRAYOID};
	Datum		values[2];

	if (flush->target_id == 0 && !find_target(flush))
		return false;
	values[0] = Int32GetDatum(flush->target_id);
	if (!flush->claimed_all)
	{
		if (beyond_cursor(flush))
			return false;
		query(claimed_sql, 1, types, values, NULL);
		flush->ranges = kept(1, -1, &flush->ranges_null);
		flush->claimed_all = true;
	}
	values[1] = flush->ranges;
	query(unsettled_sql, 2, types, values, flush->ranges_null ? " n" : NULL);
	return !returned_true();
}

static bool
beyond_cursor(Flush *flush)
{
	Oid			types[] = {INT4OID, PG_SNAPSHOTOID, XID8OID};
	Datum		values[3];
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	values[0] = Int32GetDatum(flush->target_id);
	values[1] = flush->snapshot;
	values[2] = UInt64GetDatum(U64FromFullTransactionId(own));
	if (!query(beyond_sql, 3, types, values,
			   FullTransactionIdIsValid(own) ? NULL : "  n"))
		return true;			/* its first window is not yet there */
	return returned_true();
}

/*
 * Runs under the latest snapshot, whatever the transaction's isolation level;
 * false: no row.
 */
static bool
query(const char *sql, int nargs, Oid *types, Datum *values,
	  const char *nulls)
{
	int			code;

	SPI_freetuptable(SPI_tuptable); /* of the previous one: a flush is long */
	PushActiveSnapshot(GetLatestSnapshot());
	code = SPI_execute_with_args(sql, nargs, types, values, nulls, true, 0);
	PopActiveSnapshot();
	if (code < 0)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(code));
	return SPI_processed > 0;
}

static bool
returned_true(void)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull);

	return !isnull && DatumGetBool(value);
}

/* A column of the first row, copied out of the result. */
static Datum
kept(int column, int16 typlen, bool *isnull)
{
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, column, isnull);

	return *isnull ? value : datumCopy(value, typlen > 0, typlen);
}

/* Tells the target's lanes not to wait for more events. */
static void
hurry_lanes(const char *target)
{
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];

		if (slot->database == MyDatabaseId && slot->pid != 0 &&
			strcmp(slot->target, target) == 0)
			pg_atomic_write_u32(&slot->flush, 1);
	}
	wake_lanes(MyDatabaseId, true);
}
