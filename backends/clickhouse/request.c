/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Requests to ClickHouse, and reading their answers.
 *
 * Every statement is a POST with all of its settings in the URL and the user
 * in headers; the password is read anew for each.  wait_end_of_query makes
 * the server finish before it answers, so that the status can be trusted;
 * and still only an answer without an exception, in header or body, counts.
 *
 * The server's time limit is shorter than ours: then it is the server that
 * gives up, and says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

#define MAX_ANSWER			(8 * 1024 * 1024)

static bool add_credentials(TlchState *state, const char **headers, int *n,
							TlVerdict *verdict);
static bool add_secret(TlchState *state, const char *option,
					   const char *header, const char **headers, int *n,
					   TlVerdict *verdict);
static bool secret_wanted(TlchState *state, const char *option);
static bool transported(TlchState *state, const TlHttpReply *reply,
						TlVerdict *verdict);
static bool run(TlchState *state, const char *sql,
				const TlHttpRequest *how, TlHttpReply *reply,
				TlVerdict *verdict);

/*
 * Posts a body.  parameters continue the URL ("&a=b"); encoding is the body's
 * Content-Encoding, or NULL; of *how only the members about the answer are
 * used.  false: nothing was sent, or no complete answer came: the verdict
 * says why and reply->sent whether the server may have acted.
 */
bool
tlch_post(TlchState *state, const char *parameters, const char *encoding,
		  StringInfo body, const TlHttpRequest *how, TlHttpReply *reply,
		  TlVerdict *verdict)
{
	TlHttpRequest request = *how;
	StringInfoData url;
	const char *headers[6];
	int			n = 0;
	int64		left = state->deadline - tl_http_now_ms();

	memset(reply, 0, sizeof(*reply));
	reply->end = TL_HTTP_FAILED;
	if (!tl_make_client(tlch_core, state->session, &state->http_settings,
						&state->http, verdict) ||
		!add_credentials(state, headers, &n, verdict))
		return false;
	if (encoding != NULL)
		headers[n++] = psprintf("Content-Encoding: %s", encoding);
	headers[n] = NULL;

	initStringInfo(&url);
	appendStringInfo(&url, "%s?wait_end_of_query=1&max_execution_time=%d",
					 state->url, (int) Max(left * 9 / 10000, 1));
	appendStringInfoString(&url, parameters);
	request.url = url.data;
	request.headers = headers;
	request.body = body->data;
	request.body_len = body->len;
	request.deadline = state->deadline;
	tl_http_perform(state->http, &request, reply);
	return transported(state, reply, verdict);
}

static bool
add_credentials(TlchState *state, const char **headers, int *n,
				TlVerdict *verdict)
{
	const char *user = state->session->user;

	if (secret_wanted(state, "token"))
		return add_secret(state, "token", "Authorization: Bearer ", headers,
						  n, verdict);
	headers[(*n)++] = psprintf("X-ClickHouse-User: %s",
							   user ? user : "default");
	if (tlch_core->option(state->session, "cert_file") != NULL &&
		!secret_wanted(state, "password"))
	{
		headers[(*n)++] = "X-ClickHouse-SSL-Certificate-Auth: on";
		return true;
	}
	return !secret_wanted(state, "password") ||
		add_secret(state, "password", "X-ClickHouse-Key: ", headers, n,
				   verdict);
}

static bool
secret_wanted(TlchState *state, const char *option)
{
	return tlch_core->option(state->session,
							 psprintf("%s_file", option)) != NULL ||
		tlch_core->option(state->session,
						  psprintf("%s_env", option)) != NULL;
}

static bool
add_secret(TlchState *state, const char *option, const char *header,
		   const char **headers, int *n, TlVerdict *verdict)
{
	StringInfoData value;

	initStringInfo(&value);
	appendStringInfoString(&value, header);
	if (!tlch_core->secret(state->session, option, &value))
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"option \"%s\": its file or variable cannot be read",
				option);
		return false;
	}
	if (strpbrk(value.data, "\r\n") != NULL)
	{
		tl_fail(verdict, TL_CAUSE_AUTH, NULL,
				"option \"%s\": it has more than one line", option);
		return false;
	}
	headers[(*n)++] = value.data;
	return true;
}

static bool
transported(TlchState *state, const TlHttpReply *reply, TlVerdict *verdict)
{
	switch (reply->end)
	{
		case TL_HTTP_ANSWERED:
			return true;
		case TL_HTTP_STOPPED:
			tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
			break;
		case TL_HTTP_TIMEOUT:
			tl_fail(verdict, TL_CAUSE_NETWORK, NULL,
					"no answer from the server within %d ms (option timeout)",
					state->timeout_ms);
			break;
		case TL_HTTP_FAILED:
			tl_fail(verdict, reply->bad_file ? TL_CAUSE_CONFIG :
					TL_CAUSE_NETWORK, NULL, "%s%s", reply->error,
					reply->bad_file ?
					" (options ca_file, cert_file and key_file)" : "");
			break;
	}
	return false;
}

/* An answer without an exception; what its body holds is another matter. */
bool
tlch_is_success(const TlchState *state, const TlHttpReply *reply)
{
	StringInfoData code;

	initStringInfo(&code);
	return reply->status == 200 &&
		!tl_http_header(state->http, "X-ClickHouse-Exception-Code", &code);
}

void
tlch_read_error(const TlchState *state, const TlHttpReply *reply,
				TlchError *error)
{
	StringInfoData code;
	bool		has_code;

	initStringInfo(&code);
	has_code = tl_http_header(state->http, "X-ClickHouse-Exception-Code",
							  &code);
	tlch_parse_error(reply->status, has_code ? code.data : NULL, reply->body,
					 reply->body_len, error);
}

void
tlch_record_error(const TlchError *error, TlVerdict *verdict)
{
	if (error->code != 0)
		tl_fail(verdict, error->cause, psprintf("%d", error->code), "%s",
				error->message);
	else
		tl_fail(verdict, error->cause, error->name, "%s", error->message);
}

/*
 * Runs a statement whose whole answer, in RowBinary, is then under the
 * reader until the next request.  reader may be NULL where there is none.
 */
bool
tlch_query(TlchState *state, const char *sql, TlchReader *reader,
		   TlVerdict *verdict)
{
	static const TlHttpRequest how = {.max_reply = MAX_ANSWER};
	TlHttpReply reply;

	if (!run(state, sql, &how, &reply, verdict))
		return false;
	if (reader != NULL)
	{
		reader->next = reply.body;
		reader->end = reply.body + reply.body_len;
		reader->broken = false;
	}
	return true;
}

/* Runs a statement whose answer is read while it arrives. */
bool
tlch_stream(TlchState *state, const char *sql, TlHttpConsumeCB consume,
			void *arg, TlVerdict *verdict)
{
	TlHttpRequest how = {
		.max_reply = MAX_ANSWER,
		.consume = consume,
		.arg = arg
	};
	TlHttpReply reply;

	return run(state, sql, &how, &reply, verdict);
}

static bool
run(TlchState *state, const char *sql, const TlHttpRequest *how,
	TlHttpReply *reply, TlVerdict *verdict)
{
	StringInfoData body;
	TlchError	error;

	initStringInfo(&body);
	appendStringInfoString(&body, sql);
	if (!tlch_post(state, "", NULL, &body, how, reply, verdict))
		return false;
	if (tlch_is_success(state, reply))
		return true;
	tlch_read_error(state, reply, &error);
	tlch_record_error(&error, verdict);
	return false;
}

/* Never NULL; palloc'd. */
char *
tlch_read_string(TlchReader *reader)
{
	uint64		len = 0;
	int			shift = 0;
	char	   *text;

	while (reader->next < reader->end && shift < 64)
	{
		unsigned char c = *reader->next++;

		len |= (uint64) (c & 0x7F) << shift;
		shift += 7;
		if (c < 0x80)
			break;
	}
	if (shift == 0 || len > (uint64) (reader->end - reader->next))
	{
		reader->broken = true;
		reader->next = reader->end;
		return pstrdup("");
	}
	text = pnstrdup(reader->next, len);
	reader->next += len;
	return text;
}

int64
tlch_read_int64(TlchReader *reader)
{
	int64		value = 0;

	if (reader->end - reader->next < (ptrdiff_t) sizeof(value))
	{
		reader->broken = true;
		reader->next = reader->end;
		return 0;
	}
	memcpy(&value, reader->next, sizeof(value));
	reader->next += sizeof(value);
	return value;
}

/* Two little-endian halves. */
void
tlch_read_uuid(TlchReader *reader, pg_uuid_t *uuid)
{
	uint64		halves[2];

	halves[0] = (uint64) tlch_read_int64(reader);
	halves[1] = (uint64) tlch_read_int64(reader);
	for (int i = 0; i < UUID_LEN; i++)
		uuid->data[i] = (unsigned char) (halves[i / 8] >> (8 * (7 - i % 8)));
}

void
tlch_append_hex(StringInfo out, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		appendStringInfoChar(out, digits[uuid->data[i] >> 4]);
		appendStringInfoChar(out, digits[uuid->data[i] & 15]);
	}
}
