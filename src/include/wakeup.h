/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Wake-ups at the end of a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_WAKEUP_H
#define TL_WAKEUP_H

/* If it commits, wakes this database's lanes and the launcher. */
extern void wake_at_end_of_transaction(void);

#endif							/* TL_WAKEUP_H */
