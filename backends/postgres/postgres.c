/*-------------------------------------------------------------------------
 *
 * postgres.c
 *	  Backend "postgres": events go to a table of another PostgreSQL.
 *
 * This file holds what differs from other libpq backends: the key of the
 * table, its scripts and the table of callbacks.  send.c tells why every
 * event lands exactly once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"
#include "tlpg_migrations.h"

PG_MODULE_MAGIC;

const TlCore *tlpg_core;

static const TlOption options[] = {
#include "tlpg_options.h"
	{.name = NULL}
};

static const TlMigration migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "events table",
		.changes = "creates the table with the 25 columns of 1.0, its primary key and a BRIN index on timestamp",
		.up = "CREATE TABLE IF NOT EXISTS {table} ("
		" event_id uuid PRIMARY KEY," TLPG_COLUMNS ");"
		"CREATE INDEX IF NOT EXISTS {name:idx_*_time} ON {table}"
		" USING brin (\"timestamp\")"
	},
	TLPG_MIGRATIONS,
	{.version = 0}
};

static const char *const key[] = {"event_id", NULL};

const TlpgDialect tlpg_dialect = {
	.default_table = "public.token_ledger_events",
	.key = key,
	.conflict_target = "event_id"
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "postgres",
	.display_name = "PostgreSQL",
	.features = "jsonb upsert returning window_functions cte streaming",
	.good_rows = 10000,
	.options = options,
	.migrations = migrations,
	.open = tlpg_open,
	.send = tlpg_send,
	.close = tlpg_close,
	.resolve = tlpg_resolve,
	.audit = tlpg_audit,
	.inspect = tlpg_inspect,
	.migrate = tlpg_migrate,
	.check_health = tlpg_check_health,
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
