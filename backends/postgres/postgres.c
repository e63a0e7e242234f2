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

PG_MODULE_MAGIC;

const TlCore *tlpg_core;

static const char *const tlpg_session_attrs[] = {
	"any", "read-write", "primary", NULL
};

static const char *const tlpg_ssl_modes[] = {
	"disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL
};

static const char *const tlpg_gss_modes[] = {
	"disable", "prefer", "require", NULL
};

static const TlOption options[] = {
#include "tlpg_options.h"
	{.name = NULL}
};

static const char create_table[] =
	"CREATE TABLE IF NOT EXISTS {table} ("
	" event_id uuid PRIMARY KEY,"
	" trace_id uuid,"
	" span_id uuid,"
	" parent_span_id uuid,"
	" \"timestamp\" timestamptz NOT NULL DEFAULT pg_catalog.now(),"
	" duration_ms double precision,"
	" provider text NOT NULL,"
	" model text NOT NULL,"
	" input_tokens bigint NOT NULL DEFAULT 0,"
	" output_tokens bigint NOT NULL DEFAULT 0,"
	" total_tokens bigint NOT NULL DEFAULT 0,"
	" cost_usd numeric(18, 8),"
	" endpoint text,"
	" request_type text DEFAULT 'chat',"
	" user_id text,"
	" session_id text,"
	" organization_id text,"
	" app_name text,"
	" environment text,"
	" status text DEFAULT 'success',"
	" error_type text,"
	" error_message text,"
	" metadata jsonb,"
	" request_preview text,"
	" response_preview text);"
	"CREATE INDEX IF NOT EXISTS {name:idx_*_time} ON {table}"
	" USING brin (\"timestamp\")";

static const TlMigration migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "events table",
		.changes = "creates the table with the 25 columns of 1.0, its primary key and a BRIN index on timestamp",
		.up = create_table
	},
	{
		.version = 101,
		.oldest_compatible = 100,
		.description = "cached tokens",
		.changes = "adds the column cached_tokens",
		.up = "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS cached_tokens bigint DEFAULT 0",
		.down = "ALTER TABLE {table} DROP COLUMN IF EXISTS cached_tokens"
	},
	{
		.version = 102,
		.oldest_compatible = 100,
		.description = "index for dashboards",
		.changes = "adds an index on timestamp, model and user_id that includes cost_usd and total_tokens",

		/* Of texts their beginnings: a longer one would be refused. */
		.up = "CREATE INDEX IF NOT EXISTS {name:idx_*_dashboard} ON {table}"
		" (\"timestamp\" DESC, \"left\"(model, 256), \"left\"(user_id, 256))"
		" INCLUDE (cost_usd, total_tokens)",
		.down = "DROP INDEX IF EXISTS {schema}.{name:idx_*_dashboard}"
	},
	{
		.version = 103,
		.oldest_compatible = 100,
		.description = "attribution",
		.changes = "adds the columns feature, page, component, team, project, cost_center and metadata_extra",
		.up = "ALTER TABLE {table}"
		" ADD COLUMN IF NOT EXISTS feature text,"
		" ADD COLUMN IF NOT EXISTS page text,"
		" ADD COLUMN IF NOT EXISTS component text,"
		" ADD COLUMN IF NOT EXISTS team text,"
		" ADD COLUMN IF NOT EXISTS project text,"
		" ADD COLUMN IF NOT EXISTS cost_center text,"
		" ADD COLUMN IF NOT EXISTS metadata_extra jsonb",
		.down = "ALTER TABLE {table}"
		" DROP COLUMN IF EXISTS feature,"
		" DROP COLUMN IF EXISTS page,"
		" DROP COLUMN IF EXISTS component,"
		" DROP COLUMN IF EXISTS team,"
		" DROP COLUMN IF EXISTS project,"
		" DROP COLUMN IF EXISTS cost_center,"
		" DROP COLUMN IF EXISTS metadata_extra"
	},
	{.version = 0}
};

static const char *const key[] = {"event_id", NULL};

const TlpgDialect tlpg_dialect = {
	.default_table = "public.token_ledger_events",
	.key = key,
	.conflict_target = "event_id",
	.migrations = migrations
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
	.encode = tlpg_encode
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlpg_core = core;
	return &backend;
}
