/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  Requests to Snowflake.
 *
 * A request that is refused for its token is sent once more with a new one;
 * the refusal says that nothing has been done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

#define MAX_ANSWER			(64 * 1024 * 1024)
#define MAX_RETRY_AFTER		3600	/* seconds */

static bool request_once(TlsfState *state, const char *method,
						 const char *url, StringInfo body,
						 TlHttpReply *reply, bool *sent, TlVerdict *verdict);
static void read_error(const TlHttpReply *reply, TlsfError *error);
static void read_retry_after(TlsfState *state, TlVerdict *verdict);

/*
 * path continues the account's address; body is JSON, NULL: none.
 *
 * true: a success, *status says which (200 or 202) and *answer is its body.
 * false: the verdict says why, *error what was answered (status 0: nothing),
 * and *sent whether the request may have been carried out nevertheless.
 */
bool
tlsf_rest(TlsfState *state, const char *method, const char *path,
		  StringInfo body, int *status, TlJson **answer, TlsfError *error,
		  bool *sent, TlVerdict *verdict)
{
	char	   *url = psprintf("%s%s", state->url, path);
	TlHttpReply reply;

	memset(error, 0, sizeof(*error));
	error->outcome = TL_UNKNOWN;
	error->cause = TL_CAUSE_NETWORK;
	for (int attempt = 1;; attempt++)
	{
		if (!request_once(state, method, url, body, &reply, sent, verdict))
			return false;
		*status = reply.status;
		if (reply.status == 200 || reply.status == 202)
		{
			*answer = tl_json_parse(reply.body, reply.body_len);
			if (*answer != NULL)
				return true;
			*sent = true;
			tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
					"the answer is not one of Snowflake's");
			return false;
		}
		read_error(&reply, error);
		if (!error->unauthenticated || attempt > 1 ||
			!tlsf_forget_token(state))
			break;
	}
	*sent = (error->outcome == TL_UNKNOWN);
	tlsf_record_error(error, verdict);
	read_retry_after(state, verdict);
	return false;
}

/* false: no complete answer came. */
static bool
request_once(TlsfState *state, const char *method, const char *url,
			 StringInfo body, TlHttpReply *reply, bool *sent,
			 TlVerdict *verdict)
{
	TlHttpRequest request = {.url = url, .method = method,
		.content_type = "application/json", .max_reply = MAX_ANSWER,
	.deadline = state->deadline, .decode = true};
	const char *headers[6];
	int			n = 0;

	*sent = false;
	if (!tl_make_client(tlsf_core, state->session, &state->http_settings,
						&state->http, verdict) ||
		!tlsf_authorize(state, headers, &n, verdict))
		return false;
	headers[n++] = "Accept: application/json";
	headers[n++] = "User-Agent: tokenledger";
	headers[n] = NULL;
	request.headers = headers;
	if (body != NULL)
	{
		request.body = body->data;
		request.body_len = body->len;
	}
	tl_http_perform(state->http, &request, reply);
	*sent = reply->sent;
	if (reply->end == TL_HTTP_ANSWERED)
		return true;
	tlsf_fail_unanswered(reply, verdict);
	return false;
}

void
tlsf_fail_unanswered(const TlHttpReply *reply, TlVerdict *verdict)
{
	if (reply->end == TL_HTTP_STOPPED)
		tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
	else if (reply->bad_file)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "%s; option \"ca_file\"",
				reply->error);
	else
		tl_fail(verdict, TL_CAUSE_NETWORK, NULL, "%s",
				reply->error[0] ? reply->error :
				"no answer within the time limit; option \"timeout\"");
}

/* {"code": "002003", "message": ..., "sqlState": "42S02"} */
static void
read_error(const TlHttpReply *reply, TlsfError *error)
{
	TlJson	   *all = tl_json_parse(reply->body, reply->body_len);

	tlsf_classify(reply->status, tl_json_get_text(all, "code"),
				  tl_json_get_text(all, "sqlState"),
				  tl_json_get_text(all, "message"), error);
}

static void
read_retry_after(TlsfState *state, TlVerdict *verdict)
{
	StringInfoData seconds;

	initStringInfo(&seconds);
	if (tl_http_header(state->http, "Retry-After", &seconds))
		verdict->retry_after_ms =
			Min(Max(atoi(seconds.data), 0), MAX_RETRY_AFTER) * 1000;
}

void
tlsf_record_error(const TlsfError *error, TlVerdict *verdict)
{
	char		status[24];

	snprintf(status, sizeof(status), "%d", error->status);
	tl_fail(verdict, error->cause, error->code[0] ? error->code : status,
			"%s", error->message);
}
