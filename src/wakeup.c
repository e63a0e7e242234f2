/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  A transaction that has inserted events wakes the lanes at its commit.
 *
 * The trigger only sets a flag; the callback is registered once a process and
 * runs after the commit, where it may neither allocate nor throw.  A wake-up
 * that is lost (no shared memory, a subscriber's apply worker) costs latency
 * only: lanes also poll.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "compat.h"
#include "shmem.h"
#include "wakeup.h"

TL_FUNCTION_INFO(tl_events_inserted);
TL_FUNCTION_INFO(tl_wake);

static bool wake_at_commit = false;
static bool wake_all = false;
static bool registered = false;

static void mark_transaction(bool all);
static void at_end_of_transaction(XactEvent event, void *arg);

/* events_inserted(): AFTER INSERT FOR EACH STATEMENT on the ledger */
Datum
tl_events_inserted(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by a trigger",
						"token_ledger.events_inserted")));
	mark_transaction(false);
	return PointerGetDatum(NULL);
}

/* wake(): a request was written, all lanes of the database look at it */
Datum
tl_wake(PG_FUNCTION_ARGS)
{
	mark_transaction(true);
	PG_RETURN_VOID();
}

void
wake_at_end_of_transaction(void)
{
	mark_transaction(true);
}

static void
mark_transaction(bool all)
{
	if (tl_shared == NULL)
		return;
	if (!registered)
		RegisterXactCallback(at_end_of_transaction, NULL);
	registered = true;
	wake_at_commit = true;
	wake_all |= all;
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_at_commit)
				wake_lanes(MyDatabaseId, wake_all);
			if (wake_all)
				wake_launcher();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	wake_at_commit = wake_all = false;
}
