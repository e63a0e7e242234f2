/*-------------------------------------------------------------------------
 *
 * write_api.c
 *	  The calls that a lane makes of the Storage Write API.
 *
 * Small messages go through protobuf-c, whose allocator is palloc's without
 * its errors: nothing is thrown through the library's frames.  What is
 * unpacked stays until its memory context goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "storage_write.pb-c.h"
#include "tlbq.h"

#define FRAME_HEADER		5
#define STORAGE_ERROR		"google.cloud.bigquery.storage.v1.StorageError"
#define STREAM_ALREADY_COMMITTED	2
#define ANSWER_IS(what)		TLBQ_PB__APPEND_ROWS_RESPONSE__RESPONSE_##what
#define STREAM_TYPE(mode)	((mode) == TLBQ_PENDING ? 2 : 1)

static void *allocate(void *arg, size_t size);
static void release(void *arg, void *pointer);
static void call(TlbqState *state, const char *method,
				 const char *routing_name, const char *routing_value,
				 const ProtobufCMessage *message, TlbqReply *reply,
				 TlVerdict *verdict);
static bool succeeded(const TlbqReply *reply, TlVerdict *verdict);
static void *unpack(const ProtobufCMessageDescriptor *type,
					const TlbqReply *reply, TlbqError *error);
static TlbqAnswer judge_append(TlBatch *batch, int64 offset,
							   const TlbqPb__AppendRowsResponse *answer,
							   TlbqError *error);
static bool blame(TlBatch *batch, const TlbqPb__AppendRowsResponse *answer);
static void take_status(const TlbqPb__Status *status, TlbqError *error);

static ProtobufCAllocator allocator = {allocate, release, NULL};

static void *
allocate(void *arg, size_t size)
{
	return palloc_extended(size, MCXT_ALLOC_NO_OOM);
}

static void
release(void *arg, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

static void
call(TlbqState *state, const char *method, const char *routing_name,
	 const char *routing_value, const ProtobufCMessage *message,
	 TlbqReply *reply, TlVerdict *verdict)
{
	Size		len = protobuf_c_message_get_packed_size(message);
	uint8	   *framed = palloc(FRAME_HEADER + len);

	framed[0] = 0;
	for (int i = 1; i < FRAME_HEADER; i++)
		framed[i] = (uint8) (len >> (8 * (FRAME_HEADER - 1 - i)));
	(void) protobuf_c_message_pack(message, framed + FRAME_HEADER);
	tlbq_call(state, method, routing_name, routing_value, (char *) framed,
			  FRAME_HEADER + len, reply, verdict);
}

static bool
succeeded(const TlbqReply *reply, TlVerdict *verdict)
{
	if (!reply->ok)
		tlbq_record_error(&reply->error, verdict);
	return reply->ok;
}

/* NULL: *error says that it is none. */
static void *
unpack(const ProtobufCMessageDescriptor *type, const TlbqReply *reply,
	   TlbqError *error)
{
	void	   *message = protobuf_c_message_unpack(type, &allocator,
													reply->len,
													reply->message);

	if (message == NULL)
		tlbq_classify_grpc(13, 0, "the answer's message cannot be read",
						   error);
	return message;
}

/* A new stream of the application's own; *name in the current context. */
bool
tlbq_create_stream(TlbqState *state, TlbqMode mode, char **name,
				   TlVerdict *verdict)
{
	TlbqPb__CreateWriteStreamRequest request =
		TLBQ_PB__CREATE_WRITE_STREAM_REQUEST__INIT;
	TlbqPb__WriteStream stream = TLBQ_PB__WRITE_STREAM__INIT;
	TlbqPb__WriteStream *made;
	TlbqReply	reply;

	stream.type = STREAM_TYPE(mode);
	request.parent = unconstify(char *, state->name.resource);
	request.write_stream = &stream;
	call(state, "CreateWriteStream", "parent", state->name.resource,
		 &request.base, &reply, verdict);
	if (!succeeded(&reply, verdict))
		return false;
	made = unpack(&tlbq_pb__write_stream__descriptor, &reply, &reply.error);
	if (made != NULL && made->name[0] != '\0')
	{
		*name = made->name;
		return true;
	}
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer to CreateWriteStream names no stream");
	return false;
}

/* offset < 0: none.  *error and the verdict are filled in unless appended. */
TlbqAnswer
tlbq_append(TlbqState *state, TlBatch *batch, const char *stream,
			int64 offset, TlbqError *error, bool *sent, TlVerdict *verdict)
{
	StringInfoData buffer;
	TlbqAppend	request;
	TlbqReply	reply;
	TlbqAnswer	answer = TLBQ_FAILED;
	TlbqPb__AppendRowsResponse *message = NULL;

	*sent = false;
	initStringInfo(&buffer);
	tlbq_encode_append(batch, stream, offset, &buffer, &request);
	if (request.len > TLBQ_MAX_REQUEST)
	{
		tlbq_classify_http(413, error);
		snprintf(error->message, sizeof(error->message),
				 "the request would be larger than 9 MB");
	}
	else
	{
		tlbq_call(state, "AppendRows", "write_stream", stream, request.data,
				  request.len, &reply, verdict);
		*sent = reply.sent;
		*error = reply.error;
		if (reply.ok)
			message = unpack(&tlbq_pb__append_rows_response__descriptor,
							 &reply, error);
		if (message != NULL)
			answer = judge_append(batch, offset, message, error);
	}
	pfree(buffer.data);
	if (answer != TLBQ_APPENDED)
		tlbq_record_error(error, verdict);
	return answer;
}

/* The call went well: did the append? */
static TlbqAnswer
judge_append(TlBatch *batch, int64 offset,
			 const TlbqPb__AppendRowsResponse *answer, TlbqError *error)
{
	const TlbqPb__AppendResult *result;

	if (answer->response_case == ANSWER_IS(ERROR))
	{
		take_status(answer->error, error);
		return answer->n_row_errors > 0 && blame(batch, answer) ?
			TLBQ_ROWS_REFUSED : TLBQ_FAILED;
	}
	result = answer->append_result;
	if (answer->response_case == ANSWER_IS(APPEND_RESULT) &&
		answer->n_row_errors == 0 &&
		(offset < 0 || result->offset == NULL ||
		 result->offset->value == offset))
		return TLBQ_APPENDED;
	tlbq_classify_grpc(13, 0, "the answer to AppendRows says nothing, or of another offset",
					   error);
	return TLBQ_FAILED;
}

/* Marks the rows that were named; false: none of ours was. */
static bool
blame(TlBatch *batch, const TlbqPb__AppendRowsResponse *answer)
{
	bool		any = false;

	for (size_t i = 0; i < answer->n_row_errors; i++)
	{
		const TlbqPb__RowError *row = answer->row_errors[i];

		if (row->index < 0 || row->index >= batch->nrows)
			continue;
		tlbq_core->mark_refused(batch, (int32) row->index,
								tlbq_describe_row_error(row->message));
		any = true;
	}
	return any;
}

static void
take_status(const TlbqPb__Status *status, TlbqError *error)
{
	int			storage = 0;

	for (size_t i = 0; i < status->n_details; i++)
	{
		const TlbqPb__Any *detail = status->details[i];
		const char *type = strrchr(detail->type_url, '/');
		TlbqPb__StorageError *inner;

		if (type == NULL || strcmp(type + 1, STORAGE_ERROR) != 0)
			continue;
		inner = (TlbqPb__StorageError *)
			protobuf_c_message_unpack(&tlbq_pb__storage_error__descriptor,
									  &allocator, detail->value.len,
									  detail->value.data);
		if (inner != NULL)
			storage = inner->code;
	}
	tlbq_classify_grpc(status->code, storage, status->message, error);
}

/* A google.rpc.Status, as the trailers bring it; else *error stays. */
void
tlbq_read_status(const uint8 *data, Size len, TlbqError *error)
{
	TlbqPb__Status *status = (TlbqPb__Status *)
		protobuf_c_message_unpack(&tlbq_pb__status__descriptor, &allocator,
								  len, data);

	if (status != NULL && status->code == error->code)
		take_status(status, error);
}

/* Nothing is appended any more; *row_count is what there is. */
bool
tlbq_finalize_stream(TlbqState *state, const char *stream, int64 *row_count,
					 TlbqError *error, TlVerdict *verdict)
{
	TlbqPb__FinalizeWriteStreamRequest request =
		TLBQ_PB__FINALIZE_WRITE_STREAM_REQUEST__INIT;
	TlbqPb__FinalizeWriteStreamResponse *answer;
	TlbqReply	reply;

	request.name = unconstify(char *, stream);
	call(state, "FinalizeWriteStream", "name", stream, &request.base, &reply,
		 verdict);
	*error = reply.error;
	if (!succeeded(&reply, verdict))
		return false;
	answer = unpack(&tlbq_pb__finalize_write_stream_response__descriptor,
					&reply, error);
	if (answer == NULL)
	{
		tlbq_record_error(error, verdict);
		return false;
	}
	*row_count = answer->row_count;
	return true;
}

/*
 * Makes the rows of a finalized stream appear, all at once.  true: they are
 * there, by this call or an earlier one.
 */
bool
tlbq_commit_stream(TlbqState *state, const char *stream, TlbqError *error,
				   bool *sent, TlVerdict *verdict)
{
	TlbqPb__BatchCommitWriteStreamsRequest request =
		TLBQ_PB__BATCH_COMMIT_WRITE_STREAMS_REQUEST__INIT;
	TlbqPb__BatchCommitWriteStreamsResponse *answer;
	char	   *streams[] = {unconstify(char *, stream)};
	TlbqReply	reply;

	request.parent = unconstify(char *, state->name.resource);
	request.write_streams = streams;
	request.n_write_streams = 1;
	call(state, "BatchCommitWriteStreams", "parent", state->name.resource,
		 &request.base, &reply, verdict);
	*sent = reply.sent;
	*error = reply.error;
	if (!reply.ok && error->storage == STREAM_ALREADY_COMMITTED)
		return true;
	if (!succeeded(&reply, verdict))
		return false;
	answer = unpack(&tlbq_pb__batch_commit_write_streams_response__descriptor,
					&reply, error);
	if (answer != NULL && answer->commit_time != NULL)
		return true;
	if (answer != NULL && answer->n_stream_errors > 0)
	{
		const TlbqPb__StorageError *first = answer->stream_errors[0];

		if (first->code == STREAM_ALREADY_COMMITTED)
			return true;
		tlbq_classify_grpc(9, first->code, first->error_message, error);
	}
	else
		tlbq_classify_grpc(13, 0, "the answer to BatchCommitWriteStreams has no commit time",
						   error);
	tlbq_record_error(error, verdict);
	return false;
}
