/*-------------------------------------------------------------------------
 *
 * client.c
 *	  librdkafka's handle in a process of the server's, and its events.
 *
 * Invariants:
 *
 *	- The handle is created in the process that uses it, which never forks,
 *	  with all signals blocked: its threads inherit the mask, so no handler of
 *	  the server's ever runs on one of them.
 *	- There are no callbacks but two that are pure (partitions, and a log that
 *	  is dropped): reports and errors are events in a queue that we read.
 *	  librdkafka writes a byte into a pipe when the queue is no longer empty,
 *	  and core->wait waits for that pipe and the process's latch.
 *	- The handle hangs on a reset callback of session->mcxt which is
 *	  registered before it exists.  Destroying it is given a limited time;
 *	  what takes longer ends on its own (call.c).
 *	- What a batch leaves behind, reports that nobody waited for included,
 *	  goes with the handle: after an uncertain outcome it is dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "storage/fd.h"
#include "storage/latch.h"
#include "tlkf.h"

#define TOKEN_MS		300000	/* for so long a token is used */

/* 2.6.1: before, a nonce was sent that brokers have learned to refuse. */
#define SCRAM_MENDED	0x02060100

struct TlkfClient
{
	TlSession  *session;
	MemoryContextCallback reset;
	int			fds_reserved;
	rd_kafka_t *rk;				/* NULL: to be created */
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topic;
	int			pipe[2];
	uint8		batch;
	TlkfTrouble trouble;
};

static bool drain(TlkfClient *client);
static void reserve(TlkfClient *client);
static void release(void *arg);
static void destroy_handle(TlkfClient *client);
static bool create_handle(TlkfState *state, TlVerdict *verdict);
static rd_kafka_t *new_handle(TlkfState *state, rd_kafka_type_t type,
							  const char *group, const char **error);
static void note_error(TlkfClient *client, rd_kafka_event_t *event,
					   bool *fatal);
static const char *advice(const TlkfState *state, rd_kafka_resp_err_t code);
static void refresh_token(TlkfState *state, rd_kafka_t *rk);

/* Creates the handle unless it is there; false: the verdict says why not. */
bool
tlkf_client_ready(TlkfState *state, TlVerdict *verdict)
{
	TlkfClient *client = state->client;

	if (client == NULL)
	{
		client = MemoryContextAllocZero(state->session->mcxt,
										sizeof(TlkfClient));
		client->session = state->session;
		client->pipe[0] = client->pipe[1] = -1;
		client->reset.func = release;
		client->reset.arg = client;
		MemoryContextRegisterResetCallback(state->session->mcxt,
										   &client->reset);
		state->client = client;
	}
	tlkf_clear_trouble(state);
	if (client->rk != NULL && !drain(client))
		tlkf_client_drop(state);
	return client->rk != NULL || create_handle(state, verdict);
}

/* Events of the time when nobody asked; false: an error that is final. */
static bool
drain(TlkfClient *client)
{
	rd_kafka_event_t *event;
	bool		fatal = false;

	while ((event = rd_kafka_queue_poll(client->queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			note_error(client, event, &fatal);
		else if (rd_kafka_event_type(event) ==
				 RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
			refresh_token(client->session->private_state, client->rk);
		rd_kafka_event_destroy(event);
	}
	client->trouble.code = RD_KAFKA_RESP_ERR_NO_ERROR;
	return !fatal;
}

/* What it holds may still be sent, or never; its reports are lost. */
void
tlkf_client_drop(TlkfState *state)
{
	if (state->client != NULL)
		release(state->client);
	state->in_charge = false;
}

static void
release(void *arg)
{
	TlkfClient *client = arg;

	if (client->rk != NULL)
		destroy_handle(client);
	if (client->pipe[0] >= 0)
		close(client->pipe[0]);
	if (client->pipe[1] >= 0)
		close(client->pipe[1]);
	client->pipe[0] = client->pipe[1] = -1;
	for (; client->fds_reserved > 0; client->fds_reserved--)
		ReleaseExternalFD();
}

/* NB: the pipe's end that librdkafka writes to outlives the handle. */
static void
destroy_handle(TlkfClient *client)
{
	rd_kafka_t *rk = client->rk;

	client->rk = NULL;
	rd_kafka_topic_destroy(client->topic);
	rd_kafka_queue_destroy(client->queue);
	rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
				   RD_KAFKA_PURGE_F_NON_BLOCKING);
	tlkf_destroy(rk, client->pipe[1]);
	client->pipe[1] = -1;
}

static bool
create_handle(TlkfState *state, TlVerdict *verdict)
{
	TlkfClient *client = state->client;
	const char *error = NULL;

	reserve(client);
	if (client->fds_reserved < 2 || pipe(client->pipe) != 0 ||
		fcntl(client->pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(client->pipe[1], F_SETFL, O_NONBLOCK) != 0)
		error = "too many open files";
	else
		client->rk = new_handle(state, RD_KAFKA_PRODUCER, NULL, &error);
	if (client->rk == NULL)
	{
		release(client);
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
		return false;
	}
	client->trouble.code = RD_KAFKA_RESP_ERR_NO_ERROR;
	client->queue = rd_kafka_queue_get_main(client->rk);
	rd_kafka_queue_io_event_enable(client->queue, client->pipe[1], "", 1);
	client->topic = rd_kafka_topic_new(client->rk, state->topic, NULL);
	return true;
}

/* NULL: error says why not. */
static rd_kafka_t *
new_handle(TlkfState *state, rd_kafka_type_t type, const char *group,
		   const char **error)
{
	rd_kafka_conf_t *conf = tlkf_make_conf(state, group, true, error);
	rd_kafka_t *rk;
	char		words[256] = "";
	sigset_t	all;
	sigset_t	before;

	if (conf == NULL)
		return NULL;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rk = rd_kafka_new(type, conf, words, sizeof(words));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rk != NULL)
		return rk;
	rd_kafka_conf_destroy(conf);
	*error = pstrdup(words);
	return NULL;
}

/*
 * A handle that reads what a consumer group has committed: the caller's, who
 * destroys it.  Nobody reads its events, so it is given a token at once.
 */
rd_kafka_t *
tlkf_client_reader(TlkfState *state, const char *group, TlVerdict *verdict)
{
	const char *error = NULL;
	rd_kafka_t *rk = new_handle(state, RD_KAFKA_CONSUMER, group, &error);

	if (rk == NULL)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	else if (state->sasl != NULL && strcmp(state->sasl, "OAUTHBEARER") == 0)
		refresh_token(state, rk);
	return rk;
}

/* Two for the pipe; the sockets of the brokers are librdkafka's secret. */
static void
reserve(TlkfClient *client)
{
	while (client->fds_reserved < 3 && AcquireExternalFD())
		client->fds_reserved++;
}

rd_kafka_t *
tlkf_client_handle(const TlkfState *state)
{
	return state->client->rk;
}

rd_kafka_queue_t *
tlkf_client_queue(const TlkfState *state)
{
	return state->client->queue;
}

rd_kafka_topic_t *
tlkf_client_topic(const TlkfState *state)
{
	return state->client->topic;
}

/* The pipe's end that wakes tlkf_next_event(). */
int
tlkf_client_fd(const TlkfState *state)
{
	return state->client->pipe[1];
}

/* The handle and the pipe's end belong to a call that was left. */
void
tlkf_client_forget(TlkfState *state)
{
	TlkfClient *client = state->client;

	rd_kafka_topic_destroy(client->topic);
	rd_kafka_queue_destroy(client->queue);
	client->rk = NULL;
	client->pipe[1] = -1;
	tlkf_client_drop(state);
}

/* A number for the tags of the next batch's messages. */
uint8
tlkf_client_batch(TlkfState *state)
{
	return ++state->client->batch;
}

const TlkfTrouble *
tlkf_trouble(const TlkfState *state)
{
	return &state->client->trouble;
}

void
tlkf_clear_trouble(TlkfState *state)
{
	state->client->trouble.code = RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * The next report or result, which the caller destroys.  NULL with
 * TLKF_EVENT: something has happened that is no event, look and ask again.
 * give_up: also an error that would be the same for everything that is asked
 * ends the wait.
 */
rd_kafka_event_t *
tlkf_next_event(TlkfState *state, bool give_up, TlkfEnd *end)
{
	TlkfClient *client = state->client;
	TlWaitFd	fd = {.fd = client->pipe[0], .events = WL_SOCKET_READABLE};
	rd_kafka_event_t *event;
	int64		left;
	char		bytes[64];

	*end = TLKF_EVENT;
	while ((event = rd_kafka_queue_poll(client->queue, 0)) != NULL)
	{
		bool		fatal = false;

		switch (rd_kafka_event_type(event))
		{
			case RD_KAFKA_EVENT_ERROR:
				note_error(client, event, &fatal);
				break;
			case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
				refresh_token(state, client->rk);
				break;
			default:
				return event;
		}
		rd_kafka_event_destroy(event);
		if (fatal || (give_up &&
					  tlkf_classify(client->trouble.code)->hopeless))
		{
			*end = TLKF_HOPELESS;
			return NULL;
		}
	}
	left = state->deadline - tlkf_now_ms();
	if (left <= 0)
	{
		*end = TLKF_TIMEOUT;
		return NULL;
	}
	switch (tlkf_core->wait(state->session, &fd, 1, left))
	{
		case TL_WAKE_FD:
			while (read(client->pipe[0], bytes, sizeof(bytes)) > 0)
				;
			break;
		case TL_WAKE_TIMEOUT:
			*end = TLKF_TIMEOUT;
			break;
		case TL_WAKE_STOP:
			*end = TLKF_STOPPED;
			break;
	}
	return NULL;
}

/*
 * NB: that all brokers are down follows the reason of each, which says more,
 * and is the one that is kept.
 */
static void
note_error(TlkfClient *client, rd_kafka_event_t *event, bool *fatal)
{
	TlkfTrouble *trouble = &client->trouble;
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *words = rd_kafka_event_error_string(event);
	bool		all_down = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
	char		fatal_words[sizeof(trouble->words)];

	if (rd_kafka_event_error_is_fatal(event) ||
		code == RD_KAFKA_RESP_ERR__FATAL)
	{
		*fatal = true;
		code = rd_kafka_fatal_error(client->rk, fatal_words,
									sizeof(fatal_words));
		words = fatal_words;
	}
	if (!all_down || trouble->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		snprintf(trouble->words, sizeof(trouble->words), "%.250s%s",
				 words ? words : rd_kafka_err2str(code),
				 advice(client->session->private_state, code));
	if (!all_down || !tlkf_classify(trouble->code)->hopeless)
		trouble->code = code;
}

/* Which option to look at; to follow librdkafka's words. */
static const char *
advice(const TlkfState *state, rd_kafka_resp_err_t code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__SSL:
			return " (see option \"ca_file\")";
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
			if (state->sasl == NULL)
				return " (see option \"sasl\")";
			return strcmp(state->sasl, "OAUTHBEARER") == 0 ?
				" (see option \"token_file\")" :
				strncmp(state->sasl, "SCRAM", 5) == 0 &&
				rd_kafka_version() < SCRAM_MENDED ?
				" (see the URL's user and option \"password_file\"; librdkafka before 2.6.1 fails at SCRAM with newer brokers)" :
				" (see the URL's user and option \"password_file\")";
		default:
			return "";
	}
}

/* Read anew each time, so that the file may be replaced. */
static void
refresh_token(TlkfState *state, rd_kafka_t *rk)
{
	StringInfoData token;
	char		error[256] = "";
	const char *user = state->session->user;
	int64		until = (int64) time(NULL) * 1000 + TOKEN_MS;

	initStringInfo(&token);
	if (!tlkf_core->secret(state->session, "token", &token))
		strlcpy(error, "option \"token\": its file or variable cannot be read",
				sizeof(error));
	else
		(void) rd_kafka_oauthbearer_set_token(rk, token.data, until,
											  user ? user : "tokenledger",
											  NULL, 0, error, sizeof(error));
	if (error[0] != '\0')
	{
		(void) rd_kafka_oauthbearer_set_token_failure(rk, error);
		state->client->trouble.code = RD_KAFKA_RESP_ERR__AUTHENTICATION;
		strlcpy(state->client->trouble.words, error,
				sizeof(state->client->trouble.words));
	}
	explicit_bzero(token.data, token.len);
	pfree(token.data);
}

/* Why there was no answer. */
void
tlkf_fail_waiting(TlkfState *state, TlkfEnd end, TlVerdict *verdict)
{
	const TlkfTrouble *trouble = tlkf_trouble(state);

	if (end == TLKF_STOPPED)
		tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
	else if (trouble->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		tlkf_fail_code(trouble->code, trouble->words, verdict);
	else
		tl_fail(verdict, TL_CAUSE_NETWORK, NULL,
				"no answer from the brokers within %d ms (option timeout)",
				state->timeout_ms);
}

void
tlkf_fail_code(rd_kafka_resp_err_t code, const char *words,
			   TlVerdict *verdict)
{
	tl_fail(verdict, tlkf_classify(code)->cause, rd_kafka_err2name(code),
			"%s", words && words[0] ? words : rd_kafka_err2str(code));
}
