/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  A batch's messages become visible together, or not at all.
 *
 * Each lane has a transactional id, and its owner initializes transactions
 * before it sends: that aborts what an earlier owner left open, finishes what
 * one had begun to commit, and fences it off.  Whether that was a commit is
 * not asked: after a crash between commit and settle the batch is sent again.
 *
 * The lane waits on its own thread while the call blocks on another (call.c).
 * A call that cannot be waited for is left, with the handle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define ABORT_MS	5000		/* at least, also after the time limit */

static TlkfStep perform(TlkfState *state, TlkfCallKind kind,
						TlVerdict *verdict);
static bool await_call(TlkfState *state, TlkfCall *call,
					   rd_kafka_error_t **error, TlkfEnd *end);
static TlkfStep judge(TlkfState *state, rd_kafka_error_t *error,
					  TlVerdict *verdict);

/* Fences earlier owners of the lane; false: not now. */
bool
tlkf_take_charge(TlkfState *state, TlVerdict *verdict)
{
	if (state->in_charge)
		return true;
	if (perform(state, TLKF_INIT_TRANSACTIONS, verdict) == TLKF_DONE)
	{
		state->in_charge = true;
		return true;
	}
	tlkf_client_drop(state);
	return false;
}

bool
tlkf_transaction_begin(TlkfState *state, TlVerdict *verdict)
{
	rd_kafka_error_t *error =
		rd_kafka_begin_transaction(tlkf_client_handle(state));

	if (error == NULL)
		return true;
	(void) judge(state, error, verdict);
	tlkf_client_drop(state);
	return false;
}

/* TLKF_NOT_DONE: it can be aborted; TLKF_UNCERTAIN: it may be committed. */
TlkfStep
tlkf_transaction_commit(TlkfState *state, TlVerdict *verdict)
{
	return perform(state, TLKF_COMMIT, verdict);
}

/*
 * true: nothing of it is or will be stored.
 *
 * The next handle aborts it.  Not rd_kafka_abort_transaction(): when one of
 * the transaction's requests is under way then and fails afterwards,
 * librdkafka 2.0 fails an assertion, and the whole server goes down.
 */
bool
tlkf_transaction_abort(TlkfState *state, TlVerdict *verdict)
{
	state->deadline = Max(state->deadline, tlkf_now_ms() + ABORT_MS);
	tlkf_client_drop(state);
	return tlkf_client_ready(state, verdict) &&
		tlkf_take_charge(state, verdict);
}

static TlkfStep
perform(TlkfState *state, TlkfCallKind kind, TlVerdict *verdict)
{
	int64		left = state->deadline - tlkf_now_ms();
	TlkfCall   *call;
	rd_kafka_error_t *error = NULL;
	TlkfEnd		end;

	call = tlkf_call_start(tlkf_client_handle(state), kind,
						   (int) Max(left, 1000), tlkf_client_fd(state));
	if (call == NULL)
	{
		tlkf_fail(verdict, TL_CAUSE_CONFIG, NULL,
				  "could not start a thread");
		return TLKF_NOT_DONE;
	}
	if (await_call(state, call, &error, &end))
		return error ? judge(state, error, verdict) : TLKF_DONE;
	tlkf_fail_waiting(state, end, verdict);
	if (tlkf_call_leave(call))
		tlkf_client_forget(state);
	else
	{
		(void) tlkf_call_ended(call, &error);
		if (error != NULL)
			rd_kafka_error_destroy(error);
		tlkf_client_drop(state);
	}
	return TLKF_UNCERTAIN;
}

/* false: it has to be left. */
static bool
await_call(TlkfState *state, TlkfCall *call, rd_kafka_error_t **error,
		   TlkfEnd *end)
{
	bool		give_up = !state->in_charge;

	*end = TLKF_EVENT;
	while (!tlkf_call_ended(call, error))
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

/* What an error leaves to be done. */
static TlkfStep
judge(TlkfState *state, rd_kafka_error_t *error, TlVerdict *verdict)
{
	const TlkfTrouble *trouble = tlkf_trouble(state);
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);
	bool		abortable = rd_kafka_error_txn_requires_abort(error);

	if (code == RD_KAFKA_RESP_ERR__TIMED_OUT &&
		trouble->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		tlkf_fail_code(trouble->code, trouble->words, verdict);
	else
		tlkf_fail_code(code, rd_kafka_error_string(error), verdict);
	rd_kafka_error_destroy(error);
	if (abortable || !state->in_charge)
		return TLKF_NOT_DONE;
	tlkf_client_drop(state);
	return TLKF_UNCERTAIN;
}
