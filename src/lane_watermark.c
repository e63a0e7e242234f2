/*-------------------------------------------------------------------------
 *
 * lane_watermark.c
 *	  Lane 0 tells the store up to when its events are complete.
 *
 * Only between two parts, and only where the target's URL asks for it
 * (watermark=on): an idle target then writes to its store every few seconds,
 * and to the ledger's database nothing.  Events go on whether or not the
 * store takes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "compat.h"
#include "lane.h"

#define WATERMARK_MS	10000	/* between two of them */

/* From TimestampTz to TL_TIMESTAMP. */
#define UNIX_OFFSET_USECS \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static bool is_due(const Lane *lane);
static void failed(Lane *lane, const TlVerdict *verdict);

void
lane_watermark(Lane *lane)
{
	TlVerdict	verdict;
	TimestampTz until;
	bool		dropped;

	if (!is_due(lane))
		return;
	lane->watermark_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 WATERMARK_MS);
	until = queue_complete_until(&lane->queue);
	if (TIMESTAMP_NOT_FINITE(until) || until <= lane->watermark)
		return;
	if (session_watermark(lane->session, until + UNIX_OFFSET_USECS, &verdict,
						  &dropped) == TL_OK)
	{
		lane->watermark = until;
		lane->watermark_failing = false;
	}
	else
		failed(lane, &verdict);
	if (!dropped)
		return;
	lane->session = NULL;
	lane->inspected = false;
}

static bool
is_due(const Lane *lane)
{
	return lane->target->watermark && lane->slot->lane == 0 &&
		lane->part == NULL && lane->session != NULL && lane->inspected &&
		lane->watermark_at <= GetCurrentTimestamp();
}

/* Told once. */
static void
failed(Lane *lane, const TlVerdict *verdict)
{
	if (lane->watermark_failing)
		return;
	lane->watermark_failing = true;
	ereport(LOG,
			(errmsg("tokenledger target \"%s\": the store does not take the watermark",
					lane->target->name),
			 errdetail_internal("%s", verdict->message)));
}
