/*-------------------------------------------------------------------------
 *
 * kafka.c
 *	  Backend "kafka": events go to a topic of Apache Kafka, by librdkafka.
 *
 * This file holds the options and the callbacks.  send.c tells what an
 * outcome rests on, transaction.c what transactions add, client.c how a
 * library with threads lives in a process of the server's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

PG_MODULE_MAGIC;

const TlCore *tlkf_core;

static const TlOption options[] = {
	{
		"transactional", TL_BOOL_OPT, 0, "off",
		.description = "a transaction for each batch: consumers that read committed messages see each event once"
	},
#include "tlkf_options.h"
	{.name = NULL}
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
	.resolve = tlkf_resolve,
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
