/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  The process of a lane: start, loop, end.
 *
 * A lane is a background worker that carries one range at a time of one
 * target in one database; concurrency is more lanes.  It owns its lane by an
 * advisory lock, and what it writes names its epoch.
 *
 * Signals: SIGTERM is die(), so that a lane that waits for a lock ends as any
 * backend does; between cycles it ends quietly.  SIGHUP reads the settings;
 * the launcher restarts the lanes whose target has changed.  SIGINT is
 * ignored: there is no statement of a user's to cancel.
 *
 * A failing store never ends a lane.  An error of the server's own (a lock
 * time-out, a full disk) ends the transaction; the lane then believes only
 * its row, as after a start.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"	/* get_database_name() of 18 */
#include "utils/memutils.h"
#include "utils/ps_status.h"

#include "compat.h"
#include "guc.h"
#include "lane.h"
#include "lane_transaction.h"

static LaneSlot *my_slot = NULL;
static Oid	my_ledger = InvalidOid;
static volatile sig_atomic_t catalog_changed = false;

static void publish(LaneSlot *slot);
static void clear_slot(int code, Datum arg);
static Lane *lane_start(LaneSlot *slot);
static void load_target(Lane *lane);
static void tell_invalid(Lane *lane);
static void open_queue(Lane *lane);
static void inherit_error(Lane *lane);
static void tell_lanes_needed(Lane *lane);
static void run(Lane *lane);
static bool guarded_cycle(Lane *lane);
static void recover_from_error(Lane *lane);
static void process_interrupts(Lane *lane);
static void take_up_catalog_change(Lane *lane);
static void catalog_callback(Datum arg, Oid relid);
static void retire_if_drained(Lane *lane);
static void wait_for_work(Lane *lane);
static long wait_time(const Lane *lane);

void
tl_lane_main(Datum main_arg)
{
	LaneSlot   *slot = &tl_shared->lanes[DatumGetInt32(main_arg)];
	Lane	   *lane;

	lane_connect(slot);
	lane = lane_start(slot);
	run(lane);
}

void
lane_set_phase(Lane *lane, LanePhase phase)
{
	if (pg_atomic_read_u32(&lane->slot->phase) != (uint32) phase)
		pg_atomic_write_u64(&lane->slot->phase_since,
							(uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&lane->slot->phase, phase);
	lane->phase = phase;
}

void
lane_exit(Lane *lane, LaneExit reason)
{
	lane->slot->exit_reason = reason;
	if (lane->session != NULL)
		lane_target_close(lane, reason == LANE_EXIT_RETIRED);
	proc_exit(reason == LANE_EXIT_FAILED ? 1 : 0);
}

void
lane_connect(LaneSlot *slot)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	publish(slot);
	BackgroundWorkerInitializeConnectionByOid(slot->database, InvalidOid, 0);
}

/*
 * NB: the pid first, then the look at held: whoever raised held before waits
 * for this pid, and whoever raises it later sees it.  The callback is
 * registered before the connection exists, so that it runs after the process
 * has left the database.
 */
static void
publish(LaneSlot *slot)
{
	bool		held;

	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	if (slot->state != SLOT_STARTING)
	{
		LWLockRelease(tl_shared->lock);
		proc_exit(0);			/* too late, the launcher has given us up */
	}
	on_shmem_exit(clear_slot, (Datum) 0);
	my_slot = slot;
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->state = SLOT_RUNNING;
	slot->exit_reason = LANE_EXIT_FAILED;
	held = database_is_held(slot->database);
	LWLockRelease(tl_shared->lock);
	pg_atomic_write_u32(&slot->phase, LANE_STARTING);
	pg_atomic_write_u64(&slot->phase_since, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&slot->retry_at, 0);
	pg_atomic_write_u32(&slot->attempts, 0);
	pg_atomic_write_u32(&slot->sleeping, 0);
	if (held)
	{
		slot->exit_reason = LANE_EXIT_STOPPED;
		proc_exit(0);
	}
}

static void
clear_slot(int code, Datum arg)
{
	LWLockAcquire(tl_shared->lock, LW_EXCLUSIVE);
	if (ProcDiePending || ShutdownRequestPending)
		my_slot->exit_reason = LANE_EXIT_STOPPED;
	my_slot->pid = 0;
	my_slot->latch = NULL;
	my_slot->state = SLOT_EXITED;
	LWLockRelease(tl_shared->lock);
	ConditionVariableBroadcast(&tl_shared->settled);
	wake_launcher();
}

static Lane *
lane_start(LaneSlot *slot)
{
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext,
											   "tokenledger lane",
											   ALLOCSET_DEFAULT_SIZES);
	Lane	   *lane = MemoryContextAllocZero(mcxt, sizeof(Lane));

	lane->slot = slot;
	lane->mcxt = mcxt;
	lane->cycle_mcxt = AllocSetContextCreate(mcxt, "tokenledger cycle",
											 ALLOCSET_DEFAULT_SIZES);
	lane->part_mcxt = AllocSetContextCreate(mcxt, "tokenledger part",
											ALLOCSET_DEFAULT_SIZES);
	lane->attempt_mcxt = AllocSetContextCreate(mcxt, "tokenledger attempt",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(mcxt);
	lane_settings_apply();
	load_target(lane);
	open_queue(lane);
	CacheRegisterRelcacheCallback(catalog_callback, (Datum) 0);
	requeue_init(lane);
	lane_restart_range(lane);
	tell_lanes_needed(lane);
	return lane;
}

static void
load_target(Lane *lane)
{
	char	   *database;
	char		title[2 * NAMEDATALEN + 64];

	StartTransactionCommand();
	database = MemoryContextStrdup(lane->mcxt,
								   get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	MemoryContextSwitchTo(lane->mcxt);
	snprintf(title, sizeof(title), "tokenledger lane %s.%d",
			 lane->slot->target, lane->slot->lane);
	pgstat_report_appname(title);
	lane->target = target_load(database, lane->slot->target);
	if (lane->target == NULL)
		lane_exit(lane, LANE_EXIT_STOPPED);
	if (lane->target->error != NULL)
	{
		tell_invalid(lane);
		lane_exit(lane, LANE_EXIT_INVALID);
	}
	lane->slot->invalid_told = false;
}

static void
tell_invalid(Lane *lane)
{
	if (lane->slot->lane != 0 || lane->slot->invalid_told)
		return;
	lane->slot->invalid_told = true;
	ereport(LOG,
			(errmsg("tokenledger target \"%s\" is invalid: %s",
					lane->target->name, lane->target->error),
			 lane->target->hint ? errhint("%s", lane->target->hint) : 0));
}

static void
open_queue(Lane *lane)
{
	Queue	   *queue = &lane->queue;

	queue->mcxt = lane->mcxt;
	queue->row_mcxt = AllocSetContextCreate(lane->mcxt, "tokenledger row",
											ALLOCSET_SMALL_SIZES);
	queue->spare_mcxt = AllocSetContextCreate(lane->mcxt, "tokenledger row",
											  ALLOCSET_SMALL_SIZES);
	lane->shared = target_slot(MyDatabaseId, lane->slot->target);
	if (lane->shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no slot for tokenledger target \"%s\"",
						lane->slot->target),
				 errhint("Increase tokenledger.max_lanes.")));
	queue->claimed_until = &lane->shared->claimed_until;
	switch (queue_open(queue, lane->target, lane->slot->lane))
	{
		case QUEUE_OPEN:
			break;
		case QUEUE_NO_EXTENSION:
			lane_exit(lane, LANE_EXIT_NO_EXTENSION);
			break;
		case QUEUE_BUSY:
			lane_exit(lane, LANE_EXIT_STOPPED);
			break;
	}
	inherit_error(lane);
	lane->remote_changes = pg_atomic_read_u32(&lane->shared->remote_changes);
	my_ledger = queue->ledger;
	pg_atomic_write_u32(&lane->shared->ready, 1);
}

/* What a predecessor has reported is this lane's to withdraw. */
static void
inherit_error(Lane *lane)
{
	uint64		bit = UINT64CONST(1) << (lane->slot->lane % 64);

	if (lane->queue.in_error && lane->slot->lane == 0)
		pg_atomic_fetch_or_u64(&lane->shared->failing, bit);
	lane->failing = (pg_atomic_read_u64(&lane->shared->failing) & bit) != 0;
}

/* Lanes beyond the setting that still hold something have to be started. */
static void
tell_lanes_needed(Lane *lane)
{
	if (lane->slot->lane != 0)
		return;
	pg_atomic_write_u32(&lane->shared->lanes_needed,
						queue_lanes_needed(&lane->queue));
	wake_launcher();
}

static void
run(Lane *lane)
{
	/* lane 0 looks at the store at once: status then tells what is wrong */
	lane->look_first = lane->slot->lane == 0 || lane->failing;
	for (;;)
	{
		process_interrupts(lane);
		if (!guarded_cycle(lane))
		{
			retire_if_drained(lane);
			wait_for_work(lane);
		}
	}
}

static bool
guarded_cycle(Lane *lane)
{
	volatile bool progress = false;

	MemoryContextSwitchTo(lane->cycle_mcxt);
	MemoryContextReset(lane->cycle_mcxt);
	PG_TRY();
	{
		progress = lane_cycle(lane);
	}
	PG_CATCH();
	{
		recover_from_error(lane);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(lane->mcxt);
	return progress;
}

static void
recover_from_error(Lane *lane)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};
	ErrorData  *error;
	bool		mine;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(lane->mcxt);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	MemoryContextSwitchTo(lane->mcxt);
	snprintf(verdict.message, sizeof(verdict.message), "%s", error->message);
	strlcpy(verdict.code, unpack_sql_state(error->sqlerrcode),
			sizeof(verdict.code));
	FreeErrorData(error);
	RESUME_INTERRUPTS();

	/* these may throw: then the lane ends, and the launcher starts another */
	mine = queue_reload(&lane->queue);
	if (!mine)
		lane_exit(lane, LANE_EXIT_STOPPED);
	lane_restart_range(lane);
	lane_failed(lane, &verdict);
}

static void
process_interrupts(Lane *lane)
{
	if (ProcDiePending)
		lane_exit(lane, LANE_EXIT_STOPPED);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		lane_settings_apply();
	}
	if (catalog_changed)
		take_up_catalog_change(lane);
}

/*
 * Some table changed.  NB: the part that is built stays as it is: its columns
 * were right when it was read.
 */
static void
take_up_catalog_change(Lane *lane)
{
	int32		version = lane->queue.ledger_version;

	catalog_changed = false;
	if (!queue_reload(&lane->queue))
	{
		StartTransactionCommand();
		CommitTransactionCommand();
		lane_exit(lane, LANE_EXIT_NO_EXTENSION);
	}
	if (lane->queue.ledger_version != version)
	{
		lane_restart_range(lane);
		lane_drop_builder(lane);
		lane->inspected = false;	/* it may not be compatible any more */
	}
}

static void
catalog_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == my_ledger)
		catalog_changed = true;
}

/* One of more lanes than the URL now asks for, and it holds nothing. */
static void
retire_if_drained(Lane *lane)
{
	if (lane->slot->lane < lane->target->lanes || lane->phase != LANE_IDLE ||
		lane->queue.row.held != NIL ||
		lane->retry_at > GetCurrentTimestamp())
		return;
	MemoryContextSwitchTo(lane->cycle_mcxt);
	if (lane->queue.row.state != NULL && !lane_target_ready(lane))
		return;
	lane->queue.lost = false;
	lane_succeeded(lane);		/* nobody else could withdraw its failure */
	queue_retire(&lane->queue);
	pg_atomic_write_u32(&lane->shared->lanes_needed,
						queue_lanes_needed(&lane->queue));
	lane_exit(lane, LANE_EXIT_RETIRED);
}

static void
wait_for_work(Lane *lane)
{
	static uint32 event = 0;

	if (event == 0)
		event = tl_wait_event("TokenledgerLane");
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 wait_time(lane), event);
	ResetLatch(MyLatch);
	pg_atomic_write_u32(&lane->slot->sleeping, 0);
}

/* Until the next retry, the next claim, or the next look. */
static long
wait_time(const Lane *lane)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = TimestampTzPlusMilliseconds(now, guc_poll_interval);

	if (lane->job_retry_at > now)
		next = Min(next, lane->job_retry_at);
	if (lane->lost_retry_at > now)
		next = Min(next, lane->lost_retry_at);
	if (lane->retry_at > now)
		next = Min(next, lane->retry_at);
	else if (lane->phase == LANE_IDLE && lane->claim_at > now)
		next = Min(next, lane->claim_at);
	return TimestampDifferenceMilliseconds(now, next) + 1;
}
