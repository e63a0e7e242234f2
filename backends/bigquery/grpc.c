/*-------------------------------------------------------------------------
 *
 * grpc.c
 *	  Calls of the Storage Write API: gRPC over HTTP/2, by libcurl.
 *
 * A call is one POST, for the stream of requests that AppendRows is as well:
 * one message, then the end of the request (github.com/grpc/grpc, "gRPC over
 * HTTP2").  HTTP's status is 200 also for refusals; what counts is grpc-status,
 * which comes behind the body, or alone.  Where it is missing the answer was
 * cut off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../common/tl_auth.h"
#include "tlbq.h"

#define MAX_ANSWER			(4 * 1024 * 1024)
#define FRAME_HEADER		5
#define UNAVAILABLE			14
#define INTERNAL			13

static bool one_call(TlbqState *state, const char *url, const char *routing,
					  const char *framed, Size len, TlHttpReply *http,
					  TlVerdict *verdict);
static void judge(TlbqState *state, const TlHttpReply *http,
				  TlbqReply *reply);
static void judge_status(TlbqState *state, int code, TlbqReply *reply);
static bool find_message(const TlHttpReply *http, TlbqReply *reply);
static char *decode_words(const char *words);

/*
 * method is its name within BigQueryWrite; the routing header, without which
 * the call may take a detour, gives a field of the request.  Fills in *reply,
 * and the verdict where no answer came.
 */
void
tlbq_call(TlbqState *state, const char *method, const char *routing_name,
		  const char *routing_value, const char *framed, Size len,
		  TlbqReply *reply, TlVerdict *verdict)
{
	StringInfoData routing;
	TlHttpReply http;
	char	   *url = psprintf("%s/google.cloud.bigquery.storage.v1.BigQueryWrite/%s",
							   state->grpc_url, method);

	memset(reply, 0, sizeof(*reply));
	initStringInfo(&routing);
	appendStringInfo(&routing, "x-goog-request-params: %s=", routing_name);
	tl_http_escape(&routing, routing_value);
	for (int attempt = 1;; attempt++)
	{
		if (!one_call(state, url, routing.data, framed, len, &http, verdict))
		{
			tlbq_classify_grpc(UNAVAILABLE, 0, NULL, &reply->error);
			reply->sent = http.sent;
			return;
		}
		judge(state, &http, reply);
		if (reply->ok || !reply->error.unauthenticated || attempt > 1 ||
			!tlbq_forget_token(state))
			break;
	}
	reply->sent = reply->ok || reply->error.outcome == TL_UNKNOWN;
}

static bool
one_call(TlbqState *state, const char *url, const char *routing,
		  const char *framed, Size len, TlHttpReply *http,
		  TlVerdict *verdict)
{
	TlHttpRequest request = {.url = url,
		.content_type = "application/grpc+proto", .body = framed,
		.body_len = len, .max_reply = MAX_ANSWER,
	.deadline = state->deadline};
	int64		left = state->deadline - tl_http_now_ms();
	const char *headers[8];
	int			n = 0;

	memset(http, 0, sizeof(*http));
	if (!tl_make_client(tlbq_core, state->session, &state->grpc_settings,
						&state->grpc, verdict) ||
		!tlbq_authorize(state, headers, &n, verdict))
		return false;
	headers[n++] = "TE: trailers";
	headers[n++] = "User-Agent: tokenledger";
	headers[n++] = psprintf("grpc-timeout: %dm", (int) Max(left, 1));
	headers[n++] = routing;
	headers[n] = NULL;
	request.headers = headers;
	tl_http_perform(state->grpc, &request, http);
	if (http->end == TL_HTTP_ANSWERED)
		return true;
	tlbq_fail_unanswered(http, "", verdict);
	return false;
}

static void
judge(TlbqState *state, const TlHttpReply *http, TlbqReply *reply)
{
	StringInfoData status;

	memset(&reply->error, 0, sizeof(reply->error));
	if (http->status != 200)
	{
		tlbq_classify_http(http->status, &reply->error);
		return;
	}
	initStringInfo(&status);
	if (!tl_http_header(state->grpc, "grpc-status", &status))
		tlbq_classify_grpc(UNAVAILABLE, 0, "the answer has no grpc-status",
						   &reply->error);
	else if (strcmp(status.data, "0") != 0)
		judge_status(state, (int) strtol(status.data, NULL, 10), reply);
	else if (!find_message(http, reply))
		tlbq_classify_grpc(INTERNAL, 0, "the answer is not of gRPC",
						   &reply->error);
	else
		reply->ok = true;
}

/* With the details, where the service's own code is. */
static void
judge_status(TlbqState *state, int code, TlbqReply *reply)
{
	StringInfoData words;
	StringInfoData encoded;
	StringInfoData details;

	initStringInfo(&words);
	initStringInfo(&encoded);
	initStringInfo(&details);
	(void) tl_http_header(state->grpc, "grpc-message", &words);
	tlbq_classify_grpc(code, 0, decode_words(words.data), &reply->error);
	if (tl_http_header(state->grpc, "grpc-status-details-bin", &encoded) &&
		tl_base64_decode(&details, encoded.data, encoded.len))
		tlbq_read_status((const uint8 *) details.data, details.len,
						 &reply->error);
}

/* None, or one that is not compressed.  false: it is neither. */
static bool
find_message(const TlHttpReply *http, TlbqReply *reply)
{
	const uint8 *frame = (const uint8 *) http->body;
	uint32		len;

	if (http->body_len == 0)
		return true;
	if (http->body_len < FRAME_HEADER || frame[0] != 0)
		return false;
	len = (uint32) frame[1] << 24 | (uint32) frame[2] << 16 |
		(uint32) frame[3] << 8 | frame[4];
	if (len > http->body_len - FRAME_HEADER)
		return false;
	reply->message = frame + FRAME_HEADER;
	reply->len = len;
	return true;
}

/* Percent-encoded; in place. */
static char *
decode_words(const char *words)
{
	char	   *result = pstrdup(words);
	char	   *to = result;

	for (const char *p = words; *p != '\0'; p++)
	{
		unsigned int byte;

		if (p[0] == '%' && isxdigit((unsigned char) p[1]) &&
			isxdigit((unsigned char) p[2]) &&
			sscanf(p + 1, "%2x", &byte) == 1 && byte >= ' ')
		{
			*to++ = (char) byte;
			p += 2;
		}
		else
			*to++ = *p;
	}
	*to = '\0';
	return result;
}
