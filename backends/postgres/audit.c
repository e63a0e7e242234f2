/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  What the table holds, by hour or by event: what reconcile reads.
 *
 * All sums are made on the server; rows arrive one by one, so that a long
 * range needs no memory here.  Row security is off: sums that leave hidden
 * rows out would be wrong without a sign of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

#define OID_TIMESTAMPTZ		1184

/* Sums and hours as bigint; a sum that is out of range stops at its end. */
#define CLAMPED(expr)														\
	"greatest(least(" expr ", 9223372036854775807), -9223372036854775808)::int8"
#define HOUR																\
	"pg_catalog.date_trunc('hour', \"timestamp\" AT TIME ZONE 'UTC')"		\
	" AT TIME ZONE 'UTC'"
#define COST	"coalesce(pg_catalog.sum(cost_usd) FILTER"					\
	" (WHERE cost_usd <> 'NaN'), 0) * 100000000"

static const char by_hour_columns[] =
	"NULL::uuid, " HOUR ", pg_catalog.count(*), "
	CLAMPED("coalesce(pg_catalog.sum(total_tokens), 0)") ", " CLAMPED(COST);

static const char by_event_columns[] =
	"event_id, " HOUR ", 1::int8, total_tokens, "
	CLAMPED("coalesce(nullif(cost_usd, 'NaN'), 0) * 100000000");

static bool stream_sums(TlpgState *state, const char *sql,
						const TlpgParams *params, TlSumCB emit, void *arg,
						TlVerdict *verdict);
static void emit_sum(const PGresult *row, TlSumCB emit, void *arg);

/* TlBackend.audit */
TlOutcome
tlpg_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlpgState  *state = tlpg_begin(session);
	StringInfoData begin;
	char	   *sql;
	int64		bounds[2];
	TlpgParams	params = {0};

	params.n = 2;
	for (int i = 0; i < params.n; i++)
	{
		uint64		value = tlpg_timestamp_to_server(i == 0 ? from : to);

		bounds[i] = tlpg_decode_int64((const char *) &value);
		params.types[i] = OID_TIMESTAMPTZ;
		params.values[i] = (const char *) &bounds[i];
		params.lengths[i] = sizeof(int64);
	}

	/* Without an upper bound the events at infinity belong to the range. */
	sql = psprintf("SELECT %s FROM %s WHERE \"timestamp\" >= $1"
				   " AND \"timestamp\" %s $2%s",
				   by_event ? by_event_columns : by_hour_columns,
				   state->table.quoted, to == PG_INT64_MAX ? "<=" : "<",
				   by_event ? "" : " GROUP BY 2");
	initStringInfo(&begin);
	tlpg_begin_sql(state, &begin, TLPG_NO_FENCE, TLPG_LOOK_UP);
	appendStringInfoString(&begin, "SELECT pg_catalog.set_config("
						   "'row_security', 'off', true)");
	if (tlpg_connect(state, verdict) &&
		tlpg_query(state, begin.data, NULL, verdict) &&
		stream_sums(state, sql, &params, emit, arg, verdict) &&
		tlpg_query(state, "COMMIT", NULL, verdict))
		return TL_OK;
	tlpg_rollback(state);
	return TL_RETRY;
}

static bool
stream_sums(TlpgState *state, const char *sql, const TlpgParams *params,
			TlSumCB emit, void *arg, TlVerdict *verdict)
{
	bool		ok = true;

	if (!tlpg_stream(state, sql, params, verdict))
		return false;
	while (tlpg_next_result(state, verdict))
	{
		if (state->result == NULL)
			return ok;
		switch (PQresultStatus(state->result))
		{
			case PGRES_SINGLE_TUPLE:
				emit_sum(state->result, emit, arg);
				break;
			case PGRES_TUPLES_OK:
				break;
			default:
				tlpg_record_error(state, verdict);
				ok = false;
		}
	}
	return false;
}

static void
emit_sum(const PGresult *row, TlSumCB emit, void *arg)
{
	TlSum		sum = {0};
	pg_uuid_t	id;

	if (!PQgetisnull(row, 0, 0))
	{
		memcpy(id.data, PQgetvalue(row, 0, 0), UUID_LEN);
		sum.event_id = &id;
	}
	sum.from = tlpg_decode_int64(PQgetvalue(row, 0, 1));
	sum.from = tlpg_timestamp_from_server(sum.from);
	sum.events = tlpg_decode_int64(PQgetvalue(row, 0, 2));
	sum.tokens = tlpg_decode_int64(PQgetvalue(row, 0, 3));
	sum.cost = tlpg_decode_int64(PQgetvalue(row, 0, 4));
	emit(arg, &sum);
}
