/*-------------------------------------------------------------------------
 *
 * monitor.c
 *	  What shared memory says, as SQL functions for the status views.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"	/* get_database_name() of 18 */
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "shmem.h"
#include "target.h"

TL_FUNCTION_INFO(tl_lane_processes);
TL_FUNCTION_INFO(tl_forwarding_problem);

#define LANE_PROCESS_COLUMNS	7

static void put_lane(ReturnSetInfo *rsinfo, LaneSlot *slot);
static Datum timestamp_or_null(uint64 value, bool *isnull);
static const char *phase_name(LaneSlot *slot);
static bool database_is_configured(void);
static bool my_database_is_held(void);

/*
 * lane_processes() RETURNS SETOF (target, lane, pid, phase, phase_since,
 * retry_at, attempts): the running lanes of this database
 */
Datum
tl_lane_processes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (tl_shared == NULL)
		return (Datum) 0;
	LWLockAcquire(tl_shared->lock, LW_SHARED);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];

		if (slot->state == SLOT_RUNNING && slot->database == MyDatabaseId &&
			strcmp(slot->target, TL_RETENTION_TARGET) != 0)
			put_lane(rsinfo, slot);
	}
	LWLockRelease(tl_shared->lock);
	return (Datum) 0;
}

/* forwarding_problem() RETURNS text: why nothing is forwarded, or NULL */
Datum
tl_forwarding_problem(PG_FUNCTION_ARGS)
{
	const char *problem = NULL;

	if (tl_shared == NULL)
		problem = "tokenledger is not in shared_preload_libraries";
	else if (!database_is_configured())
		problem = "this database is not in tokenledger.databases";
	else if (RecoveryInProgress())
		problem = "this server is a standby: it forwards once it is promoted";
	else if (tl_shared->launcher_pid == 0)
		problem = "the launcher is not running";
	else if (my_database_is_held())
		problem = "a dump is being restored, or the database or the extension"
			" is being changed: lanes start when that is over";
	else if (tl_shared->out_of_workers)
		problem = "not all lanes can start: increase max_worker_processes"
			" or tokenledger.max_lanes";
	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

static void
put_lane(ReturnSetInfo *rsinfo, LaneSlot *slot)
{
	Datum		values[LANE_PROCESS_COLUMNS];
	bool		nulls[LANE_PROCESS_COLUMNS] = {false};

	values[0] = CStringGetTextDatum(slot->target);
	values[1] = Int32GetDatum(slot->lane);
	values[2] = Int32GetDatum(slot->pid);
	values[3] = CStringGetTextDatum(phase_name(slot));
	values[4] = timestamp_or_null(pg_atomic_read_u64(&slot->phase_since),
								  &nulls[4]);
	values[5] = timestamp_or_null(pg_atomic_read_u64(&slot->retry_at),
								  &nulls[5]);
	values[6] = Int32GetDatum((int32) pg_atomic_read_u32(&slot->attempts));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
timestamp_or_null(uint64 value, bool *isnull)
{
	*isnull = value == 0;
	return TimestampTzGetDatum((TimestampTz) value);
}

static const char *
phase_name(LaneSlot *slot)
{
	switch ((LanePhase) pg_atomic_read_u32(&slot->phase))
	{
		case LANE_STARTING:
			return "starting";
		case LANE_IDLE:
			return "idle";
		case LANE_CLAIMED:
			return "claimed";
		case LANE_RETRY:
			return "retry";
		case LANE_RESOLVE:
			return "resolve";
	}
	return "unknown";
}

static bool
database_is_configured(void)
{
	const char *name = get_database_name(MyDatabaseId);
	ListCell   *lc;

	foreach(lc, target_databases())
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

static bool
my_database_is_held(void)
{
	bool		held;

	LWLockAcquire(tl_shared->lock, LW_SHARED);
	held = database_is_held(MyDatabaseId);
	LWLockRelease(tl_shared->lock);
	return held;
}
