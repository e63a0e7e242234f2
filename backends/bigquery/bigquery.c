/*-------------------------------------------------------------------------
 *
 * bigquery.c
 *	  Backend "bigquery": events go to a table of BigQuery, by the Storage
 *	  Write API or by insertAll.
 *
 * This file holds the options, the table's versions and the callbacks.
 * send.c tells what an outcome rests on, resolve.c what is known after an
 * unknown one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

PG_MODULE_MAGIC;

const TlCore *tlbq_core;

static const char *const modes[] = {
	"committed", "pending", "default", "insertall", NULL
};
static const char *const auths[] = {
	"auto", "self_signed", "metadata", "none", NULL
};

static const TlOption options[] = {
	{
		"mode", TL_ENUM_OPT, 0, "committed", 0, 0, modes,
		.description = "how events are written: a stream of each lane's own, a stream for each batch, the table's default stream, or insertAll"
	},
	{
		"auth", TL_ENUM_OPT, 0, "auto", 0, 0, auths,
		.description = "who the server is: the key file or else application default credentials, a JWT signed with the key file, the metadata server, or (for an emulator) nobody"
	},
	{
		"credentials", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "key file of a service account, or of a user (authorized_user)"
	},
	{
		"location", TL_STRING_OPT, 0,
		.description = "of the dataset, for queries; default: as BigQuery finds it"
	},
	{
		"endpoint", TL_STRING_OPT, TL_OPT_DESTINATION,
		.description = "address of the REST interface, http[s]://host[:port]; default: Google's"
	},
	{
		"grpc_endpoint", TL_STRING_OPT, TL_OPT_DESTINATION,
		.description = "address of the Storage Write API, http[s]://host[:port]; default: Google's"
	},
	{
		"ca_file", TL_STRING_OPT, 0,
		.description = "file of trusted certificates; default: the system's"
	},
	{
		"connect_timeout", TL_MS_OPT, 0, "10s", 100, 600000,
		.description = "time limit of a connection attempt"
	},
	{
		"expiration", TL_INT_OPT, 0, "90", 0, 36500,
		.description = "of a table that is made: days after which a day's events go; 0: never"
	},
	{
		"resolve", TL_BOOL_OPT, 0, "on",
		.description = "of mode=default and mode=insertall: ask the table, by query, which events arrived; off: they are sent again and may be there twice"
	},
	{.name = NULL}
};

const TlMigration tlbq_migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "events table",
		.changes = "creates the table with the 25 columns of 1.0, a partition for each day and clustering by provider, model and user_id",
		.up = "tables.insert"
	},
	{
		.version = 101,
		.oldest_compatible = 100,
		.description = "cached tokens",
		.changes = "adds the column cached_tokens",
		.up = "tables.patch"
	},
	{
		.version = 102,
		.oldest_compatible = 100,
		.description = "index for dashboards",
		.changes = "changes nothing: the table is clustered already",
		.up = "tables.patch",
		.down = "tables.patch"
	},
	{
		.version = 103,
		.oldest_compatible = 100,
		.description = "attribution",
		.changes = "adds the columns feature, page, component, team, project, cost_center and metadata_extra",
		.up = "tables.patch"
	},
	{.version = 0}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "bigquery",
	.display_name = "BigQuery",
	.features = "jsonb window_functions cte streaming",
	.max_rows = 50000,
	.good_rows = 10000,
	.max_bytes = 7 * 1000 * 1000,	/* encoded they stay below a request */
	.options = options,
	.migrations = tlbq_migrations,
	.open = tlbq_open,
	.send = tlbq_send,
	.close = tlbq_close,
	.resolve = tlbq_resolve,
	.audit = tlbq_audit,
	.inspect = tlbq_inspect,
	.migrate = tlbq_migrate,
	.watermark = tlbq_watermark,
	.check_health = tlbq_check_health,
	.describe = tlbq_describe,
	.encode = tlbq_encode
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlbq_core = core;
	return &backend;
}
