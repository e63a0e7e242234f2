/*-------------------------------------------------------------------------
 *
 * instance.h
 *	  Which ledger, cluster and database this is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_INSTANCE_H
#define TL_INSTANCE_H

#include "utils/uuid.h"

/*
 * Within a transaction with SPI connected: makes the ledger's id at first
 * use, takes over the rows after pg_upgrade, and says who we are.
 */
extern void instance_check(pg_uuid_t *ledger_id, int64 *system_identifier,
						   int32 *timeline);

#endif							/* TL_INSTANCE_H */
