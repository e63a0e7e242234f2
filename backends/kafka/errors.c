/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  What librdkafka's errors mean.
 *
 * Whether a message is stored its report says (rd_kafka_message_status);
 * here is only who has to do something about it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define E(name)		RD_KAFKA_RESP_ERR_##name

static const TlkfErrorClass error_classes[] = {
	/* librdkafka's own */
	{E(_AUTHENTICATION), TL_CAUSE_AUTH, true},
	{E(_SSL), TL_CAUSE_NETWORK, true},
	{E(_RESOLVE), TL_CAUSE_NETWORK, false},
	{E(_TRANSPORT), TL_CAUSE_NETWORK, false},
	{E(_ALL_BROKERS_DOWN), TL_CAUSE_NETWORK, true},
	{E(_TIMED_OUT), TL_CAUSE_NETWORK, false},
	{E(_TIMED_OUT_QUEUE), TL_CAUSE_NETWORK, false},
	{E(_MSG_TIMED_OUT), TL_CAUSE_NETWORK, false},
	{E(_QUEUE_FULL), TL_CAUSE_OVERLOAD, false},
	{E(_UNKNOWN_TOPIC), TL_CAUSE_SCHEMA, false},
	{E(_UNKNOWN_PARTITION), TL_CAUSE_SCHEMA, false},
	{E(_FENCED), TL_CAUSE_NONE, true},
	{E(_INVALID_ARG), TL_CAUSE_CONFIG, false},
	{E(_UNSUPPORTED_FEATURE), TL_CAUSE_CONFIG, true},
	/* the broker's */
	{E(UNKNOWN_TOPIC_OR_PART), TL_CAUSE_SCHEMA, false},
	{E(TOPIC_EXCEPTION), TL_CAUSE_CONFIG, false},
	{E(MSG_SIZE_TOO_LARGE), TL_CAUSE_SCHEMA, false},
	{E(RECORD_LIST_TOO_LARGE), TL_CAUSE_SCHEMA, false},
	{E(INVALID_RECORD), TL_CAUSE_CONFIG, false},
	{E(INVALID_TIMESTAMP), TL_CAUSE_CONFIG, false},
	{E(UNSUPPORTED_COMPRESSION_TYPE), TL_CAUSE_CONFIG, false},
	{E(UNSUPPORTED_FOR_MESSAGE_FORMAT), TL_CAUSE_CONFIG, false},
	{E(UNSUPPORTED_VERSION), TL_CAUSE_CONFIG, false},
	{E(POLICY_VIOLATION), TL_CAUSE_CONFIG, false},
	{E(INVALID_CONFIG), TL_CAUSE_CONFIG, false},
	{E(INVALID_PARTITIONS), TL_CAUSE_CONFIG, false},
	{E(INVALID_REPLICATION_FACTOR), TL_CAUSE_CONFIG, false},
	{E(INVALID_TRANSACTION_TIMEOUT), TL_CAUSE_CONFIG, false},
	{E(TOPIC_AUTHORIZATION_FAILED), TL_CAUSE_AUTH, false},
	{E(GROUP_AUTHORIZATION_FAILED), TL_CAUSE_AUTH, false},
	{E(CLUSTER_AUTHORIZATION_FAILED), TL_CAUSE_AUTH, false},
	{E(TRANSACTIONAL_ID_AUTHORIZATION_FAILED), TL_CAUSE_AUTH, false},
	{E(SASL_AUTHENTICATION_FAILED), TL_CAUSE_AUTH, true},
	{E(UNSUPPORTED_SASL_MECHANISM), TL_CAUSE_AUTH, true},
	{E(ILLEGAL_SASL_STATE), TL_CAUSE_AUTH, true},
	{E(SECURITY_DISABLED), TL_CAUSE_CONFIG, false},
	{E(NOT_ENOUGH_REPLICAS), TL_CAUSE_OVERLOAD, false},
	{E(NOT_ENOUGH_REPLICAS_AFTER_APPEND), TL_CAUSE_OVERLOAD, false},
	{E(KAFKA_STORAGE_ERROR), TL_CAUSE_QUOTA, false},
	{E(THROTTLING_QUOTA_EXCEEDED), TL_CAUSE_QUOTA, false},
	{E(LEADER_NOT_AVAILABLE), TL_CAUSE_OVERLOAD, false},
	{E(COORDINATOR_NOT_AVAILABLE), TL_CAUSE_OVERLOAD, false},
	{E(COORDINATOR_LOAD_IN_PROGRESS), TL_CAUSE_OVERLOAD, false},
	{E(NOT_COORDINATOR), TL_CAUSE_OVERLOAD, false},
	{E(CONCURRENT_TRANSACTIONS), TL_CAUSE_OVERLOAD, false},
	{E(UNSTABLE_OFFSET_COMMIT), TL_CAUSE_OVERLOAD, false},
	{E(INVALID_PRODUCER_EPOCH), TL_CAUSE_NONE, true},
	{E(PRODUCER_FENCED), TL_CAUSE_NONE, true},
	{E(NO_ERROR), TL_CAUSE_NETWORK, false}
};

/* Never NULL; what is not listed gets the last entry. */
const TlkfErrorClass *
tlkf_classify(rd_kafka_resp_err_t code)
{
	const TlkfErrorClass *class = error_classes;

	while (class->code != code && class->code != E(NO_ERROR))
		class++;
	return class;
}
