/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Asks BigQuery by SQL, and reads the answer page by page.
 *
 * jobs.query starts a job and waits a while for it; what takes longer, and
 * all pages but the first, come from jobs.getQueryResults.  A page lives in a
 * memory context of its own, so that a long answer needs no more than one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlbq.h"

#define ROWS_OF_A_PAGE		10000
#define MAX_COLUMNS			8
#define MAX_POLL_MS			10000

typedef struct Job
{
	TlbqState  *state;
	char		id[1025];
	char		location[128];
	char		page[4096];		/* token of the next one; empty: the first */
	TlbqRowCB	row;
	void	   *arg;
} Job;

static void write_request(StringInfo body, const TlbqState *state,
						  const char *sql, const char *parameter);
static int	poll_ms(const TlbqState *state);
static char *results_path(const Job *job);
static bool copy_text(char *to, Size size, const char *from);
static bool take_page(Job *job, TlJson *answer, bool *done,
					  TlVerdict *verdict);
static void take_rows(const Job *job, TlJson *rows);

/*
 * Calls row for each row of the answer, of up to MAX_COLUMNS values.
 * parameter is the text that @p stands for; NULL: there is none.
 */
bool
tlbq_query(TlbqState *state, const char *sql, const char *parameter,
		   TlbqRowCB row, void *arg, TlVerdict *verdict)
{
	MemoryContext here = CurrentMemoryContext;
	MemoryContext page = AllocSetContextCreate(here, "tokenledger page",
											   ALLOCSET_DEFAULT_SIZES);
	Job			job = {.state = state, .row = row, .arg = arg};
	bool		first = true;
	bool		done = false;
	bool		ok = true;

	while (ok && !done)
	{
		TlbqError	error;
		TlJson	   *answer;
		bool		sent;

		MemoryContextReset(page);
		MemoryContextSwitchTo(page);
		if (first)
		{
			StringInfoData body;

			initStringInfo(&body);
			write_request(&body, state, sql, parameter);
			ok = tlbq_rest(state, "POST",
						   psprintf("/projects/%s/queries",
									state->name.project),
						   NULL, &body, &answer, &error, &sent, verdict);
		}
		else
			ok = tlbq_rest(state, "GET", results_path(&job), NULL, NULL,
						   &answer, &error, &sent, verdict);
		ok = ok && take_page(&job, answer, &done, verdict);
		first = false;
		MemoryContextSwitchTo(here);
	}
	MemoryContextDelete(page);
	return ok;
}

static void
write_request(StringInfo body, const TlbqState *state, const char *sql,
			  const char *parameter)
{
	appendStringInfoString(body, "{\"query\":");
	tl_json_append_string(body, sql, strlen(sql));
	appendStringInfo(body, ",\"useLegacySql\":false,\"timeoutMs\":%d"
					 ",\"maxResults\":%d,\"parameterMode\":\"NAMED\"",
					 poll_ms(state), ROWS_OF_A_PAGE);
	if (state->location != NULL)
	{
		appendStringInfoString(body, ",\"location\":");
		tl_json_append_string(body, state->location,
							  strlen(state->location));
	}
	if (parameter != NULL)
	{
		appendStringInfoString(body,
							   ",\"queryParameters\":[{\"name\":\"p\","
							   "\"parameterType\":{\"type\":\"STRING\"},"
							   "\"parameterValue\":{\"value\":");
		tl_json_append_string(body, parameter, strlen(parameter));
		appendStringInfoString(body, "}}]");
	}
	appendStringInfoChar(body, '}');
}

/* The server answers before our own time is up. */
static int
poll_ms(const TlbqState *state)
{
	int64		left = state->deadline - tl_http_now_ms();

	return (int) Max(Min(left / 2, MAX_POLL_MS), 100);
}

static char *
results_path(const Job *job)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "/projects/%s/queries/",
					 job->state->name.project);
	tl_http_escape(&path, job->id);
	appendStringInfo(&path, "?maxResults=%d&timeoutMs=%d", ROWS_OF_A_PAGE,
					 poll_ms(job->state));
	if (job->location[0] != '\0')
	{
		appendStringInfoString(&path, "&location=");
		tl_http_escape(&path, job->location);
	}
	if (job->page[0] != '\0')
	{
		appendStringInfoString(&path, "&pageToken=");
		tl_http_escape(&path, job->page);
	}
	return path.data;
}

/* false: it was too long; NULL counts as empty. */
static bool
copy_text(char *to, Size size, const char *from)
{
	return strlcpy(to, from ? from : "", size) < size;
}

/* An answer that is not complete yet is asked for again. */
static bool
take_page(Job *job, TlJson *answer, bool *done, TlVerdict *verdict)
{
	const char *id = tl_json_get_text(answer, "jobReference.jobId");
	const char *location = tl_json_get_text(answer, "jobReference.location");
	const char *complete = tl_json_get_text(answer, "jobComplete");
	const char *next = tl_json_get_text(answer, "pageToken");

	if (complete == NULL ||
		(id != NULL && !copy_text(job->id, sizeof(job->id), id)) ||
		(location != NULL &&
		 !copy_text(job->location, sizeof(job->location), location)) ||
		!copy_text(job->page, sizeof(job->page), next))
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of BigQuery's");
		return false;
	}
	*done = strcmp(complete, "true") == 0 && job->page[0] == '\0';
	if (strcmp(complete, "true") == 0)
		take_rows(job, tl_json_get(answer, "rows"));
	if (*done || job->id[0] != '\0')
		return true;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL, "the answer names no job");
	return false;
}

/* [{"f": [{"v": "..."}, ...]}, ...] */
static void
take_rows(const Job *job, TlJson *rows)
{
	for (int i = 0; i < tl_json_length(rows); i++)
	{
		TlJson	   *fields = tl_json_get(tl_json_item(rows, i), "f");
		int			n = Min(tl_json_length(fields), MAX_COLUMNS);
		const char *values[MAX_COLUMNS];

		for (int column = 0; column < n; column++)
			values[column] = tl_json_get_text(tl_json_item(fields, column),
											  "v");
		job->row(job->arg, values, n);
	}
}
