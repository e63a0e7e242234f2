/*-------------------------------------------------------------------------
 *
 * channel.c
 *	  A lane's channel of Snowpipe Streaming.
 *
 * A channel has one writer: whoever opens it last.  Opening it discards what
 * was appended and is not committed yet, and tells the offset token that was
 * committed last.  So it is fence and answer in one.
 *
 * The offset token of an append is <token>/<row>: the batch's token, and how
 * many of its rows have been appended by then.  Snowflake compares nothing;
 * it only keeps the last one that is committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlsf.h"

#define MAX_TOKEN			4096

static char *channel_name(const TlsfState *state);
static bool read_status(TlsfChannel *channel, TlJson *status,
						const char *errors, TlVerdict *verdict);
static bool healthy(const char *code);
static bool keep_continuation(TlsfChannel *channel, TlJson *answer,
							  TlVerdict *verdict);

/*
 * Opens the channel, also if it is open: what it had not committed is gone
 * then.  false: it may be open or not.
 */
bool
tlsf_open_channel(TlsfState *state, TlVerdict *verdict)
{
	TlsfChannel *channel = &state->channel;
	StringInfoData path;
	StringInfoData body;
	TlsfError	error;
	TlJson	   *answer;
	TlJson	   *status;
	bool		sent;

	channel->open = false;
	initStringInfo(&path);
	appendStringInfo(&path, "%s/channels/",
					 tlsf_channel_path(state, "/v2/streaming", ""));
	tl_http_escape(&path, channel_name(state));
	appendStringInfo(&path, "?requestId=%s", tlsf_random_request_id());
	initStringInfo(&body);
	appendStringInfoString(&body, "{}");
	if (!tlsf_ingest(state, "PUT", path.data, "application/json", NULL, &body,
					 &answer, &error, &sent, verdict))
		return false;
	status = tl_json_get(answer, "channel_status");
	if (!keep_continuation(channel, answer, verdict) ||
		!read_status(channel, status, "rows_error_count", verdict))
		return false;
	channel->errors_before = channel->errors;
	channel->open = true;
	return true;
}

/* The same ledger's lane has the same channel, on whatever server it is. */
static char *
channel_name(const TlsfState *state)
{
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfoString(&name, "tokenledger-");
	tl_append_uuid(&name, &state->session->ledger_id);
	appendStringInfo(&name, "-%d", state->session->lane);
	return name.data;
}

static bool
keep_continuation(TlsfChannel *channel, TlJson *answer, TlVerdict *verdict)
{
	const char *token = tl_json_get_text(answer, "next_continuation_token");

	if (token != NULL && strlen(token) < sizeof(channel->continuation))
	{
		strlcpy(channel->continuation, token, sizeof(channel->continuation));
		return true;
	}
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer has no continuation token");
	return false;
}

/* false: the channel must not be used. */
static bool
read_status(TlsfChannel *channel, TlJson *status, const char *errors,
			TlVerdict *verdict)
{
	const char *code = tl_json_get_text(status, "channel_status_code");
	const char *token = tl_json_get_text(status,
										 "last_committed_offset_token");

	strlcpy(channel->committed, token ? token : "",
			sizeof(channel->committed));
	channel->errors = tl_json_get_int64(status, errors, 0);
	if (status != NULL && healthy(code))
		return true;
	channel->open = false;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			status == NULL ? "Snowflake does not know the channel" :
			"the channel has become invalid: %.100s",
			code ? code : "no status");
	return false;
}

static bool
healthy(const char *code)
{
	return code == NULL || pg_strcasecmp(code, "SUCCESS") == 0 ||
		pg_strcasecmp(code, "ACTIVE") == 0 || strcmp(code, "0") == 0;
}

/* Appends rows, which bring the batch to the offset token. */
bool
tlsf_append(TlsfState *state, StringInfo rows, const char *from,
			const char *to, TlsfError *error, bool *sent, TlVerdict *verdict)
{
	TlsfChannel *channel = &state->channel;
	StringInfoData path;
	TlJson	   *answer;

	initStringInfo(&path);
	appendStringInfo(&path, "%s/channels/",
					 tlsf_channel_path(state, "/v2/streaming/data", ""));
	tl_http_escape(&path, channel_name(state));
	appendStringInfoString(&path, "/rows?continuationToken=");
	tl_http_escape(&path, channel->continuation);
	appendStringInfoString(&path, "&startOffsetToken=");
	tl_http_escape(&path, from);
	appendStringInfoString(&path, "&endOffsetToken=");
	tl_http_escape(&path, to);
	appendStringInfo(&path, "&requestId=%s", tlsf_random_request_id());
	if (!tlsf_ingest(state, "POST", path.data, "application/x-ndjson", "zstd",
					 rows, &answer, error, sent, verdict))
		return false;
	*sent = true;
	return keep_continuation(channel, answer, verdict);
}

/* What is committed by now.  false: not known, or the channel is invalid. */
bool
tlsf_ask_channel(TlsfState *state, TlsfError *error, TlVerdict *verdict)
{
	TlsfChannel *channel = &state->channel;
	char	   *name = channel_name(state);
	StringInfoData body;
	TlJson	   *answer;
	TlJson	   *status;
	bool		sent;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"channel_names\":[\"%s\"]}", name);
	if (!tlsf_ingest(state, "POST",
					 tlsf_channel_path(state, "/v2/streaming",
									   ":bulk-channel-status"),
					 "application/json", NULL, &body, &answer, error, &sent,
					 verdict))
		return false;
	status = tl_json_get(tl_json_get(answer, "channel_statuses"), name);

	/* The documentation has another name for it than its own client. */
	return read_status(channel, status,
					   tl_json_get(status, "rows_errors") != NULL ?
					   "rows_errors" : "rows_error_count", verdict);
}

/* Rows of the batch that are committed; -1: the channel does not say. */
int32
tlsf_committed_rows(const TlsfChannel *channel, const TlBatch *batch)
{
	const char *slash = strchr(channel->committed, '/');
	char	   *prefix;
	pg_uuid_t	token;
	long		rows;

	if (slash == NULL)
		return -1;
	prefix = pnstrdup(channel->committed, slash - channel->committed);
	if (!tl_read_uuid(prefix, &token) ||
		memcmp(&token, &batch->token, UUID_LEN) != 0)
		return -1;
	rows = strtol(slash + 1, NULL, 10);
	return (int32) Min(Max(rows, 0), PG_INT32_MAX);
}

char *
tlsf_offset_token(const TlBatch *batch, int32 rows)
{
	StringInfoData text;

	initStringInfo(&text);
	tl_append_uuid(&text, &batch->token);
	appendStringInfo(&text, "/%d", rows);
	return text.data;
}

/* This lane will not come back. */
void
tlsf_drop_channel(TlsfState *state)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	StringInfoData path;
	StringInfoData nothing;
	TlsfError	error;
	TlJson	   *answer;
	bool		sent;

	initStringInfo(&nothing);
	initStringInfo(&path);
	appendStringInfo(&path, "%s/channels/",
					 tlsf_channel_path(state, "/v2/streaming", ""));
	tl_http_escape(&path, channel_name(state));
	appendStringInfo(&path, "?requestId=%s", tlsf_random_request_id());
	(void) tlsf_ingest(state, "DELETE", path.data, "application/json", NULL,
					   &nothing, &answer, &error, &sent, &here);
	state->channel.open = false;
}
