/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sends a batch: a message for each event, a report for each message.
 *
 * What decides the outcome:
 *
 * 1. A message is stored when its report says so: as many replicas as the
 *	  topic's min.insync.replicas demands have it.  Without a report nothing
 *	  is stored, whatever was sent.
 * 2. librdkafka's idempotent producer repeats what was not acknowledged,
 *	  in order and once, as long as the handle lives.  What is not reported as
 *	  stored within the time limit was never sent (not stored), or may be
 *	  there (TL_UNKNOWN); then the handle goes, and with it what it might
 *	  still send.
 * 3. With transactions nothing counts before the commit: whatever fails
 *	  before it never will, and then nothing is stored (transaction.c).  The
 *	  same if an event is refused: the batch's token stands for all of it.
 * 4. A message that is larger than the topic takes is its event's refusal.
 *	  The limit is compared with the message as it is before compression.
 *
 * Messages are copied into librdkafka's queue, which holds 64 MB: a larger
 * batch is encoded as room gets free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define MESSAGE_OVERHEAD 512	/* key, headers, frame: at most */
#define GRACE_MS		2000	/* for reports of messages given up */

typedef enum Fate
{
	WAITING,
	STORED,
	NOT_STORED,
	UNCERTAIN,
	REFUSED
} Fate;

typedef struct Delivery
{
	TlkfState  *state;
	TlBatch    *batch;
	TlVerdict  *verdict;
	uint8		number;			/* in the messages' tags */
	bool		begun;			/* the transaction, if there are any */
	uint8	   *fates;			/* by row */
	int32		counts[REFUSED + 1];	/* by fate; WAITING: in the queue */
	rd_kafka_headers_t *headers;	/* the same for each message */
	rd_kafka_resp_err_t code;	/* of the first failure */
	TlkfEnd		end;			/* TLKF_EVENT: all reports are in */
} Delivery;

static void deliver(Delivery *d);
static bool produce_row(Delivery *d, const TlkfEncoder *encoder,
						const TlColumn *by, int32 row, StringInfo value);
static rd_kafka_resp_err_t produce(Delivery *d, const TlColumn *by,
								   int32 row, StringInfo value);
static uint32 partition_hash(const Delivery *d, const TlColumn *by,
							 int32 row, const char *key);
static void refuse(Delivery *d, int32 row, const char *reason);
static void refuse_size(Delivery *d, int32 row, int32 len);
static void make_headers(Delivery *d);
static void add_uuid_header(rd_kafka_headers_t *headers, const char *name,
							const pg_uuid_t *uuid);
static bool await_reports(Delivery *d, int32 until);
static void take_reports(Delivery *d, rd_kafka_event_t *event);
static void take_report(Delivery *d, const rd_kafka_message_t *message);
static TlOutcome judge(Delivery *d);
static TlOutcome judge_transaction(Delivery *d);
static TlOutcome failure(Delivery *d);
static TlOutcome too_large(Delivery *d);
static TlOutcome not_stored(const TlBatch *batch, TlOutcome outcome);

/* TlBackend.send */
TlOutcome
tlkf_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	TlkfState  *state = tlkf_begin(session);
	Delivery	d = {.state = state, .batch = batch, .verdict = verdict};

	if (batch->nrows == 0)
		return TL_OK;
	if (!tlkf_client_ready(state, verdict) ||
		(state->transactional && !tlkf_take_charge(state, verdict)))
		return not_stored(batch, TL_RETRY);
	if (state->transactional)
		tlkf_journal_expect(state, batch->nrows);
	d.number = tlkf_client_batch(state);
	d.fates = palloc0(batch->nrows);
	deliver(&d);
	verdict->rows_new = batch->history == TL_FRESH ? d.counts[STORED] : -1;
	return state->transactional ? judge_transaction(&d) : judge(&d);
}

static void
deliver(Delivery *d)
{
	const TlkfState *state = d->state;
	TlkfEncoder *encoder = tlkf_encoder_create(d->batch, state->format);
	const TlColumn *by = state->partition_by == NULL ? NULL :
		tlkf_find_column(d->batch, state->partition_by);
	StringInfoData value;
	bool		going = true;

	initStringInfo(&value);
	make_headers(d);
	for (int32 row = 0; going && row < d->batch->nrows; row++)
		going = produce_row(d, encoder, by, row, &value);
	rd_kafka_headers_destroy(d->headers);

	if (d->counts[WAITING] == 0)
		return;

	/* Without waiting for more messages (linger.ms). */
	(void) rd_kafka_flush(tlkf_client_handle(state), 0);
	d->state->deadline += GRACE_MS;
	(void) await_reports(d, 0);
}

/* false: there is no point in going on. */
static bool
produce_row(Delivery *d, const TlkfEncoder *encoder, const TlColumn *by,
			int32 row, StringInfo value)
{
	const char *reason = d->state->reasons ? d->state->reasons[row] : NULL;
	rd_kafka_resp_err_t code;

	if (reason == NULL)
		reason = tlkf_refusal(encoder, row);
	if (reason != NULL)
	{
		refuse(d, row, reason);
		return true;
	}
	resetStringInfo(value);
	tlkf_encode_row(encoder, row, value);
	if (value->len + MESSAGE_OVERHEAD > tlkf_message_limit(d->state))
	{
		refuse_size(d, row, value->len);
		return true;
	}
	if (d->state->transactional)
	{
		if (d->counts[REFUSED] > 0)
			return true;		/* this attempt stores nothing */
		if (!d->begun &&
			!(d->begun = tlkf_transaction_begin(d->state, d->verdict)))
			return false;
	}
	while ((code = produce(d, by, row, value)) ==
		   RD_KAFKA_RESP_ERR__QUEUE_FULL)
		if (!await_reports(d, d->counts[WAITING] / 2))
			return false;
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		d->counts[WAITING]++;
	else if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		refuse_size(d, row, value->len);
	else
		d->code = code;
	return d->code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* librdkafka owns the headers unless it fails. */
static rd_kafka_resp_err_t
produce(Delivery *d, const TlColumn *by, int32 row, StringInfo value)
{
	TlkfTag		tag = {.of = {.row = row, .batch = d->number}};
	rd_kafka_headers_t *headers = rd_kafka_headers_copy(d->headers);
	char		key[TLKF_UUID_LEN];
	rd_kafka_vu_t v[6] = {{0}};
	rd_kafka_error_t *error;
	rd_kafka_resp_err_t code;

	tlkf_format_uuid(key, &d->batch->event_ids[row]);
	tag.of.hash = partition_hash(d, by, row, key);
	v[0].vtype = RD_KAFKA_VTYPE_RKT;
	v[0].u.rkt = tlkf_client_topic(d->state);
	v[1].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	v[1].u.i = RD_KAFKA_MSG_F_COPY;
	v[2].vtype = RD_KAFKA_VTYPE_KEY;
	v[2].u.mem.ptr = key;
	v[2].u.mem.size = sizeof(key);
	v[3].vtype = RD_KAFKA_VTYPE_VALUE;
	v[3].u.mem.ptr = value->data;
	v[3].u.mem.size = value->len;
	v[4].vtype = RD_KAFKA_VTYPE_HEADERS;
	v[4].u.headers = headers;
	v[5].vtype = RD_KAFKA_VTYPE_OPAQUE;
	v[5].u.ptr = tag.opaque;
	error = rd_kafka_produceva(tlkf_client_handle(d->state), v, lengthof(v));
	if (error == NULL)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	rd_kafka_headers_destroy(headers);
	return code;
}

/* Only where a column chooses the partition; a NULL is anywhere. */
static uint32
partition_hash(const Delivery *d, const TlColumn *by, int32 row,
			   const char *key)
{
	static const Size widths[] = {
		[TL_UUID] = UUID_LEN, [TL_TIMESTAMP] = 8, [TL_FLOAT64] = 8,
		[TL_INT64] = 8, [TL_DECIMAL] = 8
	};
	const char *text;
	int32		len;

	if (d->state->partition_by == NULL)
		return 0;
	if (by == NULL || tl_isnull(by, row))
		return tlkf_murmur2(key, TLKF_UUID_LEN);
	if (by->type != TL_TEXT && by->type != TL_JSON)
		return tlkf_murmur2((const char *) by->values +
							row * widths[by->type], widths[by->type]);
	text = tl_text(by, row, &len);
	return tlkf_murmur2(text, len);
}

static void
refuse(Delivery *d, int32 row, const char *reason)
{
	tlkf_core->mark_refused(d->batch, row, reason);
	tl_fail(d->verdict, TL_CAUSE_DATA, NULL, "%s", reason);
	d->fates[row] = REFUSED;
	d->counts[REFUSED]++;
}

static void
refuse_size(Delivery *d, int32 row, int32 len)
{
	refuse(d, row, psprintf("a message of %d bytes is larger than the topic takes (its max.message.bytes)",
							len));
}

/* Which schema the value has, and which batch of which ledger it is of. */
static void
make_headers(Delivery *d)
{
	d->headers = rd_kafka_headers_new(3);
	rd_kafka_header_add(d->headers, "tokenledger-schema", -1,
						tlkf_schema_version(d->batch), -1);
	add_uuid_header(d->headers, "tokenledger-batch", &d->batch->token);
	add_uuid_header(d->headers, "tokenledger-ledger",
					&d->state->session->ledger_id);
}

static void
add_uuid_header(rd_kafka_headers_t *headers, const char *name,
				const pg_uuid_t *uuid)
{
	char		text[TLKF_UUID_LEN];

	tlkf_format_uuid(text, uuid);
	rd_kafka_header_add(headers, name, -1, text, sizeof(text));
}

/* Until no more than so many messages wait; false: it did not come to it. */
static bool
await_reports(Delivery *d, int32 until)
{
	d->end = TLKF_EVENT;
	while (d->counts[WAITING] > until)
	{
		rd_kafka_event_t *event = tlkf_next_event(d->state, false, &d->end);

		if (event != NULL)
			take_reports(d, event);
		else if (d->end != TLKF_EVENT)
			return false;
	}
	return true;
}

static void
take_reports(Delivery *d, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;

	if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
		while ((message = rd_kafka_event_message_next(event)) != NULL)
			take_report(d, message);
	rd_kafka_event_destroy(event);
}

static void
take_report(Delivery *d, const rd_kafka_message_t *message)
{
	TlkfTag		tag = {.opaque = message->_private};
	Fate		fate = STORED;

	if (tag.of.batch != d->number || tag.of.row >= d->batch->nrows ||
		d->fates[tag.of.row] != WAITING)
		return;
	if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		fate = rd_kafka_message_status(message) ==
			RD_KAFKA_MSG_STATUS_NOT_PERSISTED ? NOT_STORED : UNCERTAIN;
		if (d->code == RD_KAFKA_RESP_ERR_NO_ERROR)
			d->code = message->err;
	}
	d->fates[tag.of.row] = fate;
	d->counts[fate]++;
	d->counts[WAITING]--;
}

static TlOutcome
judge(Delivery *d)
{
	int32		nrows = d->batch->nrows;
	bool		uncertain = d->counts[WAITING] + d->counts[UNCERTAIN] > 0;

	if (d->counts[REFUSED] == nrows)
		return not_stored(d->batch, TL_REFUSED);
	if (d->counts[STORED] + d->counts[REFUSED] == nrows)
		return TL_OK;
	for (int32 row = 0; row < nrows; row++)
		if (d->fates[row] == STORED)
			tlkf_core->mark_landed(d->batch, row);
	if (!uncertain)
		return not_stored(d->batch, failure(d));
	(void) failure(d);
	tlkf_client_drop(d->state);
	return TL_UNKNOWN;
}

/*
 * The whole batch is stored, or nothing of it: if events are refused, the
 * others come again without them.  What is not committed goes with its
 * handle, and none of its messages will ever count.
 */
static TlOutcome
judge_transaction(Delivery *d)
{
	TlOutcome	outcome = TL_RETRY;

	if (d->counts[STORED] == d->batch->nrows)
	{
		TlkfStep	step = tlkf_transaction_commit(d->state, d->batch,
												   d->verdict);

		tlkf_journal_end(d->state, step == TLKF_DONE);
		if (step == TLKF_DONE)
			return TL_OK;
		if (step == TLKF_UNCERTAIN)
			outcome = TL_UNKNOWN;
	}
	else
	{
		outcome = d->counts[REFUSED] > 0 ? TL_REFUSED : failure(d);
		tlkf_journal_end(d->state, false);
		if (d->begun)
			tlkf_client_drop(d->state);
	}
	d->verdict->rows_new = -1;
	return not_stored(d->batch, outcome);
}

/* Why not everything is stored; what becomes of what certainly is not. */
static TlOutcome
failure(Delivery *d)
{
	const TlkfTrouble *trouble = tlkf_trouble(d->state);

	if (d->code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		return too_large(d);
	if (d->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		tlkf_fail_waiting(d->state, d->end, d->verdict);
	else if (d->code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT &&
			 trouble->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		tlkf_fail_code(trouble->code, trouble->words, d->verdict);
	else
		tlkf_fail_code(d->code, NULL, d->verdict);
	return TL_RETRY;
}

/*
 * The broker takes less than we thought.  If the topic can be asked for its
 * limit, that is done next; else the batch is halved until one event is left.
 */
static TlOutcome
too_large(Delivery *d)
{
	tlkf_fail_code(d->code, NULL, d->verdict);
	return d->state->max_message > 0 ? TL_RETRY : TL_SPLIT;
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
 * TlBackend.encode: the messages' values.  JSON: one a line; protocol
 * buffers: each behind its length.
 */
TlOutcome
tlkf_encode(TlSession *session, const TlBatch *batch, StringInfo out,
			TlVerdict *verdict)
{
	TlkfState  *state = session->private_state;
	TlkfEncoder *encoder = tlkf_encoder_create(batch, state->format);
	StringInfoData value;

	initStringInfo(&value);
	for (int32 row = 0; row < batch->nrows; row++)
	{
		const char *reason = tlkf_refusal(encoder, row);

		if (reason != NULL)
		{
			tl_fail(verdict, TL_CAUSE_DATA, NULL, "%s", reason);
			return TL_REFUSED;
		}
		resetStringInfo(&value);
		tlkf_encode_row(encoder, row, &value);
		if (state->format == TLKF_PROTOBUF)
			tlkf_put_length(out, value.len);
		appendBinaryStringInfo(out, value.data, value.len);
		if (state->format == TLKF_JSON)
			appendStringInfoChar(out, '\n');
	}
	return TL_OK;
}
