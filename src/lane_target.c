/*-------------------------------------------------------------------------
 *
 * lane_target.c
 *	  A lane opens its target, looks at the store, and makes its table.
 *
 * The store is looked at before the first part is sent and again after
 * TL_CAUSE_SCHEMA: which version its table has decides which columns are
 * sent, and what it guarantees decides when it must be asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "lane.h"

static bool open_session(Lane *lane);
static bool inspect_store(Lane *lane);
static bool look_at_store(Lane *lane, TlRemote *remote);
static bool make_table(Lane *lane);
static bool accept_remote(Lane *lane, const TlRemote *remote);
static void take_other_columns(Lane *lane);
static int32 newest_version(const TlBackend *backend);
static void choose_columns(Lane *lane, int32 remote_version);
static TimestampTz from_unix(int64 microseconds);

/* false: not now; the failure has been reported and is tried again. */
bool
lane_target_ready(Lane *lane)
{
	if (lane->session == NULL && !open_session(lane))
		return false;
	if (!lane->inspected && !inspect_store(lane))
		return false;
	if (lane->builder == NULL)
		choose_columns(lane, lane->version);
	return true;
}

void
lane_target_close(Lane *lane, bool retire)
{
	if (lane->session != NULL)
		session_close(lane->session, retire);
	lane->session = NULL;
	lane->inspected = false;
}

/* The ledger or the store has got other columns. */
void
lane_drop_builder(Lane *lane)
{
	queue_forget_columns(&lane->queue);
	if (lane->builder != NULL)
		MemoryContextDelete(lane->builder_mcxt);
	lane->builder = NULL;
}

static bool
open_session(Lane *lane)
{
	TlVerdict	verdict;
	MemoryContext old = MemoryContextSwitchTo(lane->mcxt);

	lane->session = session_open(lane->target, TL_LANE, &lane->queue,
								 &verdict);
	MemoryContextSwitchTo(old);
	if (lane->session == NULL)
		lane_failed(lane, &verdict);
	return lane->session != NULL;
}

static bool
inspect_store(Lane *lane)
{
	TlRemote	remote;

	if (lane->target->backend->inspect == NULL)
	{
		queue_report_remote(&lane->queue, 0, guarantee_name(lane->session),
							NULL, DT_NOBEGIN);
		lane->inspected = true;
		lane->guarantee = lane->session->pub.guarantee;
		lane->version = lane->queue.ledger_version;
		return true;
	}
	if (!look_at_store(lane, &remote))
		return false;
	if (!remote.exists &&
		(!make_table(lane) || !look_at_store(lane, &remote)))
		return false;
	if (!remote.exists)
	{
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store does not show the table that was made");
		return false;
	}
	return accept_remote(lane, &remote);
}

static bool
look_at_store(Lane *lane, TlRemote *remote)
{
	TlVerdict	verdict;
	TlOutcome	outcome;
	bool		dropped;

	outcome = session_inspect(lane->session, remote, &verdict, &dropped);
	if (dropped)
		lane->session = NULL;
	if (outcome != TL_OK)
		lane_failed(lane, &verdict);
	return outcome == TL_OK;
}

/* Every step from nothing to the newest version. */
static bool
make_table(Lane *lane)
{
	const TlMigration *step = lane->target->backend->migrations;
	TlVerdict	verdict;
	bool		dropped;

	if (!lane->target->auto_migrate || step == NULL)
	{
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store has no table for the events;"
						   " token_ledger.create_schema('%s') makes it, or"
						   " auto_migrate=on in the target's URL",
						   lane->target->name);
		return false;
	}
	if (queue_has_forwarded(&lane->queue))
	{
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store has lost acknowledged events: its table"
						   " is gone; bring it back, or make an empty one with"
						   " token_ledger.create_schema('%s')",
						   lane->target->name);
		return false;
	}
	for (; step->version != 0; step++)
	{
		if (session_migrate(lane->session, step, true, &verdict,
							&dropped) == TL_OK)
			continue;
		if (dropped)
			lane->session = NULL;
		lane_failed(lane, &verdict);
		return false;
	}
	return true;
}

static bool
accept_remote(Lane *lane, const TlRemote *remote)
{
	Queue	   *queue = &lane->queue;
	int32		newest = newest_version(lane->target->backend);

	queue_report_remote(queue, remote->version, guarantee_name(lane->session),
						remote->differences.len > 0 ?
						remote->differences.data : NULL,
						remote->keeps_from == PG_INT64_MIN ? DT_NOBEGIN :
						from_unix(remote->keeps_from));
	if (newest > 0 && remote->version > newest)
	{
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store's table is at version %d.%d, newer than"
						   " this tokenledger knows; update the extension",
						   remote->version / 100, remote->version % 100);
		return false;
	}
	if (remote->has_ledger_id && !lane->target->shared &&
		memcmp(&remote->ledger_id, &queue->ledger_id, UUID_LEN) != 0)
	{
		lane_failed_config(lane, TL_CAUSE_CONFIG,
						   "another ledger fills the store's table; give this"
						   " one a table of its own, or set shared=on in both"
						   " targets' URLs");
		return false;
	}
	if (lane->version != remote->version)
		take_other_columns(lane);
	lane->version = remote->version;
	lane->guarantee = lane->session->pub.guarantee;
	lane->inspected = true;
	if (lane->phase == LANE_IDLE)	/* else the part has yet to succeed */
		lane_succeeded(lane);
	return true;
}

/* NB: the part that is built has its values in the builder's memory. */
static void
take_other_columns(Lane *lane)
{
	if (lane->part != NULL)
		lane_restart_range(lane);
	lane_drop_builder(lane);
}

static int32
newest_version(const TlBackend *backend)
{
	int32		newest = 0;

	for (const TlMigration *m = backend->migrations; m && m->version; m++)
		newest = m->version;
	return newest;
}

/* Those that the ledger and the store's table both have. */
static void
choose_columns(Lane *lane, int32 remote_version)
{
	int32		version = lane->queue.ledger_version;

	if (remote_version > 0)
		version = Min(version, remote_version);
	if (lane->columns == NULL)
		lane->columns = MemoryContextAlloc(lane->mcxt, LEDGER_NCOLUMNS *
										   sizeof(LedgerColumn *));
	lane->ncolumns = 0;
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		if (ledger_columns[i].since <= version)
			lane->columns[lane->ncolumns++] = &ledger_columns[i];
	}
	lane->builder_mcxt = AllocSetContextCreate(lane->mcxt,
											   "tokenledger batch builder",
											   ALLOCSET_DEFAULT_SIZES);
	lane->builder = batch_builder_create(lane->builder_mcxt, lane->columns,
										 lane->ncolumns, true);
}

static TimestampTz
from_unix(int64 microseconds)
{
	return microseconds -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}
