/*-------------------------------------------------------------------------
 *
 * heap.h
 *	  The heap behind palloc: see heap.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_HEAP_H
#define FUZZ_HEAP_H

extern int64 heap_allocations(void);
extern void heap_fail(int64 n);
extern void heap_release(void);

#endif							/* FUZZ_HEAP_H */
