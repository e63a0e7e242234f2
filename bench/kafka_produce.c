/*-------------------------------------------------------------------------
 *
 * kafka_produce.c
 *	  What librdkafka itself does with ready-made messages.
 *
 *		kafka_produce HOST:PORT TOPIC <messages
 *
 * Each line is a message, with its first 36 bytes behind {"event_id":" as
 * the key, and gets three headers of the size of ours.  The producer is
 * idempotent, compresses as the backend does and takes its messages from
 * memory, in a loop that does nothing else: the bound for whoever sends
 * through librdkafka on this machine.  Prints the seconds until the last
 * report, the messages, and the processor's time.
 *
 *-------------------------------------------------------------------------
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define KEY_AT		13
#define KEY_LEN		36

static long reported;
static long failed;

static void
on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	reported++;
	if (message->err)
		failed++;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static char *
read_all(size_t *len)
{
	size_t		size = 1 << 20;
	char	   *data = malloc(size);
	size_t		n;

	*len = 0;
	while ((n = fread(data + *len, 1, size - *len, stdin)) > 0)
	{
		*len += n;
		if (*len == size)
			data = realloc(data, size *= 2);
	}
	return data;
}

static rd_kafka_t *
connect_to(const char *brokers)
{
	static const char *const properties[][2] = {
		{"enable.idempotence", "true"}, {"compression.type", "zstd"},
		{"compression.level", "1"}, {"linger.ms", "5"},
		{"partitioner", "murmur2_random"}
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		error[512];
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
		if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1],
							  error, sizeof(error)) != RD_KAFKA_CONF_OK)
			exit((fputs(error, stderr), 1));
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (rk == NULL)
		exit((fputs(error, stderr), 1));
	return rk;
}

/* librdkafka owns the copy unless it fails. */
static int
produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *line, size_t len,
		const rd_kafka_headers_t *headers)
{
	rd_kafka_headers_t *copy = rd_kafka_headers_copy(headers);
	rd_kafka_resp_err_t code;

	code = rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic),
							 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							 RD_KAFKA_V_KEY(line + KEY_AT, KEY_LEN),
							 RD_KAFKA_V_VALUE(line, len),
							 RD_KAFKA_V_HEADERS(copy), RD_KAFKA_V_END);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_headers_destroy(copy);
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

static rd_kafka_headers_t *
make_headers(void)
{
	static const char id[] = "00000000-0000-0000-0000-000000000000";
	rd_kafka_headers_t *headers = rd_kafka_headers_new(3);

	rd_kafka_header_add(headers, "tokenledger-schema", -1, "1.3", -1);
	rd_kafka_header_add(headers, "tokenledger-batch", -1, id, -1);
	rd_kafka_header_add(headers, "tokenledger-ledger", -1, id, -1);
	return headers;
}

int
main(int argc, char **argv)
{
	size_t		len;
	char	   *data = read_all(&len);
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_headers_t *headers = make_headers();
	struct rusage usage;
	double		begin;
	double		before;
	long		n = 0;

	if (argc != 3)
		return 2;
	rk = connect_to(argv[1]);
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	getrusage(RUSAGE_SELF, &usage);
	before = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	begin = now();
	for (char *p = data, *end; p < data + len; p = end + 1, n++)
	{
		end = memchr(p, '\n', (size_t) (data + len - p));
		if (end == NULL)
			break;
		while (produce(rk, topic, p, (size_t) (end - p), headers) != 0)
			rd_kafka_poll(rk, 10);
		rd_kafka_poll(rk, 0);
	}
	while (reported < n)
		rd_kafka_poll(rk, 100);
	begin = now() - begin;
	getrusage(RUSAGE_SELF, &usage);
	printf("%.3f %ld %.3f\n", begin, n - failed,
		   (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		   (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 -
		   before);
	return failed != 0;
}
