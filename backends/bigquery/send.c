/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sends a batch: one append, to the stream that the mode asks for.
 *
 * Until libcurl has taken the first byte of a request, nothing can have been
 * written, whatever broke: TL_RETRY.  After that only an answer is certain,
 * and errors.c says which refusals are.
 *
 * committed	The lane's own stream, saved before its first append; the
 *				batch's rows go to the offset that the last acknowledged one
 *				ended at.  Rows are there when they are acknowledged.
 * pending		A stream for each batch, saved with its token.  Rows appear
 *				when the stream is committed.  Once they have been appended,
 *				nothing but a commit that succeeded is certain: see resolve.c
 *				for why no rows may be left behind in a stream that nobody
 *				remembers.
 * default		The table's stream, which has no offsets.
 *
 * A batch that an earlier attempt may have stored comes here only after it
 * was resolved, as a fresh one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "../common/tl_screen.h"
#include "tlbq.h"

#define ALREADY_EXISTS			6	/* google.rpc.Code */
#define OFFSET_ALREADY_EXISTS	8	/* StorageErrorCode */

static TlOutcome refuse(TlbqState *state, TlBatch *batch,
						TlVerdict *verdict);
static TlOutcome send_committed(TlbqState *state, TlBatch *batch,
								TlVerdict *verdict);
static TlOutcome open_stream(TlbqState *state, const TlBatch *batch,
							 TlbqMode mode, TlbqStream *stream,
							 TlVerdict *verdict);
static bool usable(const TlbqState *state, const TlbqStream *stream);
static bool retire_suspect(TlbqState *state, const TlbqStream *stream,
						   TlVerdict *verdict);
static TlOutcome leave_stream(TlbqState *state, TlbqStream *stream,
							  const TlbqError *error, const TlBatch *batch,
							  TlOutcome outcome);
static TlOutcome send_pending(TlbqState *state, TlBatch *batch,
							  TlVerdict *verdict);
static TlOutcome send_default(TlbqState *state, TlBatch *batch,
							  TlVerdict *verdict);
static TlOutcome failure(TlbqState *state, const TlBatch *batch,
						 const TlbqError *error, bool sent);

/* TlBackend.send */
TlOutcome
tlbq_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);

	if (batch->nrows == 0)
		return TL_OK;
	if (!tlbq_load_table(state, verdict))
		return tlbq_not_stored(batch, TL_RETRY);
	if (!tlbq_batch_fits(state, batch, verdict))
	{
		state->remote = NULL;	/* look again next time */
		return tlbq_not_stored(batch, TL_RETRY);
	}
	if (refuse(state, batch, verdict) != TL_OK)
		return tlbq_not_stored(batch, TL_REFUSED);
	switch (state->mode)
	{
		case TLBQ_COMMITTED:
			return send_committed(state, batch, verdict);
		case TLBQ_PENDING:
			return send_pending(state, batch, verdict);
		case TLBQ_DEFAULT:
			return send_default(state, batch, verdict);
		case TLBQ_INSERTALL:
			return tlbq_insert_all(state, batch, verdict);
	}
	return tlbq_not_stored(batch, TL_RETRY);
}

/* Events that the table cannot hold. */
static TlOutcome
refuse(TlbqState *state, TlBatch *batch, TlVerdict *verdict)
{
	const char **reasons = palloc0(batch->nrows * sizeof(char *));

	if (tlbq_screen(batch, state->remote->partitioned,
					(int64) time(NULL) * 1000000, reasons) == 0)
		return TL_OK;
	return tl_refuse_rows(tlbq_core, batch, reasons, verdict);
}

/*
 * This attempt stored nothing; an earlier one of a batch that is not fresh
 * may have.
 */
TlOutcome
tlbq_not_stored(const TlBatch *batch, TlOutcome outcome)
{
	return batch->history == TL_FRESH ? outcome : TL_UNKNOWN;
}

static TlOutcome
send_committed(TlbqState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlbqStream	stream;
	TlbqError	error;
	TlOutcome	outcome;
	bool		sent;

	outcome = open_stream(state, batch, TLBQ_COMMITTED, &stream, verdict);
	if (outcome != TL_OK)
		return outcome;
	state->last_append = batch->token;
	switch (tlbq_append(state, batch, stream.name, stream.offset, &error,
						&sent, verdict))
	{
		case TLBQ_APPENDED:
			stream.offset += batch->nrows;
			tlbq_acknowledge_stream(state, &stream);
			verdict->rows_new = batch->nrows;
			return TL_OK;
		case TLBQ_ROWS_REFUSED:
			return tlbq_not_stored(batch, TL_REFUSED);
		case TLBQ_FAILED:
			break;
	}
	outcome = failure(state, batch, &error, sent);
	if (!sent && error.outcome == TL_UNKNOWN)
		return outcome;			/* the stream has not heard of it */
	return leave_stream(state, &stream, &error, batch, outcome);
}

/* The lane's stream, or a new one that is saved before it is used. */
static TlOutcome
open_stream(TlbqState *state, const TlBatch *batch, TlbqMode mode,
			TlbqStream *stream, TlVerdict *verdict)
{
	bool		suspect = false;
	char	   *name;

	(void) tlbq_load_stream(state, stream, &suspect);
	if (suspect && !retire_suspect(state, stream, verdict))
		return tlbq_not_stored(batch, TL_RETRY);
	if (!suspect && mode == TLBQ_COMMITTED && usable(state, stream))
		return TL_OK;
	if (!tlbq_create_stream(state, mode, &name, verdict))
		return tlbq_not_stored(batch, TL_RETRY);
	memset(stream, 0, sizeof(*stream));
	stream->mode = mode;
	stream->name = name;
	stream->row_count = -1;
	stream->token = batch->token;
	return tlbq_save_stream(state, stream) ? TL_OK :
		tlbq_not_stored(batch, TL_RETRY);
}

/* Open, and of the table that the target names by now. */
static bool
usable(const TlbqState *state, const TlbqStream *stream)
{
	Size		len = strlen(state->name.resource);

	return stream->mode == TLBQ_COMMITTED && stream->row_count < 0 &&
		!stream->doubtful &&
		strncmp(stream->name, state->name.resource, len) == 0 &&
		stream->name[len] == '/';
}

/*
 * What was saved before a fail-over: a predecessor may still append to it.
 * false: that could not be stopped.
 */
static bool
retire_suspect(TlbqState *state, const TlbqStream *stream, TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlbqError	error;
	int64		row_count;

	if (stream->name[0] == '\0' ||
		tlbq_finalize_stream(state, stream->name, &row_count, &error,
							 &here) ||
		error.new_stream)
		return true;
	*verdict = here;
	return false;
}

/*
 * A stream that takes no more is replaced.  The offset that should have been
 * free was not: what the stream holds is not what we think, so that its row
 * count will tell nothing about this batch.
 */
static TlOutcome
leave_stream(TlbqState *state, TlbqStream *stream, const TlbqError *error,
			 const TlBatch *batch, TlOutcome outcome)
{
	bool		taken = error->code == ALREADY_EXISTS ||
		error->storage == OFFSET_ALREADY_EXISTS;

	if (!error->new_stream && !taken)
		return outcome;
	stream->doubtful = true;
	stream->token = batch->token;
	return tlbq_save_stream(state, stream) ? outcome : TL_UNKNOWN;
}

static TlOutcome
send_pending(TlbqState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlbqStream	stream;
	TlbqError	error;
	TlOutcome	outcome;
	int64		row_count;
	bool		sent;

	outcome = open_stream(state, batch, TLBQ_PENDING, &stream, verdict);
	if (outcome != TL_OK)
		return outcome;
	switch (tlbq_append(state, batch, stream.name, 0, &error, &sent, verdict))
	{
		case TLBQ_APPENDED:
			break;
		case TLBQ_ROWS_REFUSED:
			return tlbq_not_stored(batch, TL_REFUSED);
		case TLBQ_FAILED:
			return failure(state, batch, &error, sent);
	}
	if (!tlbq_finalize_stream(state, stream.name, &row_count, &error,
							  verdict) ||
		!tlbq_commit_stream(state, stream.name, &error, &sent, verdict))
		return TL_UNKNOWN;
	stream.row_count = row_count;
	tlbq_acknowledge_stream(state, &stream);
	verdict->rows_new = batch->nrows;
	return TL_OK;
}

/* NB: saved is which mode it was, so that another mode knows to ask. */
static TlOutcome
send_default(TlbqState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlbqError	error;
	bool		sent;
	char	   *stream = psprintf("%s/streams/_default", state->name.resource);

	if (!tlbq_save_mode(state, batch, verdict))
		return tlbq_not_stored(batch, TL_RETRY);
	switch (tlbq_append(state, batch, stream, -1, &error, &sent, verdict))
	{
		case TLBQ_APPENDED:
			verdict->rows_new = batch->nrows;
			return TL_OK;
		case TLBQ_ROWS_REFUSED:
			return tlbq_not_stored(batch, TL_REFUSED);
		case TLBQ_FAILED:
			break;
	}
	return failure(state, batch, &error, sent);
}

/* Of modes that have no stream of their own; saved once. */
bool
tlbq_save_mode(TlbqState *state, const TlBatch *batch, TlVerdict *verdict)
{
	TlbqStream	stream;
	bool		suspect = false;
	bool		saved = tlbq_load_stream(state, &stream, &suspect);

	if (saved && !suspect && stream.mode == state->mode)
		return true;
	if (suspect && !retire_suspect(state, &stream, verdict))
		return false;
	memset(&stream, 0, sizeof(stream));
	stream.mode = state->mode;
	stream.name = "";
	stream.row_count = -1;
	return tlbq_save_stream(state, &stream);
}

/* What a request that was not answered by a success has done. */
static TlOutcome
failure(TlbqState *state, const TlBatch *batch, const TlbqError *error,
		bool sent)
{
	if (error->cause == TL_CAUSE_SCHEMA)
		state->remote = NULL;	/* look again */
	if (!sent && error->outcome == TL_UNKNOWN)
		return tlbq_not_stored(batch, TL_RETRY);
	return error->outcome == TL_UNKNOWN ? TL_UNKNOWN :
		tlbq_not_stored(batch, error->outcome);
}

/* TlBackend.encode: as for the default stream, without gRPC's frame. */
TlOutcome
tlbq_encode(TlSession *session, const TlBatch *batch, StringInfo out,
			TlVerdict *verdict)
{
	TlbqState  *state = session->private_state;
	StringInfoData buffer;
	TlbqAppend	append;

	initStringInfo(&buffer);
	tlbq_encode_append(batch, psprintf("%s/streams/_default",
									   state->name.resource),
					   -1, &buffer, &append);
	appendBinaryStringInfo(out, append.data + 5, append.len - 5);
	pfree(buffer.data);
	return TL_OK;
}
