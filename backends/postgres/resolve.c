/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * With a fence the question is asked under the lock that every attempt holds
 * from before it receives data until its transaction ends (see send.c), and
 * in a statement that begins after the lock was granted.  So every attempt
 * whose outcome was unknown has ended, its events are visible if it landed,
 * and it cannot land later.  A batch of this lane needs the lane's lock;
 * events that other lanes may have sent (TL_OVERLAP), the ledger's.
 *
 * A lock that is not granted in time means that an attempt is still running:
 * the answer is TL_RETRY; the server's statement_timeout ends the attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

#define OID_TIMESTAMPTZ		1184
#define OID_UUID_ARRAY		2951

/*
 * Events far apart in time, such as one whose clock was wrong, must not make
 * the server look through (and lock) all that lies between them.
 */
#define MAX_STRETCHES		16
#define STRETCH_GAP			(86400 * INT64CONST(1000000))	/* microseconds */

typedef struct EventRow
{
	pg_uuid_t	id;
	int32		row;
} EventRow;

/* From the first to the last timestamp in it, as TL_TIMESTAMP. */
typedef struct Stretch
{
	int64		begin;
	int64		end;
} Stretch;

static bool ask(TlpgState *state, const TlBatch *batch, TlVerdict *verdict);
static int	find_stretches(const TlBatch *batch, Stretch *stretches);
static const TlColumn *timestamps(const TlBatch *batch);
static void append_search(TlpgState *state, Stretch *stretch,
						  StringInfo sql, TlpgParams *params);
static void append_bound(StringInfo sql, TlpgParams *params, int64 *value);
static void mark_present(const PGresult *rows, const TlBatch *batch,
						 bool *present);
static int	compare_events(const void *a, const void *b);
static int	compare_timestamps(const void *a, const void *b);

/* TlBackend.resolve */
TlOutcome
tlpg_resolve(TlSession *session, TlBatch *batch, bool fence,
			 TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);
	bool	   *present = palloc0(Max(batch->nrows, 1) * sizeof(bool));
	TlpgFence	level = !fence ? TLPG_NO_FENCE :
		batch->history == TL_OVERLAP ? TLPG_FENCE_LEDGER : TLPG_FENCE_LANE;

	if (!tlpg_connect(state, verdict) || !tlpg_load_table(state, verdict) ||
		!tlpg_find_events(state, batch, level, present, verdict))
		return TL_RETRY;
	for (int32 row = 0; row < batch->nrows; row++)
		if (present[row])
			tlpg_core->mark_landed(batch, row);
	return TL_OK;
}

/*
 * Sets present[row] for each event that the table holds.  Row security is
 * turned off: a policy that hides rows becomes an error, not an absent event.
 */
bool
tlpg_find_events(TlpgState *state, TlBatch *batch, TlpgFence fence,
				 bool *present, TlVerdict *verdict)
{
	StringInfoData begin;
	bool		ok;

	initStringInfo(&begin);
	tlpg_begin_sql(state, &begin, fence, TLPG_LOOK_UP);
	appendStringInfoString(&begin, "SELECT pg_catalog.set_config("
						   "'row_security', 'off', true)");
	ok = tlpg_query(state, begin.data, NULL, verdict) &&
		ask(state, batch, verdict);
	if (ok)
		mark_present(state->rows, batch, present);
	ok = ok && tlpg_query(state, "COMMIT", NULL, verdict);
	if (!ok && state->conn != NULL)
	{
		tlpg_rollback(state);
		if (tlpg_classify(verdict->code)->reconnect)
			tlpg_disconnect(state);
	}
	return ok;
}

static bool
ask(TlpgState *state, const TlBatch *batch, TlVerdict *verdict)
{
	StringInfoData sql;
	StringInfoData ids;
	Stretch		stretches[MAX_STRETCHES];
	TlpgParams	params = {0};
	int			n = 0;

	initStringInfo(&ids);
	tlpg_encode_uuid_array(&ids, batch->event_ids, batch->nrows);
	params.n = 1;
	params.types[0] = OID_UUID_ARRAY;
	params.values[0] = ids.data;
	params.lengths[0] = ids.len;

	initStringInfo(&sql);
	if (tlpg_dialect.prune_by_time)
		n = find_stretches(batch, stretches);
	if (n == 0)
		append_search(state, NULL, &sql, &params);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, " UNION ALL ");
		append_search(state, &stretches[i], &sql, &params);
	}
	return tlpg_query(state, sql.data, &params, verdict);
}

/*
 * The few stretches of time in which all events lie.  0: they may lie
 * anywhere.
 */
static int
find_stretches(const TlBatch *batch, Stretch *stretches)
{
	const TlColumn *column = timestamps(batch);
	int64	   *sorted;
	int			n = 0;

	if (column == NULL || column->special || column->null_count > 0 ||
		batch->nrows == 0)
		return 0;
	sorted = palloc(batch->nrows * sizeof(int64));
	memcpy(sorted, column->values, batch->nrows * sizeof(int64));
	qsort(sorted, batch->nrows, sizeof(int64), compare_timestamps);
	for (int32 i = 0; i < batch->nrows; i++)
	{
		if (n == 0 || (n < MAX_STRETCHES &&
					   sorted[i] - stretches[n - 1].end > STRETCH_GAP))
			stretches[n++].begin = sorted[i];
		stretches[n - 1].end = sorted[i];
	}
	pfree(sorted);
	return n;
}

static const TlColumn *
timestamps(const TlBatch *batch)
{
	for (int i = 0; i < batch->ncolumns; i++)
		if (strcmp(batch->columns[i].name, "timestamp") == 0)
			return &batch->columns[i];
	return NULL;
}

/* NB: params points into the stretch from now on. */
static void
append_search(TlpgState *state, Stretch *stretch, StringInfo sql,
			  TlpgParams *params)
{
	appendStringInfo(sql,
					 "SELECT event_id FROM %s WHERE event_id = ANY ($1)",
					 state->table.quoted);
	if (stretch == NULL)
		return;
	appendStringInfoString(sql, " AND \"timestamp\" BETWEEN ");
	append_bound(sql, params, &stretch->begin);
	appendStringInfoString(sql, " AND ");
	append_bound(sql, params, &stretch->end);
}

static void
append_bound(StringInfo sql, TlpgParams *params, int64 *value)
{
	int64		bound = tlpg_timestamp_to_server(*value);

	*value = tlpg_decode_int64((const char *) &bound);
	params->types[params->n] = OID_TIMESTAMPTZ;
	params->values[params->n] = (const char *) value;
	params->lengths[params->n] = sizeof(int64);
	params->n++;
	appendStringInfo(sql, "$%d", params->n);
}

static void
mark_present(const PGresult *rows, const TlBatch *batch, bool *present)
{
	EventRow   *events = palloc(Max(batch->nrows, 1) * sizeof(EventRow));

	for (int32 row = 0; row < batch->nrows; row++)
	{
		events[row].id = batch->event_ids[row];
		events[row].row = row;
	}
	qsort(events, batch->nrows, sizeof(EventRow), compare_events);
	for (int i = 0; i < PQntuples(rows); i++)
	{
		EventRow   *found = bsearch(PQgetvalue(rows, i, 0), events,
									batch->nrows, sizeof(EventRow),
									compare_events);

		if (found != NULL)
			present[found->row] = true;
	}
	pfree(events);
}

/* By id, which is what both begin with: an EventRow, or a bare uuid. */
static int
compare_events(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

static int
compare_timestamps(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}
