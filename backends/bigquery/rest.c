/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  Requests to BigQuery's REST interface.
 *
 * A request that is refused for its token is sent once more with a new one;
 * the refusal says that nothing has been done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

#define MAX_ANSWER			(32 * 1024 * 1024)
#define MAX_RETRY_AFTER		3600	/* seconds */

static bool request_once(TlbqState *state, const char *method,
						 const char *url, const char *etag, StringInfo body,
						 TlHttpReply *reply, bool *sent, TlVerdict *verdict);
static void read_error(const TlHttpReply *reply, TlbqError *error);
static void read_retry_after(TlbqState *state, TlVerdict *verdict);

/*
 * path continues the service's address ("/projects/..."); body is JSON, NULL:
 * none; etag: of what shall be changed, NULL: whatever it is by now.
 *
 * true: a success, and *answer is its body (NULL: none).  false: the verdict
 * says why, *error what was answered (status 0: nothing), and *sent whether
 * the request may have been carried out nevertheless.
 */
bool
tlbq_rest(TlbqState *state, const char *method, const char *path,
		  const char *etag, StringInfo body, TlJson **answer,
		  TlbqError *error, bool *sent, TlVerdict *verdict)
{
	char	   *url = psprintf("%s/bigquery/v2%s", state->rest_url, path);
	TlHttpReply reply;

	memset(error, 0, sizeof(*error));
	error->code = -1;
	error->outcome = TL_UNKNOWN;
	error->cause = TL_CAUSE_NETWORK;
	for (int attempt = 1;; attempt++)
	{
		if (!request_once(state, method, url, etag, body, &reply, sent,
						  verdict))
			return false;
		if (reply.status >= 200 && reply.status < 300)
		{
			*answer = tl_json_parse(reply.body, reply.body_len);
			return true;
		}
		read_error(&reply, error);
		if (!error->unauthenticated || attempt > 1 ||
			!tlbq_forget_token(state))
			break;
	}
	*sent = (error->outcome == TL_UNKNOWN);
	tlbq_record_error(error, verdict);
	read_retry_after(state, verdict);
	return false;
}

/* false: no complete answer came. */
static bool
request_once(TlbqState *state, const char *method, const char *url,
			 const char *etag, StringInfo body, TlHttpReply *reply,
			 bool *sent, TlVerdict *verdict)
{
	TlHttpRequest request = {.url = url, .method = method,
		.content_type = "application/json", .max_reply = MAX_ANSWER,
	.deadline = state->deadline};
	const char *headers[6];
	int			n = 0;

	*sent = false;
	if (!tl_make_client(tlbq_core, state->session, &state->rest_settings,
						&state->rest, verdict) ||
		!tlbq_authorize(state, headers, &n, verdict))
		return false;
	if (etag != NULL)
		headers[n++] = psprintf("If-Match: %s", etag);
	headers[n++] = "User-Agent: tokenledger";
	headers[n] = NULL;
	request.headers = headers;
	if (body != NULL)
	{
		request.body = body->data;
		request.body_len = body->len;
	}
	tl_http_perform(state->rest, &request, reply);
	*sent = reply->sent;
	if (reply->end == TL_HTTP_ANSWERED)
		return true;
	tlbq_fail_unanswered(reply, "", verdict);
	return false;
}

/* what: the beginning of the message. */
void
tlbq_fail_unanswered(const TlHttpReply *reply, const char *what,
					 TlVerdict *verdict)
{
	if (reply->end == TL_HTTP_STOPPED)
		tl_fail(verdict, TL_CAUSE_NONE, NULL, "%sstopped", what);
	else if (reply->bad_file)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s%s; option \"ca_file\"",
				what, reply->error);
	else
		tl_fail(verdict, TL_CAUSE_NETWORK, NULL, "%s%s", what,
				reply->error[0] ? reply->error :
				"no answer within the time limit; option \"timeout\"");
}

/* {"error": {"code": 404, "message": ..., "errors": [{"reason": ...}]}} */
static void
read_error(const TlHttpReply *reply, TlbqError *error)
{
	TlJson	   *all = tl_json_parse(reply->body, reply->body_len);
	TlJson	   *first = tl_json_item(tl_json_get(all, "error.errors"), 0);
	const char *words = tl_json_get_text(all, "error.message");

	if (words == NULL)
		tlbq_classify_http(reply->status, error);
	else
		tlbq_classify_rest(reply->status, tl_json_get_text(first, "reason"),
						   words, error);
}

static void
read_retry_after(TlbqState *state, TlVerdict *verdict)
{
	StringInfoData seconds;

	initStringInfo(&seconds);
	if (tl_http_header(state->rest, "Retry-After", &seconds))
		verdict->retry_after_ms =
			(int) Min(Max(strtol(seconds.data, NULL, 10), 0),
					  MAX_RETRY_AFTER) * 1000;
}

void
tlbq_record_error(const TlbqError *error, TlVerdict *verdict)
{
	char		code[24];

	if (error->status != 0)
		snprintf(code, sizeof(code), "%d", error->status);
	else
		strlcpy(code, error->name, sizeof(code));
	tl_fail(verdict, error->cause, code, "%s", error->message);
}
