/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements by the SQL API, and their results partition by partition.
 *
 * A statement that takes longer than Snowflake likes to wait is answered with
 * 202 and a handle, which is asked for until it ends.  Each carries the time
 * after which Snowflake gives it up by itself: what nobody waits for any
 * longer ends nevertheless.
 *
 * Only the HTTP status decides: the codes beside it are not the same in all
 * of Snowflake's documentation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlsf.h"

#define MAX_COLUMNS			16
#define FIRST_POLL_MS		50
#define LAST_POLL_MS		2000

static bool read_handle(TlJson *answer, char *handle, TlVerdict *verdict);
static bool await_end(TlsfState *state, const char *handle, TlJson **answer,
					  TlsfError *error, bool *sent, TlVerdict *verdict);
static bool worth_polling(const TlsfError *error);
static void take_rows(TlJson *rows, TlsfRowCB row, void *arg);

/* The body of a submission. */
void
tlsf_write_statement(StringInfo body, const TlsfState *state,
					 const TlsfStatement *statement)
{
	static const char *const names[] = {
		"database", "schema", "warehouse", "role"
	};
	const char *values[] = {
		state->name.database, state->name.schema, state->warehouse,
		state->role
	};

	appendStringInfoString(body, "{\"statement\":");
	tl_json_append_string(body, statement->sql, strlen(statement->sql));
	appendStringInfo(body, ",\"timeout\":%d",
					 (state->statement_timeout_ms + 999) / 1000);
	for (int i = 0; i < lengthof(names); i++)
	{
		if (values[i] == NULL)
			continue;
		appendStringInfo(body, ",\"%s\":", names[i]);
		tl_json_append_string(body, values[i], strlen(values[i]));
	}
	appendStringInfoString(body, ",\"parameters\":"
						   "{\"query_tag\":\"tokenledger\","
						   "\"timezone\":\"UTC\"}");
	for (int i = 0; i < TLSF_MAX_BINDS && statement->binds[i]; i++)
	{
		appendStringInfo(body, "%s\"%d\":{\"type\":\"TEXT\",\"value\":",
						 i == 0 ? ",\"bindings\":{" : ",", i + 1);
		tl_json_append_string(body, statement->binds[i],
							  strlen(statement->binds[i]));
		appendStringInfoChar(body, '}');
	}
	appendStringInfoString(body, statement->binds[0] ? "}}" : "}");
}

/*
 * Runs a statement and waits for its end.  As tlsf_rest; *answer is its
 * result.
 */
bool
tlsf_submit(TlsfState *state, const TlsfStatement *statement,
			TlJson **answer, TlsfError *error, bool *sent, TlVerdict *verdict)
{
	StringInfoData body;
	StringInfoData path;
	char		handle[TLSF_MAX_HANDLE];
	int			status;
	bool		answered;

	initStringInfo(&path);
	appendStringInfoString(&path, "/api/v2/statements?requestId=");
	if (statement->request_id != NULL)
	{
		state->running[0] = '\0';
		tl_append_uuid(&path, statement->request_id);
	}
	else
		appendStringInfoString(&path, tlsf_random_request_id());
	if (statement->again)
		appendStringInfoString(&path, "&retry=true");
	initStringInfo(&body);
	tlsf_write_statement(&body, state, statement);
	answered = tlsf_rest(state, "POST", path.data, &body, &status, answer,
						 error, sent, verdict);
	pfree(body.data);
	if (!answered || status == 200)
		return answered;
	*sent = true;
	if (!read_handle(*answer, handle, verdict))
		return false;
	if (await_end(state, handle, answer, error, sent, verdict))
		return true;
	if (*sent && statement->request_id != NULL)
		strlcpy(state->running, handle, sizeof(state->running));
	return false;
}

/*
 * Cancels what a batch has left running, and waits for its end: it may have
 * succeeded.  Where that is not seen, the time after which Snowflake gives it
 * up has to pass.
 */
void
tlsf_end_statement(TlsfState *state)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	StringInfoData nothing;
	TlsfError	error;
	TlJson	   *answer;
	bool		sent = true;
	int			status;

	if (state->running[0] == '\0')
		return;
	initStringInfo(&nothing);
	(void) tlsf_rest(state, "POST",
					 psprintf("/api/v2/statements/%s/cancel", state->running),
					 &nothing, &status, &answer, &error, &sent, &here);
	sent = true;
	if (!await_end(state, state->running, &answer, &error, &sent, &here) &&
		sent)
		state->fence_until = tl_http_now_ms() + state->statement_timeout_ms;
	state->running[0] = '\0';
}

const char *
tlsf_random_request_id(void)
{
	StringInfoData text;
	pg_uuid_t	id;

	if (!pg_strong_random(id.data, UUID_LEN))
		elog(ERROR, "could not generate random values");
	id.data[6] = (id.data[6] & 0x0f) | 0x40;	/* RFC 9562: version 4, */
	id.data[8] = (id.data[8] & 0x3f) | 0x80;	/* and the variant */
	initStringInfo(&text);
	tl_append_uuid(&text, &id);
	return text.data;
}

/* NB: it becomes part of an address. */
static bool
read_handle(TlJson *answer, char *handle, TlVerdict *verdict)
{
	const char *text = tl_json_get_text(answer, "statementHandle");

	if (text != NULL && text[0] != '\0' && strlen(text) < TLSF_MAX_HANDLE &&
		strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == strlen(text))
	{
		strlcpy(handle, text, TLSF_MAX_HANDLE);
		return true;
	}
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer names no statement that could be waited for");
	return false;
}

static bool
await_end(TlsfState *state, const char *handle, TlJson **answer,
		  TlsfError *error, bool *sent, TlVerdict *verdict)
{
	char	   *path = psprintf("/api/v2/statements/%s", handle);
	int			pause = FIRST_POLL_MS;

	while (tl_http_now_ms() < state->deadline)
	{
		TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
		int			status;

		if (!tlsf_sleep(state, Min(tl_http_now_ms() + pause,
								   state->deadline)))
		{
			tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
			return false;
		}
		pause = Min(pause * 2, LAST_POLL_MS);
		if (tlsf_rest(state, "GET", path, NULL, &status, answer, error, sent,
					  &here))
		{
			if (status == 200)
				return true;
		}
		else if (!worth_polling(error))
		{
			/* Only what is said of the statement itself is certain. */
			*sent = error->status != 422 && error->status != 408;
			*verdict = here;
			return false;
		}
		*sent = true;
	}
	tl_fail(verdict, TL_CAUSE_OVERLOAD, NULL,
			"the statement was still running at the time limit; option \"timeout\"");
	return false;
}

/* The question failed, and nothing is said of the statement. */
static bool
worth_polling(const TlsfError *error)
{
	return error->status == 0 || error->outcome == TL_UNKNOWN ||
		error->status == 429;
}

/* Calls row for each row of the answer, of up to MAX_COLUMNS values. */
bool
tlsf_query(TlsfState *state, const TlsfStatement *statement, TlsfRowCB row,
		   void *arg, TlsfError *error, TlVerdict *verdict)
{
	MemoryContext here = CurrentMemoryContext;
	MemoryContext partition = AllocSetContextCreate(here,
													"tokenledger partition",
													ALLOCSET_DEFAULT_SIZES);
	char		handle[TLSF_MAX_HANDLE];
	TlJson	   *answer;
	bool		sent;
	bool		ok;
	int			status;
	int			n = 0;

	MemoryContextSwitchTo(partition);
	ok = tlsf_submit(state, statement, &answer, error, &sent, verdict);
	if (ok)
	{
		n = tl_json_length(tl_json_get(answer,
									   "resultSetMetaData.partitionInfo"));
		take_rows(tl_json_get(answer, "data"), row, arg);
		ok = n <= 1 || read_handle(answer, handle, verdict);
	}
	for (int i = 1; ok && i < n; i++)
	{
		MemoryContextReset(partition);
		ok = tlsf_rest(state, "GET",
					   psprintf("/api/v2/statements/%s?partition=%d", handle,
								i),
					   NULL, &status, &answer, error, &sent, verdict);
		if (ok)
			take_rows(tl_json_get(answer, "data"), row, arg);
	}
	MemoryContextSwitchTo(here);
	MemoryContextDelete(partition);
	return ok;
}

static void
take_rows(TlJson *rows, TlsfRowCB row, void *arg)
{
	for (int i = 0; i < tl_json_length(rows); i++)
	{
		TlJson	   *fields = tl_json_item(rows, i);
		int			n = Min(tl_json_length(fields), MAX_COLUMNS);
		const char *values[MAX_COLUMNS];

		for (int column = 0; column < n; column++)
			values[column] = tl_json_text(tl_json_item(fields, column));
		row(arg, values, n);
	}
}

/* A statement without binds, whose result does not matter. */
bool
tlsf_run(TlsfState *state, const char *sql, TlVerdict *verdict)
{
	TlsfStatement statement = {.sql = sql};
	TlsfError	error;
	TlJson	   *answer;
	bool		sent;

	return tlsf_submit(state, &statement, &answer, &error, &sent, verdict);
}
