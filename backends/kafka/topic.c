/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  Looks at the topic, and makes it.
 *
 * It is asked for its configuration, and not for its metadata: that request
 * would make brokers with auto.create.topics.enable create a missing topic.
 * Who may not read the configuration sends without knowing the topic's
 * limits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <time.h>

#include "tlkf.h"

#define LOOK_AGAIN_MS	50

typedef struct Topic
{
	bool		exists;
	bool		hidden;			/* we may not read its configuration */
	int64		max_message;	/* bytes; 0: not known */
	int64		retention_ms;	/* -1: without limit */
	int64		retention_bytes;
	bool		deletes;		/* cleanup.policy */
	bool		compacts;
	int64		min_insync;
} Topic;

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

static bool look(TlkfState *state, Topic *topic, TlVerdict *verdict);
static void ask(TlkfState *state);
static rd_kafka_event_t *await_result(TlkfState *state,
									  rd_kafka_event_type_t type,
									  TlVerdict *verdict);
static bool read_topic(rd_kafka_event_t *event, Topic *topic,
					   TlVerdict *verdict);
static void read_entry(Topic *topic, const char *name, const char *value);
static int64 keeps_from(const Topic *topic);
static void list_differences(const TlkfState *state, const Topic *topic,
							 StringInfo out);
static bool await_topic(TlkfState *state, TlVerdict *verdict);
static bool create(TlkfState *state, TlVerdict *verdict);
static bool read_creation(rd_kafka_event_t *event, TlVerdict *verdict);

/* TlBackend.inspect */
TlOutcome
tlkf_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlkfState  *state = tlkf_begin(session);
	Topic		topic;

	if (!look(state, &topic, verdict))
		return TL_RETRY;
	remote->exists = topic.exists;
	if (!topic.exists)
		return TL_OK;
	for (const TlMigration *m = tlkf_migrations; m->version != 0; m++)
		remote->version = m->version;	/* a topic takes them all */
	remote->keeps_from = keeps_from(&topic);
	list_differences(state, &topic, &remote->differences);
	if (state->max_message != topic.max_message)
	{
		state->max_message = topic.max_message;
		tlkf_client_drop(state);	/* the next one has this limit */
	}
	return TL_OK;
}

/* TlBackend.check_health: brokers that let us in, and the topic. */
TlOutcome
tlkf_check_health(TlSession *session, TlVerdict *verdict)
{
	TlkfState  *state = tlkf_begin(session);
	Topic		topic;

	if (!look(state, &topic, verdict))
		return TL_RETRY;
	if (topic.exists)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_SCHEMA, NULL, "there is no topic \"%s\"",
			state->topic);
	return TL_RETRY;
}

/* TlBackend.migrate: the first step makes the topic, for all the others. */
TlOutcome
tlkf_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlkfState  *state = tlkf_begin(session);

	if (!up)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"a topic is not taken away again");
		return TL_REFUSED;
	}
	return create(state, verdict) && await_topic(state, verdict) ? TL_OK :
		TL_RETRY;
}

/* Brokers hear of a topic some time after it was made. */
static bool
await_topic(TlkfState *state, TlVerdict *verdict)
{
	Topic		topic;

	while (look(state, &topic, verdict))
	{
		if (topic.exists)
			return true;
		if (tlkf_now_ms() > state->deadline ||
			tlkf_core->wait(state->session, NULL, 0,
							LOOK_AGAIN_MS) == TL_WAKE_STOP)
		{
			tl_fail(verdict, TL_CAUSE_OVERLOAD, NULL,
					"the brokers do not know the topic yet that was made");
			return false;
		}
	}
	return false;
}

static bool
look(TlkfState *state, Topic *topic, TlVerdict *verdict)
{
	rd_kafka_event_t *event;
	bool		ok;

	memset(topic, 0, sizeof(*topic));
	topic->retention_ms = topic->retention_bytes = -1;
	if (!tlkf_client_ready(state, verdict))
		return false;
	ask(state);
	event = await_result(state, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT,
						 verdict);
	if (event == NULL)
		return false;
	ok = read_topic(event, topic, verdict);
	rd_kafka_event_destroy(event);
	return ok;
}

static void
ask(TlkfState *state)
{
	rd_kafka_t *rk = tlkf_client_handle(state);
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource =
		rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, state->topic);

	(void) rd_kafka_AdminOptions_set_request_timeout(options,
													 state->timeout_ms, NULL,
													 0);
	rd_kafka_DescribeConfigs(rk, &resource, 1, options,
							 tlkf_client_queue(state));
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
}

/* The result of this kind; NULL: it did not come, the verdict says why. */
static rd_kafka_event_t *
await_result(TlkfState *state, rd_kafka_event_type_t type,
			 TlVerdict *verdict)
{
	TlkfEnd		end = TLKF_EVENT;

	while (end == TLKF_EVENT)
	{
		rd_kafka_event_t *event = tlkf_next_event(state, true, &end);

		if (event == NULL)
			continue;
		if (rd_kafka_event_type(event) == type)
			return event;
		rd_kafka_event_destroy(event);
	}
	tlkf_fail_waiting(state, end, verdict);
	tlkf_client_drop(state);
	return NULL;
}

static bool
read_topic(rd_kafka_event_t *event, Topic *topic, TlVerdict *verdict)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *words = rd_kafka_event_error_string(event);
	const rd_kafka_DescribeConfigs_result_t *result;
	const rd_kafka_ConfigResource_t **resources = NULL;
	const rd_kafka_ConfigEntry_t **entries;
	Size		n = 0;

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		result = rd_kafka_event_DescribeConfigs_result(event);
		resources = rd_kafka_DescribeConfigs_result_resources(result, &n);
		code = n == 1 ? rd_kafka_ConfigResource_error(resources[0]) :
			RD_KAFKA_RESP_ERR__FAIL;
		words = n == 1 ? rd_kafka_ConfigResource_error_string(resources[0]) :
			NULL;
	}
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return true;
	topic->exists = true;
	topic->hidden = code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
	if (topic->hidden)
		return true;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		tlkf_fail_code(code, words, verdict);
		return false;
	}
	entries = rd_kafka_ConfigResource_configs(resources[0], &n);
	for (Size i = 0; i < n; i++)
		read_entry(topic, rd_kafka_ConfigEntry_name(entries[i]),
				   rd_kafka_ConfigEntry_value(entries[i]));
	return true;
}

static void
read_entry(Topic *topic, const char *name, const char *value)
{
	if (value == NULL)
		return;
	if (strcmp(name, "max.message.bytes") == 0)
		topic->max_message = strtoll(value, NULL, 10);
	else if (strcmp(name, "retention.ms") == 0)
		topic->retention_ms = strtoll(value, NULL, 10);
	else if (strcmp(name, "retention.bytes") == 0)
		topic->retention_bytes = strtoll(value, NULL, 10);
	else if (strcmp(name, "min.insync.replicas") == 0)
		topic->min_insync = strtoll(value, NULL, 10);
	else if (strcmp(name, "cleanup.policy") == 0)
	{
		topic->deletes = strstr(value, "delete") != NULL;
		topic->compacts = strstr(value, "compact") != NULL;
	}
}

/*
 * Messages are kept by the time when they were sent, which is not before the
 * event's own.
 */
static int64
keeps_from(const Topic *topic)
{
	int64		now = (int64) time(NULL) * 1000;

	if (!topic->deletes || topic->hidden)
		return PG_INT64_MIN;
	if (topic->retention_bytes >= 0)
		return now * 1000;		/* whatever is full goes */
	if (topic->retention_ms < 0 || topic->retention_ms > now)
		return PG_INT64_MIN;
	return (now - topic->retention_ms) * 1000;
}

static void
list_differences(const TlkfState *state, const Topic *topic, StringInfo out)
{
	if (topic->hidden)
		appendStringInfoString(out, "the topic's configuration may not be read (DescribeConfigs): its limits are not known");
	if (topic->compacts)
		appendStringInfoString(out, "cleanup.policy has compact, which keeps the last message of each event only");
}

/* true also if it is there already. */
static bool
create(TlkfState *state, TlVerdict *verdict)
{
	rd_kafka_AdminOptions_t *options;
	rd_kafka_NewTopic_t *topic;
	rd_kafka_event_t *event;
	char		words[256] = "";
	bool		ok;

	if (!tlkf_client_ready(state, verdict))
		return false;
	topic = rd_kafka_NewTopic_new(state->topic, state->partitions,
								  state->replication, words, sizeof(words));
	if (topic == NULL)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", words);
		return false;
	}
	options = rd_kafka_AdminOptions_new(tlkf_client_handle(state),
										RD_KAFKA_ADMIN_OP_CREATETOPICS);
	(void) rd_kafka_AdminOptions_set_request_timeout(options,
													 state->timeout_ms, NULL,
													 0);
	(void) rd_kafka_AdminOptions_set_operation_timeout(options,
													   state->timeout_ms,
													   NULL, 0);
	rd_kafka_CreateTopics(tlkf_client_handle(state), &topic, 1, options,
						  tlkf_client_queue(state));
	rd_kafka_NewTopic_destroy(topic);
	rd_kafka_AdminOptions_destroy(options);
	event = await_result(state, RD_KAFKA_EVENT_CREATETOPICS_RESULT, verdict);
	if (event == NULL)
		return false;
	ok = read_creation(event, verdict);
	rd_kafka_event_destroy(event);
	return ok;
}

static bool
read_creation(rd_kafka_event_t *event, TlVerdict *verdict)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *words = rd_kafka_event_error_string(event);
	const rd_kafka_CreateTopics_result_t *result;
	const rd_kafka_topic_result_t **topics;
	Size		n = 0;

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		result = rd_kafka_event_CreateTopics_result(event);
		topics = rd_kafka_CreateTopics_result_topics(result, &n);
		code = n == 1 ? rd_kafka_topic_result_error(topics[0]) :
			RD_KAFKA_RESP_ERR__FAIL;
		words = n == 1 ? rd_kafka_topic_result_error_string(topics[0]) : NULL;
	}
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR ||
		code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return true;
	tlkf_fail_code(code, words, verdict);
	return false;
}
