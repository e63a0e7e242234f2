/*-------------------------------------------------------------------------
 *
 * tokenledger.c
 *	  The ledger of LLM calls, forwarded to where it is read.
 *
 * The way of an event: sql/tokenledger--1.0.sql (the table), wakeup.c (its
 * commit wakes a lane), lane.c and lane_cycle.c (claim, send, settle,
 * resolve), queue.c (the transactions of that), batch.c (rows to columns),
 * and a backend below backends/.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "hooks.h"
#include "launcher.h"
#include "registry.h"
#include "shmem.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/* NB: pg_upgrade fails if a worker connects to a database. */
void
_PG_init(void)
{
	guc_init();
	registry_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	shmem_init();
	hooks_init();
	if (!IsBinaryUpgrade)
		launcher_register();
}
