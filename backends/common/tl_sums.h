/*-------------------------------------------------------------------------
 *
 * tl_sums.h
 *	  Sums of an audit, from rows of text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SUMS_H
#define TL_SUMS_H

#include "tokenledger_backend.h"

typedef struct TlSums
{
	bool		by_event;
	int64		hour_unit;		/* microseconds of one in the column hour */
	TlSumCB		emit;
	void	   *arg;
	bool		broken;			/* out: some row was none of ours */
} TlSums;

/*
 * Hands on a row of n values: id, hour, events, tokens, cost; NULL where
 * SQL's is.  sums is a TlSums.
 */
extern void tl_take_sum(void *sums, const char *const *values, int n);

#endif							/* TL_SUMS_H */
