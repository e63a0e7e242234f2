/*-------------------------------------------------------------------------
 *
 * fence.c
 *	  No earlier INSERT of a batch runs any more.
 *
 * Each carries the ledger, the table, the lane and its token in its query id.
 * Those of this lane are killed, which waits for their end; of a batch that
 * other lanes may have sent (TL_OVERLAP), theirs that are older than this
 * look are waited for, and their own time limit ends them.  Another target of
 * the same ledger fills another table, and is left alone: its lanes have the
 * same numbers.
 *
 * An INSERT is on the server's list from before its body is read, so one that
 * is not listed has ended or lies unread on its way.  For the latter the list
 * is looked at again after a while; resolve.c sees to what comes later still.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "tlch.h"

/* An unread request has at least so long to show up. */
#define GRACE_MS			500

/* Between two looks at the list. */
#define LOOK_INTERVAL_MS	100

static void append_table(StringInfo out, const TlchState *state);
static bool fence_lane(TlchState *state, TlVerdict *verdict);
static bool fence_table(TlchState *state, TlVerdict *verdict);
static bool list_running(TlchState *state, const char *prefix,
						 int64 elapsed_ms, List **running,
						 TlVerdict *verdict);
static bool kill_all(TlchState *state, List *running, TlVerdict *verdict);
static bool pause_until(TlchState *state, int64 until, TlVerdict *verdict);

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

/* Sent with this batch or an earlier one, no INSERT of it runs any more. */
bool
tlch_fence(TlchState *state, const TlBatch *batch, TlVerdict *verdict)
{
	return fence_lane(state, verdict) &&
		(batch->history != TL_OVERLAP || fence_table(state, verdict));
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
		tl_fail(verdict, TL_CAUSE_NETWORK, NULL, "the answer was cut off");
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
		tl_fail(verdict, TL_CAUSE_OVERLOAD, NULL,
				"an earlier INSERT is still running");
		return false;
	}
	if (tlch_core->wait(state->session, NULL, 0,
						Max(Min(until, state->deadline) - now, 0)) !=
		TL_WAKE_STOP)
		return true;
	tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
	return false;
}
