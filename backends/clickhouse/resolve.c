/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * With a fence: first no INSERT of it runs any more (fence.c), and then the
 * table is asked.  One that the server has never seen may still lie unread on
 * its way, in a buffer or a proxy, for any time.  So what the table lacks is
 * sent once more under the batch's token: whatever comes late under it is
 * dropped then.  The token alone is no proof that the rows are there
 * (table.c), so the table is asked again.
 *
 * On replicated tables another replica may have taken the INSERT, so this
 * one catches up first.
 *
 * The table is asked for the ids within the batch's timestamps, which are the
 * beginning of its sorting key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

/*
 * Ids in one statement: with all its text it stays below the 256 kB that a
 * server parses (max_query_size).
 */
#define IDS_IN_ONE_QUERY	5000

typedef struct EventRow
{
	pg_uuid_t	id;
	int32		row;
} EventRow;

static bool lacks_some(const TlBatch *batch, const bool *present);
static bool token_counts(TlchState *state, const TlBatch *batch);
static bool use_token_up(TlchState *state, const TlBatch *batch,
						 const bool *present, TlVerdict *verdict);
static bool use_number_up(TlchState *state, const TlBatch *part, int number,
						  TlVerdict *verdict);
static bool look_up(TlchState *state, const TlBatch *batch, bool *present,
					TlVerdict *verdict);
static bool catch_up(TlchState *state, TlVerdict *verdict);
static bool ask(TlchState *state, const TlBatch *batch, int32 begin,
				int32 end, const EventRow *sorted, bool *present,
				TlVerdict *verdict);
static void append_times(StringInfo sql, const TlBatch *batch);
static void append_time(StringInfo sql, int64 usec);
static int	compare_events(const void *a, const void *b);

/* TlBackend.resolve */
TlOutcome
tlch_resolve(TlSession *session, TlBatch *batch, bool fence,
			 TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	bool	   *present = palloc0(Max(batch->nrows, 1) * sizeof(bool));

	if (!tlch_load_table(state, verdict) ||
		(fence && !tlch_fence(state, batch, verdict)) ||
		!look_up(state, batch, present, verdict))
		return TL_RETRY;
	if (fence && lacks_some(batch, present) && token_counts(state, batch) &&
		!(use_token_up(state, batch, present, verdict) &&
		  look_up(state, batch, present, verdict)))
		return TL_RETRY;
	for (int32 row = 0; row < batch->nrows; row++)
		if (present[row])
			tlch_core->mark_landed(batch, row);
	return TL_OK;
}

static bool
look_up(TlchState *state, const TlBatch *batch, bool *present,
		TlVerdict *verdict)
{
	return catch_up(state, verdict) &&
		tlch_find_events(state, batch, present, verdict);
}

static bool
lacks_some(const TlBatch *batch, const bool *present)
{
	for (int32 row = 0; row < batch->nrows; row++)
		if (!present[row])
			return true;
	return false;
}

/* Does the table remember tokens, and can it be written? */
static bool
token_counts(TlchState *state, const TlBatch *batch)
{
	TlVerdict	unfit = {0};

	return state->remote->window > 0 &&
		tlch_batch_fits(state, batch, &unfit);
}

/*
 * Requests are numbered as in send.c: the table knows a token, with its
 * number, in each partition that it brought rows to.  What the answers say of
 * rows is not looked at, and events that the table cannot hold are not sent.
 */
static bool
use_token_up(TlchState *state, const TlBatch *batch, const bool *present,
			 TlVerdict *verdict)
{
	const char **reasons = palloc0(Max(batch->nrows, 1) * sizeof(char *));
	int32	   *lacking = palloc(Max(batch->nrows, 1) * sizeof(int32));
	const int32 *by_month = tlch_too_many_months(batch) ?
		tlch_by_month(batch) : NULL;
	int32		end;
	int			number = 0;

	(void) tlch_screen(batch, state->remote, reasons);
	for (int32 begin = 0; begin < batch->nrows; begin = end, number++)
	{
		TlBatch		part;
		int32		n = 0;

		end = by_month ? tlch_months_end(batch, by_month, begin) :
			batch->nrows;
		for (int32 i = begin; i < end; i++)
		{
			int32		row = by_month ? by_month[i] : i;

			if (!present[row] && reasons[row] == NULL)
				lacking[n++] = row;
		}
		tlch_take_rows(batch, lacking, n, &part);
		if (n > 0 && !use_number_up(state, &part, number, verdict))
			return false;
	}
	return true;
}

/*
 * An answer that refuses these rows, or so many of them, would be the same
 * for a request that comes late.
 */
static bool
use_number_up(TlchState *state, const TlBatch *part, int number,
			  TlVerdict *verdict)
{
	TlHttpReply reply;
	TlchError	error;

	if (!tlch_insert(state, part, number, &reply, verdict))
		return false;
	if (tlch_is_success(state, &reply) && reply.body_len == 0)
		return true;
	tlch_read_error(state, &reply, &error);
	if (error.outcome == TL_REFUSED || error.outcome == TL_SPLIT)
		return true;
	tlch_record_error(&error, verdict);
	return false;
}

static bool
catch_up(TlchState *state, TlVerdict *verdict)
{
	if (!state->remote->exists ||
		strncmp(state->remote->engine, "Replicated", 10) != 0)
		return true;
	return tlch_query(state, psprintf("SYSTEM SYNC REPLICA %s",
									  state->table.quoted), NULL, verdict);
}

/* Sets present[row] for each event that the table holds. */
bool
tlch_find_events(TlchState *state, const TlBatch *batch, bool *present,
				 TlVerdict *verdict)
{
	EventRow   *sorted = palloc(Max(batch->nrows, 1) * sizeof(EventRow));
	bool		ok = true;

	for (int32 row = 0; row < batch->nrows; row++)
	{
		sorted[row].id = batch->event_ids[row];
		sorted[row].row = row;
	}
	qsort(sorted, batch->nrows, sizeof(EventRow), compare_events);
	for (int32 begin = 0; ok && begin < batch->nrows;
		 begin += IDS_IN_ONE_QUERY)
		ok = ask(state, batch, begin,
				 Min(begin + IDS_IN_ONE_QUERY, batch->nrows), sorted,
				 present, verdict);
	pfree(sorted);
	return ok;
}

/* The ids are one text, which costs the server's parser one literal. */
static bool
ask(TlchState *state, const TlBatch *batch, int32 begin, int32 end,
	const EventRow *sorted, bool *present, TlVerdict *verdict)
{
	StringInfoData sql;
	TlchReader	reader;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT DISTINCT event_id FROM %s WHERE ",
					 state->table.quoted);
	append_times(&sql, batch);
	appendStringInfoString(&sql, "event_id IN (SELECT toUUID(arrayJoin("
						   "splitByChar(',', '");
	for (int32 i = begin; i < end; i++)
	{
		if (i > begin)
			appendStringInfoChar(&sql, ',');
		tl_append_uuid(&sql, &sorted[i].id);
	}
	appendStringInfoString(&sql, "')))) FORMAT RowBinary");
	if (!tlch_query(state, sql.data, &reader, verdict))
		return false;
	pfree(sql.data);
	while (reader.next < reader.end && !reader.broken)
	{
		EventRow	key = {.row = 0};
		const EventRow *found;

		tlch_read_uuid(&reader, &key.id);
		found = bsearch(&key, sorted, batch->nrows, sizeof(EventRow),
						compare_events);
		if (found != NULL)
			present[found->row] = true;
	}
	if (reader.broken)
		tl_fail(verdict, TL_CAUSE_NETWORK, NULL,
				"the answer was cut off");
	return !reader.broken;
}

/* Events at infinity are refused before they are sent. */
static void
append_times(StringInfo sql, const TlBatch *batch)
{
	if (batch->min_timestamp > batch->max_timestamp)
		return;
	appendStringInfoString(sql, "`timestamp` >= ");
	append_time(sql, batch->min_timestamp);
	appendStringInfoString(sql, " AND `timestamp` <= ");
	append_time(sql, batch->max_timestamp);
	appendStringInfoString(sql, " AND ");
}

static void
append_time(StringInfo sql, int64 usec)
{
	appendStringInfo(sql, "fromUnixTimestamp64Micro(toInt64(" INT64_FORMAT
					 "), 'UTC')", usec);
}

static int
compare_events(const void *a, const void *b)
{
	return memcmp(((const EventRow *) a)->id.data,
				  ((const EventRow *) b)->id.data, UUID_LEN);
}
