/*-------------------------------------------------------------------------
 *
 * timescale.c
 *	  Backend "timescale": events go to a hypertable of a TimescaleDB.
 *
 * A hypertable is a table of PostgreSQL's, and everything that carries events
 * is the code of the backend "postgres", in ../postgres.  Here is what
 * differs.
 *
 * A unique key of a hypertable must contain the column by which it is
 * partitioned, so the key is (event_id, timestamp): an event is recognized by
 * both.  That is the same as by event_id alone as long as an event keeps its
 * timestamp, which the ledger sees to (its rows cannot be updated unless
 * somebody turns the guard off).  Look-ups of events are bounded by the times
 * of the batch, so that they read few chunks.
 *
 * Old chunks are compressed, and events that are late or sent again meet
 * them.  TimescaleDB looks for conflicts there too, by decompressing what
 * might hold one; its limit on that is lifted for our transactions, or a
 * batch beyond it could never be sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg_migrations.h"
#include "tlts.h"

#define DECOMPRESSION_LIMIT	"timescaledb.max_tuples_decompressed_per_dml_transaction"

/* Of a fresh batch; 1.5 seconds and 1,500 locks if all are new. */
#define MAX_CHUNKS			100

/* Ten years in milliseconds. */
#define LONG_TIME			(INT64CONST(3650) * 86400000)

PG_MODULE_MAGIC;

const TlCore *tlpg_core;

/* Names are TimescaleDB's where it has such a parameter. */
static const TlOption options[] = {
#include "tlpg_options.h"
	{
		"chunk_interval", TL_MS_OPT, 0, "1d", 60000, LONG_TIME,
		.description = "time that a chunk of the hypertable covers, when it is made"
	},
	{
		"compress_after", TL_MS_OPT, 0, "7d", 0, LONG_TIME,
		.description = "age at which chunks are compressed; 0: never"
	},
	{
		"drop_after", TL_MS_OPT, 0, "0", 0, LONG_TIME,
		.description = "age at which the store drops events; 0: never"
	},
	{
		"cagg", TL_BOOL_OPT, 0, "on",
		.description = "whether to make the continuous aggregate of daily costs"
	},
	{
		"cagg_start_offset", TL_MS_OPT, 0, "7d", 60000, LONG_TIME,
		.description = "age of the oldest events that a refresh of the aggregate covers"
	},
	{
		"cagg_end_offset", TL_MS_OPT, 0, "1h", 0, LONG_TIME,
		.description = "age of the youngest events that a refresh of the aggregate covers"
	},
	{
		"cagg_schedule_interval", TL_MS_OPT, 0, "1h", 60000, LONG_TIME,
		.description = "time between two refreshes of the aggregate"
	},
	{.name = NULL}
};

static const TlMigration migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "hypertable for events",
		.changes = "creates the hypertable with the 25 columns of 1.0, its unique key and a BRIN index on timestamp; compression, policies and the continuous aggregate as the URL says",
		.up = "CREATE TABLE IF NOT EXISTS {table} ("
		" event_id uuid NOT NULL," TLPG_COLUMNS ","
		" UNIQUE (event_id, \"timestamp\"));"
		"CREATE INDEX IF NOT EXISTS {name:idx_*_time} ON {table}"
		" USING brin (\"timestamp\")"
	},
	TLPG_MIGRATIONS,
	{.version = 0}
};

static const char *const key[] = {"event_id", "timestamp", NULL};

static TlOutcome tlts_open(TlSession *session, TlVerdict *verdict);
static TlOutcome tlts_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
static TlOutcome split(TlSession *session, TlBatch *batch,
					   TlVerdict *verdict);
static TlOutcome tlts_check_health(TlSession *session, TlVerdict *verdict);
static void append_step(TlpgState *state, const TlMigration *step,
						StringInfo sql);
static int64 read_time(TlSession *session, const char *name);

const TlpgDialect tlpg_dialect = {
	.default_table = "public.token_ledger_events",
	.key = key,
	.conflict_target = "event_id, \"timestamp\"",
	.own_triggers = "ts\\_insert\\_blocker",
	.prune_by_time = true,
	.settings = "CASE WHEN pg_catalog.current_setting('"
	DECOMPRESSION_LIMIT "', true) IS NOT NULL THEN pg_catalog.set_config('"
	DECOMPRESSION_LIMIT "', '0', true) END",
	.check_server = tlts_check_server,
	.append_step = append_step,
	.inspect = tlts_inspect
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "timescale",
	.display_name = "TimescaleDB",
	.features = "jsonb upsert returning window_functions cte streaming compression",
	.good_rows = 10000,
	.options = options,
	.migrations = migrations,
	.open = tlts_open,
	.send = tlts_send,
	.close = tlpg_close,
	.resolve = tlpg_resolve,
	.audit = tlpg_audit,
	.inspect = tlpg_inspect,
	.migrate = tlpg_migrate,
	.check_health = tlts_check_health,
	.describe = tlpg_describe,
	.encode = tlpg_encode,
	.watermark = tlpg_watermark
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlpg_core = core;
	return &backend;
}

/* TlBackend.open */
static TlOutcome
tlts_open(TlSession *session, TlVerdict *verdict)
{
	TlOutcome	outcome = tlpg_open(session, verdict);
	TlpgState  *state = session->private_state;
	TltsOptions given;
	const char *error;

	if (outcome != TL_OK)
		return outcome;
	tlts_read_options(session, &given);
	error = tlts_check_options(&given, &state->table);
	if (error == NULL)
		return TL_OK;
	tlpg_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/*
 * TlBackend.send.  A batch that meets too many chunks is split before it is
 * sent.  Whether the chunks are there already is not asked: only a backfill
 * has such batches, and most often it has to make them.
 */
static TlOutcome
tlts_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	TltsOptions given;
	int32		chunks;
	TlOutcome	outcome;

	tlts_read_options(session, &given);
	chunks = tlts_count_chunks(batch, given.chunk_interval * 1000);
	if (batch->history != TL_SAME_AGAIN && chunks > MAX_CHUNKS)
	{
		tlpg_fail(verdict, TL_CAUSE_NONE, NULL,
				  "the events of a batch lie in more than %d chunks",
				  MAX_CHUNKS);
		return TL_SPLIT;
	}
	outcome = tlpg_send(session, batch, verdict);

	/* Out of shared memory, rolled back: fewer chunks take fewer locks. */
	if (outcome != TL_OK && chunks > 1 &&
		strcmp(verdict->code, "53200") == 0)
		return split(session, batch, verdict);
	return outcome;
}

/*
 * What an earlier attempt with this batch stored is found first: the parts
 * are sent as if nothing of them had been sent.  That is not so if the events
 * may be there by other batches; then they may be by these, too.
 */
static TlOutcome
split(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	if (batch->history == TL_SAME_AGAIN &&
		tlpg_resolve(session, batch, true, verdict) != TL_OK)
		return TL_UNKNOWN;
	return TL_SPLIT;
}

/* TlBackend.check_health: the server, and its extension, which it names. */
static TlOutcome
tlts_check_health(TlSession *session, TlVerdict *verdict)
{
	TlOutcome	outcome = tlpg_check_health(session, verdict);
	TlpgState  *state = session->private_state;
	const TltsServer *server;

	if (outcome != TL_OK)
		return outcome;
	if (!tlts_check_server(state, verdict))
		return TL_RETRY;
	server = state->server;
	tlpg_fail(verdict, TL_CAUSE_NONE, NULL,
			  "TimescaleDB %s under the licence \"%s\"", server->version,
			  server->license);
	return TL_OK;
}

/*
 * TlpgDialect.append_step: the first step makes the hypertable and what goes
 * with it.  What the edition lacks is said, to whoever migrates.
 */
static void
append_step(TlpgState *state, const TlMigration *step, StringInfo sql)
{
	const TltsServer *server = state->server;
	TltsOptions given;
	StringInfoData lacking;

	if (step->version != migrations[0].version)
		return;
	tlts_read_options(state->session, &given);
	tlts_append_script(sql, server, &given, &state->table);
	if (server->full)
		return;
	initStringInfo(&lacking);
	tlts_list_unavailable(&given, &lacking);
	if (lacking.len > 0)
		tlpg_core->log(state->session,
					   state->session->role == TL_ADMIN ? NOTICE : LOG,
					   "table %s is made without what TimescaleDB %s does not offer under the licence \"%s\": %s",
					   state->table.quoted, server->version, server->license,
					   lacking.data);
}

void
tlts_read_options(TlSession *session, TltsOptions *given)
{
	const char *cagg = tlpg_core->option(session, "cagg");

	given->chunk_interval = read_time(session, "chunk_interval");
	given->compress_after = read_time(session, "compress_after");
	given->drop_after = read_time(session, "drop_after");
	given->cagg = cagg == NULL || strcmp(cagg, "on") == 0;
	given->cagg_start_offset = read_time(session, "cagg_start_offset");
	given->cagg_end_offset = read_time(session, "cagg_end_offset");
	given->cagg_schedule_interval = read_time(session,
											  "cagg_schedule_interval");
}

/* Each of these options has a default, so that there is a value. */
static int64
read_time(TlSession *session, const char *name)
{
	const char *value = tlpg_core->option(session, name);

	return value != NULL ? strtoll(value, NULL, 10) : 0;
}
