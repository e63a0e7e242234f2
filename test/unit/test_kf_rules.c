/* sources: backends/kafka/partition.c backends/kafka/properties.c
 * sources: backends/kafka/errors.c
 *-------------------------------------------------------------------------
 *
 * test_kf_rules.c
 *	  Backend kafka: partitions, refused properties, and what errors mean.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/kafka/tlkf.h"
#include "unit.h"

typedef struct Hash
{
	const char *key;
	int32		hash;
} Hash;

/* As the Java client computes them (its Utils.murmur2). */
static const Hash hashes[] = {
	{"21", -973932308},
	{"foobar", -790332482},
	{"a-little-bit-long-string", -985981536},
	{"a-little-bit-longer-string", -1486304829},
	{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
	{"abc", 479470107}
};

static void
test_partitions(void)
{
	unit_test("hashes");
	for (int i = 0; i < lengthof(hashes); i++)
		CHECK_INT((int32) tlkf_murmur2(hashes[i].key, strlen(hashes[i].key)),
				  hashes[i].hash);

	unit_test("partitions");
	CHECK_INT(tlkf_partition(0, 3), 0);
	CHECK_INT(tlkf_partition((uint32) -973932308, 10), 1173551340 % 10);
	CHECK_INT(tlkf_partition(PG_UINT32_MAX, 1000), 0x7fffffff % 1000);
}

static void
test_properties(void)
{
	static const char *const refused[] = {
		"acks", "enable.idempotence", "transactional.id", "retries",
		"max.in.flight.requests.per.connection", "delivery.report.only.error",
		"bootstrap.servers", "plugin.library.paths", "sasl.mechanisms",
		"sasl.oauthbearer.method", "ssl.key.pem",
		"internal.termination.signal", "test.mock.num.brokers"
	};
	static const char *const taken[] = {
		"linger.ms", "batch.size", "client.id", "socket.keepalive.enable",
		"ssl.cipher.suites", "queue.buffering.max.kbytes", "ackss"
	};

	unit_test("properties that would break the promise");
	for (int i = 0; i < lengthof(refused); i++)
		CHECK(tlkf_property_refusal(refused[i]) != NULL);

	unit_test("other properties");
	for (int i = 0; i < lengthof(taken); i++)
		CHECK(tlkf_property_refusal(taken[i]) == NULL);
}

static void
test_errors(void)
{
	unit_test("errors");
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR__TRANSPORT)->cause,
			  TL_CAUSE_NETWORK);
	CHECK(!tlkf_classify(RD_KAFKA_RESP_ERR__TRANSPORT)->hopeless);
	CHECK(tlkf_classify(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)->hopeless);
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR__AUTHENTICATION)->cause,
			  TL_CAUSE_AUTH);
	CHECK(tlkf_classify(RD_KAFKA_RESP_ERR_PRODUCER_FENCED)->hopeless);
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)->cause,
			  TL_CAUSE_SCHEMA);
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS)->cause,
			  TL_CAUSE_OVERLOAD);
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR)->cause,
			  TL_CAUSE_QUOTA);

	unit_test("an error that is not listed");
	CHECK_INT(tlkf_classify(RD_KAFKA_RESP_ERR__FAIL)->cause,
			  TL_CAUSE_NETWORK);
	CHECK(!tlkf_classify(RD_KAFKA_RESP_ERR__FAIL)->hopeless);
}

int
main(void)
{
	test_partitions();
	test_properties();
	test_errors();
	return unit_done();
}
