/*-------------------------------------------------------------------------
 *
 * lane_transaction.c
 *	  The short transactions of a lane, and the settings they run under.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "lane_transaction.h"

typedef struct LaneSetting
{
	const char *name;
	const char *value;
} LaneSetting;

static const LaneSetting settings[] = {
	/* claims need a snapshot for each statement, and must write */
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	/* nobody but the launcher ends a lane */
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	/* names mean what they say, and no policy hides a row */
	{"search_path", "pg_catalog, pg_temp"},
	{"row_security", "off"},
	{"session_replication_role", "origin"},
	/* every statement is one look-up or one walk along an index */
	{"enable_indexscan", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_tidscan", "on"},
	{"enable_bitmapscan", "off"},
	{"enable_seqscan", "off"},
	{"enable_sort", "off"},
	{"enable_incremental_sort", "off"},
	{"max_parallel_workers_per_gather", "0"},
	{"jit", "off"},
	/* texts that go into a batch have one form */
	{"datestyle", "ISO"},
	{"intervalstyle", "postgres"},
	{"timezone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"}
};

static MemoryContext outer_context;

static void set(const char *name, const char *value);
static void set_synchronous_commit(void);
static void begin(bool read_only);

void
lane_settings_apply(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		set(settings[i].name, settings[i].value);
#if TL_HAVE_TRANSACTION_TIMEOUT
	set("transaction_timeout", "0");
#endif
	set_synchronous_commit();
}

void
lane_begin(void)
{
	begin(false);
}

void
lane_begin_reading(void)
{
	begin(true);
}

/* Until its end: a range of time has no index but BRIN. */
void
lane_allow_every_plan(void)
{
	static const char *const names[] = {"enable_bitmapscan", "enable_seqscan"};

	for (int i = 0; i < lengthof(names); i++)
		(void) set_config_option(names[i], "on", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

void
lane_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	MemoryContextSwitchTo(outer_context);
}

void
lane_abort(void)
{
	SPI_finish();
	AbortCurrentTransaction();
	MemoryContextSwitchTo(outer_context);
}

bytea *
lane_bytea(const void *data, Size len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return value;
}

/* Version 4 of RFC 9562. */
void
lane_random_uuid(pg_uuid_t *uuid)
{
	if (!pg_strong_random(uuid, sizeof(*uuid)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random token")));
	uuid->data[6] = (uuid->data[6] & 0x0f) | 0x40;
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}

static void
begin(bool read_only)
{
	outer_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = read_only;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
set(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What a claim or a settlement says must survive what can happen to the
 * server: at least its own crash, and a fail-over where there is a
 * synchronous standby.
 */
static void
set_synchronous_commit(void)
{
	if (SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0')
	{
		if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
			set("synchronous_commit", "on");
	}
	else if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		set("synchronous_commit", "local");
}
