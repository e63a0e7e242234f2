/*-------------------------------------------------------------------------
 *
 * queue_finding.c
 *	  What reconcile has found, written in the transaction of its step.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "compat.h"
#include "queue_internal.h"
#include "reconcile.h"

static const char count_sql[] =
"INSERT INTO token_ledger.reconcile_hour AS h VALUES ($1, $2, $3, $4, $5, $6,"
" $7::pg_catalog.numeric OPERATOR(pg_catalog.*) 0.00000001,"
" $8::pg_catalog.numeric OPERATOR(pg_catalog.*) 0.00000001, $9, $10, $11,"
" $12)"
" ON CONFLICT (job_id, hour) DO UPDATE SET"
" ledger_events = h.ledger_events OPERATOR(pg_catalog.+)"
" excluded.ledger_events,"
" store_events = h.store_events OPERATOR(pg_catalog.+)"
" excluded.store_events,"
" ledger_tokens = h.ledger_tokens OPERATOR(pg_catalog.+)"
" excluded.ledger_tokens,"
" store_tokens = h.store_tokens OPERATOR(pg_catalog.+)"
" excluded.store_tokens,"
" ledger_cost = h.ledger_cost OPERATOR(pg_catalog.+)"
" excluded.ledger_cost,"
" store_cost = h.store_cost OPERATOR(pg_catalog.+)"
" excluded.store_cost,"
" missing = h.missing OPERATOR(pg_catalog.+) excluded.missing,"
" extra = h.extra OPERATOR(pg_catalog.+) excluded.extra,"
" different = h.different OPERATOR(pg_catalog.+) excluded.different,"
" doubled = h.doubled OPERATOR(pg_catalog.+) excluded.doubled";

/* Extra rows are not named where some of them may be retired events. */
static const char name_sql[] =
"INSERT INTO token_ledger.reconcile_event SELECT $1, $2, $3, f.id,"
" CASE WHEN $3 OPERATOR(pg_catalog.<>) 'extra' THEN lt END,"
" CASE WHEN $3 OPERATOR(pg_catalog.<>) 'missing' THEN st END,"
" CASE WHEN $3 OPERATOR(pg_catalog.<>) 'extra'"
" THEN lc::pg_catalog.numeric OPERATOR(pg_catalog.*) 0.00000001 END,"
" CASE WHEN $3 OPERATOR(pg_catalog.<>) 'missing'"
" THEN sc::pg_catalog.numeric OPERATOR(pg_catalog.*) 0.00000001 END"
" FROM ROWS FROM (pg_catalog.unnest($4), pg_catalog.unnest($5),"
" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8))"
" AS f(id, lt, st, lc, sc)"
" WHERE NOT ($3 OPERATOR(pg_catalog.=) 'extra' AND EXISTS ("
"SELECT FROM token_ledger.retired r WHERE r.hour OPERATOR(pg_catalog.=) $2))"
" LIMIT GREATEST(0, $9 OPERATOR(pg_catalog.-) (SELECT pg_catalog.count(*)"
" FROM token_ledger.reconcile_event WHERE job_id OPERATOR(pg_catalog.=) $1"
" AND hour OPERATOR(pg_catalog.=) $2 AND kind OPERATOR(pg_catalog.=) $3))"
" ON CONFLICT DO NOTHING";

static const char requeue_sql[] =
"INSERT INTO token_ledger.job_event (job_id, xid, seq)"
" SELECT $2, ingest_xid, ingest_seq"
" FROM ONLY token_ledger.token_ledger_events q"
" WHERE event_id OPERATOR(pg_catalog.=) ANY ($3)"
" AND NOT EXISTS (SELECT FROM token_ledger.dead_letter d"
" WHERE d.target_id OPERATOR(pg_catalog.=) $1"
" AND d.event_id OPERATOR(pg_catalog.=) q.event_id)"
" ON CONFLICT DO NOTHING";

/*
 * Rows without an event are expected where the ledger has retired some; that
 * all of those were sent is known only where no event of any hour took
 * another way, and the job compares the whole hour.
 */
static const char end_hour_sql[] =
"WITH r AS (SELECT COALESCE((SELECT events FROM token_ledger.retired"
" WHERE hour OPERATOR(pg_catalog.=) $3), 0) AS events,"
" t.vanished OPERATOR(pg_catalog.=) 0 AND t.skipped OPERATOR(pg_catalog.=) 0"
" AND NOT EXISTS (SELECT FROM token_ledger.dead_letter"
" WHERE target_id OPERATOR(pg_catalog.=) $1)"
" AND NOT EXISTS (SELECT FROM token_ledger.lane"
" WHERE target_id OPERATOR(pg_catalog.=) $1 AND (filtered"
" OPERATOR(pg_catalog.>) 0 OR vanished OPERATOR(pg_catalog.>) 0))"
" AND (j.from_time IS NULL OR j.from_time OPERATOR(pg_catalog.<=) $3)"
" AND (j.to_time IS NULL OR j.to_time OPERATOR(pg_catalog.>=)"
" ($3 OPERATOR(pg_catalog.+) '1 hour'::pg_catalog.interval)) AS all_sent"
" FROM token_ledger.target t, token_ledger.job j"
" WHERE t.id OPERATOR(pg_catalog.=) $1 AND j.id OPERATOR(pg_catalog.=) $2)"
" UPDATE token_ledger.reconcile_hour h SET retired = r.events,"
" extra = GREATEST(h.extra OPERATOR(pg_catalog.-) r.events, 0),"
" retired_missing = CASE WHEN r.all_sent"
" THEN GREATEST(r.events OPERATOR(pg_catalog.-) h.extra, 0) ELSE 0 END"
" FROM r WHERE h.job_id OPERATOR(pg_catalog.=) $2"
" AND h.hour OPERATOR(pg_catalog.=) $3";

static const char false_alarm_sql[] =
"DELETE FROM token_ledger.reconcile_hour"
" WHERE job_id OPERATOR(pg_catalog.=) $1 AND hour OPERATOR(pg_catalog.=) $2"
" AND (missing, extra, different, doubled, retired_missing)"
" OPERATOR(pg_catalog.=) (0, 0, 0, 0, 0)";

static const char *const kind_names[FINDING_KINDS] = {
	"missing", "extra", "different", "doubled"
};

static void count(const QueueJob *job, const ReconcileStep *step);
static void name(const QueueJob *job, const ReconcileStep *step,
				 FindingKind kind);
static void requeue(Queue *queue, const QueueJob *job,
					const Findings *findings);
static Datum int8s(const int64 *values, int n);

void
write_findings(Queue *queue, const QueueJob *job, bool again,
			   const ReconcileStep *step)
{
	count(job, step);
	for (int kind = 0; kind < FINDING_KINDS; kind++)
	{
		if (step->findings->counts[kind] > 0)
			name(job, step, kind);
	}
	if (again && step->findings->nmissing > 0)
		requeue(queue, job, step->findings);
}

static void
count(const QueueJob *job, const ReconcileStep *step)
{
	const Findings *f = step->findings;
	Oid			types[] = {INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID
	};
	Datum		values[12] = {
		Int64GetDatum(job->id), TimestampTzGetDatum(step->hour),
		Int64GetDatum(f->ledger.events), Int64GetDatum(f->store.events),
		Int64GetDatum(f->ledger.tokens), Int64GetDatum(f->store.tokens),
		Int64GetDatum(f->ledger.cost), Int64GetDatum(f->store.cost)
	};

	for (int i = 0; i < FINDING_KINDS; i++)
		values[8 + i] = Int64GetDatum(f->counts[i]);
	reconcile_run(count_sql, 12, types, values);
}

static void
name(const QueueJob *job, const ReconcileStep *step, FindingKind kind)
{
	const Findings *f = step->findings;
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (f->nnamed + 1));
	int64	   *sums[4];
	int			n = 0;
	Oid			types[] = {INT8OID, TIMESTAMPTZOID, TEXTOID, UUIDARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8OID};
	Datum		values[9];

	for (int i = 0; i < lengthof(sums); i++)
		sums[i] = palloc(sizeof(int64) * (f->nnamed + 1));
	for (int i = 0; i < f->nnamed; i++)
	{
		const NamedFinding *named = &f->named[i];

		if (named->kind != kind)
			continue;
		ids[n] = named->id;
		sums[0][n] = named->tokens[0];
		sums[1][n] = named->tokens[1];
		sums[2][n] = named->cost[0];
		sums[3][n++] = named->cost[1];
	}
	values[0] = Int64GetDatum(job->id);
	values[1] = TimestampTzGetDatum(step->hour);
	values[2] = CStringGetTextDatum(kind_names[kind]);
	values[3] = uuid_values(ids, n);
	for (int i = 0; i < lengthof(sums); i++)
		values[4 + i] = int8s(sums[i], n);
	values[8] = Int64GetDatum(MAX_NAMED);
	reconcile_run(name_sql, 9, types, values);
}

static void
requeue(Queue *queue, const QueueJob *job, const Findings *findings)
{
	Oid			types[] = {INT4OID, INT8OID, UUIDARRAYOID};
	Datum		values[] = {
		Int32GetDatum(queue->target_id), Int64GetDatum(job->id),
		uuid_values(findings->missing, findings->nmissing)
	};

	reconcile_run(requeue_sql, 3, types, values);
}

void
end_hour(Queue *queue, const QueueJob *job, TimestampTz hour)
{
	Oid			types[] = {INT4OID, INT8OID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int32GetDatum(queue->target_id), Int64GetDatum(job->id),
		TimestampTzGetDatum(hour)
	};

	reconcile_run(end_hour_sql, 3, types, values);
	reconcile_run(false_alarm_sql, 2, types + 1, values + 1);
}

Datum
uuid_values(const pg_uuid_t *ids, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		values[i] = UUIDPGetDatum(&ids[i]);
	return PointerGetDatum(construct_array(values, n, UUIDOID, UUID_LEN,
										   false, TYPALIGN_CHAR));
}

static Datum
int8s(const int64 *values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(datums, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}
