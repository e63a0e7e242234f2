/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  What the table holds, by hour or by event: what reconcile reads.
 *
 * All sums are made by Snowflake, as NUMBER; its answer is read partition by
 * partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "tlsf.h"

#define HOUR "DATE_PART(EPOCH_SECOND, DATE_TRUNC('HOUR', {timestamp}))"

static const char by_hour_columns[] =
	"'' AS id, " HOUR " AS hour_start, COUNT(*) AS events,"
	" SUM({total_tokens}) AS tokens, SUM({cost_usd}) AS cost";

static const char by_event_columns[] =
	"{event_id} AS id, " HOUR " AS hour_start, 1 AS events,"
	" {total_tokens} AS tokens, {cost_usd} AS cost";

#define COST_DIGITS			8
#define USECS_PER_SECOND	INT64CONST(1000000)

typedef struct Audit
{
	bool		by_event;
	TlSumCB		emit;
	void	   *arg;
	bool		broken;
} Audit;

static void append_columns(StringInfo out, const TlsfTable *table,
						   const char *template);
static void take_sum(void *arg, const char *const *values, int n);
static int64 read_decimal(const char *text, int digits);

/* TlBackend.audit */
TlOutcome
tlsf_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	Audit		audit = {by_event, emit, arg, false};
	TlsfStatement statement = {0};
	TlsfError	error;
	StringInfoData sql;
	char		border[TLSF_TIMESTAMP_TEXT];

	if (from >= TLSF_END_USEC || to <= TLSF_FIRST_USEC)
		return TL_OK;
	if (!tlsf_load_table(state, verdict))
		return TL_RETRY;
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, state->remote,
				   by_event ? by_event_columns : by_hour_columns);
	*tlsf_put_timestamp(border, from) = '\0';
	appendStringInfo(&sql, " FROM %s WHERE ", state->name.quoted);
	append_columns(&sql, state->remote, "{timestamp}");
	appendStringInfo(&sql, " >= CAST('%s' AS TIMESTAMP_NTZ)", border);
	if (to < TLSF_END_USEC)
	{
		*tlsf_put_timestamp(border, to) = '\0';
		appendStringInfoString(&sql, " AND ");
		append_columns(&sql, state->remote, "{timestamp}");
		appendStringInfo(&sql, " < CAST('%s' AS TIMESTAMP_NTZ)", border);
	}
	if (!by_event)
		appendStringInfoString(&sql, " GROUP BY 2");
	statement.sql = sql.data;
	if (!tlsf_query(state, &statement, take_sum, &audit, &error, verdict))
		return TL_RETRY;
	if (!audit.broken)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
			"the answer is not one of Snowflake's");
	return TL_RETRY;
}

/* With the columns' names as the table spells them. */
static void
append_columns(StringInfo out, const TlsfTable *table, const char *template)
{
	for (const char *p = template; *p != '\0';)
	{
		const char *open = p + strcspn(p, "{");
		Size		len = strcspn(open, "}");
		const TlsfColumn *column;
		char	   *name;

		appendBinaryStringInfo(out, p, open - p);
		if (*open == '\0')
			break;
		name = pnstrdup(open + 1, len - 1);
		column = tlsf_find_column(table, name);
		tlsf_quote_identifier(out, column ? column->name : name);
		p = open + len + 1;
	}
}

/* A TlsfRowCB: id, hour, events, tokens, cost. */
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
	sum.from = strtoll(values[1], NULL, 10) * USECS_PER_SECOND;
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
