/*-------------------------------------------------------------------------
 *
 * queue_reconcile.c
 *	  What the ledger says the store should have, and what reconcile found.
 *
 * Whether an event is settled depends on the cursor, on the ranges that lanes
 * have claimed and on the dead letters.  All of it is read in the statement
 * that reads the events, thus as of one moment.  An event that is not settled
 * may be in the store or not: it is neither missing nor extra.
 *
 * What is written, how far the job has come and what it found there, is one
 * transaction.  So a step that is repeated finds nothing twice.
 *
 * Statements are planned with their values: those of time decide how the
 * ledger is read, and there are few.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue_internal.h"
#include "reconcile.h"

#define CLAMPED(expr) \
	"GREATEST(LEAST(" expr ", 9223372036854775807)," \
	" -9223372036854775808)::pg_catalog.int8"
#define COST \
	"CASE WHEN cost_usd OPERATOR(pg_catalog.<>) 'NaN'" \
	" THEN cost_usd ELSE 0 END"
#define SCALED(expr)	"(" expr ") OPERATOR(pg_catalog.*) 100000000"
#define SUMS_IF(condition) \
	"pg_catalog.count(*) FILTER (WHERE " condition "), " \
	CLAMPED("COALESCE(pg_catalog.sum(total_tokens) FILTER (WHERE " \
			condition "), 0)") ", " \
	CLAMPED(SCALED("COALESCE(pg_catalog.sum(" COST ") FILTER (WHERE " \
				   condition "), 0)"))

/*
 * Events of the target $1 in [$2, $3), and whether they are settled.  What is
 * asked for each event is read once: while a snapshot is held elsewhere, the
 * rows of target and lane have thousands of dead versions.  What the filter
 * leaves out now may have been sent under another one, so it counts as not
 * settled; it is asked last, as it may throw for what is a dead letter.
 */
#define WITH_TARGET \
	"WITH t AS MATERIALIZED (SELECT window_from, window_to, last_xid," \
	" last_seq, skipped_to FROM token_ledger.target" \
	" WHERE id OPERATOR(pg_catalog.=) $1)," \
	" l AS MATERIALIZED (SELECT * FROM token_ledger.lane" \
	" WHERE target_id OPERATOR(pg_catalog.=) $1)"
#define EVENTS \
	"(SELECT event_id, total_tokens, cost_usd, CASE WHEN " \
	CLAIMED_BY("t.window_from", "t.window_to", "t.last_xid", "t.last_seq") \
	" AND (t.skipped_to IS NULL" \
	" OR NOT pg_catalog.pg_visible_in_snapshot(ingest_xid, t.skipped_to))" \
	" AND NOT EXISTS (SELECT FROM l WHERE l.source OPERATOR(pg_catalog.=) 'window'" \
	" AND (ingest_xid, ingest_seq) OPERATOR(pg_catalog.>)" \
	" (COALESCE(l.done_xid, l.first_xid), COALESCE(l.done_seq, l.first_seq))" \
	" AND (ingest_xid, ingest_seq) OPERATOR(pg_catalog.<=)" \
	" (l.last_xid, l.last_seq)" \
	" AND pg_catalog.pg_visible_in_snapshot(ingest_xid, l.range_to)" \
	" AND NOT pg_catalog.pg_visible_in_snapshot(ingest_xid, l.range_from))" \
	" AND NOT EXISTS (SELECT FROM token_ledger.dead_letter d" \
	" WHERE d.target_id OPERATOR(pg_catalog.=) $1" \
	" AND d.event_id OPERATOR(pg_catalog.=) q.event_id)" \
	" AND event_id OPERATOR(pg_catalog.<>) ALL (ARRAY(" \
	" SELECT pg_catalog.unnest(held) FROM l)) THEN %s ELSE false END" \
	" AS settled" \
	" FROM ONLY token_ledger.token_ledger_events q, t" \
	" WHERE q.\"timestamp\" OPERATOR(pg_catalog.>=) $2" \
	" AND q.\"timestamp\" OPERATOR(pg_catalog.<) $3) AS e"

static const char state_sql[] =
"SELECT j.from_time, j.to_time, j.at_time, j.end_time, j.requeue, j.sent,"
" EXISTS (SELECT FROM token_ledger.job_event e"
" WHERE e.job_id OPERATOR(pg_catalog.=) j.id), t.paused"
" FROM token_ledger.job j JOIN token_ledger.target t"
" ON t.id OPERATOR(pg_catalog.=) j.target_id"
" WHERE t.id OPERATOR(pg_catalog.=) $1 AND j.id OPERATOR(pg_catalog.=) $2";

static const char extent_sql[] =
"SELECT pg_catalog.min(a), pg_catalog.max(b) FROM ("
"SELECT pg_catalog.min(\"timestamp\") AS a,"
" pg_catalog.max(\"timestamp\") AS b"
" FROM ONLY token_ledger.token_ledger_events"
" WHERE pg_catalog.isfinite(\"timestamp\") UNION ALL"
" SELECT pg_catalog.min(hour), pg_catalog.max(hour) FROM token_ledger.retired"
" WHERE pg_catalog.isfinite(hour)) AS both_of_them";

static const char begin_sql[] =
"UPDATE token_ledger.job SET at_time = $5, end_time = $6, total = $7,"
" attempts = 0 WHERE " OUR_JOB " RETURNING id";

static const char sums_sql[] =
WITH_TARGET ", r AS (SELECT events, tokens, cost FROM token_ledger.retired"
" WHERE hour OPERATOR(pg_catalog.>=)"
" pg_catalog.date_trunc('hour', $2, 'UTC')"
" AND hour OPERATOR(pg_catalog.<) $3)"
" SELECT " SUMS_IF("settled") ", " SUMS_IF("NOT settled") ","
" (SELECT COALESCE(pg_catalog.sum(events), 0)::pg_catalog.int8 FROM r),"
" (SELECT " CLAMPED("COALESCE(pg_catalog.sum(tokens), 0)") " FROM r),"
" (SELECT " CLAMPED(SCALED("COALESCE(pg_catalog.sum(cost), 0)")) " FROM r)"
" FROM " EVENTS;

static const char events_sql[] =
WITH_TARGET " SELECT event_id, settled, total_tokens, "
CLAMPED(SCALED("COALESCE(" COST ", 0)")) " FROM " EVENTS;

static const char known_sql[] =
"SELECT event_id, \"timestamp\" OPERATOR(pg_catalog.>=) $2"
" AND \"timestamp\" OPERATOR(pg_catalog.<) $3"
" FROM ONLY token_ledger.token_ledger_events"
" WHERE event_id OPERATOR(pg_catalog.=) ANY ($1)";

static const char progress_sql[] =
"UPDATE token_ledger.job SET at_time = $5,"
" done = done OPERATOR(pg_catalog.+) $6, attempts = 0"
" WHERE " OUR_JOB " RETURNING done";

static const char result_sql[] =
"SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(missing), 0)::int8,"
" COALESCE(pg_catalog.sum(extra), 0)::int8,"
" COALESCE(pg_catalog.sum(different), 0)::int8,"
" COALESCE(pg_catalog.sum(doubled), 0)::int8,"
" COALESCE(pg_catalog.sum(retired_missing), 0)::int8"
" FROM token_ledger.reconcile_hour WHERE job_id OPERATOR(pg_catalog.=) $1";

static const char *filtered(const char *sql, const char *filter);
static void begin_wide(void);
static TimestampTz time_or(int column, TimestampTz if_null);
static bool bool_value(int column);
static void read_sums(int column, Sums *sums);

bool
reconcile_find(Queue *queue, int64 job, Reconcile *reconcile)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(queue->target_id),
		Int64GetDatum(job)
	};
	bool		found;

	memset(reconcile, 0, sizeof(*reconcile));
	lane_begin_reading();
	found = reconcile_run(state_sql, 2, types, values) > 0;
	if (found)
	{
		reconcile->from = time_or(1, DT_NOBEGIN);
		reconcile->to = time_or(2, DT_NOEND);
		reconcile->at = time_or(3, DT_NOBEGIN);
		reconcile->end = time_or(4, DT_NOBEGIN);
		reconcile->begun = !TIMESTAMP_IS_NOBEGIN(reconcile->end);
		reconcile->requeue = bool_value(5);
		reconcile->sent = queue_int64(6, 0);
		reconcile->to_send = bool_value(7);
		reconcile->paused = bool_value(8);
	}
	lane_commit();
	return found;
}

/* Of the ledger and of what it has retired; first > last: of nothing. */
void
reconcile_extent(Queue *queue, TimestampTz *first, TimestampTz *last)
{
	begin_wide();
	reconcile_run(extent_sql, 0, NULL, NULL);
	*first = time_or(1, DT_NOEND);
	*last = time_or(2, DT_NOBEGIN);
	lane_commit();
}

bool
reconcile_begin(Queue *queue, const QueueJob *job, TimestampTz at,
				TimestampTz end)
{
	Oid			types[] = {INT4OID, INT2OID, INT8OID, INT8OID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, INT8OID};
	Datum		values[] = {
		Int32GetDatum(queue->target_id), Int16GetDatum(queue->lane),
		Int64GetDatum(queue->epoch), Int64GetDatum(job->id),
		TimestampTzGetDatum(at), TimestampTzGetDatum(end),
		Int64GetDatum(job->total)
	};
	bool		ours;

	lane_begin();
	ours = reconcile_run(begin_sql, 7, types, values) > 0;
	lane_commit();
	return ours;
}

void
reconcile_sums(Queue *queue, const char *filter, TimestampTz from,
			   TimestampTz to, LedgerSums *sums)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {Int32GetDatum(queue->target_id),
		TimestampTzGetDatum(from), TimestampTzGetDatum(to)
	};

	begin_wide();
	reconcile_run(filtered(sums_sql, filter), 3, types, values);
	read_sums(1, &sums->settled);
	read_sums(4, &sums->unsettled);
	read_sums(7, &sums->retired);
	lane_commit();
}

void
reconcile_events(Queue *queue, const char *filter, TimestampTz from,
				 TimestampTz to, HTAB *events)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {Int32GetDatum(queue->target_id),
		TimestampTzGetDatum(from), TimestampTzGetDatum(to)
	};
	uint64		n;

	begin_wide();
	n = reconcile_run(filtered(events_sql, filter), 3, types, values);
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		pg_uuid_t  *id = DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
		ComparedEvent *event = hash_search(events, id, HASH_ENTER, NULL);

		event->settled = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull)) &&
			!isnull;
		event->different = false;
		event->rows = 0;
		event->tokens = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		event->cost = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	}
	lane_commit();
}

void
reconcile_known(Queue *queue, TimestampTz from, TimestampTz to,
				const NamedFinding *found, int nfound, HTAB *known)
{
	Oid			types[] = {UUIDARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[3];
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (nfound + 1));
	uint64		n;

	for (int i = 0; i < nfound; i++)
		ids[i] = found[i].id;
	lane_begin_reading();
	values[0] = uuid_values(ids, nfound);
	values[1] = TimestampTzGetDatum(from);
	values[2] = TimestampTzGetDatum(to);
	n = reconcile_run(known_sql, 3, types, values);
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		pg_uuid_t  *id = DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
		ComparedEvent *event = hash_search(known, id, HASH_ENTER, NULL);

		event->different =
			!DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
	}
	lane_commit();
	pfree(ids);
}

bool
reconcile_step(Queue *queue, QueueJob *job, const Reconcile *reconcile,
			   const ReconcileStep *step)
{
	Oid			types[] = {INT4OID, INT2OID, INT8OID, INT8OID, TIMESTAMPTZOID,
	INT8OID};
	Datum		values[] = {
		Int32GetDatum(queue->target_id), Int16GetDatum(queue->lane),
		Int64GetDatum(queue->epoch), Int64GetDatum(job->id),
		TimestampTzGetDatum(step->at), Int64GetDatum(step->hours)
	};

	lane_begin();
	if (reconcile_run(progress_sql, 6, types, values) == 0)
	{
		lane_abort();
		return false;
	}
	job->done = queue_int64(1, 0);
	if (step->findings != NULL)
		write_findings(queue, job, reconcile->requeue, step);
	if (step->hour_ended)
		end_hour(queue, job, step->hour);
	lane_commit();
	return true;
}

void
reconcile_result(Queue *queue, int64 job, ReconcileResult *result)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(job);

	lane_begin_reading();
	reconcile_run(result_sql, 1, &type, &value);
	result->hours = queue_int64(1, 0);
	for (int i = 0; i < FINDING_KINDS; i++)
		result->counts[i] = queue_int64(2 + i, 0);
	result->retired_missing = queue_int64(2 + FINDING_KINDS, 0);
	lane_commit();
}

uint64
reconcile_run(const char *sql, int nargs, const Oid *types, Datum *values)
{
	int			code = SPI_execute_with_args(sql, nargs, (Oid *) types,
											 values, NULL, false, 0);

	if (code < 0)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(code));
	return SPI_processed;
}

/* The statement with the target's filter; NULL: it has none. */
static const char *
filtered(const char *sql, const char *filter)
{
	const char *place = strstr(sql, "%s");

	Assert(place != NULL);
	return psprintf("%.*s%s%s%s%s", (int) (place - sql), sql,
					filter ? "(" : "", filter ? filter : "true",
					filter ? ") IS TRUE" : "", place + 2);
}

/* A range of time has no index but BRIN. */
static void
begin_wide(void)
{
	lane_begin_reading();
	lane_allow_every_plan();
}

static TimestampTz
time_or(int column, TimestampTz if_null)
{
	bool		isnull;
	Datum		value = queue_value(column, &isnull);

	return isnull ? if_null : DatumGetTimestampTz(value);
}

static bool
bool_value(int column)
{
	bool		isnull;
	Datum		value = queue_value(column, &isnull);

	return !isnull && DatumGetBool(value);
}

static void
read_sums(int column, Sums *sums)
{
	sums->events = queue_int64(column, 0);
	sums->tokens = queue_int64(column + 1, 0);
	sums->cost = queue_int64(column + 2, 0);
}
