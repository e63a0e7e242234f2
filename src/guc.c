/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Defines the settings tokenledger.*.
 *
 * tokenledger.targets and tokenledger.databases have no check hook: every
 * text is accepted, and what is wrong with an entry is shown in
 * token_ledger.status.  A hook that refused would keep the old list on a
 * reload and start with an empty one after a restart, so that one target's
 * mistake would stop all of them, and only later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/guc.h"

char	   *guc_targets = NULL;
char	   *guc_databases = NULL;
int			guc_lanes = 1;
int			guc_batch_rows = GUC_BATCH_ROWS_DEFAULT;
int			guc_batch_kb = 8192;
int			guc_max_event_kb = 4096;
int			guc_claim_rows = 10000;
int			guc_flush_interval = 200;
int			guc_timeout = 30000;
int			guc_retry_min = 100;
int			guc_retry_max = 300000;
int			guc_auto_migrate = AUTO_MIGRATE_CREATE;
int			guc_poll_interval = 1000;
int			guc_max_lanes = 32;
bool		guc_allow_ledger_edits = false;
int			guc_retention = 0;
char	   *guc_cluster_id = NULL;
int			guc_after_promotion = AFTER_PROMOTION_CONTINUE;

/* In the order of AutoMigrate: those that are shown come first. */
static const struct config_enum_entry auto_migrate_options[] = {
	{"off", AUTO_MIGRATE_OFF, false},
	{"create", AUTO_MIGRATE_CREATE, false},
	{"on", AUTO_MIGRATE_ON, false},
	{"false", AUTO_MIGRATE_OFF, true},
	{"no", AUTO_MIGRATE_OFF, true},
	{"true", AUTO_MIGRATE_ON, true},
	{"yes", AUTO_MIGRATE_ON, true},
	{NULL, 0, false}
};

static const struct config_enum_entry after_promotion_options[] = {
	{"continue", AFTER_PROMOTION_CONTINUE, false},
	{"suspend", AFTER_PROMOTION_SUSPEND, false},
	{NULL, 0, false}
};

static void define_targets(void);
static void define_copies(void);
static void define_lanes(void);
static void define_batches(void);
static void define_times(void);
static void define_retries(void);
static void define_retention(void);
static void define_switches(void);
static void define_int(const char *name, const char *description,
					   int *variable, int min, int max, int unit);

void
guc_init(void)
{
	define_targets();
	define_copies();
	define_lanes();
	define_batches();
	define_times();
	define_retries();
	define_retention();
	define_switches();
	MarkGUCPrefixReserved(GUC_PREFIX);
}

static void
define_targets(void)
{
	DefineCustomStringVariable("tokenledger.targets",
							   "Stores that events are forwarded to.",
							   "A list, separated by spaces, of name=URL or database/name=URL.",
							   &guc_targets, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("tokenledger.databases",
							   "Databases whose events are forwarded.",
							   "A list, separated by commas; empty means none.",
							   &guc_databases, "", PGC_SIGHUP,
							   GUC_LIST_INPUT, NULL, NULL, NULL);
}

static void
define_copies(void)
{
	DefineCustomStringVariable("tokenledger.cluster_id",
							   "Name of this server, kept outside its data directory.",
							   "Under another one, targets are suspended: the directory is a copy.",
							   &guc_cluster_id, "", PGC_SIGHUP,
							   0, NULL, NULL, NULL);
	DefineCustomEnumVariable("tokenledger.after_promotion",
							 "Whether a server that has been promoted goes on forwarding.",
							 "continue: it has taken the primary's place; suspend: it is a clone.",
							 &guc_after_promotion, AFTER_PROMOTION_CONTINUE,
							 after_promotion_options, PGC_SIGHUP,
							 0, NULL, NULL, NULL);
}

static void
define_lanes(void)
{
	define_int("tokenledger.lanes",
			   "Number of lanes (worker processes) of a target in a database.",
			   &guc_lanes, 1, LANES_MAX, 0);

	/*
	 * It sizes shared memory, so it is fixed at server start.  In a session
	 * that loads the library into a server that did not, it has no effect,
	 * and PostgreSQL refuses to define a setting of PGC_POSTMASTER.
	 */
	DefineCustomIntVariable("tokenledger.max_lanes",
							"Most lanes that the server can run.",
							"Each lane also needs one of max_worker_processes.",
							&guc_max_lanes, 32, 1, 1024,
							process_shared_preload_libraries_in_progress ?
							PGC_POSTMASTER : PGC_SIGHUP,
							0, NULL, NULL, NULL);
}

static void
define_batches(void)
{
	define_int("tokenledger.batch_rows",
			   "Most events sent at once.",
			   &guc_batch_rows, 1, BATCH_ROWS_MAX, 0);
	define_int("tokenledger.batch_bytes",
			   "Most bytes of column data sent at once.",
			   &guc_batch_kb, BATCH_KB_MIN, BATCH_KB_MAX, GUC_UNIT_KB);
	define_int("tokenledger.max_event_bytes",
			   "Size beyond which an event is set aside as a dead letter.",
			   &guc_max_event_kb, EVENT_KB_MIN, EVENT_KB_MAX, GUC_UNIT_KB);
	define_int("tokenledger.claim_rows",
			   "Most events that a lane claims at once.",
			   &guc_claim_rows, 1, CLAIM_ROWS_MAX, 0);
}

static void
define_times(void)
{
	define_int("tokenledger.flush_interval",
			   "Longest time that events wait for a batch to fill.",
			   &guc_flush_interval, 0, FLUSH_INTERVAL_MAX, GUC_UNIT_MS);
	define_int("tokenledger.timeout",
			   "Longest time to wait for a store's answer.",
			   &guc_timeout, TIMEOUT_MIN, TIMEOUT_MAX, GUC_UNIT_MS);
	define_int("tokenledger.poll_interval",
			   "Time after which an idle lane looks for events unasked.",
			   &guc_poll_interval, 10, 60 * 60 * 1000, GUC_UNIT_MS);
}

static void
define_retries(void)
{
	define_int("tokenledger.retry_min",
			   "Time to wait after the first failed attempt.",
			   &guc_retry_min, 1, RETRY_MAX, GUC_UNIT_MS);
	define_int("tokenledger.retry_max",
			   "Longest time to wait between attempts.",
			   &guc_retry_max, 1, RETRY_MAX, GUC_UNIT_MS);
}

static void
define_retention(void)
{
	define_int("tokenledger.retention",
			   "Days after which events that every target has got are deleted from the ledger.",
			   &guc_retention, 0, RETENTION_MAX, 0);
}

static void
define_switches(void)
{
	DefineCustomEnumVariable("tokenledger.auto_migrate",
							 "What lanes may do to the table in a store by themselves.",
							 "off: nothing; create: make it if it is missing; on: also bring an existing one up to date.",
							 &guc_auto_migrate, AUTO_MIGRATE_CREATE,
							 auto_migrate_options, PGC_SIGHUP,
							 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("tokenledger.allow_ledger_edits",
							 "Allow UPDATE, DELETE and TRUNCATE of the ledger.",
							 NULL,
							 &guc_allow_ledger_edits, false, PGC_SUSET,
							 0, NULL, NULL, NULL);
}

/* An integer that a reload changes; its default is its initial value. */
static void
define_int(const char *name, const char *description, int *variable, int min,
		   int max, int unit)
{
	DefineCustomIntVariable(name, description, NULL, variable, *variable,
							min, max, PGC_SIGHUP, unit, NULL, NULL, NULL);
}
