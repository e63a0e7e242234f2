/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  Deletes events that are old and that every target has got.
 *
 * A worker of each database, not a lane: a lane may wait for its store for
 * hours, and a database may have no target at all.  It walks the ledger in
 * queue order, a page to a transaction, deletes what
 * token_ledger.delete_expired() lets it, and ends; the launcher starts the
 * next pass.  Events come in the order of their time, more or less, so a pass
 * ends after some pages from which nothing went; once a day a pass goes on
 * to the end, for the sake of those which came late.
 *
 * Between the pages it waits as long as the last one took: half of the
 * machine's time is left to others, and WAL does not come in one burst.  It
 * needs no state that outlives it, and writes nothing unless it deletes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "guc.h"
#include "lane.h"
#include "lane_transaction.h"
#include "queue_sql.h"

#define PAGE_ROWS		10000
#define IDLE_PAGES		10		/* from which nothing went: enough */
#define THOROUGH_MS		(24 * 60 * 60 * 1000)

typedef struct LedgerPage
{
	QueuePosition at;			/* its end */
	int64		seen;
	int64		deleted;
} LedgerPage;

static void begin(LaneSlot *slot);
static void end(LaneSlot *slot, LaneExit reason);
static int64 pass(LaneSlot *slot, int days);
static void delete_page(LedgerPage *page, int days);
static void pause_for(TimestampTz since);

void
tl_retention_main(Datum main_arg)
{
	LaneSlot   *slot = &tl_shared->lanes[DatumGetInt32(main_arg)];
	int			days = guc_retention;
	int64		deleted;

	lane_connect(slot);
	begin(slot);
	deleted = pass(slot, days);
	if (deleted > 0)
		ereport(LOG,
				(errmsg("tokenledger has deleted " INT64_FORMAT
						" events older than %d days", deleted, days)));
	end(slot, LANE_EXIT_PASSED);
}

static void
begin(LaneSlot *slot)
{
	bool		there;

	pgstat_report_appname("tokenledger retention");
	lane_settings_apply();
	SetConfigOption("tokenledger.allow_ledger_edits", "on", PGC_SUSET,
					PGC_S_OVERRIDE);
	lane_begin();
	there = become_extension_owner();
	lane_commit();
	if (!there)
		end(slot, LANE_EXIT_NO_EXTENSION);
}

static void
end(LaneSlot *slot, LaneExit reason)
{
	slot->exit_reason = reason;
	proc_exit(0);
}

/*
 * Returns how many went.  NB: once the setting is another one, even off, this
 * pass has no say any more.
 */
static int64
pass(LaneSlot *slot, int days)
{
	bool		thorough = slot->thorough_at <= GetCurrentTimestamp();
	LedgerPage		page = {.at = {0, -1}, .seen = PAGE_ROWS};
	int			idle = 0;
	int64		deleted = 0;

	while (page.seen == PAGE_ROWS && (thorough || idle < IDLE_PAGES))
	{
		TimestampTz since = GetCurrentTimestamp();

		if (days == 0 || days != guc_retention)
			return deleted;
		delete_page(&page, days);
		deleted += page.deleted;
		idle = page.deleted > 0 ? 0 : idle + 1;
		pause_for(since);
	}
	if (thorough)
		slot->thorough_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														THOROUGH_MS);
	return deleted;
}

static void
delete_page(LedgerPage *page, int days)
{
	QueueArgs	args = {0};

	lane_begin();
	arg_add(&args, Int32GetDatum(days));
	arg_add(&args, Int32GetDatum(PAGE_ROWS));
	arg_add(&args, UInt64GetDatum(page->at.xid));
	arg_add(&args, Int64GetDatum(page->at.seq));
	queue_run(Q_DELETE_EXPIRED, &args);
	page->at.xid = (uint64) queue_int64(1, 0);
	page->at.seq = queue_int64(2, -1);
	page->seen = queue_int64(3, 0);
	page->deleted = queue_int64(4, 0);
	lane_commit();
}

/* As long as the page took; a change of the settings ends the pass. */
static void
pause_for(TimestampTz since)
{
	static uint32 event = 0;
	long		ms = TimestampDifferenceMilliseconds(since,
													 GetCurrentTimestamp());

	if (event == 0)
		event = tl_wait_event("TokenledgerRetention");
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}
