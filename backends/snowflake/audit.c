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

#include "tlsf.h"

#define HOUR "DATE_PART(EPOCH_SECOND, DATE_TRUNC('HOUR', {timestamp}))"

static const char by_hour_columns[] =
	"'' AS id, " HOUR " AS hour_start, COUNT(*) AS events,"
	" SUM({total_tokens}) AS tokens, SUM({cost_usd}) AS cost";

static const char by_event_columns[] =
	"{event_id} AS id, " HOUR " AS hour_start, 1 AS events,"
	" {total_tokens} AS tokens, {cost_usd} AS cost";

#define USECS_PER_SECOND	INT64CONST(1000000)

static void append_columns(StringInfo out, const TlsfTable *table,
						   const char *template);

/* TlBackend.audit */
TlOutcome
tlsf_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	TlSums		sums = {by_event, USECS_PER_SECOND, emit, arg, false};
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
	if (!tlsf_query(state, &statement, tl_take_sum, &sums, &error, verdict))
		return TL_RETRY;
	if (!sums.broken)
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
