/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The worker that keeps the set of lanes equal to settings x databases.
 *
 * It connects to no database and loads no backend: it reads the settings,
 * looks up databases in the shared catalog, and starts or ends lanes.  Each
 * look compares what should be with the slots in shared memory, so that it
 * needs no memory of its own, and a new launcher goes on where the old one
 * ended.
 *
 *		FREE ----- wanted ----------> STARTING
 *		 ^							   ^  |
 *		 |	   wanted, and restart_at  |  | the lane publishes its pid
 *		 |	   has come				   |  v
 *		 +-- not wanted -- EXITED -----+  RUNNING
 *							 ^				|
 *							 +--------------+ the lane's exit callback
 *
 * A running lane that is not desired, or was started for another text of its
 * entry, gets SIGTERM; a changed entry is then started anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "launcher.h"
#include "shmem.h"
#include "target.h"

#define LOOK_MS				10000	/* between looks when nothing happens */
#define STARTING_MS			30000	/* a start that takes longer has failed */
#define HOPELESS_MS			10000	/* without the extension, or a file */
#define FAILED_MIN_MS		1000	/* doubles with each failure */
#define FAILED_MAX_MS		60000
#define PASS_POLLS			60		/* polls between passes of retention */

typedef struct WantedLane
{
	Oid			database;
	const char *target;
	int32		lane;
	uint64		fingerprint;
} WantedLane;

static void detach(int code, Datum arg);
static void reconcile_lanes(void);
static List *wanted_lanes(void);
static List *want_retention(List *wanted, Oid database);
static List *want_targets(List *wanted, const char *name, Oid database);
static Oid	find_database(const char *name);
static int32 lanes_of(const Target *target, Oid database);
static void end_unwanted(List *wanted);
static void free_unwanted_targets(List *wanted);
static bool slot_matches(const LaneSlot *slot, const WantedLane *wanted);
static WantedLane *find_wanted(List *wanted, const LaneSlot *slot);
static void note_exit(LaneSlot *slot);
static void start_wanted(List *wanted);
static LaneSlot *slot_for(const WantedLane *wanted);
static bool may_start(const LaneSlot *slot);
static void start_lane(LaneSlot *slot, const WantedLane *wanted);
static bool register_worker(LaneSlot *slot);
static void tell_out_of_workers(bool out);
static long time_to_next_start(void);

void
launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "tokenledger launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "tokenledger launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "tokenledger", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "tl_launcher_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

void
tl_launcher_main(Datum main_arg)
{
	MemoryContext cycle;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("tokenledger launcher");

	before_shmem_exit(detach, (Datum) 0);
	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	tl_shared->launcher_pid = MyProcPid;
	tl_shared->launcher_latch = MyLatch;
	LWLockRelease(tl_shared->lock);
	cycle = AllocSetContextCreate(TopMemoryContext, "tokenledger launcher",
								  ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		/* NB: after 0 the postmaster would never start another one. */
		if (ShutdownRequestPending)
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(cycle);
		reconcile_lanes();
		MemoryContextSwitchTo(cycle);
		MemoryContextReset(cycle);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 time_to_next_start(), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
detach(int code, Datum arg)
{
	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	tl_shared->launcher_pid = 0;
	tl_shared->launcher_latch = NULL;
	LWLockRelease(tl_shared->lock);
}

static void
reconcile_lanes(void)
{
	List	   *wanted = wanted_lanes();

	end_unwanted(wanted);
	start_wanted(wanted);
}

/* A List of WantedLane * in the current memory context. */
static List *
wanted_lanes(void)
{
	List	   *wanted = NIL;
	ListCell   *lc;

	foreach(lc, target_databases())
	{
		const char *name = lfirst(lc);
		Oid			database = find_database(name);

		if (!OidIsValid(database))
			continue;
		if (guc_retention > 0)
			wanted = want_retention(wanted, database);
		wanted = want_targets(wanted, name, database);
	}
	return wanted;
}

/* Another setting: it is started at once. */
static List *
want_retention(List *wanted, Oid database)
{
	WantedLane *want = palloc0(sizeof(WantedLane));

	want->database = database;
	want->target = TL_RETENTION_TARGET;
	want->fingerprint = (uint64) guc_retention;
	return lappend(wanted, want);
}

static List *
want_targets(List *wanted, const char *name, Oid database)
{
	ListCell   *lc;

	foreach(lc, target_load_core_only(name))
	{
		const Target *target = lfirst(lc);
		int32		lanes;

		if (target->error != NULL)
			continue;
		lanes = lanes_of(target, database);
		for (int lane = 0; lane < lanes; lane++)
		{
			WantedLane *want = palloc(sizeof(WantedLane));

			want->database = database;
			want->target = target->name;
			want->lane = lane;
			want->fingerprint = target->fingerprint;
			wanted = lappend(wanted, want);
		}
	}
	return wanted;
}

/*
 * InvalidOid: it does not exist, or nobody may connect to it.  NB: a scan, as
 * without a database there may be no index to look it up by.
 */
static Oid
find_database(const char *name)
{
	MemoryContext old = CurrentMemoryContext;
	Oid			database = InvalidOid;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && strcmp(NameStr(form->datname), name) == 0)
			database = form->oid;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return database;
}

/*
 * The first lane prepares the target; the others follow when it is ready, and
 * so do those beyond the setting that still hold a range.
 */
static int32
lanes_of(const Target *target, Oid database)
{
	TargetSlot *shared = target_slot(database, target->name);

	if (shared == NULL || pg_atomic_read_u32(&shared->ready) == 0)
		return 1;
	return Max(target->lanes,
			   (int32) pg_atomic_read_u32(&shared->lanes_needed));
}

static void
end_unwanted(List *wanted)
{
	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];
		WantedLane *want;

		if (slot->state == SLOT_FREE)
			continue;
		want = find_wanted(wanted, slot);
		if (slot->state == SLOT_STARTING &&
			TimestampDifferenceExceeds(slot->started_at,
									   GetCurrentTimestamp(), STARTING_MS))
		{
			slot->state = SLOT_EXITED;
			slot->exit_reason = LANE_EXIT_FAILED;
		}
		if (slot->state == SLOT_EXITED && slot->restart_at == 0)
			note_exit(slot);
		if (want != NULL && want->fingerprint == slot->fingerprint)
			continue;
		if (slot->state == SLOT_RUNNING && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		else if (slot->state == SLOT_EXITED)
			slot->state = SLOT_FREE;
	}
	free_unwanted_targets(wanted);
	LWLockRelease(tl_shared->lock);
}

/* NB: a lane that is still ending points to its target's slot. */
static void
free_unwanted_targets(List *wanted)
{
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		TargetSlot *target = &tl_shared->targets[i];
		bool		used = target->database == InvalidOid;
		ListCell   *lc;

		foreach(lc, wanted)
		{
			const WantedLane *want = lfirst(lc);

			used |= want->database == target->database &&
				strcmp(want->target, target->name) == 0;
		}
		for (int j = 0; j < tl_shared->max_lanes && !used; j++)
			used = tl_shared->lanes[j].state != SLOT_FREE &&
				tl_shared->lanes[j].database == target->database &&
				strcmp(tl_shared->lanes[j].target, target->name) == 0;
		if (!used)
			target->database = InvalidOid;
	}
}

static bool
slot_matches(const LaneSlot *slot, const WantedLane *wanted)
{
	return slot->database == wanted->database &&
		slot->lane == wanted->lane &&
		strcmp(slot->target, wanted->target) == 0;
}

static WantedLane *
find_wanted(List *wanted, const LaneSlot *slot)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		if (slot_matches(slot, lfirst(lc)))
			return lfirst(lc);
	}
	return NULL;
}

/* When may the lane be started again?  The caller holds the lock. */
static void
note_exit(LaneSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		delay = 0;

	slot->failures = slot->exit_reason == LANE_EXIT_FAILED ?
		slot->failures + 1 : 0;
	switch (slot->exit_reason)
	{
		case LANE_EXIT_STOPPED:
			delay = 10;
			break;
		case LANE_EXIT_FAILED:
			delay = Min((int64) FAILED_MIN_MS << Min(slot->failures - 1, 10),
						FAILED_MAX_MS);
			break;
		case LANE_EXIT_NO_EXTENSION:
		case LANE_EXIT_INVALID:
			delay = HOPELESS_MS;
			break;
		case LANE_EXIT_PASSED:
			delay = Min((int64) guc_poll_interval * PASS_POLLS,
						INT64CONST(3600) * 1000);
			break;
		case LANE_EXIT_RETIRED:
			slot->restart_at = DT_NOEND;	/* until its entry changes */
			return;
	}
	slot->restart_at = TimestampTzPlusMilliseconds(now, delay);
}

static void
start_wanted(List *wanted)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		WantedLane *want = lfirst(lc);
		LaneSlot   *slot;

		LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
		slot = database_is_held(want->database) ? NULL : slot_for(want);
		if (slot != NULL && may_start(slot))
			start_lane(slot, want);
		LWLockRelease(tl_shared->lock);
	}
}

/* Its own slot, or a free one; NULL: none. */
static LaneSlot *
slot_for(const WantedLane *wanted)
{
	LaneSlot   *free_slot = NULL;

	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];

		if (slot->state == SLOT_FREE)
			free_slot = free_slot ? free_slot : slot;
		else if (slot_matches(slot, wanted))
			return slot;
	}
	if (free_slot == NULL)
		tell_out_of_workers(true);
	return free_slot;
}

static bool
may_start(const LaneSlot *slot)
{
	return slot->state == SLOT_FREE ||
		(slot->state == SLOT_EXITED && slot->restart_at != 0 &&
		 slot->restart_at <= GetCurrentTimestamp());
}

/* NB: the slot is filled in before the worker can look at it. */
static void
start_lane(LaneSlot *slot, const WantedLane *wanted)
{
	if (slot->state == SLOT_FREE)
	{
		slot->failures = 0;
		slot->invalid_told = false;
		slot->thorough_at = 0;
	}
	slot->database = wanted->database;
	strlcpy(slot->target, wanted->target, TL_TARGET_NAMELEN);
	slot->lane = wanted->lane;
	slot->fingerprint = wanted->fingerprint;
	slot->pid = 0;
	slot->latch = NULL;
	slot->state = SLOT_STARTING;
	slot->restart_at = 0;
	slot->started_at = GetCurrentTimestamp();
	if (register_worker(slot))
	{
		tell_out_of_workers(false);
		return;
	}
	tell_out_of_workers(true);
	slot->state = SLOT_EXITED;
	slot->restart_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   FAILED_MIN_MS);
}

static bool
register_worker(LaneSlot *slot)
{
	BackgroundWorker worker = {0};
	bool		retention = strcmp(slot->target, TL_RETENTION_TARGET) == 0;

	if (retention)
		strlcpy(worker.bgw_name, "tokenledger retention", BGW_MAXLEN);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "tokenledger lane %s.%d",
				 slot->target, slot->lane);
	strlcpy(worker.bgw_type, retention ? "tokenledger retention" :
			"tokenledger lane", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "tokenledger", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, retention ? "tl_retention_main" :
			"tl_lane_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = Int32GetDatum((int32) (slot - tl_shared->lanes));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* One line for each change. */
static void
tell_out_of_workers(bool out)
{
	if (out == tl_shared->out_of_workers)
		return;
	tl_shared->out_of_workers = out;
	if (out)
		ereport(LOG,
				(errmsg("tokenledger cannot start all of its lanes"),
				 errhint("Increase max_worker_processes or tokenledger.max_lanes; both need a restart of the server.")));
	else
		ereport(LOG,
				(errmsg("tokenledger can start lanes again")));
}

static long
time_to_next_start(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = TimestampTzPlusMilliseconds(now, LOOK_MS);

	LWLockAcquire(tl_shared->lock, LW_SHARED);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];

		if (slot->state == SLOT_EXITED && slot->restart_at != DT_NOEND &&
			!database_is_held(slot->database))
			next = Min(next, slot->restart_at);
		if (slot->state == SLOT_STARTING)
			next = Min(next, TimestampTzPlusMilliseconds(now, 1000));
	}
	next = Min(next, next_linger_end());
	LWLockRelease(tl_shared->lock);
	return TimestampDifferenceMilliseconds(now, next) + 1;
}
