/*-------------------------------------------------------------------------
 *
 * insertall.c
 *	  Sends a batch by tabledata.insertAll, as JSON.
 *
 * Where one row is wrong nothing of its request is inserted (skipInvalidRows
 * is off): rows that are named with "invalid" are to blame, all others say
 * "stopped".  With other words ("timeout", say) rows may have been inserted,
 * also those that are named.  BigQuery drops a row whose insertId it has seen
 * within about the last minute, but promises nothing: it is no guarantee
 * here.
 *
 * A batch that is larger than a request goes in several; what has landed is
 * marked as it does, so that the outcome speaks of the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "tlbq.h"

#define ROWS_OF_A_REQUEST	10000

typedef struct Insert
{
	TlbqState  *state;
	TlBatch    *batch;
	int32		begin;			/* rows of this request */
	int32		end;
	TlVerdict  *verdict;
} Insert;

static TlOutcome insert_some(Insert *insert);
static void append_row(StringInfo out, const TlBatch *batch, int32 row);
static void append_value(StringInfo out, const TlColumn *column, int32 row);
static TlOutcome judge(const Insert *insert, TlJson *answer);
static bool understood(const Insert *insert, TlJson *answer);

/* To be called when the table has been looked at. */
TlOutcome
tlbq_insert_all(TlbqState *state, TlBatch *batch, TlVerdict *verdict)
{
	Insert		insert = {.state = state, .batch = batch,
	.verdict = verdict};

	if (!tlbq_save_mode(state, batch, verdict))
		return tlbq_not_stored(batch, TL_RETRY);
	while (insert.end < batch->nrows)
	{
		TlOutcome	outcome;

		insert.begin = insert.end;
		outcome = insert_some(&insert);
		if (outcome != TL_OK)
			return outcome == TL_UNKNOWN ? TL_UNKNOWN :
				tlbq_not_stored(batch, outcome);
		if (insert.begin == 0 && insert.end == batch->nrows)
			break;
		for (int32 row = insert.begin; row < insert.end; row++)
			tlbq_core->mark_landed(batch, row);
	}
	return TL_OK;
}

/* As many rows as a request takes. */
static TlOutcome
insert_some(Insert *insert)
{
	TlbqState  *state = insert->state;
	StringInfoData body;
	TlbqError	error;
	TlJson	   *answer;
	bool		sent;
	bool		done;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"rows\":[");
	while (insert->end < insert->batch->nrows &&
		   insert->end - insert->begin < ROWS_OF_A_REQUEST)
	{
		int			before = body.len;

		if (insert->end > insert->begin)
			appendStringInfoChar(&body, ',');
		append_row(&body, insert->batch, insert->end);
		if (body.len > TLBQ_MAX_REQUEST - 2)
		{
			body.len = before;
			break;
		}
		insert->end++;
	}
	if (insert->end == insert->begin)
	{
		tl_fail(insert->verdict, TL_CAUSE_OVERLOAD, "413",
				"the request would be larger than 9 MB");
		return TL_SPLIT;
	}
	appendStringInfoString(&body, "]}");
	done = tlbq_rest(state, "POST",
					 psprintf("/%s/insertAll", state->name.resource), NULL,
					 &body, &answer, &error, &sent, insert->verdict);
	pfree(body.data);
	if (done)
		return judge(insert, answer);
	if (error.cause == TL_CAUSE_SCHEMA)
		state->remote = NULL;	/* look again */
	return sent ? TL_UNKNOWN :
		error.outcome == TL_UNKNOWN ? TL_RETRY : error.outcome;
}

static void
append_row(StringInfo out, const TlBatch *batch, int32 row)
{
	const char *separator = "";

	appendStringInfoString(out, "{\"insertId\":\"");
	tl_append_uuid(out, &batch->event_ids[row]);
	appendStringInfoString(out, "\",\"json\":{");
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if (tl_isnull(column, row))
			continue;
		appendStringInfo(out, "%s\"%s\":", separator, column->name);
		append_value(out, column, row);
		separator = ",";
	}
	appendStringInfoString(out, "}}");
}

/*
 * Numbers go as text, for JSON's are doubles to some; a time is a number of
 * seconds.
 */
static void
append_value(StringInfo out, const TlColumn *column, int32 row)
{
	char		decimal[32];
	const char *text;
	double		number;
	int64		value;
	int32		len;

	switch (column->type)
	{
		case TL_UUID:
			appendStringInfoChar(out, '"');
			tl_append_uuid(out, tl_uuid(column, row));
			appendStringInfoChar(out, '"');
			break;
		case TL_TIMESTAMP:
			value = tl_int64(column, row);
			appendStringInfo(out, "\"%s" INT64_FORMAT ".%06d\"",
							 value < 0 && value > -1000000 ? "-" : "",
							 value / 1000000, abs((int) (value % 1000000)));
			break;
		case TL_INT64:
			appendStringInfo(out, "\"" INT64_FORMAT "\"",
							 tl_int64(column, row));
			break;
		case TL_FLOAT64:
			number = tl_float64(column, row);
			if (isnan(number))
				appendStringInfoString(out, "\"NaN\"");
			else if (isinf(number))
				appendStringInfoString(out, number > 0 ? "\"Infinity\"" :
									   "\"-Infinity\"");
			else
				appendStringInfo(out, "%.17g", number);
			break;
		case TL_DECIMAL:
			*tlbq_put_decimal(decimal, tl_int64(column, row)) = '\0';
			appendStringInfo(out, "\"%s\"", decimal);
			break;
		case TL_TEXT:
		case TL_JSON:
			text = tl_text(column, row, &len);
			tl_json_append_string(out, text, len);
			break;
	}
}

/* {"insertErrors": [{"index": 3, "errors": [{"reason": "invalid", ...}]}]} */
static TlOutcome
judge(const Insert *insert, TlJson *answer)
{
	TlJson	   *errors = tl_json_get(answer, "insertErrors");
	bool		any = false;

	if (!understood(insert, answer))
		return TL_UNKNOWN;
	if (tl_json_length(errors) == 0)
		return TL_OK;
	for (int i = 0; i < tl_json_length(errors); i++)
	{
		TlJson	   *one = tl_json_item(errors, i);
		int64		row = insert->begin +
			tl_json_get_int64(one, "index", PG_INT32_MAX);
		TlJson	   *first = tl_json_item(tl_json_get(one, "errors"), 0);
		const char *reason = tl_json_get_text(first, "reason");
		const char *column = tl_json_get_text(first, "location");

		if (reason == NULL || strcmp(reason, "stopped") == 0 ||
			row < insert->begin || row >= insert->end)
			continue;
		tlbq_core->mark_refused(insert->batch, (int32) row,
								tlbq_describe_row_error(column ? column : ""));
		any = true;
	}
	tl_fail(insert->verdict, TL_CAUSE_DATA, "insertErrors", "%s", any ?
			"BigQuery cannot take some of the rows (its words are not shown: they may quote an event)" :
			"BigQuery took none of the rows and named none");
	return TL_REFUSED;
}

/* Does it say for certain what was inserted? */
static bool
understood(const Insert *insert, TlJson *answer)
{
	TlJson	   *errors = tl_json_get(answer, "insertErrors");

	if (answer == NULL || tl_json_get(answer, "error") != NULL)
	{
		tl_fail(insert->verdict, TL_CAUSE_NETWORK, NULL,
				"the answer to insertAll is not one of BigQuery's");
		return false;
	}
	for (int i = 0; i < tl_json_length(errors); i++)
	{
		TlJson	   *one = tl_json_get(tl_json_item(errors, i), "errors");
		const char *reason = tl_json_get_text(tl_json_item(one, 0), "reason");
		TlbqError	error;

		if (reason == NULL || strcmp(reason, "stopped") == 0 ||
			strcmp(reason, "invalid") == 0)
			continue;
		tlbq_classify_rest(500, reason, NULL, &error);
		tl_fail(insert->verdict, error.cause, reason,
				"BigQuery gave up some of the rows");
		return false;
	}
	return true;
}
