/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  What the table holds, by hour or by event: what reconcile reads.
 *
 * All sums are made on the server; its answer is read while it arrives, so
 * that a long range needs no memory here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

/* Hours begin at full hours of UTC also before 1970. */
#define USEC	"toUnixTimestamp64Micro(toDateTime64(`timestamp`, 6))"
#define HOUR	"(" USEC " - positiveModulo(" USEC ", 3600000000))"
#define CLAMPED(sum)														\
	"toInt64(greatest(least(" sum ", toInt128(9223372036854775807)),"		\
	" toInt128(-9223372036854775807)))"

static const char by_hour_columns[] =
	"toUUID('00000000-0000-0000-0000-000000000000'), toInt64(" HOUR ") AS hour,"
	" toInt64(count()), " CLAMPED("sum(toInt128(total_tokens))") ", "
	CLAMPED("toInt128(sum(toDecimal128(ifNull(cost_usd, 0), 8))"
			" * 100000000)");

static const char by_event_columns[] =
	"event_id, toInt64(" HOUR "), toInt64(1), toInt64(total_tokens),"
	" toInt64(toDecimal128(ifNull(cost_usd, 0), 8) * 100000000)";

#define ROW_SIZE			(UUID_LEN + 4 * sizeof(int64))

/* What the column can hold lies between. */
#define FIRST_USEC			INT64CONST(-2208988800000000)
#define END_USEC			INT64CONST(10413792000000000)

typedef struct Audit
{
	bool		by_event;
	TlSumCB		emit;
	void	   *arg;
	Size		left;			/* bytes that were no whole row */
} Audit;

static Size read_rows(void *arg, const char *data, Size len);
static void append_bound(StringInfo sql, const char *comparison, int64 usec);

/* TlBackend.audit */
TlOutcome
tlch_audit(TlSession *session, int64 from, int64 to, bool by_event,
		   TlSumCB emit, void *arg, TlVerdict *verdict)
{
	TlchState  *state = tlch_begin(session);
	Audit		audit = {by_event, emit, arg, 0};
	StringInfoData sql;

	if (from >= END_USEC || to <= FIRST_USEC)
		return TL_OK;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s%s WHERE 1",
					 by_event ? by_event_columns : by_hour_columns,
					 state->table.quoted, state->final ? " FINAL" : "");
	append_bound(&sql, ">=", from);
	append_bound(&sql, "<", to);
	if (!by_event)
		appendStringInfoString(&sql, " GROUP BY hour");
	appendStringInfoString(&sql, " FORMAT RowBinary");
	if (!tlch_stream(state, sql.data, read_rows, &audit, verdict))
		return TL_RETRY;
	if (audit.left == 0)
		return TL_OK;
	tl_fail(verdict, TL_CAUSE_NETWORK, NULL, "the answer was cut off");
	return TL_RETRY;
}

/* A TlHttpConsumeCB: whole rows only. */
static Size
read_rows(void *arg, const char *data, Size len)
{
	Audit	   *audit = arg;
	TlchReader	reader = {data, data + len, false};

	while (reader.end - reader.next >= (ptrdiff_t) ROW_SIZE)
	{
		TlSum		sum = {0};
		pg_uuid_t	id;

		tlch_read_uuid(&reader, &id);
		sum.event_id = audit->by_event ? &id : NULL;
		sum.from = tlch_read_int64(&reader);
		sum.events = tlch_read_int64(&reader);
		sum.tokens = tlch_read_int64(&reader);
		sum.cost = tlch_read_int64(&reader);
		audit->emit(audit->arg, &sum);
	}
	audit->left = reader.end - reader.next;
	return reader.next - data;
}

/* No bound where the column has none beyond. */
static void
append_bound(StringInfo sql, const char *comparison, int64 usec)
{
	if (usec > FIRST_USEC && usec < END_USEC)
		appendStringInfo(sql, " AND `timestamp` %s fromUnixTimestamp64Micro("
						 "toInt64(" INT64_FORMAT "), 'UTC')", comparison,
						 usec);
}
