/*-------------------------------------------------------------------------
 *
 * tl_screen.h
 *	  Events that a store cannot hold, found before they are sent.
 *
 * Reasons are an array with one for each row of a batch, NULL at first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SCREEN_H
#define TL_SCREEN_H

#include "tokenledger_backend.h"

/* The first reason stands.  Returns how many rows are refused by it. */
extern int32 tl_refuse_row(const char **reasons, int32 row,
						   const char *reason);

/*
 * Refuses what is NaN in a column of decimals; type is the store's, with an
 * article.  Returns how many rows.
 */
extern int32 tl_refuse_nan(const TlColumn *column, int32 nrows,
						   const char *type, const char **reasons);

/* Tells the core of those with a reason.  TL_OK: there are none. */
extern TlOutcome tl_refuse_rows(const TlCore *core, TlBatch *batch,
								const char **reasons, TlVerdict *verdict);

#endif							/* TL_SCREEN_H */
