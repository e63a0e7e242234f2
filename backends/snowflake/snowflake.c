/*-------------------------------------------------------------------------
 *
 * snowflake.c
 *	  Backend "snowflake": events go to a table of Snowflake, by its SQL API
 *	  or by Snowpipe Streaming.
 *
 * This file holds the options, the table's versions and the callbacks.
 * send.c tells what an outcome rests on, resolve.c what is known after an
 * unknown one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

PG_MODULE_MAGIC;

const TlCore *tlsf_core;

static const char *const modes[] = {"sql", "streaming", NULL};
static const char *const identifiers[] = {"upper", "exact", NULL};

static const TlOption options[] = {
	{
		"mode", TL_ENUM_OPT, 0, "sql", 0, 0, modes,
		.description = "how events are written: by a MERGE for each batch, or to a channel of Snowpipe Streaming for each lane"
	},
	{
		"user", TL_STRING_OPT, 0,
		.description = "whose key it is; needed with private_key_file"
	},
	{
		"private_key", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "the user's RSA key, PEM (PKCS#8)"
	},
	{
		"private_key_passphrase", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "of an encrypted private key"
	},
	{
		"oauth_token", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "an access token of OAuth; whoever renews it replaces the file"
	},
	{
		"pat", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "a programmatic access token"
	},
	{
		"password", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "refused: the SQL API does not take passwords"
	},
	{
		"warehouse", TL_STRING_OPT, 0,
		.description = "that runs the statements; default: the user's"
	},
	{
		"role", TL_STRING_OPT, 0,
		.description = "that runs the statements; default: the user's"
	},
	{
		"identifiers", TL_ENUM_OPT, TL_OPT_DESTINATION, "upper", 0, 0,
		identifiers,
		.description = "names of the URL are those of SQL without quotes (upper case), or exactly as they are written"
	},
	{
		"time_margin", TL_MS_OPT, 0, "0", 0, INT64CONST(31536000000),
		.description = "how far beyond the batch's own time range events of the same id are looked for"
	},
	{
		"statement_timeout", TL_MS_OPT, 0, "60s", 1000, 3600000,
		.description = "after which Snowflake gives a statement up, and what may still be running is not waited for any longer"
	},
	{
		"endpoint", TL_STRING_OPT, TL_OPT_DESTINATION,
		.description = "address of the account, http[s]://host[:port]; default: https://<account>.snowflakecomputing.com"
	},
	{
		"ca_file", TL_STRING_OPT, 0,
		.description = "file of trusted certificates; default: the system's"
	},
	{
		"connect_timeout", TL_MS_OPT, 0, "10s", 100, 600000,
		.description = "time limit of a connection attempt"
	},
	{.name = NULL}
};

static const char create_table[] =
	"CREATE TABLE IF NOT EXISTS {table} ({event_id} VARCHAR(36) NOT NULL,"
	" {trace_id} VARCHAR(36), {span_id} VARCHAR(36),"
	" {parent_span_id} VARCHAR(36), {timestamp} TIMESTAMP_NTZ(6) NOT NULL,"
	" {duration_ms} FLOAT, {provider} VARCHAR NOT NULL,"
	" {model} VARCHAR NOT NULL, {input_tokens} NUMBER(19,0) NOT NULL,"
	" {output_tokens} NUMBER(19,0) NOT NULL,"
	" {total_tokens} NUMBER(19,0) NOT NULL, {cost_usd} NUMBER(18,8),"
	" {endpoint} VARCHAR, {request_type} VARCHAR, {user_id} VARCHAR,"
	" {session_id} VARCHAR, {organization_id} VARCHAR, {app_name} VARCHAR,"
	" {environment} VARCHAR, {status} VARCHAR, {error_type} VARCHAR,"
	" {error_message} VARCHAR, {metadata} VARIANT,"
	" {request_preview} VARCHAR, {response_preview} VARCHAR)"
	" CLUSTER BY (CAST({timestamp} AS DATE), {provider}, {model})"
	" CHANGE_TRACKING = TRUE;"
	"CREATE STREAM IF NOT EXISTS {table_stream} ON TABLE {table}"
	" APPEND_ONLY = TRUE";

static const char add_attribution[] =
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {feature} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {page} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {component} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {team} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {project} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {cost_center} VARCHAR;"
	"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {metadata_extra} VARIANT";

static const char drop_attribution[] =
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {feature};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {page};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {component};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {team};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {project};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {cost_center};"
	"ALTER TABLE {table} DROP COLUMN IF EXISTS {metadata_extra}";

/* Statements separated by semicolons; names.c says what braces stand for. */
const TlMigration tlsf_migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "events table",
		.changes = "creates the table with the 25 columns of 1.0, clustered by day, provider and model, and its append-only stream",
		.up = create_table
	},
	{
		.version = 101,
		.oldest_compatible = 100,
		.description = "cached tokens",
		.changes = "adds the column cached_tokens",
		.up = "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {cached_tokens} NUMBER(19,0)",
		.down = "ALTER TABLE {table} DROP COLUMN IF EXISTS {cached_tokens}"
	},
	{
		.version = 102,
		.oldest_compatible = 100,
		.description = "index for dashboards",
		.changes = "changes nothing: the table is clustered already",
		.up = "",
		.down = ""
	},
	{
		.version = 103,
		.oldest_compatible = 100,
		.description = "attribution",
		.changes = "adds the columns feature, page, component, team, project, cost_center and metadata_extra",
		.up = add_attribution,
		.down = drop_attribution
	},
	{.version = 0}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "snowflake",
	.display_name = "Snowflake",
	.features = "jsonb upsert window_functions cte streaming compression",
	.max_rows = 16384,
	.good_rows = 1500,			/* of common size they stay below 1 MB; what
								 * does not is split */
	.max_bytes = 8 * 1024 * 1024,
	.options = options,
	.migrations = tlsf_migrations,
	.open = tlsf_open,
	.send = tlsf_send,
	.close = tlsf_close,
	.resolve = tlsf_resolve,
	.audit = tlsf_audit,
	.inspect = tlsf_inspect,
	.migrate = tlsf_migrate,
	.check_health = tlsf_check_health,
	.describe = tlsf_describe,
	.encode = tlsf_encode,
	.watermark = tlsf_watermark
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlsf_core = core;
	return &backend;
}
