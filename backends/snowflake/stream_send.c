/*-------------------------------------------------------------------------
 *
 * stream_send.c
 *	  mode=streaming: sends a batch as appends to the lane's channel.
 *
 * An append that is answered with 200 is taken, not committed; rows that are
 * not committed are lost when the channel is opened again, or when it becomes
 * invalid.  So a batch is acknowledged only when the last offset token that
 * is committed covers it, and while that does not come the outcome is
 * unknown.
 *
 * Rows that do not fit the table are dropped by Snowflake, counted, and not
 * named.  When the count has grown the table is asked which of the batch's
 * events are there; the others are refused, and the core finds out which of
 * them are to blame.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

#define FIRST_POLL_MS		100
#define LAST_POLL_MS		2000

static TlOutcome append_all(TlsfState *state, TlBatch *batch,
							TlVerdict *verdict);
static TlOutcome await_commit(TlsfState *state, TlBatch *batch,
							  TlVerdict *verdict);
static TlOutcome judge_dropped(TlsfState *state, TlBatch *batch,
							   TlVerdict *verdict);

/*
 * Sends rows that the table can hold; the batch is fresh, for the core has
 * resolved it otherwise.
 */
TlOutcome
tlsf_stream_batch(TlsfState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlOutcome	outcome;

	if (!state->channel.open && !tlsf_open_channel(state, verdict))
		return TL_RETRY;
	outcome = append_all(state, batch, verdict);
	if (outcome == TL_OK)
		outcome = await_commit(state, batch, verdict);
	if (outcome == TL_UNKNOWN)
		state->channel.open = false;
	return outcome;
}

/*
 * One after the other.  Before the first is sent nothing can have been
 * taken; after that only opening the channel anew makes sure.
 */
static TlOutcome
append_all(TlsfState *state, TlBatch *batch, TlVerdict *verdict)
{
	StringInfoData lines;
	StringInfoData body;
	int32		begin = 0;

	initStringInfo(&lines);
	initStringInfo(&body);
	while (begin < batch->nrows)
	{
		TlsfError	error;
		bool		sent = false;
		int32		end;

		resetStringInfo(&lines);
		resetStringInfo(&body);
		end = tlsf_encode_lines(&lines, batch, state->remote, begin);
		if (end == begin)
		{
			tl_fail(verdict, TL_CAUSE_OVERLOAD, "413",
					"an event is larger than the 4 MB that Snowpipe Streaming takes");
			return begin == 0 ? TL_SPLIT : TL_UNKNOWN;
		}
		if (!tlsf_compress(&body, &lines))
		{
			tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
					"the compression library is out of memory");
			return begin == 0 ? TL_RETRY : TL_UNKNOWN;
		}
		if (!tlsf_append(state, &body, tlsf_offset_token(batch, begin + 1),
						 tlsf_offset_token(batch, end), &error, &sent,
						 verdict))
		{
			if (error.cause == TL_CAUSE_SCHEMA)
				state->remote = NULL;	/* look again */
			if (error.reopen)
				state->channel.open = false;
			return sent || begin > 0 ? TL_UNKNOWN :
				error.outcome == TL_UNKNOWN ? TL_RETRY : error.outcome;
		}
		begin = end;
	}
	return TL_OK;
}

/* Asks for the channel's status until it covers the batch. */
static TlOutcome
await_commit(TlsfState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlsfChannel *channel = &state->channel;
	int			pause = FIRST_POLL_MS;

	while (tl_http_now_ms() < state->deadline)
	{
		TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
		TlsfError	error;

		if (!tlsf_sleep(state, Min(tl_http_now_ms() + pause,
								   state->deadline)))
		{
			tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
			return TL_UNKNOWN;
		}
		pause = Min(pause * 2, LAST_POLL_MS);
		if (tlsf_ask_channel(state, &error, &here))
		{
			if (tlsf_committed_rows(channel, batch) < batch->nrows)
				continue;
			if (channel->errors > channel->errors_before)
				return judge_dropped(state, batch, verdict);
			verdict->rows_new = batch->nrows;
			return TL_OK;
		}
		if (!channel->open || !(error.status == 0 ||
								error.outcome == TL_UNKNOWN ||
								error.status == 429))
		{
			*verdict = here;
			return TL_UNKNOWN;
		}
	}
	tl_fail(verdict, TL_CAUSE_OVERLOAD, NULL,
			"the rows were not committed within the time limit; option \"timeout\"");
	return TL_UNKNOWN;
}

/* All of the batch is settled; what the table lacks was dropped. */
static TlOutcome
judge_dropped(TlsfState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlsfChannel *channel = &state->channel;
	int32		found;

	state->deadline = tl_http_now_ms() + state->timeout_ms;
	if (!tlsf_mark_present(state, batch, &found, verdict))
		return TL_UNKNOWN;
	channel->errors_before = channel->errors;
	if (found == batch->nrows)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_DATA, "rows_error_count",
			"Snowpipe Streaming dropped some of the rows (its words are not shown: they may quote an event)");
	return TL_REFUSED;
}
