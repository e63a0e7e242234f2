/*-------------------------------------------------------------------------
 *
 * lane_transaction.h
 *	  The short transactions of a lane, and the settings they run under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_LANE_TRANSACTION_H
#define TL_LANE_TRANSACTION_H

#include "utils/uuid.h"

/*
 * Overrides what ALTER DATABASE, ALTER ROLE or the configuration file say
 * where the lanes' correctness or speed hangs on it.
 */
extern void lane_settings_apply(void);

/* A transaction with SPI connected.  Not nested. */
extern void lane_begin(void);
extern void lane_begin_reading(void);
extern void lane_allow_every_plan(void);
extern void lane_commit(void);
extern void lane_abort(void);

/* In the current memory context. */
extern bytea *lane_bytea(const void *data, Size len);
extern void lane_random_uuid(pg_uuid_t *uuid);

#endif							/* TL_LANE_TRANSACTION_H */
