/*-------------------------------------------------------------------------
 *
 * lane_target.c
 *	  A lane opens its target and looks at the store.
 *
 * The store is looked at before the first part is sent, again after
 * TL_CAUSE_SCHEMA, and when its table has been changed from this database:
 * which version the table has decides which columns are sent, and what it
 * guarantees decides when it must be asked.
 *
 * What is to be done to the table, making it included, is a job of lane 0, so
 * that one who dies half-way has a successor; the other lanes wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "lane.h"
#include "lane_transaction.h"
#include "registry.h"
#include "routing.h"

#define NO_TABLE_MS		1000	/* between looks for one that is being made */

/* So often a step of making it fails before a table is taken as it is. */
#define MAX_FAILED_STEPS	5

static bool open_session(Lane *lane);
static bool inspect_store(Lane *lane);
static bool look_at_store(Lane *lane, TlRemote *remote);
static void report_remote(Lane *lane, const TlRemote *remote, bool refused);
static char *version_hint(const Lane *lane, const TlRemote *remote,
						  bool refused);
static void table_missing(Lane *lane);
static bool unfinished(Lane *lane, const TlRemote *remote);
static void wait_for_table(Lane *lane);
static void request_migration(Lane *lane);
static bool accept_remote(Lane *lane, const TlRemote *remote);
static bool compatible(const Lane *lane, const TlRemote *remote,
					   TlVerdict *verdict);
static void take_other_columns(Lane *lane);
static bool choose_columns(Lane *lane, int32 remote_version);
static bool choose_routing(Lane *lane);
static bool take_hash_key(Lane *lane);
static bool take_filter(Lane *lane);
static TimestampTz from_unix(int64 microseconds);
static bool refuse(TlVerdict *verdict, TlCause cause, const char *fmt,...)
			pg_attribute_printf(3, 4);

/* false: not now; the failure has been reported and is tried again. */
bool
lane_target_ready(Lane *lane)
{
	if (lane->session == NULL && !open_session(lane))
		return false;
	if (!lane->inspected && !inspect_store(lane))
		return false;
	return lane->builder != NULL || choose_columns(lane, lane->version);
}

/* Opens it unless it is open; false: the verdict says why not. */
bool
lane_target_open(Lane *lane, TlVerdict *verdict)
{
	MemoryContext old;

	if (lane->session != NULL)
		return true;
	old = MemoryContextSwitchTo(lane->mcxt);
	lane->session = session_open(lane->target, TL_LANE, &lane->queue,
								 verdict);
	MemoryContextSwitchTo(old);
	return lane->session != NULL;
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
	if (lane->builder_mcxt != NULL)
		MemoryContextDelete(lane->builder_mcxt);
	lane->builder_mcxt = NULL;
	lane->builder = NULL;
}

/* May we touch the table at all?  false: the verdict says why not. */
bool
lane_remote_ours(const Lane *lane, const TlRemote *remote,
				 TlVerdict *verdict)
{
	int32		newest = registry_newest_version(lane->target->backend);

	if (remote->exists && newest > 0 && remote->version > newest)
		return refuse(verdict, TL_CAUSE_SCHEMA,
					  "the store's table is at version %d.%d, and this"
					  " tokenledger knows none after %d.%d; install a newer"
					  " one here",
					  remote->version / 100, remote->version % 100,
					  newest / 100, newest % 100);
	if (remote->exists && remote->has_ledger_id && !lane->target->shared &&
		memcmp(&remote->ledger_id, &lane->queue.ledger_id, UUID_LEN) != 0)
		return refuse(verdict, TL_CAUSE_CONFIG,
					  "another ledger fills the store's table; give this"
					  " one a table of its own, or set shared=on in both"
					  " targets' URLs");
	return true;
}

static bool
refuse(TlVerdict *verdict, TlCause cause, const char *fmt,...)
{
	va_list		args;

	verdict->cause = cause;
	va_start(args, fmt);
	vsnprintf(verdict->message, sizeof(verdict->message), fmt, args);
	va_end(args);
	return false;
}

static bool
open_session(Lane *lane)
{
	TlVerdict	verdict;

	if (lane_target_open(lane, &verdict))
		return true;
	lane_failed(lane, &verdict);
	return false;
}

static bool
inspect_store(Lane *lane)
{
	TlRemote	remote;

	if (lane->target->backend->inspect == NULL)
	{
		RemoteReport report = {.guarantee = guarantee_name(lane->session),
		.keeps_from = DT_NOBEGIN};

		queue_report_remote(&lane->queue, &report);
		lane->inspected = true;
		lane->guarantee = lane->session->pub.guarantee;
		lane->version = lane->queue.ledger_version;
		return true;
	}
	if (!look_at_store(lane, &remote))
		return false;
	if (remote.exists && unfinished(lane, &remote))
	{
		wait_for_table(lane);
		return false;
	}
	if (remote.exists)
		return accept_remote(lane, &remote);
	table_missing(lane);
	return false;
}

/* NB: also a table that cannot be filled is described in the target's row. */
static bool
look_at_store(Lane *lane, TlRemote *remote)
{
	TlVerdict	verdict;
	TlOutcome	outcome;
	bool		dropped;

	outcome = session_inspect(lane->session, remote, &verdict, &dropped);
	if (dropped)
		lane->session = NULL;
	if (outcome == TL_OK)
		return true;
	if (outcome == TL_REFUSED && remote->exists)
		report_remote(lane, remote, true);
	lane_failed(lane, &verdict);
	return false;
}

static void
report_remote(Lane *lane, const TlRemote *remote, bool refused)
{
	RemoteReport report = {
		.version = remote->version,
		.guarantee = guarantee_name(lane->session),
		.differences = remote->differences.len > 0 ?
			remote->differences.data : NULL,
		.hint = version_hint(lane, remote, refused),
		.keeps_from = remote->keeps_from == PG_INT64_MIN ? DT_NOBEGIN :
			from_unix(remote->keeps_from)
	};

	queue_report_remote(&lane->queue, &report);
}

/* NULL: the store has all that the ledger has. */
static char *
version_hint(const Lane *lane, const TlRemote *remote, bool refused)
{
	int32		newest = registry_newest_version(lane->target->backend);
	int32		version = remote->version;

	if (version == 0 && refused)
		return psprintf("SELECT token_ledger.migrate('%s') adds columns that"
						" are missing, if the others fit.",
						lane->target->name);
	if (version == 0 || version >= Min(newest, lane->queue.ledger_version))
		return NULL;
	return psprintf("The store's table is at version %d.%d: SELECT"
					" token_ledger.migrate('%s') adds what it lacks.",
					version / 100, version % 100, lane->target->name);
}

/*
 * Lane 0 makes it, if that is allowed; others look again when that is done.
 */
static void
table_missing(Lane *lane)
{
	const Target *target = lane->target;

	if (target->auto_migrate == AUTO_MIGRATE_OFF ||
		target->backend->migrations == NULL)
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store has no table for the events;"
						   " token_ledger.create_schema('%s') makes it, or"
						   " auto_migrate=create in the target's URL",
						   target->name);
	else if (queue_has_forwarded(&lane->queue))
		lane_failed_config(lane, TL_CAUSE_SCHEMA,
						   "the store has lost acknowledged events: its table"
						   " is gone; bring it back, or make an empty one with"
						   " token_ledger.create_schema('%s') and reconcile it",
						   target->name);
	else
	{
		wait_for_table(lane);
		if (lane->slot->lane == 0)
			request_migration(lane);
	}
}

/*
 * Between two steps of making the table it has not all the columns yet; what
 * was sent now would lack them for ever.  Once a step has failed over and
 * over, those that there are have to do.
 */
static bool
unfinished(Lane *lane, const TlRemote *remote)
{
	const Target *target = lane->target;

	return target->auto_migrate != AUTO_MIGRATE_OFF &&
		remote->version < registry_newest_version(target->backend) &&
		queue_is_migrating(&lane->queue, MAX_FAILED_STEPS);
}

/* The end of the job wakes us sooner. */
static void
wait_for_table(Lane *lane)
{
	lane->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 NO_TABLE_MS);
}

/* Of this lane, which goes about it at once. */
static void
request_migration(Lane *lane)
{
	queue_request_migration(&lane->queue);
	lane->jobs_at = 0;
	SetLatch(MyLatch);
}

static bool
accept_remote(Lane *lane, const TlRemote *remote)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};
	int32		newest = registry_newest_version(lane->target->backend);

	report_remote(lane, remote, false);
	if (!lane_remote_ours(lane, remote, &verdict) ||
		!compatible(lane, remote, &verdict))
	{
		lane_failed(lane, &verdict);
		return false;
	}
	if (lane->version != remote->version)
		take_other_columns(lane);
	lane->version = remote->version;
	lane->guarantee = lane->session->pub.guarantee;
	lane->inspected = true;
	lane->keeps_from = remote->keeps_from == PG_INT64_MIN ? DT_NOBEGIN :
		from_unix(remote->keeps_from);
	lane->kept_at = 0;
	lane->connects = lane->session->pub.connects;
	if (lane_kept_askable(lane))
		lane->kept_failed = true;	/* that has yet to be asked */
	else if (lane->phase == LANE_IDLE)	/* else the part has yet to succeed */
		lane_succeeded(lane);
	if (lane->target->auto_migrate == AUTO_MIGRATE_ON &&
		lane->slot->lane == 0 && remote->version < newest)
		request_migration(lane);
	return true;
}

/* Can a ledger of this version fill a table of that one? */
static bool
compatible(const Lane *lane, const TlRemote *remote, TlVerdict *verdict)
{
	const TlMigration *oldest = lane->target->backend->migrations;
	int32		ledger = lane->queue.ledger_version;

	if (oldest == NULL || remote->version == 0)
		return true;
	if (remote->version < oldest->version)
		return refuse(verdict, TL_CAUSE_SCHEMA,
					  "the store's table is at version %d.%d, which is too"
					  " old to be filled; token_ledger.migrate('%s') changes"
					  " it",
					  remote->version / 100, remote->version % 100,
					  lane->target->name);
	for (const TlMigration *m = oldest; m->version != 0; m++)
	{
		if (m->version <= remote->version && m->oldest_compatible > ledger)
			return refuse(verdict, TL_CAUSE_SCHEMA,
						  "the store's table is at version %d.%d, and a ledger"
						  " at %d.%d cannot fill it; update this database by"
						  " ALTER EXTENSION tokenledger UPDATE",
						  remote->version / 100, remote->version % 100,
						  ledger / 100, ledger % 100);
	}
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

/*
 * Those that the ledger and the store's table both have.  A table without a
 * version has all of them.
 */
static bool
choose_columns(Lane *lane, int32 remote_version)
{
	int32		version = lane->queue.ledger_version;
	ColumnChoice *choice = &lane->choice;

	memset(choice, 0, sizeof(*choice));
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		const LedgerColumn *column = &ledger_columns[i];

		if (column->since > version || !column_sent(lane->target, i))
			continue;
		if (remote_version == 0 || column->since <= remote_version)
			choice->columns[choice->ncolumns++] = column;
		else
			choice->left_out[choice->nleft_out++] = column;
	}
	if (lane->builder_mcxt != NULL)
		MemoryContextDelete(lane->builder_mcxt);
	lane->builder_mcxt = AllocSetContextCreate(lane->mcxt,
											   "tokenledger batch builder",
											   ALLOCSET_DEFAULT_SIZES);
	if (!choose_routing(lane))
		return false;
	lane->builder = batch_builder_create(lane->builder_mcxt, choice, true);
	return true;
}

static bool
choose_routing(Lane *lane)
{
	MemoryContext old = MemoryContextSwitchTo(lane->builder_mcxt);
	bool		ok = take_hash_key(lane) && take_filter(lane);

	MemoryContextSwitchTo(old);
	return ok;
}

static bool
take_hash_key(Lane *lane)
{
	StringInfoData key;
	char	   *error;

	lane->choice.hashed = lane->target->hashed;
	if (lane->choice.hashed == 0)
		return true;
	initStringInfo(&key);
	if (!routing_read_key(lane->target, &key, &error))
	{
		lane_failed_config(lane, TL_CAUSE_CONFIG, "%s", error);
		return false;
	}
	lane->choice.hash_key = key.data;
	lane->choice.hash_key_len = key.len;
	return true;
}

/* NB: the lane is the extension's owner, as who the filter runs. */
static bool
take_filter(Lane *lane)
{
	const char *filter = lane->target->filter;
	MemoryContext mcxt = CurrentMemoryContext;
	char	   *sql;
	char	   *error;

	if (filter == NULL)
		return true;
	lane_begin_reading();
	MemoryContextSwitchTo(mcxt);
	sql = filter_compile_guarded(filter, lane->queue.ledger, &error);
	lane_commit();
	if (sql == NULL)
		lane_failed_config(lane, TL_CAUSE_CONFIG, "option \"filter\" %s",
						   error);
	lane->choice.filter = sql;
	return sql != NULL;
}

static TimestampTz
from_unix(int64 microseconds)
{
	return microseconds -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}
