/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  A batch's messages become visible together, with its token, or not.
 *
 * Each lane has a transactional id, and its owner initializes transactions
 * before it sends: that aborts what an earlier owner left open, finishes what
 * one had begun to commit, and fences it off.
 *
 * The token of a batch is committed in its transaction, as the metadata of an
 * offset: of the consumer group that has the transactional id's name, in the
 * topic's first partition.  So after a take-over the group says which batch
 * was committed last, and journal.c which events that were.
 *
 * A transaction that is not to be committed goes with its handle, and the
 * next one, or the transaction's timeout, aborts it at the broker.  NB: no
 * handle goes on after an abort.  Once that has cleared librdkafka's lists of
 * partitions, the answer to an AddPartitionsToTxn that is still under way
 * meets lists and counts that are the next transaction's.
 *
 * The lane waits on its own thread while the call blocks on another (call.c).
 * A call that cannot be waited for is left, with the handle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "tlkf.h"

#define LEAST_MS		1000	/* of a call, also when time is short */
#define TOKEN_PARTITION	0

static bool perform(TlkfState *state, TlkfCallKind kind,
					rd_kafka_topic_partition_list_t *offsets,
					TlVerdict *verdict);
static bool await_call(TlkfState *state, TlkfCall *call, TlkfEnd *end);
static void fail(TlkfState *state, rd_kafka_error_t *error,
				 TlVerdict *verdict);
static rd_kafka_topic_partition_list_t *token_offset(const TlkfState *state,
													 const pg_uuid_t *token);
static bool read_token(TlkfState *state, pg_uuid_t *token,
					   TlVerdict *verdict);
static bool read_by(TlkfState *state, rd_kafka_t *reader, pg_uuid_t *token,
					TlVerdict *verdict);
static void take_token(const rd_kafka_topic_partition_list_t *offsets,
					   pg_uuid_t *token);
static int	time_left(const TlkfState *state);

/* Fences earlier owners of the lane; false: not now. */
bool
tlkf_take_charge(TlkfState *state, TlVerdict *verdict)
{
	if (!state->in_charge)
		state->in_charge = perform(state, TLKF_INIT_TRANSACTIONS, NULL,
								   verdict);
	return state->in_charge;
}

bool
tlkf_transaction_begin(TlkfState *state, TlVerdict *verdict)
{
	rd_kafka_error_t *error =
		rd_kafka_begin_transaction(tlkf_client_handle(state));

	if (error == NULL)
		return true;
	fail(state, error, verdict);
	tlkf_client_drop(state);
	return false;
}

/*
 * NB: to be called when all messages are reported as stored, so nothing of
 * the transaction is under way.  Unless it is done the client is gone.
 */
TlkfStep
tlkf_transaction_commit(TlkfState *state, const TlBatch *batch,
						TlVerdict *verdict)
{
	if (!tlkf_journal_begin(state, batch))
	{
		tlkf_client_drop(state);
		return TLKF_NOT_DONE;
	}
	if (!perform(state, TLKF_SEND_OFFSETS,
				 token_offset(state, &batch->token), verdict))
		return TLKF_NOT_DONE;
	return perform(state, TLKF_COMMIT, NULL, verdict) ? TLKF_DONE :
		TLKF_UNCERTAIN;
}

/* The call on the client's handle; false: the client is gone. */
static bool
perform(TlkfState *state, TlkfCallKind kind,
		rd_kafka_topic_partition_list_t *offsets, TlVerdict *verdict)
{
	TlkfCall   *call;
	rd_kafka_error_t *error = NULL;
	TlkfEnd		end;

	call = tlkf_call_start(&(TlkfCallArgs) {
		.kind = kind,
		.rk = tlkf_client_handle(state),
		.timeout_ms = time_left(state),
		.notify_fd = tlkf_client_fd(state),
		.offsets = offsets,
		.group = state->transactional_id
	});
	if (call == NULL)
	{
		if (offsets != NULL)
			rd_kafka_topic_partition_list_destroy(offsets);
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"could not start a thread");
	}
	else if (await_call(state, call, &end))
	{
		(void) tlkf_call_ended(call, &error);
		if (error != NULL)
			fail(state, error, verdict);
		else if (end != TLKF_STOPPED || kind == TLKF_COMMIT)
			return true;
		else
			tlkf_fail_waiting(state, end, verdict);
	}
	else
	{
		tlkf_fail_waiting(state, end, verdict);
		if (tlkf_call_leave(call))
		{
			tlkf_client_forget(state);
			return false;
		}
		(void) tlkf_call_ended(call, &error);
		if (error != NULL)
			rd_kafka_error_destroy(error);
	}
	tlkf_client_drop(state);
	return false;
}

/* false: it has to be left.  NB: who was told to stop waits no more. */
static bool
await_call(TlkfState *state, TlkfCall *call, TlkfEnd *end)
{
	bool		give_up = !state->in_charge;

	*end = TLKF_EVENT;
	while (!tlkf_call_await(call, 0))
	{
		rd_kafka_event_t *event;

		if (*end != TLKF_EVENT)
			return false;
		event = tlkf_next_event(state, give_up, end);

		/* What a report says is known by now. */
		if (event != NULL)
			rd_kafka_event_destroy(event);
	}
	return true;
}

static void
fail(TlkfState *state, rd_kafka_error_t *error, TlVerdict *verdict)
{
	const TlkfTrouble *trouble = tlkf_trouble(state);
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);

	if (code == RD_KAFKA_RESP_ERR__TIMED_OUT &&
		trouble->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		tlkf_fail_code(trouble->code, trouble->words, verdict);
	else
		tlkf_fail_code(code, rd_kafka_error_string(error), verdict);
	rd_kafka_error_destroy(error);
}

/* Where the token is; with a token: what is to be committed. */
static rd_kafka_topic_partition_list_t *
token_offset(const TlkfState *state, const pg_uuid_t *token)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *offset =
		rd_kafka_topic_partition_list_add(list, state->topic,
										  TOKEN_PARTITION);
	char		text[TLKF_UUID_LEN];

	if (token == NULL)
		return list;

	/* NB: librdkafka frees it. */
	tlkf_format_uuid(text, token);
	offset->offset = 0;
	offset->metadata = strndup(text, TLKF_UUID_LEN);
	offset->metadata_size = offset->metadata ? TLKF_UUID_LEN : 0;
	return list;
}

/*
 * TlBackend.resolve: which of these events has this lane committed, as far as
 * they may not be settled?  What other lanes have brought, or this one long
 * ago (TL_OVERLAP), cannot be asked for, and is sent again.
 */
TlOutcome
tlkf_resolve(TlSession *session, TlBatch *batch, bool fence,
			 TlVerdict *verdict)
{
	TlkfState  *state = tlkf_begin(session);
	pg_uuid_t	last;

	if (!fence)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"a topic is not asked which events it holds");
		return TL_REFUSED;
	}
	if (!tlkf_client_ready(state, verdict) ||
		!tlkf_take_charge(state, verdict) ||
		!read_token(state, &last, verdict))
		return TL_UNKNOWN;
	tlkf_journal_resolve(state, batch, &last);
	return TL_OK;
}

/* Of the last batch that was committed; zero: of none. */
static bool
read_token(TlkfState *state, pg_uuid_t *token, TlVerdict *verdict)
{
	rd_kafka_t *reader = tlkf_client_reader(state, state->transactional_id,
											verdict);

	memset(token, 0, sizeof(*token));
	return reader != NULL && read_by(state, reader, token, verdict);
}

/* NB: a call that is left destroys the reader, and closes its descriptor. */
static bool
read_by(TlkfState *state, rd_kafka_t *reader, pg_uuid_t *token,
		TlVerdict *verdict)
{
	TlkfCallArgs args = {
		.kind = TLKF_READ_OFFSETS,
		.rk = reader,
		.timeout_ms = time_left(state),
		.notify_fd = dup(tlkf_client_fd(state)),
		.offsets = token_offset(state, NULL)
	};
	TlkfCall   *call = args.notify_fd < 0 ? NULL : tlkf_call_start(&args);
	rd_kafka_error_t *error = NULL;
	TlkfEnd		end = TLKF_EVENT;
	bool		ok = false;

	if (call == NULL)
	{
		rd_kafka_topic_partition_list_destroy(args.offsets);
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"could not start a thread");
	}
	else if (await_call(state, call, &end) || !tlkf_call_leave(call))
	{
		take_token(tlkf_call_offsets(call), token);
		(void) tlkf_call_ended(call, &error);
		ok = error == NULL;
		if (!ok)
			fail(state, error, verdict);
	}
	else
	{
		tlkf_fail_waiting(state, end, verdict);
		return false;
	}
	tlkf_destroy(reader, args.notify_fd);
	return ok;
}

static void
take_token(const rd_kafka_topic_partition_list_t *offsets, pg_uuid_t *token)
{
	const rd_kafka_topic_partition_t *offset = &offsets->elems[0];

	if (offset->metadata != NULL && offset->metadata_size == TLKF_UUID_LEN)
		tlkf_parse_uuid(token, offset->metadata);
}

static int
time_left(const TlkfState *state)
{
	return (int) Max(state->deadline - tlkf_now_ms(), LEAST_MS);
}
