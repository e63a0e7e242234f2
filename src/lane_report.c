/*-------------------------------------------------------------------------
 *
 * lane_report.c
 *	  Failure and recovery, told once for each change of state.
 *
 * Retries go on for as long as the cause lasts, with a back-off that doubles
 * from retry_min to retry_max and full jitter, so that the lanes of many
 * targets do not come back in step.  The target's row and the server's log
 * hear of a failure when it is new, and of its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include TL_PRNG_HEADER
#include "lane.h"

static bool worth_telling(const Lane *lane, const TlVerdict *verdict);
static void tell(Lane *lane, const TlVerdict *verdict);

void
lane_failed(Lane *lane, const TlVerdict *verdict)
{
	lane->attempts++;
	lane->retry_at = lane_back_off(lane, lane->attempts,
								   verdict->retry_after_ms);
	pg_atomic_write_u32(&lane->slot->attempts, lane->attempts);
	pg_atomic_write_u64(&lane->slot->retry_at, (uint64) lane->retry_at);
	if (!worth_telling(lane, verdict))
		return;
	pg_atomic_fetch_or_u64(&lane->shared->failing,
						   UINT64CONST(1) << (lane->slot->lane % 64));
	lane->failing = true;
	tell(lane, verdict);
}

void
lane_failed_config(Lane *lane, TlCause cause, const char *fmt,...)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict), .cause = cause};
	va_list		args;

	va_start(args, fmt);
	vsnprintf(verdict.message, sizeof(verdict.message), fmt, args);
	va_end(args);
	lane_failed(lane, &verdict);
}

void
lane_succeeded(Lane *lane)
{
	uint64		bit = UINT64CONST(1) << (lane->slot->lane % 64);

	if (lane->queue.lost || (lane->attempts == 0 && !lane->failing))
		return;
	lane->attempts = 0;
	lane->retry_at = 0;
	pg_atomic_write_u32(&lane->slot->attempts, 0);
	pg_atomic_write_u64(&lane->slot->retry_at, 0);
	if (!lane->failing)
		return;
	lane->failing = false;
	lane->reported[0] = '\0';
	if ((pg_atomic_fetch_and_u64(&lane->shared->failing, ~bit) & ~bit) != 0)
		return;
	queue_report_recovery(&lane->queue);
	ereport(LOG,
			(errmsg("tokenledger target \"%s\" has recovered",
					lane->target->name)));
}

/* When to try again after so many failures in a row. */
TimestampTz
lane_back_off(const Lane *lane, int32 failures, int32 wish_ms)
{
	const Target *target = lane->target;
	int			doublings = Max(Min(failures - 1, 30), 0);
	double		ceiling = (double) target->retry_min_ms *
		((int64) 1 << doublings);
	int64		delay;

	ceiling = Min(ceiling, (double) target->retry_max_ms);
	delay = (int64) (ceiling * tl_random_double());
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   Max(delay, (int64) wish_ms));
}

/*
 * One lost connection is nobody's business; what only a person can mend is,
 * at once.
 */
static bool
worth_telling(const Lane *lane, const TlVerdict *verdict)
{
	switch (verdict->cause)
	{
		case TL_CAUSE_AUTH:
		case TL_CAUSE_CONFIG:
		case TL_CAUSE_SCHEMA:
		case TL_CAUSE_DATA:
			return true;
		default:
			return lane->attempts >= 2;
	}
}

static void
tell(Lane *lane, const TlVerdict *verdict)
{
	char		brief[sizeof(lane->reported)];

	snprintf(brief, sizeof(brief), "%s %s %s", cause_name(verdict->cause),
			 verdict->code, verdict->message);
	if (strcmp(brief, lane->reported) == 0)
		return;
	strlcpy(lane->reported, brief, sizeof(lane->reported));
	queue_report_error(&lane->queue, cause_name(verdict->cause),
					   verdict->code[0] ? verdict->code : NULL,
					   verdict->message);
	ereport(LOG,
			(errmsg("tokenledger target \"%s\" is failing (%s)",
					lane->target->name, cause_name(verdict->cause)),
			 errdetail_internal("%s", verdict->message)));
}
