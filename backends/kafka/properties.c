/*-------------------------------------------------------------------------
 *
 * properties.c
 *	  Properties of librdkafka that a target's URL may not set.
 *
 * Any other one can be given as rdkafka.<name>=<value>: librdkafka knows
 * whether it exists and what values it takes.  These would break what is
 * promised (every delivery report, acknowledged by all replicas, in order and
 * once), run code of somebody else's choice in the server, or have an option
 * of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define PROMISE "would break what this backend promises"
#define FOREIGN "would run foreign code in the server"

typedef struct Refused
{
	const char *name;			/* ends with "." or "*": everything that
								 * begins so */
	const char *why;
} Refused;

static const Refused refused[] = {
	{"acks", PROMISE},
	{"request.required.acks", PROMISE},
	{"enable.idempotence", PROMISE},
	{"enable.gapless.guarantee", PROMISE},
	{"retries", PROMISE},
	{"message.send.max.retries", PROMISE},
	{"max.in.flight", PROMISE},
	{"max.in.flight.requests.per.connection", PROMISE},
	{"delivery.report.only.error", PROMISE},
	{"queuing.strategy", PROMISE},
	{"produce.offset.report", PROMISE},
	{"transactional.id", "is made of the ledger, the target and the lane"},
	{"transaction.timeout.ms", "follows from option \"timeout\""},
	{"group.id", "is made of the ledger, the target and the lane"},
	{"isolation.level", PROMISE},
	{"message.timeout.ms", "follows from option \"timeout\""},
	{"delivery.timeout.ms", "follows from option \"timeout\""},
	{"message.max.bytes", "is what the topic takes (its max.message.bytes)"},
	{"bootstrap.servers", "is what the URL's hosts say"},
	{"metadata.broker.list", "is what the URL's hosts say"},
	{"compression.type", "is option \"compression\""},
	{"compression.codec", "is option \"compression\""},
	{"partitioner", "is option \"partition_by\""},
	{"security.protocol", "follows from options \"tls\" and \"sasl\""},
	{"sasl.mechanism*", "is option \"sasl\""},
	{"sasl.username", "is the URL's user"},
	{"sasl.password", "is option \"password_file\""},
	{"sasl.oauthbearer.*", "is option \"token_file\""},
	{"enable.sasl.oauthbearer.unsecure.jwt", "is option \"token_file\""},
	{"enable.ssl.certificate.verification", "is option \"tls\""},
	{"ssl.ca.location", "is option \"ca_file\""},
	{"ssl.ca.pem", "is option \"ca_file\""},
	{"ssl.certificate.*", "is option \"cert_file\""},
	{"ssl.key.*", "is option \"key_file\""},
	{"ssl.keystore.*", "is option \"key_file\""},
	{"ssl.engine.*", FOREIGN},
	{"ssl.providers", FOREIGN},
	{"plugin.library.paths", FOREIGN},
	{"sasl.kerberos.kinit.cmd", FOREIGN},
	{"interceptors", FOREIGN},
	{"internal.termination.signal", "would install a signal handler"},
	{"enabled_events", PROMISE},
	{"log.queue", PROMISE},
	{"log_level", "is the server's log_min_messages"},
	{"test.mock.*", "is for librdkafka's own tests"},
	{NULL, NULL}
};

/* Why it may not be set, to follow its name; NULL: it may. */
const char *
tlkf_property_refusal(const char *name)
{
	for (const Refused *r = refused; r->name != NULL; r++)
	{
		Size		len = strlen(r->name);

		if (r->name[len - 1] == '*' ?
			strncmp(name, r->name, len - 1) == 0 :
			strcmp(name, r->name) == 0)
			return r->why;
	}
	return NULL;
}
