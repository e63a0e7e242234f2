/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  What a fuzz target, fuzz_<what>.c, gives and gets.
 *
 * A target defines the two below; the driver links it to libFuzzer.  Its
 * head comment names what the Makefile links besides, as a unit test's does
 * (test/unit/unit.h).  A violated invariant calls FUZZ_CHECK.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "tokenledger_backend.h"

/* May bad input throw?  Where it may not, an ereport(ERROR) is a finding. */
extern const bool fuzz_may_throw;

/* One execution.  text[len] is a NUL, and nothing behind it is readable. */
extern void fuzz_one(const char *text, size_t len);

#define FUZZ_CHECK(cond) \
	do { \
		if (!(cond)) \
			fuzz_failed(#cond, __FILE__, __LINE__); \
	} while (0)

extern void fuzz_failed(const char *what, const char *file, int line)
			__attribute__((noreturn));

/* The input, taken piece by piece; zeroes once it is used up. */
typedef struct FuzzInput
{
	const char *next;
	size_t		left;
} FuzzInput;

extern uint64 fuzz_take(FuzzInput *input, int bytes);

/* A batch as the core could have built it. */
extern void fuzz_batch(FuzzInput *input, TlBatch *batch);

#endif							/* FUZZ_H */
