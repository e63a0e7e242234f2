/* fuzz_sf_answer.c
 * sources: backends/snowflake/rest.c backends/snowflake/statement.c
 * sources: backends/snowflake/streaming.c backends/snowflake/channel.c
 * sources: backends/snowflake/table.c backends/snowflake/columns.c
 * sources: backends/snowflake/resolve.c backends/snowflake/audit.c
 * sources: backends/snowflake/errors.c backends/snowflake/names.c
 * sources: backends/snowflake/encode.c backends/common/tl_columns.c
 * sources: backends/common/tl_json.c backends/common/tl_auth.c
 * sources: backends/common/tl_text.c backends/common/tl_session.c
 * sources: backends/common/tl_verdict.c backends/common/tl_sums.c
 * libs: -ljson-c -lcrypto
 *-------------------------------------------------------------------------
 *
 * fuzz_sf_answer.c
 *	  What Snowflake, or whoever answers for it, says to each question.
 *
 * The client of HTTP is this file's: the input is cut into answers, each a
 * byte that says what becomes of the request, one that chooses a form of the
 * answer, and what is put into its gaps, up to a zero byte.  A backend that
 * reads them asks, sends and resolves as ever.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/snowflake/tlsf.h"
#include "fuzz.h"

#define NROWS	3

const bool	fuzz_may_throw = false;

/* What the backend finds around itself. */

static FuzzInput input;
static int64 now;
static const char *header;
static TlBatch batch;
static bool landed[NROWS];

struct TlHttp
{
	int			unused;
};

/* Each @ is a gap; the pieces for them have a | in between. */
static const char *const forms[] = {
	"@",
	"{\"code\":\"@\",\"sqlState\":\"@\",\"message\":\"@\"}",
	"{\"code\":@,\"message\":@}",
	"{\"statementHandle\":\"@\"}",
	"{\"statementHandle\":\"1-a\",\"resultSetMetaData\":{\"partitionInfo\":"
	"[{},{}]},\"data\":[[\"@\",\"@\",\"@\",\"@\",\"@\"],[@,@,@,@,@]]}",
	"{\"data\":[[\"01000000-0000-0000-0000-00000000000@\"],[\"@\"]]}",
	"{\"data\":[[\"01000000-0000-0000-0000-000000000000\",\"@\",\"1\","
	"\"@\",\"@\"]]}",
	"{\"data\":[[\"EVENT_ID\",\"VARCHAR(36)\",\"COLUMN\",\"N\",null],"
	"[\"@\",\"@\",\"COLUMN\",\"@\",@],[\"TIMESTAMP\",\"TIMESTAMP_NTZ(@)\","
	"null,\"N\",null]]}",
	"{\"hostname\":\"@\",\"token\":\"a.@.b\"}",
	"{\"next_continuation_token\":\"@\",\"channel_status\":"
	"{\"channel_status_code\":\"SUCCESS\",\"last_committed_offset_token\":"
	"\"00000000-0000-0000-0000-000000000000/@\",\"rows_error_count\":@}}",
	"{\"next_continuation_token\":\"c\",\"channel_status\":"
	"{\"channel_status_code\":\"@\",\"last_committed_offset_token\":\"@\"}}",
	"{\"channel_statuses\":{\"tokenledger-00000000-0000-0000-0000-000000000000"
	"-0\":{\"last_committed_offset_token\":\"@\",\"rows_errors\":@}}}"
};

/* What is left of the piece goes to no other gap. */
static void
fill_gap(StringInfo out, const char **pieces)
{
	size_t		len = strcspn(*pieces, "|");

	if (len == 0)
		appendStringInfoChar(out, '1');
	appendBinaryStringInfo(out, *pieces, len);
	*pieces += len + ((*pieces)[len] == '|');
}

static char *
make_body(uint8 choice, const char *pieces)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = forms[choice % lengthof(forms)]; *p != '\0'; p++)
	{
		if (*p == '@')
			fill_gap(&out, &pieces);
		else
			appendStringInfoChar(&out, *p);
	}
	return out.data;
}

int64
tl_http_now_ms(void)
{
	return now += 500;			/* so that nothing is asked for ever */
}

TlHttp *
tl_http_create(const TlCore *core, TlSession *session,
			   const TlHttpSettings *settings, const char **error)
{
	static TlHttp http;

	return &http;
}

void
tl_http_perform(TlHttp *http, const TlHttpRequest *request,
				TlHttpReply *reply)
{
	static const int statuses[] = {
		200, 200, 200, 200, 202, 202, 400, 401, 403, 404, 408, 409, 413, 422,
		422, 422, 429, 500, 503, 301
	};
	uint8		what = (uint8) fuzz_take(&input, 1);
	uint8		choice = (uint8) fuzz_take(&input, 1);
	size_t		len = strnlen(input.next, input.left);

	memset(reply, 0, sizeof(*reply));
	reply->sent = (what & 0x80) != 0;
	reply->end = (what & 0x60) != 0x60 ? TL_HTTP_ANSWERED :
		(what & 1) ? TL_HTTP_FAILED : TL_HTTP_TIMEOUT;
	reply->status = statuses[(what & 0x1f) % lengthof(statuses)];
	reply->body = make_body(choice, pnstrdup(input.next, len));
	reply->body_len = strlen(reply->body);
	header = reply->body;
	input.next += len;
	input.left -= len;
	(void) fuzz_take(&input, 1);
}

bool
tl_http_header(const TlHttp *http, const char *name, StringInfo value)
{
	appendStringInfoString(value, header);
	return value->len > 0;
}

void
tl_http_escape(StringInfo out, const char *text)
{
	appendStringInfoString(out, text);
}

bool
tlsf_authorize(TlsfState *state, const char **headers, int *n,
			   TlVerdict *verdict)
{
	headers[(*n)++] = "Authorization: Bearer x";
	return true;
}

bool
tlsf_forget_token(TlsfState *state)
{
	return true;
}

bool
tlsf_drop_token(TlsfToken *token)
{
	token->bearer = NULL;
	return true;
}

TlsfState *
tlsf_begin(TlSession *session)
{
	TlsfState  *state = session->private_state;

	state->deadline = now + 5000;
	return state;
}

bool
tlsf_sleep(TlsfState *state, int64 until)
{
	now = Max(now, until);
	return true;
}

bool
tlsf_left_streaming(TlSession *session)
{
	return true;
}

static void
mark_landed(TlBatch *of, int32 row)
{
	FUZZ_CHECK(of == &batch && row >= 0 && row < NROWS);
	landed[row] = true;
}

static const TlCore core = {
	.struct_size = sizeof(TlCore),
	.mark_landed = mark_landed
};

const TlCore *tlsf_core = &core;
const TlMigration tlsf_migrations[] = {{.version = 103}, {.version = 0}};

/* What must hold whatever was said. */

static void
check_verdict(bool ok, const TlVerdict *verdict)
{
	FUZZ_CHECK(memchr(verdict->message, '\0', sizeof(verdict->message)));
	FUZZ_CHECK(ok || verdict->message[0] != '\0');
	FUZZ_CHECK(verdict->retry_after_ms >= 0);
}

static void
take_sum(void *arg, const TlSum *sum)
{
	FUZZ_CHECK(sum->cost != PG_INT64_MIN);
	FUZZ_CHECK((sum->event_id != NULL) == *(bool *) arg);
}

static void
audit(TlSession *session, bool by_event)
{
	TlVerdict	verdict = {.struct_size = sizeof(verdict)};
	TlOutcome	outcome = tlsf_audit(session, 0, 1, by_event, take_sum,
									 &by_event, &verdict);

	FUZZ_CHECK(outcome == TL_OK || outcome == TL_RETRY);
	check_verdict(outcome == TL_OK, &verdict);
}

static void
resolve(TlSession *session, TlHistory history)
{
	TlVerdict	verdict = {.struct_size = sizeof(verdict)};
	TlOutcome	outcome;

	batch.history = history;
	outcome = tlsf_resolve(session, &batch, true, &verdict);
	FUZZ_CHECK(outcome == TL_OK || outcome == TL_RETRY);
	check_verdict(outcome == TL_OK, &verdict);
}

static void
append(TlsfState *state)
{
	TlVerdict	verdict = {.struct_size = sizeof(verdict)};
	StringInfoData rows;
	TlsfError	error;
	bool		sent;

	initStringInfo(&rows);
	if (!state->channel.open)
		return;
	(void) tlsf_begin(state->session);
	check_verdict(tlsf_append(state, &rows, "a", "b", &error, &sent, &verdict),
				  &verdict);
	(void) tlsf_begin(state->session);
	memset(&verdict, 0, sizeof(verdict));
	check_verdict(tlsf_ask_channel(state, &error, &verdict), &verdict);
	FUZZ_CHECK(tlsf_committed_rows(&state->channel, &batch) >= -1);
}

static void
set_up(TlSession *session, TlsfState *state)
{
	static pg_uuid_t ids[NROWS] = {{{1}}, {{2}}, {{3}}};

	memset(&batch, 0, sizeof(batch));
	batch.nrows = NROWS;
	batch.event_ids = ids;
	batch.max_timestamp = 1;
	session->private_state = state;
	state->session = session;
	(void) tlsf_parse_name("app/ledger", NULL, false, &state->name);
	state->mode = TLSF_STREAMING;
	state->url = "https://localhost";
	state->statement_timeout_ms = state->timeout_ms = 5000;
	now = 0;
}

void
fuzz_one(const char *text, size_t len)
{
	TlSession	session = {.struct_size = sizeof(session)};
	TlsfState	state = {0};

	input.next = text;
	input.left = len;
	set_up(&session, &state);
	audit(&session, false);
	audit(&session, true);
	resolve(&session, TL_SAME_AGAIN);
	append(&state);
	state.mode = TLSF_SQL;
	resolve(&session, TL_OVERLAP);
}
