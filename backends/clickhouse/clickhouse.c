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

#include "tlch_migrations.h"
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
	TLCH_COLUMNS
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
	TLCH_MIGRATIONS,
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
