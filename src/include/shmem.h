/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  What the launcher, the lanes and the sessions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SHMEM_H
#define TL_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define TL_TARGET_NAMELEN	64

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_STARTING,				/* registered with the postmaster */
	SLOT_RUNNING,				/* the lane has published its pid */
	SLOT_EXITED					/* the launcher decides what comes next */
} SlotState;

/* Why a lane ended: tells the launcher when to start another. */
typedef enum LaneExit
{
	LANE_EXIT_STOPPED,			/* asked to */
	LANE_EXIT_FAILED,			/* crashed, or an error it could not handle */
	LANE_EXIT_NO_EXTENSION,		/* the database lacks the extension */
	LANE_EXIT_INVALID,			/* the entry cannot run until it, or a file it
								 * names, is changed */
	LANE_EXIT_RETIRED,			/* more lanes ran than the URL now asks for */
	LANE_EXIT_PASSED			/* the retention worker's pass is over */
} LaneExit;

typedef enum LanePhase
{
	LANE_STARTING,
	LANE_IDLE,					/* no range claimed */
	LANE_CLAIMED,				/* a range; its next part is to be sent */
	LANE_RETRY,					/* certainly not stored: waits, then sends the
								 * same part again */
	LANE_RESOLVE				/* unknown: asks the store first */
} LanePhase;

/*
 * A database's retention worker has a slot of its own: a target without a
 * name.
 */
#define TL_RETENTION_TARGET	""

typedef struct LaneSlot
{
	/* Under the lock. */
	SlotState	state;
	LaneExit	exit_reason;
	Oid			database;
	char		target[TL_TARGET_NAMELEN];
	int32		lane;
	uint64		fingerprint;	/* of the entry the lane was started for */
	pid_t		pid;			/* 0: none */
	Latch	   *latch;
	TimestampTz started_at;		/* of SLOT_STARTING */
	TimestampTz restart_at;		/* of SLOT_EXITED; 0: not yet decided */
	bool		invalid_told;	/* the log has it */
	int32		failures;		/* LANE_EXIT_FAILED in a row, with nothing
								 * settled in between */
	TimestampTz thorough_at;	/* of a retention worker: when it next looks
								 * at the whole ledger */

	/* The lane's own; read by others without the lock. */
	pg_atomic_uint32 phase;		/* LanePhase */
	pg_atomic_uint64 phase_since;	/* TimestampTz */
	pg_atomic_uint64 retry_at;	/* TimestampTz; 0: not waiting to retry */
	pg_atomic_uint32 attempts;	/* of the current part, failed in a row */
	pg_atomic_uint32 sleeping;	/* wants a wake-up at commit */
	pg_atomic_uint32 flush;		/* do not wait for more events */
	pg_atomic_uint32 look;		/* somebody may have requested a job */
} LaneSlot;

/* What the lanes of one target share. */
typedef struct TargetSlot
{
	Oid			database;		/* InvalidOid: free; under the lock */
	char		name[TL_TARGET_NAMELEN];
	pg_atomic_uint32 ready;		/* lane 0 has prepared the target's row */
	pg_atomic_uint32 lanes_needed;	/* lanes beyond the setting that still
									 * hold a range: highest number + 1 */
	pg_atomic_uint64 failing;	/* bit n: lane n is failing */
	pg_atomic_uint64 claimed_until; /* TimestampTz: what was committed before
									 * has been claimed; 0: not known */
	pg_atomic_uint32 remote_changes;	/* how often the store's table has
										 * been changed from this database */
} TargetSlot;

typedef struct TlShared
{
	LWLock	   *lock;
	pid_t		launcher_pid;
	Latch	   *launcher_latch;
	bool		out_of_workers; /* the last start failed for want of a slot */
	ConditionVariable settled;	/* broadcast when a lane has settled */
	int32		nheld;
	struct
	{
		Oid			database;
		int32		count;
		TimestampTz until;		/* held up to then even if count is 0 */
	}			held[64];		/* databases whose lanes must stay away */
	int32		max_lanes;		/* length of both arrays */
	TargetSlot *targets;
	LaneSlot   *lanes;
} TlShared;

/* NULL: the library was not preloaded. */
extern TlShared *tl_shared;

extern void shmem_init(void);

/* The target's slot, made if need be; NULL: none is free. */
extern TargetSlot *target_slot(Oid database, const char *name);

/* Sets the latches of a database's sleeping lanes; all: also of busy ones. */
extern void wake_lanes(Oid database, bool all);
extern void wake_launcher(void);

/* The store's table has been changed: the target's lanes look at it again. */
extern void tell_remote_changed(Oid database, const char *name);

/*
 * Keeps lanes out of a database until release_database(): sends them home and
 * waits until they are gone.
 */
extern void hold_database(Oid database);
extern void release_database(Oid database);

/* After the release it stays held for a while. */
extern void linger_database(Oid database, int ms);

/* When the next of those ends; DT_NOEND: none. The caller holds the lock. */
extern TimestampTz next_linger_end(void);
extern bool database_is_held(Oid database);

#endif							/* TL_SHMEM_H */
