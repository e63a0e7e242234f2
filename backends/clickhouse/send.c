/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sends a batch: one INSERT, one block, one answer.
 *
 * What decides the outcome:
 *
 * 1. Until libcurl has taken the first byte of the body, nothing can have
 *	  been written, whatever broke: TL_RETRY.
 * 2. After that only an answer is certain.  It counts as success if the
 *	  status, the headers, the body (empty) and the number of rows that the
 *	  server says it wrote all agree: a server accepts a body that was cut off
 *	  behind a block, or that is empty.
 * 3. An exception that is thrown before anything is written (errors.c) is
 *	  what it is.  After any other one some partitions may have their rows,
 *	  and the token may be known without any: TL_UNKNOWN, and the core asks.
 *	  Only where the batch shall be cut or events be refused, the table is
 *	  asked here, since for those outcomes the rest must certainly be absent;
 *	  the server has answered, so the INSERT has ended.
 * 4. Views that read the table's inserts run within the INSERT, after the
 *	  rows are there, and a Distributed table is several.  With them no
 *	  exception is early.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_screen.h"
#include "tlch.h"

typedef struct Insert
{
	TlchState  *state;
	TlBatch    *batch;			/* what the core gave */
	TlBatch		part;			/* what this request takes of it */
	int			number;			/* of the request within the batch, from 0 */
	TlVerdict  *verdict;
} Insert;

static TlOutcome refuse(TlchState *state, TlBatch *batch,
						TlVerdict *verdict);
static TlOutcome not_stored(const TlBatch *batch, TlOutcome outcome);
static TlOutcome send_by_months(Insert *insert);
static TlOutcome send_part(Insert *insert);
static TlOutcome judge_success(Insert *insert, const TlHttpReply *reply);
static TlOutcome judge_error(Insert *insert, const TlHttpReply *reply);
static bool one_step(const TlchTable *table);
static bool of_one_day(const TlBatch *part);
static int64 day_of(int64 usec);
static TlOutcome after_looking(Insert *insert, const TlchError *error);
static void blame(Insert *insert, const TlchError *error);

/* TlBackend.send */
TlOutcome
tlch_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	Insert		insert = {.state = state, .batch = batch, .part = *batch,
	.verdict = verdict};

	if (batch->nrows == 0)
		return TL_OK;
	if (!tlch_load_table(state, verdict))
		return not_stored(batch, TL_RETRY);
	if (!tlch_batch_fits(state, batch, verdict))
	{
		state->remote = NULL;	/* look again next time */
		return not_stored(batch, TL_RETRY);
	}
	if (refuse(state, batch, verdict) != TL_OK)
		return not_stored(batch, TL_REFUSED);
	if (tlch_too_many_months(batch))
		return send_by_months(&insert);
	return send_part(&insert);
}

/* Events that the table cannot hold. */
static TlOutcome
refuse(TlchState *state, TlBatch *batch, TlVerdict *verdict)
{
	const char **reasons = palloc0(batch->nrows * sizeof(char *));

	if (tlch_screen(batch, state->remote, reasons) == 0)
		return TL_OK;
	return tl_refuse_rows(tlch_core, batch, reasons, verdict);
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

/*
 * As many months at a time as fit into one INSERT.  What has landed is marked
 * as it does, so that the outcome speaks of the rest.
 */
static TlOutcome
send_by_months(Insert *insert)
{
	TlBatch    *batch = insert->batch;
	int32	   *rows = tlch_by_month(batch);
	int32		begin = 0;

	while (begin < batch->nrows)
	{
		int32		end = tlch_months_end(batch, rows, begin);
		TlOutcome	outcome;

		tlch_take_rows(batch, rows + begin, end - begin, &insert->part);
		outcome = send_part(insert);
		if (outcome != TL_OK)
			return outcome == TL_REFUSED || outcome == TL_SPLIT ?
				TL_SPLIT : outcome;
		for (int32 i = begin; i < end; i++)
			tlch_core->mark_landed(batch, rows[i]);
		insert->number++;
		begin = end;
	}
	return TL_OK;
}

static TlOutcome
send_part(Insert *insert)
{
	TlHttpReply reply;

	if (!tlch_insert(insert->state, &insert->part, insert->number, &reply,
					 insert->verdict))
		return reply.sent ? TL_UNKNOWN :
			not_stored(insert->batch, TL_RETRY);
	if (tlch_is_success(insert->state, &reply))
		return judge_success(insert, &reply);
	return judge_error(insert, &reply);
}

/* NB: rows that views have written are counted too, hence "at least". */
static TlOutcome
judge_success(Insert *insert, const TlHttpReply *reply)
{
	TlchState  *state = insert->state;
	StringInfoData summary;
	int64		written = -1;
	bool		fresh = insert->batch->history == TL_FRESH;

	initStringInfo(&summary);
	if (tl_http_header(state->http, "X-ClickHouse-Summary", &summary))
		written = tlch_written_rows(summary.data);
	if (reply->body_len > 0)
		return judge_error(insert, reply);
	if (written == insert->part.nrows || (state->async && written <= 0) ||
		(state->remote->has_views && written > insert->part.nrows))
	{
		if (insert->verdict->rows_new < 0)
			insert->verdict->rows_new = 0;
		insert->verdict->rows_new += insert->part.nrows;
		if (!fresh)
			insert->verdict->rows_new = -1;
		return TL_OK;
	}
	tl_fail(insert->verdict, TL_CAUSE_NETWORK, NULL,
			"the server says that it wrote " INT64_FORMAT " rows of %d",
			written, insert->part.nrows);
	state->remote = NULL;		/* a view may have been made */
	return TL_UNKNOWN;
}

static TlOutcome
judge_error(Insert *insert, const TlHttpReply *reply)
{
	TlchState  *state = insert->state;
	TlchError	error;
	StringInfoData seconds;
	bool		early;

	tlch_read_error(state, reply, &error);
	early = error.early && one_step(state->remote) &&
		(error.outcome != TL_REFUSED || of_one_day(&insert->part));
	tlch_record_error(&error, insert->verdict);
	initStringInfo(&seconds);
	if (tl_http_header(state->http, "Retry-After", &seconds))
		insert->verdict->retry_after_ms =
			(int) Min(Max(strtol(seconds.data, NULL, 10), 0), 3600) * 1000;
	if (error.cause == TL_CAUSE_SCHEMA)
		state->remote = NULL;	/* look again */
	if (early)
	{
		if (error.outcome == TL_REFUSED)
			blame(insert, &error);
		return not_stored(insert->batch, error.outcome);
	}
	if (error.outcome == TL_REFUSED || error.outcome == TL_SPLIT)
		return after_looking(insert, &error);
	return TL_UNKNOWN;
}

/* Does an INSERT write to this table alone? */
static bool
one_step(const TlchTable *table)
{
	return !table->has_views && strcmp(table->engine, "Distributed") != 0;
}

/*
 * Where an INSERT meets several partitions, an expression of the table's (of
 * an index, say) may refuse a row when others' are written already.
 */
static bool
of_one_day(const TlBatch *part)
{
	return day_of(part->min_timestamp) == day_of(part->max_timestamp);
}

/* Since 1970, rounded down. */
static int64
day_of(int64 usec)
{
	const int64 day = INT64CONST(86400) * 1000000;

	return usec / day - (usec % day < 0);
}

/* Which of the events did this INSERT, or an earlier one, leave there? */
static TlOutcome
after_looking(Insert *insert, const TlchError *error)
{
	TlBatch    *batch = insert->batch;
	bool	   *present = palloc0(batch->nrows * sizeof(bool));
	TlVerdict	asking = {0};
	bool		all = true;

	if (batch->history != TL_FRESH ||
		!tlch_find_events(insert->state, batch, present, &asking))
		return TL_UNKNOWN;
	for (int32 row = 0; row < batch->nrows; row++)
	{
		all = all && present[row];
		if (present[row])
			tlch_core->mark_landed(batch, row);
	}
	if (error->outcome == TL_REFUSED && !all)
		blame(insert, error);
	return all ? TL_OK : error->outcome;
}

/* The event that the server named, if it named one of the whole batch. */
static void
blame(Insert *insert, const TlchError *error)
{
	if (error->row >= 1 && error->row <= insert->part.nrows &&
		insert->part.nrows == insert->batch->nrows)
		tlch_core->mark_refused(insert->batch, (int32) error->row - 1,
								error->message);
}
