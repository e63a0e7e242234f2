/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  One INSERT: its statement, its settings, its body.
 *
 * The batch's token, with the number of the request within the batch, is the
 * insert_deduplication_token.  It is also in the query id, under which
 * fence.c finds an INSERT that is still running; and a server refuses a
 * second query under the id of one that runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

static bool encode_body(TlchState *state, const TlBatch *batch,
						StringInfo body, TlVerdict *verdict);
static bool ready_compressor(TlchState *state, TlVerdict *verdict);
static char *parameters(const TlchState *state, const TlBatch *batch,
						int number);
static void append_statement(StringInfo url, const TlchState *state,
							 const TlBatch *batch);
static bool same_types(const TlchTable *table, const TlBatch *batch);
static const char *encoding(const TlchState *state);

/*
 * Sends the rows as the batch's request of this number, from 0.  false:
 * without an answer; reply->sent says if some of the body was taken.
 */
bool
tlch_insert(TlchState *state, const TlBatch *batch, int number,
			TlHttpReply *reply, TlVerdict *verdict)
{
	static const TlHttpRequest how = {.max_reply = 65536};
	StringInfoData body;
	bool		answered;

	memset(reply, 0, sizeof(*reply));
	initStringInfo(&body);
	if (!encode_body(state, batch, &body, verdict))
		return false;
	answered = tlch_post(state, parameters(state, batch, number),
						 encoding(state), &body, &how, reply, verdict);
	pfree(body.data);
	return answered;
}

static bool
encode_body(TlchState *state, const TlBatch *batch, StringInfo body,
			TlVerdict *verdict)
{
	if (!ready_compressor(state, verdict))
		return false;
	if (tlch_compress_begin(state->compressor, body) &&
		tlch_encode_block(batch, tlch_compress, state->compressor) &&
		tlch_compress_end(state->compressor))
		return true;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s",
			tlch_compress_error(state->compressor));
	return false;
}

static bool
ready_compressor(TlchState *state, TlVerdict *verdict)
{
	const char *error;

	if (state->compressor != NULL)
		return true;
	state->compressor = tlch_compressor_create(state->session->mcxt,
											   state->compression,
											   state->level, &error);
	if (state->compressor == NULL)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s", error);
	return state->compressor != NULL;
}

static const char *
encoding(const TlchState *state)
{
	return state->compression == TLCH_ZSTD ? "zstd" :
		state->compression == TLCH_LZ4 ? "lz4" : NULL;
}

/*
 * A column that is not there, or a NULL that cannot be stored, is an error
 * and not silently something else.  async_insert is always said: its default
 * differs from version to version.
 */
static char *
parameters(const TlchState *state, const TlBatch *batch, int number)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfoString(&url, "&query_id=");
	tlch_append_query_id(&url, state, &batch->token);
	appendStringInfo(&url, "-%d&insert_deduplicate=1"
					 "&insert_deduplication_token=", number);
	tlch_append_hex(&url, &batch->token);
	appendStringInfo(&url, "-%d", number);
	appendStringInfoString(&url, state->async ?
						   "&async_insert=1&wait_for_async_insert=1"
						   "&async_insert_deduplicate=1" :
						   "&async_insert=0");
	appendStringInfo(&url, "&input_format_null_as_default=0"
					 "&input_format_skip_unknown_fields=0"
					 "&input_format_native_allow_types_conversion=%d",
					 !same_types(state->remote, batch));
	if (strcmp(state->remote->engine, "Distributed") == 0)
		appendStringInfoString(&url, "&insert_distributed_sync=1");
	appendStringInfoString(&url, "&query=");
	append_statement(&url, state, batch);
	return url.data;
}

static void
append_statement(StringInfo url, const TlchState *state,
				 const TlBatch *batch)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", state->table.quoted);
	for (int i = 0; i < batch->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, ", ");
		tlch_quote_identifier(&sql, batch->columns[i].name);
	}
	appendStringInfoString(&sql, ") FORMAT Native");
	tl_http_escape(url, sql.data);
	pfree(sql.data);
}

/*
 * Then the server need not convert, and does not if the table is altered
 * under us.
 */
static bool
same_types(const TlchTable *table, const TlBatch *batch)
{
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const char *name = batch->columns[i].name;
		const TlchColumn *column = tlch_find_column(table, name);
		const TlchExpected *expected = tlch_find_expected(name);

		if (column == NULL || expected == NULL ||
			strcmp(column->type, tlch_type_name(expected)) != 0)
			return false;
	}
	return true;
}

/* TlBackend.encode */
TlOutcome
tlch_encode(TlSession *session, const TlBatch *batch, StringInfo out,
			TlVerdict *verdict)
{
	return encode_body(session->private_state, batch, out, verdict) ?
		TL_OK : TL_REFUSED;
}
