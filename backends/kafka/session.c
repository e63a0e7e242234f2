/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Opening, closing and describing a session of Kafka.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "tlkf.h"

#define MAX_TOPIC_LEN	249

const char *const tlkf_compressions[] = {
	"zstd", "lz4", "snappy", "gzip", "none", NULL
};
const char *const tlkf_mechanisms[] = {
	"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", NULL
};

static const char *parse_options(TlkfState *state);
static const char *parse_topic(TlkfState *state);
static const char *parse_security(TlkfState *state);
static const char *parse_sasl(TlkfState *state);
static const char *parse_partitions(TlkfState *state);
static const char *parse_format(TlkfState *state);
static const char *check_properties(TlSession *session);
static bool hosts_are_local(const char *hosts);
static bool host_is_local(const char *host, Size len);
static int	int_option(TlSession *session, const char *name, int otherwise);
static const char *make_transactional_id(const TlSession *session);

/* TlBackend.open: reads the options, connects to nothing. */
TlOutcome
tlkf_open(TlSession *session, TlVerdict *verdict)
{
	return tlkf_open_state(session,
						   MemoryContextAllocZero(session->mcxt,
												  sizeof(TlkfState)),
						   verdict);
}

/* The same with a state that is part of a larger one: its beginning. */
TlOutcome
tlkf_open_state(TlSession *session, TlkfState *state, TlVerdict *verdict)
{
	MemoryContext old = MemoryContextSwitchTo(session->mcxt);
	const char *error;

	state->session = session;
	session->private_state = state;
	error = parse_options(state);
	MemoryContextSwitchTo(old);
	session->guarantee = state->transactional ? TL_PER_ATTEMPT :
		TL_AT_LEAST_ONCE;
	if (error == NULL)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return TL_REFUSED;
}

/* Returns NULL, or what is wrong with the target's URL. */
static const char *
parse_options(TlkfState *state)
{
	TlSession  *session = state->session;
	const char *error = parse_topic(state);

	if (error == NULL)
		error = parse_security(state);
	if (error == NULL)
		error = parse_sasl(state);
	if (error == NULL)
		error = parse_partitions(state);
	if (error == NULL)
		error = parse_format(state);
	if (error == NULL)
		error = check_properties(session);
	if (error != NULL)
		return error;
	state->timeout_ms = int_option(session, "timeout", 30000);
	state->transactional = tlkf_option_on(session, "transactional");
	state->transactional_id = make_transactional_id(session);
	return tlkf_check_properties(state);
}

/* The path; names as org.apache.kafka.common.internals.Topic has them. */
static const char *
parse_topic(TlkfState *state)
{
	const char *topic = state->session->path;

	if (state->session->hosts == NULL || state->session->hosts[0] == '\0')
		return "the target's URL names no host";
	if (!state->has_table &&
		tlkf_core->option(state->session, "table") != NULL)
		return "there is no option \"table\" here: the topic is the URL's path";
	if (topic == NULL || topic[0] == '\0')
		return "the target's URL names no topic; write it as the path, kafka://host:9092/topic";
	if (strlen(topic) > MAX_TOPIC_LEN || strcmp(topic, ".") == 0 ||
		strcmp(topic, "..") == 0 ||
		topic[strspn(topic, "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] != '\0')
		return "the topic, which is the URL's path, is not made of 1 to 249 letters, digits, periods, underscores and hyphens";
	state->topic = topic;
	return NULL;
}

/* TLS unless the option says otherwise or nobody can listen in. */
static const char *
parse_security(TlkfState *state)
{
	TlSession  *session = state->session;
	static const char *const need_tls[] = {"ca_file", "cert_file", "key_file"};

	if (tlkf_core->option(session, "tls") != NULL)
		state->tls = tlkf_option_on(session, "tls");
	else
		state->tls = !hosts_are_local(session->hosts);
	for (int i = 0; i < lengthof(need_tls); i++)
		if (!state->tls && tlkf_core->option(session, need_tls[i]) != NULL)
			return psprintf("option \"%s\" needs tls=on", need_tls[i]);
	if ((tlkf_core->option(session, "cert_file") == NULL) !=
		(tlkf_core->option(session, "key_file") == NULL))
		return "options \"cert_file\" and \"key_file\" need each other";
	if (tlkf_secret_given(session, "key_password") &&
		tlkf_core->option(session, "key_file") == NULL)
		return "option \"key_password_file\" needs \"key_file\"";
	return NULL;
}

static const char *
parse_sasl(TlkfState *state)
{
	TlSession  *session = state->session;
	bool		password = tlkf_secret_given(session, "password");
	bool		token = tlkf_secret_given(session, "token");

	state->sasl = tlkf_core->option(session, "sasl");
	if (password && token)
		return "options \"password_file\" and \"token_file\" exclude each other";
	if (state->sasl == NULL)
		state->sasl = password ? "SCRAM-SHA-512" : token ? "OAUTHBEARER" :
			NULL;
	if (state->sasl == NULL)
		return session->user == NULL ? NULL :
			"the target's URL names a user, but neither \"password_file\" nor \"token_file\" says how it proves itself";
	if (strcmp(state->sasl, "OAUTHBEARER") == 0)
		return token ? NULL : "sasl=OAUTHBEARER needs \"token_file\"";
	if (session->user == NULL || !password)
		return psprintf("sasl=%s needs a user in the target's URL and \"password_file\"",
						state->sasl);
	return NULL;
}

static const char *
parse_partitions(TlkfState *state)
{
	TlSession  *session = state->session;

	state->partitions = int_option(session, "partitions", -1);
	state->replication = int_option(session, "replication_factor", -1);
	state->partition_by = tlkf_core->option(session, "partition_by");
	if (state->partition_by != NULL &&
		tlkf_field_number(state->partition_by) == 0)
		return psprintf("option \"partition_by\": the ledger has no column \"%s\"",
						state->partition_by);
	return NULL;
}

/* Not a list of values: those that are refused have reasons. */
static const char *
parse_format(TlkfState *state)
{
	const char *format = tlkf_core->option(state->session, "format");

	if (format == NULL || strcmp(format, "json") == 0)
		return NULL;
	if (strcmp(format, "avro") == 0)
		return "format=avro is refused: its readers expect a schema registry, which this backend does not have; there are \"json\" and \"protobuf\"";
	if (strcmp(format, "protobuf") != 0)
		return psprintf("option \"format\" is \"%s\"; there are \"json\" and \"protobuf\"",
						format);
	if (state->has_table)
		return "format=protobuf is refused: ClickHouse's reader would need event.proto among the server's own files; it reads \"json\"";
	state->format = TLKF_PROTOBUF;
	return NULL;
}

static const char *
check_properties(TlSession *session)
{
	int			iter = 0;
	const char *name;
	const char *value;

	while (tlkf_core->option_next(session, "rdkafka.", &iter, &name, &value))
	{
		const char *why = tlkf_property_refusal(name + strlen("rdkafka."));

		if (why != NULL)
			return psprintf("option \"%s\" is refused: it %s", name, why);
	}
	return NULL;
}

/* All of "host:port,[::1]:port"? */
static bool
hosts_are_local(const char *hosts)
{
	while (*hosts != '\0')
	{
		Size		len = strcspn(hosts, ",");

		if (!host_is_local(hosts, len))
			return false;
		hosts += len;
		hosts += *hosts == ',';
	}
	return true;
}

static bool
host_is_local(const char *host, Size len)
{
	const char *end = memchr(host, *host == '[' ? ']' : ':', len);
	Size		name = end ? end - host + (*host == '[') : len;

	return (name == 9 && pg_strncasecmp(host, "localhost", 9) == 0) ||
		(name >= 4 && strncmp(host, "127.", 4) == 0 &&
		 strspn(host, "0123456789.") >= name) ||
		(name == 5 && strncmp(host, "[::1]", 5) == 0);
}

/*
 * The same for each process that owns the lane, and nobody else's: who takes
 * it over fences the one before.
 */
static const char *
make_transactional_id(const TlSession *session)
{
	char		ledger[TLKF_UUID_LEN + 1] = {0};

	tlkf_format_uuid(ledger, &session->ledger_id);
	return psprintf("tokenledger-%s-%s-%d", ledger, session->target,
					session->lane);
}

static int
int_option(TlSession *session, const char *name, int otherwise)
{
	const char *value = tlkf_core->option(session, name);

	return value ? atoi(value) : otherwise;
}

bool
tlkf_option_on(TlSession *session, const char *name)
{
	const char *value = tlkf_core->option(session, name);

	return value != NULL && strcmp(value, "on") == 0;
}

bool
tlkf_secret_given(TlSession *session, const char *name)
{
	return tlkf_core->option(session, psprintf("%s_file", name)) != NULL ||
		tlkf_core->option(session, psprintf("%s_env", name)) != NULL;
}

/*
 * TlBackend.close: what is foreign hangs on session->mcxt.  A transactional
 * id and a group that are not used any more the broker forgets by itself.
 */
void
tlkf_close(TlSession *session, bool retire)
{
}

/* To be called at the start of each callback: the clock starts. */
TlkfState *
tlkf_begin(TlSession *session)
{
	TlkfState  *state = session->private_state;

	state->deadline = tlkf_now_ms() + state->timeout_ms;
	return state;
}

int64
tlkf_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* TlBackend.describe */
void
tlkf_describe(TlSession *session, TlPairCB emit, void *arg)
{
	TlkfState  *state = session->private_state;
	const char *compression = tlkf_core->option(session, "compression");

	emit(arg, "brokers", session->hosts);
	emit(arg, "topic", state->topic);
	emit(arg, "user", session->user ? session->user : "");
	emit(arg, "tls", state->tls ? "on" : "off");
	emit(arg, "sasl", state->sasl ? state->sasl : "none");
	emit(arg, "compression", compression ? compression : "zstd");
	emit(arg, "format", state->format == TLKF_JSON ? "json" : "protobuf");
	emit(arg, "partition_by", state->partition_by ? state->partition_by :
		 "event_id");
	emit(arg, "transactional", state->transactional ? "on" : "off");
	emit(arg, "librdkafka", rd_kafka_version_str());
}
