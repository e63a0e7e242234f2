/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Shared memory: the slots of lanes and targets, and the databases that
 *	  lanes must stay out of.
 *
 * Plain data and atomics only.  Nothing in here is the truth about an event:
 * that is in the tables, and shared memory is rebuilt empty after a crash.
 *
 * Holding a database: a command that needs the database to itself (DROP
 * DATABASE and its like) raises held, then sends home every lane with a pid
 * and waits until the pids are cleared.  A lane publishes its pid before it
 * reads held, both under the lock, so no lane slips in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "guc.h"
#include "shmem.h"

TlShared   *tl_shared = NULL;

static shmem_startup_hook_type previous_startup_hook = NULL;

static void shmem_request(void);
static void shmem_startup(void);
static Size shmem_size(void);
static Size targets_size(void);
static void lay_out(TlShared *shared);
static void init_lane_slot(LaneSlot *slot);
static bool raise_held(Oid database);
static void release_database_callback(int code, Datum database);
static int	find_held(Oid database);
static void forget_released(void);
static bool signal_lanes(Oid database);

#if TL_HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request_hook = NULL;
#endif

void
shmem_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
#if TL_HAVE_SHMEM_REQUEST_HOOK
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
#else
	shmem_request();
#endif
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

TargetSlot *
target_slot(Oid database, const char *name)
{
	TargetSlot *free_slot = NULL;
	TargetSlot *found = NULL;

	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < tl_shared->max_lanes && found == NULL; i++)
	{
		TargetSlot *slot = &tl_shared->targets[i];

		if (slot->database == database && strcmp(slot->name, name) == 0)
			found = slot;
		else if (slot->database == InvalidOid && free_slot == NULL)
			free_slot = slot;
	}
	if (found == NULL && free_slot != NULL)
	{
		found = free_slot;
		found->database = database;
		strlcpy(found->name, name, TL_TARGET_NAMELEN);
		pg_atomic_write_u32(&found->ready, 0);
		pg_atomic_write_u32(&found->lanes_needed, 0);
		pg_atomic_write_u64(&found->failing, 0);
		pg_atomic_write_u64(&found->claimed_until, 0);
		pg_atomic_write_u32(&found->remote_changes, 0);
	}
	LWLockRelease(tl_shared->lock);
	return found;
}

/*
 * NB: called from a transaction callback after commit, so it neither
 * allocates nor throws.  Slots are read without the lock: a latch lies in a
 * PGPROC, which is never unmapped, so that a stale one wakes a stranger for
 * nothing; a slot that is missed costs latency, as lanes also poll.
 */
void
wake_lanes(Oid database, bool all)
{
	if (tl_shared == NULL)
		return;
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];
		Latch	   *latch = slot->latch;

		if (slot->database != database)
			continue;
		if (all && slot->state == SLOT_EXITED &&
			slot->exit_reason == LANE_EXIT_NO_EXTENSION)
			slot->restart_at = 1;	/* long ago */
		if (latch == NULL || slot->pid == 0)
			continue;
		if (all)
			pg_atomic_write_u32(&slot->look, 1);
		if (all || pg_atomic_exchange_u32(&slot->sleeping, 0) != 0)
			SetLatch(latch);
	}
}

void
wake_launcher(void)
{
	Latch	   *latch = tl_shared ? tl_shared->launcher_latch : NULL;

	if (latch != NULL)
		SetLatch(latch);
}

void
tell_remote_changed(Oid database, const char *name)
{
	if (tl_shared == NULL)
		return;
	LWLockAcquire(tl_shared->lock, LW_SHARED);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		TargetSlot *slot = &tl_shared->targets[i];

		if (slot->database == database && strcmp(slot->name, name) == 0)
			pg_atomic_fetch_add_u32(&slot->remote_changes, 1);
	}
	LWLockRelease(tl_shared->lock);
	wake_lanes(database, true);
}

void
hold_database(Oid database)
{
	bool		raised;

	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	raised = raise_held(database);
	LWLockRelease(tl_shared->lock);
	if (!raised)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases are being changed at once"),
				 errhint("Try again when other CREATE, ALTER or DROP DATABASE commands have ended.")));

	PG_ENSURE_ERROR_CLEANUP(release_database_callback,
							ObjectIdGetDatum(database));
	while (signal_lanes(database))
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	PG_END_ENSURE_ERROR_CLEANUP(release_database_callback,
								ObjectIdGetDatum(database));
}

static void
release_database_callback(int code, Datum database)
{
	release_database(DatumGetObjectId(database));
}

void
release_database(Oid database)
{
	int			i;

	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	i = find_held(database);
	if (i >= 0)
		tl_shared->held[i].count--;
	forget_released();
	LWLockRelease(tl_shared->lock);
	wake_launcher();
}

void
linger_database(Oid database, int ms)
{
	int			i;

	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	i = find_held(database);
	if (i >= 0)
		tl_shared->held[i].until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	LWLockRelease(tl_shared->lock);
}

/* The caller holds the lock. */
bool
database_is_held(Oid database)
{
	int			i = find_held(database);

	return i >= 0 && (tl_shared->held[i].count > 0 ||
					  tl_shared->held[i].until > GetCurrentTimestamp());
}

TimestampTz
next_linger_end(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < tl_shared->nheld; i++)
	{
		if (tl_shared->held[i].until > now)
			next = Min(next, tl_shared->held[i].until);
	}
	return next;
}

/* The caller of this and the next two holds the lock; false: no room. */
static bool
raise_held(Oid database)
{
	int			i;

	forget_released();
	i = find_held(database);
	if (i < 0)
	{
		if (tl_shared->nheld >= lengthof(tl_shared->held))
			return false;
		i = tl_shared->nheld++;
		tl_shared->held[i].database = database;
		tl_shared->held[i].count = 0;
		tl_shared->held[i].until = 0;
	}
	tl_shared->held[i].count++;
	return true;
}

/* Its index; -1: not held. */
static int
find_held(Oid database)
{
	for (int i = 0; i < tl_shared->nheld; i++)
	{
		if (tl_shared->held[i].database == database)
			return i;
	}
	return -1;
}

static void
forget_released(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = tl_shared->nheld - 1; i >= 0; i--)
	{
		if (tl_shared->held[i].count == 0 && tl_shared->held[i].until <= now)
			tl_shared->held[i] = tl_shared->held[--tl_shared->nheld];
	}
}

/* Asks the lanes of a database to end; false: there is none left. */
static bool
signal_lanes(Oid database)
{
	bool		any = false;

	LWLockAcquire(tl_shared->lock, LW_SHARED);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		LaneSlot   *slot = &tl_shared->lanes[i];

		if (slot->database != database || slot->pid == 0)
			continue;
		any = true;
		kill(slot->pid, SIGTERM);
	}
	LWLockRelease(tl_shared->lock);
	return any;
}

static void
shmem_request(void)
{
#if TL_HAVE_SHMEM_REQUEST_HOOK
	if (previous_request_hook)
		previous_request_hook();
#endif
	RequestAddinShmemSpace(shmem_size());
	RequestNamedLWLockTranche("tokenledger", 1);
}

static Size
shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(TlShared));

	size = add_size(size, targets_size());
	return add_size(size, mul_size(guc_max_lanes, sizeof(LaneSlot)));
}

static Size
targets_size(void)
{
	return MAXALIGN(mul_size(guc_max_lanes, sizeof(TargetSlot)));
}

static void
shmem_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	tl_shared = ShmemInitStruct("tokenledger", shmem_size(), &found);
	if (!found)
		lay_out(tl_shared);
	LWLockRelease(AddinShmemInitLock);
}

static void
lay_out(TlShared *shared)
{
	char	   *rest = (char *) shared + MAXALIGN(sizeof(TlShared));

	memset(shared, 0, shmem_size());
	shared->lock = &(GetNamedLWLockTranche("tokenledger"))->lock;
	ConditionVariableInit(&shared->settled);
	shared->max_lanes = guc_max_lanes;
	shared->targets = (TargetSlot *) rest;
	shared->lanes = (LaneSlot *) (rest + targets_size());
	for (int i = 0; i < shared->max_lanes; i++)
	{
		pg_atomic_init_u32(&shared->targets[i].ready, 0);
		pg_atomic_init_u32(&shared->targets[i].lanes_needed, 0);
		pg_atomic_init_u64(&shared->targets[i].failing, 0);
		pg_atomic_init_u64(&shared->targets[i].claimed_until, 0);
		pg_atomic_init_u32(&shared->targets[i].remote_changes, 0);
		init_lane_slot(&shared->lanes[i]);
	}
}

static void
init_lane_slot(LaneSlot *slot)
{
	pg_atomic_init_u32(&slot->phase, LANE_STARTING);
	pg_atomic_init_u64(&slot->phase_since, 0);
	pg_atomic_init_u64(&slot->retry_at, 0);
	pg_atomic_init_u32(&slot->attempts, 0);
	pg_atomic_init_u32(&slot->sleeping, 0);
	pg_atomic_init_u32(&slot->flush, 0);
	pg_atomic_init_u32(&slot->look, 0);
}
