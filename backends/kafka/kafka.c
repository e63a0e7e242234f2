/*-------------------------------------------------------------------------
 *
 * kafka.c
 *	  Backend "kafka": events go to a topic of Apache Kafka, by librdkafka.
 *
 * This file holds the options and the callbacks.  send.c tells what an
 * outcome rests on, client.c how a library with threads lives in a process of
 * the server's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

PG_MODULE_MAGIC;

const TlCore *tlkf_core;

static const char *const compressions[] = {
	"zstd", "lz4", "snappy", "gzip", "none", NULL
};
static const char *const mechanisms[] = {
	"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", NULL
};

static const TlOption options[] = {
	{
		"partition_by", TL_STRING_OPT, 0,
		.description = "column whose value chooses the partition; default: the key, which is event_id"
	},
	{
		"compression", TL_ENUM_OPT, 0, "zstd", 0, 0, compressions,
		.description = "of what is sent"
	},
	{
		"tls", TL_BOOL_OPT, 0,
		.description = "TLS with the brokers' certificates verified; default: on, but off if all hosts are loopback addresses"
	},
	{
		"ca_file", TL_STRING_OPT, 0,
		.description = "file of trusted certificates; default: the system's"
	},
	{
		"cert_file", TL_STRING_OPT, 0,
		.description = "file of the client's certificate"
	},
	{
		"key_file", TL_STRING_OPT, 0,
		.description = "file of the client's key"
	},
	{
		"key_password", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "password of the client's key"
	},
	{
		"sasl", TL_ENUM_OPT, 0, NULL, 0, 0, mechanisms,
		.description = "how the user proves who it is; default: SCRAM-SHA-512 if there is a password, OAUTHBEARER if there is a token"
	},
	{
		"password", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "password of the user"
	},
	{
		"token", TL_STRING_OPT, TL_OPT_SECRET,
		.description = "token for OAUTHBEARER, read anew before it expires"
	},
	{
		"connect_timeout", TL_MS_OPT, 0, "10s", 1000, 600000,
		.description = "time limit of a connection attempt"
	},
	{
		"partitions", TL_INT_OPT, 0, NULL, 1, 100000,
		.description = "of a topic that is made; default: the broker's"
	},
	{
		"replication_factor", TL_INT_OPT, 0, NULL, 1, 1000,
		.description = "of a topic that is made; default: the broker's"
	},
	{
		"rdkafka.", TL_STRING_OPT, TL_OPT_PREFIX,
		.description = "any property of librdkafka that does not change what is promised"
	},
	{.name = NULL}
};

/*
 * A topic is there or not, and then takes every version: each message says
 * which one it is of, and the schema only ever gets more fields.
 */
const TlMigration tlkf_migrations[] = {
	{
		.version = 100,
		.oldest_compatible = 100,
		.description = "topic",
		.changes = "creates the topic"
	},
	{
		.version = 101,
		.oldest_compatible = 100,
		.description = "cached tokens",
		.changes = "messages have the field cached_tokens"
	},
	{
		.version = 102,
		.oldest_compatible = 100,
		.description = "index for dashboards",
		.changes = "nothing"
	},
	{
		.version = 103,
		.oldest_compatible = 100,
		.description = "attribution",
		.changes = "messages have the fields feature, page, component, team, project, cost_center and metadata_extra"
	},
	{.version = 0}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "kafka",
	.display_name = "Apache Kafka",
	.features = "streaming compression",
	.max_rows = 1000000,
	.good_rows = 10000,
	.options = options,
	.migrations = tlkf_migrations,
	.open = tlkf_open,
	.send = tlkf_send,
	.close = tlkf_close,
	.inspect = tlkf_inspect,
	.migrate = tlkf_migrate,
	.check_health = tlkf_check_health,
	.describe = tlkf_describe,
	.encode = tlkf_encode
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	tlkf_core = core;
	return &backend;
}
