/*-------------------------------------------------------------------------
 *
 * encode_batch.h
 *	  A batch for the benchmarks of encoders.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ENCODE_BATCH_H
#define ENCODE_BATCH_H

#include "tokenledger_backend.h"

/*
 * The 26 columns of ledger version 1.1, about 380 bytes an event, as
 * bench/run fills its ledger.  One batch a process.
 */
extern void bench_make_batch(TlBatch *batch, int32 nrows);

/* Seconds of the processor. */
extern double bench_now(void);

#endif							/* ENCODE_BATCH_H */
