/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  A dump is restored completely before a lane looks at it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_RESTORE_H
#define TL_RESTORE_H

#include "nodes/nodes.h"

/*
 * Before a utility statement: keeps lanes away until the session ends if this
 * restores a ledger.
 */
extern void restore_hold(Node *statement);

#endif							/* TL_RESTORE_H */
