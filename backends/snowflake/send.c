/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sends a batch: one MERGE, or what stream_send.c does.
 *
 * What an outcome rests on:
 *
 * - The batch's token is the statement's requestId.  Sent again (retry=true),
 *	 a statement that has succeeded is not run again, and one that still runs
 *	 is waited for.
 * - How long Snowflake remembers a requestId is not documented.  It need not
 *	 be long: MERGE finds the events that an earlier run has inserted.  Only
 *	 two runs at the same time might not see each other's events, and for that
 *	 long it does remember.
 * - Batches that are not the same one, but hold the same events (after a
 *	 fail-over, say), have other tokens.  The core resolves these first: see
 *	 resolve.c.
 *
 * Until libcurl has taken the first byte of a request, nothing can have been
 * written, whatever broke: TL_RETRY.  After that only an answer is certain,
 * and errors.c says which refusals are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_screen.h"
#include "tlsf.h"

static TlOutcome send_streaming(TlsfState *state, TlBatch *batch,
								TlVerdict *verdict);
static bool remember_streaming(TlsfState *state);
static bool forget_streaming(TlsfState *state);
static bool ready(TlsfState *state, const TlBatch *batch, TlVerdict *verdict);
static TlOutcome refuse(TlBatch *batch, TlVerdict *verdict);
static TlOutcome not_stored(const TlBatch *batch, TlOutcome outcome);
static bool build(TlsfState *state, const TlBatch *batch,
				  TlsfStatement *statement, TlVerdict *verdict);
static int64 rows_inserted(TlJson *answer);
static TlOutcome encode_streaming(TlsfState *state, const TlBatch *batch,
								  StringInfo out);

/* TlBackend.send */
TlOutcome
tlsf_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	TlsfStatement statement = {0};
	TlsfError	error;
	TlJson	   *answer;
	bool		sent;

	if (batch->nrows == 0)
		return TL_OK;
	if (!ready(state, batch, verdict))
		return not_stored(batch, TL_RETRY);
	if (refuse(batch, verdict) != TL_OK)
		return not_stored(batch, TL_REFUSED);
	if (state->mode == TLSF_STREAMING)
		return send_streaming(state, batch, verdict);
	if (!build(state, batch, &statement, verdict))
		return not_stored(batch, TL_SPLIT);
	if (!forget_streaming(state))
		return not_stored(batch, TL_RETRY);
	statement.request_id = &batch->token;
	statement.again = batch->attempt > 1 || batch->history != TL_FRESH;
	if (tlsf_submit(state, &statement, &answer, &error, &sent, verdict))
	{
		verdict->rows_new = rows_inserted(answer);
		return TL_OK;
	}
	if (error.cause == TL_CAUSE_SCHEMA)
		state->remote = NULL;	/* look again */
	if (!sent)
		return not_stored(batch, error.outcome == TL_UNKNOWN ?
						  TL_RETRY : error.outcome);
	if (state->running[0] == '\0')
		state->fence_until = tl_http_now_ms() + state->statement_timeout_ms;
	return TL_UNKNOWN;
}

/* A batch that is not fresh has been resolved: see session.c. */
static TlOutcome
send_streaming(TlsfState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlOutcome	outcome;

	if (!remember_streaming(state))
		return not_stored(batch, TL_RETRY);
	outcome = tlsf_stream_batch(state, batch, verdict);
	if (outcome != TL_UNKNOWN && outcome != TL_OK)
		return not_stored(batch, outcome);
	return outcome;
}

/*
 * Durably, before the first append: a lane that goes on in mode=sql must not
 * send a batch again while the channel may still commit it.  false: the lane
 * is lost.
 */
static bool
remember_streaming(TlsfState *state)
{
	return tlsf_left_streaming(state->session) ||
		tlsf_core->save_state(state->session, TLSF_STREAMING_STATE,
							  strlen(TLSF_STREAMING_STATE));
}

/*
 * Durably, before the first MERGE: what the channel says is no answer to it.
 * What was appended has been resolved.  false: the lane is lost.
 */
static bool
forget_streaming(TlsfState *state)
{
	return !tlsf_left_streaming(state->session) ||
		tlsf_core->save_state(state->session, "sql", strlen("sql"));
}

/* Is there a table that takes it? */
static bool
ready(TlsfState *state, const TlBatch *batch, TlVerdict *verdict)
{
	if (!tlsf_load_table(state, verdict))
		return false;
	if (tlsf_batch_fits(state, batch, verdict))
		return true;
	state->remote = NULL;		/* look again next time */
	return false;
}

/* Events that the table cannot hold. */
static TlOutcome
refuse(TlBatch *batch, TlVerdict *verdict)
{
	const char **reasons = palloc0(batch->nrows * sizeof(char *));

	if (tlsf_screen(batch, reasons) == 0)
		return TL_OK;
	return tl_refuse_rows(tlsf_core, batch, reasons, verdict);
}

/*
 * This attempt stored nothing; an earlier one of a batch that is not fresh
 * may have.
 */
static TlOutcome
not_stored(const TlBatch *batch, TlOutcome outcome)
{
	return batch->history == TL_FRESH ? outcome : TL_UNKNOWN;
}

/* false: it would be too large. */
static bool
build(TlsfState *state, const TlBatch *batch, TlsfStatement *statement,
	  TlVerdict *verdict)
{
	StringInfoData sql;
	StringInfoData rows;
	char	   *range = palloc(2 * TLSF_TIMESTAMP_TEXT);

	initStringInfo(&sql);
	initStringInfo(&rows);
	tlsf_encode_merge(&sql, batch, state->remote, &state->name);
	tlsf_encode_rows(&rows, batch);
	tlsf_time_range(batch, state->time_margin_ms, range,
					range + TLSF_TIMESTAMP_TEXT);
	statement->sql = sql.data;
	statement->binds[0] = rows.data;
	statement->binds[1] = range;
	statement->binds[2] = range + TLSF_TIMESTAMP_TEXT;
	if (sql.len + rows.len + 2 * TLSF_TIMESTAMP_TEXT < TLSF_MAX_STATEMENT)
		return true;
	tl_fail(verdict, TL_CAUSE_OVERLOAD, "413",
			"the statement would be larger than the 1 MB that Snowflake takes");
	return false;
}

/* {"stats": {"numRowsInserted": 17, ...}, "data": [["17"]]}; -1: not said */
static int64
rows_inserted(TlJson *answer)
{
	TlJson	   *first = tl_json_item(tl_json_item(tl_json_get(answer, "data"),
												  0), 0);
	const char *text = tl_json_text(first);

	return tl_json_get_int64(answer, "stats.numRowsInserted",
							 text ? strtoll(text, NULL, 10) : -1);
}

static TlOutcome
encode_streaming(TlsfState *state, const TlBatch *batch, StringInfo out)
{
	static const TlsfTable nothing_known = {0};
	StringInfoData lines;

	initStringInfo(&lines);
	(void) tlsf_encode_lines(&lines, batch, state->remote ? state->remote :
							 &nothing_known, 0);
	return tlsf_compress(out, &lines) ? TL_OK : TL_RETRY;
}

/* TlBackend.encode; of several appends the first. */
TlOutcome
tlsf_encode(TlSession *session, const TlBatch *batch, StringInfo out,
			TlVerdict *verdict)
{
	TlsfState  *state = session->private_state;
	TlsfTable	nothing_known = {0};
	TlsfStatement statement = {0};
	TlsfTable  *remote = state->remote;

	if (state->mode == TLSF_STREAMING)
		return encode_streaming(state, batch, out);
	if (remote == NULL)
		state->remote = &nothing_known;
	if (build(state, batch, &statement, verdict))
	{
		tlsf_write_statement(out, state, &statement);
		state->remote = remote;
		return TL_OK;
	}
	state->remote = remote;
	return TL_SPLIT;
}
