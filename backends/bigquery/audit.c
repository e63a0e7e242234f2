/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  What the table holds, by hour or by event: what reconcile reads.
 *
 * All sums are made by BigQuery, as NUMERIC, in which they cannot overflow;
 * its answer is read page by page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

#define HOUR "UNIX_MICROS(TIMESTAMP_TRUNC(`timestamp`, HOUR))"

static const char by_hour_columns[] =
	"'' AS id, " HOUR " AS hour, COUNT(*) AS events,"
	" SUM(CAST(total_tokens AS NUMERIC)) AS tokens, SUM(cost_usd) AS cost";

static const char by_event_columns[] =
	"event_id AS id, " HOUR " AS hour, 1 AS events,"
	" CAST(total_tokens AS NUMERIC) AS tokens, cost_usd AS cost";

/* TlBackend.audit */
TlOutcome
tlbq_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	TlSums		sums = {by_event, 1, emit, arg, false};
	StringInfoData sql;

	if (from >= TLBQ_END_USEC || to <= TLBQ_FIRST_USEC)
		return TL_OK;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s WHERE `timestamp` >="
					 " TIMESTAMP_MICROS(" INT64_FORMAT ")",
					 by_event ? by_event_columns : by_hour_columns,
					 state->name.quoted, Max(from, TLBQ_FIRST_USEC));
	if (to < TLBQ_END_USEC)
		appendStringInfo(&sql, " AND `timestamp` < TIMESTAMP_MICROS("
						 INT64_FORMAT ")", to);
	if (!by_event)
		appendStringInfoString(&sql, " GROUP BY hour");
	if (!tlbq_query(state, sql.data, NULL, tl_take_sum, &sums, verdict))
		return TL_RETRY;
	if (!sums.broken)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer is not one of BigQuery's");
	return TL_RETRY;
}
