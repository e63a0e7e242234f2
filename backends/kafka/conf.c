/*-------------------------------------------------------------------------
 *
 * conf.c
 *	  What librdkafka is told: properties that follow from the target's URL.
 *
 * Those that the URL gives as rdkafka.<name> come last but one: what a handle
 * of a kind must have they cannot change (properties.c refuses the others).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define MIN_MESSAGE		1000	/* librdkafka's limits */
#define MAX_MESSAGE		1000000000
#define DEFAULT_MESSAGE	1000000 /* Kafka's own is a little more */
#define BATCH_OVERHEAD	128		/* of a batch of messages, at most */

/*
 * The compressor's thread takes half of a lane's processor time.  Messages of
 * a batch are alike, and come out no larger at this level than at zstd's own,
 * which is 3, for half of that (bench/run kafka).
 */
#define ZSTD_LEVEL		"1"

static void set(rd_kafka_conf_t *conf, const char *name, const char *value,
				const char **error);
static void set_number(rd_kafka_conf_t *conf, const char *name, int64 value,
					   const char **error);
static void set_producer(TlkfState *state, rd_kafka_conf_t *conf,
						 const char **error);
static void set_consumer(rd_kafka_conf_t *conf, const char *group,
						 const char **error);
static void set_security(TlkfState *state, rd_kafka_conf_t *conf,
						 bool secrets, const char **error);
static void set_secret(TlkfState *state, rd_kafka_conf_t *conf,
					   const char *option, const char *property,
					   const char **error);
static void set_given(TlkfState *state, rd_kafka_conf_t *conf,
					  const char **error);
static int32_t choose_partition(const rd_kafka_topic_t *topic,
								const void *key, size_t len, int32_t n,
								void *opaque, void *tag);
static void drop_log(const rd_kafka_t *rk, int level, const char *facility,
					 const char *text);

/* What librdkafka does not take of the URL; NULL: nothing. */
const char *
tlkf_check_properties(TlkfState *state)
{
	const char *error = NULL;
	rd_kafka_conf_t *conf = tlkf_make_conf(state, NULL, false, &error);

	if (conf != NULL)
		rd_kafka_conf_destroy(conf);
	return error;
}

/*
 * Of a producer, or of a consumer of this group.  secrets: those too, which
 * are in files that may change.  NULL: error says why not.
 */
rd_kafka_conf_t *
tlkf_make_conf(TlkfState *state, const char *group, bool secrets,
			   const char **error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "bootstrap.servers", state->session->hosts, error);
	set(conf, "client.id", "tokenledger", error);
	if (group == NULL)
		set_producer(state, conf, error);
	set_security(state, conf, secrets, error);
	set_given(state, conf, error);
	if (group != NULL)
		set_consumer(conf, group, error);
	rd_kafka_conf_set_log_cb(conf, drop_log);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
							 RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH);
	if (*error == NULL)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

/* The first error stands. */
static void
set(rd_kafka_conf_t *conf, const char *name, const char *value,
	const char **error)
{
	char		words[256] = "";

	if (*error == NULL &&
		rd_kafka_conf_set(conf, name, value, words,
						  sizeof(words)) != RD_KAFKA_CONF_OK)
		*error = psprintf("librdkafka does not take it: %s", words);
}

static void
set_number(rd_kafka_conf_t *conf, const char *name, int64 value,
		   const char **error)
{
	set(conf, name, psprintf(INT64_FORMAT, value), error);
}

/*
 * librdkafka gives up a message when the batch's time is over, and a broker a
 * transaction a little later.  The queue is a window over the batch, not room
 * for all of it.
 */
static void
set_producer(TlkfState *state, rd_kafka_conf_t *conf, const char **error)
{
	TlSession  *session = state->session;
	const char *compression = tlkf_core->option(session, "compression");
	const char *connect = tlkf_core->option(session, "connect_timeout");

	set(conf, "enable.idempotence", "true", error);
	set(conf, "compression.type", compression ? compression : "zstd", error);
	if (compression == NULL || strcmp(compression, "zstd") == 0)
		set(conf, "compression.level", ZSTD_LEVEL, error);
	set_number(conf, "message.timeout.ms", state->timeout_ms, error);
	set_number(conf, "socket.timeout.ms", Min(state->timeout_ms, 300000),
			   error);
	set(conf, "socket.connection.setup.timeout.ms",
		connect ? connect : "10000", error);
	set(conf, "socket.keepalive.enable", "true", error);
	set(conf, "linger.ms", "5", error);
	set(conf, "queue.buffering.max.messages", "100000", error);
	set(conf, "queue.buffering.max.kbytes", "65536", error);
	set_number(conf, "message.max.bytes", tlkf_message_limit(state), error);
	if (state->transactional && session->role == TL_LANE)
	{
		set(conf, "transactional.id", state->transactional_id, error);
		set_number(conf, "transaction.timeout.ms",
				   Max(state->timeout_ms, 1000) + 1000, error);
	}
	if (state->partition_by == NULL)
		set(conf, "partitioner", "murmur2_random", error);
	else if (*error == NULL)
	{
		/* NB: there is one since message.timeout.ms was set. */
		rd_kafka_topic_conf_t *topic =
			rd_kafka_conf_get_default_topic_conf(conf);

		rd_kafka_topic_conf_set_partitioner_cb(topic, choose_partition);
	}
}

/*
 * Of one that only asks what its group has committed.  read_committed: while
 * a transaction that has offsets of the group is not complete, the broker
 * does not answer.
 */
static void
set_consumer(rd_kafka_conf_t *conf, const char *group, const char **error)
{
	set(conf, "group.id", group, error);
	set(conf, "isolation.level", "read_committed", error);
	set(conf, "enable.auto.commit", "false", error);
}

/* Most bytes of a message, before compression. */
int64
tlkf_message_limit(const TlkfState *state)
{
	int64		limit = state->max_message > 0 ?
		state->max_message - BATCH_OVERHEAD : DEFAULT_MESSAGE;

	return Max(Min(limit, MAX_MESSAGE), MIN_MESSAGE);
}

static void
set_security(TlkfState *state, rd_kafka_conf_t *conf, bool secrets,
			 const char **error)
{
	TlSession  *session = state->session;
	const char *ca = tlkf_core->option(session, "ca_file");
	const char *cert = tlkf_core->option(session, "cert_file");
	const char *key = tlkf_core->option(session, "key_file");

	set(conf, "security.protocol", psprintf("%s%s", state->sasl ? "sasl_" : "",
											state->tls ? "ssl" : "plaintext"),
		error);
	if (state->tls)
		set(conf, "ssl.endpoint.identification.algorithm", "https", error);
	if (state->sasl != NULL)
		set(conf, "sasl.mechanism", state->sasl, error);
	if (state->sasl != NULL && session->user != NULL)
		set(conf, "sasl.username", session->user, error);
	if (!secrets)
		return;					/* nor files, which may not be there yet */
	if (ca != NULL)
		set(conf, "ssl.ca.location", ca, error);
	if (cert != NULL)
		set(conf, "ssl.certificate.location", cert, error);
	if (key != NULL)
		set(conf, "ssl.key.location", key, error);
	set_secret(state, conf, "password", "sasl.password", error);
	set_secret(state, conf, "key_password", "ssl.key.password", error);
}

static void
set_secret(TlkfState *state, rd_kafka_conf_t *conf, const char *option,
		   const char *property, const char **error)
{
	StringInfoData value;

	if (!tlkf_secret_given(state->session, option) || *error != NULL)
		return;
	initStringInfo(&value);
	if (!tlkf_core->secret(state->session, option, &value))
		*error = psprintf("option \"%s\": its file or variable cannot be read",
						  option);
	else if (rd_kafka_conf_set(conf, property, value.data, NULL, 0) !=
			 RD_KAFKA_CONF_OK)
		*error = psprintf("option \"%s\": librdkafka does not take it",
						  option);
	explicit_bzero(value.data, value.len);
}

static void
set_given(TlkfState *state, rd_kafka_conf_t *conf, const char **error)
{
	int			iter = 0;
	const char *name;
	const char *value;

	while (tlkf_core->option_next(state->session, "rdkafka.", &iter, &name,
								  &value))
		set(conf, name + strlen("rdkafka."), value, error);
}

/* On any thread: pure. */
static int32_t
choose_partition(const rd_kafka_topic_t *topic, const void *key, size_t len,
				 int32_t n, void *opaque, void *tag)
{
	TlkfTag		t = {.opaque = tag};

	return tlkf_partition(t.of.hash, n);
}

/* On any thread: what matters comes as an event as well. */
static void
drop_log(const rd_kafka_t *rk, int level, const char *facility,
		 const char *text)
{
}
