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

#include "common/int.h"
#include "tlbq.h"

#define HOUR "UNIX_MICROS(TIMESTAMP_TRUNC(`timestamp`, HOUR))"

static const char by_hour_columns[] =
	"'' AS id, " HOUR " AS hour, COUNT(*) AS events,"
	" SUM(CAST(total_tokens AS NUMERIC)) AS tokens, SUM(cost_usd) AS cost";

static const char by_event_columns[] =
	"event_id AS id, " HOUR " AS hour, 1 AS events,"
	" CAST(total_tokens AS NUMERIC) AS tokens, cost_usd AS cost";

#define COST_DIGITS			8

/* What TIMESTAMP_MICROS takes lies between. */
#define FIRST_USEC			INT64CONST(-62135596800000000)
#define END_USEC			INT64CONST(253402300800000000)

typedef struct Audit
{
	bool		by_event;
	TlSumCB		emit;
	void	   *arg;
	bool		broken;
} Audit;

static void take_sum(void *arg, const char *const *values, int n);
static int64 read_decimal(const char *text, int digits);

/* TlBackend.audit */
TlOutcome
tlbq_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	Audit		audit = {by_event, emit, arg, false};
	StringInfoData sql;

	if (from >= END_USEC || to <= FIRST_USEC)
		return TL_OK;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s WHERE `timestamp` >="
					 " TIMESTAMP_MICROS(" INT64_FORMAT ")",
					 by_event ? by_event_columns : by_hour_columns,
					 state->name.quoted, Max(from, FIRST_USEC));
	if (to < END_USEC)
		appendStringInfo(&sql, " AND `timestamp` < TIMESTAMP_MICROS("
						 INT64_FORMAT ")", to);
	if (!by_event)
		appendStringInfoString(&sql, " GROUP BY hour");
	if (!tlbq_query(state, sql.data, NULL, take_sum, &audit, verdict))
		return TL_RETRY;
	if (!audit.broken)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer is not one of BigQuery's");
	return TL_RETRY;
}

/* A TlbqRowCB: id, hour, events, tokens, cost. */
static void
take_sum(void *arg, const char *const *values, int n)
{
	Audit	   *audit = arg;
	TlSum		sum = {0};
	pg_uuid_t	id;

	if (n != 5 || values[1] == NULL || values[2] == NULL ||
		(audit->by_event &&
		 (values[0] == NULL || !tl_read_uuid(values[0], &id))))
	{
		audit->broken = true;
		return;
	}
	sum.event_id = audit->by_event ? &id : NULL;
	sum.from = strtoll(values[1], NULL, 10);
	sum.events = strtoll(values[2], NULL, 10);
	sum.tokens = read_decimal(values[3], 0);
	sum.cost = read_decimal(values[4], COST_DIGITS);
	audit->emit(audit->arg, &sum);
}

/* The value times 10^digits; NULL is zero, what is too large is clamped. */
static int64
read_decimal(const char *text, int digits)
{
	bool		negative = text != NULL && text[0] == '-';
	bool		fraction = false;
	int64		value = 0;

	if (text == NULL)
		return 0;
	for (text += negative; *text != '\0' && (!fraction || digits > 0); text++)
	{
		if (*text == '.')
		{
			fraction = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			break;
		if (pg_mul_s64_overflow(value, 10, &value) ||
			pg_add_s64_overflow(value, *text - '0', &value))
			return negative ? -PG_INT64_MAX : PG_INT64_MAX;
		digits -= fraction;
	}
	for (; digits > 0; digits--)
		if (pg_mul_s64_overflow(value, 10, &value))
			return negative ? -PG_INT64_MAX : PG_INT64_MAX;
	return negative ? -value : value;
}
