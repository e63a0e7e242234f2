/*-------------------------------------------------------------------------
 *
 * clickhouse.c
 *	  Backend "clickhouse": events go to a table of ClickHouse, over HTTP.
 *
 * This file holds the options, the table's scripts and the callbacks.
 * send.c tells what an outcome rests on, resolve.c how the table is asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

PG_MODULE_MAGIC;

const TlCore *tlch_core;

static const char *const compressions[] = {"zstd", "lz4", "none", NULL};
static const char *const engines[] = {
	"MergeTree", "ReplicatedMergeTree", NULL
};
static const char *const json_types[] = {"String", "JSON", NULL};

static const TlOption options[] = {
	{
		"tls", TL_BOOL_OPT, 0,
		.description = "TLS with the server's certificate verified; default: on, but off for loopback addresses"
	},
	{
		"ca_file", TL_STRING_OPT, 0,
		.description = "file of trusted certificates; default: the system's"
	},
	{
		"cert_file", TL_STRING_OPT, 0,
		.description = "file of the client's certificate; without a password it says who the user is"
	},
	{
		"key_file", TL_STRING_OPT, 0,
		.description = "file of the client's key"
	},
	{
		"password", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "password of the user"
	},
	{
		"token", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "bearer token, instead of user and password"
	},
	{
		"compression", TL_ENUM_OPT, 0, "zstd", 0, 0, compressions,
		.description = "of what is sent"
	},
	{
		"compression_level", TL_INT_OPT, 0, "1", 1, 19,
		.description = "of zstd"
	},
	{
		"async_insert", TL_BOOL_OPT, 0, "off",
		.description = "let the server gather the inserts of many clients; it is waited for all the same"
	},
	{
		"connect_timeout", TL_MS_OPT, 0, "10s", 100, 600000,
		.description = "time limit of a connection attempt"
	},
	{
		"ttl", TL_INT_OPT, 0, "90", 0, 3650,
		.description = "of a table that is made: days after which its rows go; 0: never"
	},
	{
		"engine", TL_ENUM_OPT, 0, "MergeTree", 0, 0, engines,
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

static const char create_table[] =
	"CREATE TABLE IF NOT EXISTS {table}{cluster} ("
	"`event_id` UUID, "
	"`trace_id` Nullable(UUID), "
	"`span_id` Nullable(UUID), "
	"`parent_span_id` Nullable(UUID), "
	"`timestamp` DateTime64(6, 'UTC'), "
	"`duration_ms` Nullable(Float64), "
	"`provider` LowCardinality(String), "
	"`model` LowCardinality(String), "
	"`input_tokens` Int64, "
	"`output_tokens` Int64, "
	"`total_tokens` Int64, "
	"`cost_usd` Nullable(Decimal(18, 8)), "
	"`endpoint` Nullable(String), "
	"`request_type` LowCardinality(Nullable(String)), "
	"`user_id` Nullable(String), "
	"`session_id` Nullable(String), "
	"`organization_id` Nullable(String), "
	"`app_name` LowCardinality(Nullable(String)), "
	"`environment` LowCardinality(Nullable(String)), "
	"`status` LowCardinality(Nullable(String)), "
	"`error_type` LowCardinality(Nullable(String)), "
	"`error_message` Nullable(String), "
	"`metadata` {json}, "
	"`request_preview` Nullable(String), "
	"`response_preview` Nullable(String)"
	") ENGINE = {engine}"
	" PARTITION BY toYYYYMM(`timestamp`)"
	" ORDER BY (`timestamp`, `provider`, `model`){ttl}"
	" SETTINGS non_replicated_deduplication_window = " TLCH_TOKEN_WINDOW;

const TlMigration tlch_migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "events table",
		.changes = "creates the table with the 25 columns of 1.0",
		.up = create_table
	},
	{
		.version = 101,
		.oldest_compatible = 100,
		.description = "cached tokens",
		.changes = "adds the column cached_tokens",
		.up = "ALTER TABLE {table}{cluster} ADD COLUMN IF NOT EXISTS"
		" `cached_tokens` Nullable(Int64)",
		.down = "ALTER TABLE {table}{cluster} DROP COLUMN IF EXISTS `cached_tokens`"
	},
	{
		.version = 102,
		.oldest_compatible = 100,
		.description = "index for dashboards",
		.changes = "adds a bloom filter on user_id, for the parts written from then on",
		.up = "ALTER TABLE {table}{cluster} ADD INDEX IF NOT EXISTS"
		" `idx_token_ledger_dashboard` `user_id` TYPE bloom_filter",
		.down = "ALTER TABLE {table}{cluster} DROP INDEX IF EXISTS"
		" `idx_token_ledger_dashboard`"
	},
	{
		.version = 103,
		.oldest_compatible = 100,
		.description = "attribution",
		.changes = "adds the columns feature, page, component, team, project, cost_center and metadata_extra",
		.up = "ALTER TABLE {table}{cluster}"
		" ADD COLUMN IF NOT EXISTS `feature` LowCardinality(Nullable(String)),"
		" ADD COLUMN IF NOT EXISTS `page` Nullable(String),"
		" ADD COLUMN IF NOT EXISTS `component` LowCardinality(Nullable(String)),"
		" ADD COLUMN IF NOT EXISTS `team` LowCardinality(Nullable(String)),"
		" ADD COLUMN IF NOT EXISTS `project` LowCardinality(Nullable(String)),"
		" ADD COLUMN IF NOT EXISTS `cost_center` LowCardinality(Nullable(String)),"
		" ADD COLUMN IF NOT EXISTS `metadata_extra` {json}",
		.down = "ALTER TABLE {table}{cluster}"
		" DROP COLUMN IF EXISTS `feature`,"
		" DROP COLUMN IF EXISTS `page`,"
		" DROP COLUMN IF EXISTS `component`,"
		" DROP COLUMN IF EXISTS `team`,"
		" DROP COLUMN IF EXISTS `project`,"
		" DROP COLUMN IF EXISTS `cost_center`,"
		" DROP COLUMN IF EXISTS `metadata_extra`"
	},
	{.version = 0}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "clickhouse",
	.display_name = "ClickHouse",
	.features = "jsonb window_functions cte streaming compression",
	.max_rows = 1000000,		/* a server cuts larger blocks */
	.good_rows = 100000,
	.options = options,
	.migrations = tlch_migrations,
	.open = tlch_open,
	.send = tlch_send,
	.close = tlch_close,
	.resolve = tlch_resolve,
	.audit = tlch_audit,
	.inspect = tlch_inspect,
	.migrate = tlch_migrate,
	.check_health = tlch_check_health,
	.describe = tlch_describe,
	.encode = tlch_encode,
	.watermark = tlch_watermark
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlch_core = core;
	return &backend;
}
