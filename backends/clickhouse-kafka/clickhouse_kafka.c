/*-------------------------------------------------------------------------
 *
 * clickhouse_kafka.c
 *	  Backend "clickhouse-kafka": events go to a topic of Kafka, and from
 *	  there, by ClickHouse's own reader, into a table of ClickHouse.
 *
 * The code of the backend "kafka" sends.  That of "clickhouse" makes, looks
 * at and sums up the table, through a session of its own (inner.c).  What
 * lies between is road.c's.
 *
 * The topic may hold an event twice, and the reader moves a message at least
 * once.  So the table is a ReplacingMergeTree whose sorting key ends with
 * event_id: copies of an event become one row, at the latest when the table
 * is read with FINAL.  An event's other columns never change, and copies are
 * alike in all that the key may have.
 *
 * ClickHouse is asked when a target begins and when somebody asks for its
 * table, not while events are sent: it may be away as long as the topic keeps
 * them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch_migrations.h"
#include "tlck.h"

PG_MODULE_MAGIC;

const TlCore *tlkf_core;

static const char *const engines[] = {
	"ReplacingMergeTree", "ReplicatedReplacingMergeTree", NULL
};
static const char *const json_types[] = {"String", "JSON", NULL};

static const TlOption options[] = {
#include "tlkf_options.h"
	{
		"clickhouse", TL_STRING_OPT, TL_OPT_REQUIRED | TL_OPT_DESTINATION,
		.description = "HTTP interface of ClickHouse and its database: https://host:8443/database"
	},
	{
		"clickhouse_user", TL_STRING_OPT, 0, "default",
		.description = "user of ClickHouse"
	},
	{
		"clickhouse_password", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "that user's password"
	},
	{
		"clickhouse_token", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "bearer token, instead of user and password"
	},
	{
		"clickhouse_ca_file", TL_STRING_OPT, 0,
		.description = "file of trusted certificates for ClickHouse; default: the system's"
	},
	{
		"clickhouse_cert_file", TL_STRING_OPT, 0,
		.description = "file of the client's certificate for ClickHouse"
	},
	{
		"clickhouse_key_file", TL_STRING_OPT, 0,
		.description = "file of the client's key for ClickHouse"
	},
	{
		"clickhouse_brokers", TL_STRING_OPT, 0,
		.description = "the brokers as ClickHouse reaches them; default: the URL's hosts"
	},
	{
		"clickhouse_collection", TL_STRING_OPT, 0,
		.description = "named collection of ClickHouse's with brokers and credentials of its reader"
	},
	{
		"clickhouse_group", TL_STRING_OPT, 0,
		.description = "consumer group of ClickHouse's reader; default: clickhouse-<database>.<table>"
	},
	{
		"clickhouse_flush_interval", TL_MS_OPT, 0, "7500ms", 1, 3600000,
		.description = "time after which ClickHouse's reader hands on what it has"
	},
	{
		"ttl", TL_INT_OPT, 0, "90", 0, 3650,
		.description = "of a table that is made: days after which its rows go; 0: never"
	},
	{
		"engine", TL_ENUM_OPT, 0, "ReplacingMergeTree", 0, 0, engines,
		.description = "of a table that is made"
	},
	{
		"cluster", TL_STRING_OPT, 0,
		.description = "of a table that is made: ON CLUSTER"
	},
	{
		"json", TL_ENUM_OPT, 0, "String", 0, 0, json_types,
		.description = "of a table that is made: type of metadata and metadata_extra"
	},
	{.name = NULL}
};

static const char create_tables[] =
	"CREATE TABLE IF NOT EXISTS {table}{cluster} ("
	TLCH_COLUMNS
	") ENGINE = {engine}"
	" PARTITION BY toYYYYMM(`timestamp`)"
	" ORDER BY (`timestamp`, `provider`, `model`, `event_id`){ttl};"
	"CREATE TABLE IF NOT EXISTS {name:*_errors}{cluster} ("
	"`received_at` DateTime64(6, 'UTC'), "
	"`topic` LowCardinality(String), "
	"`partition` UInt64, "
	"`offset` UInt64, "
	"`key` String, "
	"`message` String, "
	"`error` String"
	") ENGINE = {engine} ORDER BY (`topic`, `partition`, `offset`)"
	" TTL toDateTime(`received_at`) + toIntervalDay(90)";

const TlMigration tlch_migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "topic, events table and error table",
		.changes = "creates the topic, the table with the 25 columns of 1.0, one for messages that cannot be read, the queue and its views",
		.up = create_tables
	},
	TLCH_MIGRATIONS,
	{.version = 0}
};

static TlOutcome tlck_open(TlSession *session, TlVerdict *verdict);
static TlOutcome tlck_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
static bool road_is_there(TlckState *state, TlVerdict *verdict);
static TlOutcome tlck_audit(TlSession *session, int64 from, int64 to,
							bool by_event, TlSumCB emit, void *arg,
							TlVerdict *verdict);
static TlOutcome tlck_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
static TlOutcome judge_road(TlckState *state, TlRemote *remote,
							TlVerdict *verdict);
static bool deduplicates(const TlchTable *table);
static TlOutcome tlck_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);
static TlOutcome tlck_check_health(TlSession *session, TlVerdict *verdict);
static void tlck_describe(TlSession *session, TlPairCB emit, void *arg);

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "clickhouse-kafka",
	.display_name = "ClickHouse by way of Apache Kafka",
	.features = "jsonb window_functions cte streaming compression",
	.max_rows = 1000000,
	.good_rows = 10000,
	.options = options,
	.migrations = tlch_migrations,
	.open = tlck_open,
	.send = tlck_send,
	.close = tlkf_close,
	.audit = tlck_audit,
	.inspect = tlck_inspect,
	.migrate = tlck_migrate,
	.check_health = tlck_check_health,
	.describe = tlck_describe,
	.encode = tlkf_encode
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlkf_core = core;
	tlck_inner_core(core);
	return &backend;
}

/* TlBackend.open: reads the options, connects to nothing. */
static TlOutcome
tlck_open(TlSession *session, TlVerdict *verdict)
{
	TlckState  *state = MemoryContextAllocZero(session->mcxt,
											   sizeof(TlckState));
	TlOutcome	outcome;
	const char *error;

	state->kafka.has_table = true;
	outcome = tlkf_open_state(session, &state->kafka, verdict);
	if (outcome == TL_OK)
		outcome = tlck_inner_open(state, verdict);
	if (outcome != TL_OK)
		return outcome;
	tlck_clickhouse(state)->final = true;
	error = tlck_check_road(state);
	if (error == NULL)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/*
 * TlBackend.send: what the table cannot hold does not go to the topic, nor
 * anything that nobody would read there.
 */
static TlOutcome
tlck_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	static const TlchTable unseen = {0};
	TlckState  *state = session->private_state;
	const char **reasons = palloc0(sizeof(char *) * (batch->nrows + 1));
	const TlchTable *table;
	TlOutcome	outcome;

	if (!road_is_there(state, verdict))
		return batch->history == TL_FRESH ? TL_RETRY : TL_UNKNOWN;
	table = tlck_clickhouse(state)->remote;
	if (tlch_screen(batch, table ? table : &unseen, reasons) > 0)
		state->kafka.reasons = reasons;
	outcome = tlkf_send(session, batch, verdict);
	state->kafka.reasons = NULL;
	return outcome;
}

/* Makes it, if the table's last step has left that to us. */
static bool
road_is_there(TlckState *state, TlVerdict *verdict)
{
	if (!state->road_missing)
		return true;
	tlch_begin(&state->inner.pub);
	if (!tlck_road_make(state, verdict))
		return false;
	state->road_missing = false;
	return true;
}

/* TlBackend.audit: what has arrived in the table. */
static TlOutcome
tlck_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlckState  *state = session->private_state;

	return tlch_audit(&state->inner.pub, from, to, by_event, emit, arg,
					  verdict);
}

/* TlBackend.inspect: the topic, the table, and what lies between. */
static TlOutcome
tlck_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlckState  *state = session->private_state;
	TlRemote	topic = {.struct_size = sizeof(TlRemote)};
	TlOutcome	outcome;

	initStringInfo(&topic.differences);
	outcome = tlkf_inspect(session, &topic, verdict);
	if (outcome == TL_OK)
		outcome = tlch_inspect(&state->inner.pub, remote, verdict);
	if (outcome == TL_RETRY)
		return outcome;
	if (remote->exists && deduplicates(tlck_clickhouse(state)->remote))
		session->guarantee = TL_PER_EVENT;
	else
		session->guarantee = TL_PER_ATTEMPT;
	if (topic.differences.len > 0)
		appendStringInfo(&remote->differences, "%s%s",
						 remote->differences.len > 0 ? "; " : "",
						 topic.differences.data);
	if (!topic.exists)
		remote->exists = false;
	return outcome == TL_OK && remote->exists ?
		judge_road(state, remote, verdict) : outcome;
}

/* Do copies of an event become one row? */
static bool
deduplicates(const TlchTable *table)
{
	const char *id = strstr(table->sorting_key, "event_id");

	return id != NULL && strcmp(id, "event_id") == 0 &&
		strstr(table->engine, "ReplacingMergeTree") != NULL;
}

/*
 * Where events do not get through they would pile up in the topic, so nothing
 * is sent.  The newest step then counts as not done, since whoever asks for
 * it, or for the schema, gets a new road.  NB: before the newest step there
 * need not be one yet (tlck_migrate).  If the steps end there, as the user
 * asked for an older version or one of them failed, it is the first to send
 * who makes it (tlck_send).
 */
static TlOutcome
judge_road(TlckState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData why;
	int32		before = remote->version;
	const TlMigration *m = tlch_migrations;
	TlckRoad	road;

	initStringInfo(&why);
	state->road_missing = false;
	if (!tlck_road_look(state, &road, &why, verdict))
		return TL_RETRY;
	if (why.len > 0)
		appendStringInfo(&remote->differences, "%s%s",
						 remote->differences.len > 0 ? "; " : "", why.data);
	if (road == TLCK_ROAD_OPEN)
		return TL_OK;
	for (; m->version != 0 && m->version < remote->version; m++)
		before = m->version;
	if (road == TLCK_ROAD_MISSING && remote->version > 0 &&
		m->version != 0 && m[1].version != 0)
	{
		state->road_missing = true;
		return TL_OK;
	}
	remote->version = before;
	tl_fail(verdict, TL_CAUSE_SCHEMA, NULL,
			"%s; token_ledger.create_schema() makes it anew", why.data);
	return TL_REFUSED;
}

/*
 * TlBackend.migrate.  The view fills all columns of the table: it goes before
 * one of them does, and comes anew afterwards.
 *
 * NB: on the way up the road is made once, by the newest step, or by an
 * earlier one if there was a road already.  A reader that is dropped while
 * its group is still finding together keeps its partitions for the session's
 * timeout, and so long its successor waits.
 */
static TlOutcome
tlck_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlckState  *state = session->private_state;
	TlOutcome	outcome = TL_OK;
	TlckRoad	road = TLCK_ROAD_OPEN;
	StringInfoData differences;

	tlch_begin(&state->inner.pub);
	if (up)
		outcome = tlkf_migrate(session, step, up, verdict);
	else if (step->down != NULL &&
			 strstr(step->down, "DROP COLUMN") != NULL &&
			 !tlck_road_close(state, verdict))
		outcome = TL_RETRY;
	if (outcome == TL_OK)
		outcome = tlch_migrate(&state->inner.pub, step, up, verdict);
	if (outcome != TL_OK)
		return outcome;
	initStringInfo(&differences);
	if (!tlch_load_table(tlck_clickhouse(state), verdict) ||
		(up && step[1].version != 0 &&
		 !tlck_road_look(state, &road, &differences, verdict)))
		return TL_RETRY;
	return road == TLCK_ROAD_MISSING || tlck_road_make(state, verdict) ?
		TL_OK : TL_RETRY;
}

/* TlBackend.check_health */
static TlOutcome
tlck_check_health(TlSession *session, TlVerdict *verdict)
{
	TlckState  *state = session->private_state;
	TlOutcome	outcome = tlkf_check_health(session, verdict);

	return outcome == TL_OK ?
		tlch_check_health(&state->inner.pub, verdict) : outcome;
}

/* TlBackend.describe */
static void
tlck_describe(TlSession *session, TlPairCB emit, void *arg)
{
	const TlckState *state = session->private_state;
	const TlchState *clickhouse = tlck_clickhouse(state);

	tlkf_describe(session, emit, arg);
	emit(arg, "clickhouse", clickhouse->url);
	emit(arg, "table", clickhouse->table.quoted);
	if (clickhouse->version[0] != '\0')
		emit(arg, "clickhouse_version", clickhouse->version);
	if (clickhouse->remote != NULL && clickhouse->remote->exists)
		emit(arg, "engine", clickhouse->remote->engine);
}
