/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * With a fence: first make sure that no earlier INSERT can still land.  Each
 * carries the ledger, the table, the lane and its token in its query id.
 * Those of this lane are killed, which waits for their end; of a batch that
 * other lanes may have sent (TL_OVERLAP), theirs that are older than this
 * look-up are waited for, and their own time limit ends them.  Another target
 * of the same ledger fills another table, and is left alone: its lanes have
 * the same numbers.
 *
 * An INSERT is on the server's list from before its body is read, so one that
 * is not listed has ended or lies unread in a buffer on its way.  For the
 * latter the list is looked at again after a while.
 *
 * On replicated tables another replica may have taken the INSERT, so this
 * one catches up first.
 *
 * Then the table is asked for the ids, within the batch's timestamps, which
 * are the beginning of its sorting key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "tlch.h"

/*
 * Ids in one statement: with all its text it stays below the 256 kB that a
 * server parses (max_query_size).
 */
#define IDS_IN_ONE_QUERY	5000

/* An unread request has at least so long to show up. */
#define GRACE_MS			500

/* Between two looks at the list. */
#define LOOK_INTERVAL_MS	100

typedef struct EventRow
{
	pg_uuid_t	id;
	int32		row;
} EventRow;

static bool fence_lane(TlchState *state, TlVerdict *verdict);
static bool fence_table(TlchState *state, TlVerdict *verdict);
static void append_table(StringInfo out, const TlchState *state);
static bool list_running(TlchState *state, const char *prefix,
						 int64 elapsed_ms, List **running,
						 TlVerdict *verdict);
static bool kill_all(TlchState *state, List *running, TlVerdict *verdict);
static bool pause_until(TlchState *state, int64 until, TlVerdict *verdict);
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

	if (!tlch_load_table(state, verdict))
		return TL_RETRY;
	if (fence && !fence_lane(state, verdict))
		return TL_RETRY;
	if (fence && batch->history == TL_OVERLAP &&
		!fence_table(state, verdict))
		return TL_RETRY;
	if (!catch_up(state, verdict) ||
		!tlch_find_events(state, batch, present, verdict))
		return TL_RETRY;
	for (int32 row = 0; row < batch->nrows; row++)
		if (present[row])
			tlch_core->mark_landed(batch, row);
	return TL_OK;
}

/*
 * "tokenledger-<ledger>-<table>-<lane>-<token>"; ledger and token are of 32
 * digits, the table is a hash of its name.  NULL: as far as the lane.
 */
void
tlch_append_query_id(StringInfo out, const TlchState *state,
					 const pg_uuid_t *token)
{
	append_table(out, state);
	appendStringInfo(out, "%d-", state->session->lane);
	if (token != NULL)
		tlch_append_hex(out, token);
}

static void
append_table(StringInfo out, const TlchState *state)
{
	const char *name = state->table.quoted;

	appendStringInfoString(out, "tokenledger-");
	tlch_append_hex(out, &state->session->ledger_id);
	appendStringInfo(out, "-%016llx-", (unsigned long long)
					 hash_bytes_extended((const unsigned char *) name,
										 strlen(name), 0));
}

/* No INSERT of this lane runs any more; those that did have been killed. */
static bool
fence_lane(TlchState *state, TlVerdict *verdict)
{
	int64		grace_ends = tl_http_now_ms() + GRACE_MS;
	StringInfoData prefix;

	initStringInfo(&prefix);
	tlch_append_query_id(&prefix, state, NULL);
	for (;;)
	{
		List	   *running;
		int64		now;

		if (!list_running(state, prefix.data, 0, &running, verdict) ||
			!kill_all(state, running, verdict))
			return false;
		now = tl_http_now_ms();
		if (running == NIL && now >= grace_ends)
			return true;
		if (!pause_until(state, running == NIL ? grace_ends :
						 now + LOOK_INTERVAL_MS, verdict))
			return false;
	}
}

/* Every INSERT of this ledger into the table that runs now has ended. */
static bool
fence_table(TlchState *state, TlVerdict *verdict)
{
	int64		begin = tl_http_now_ms();
	StringInfoData prefix;

	initStringInfo(&prefix);
	append_table(&prefix, state);
	for (;;)
	{
		List	   *running;
		int64		now = tl_http_now_ms();

		if (!list_running(state, prefix.data, now - begin, &running, verdict))
			return false;
		if (running == NIL)
			return true;
		if (!pause_until(state, now + LOOK_INTERVAL_MS, verdict))
			return false;
	}
}

/* Ids of queries that begin so and have run for so long, as char *. */
static bool
list_running(TlchState *state, const char *prefix, int64 elapsed_ms,
			 List **running, TlVerdict *verdict)
{
	TlchReader	reader;

	*running = NIL;
	if (!tlch_query(state,
					psprintf("SELECT query_id FROM system.processes"
							 " WHERE startsWith(query_id, '%s')"
							 " AND elapsed >= %.3f FORMAT RowBinary",
							 prefix, elapsed_ms / 1000.0),
					&reader, verdict))
		return false;
	while (reader.next < reader.end && !reader.broken)
		*running = lappend(*running, tlch_read_string(&reader));
	if (reader.broken)
		tlch_fail(verdict, TL_CAUSE_NETWORK, NULL, "the answer was cut off");
	return !reader.broken;
}

/* Each is over, or as good as over, when its KILL has been answered. */
static bool
kill_all(TlchState *state, List *running, TlVerdict *verdict)
{
	ListCell   *lc;

	foreach(lc, running)
	{
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfoString(&sql, "KILL QUERY WHERE query_id = ");
		tlch_quote_literal(&sql, lfirst(lc));
		appendStringInfoString(&sql, " SYNC");
		if (!tlch_query(state, sql.data, NULL, verdict))
			return false;
	}
	return true;
}

/* false: the callback's time is up, or the core says stop. */
static bool
pause_until(TlchState *state, int64 until, TlVerdict *verdict)
{
	int64		now = tl_http_now_ms();

	if (now >= state->deadline)
	{
		tlch_fail(verdict, TL_CAUSE_OVERLOAD, NULL,
				  "an earlier INSERT is still running");
		return false;
	}
	if (tlch_core->wait(state->session, NULL, 0,
						Max(Min(until, state->deadline) - now, 0)) !=
		TL_WAKE_STOP)
		return true;
	tlch_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
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
		tlch_append_uuid(&sql, &sorted[i].id);
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
		tlch_fail(verdict, TL_CAUSE_NETWORK, NULL,
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
