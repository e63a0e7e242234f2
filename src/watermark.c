/*-------------------------------------------------------------------------
 *
 * watermark.c
 *	  complete_until(target_id, name): up to when everything is delivered.
 *
 * Three bounds, of which the earliest counts:
 *
 *	- what was committed before target.from_until has been claimed; when a
 *	  look has found nothing to claim since, what was committed before the
 *	  look.  This one is in shared memory: an idle lane writes no row;
 *	- lane.range_until of each range that is under way: its events were
 *	  committed later;
 *	- lane.held_until of the events that a lane holds.
 *
 * NB: shared memory is read first, and the rows in a snapshot that is taken
 * then.  A look relies on claims that have been committed before it; in an
 * older snapshot their ranges could be missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "queue_sql.h"
#include "shmem.h"

TL_FUNCTION_INFO(tl_complete_until);

static TimestampTz claimed_until(const char *name);

/* complete_until(target_id integer, name text) RETURNS timestamptz */
Datum
tl_complete_until(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID};
	Datum		values[2];
	char		nulls[2] = {' ', ' '};
	TimestampTz looked = claimed_until(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	TimestampTz until = DT_NOBEGIN;

	values[0] = PG_GETARG_DATUM(0);
	values[1] = TimestampTzGetDatum(looked);
	if (looked == 0)
		nulls[1] = 'n';
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args(COMPLETE_UNTIL_SQL, 2, types, values, nulls,
							  true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the state of the lanes");
	if (SPI_processed > 0)
		until = (TimestampTz) queue_int64(1, DT_NOBEGIN);
	PopActiveSnapshot();
	SPI_finish();
	if (TIMESTAMP_NOT_FINITE(until))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(until);
}

/* 0: not known. */
static TimestampTz
claimed_until(const char *name)
{
	TimestampTz until = 0;

	if (tl_shared == NULL)
		return 0;
	LWLockAcquire(tl_shared->lock, LW_SHARED);
	for (int i = 0; i < tl_shared->max_lanes; i++)
	{
		TargetSlot *slot = &tl_shared->targets[i];

		if (slot->database == MyDatabaseId && strcmp(slot->name, name) == 0)
			until = (TimestampTz) pg_atomic_read_u64(&slot->claimed_until);
	}
	LWLockRelease(tl_shared->lock);
	return until;
}
