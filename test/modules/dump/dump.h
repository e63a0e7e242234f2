/*-------------------------------------------------------------------------
 *
 * dump.h
 *	  The dump backend's own declarations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLDUMP_H
#define TLDUMP_H

#include "tokenledger_backend.h"

/* Does the batch keep the contract?  NULL, or what is wrong with it. */
extern const char *tldump_check(const TlBatch *batch);

#endif							/* TLDUMP_H */
