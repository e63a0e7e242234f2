/*-------------------------------------------------------------------------
 *
 * heap.c
 *	  palloc for fuzzers: everything is freed after an execution, and the
 *	  n-th allocation can be made to fail.
 *
 * Takes the place of libpgcommon's, which never frees.  Each allocation is
 * one of malloc(), so that the address sanitizer knows its bounds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/fe_memutils.h"
#include "heap.h"

typedef struct Chunk
{
	struct Chunk *next;
	struct Chunk *previous;
} Chunk;

static Chunk all = {&all, &all};
static int64 allocations;
static int64 fail_at;			/* 0: none */

int64
heap_allocations(void)
{
	return allocations;
}

/* From here on allocations are counted from 1, and the n-th fails. */
void
heap_fail(int64 n)
{
	allocations = 0;
	fail_at = n;
}

void
heap_release(void)
{
	while (all.next != &all)
	{
		Chunk	   *chunk = all.next;

		all.next = chunk->next;
		free(chunk);
	}
	all.previous = &all;
}

static void *
link_in(Chunk *chunk)
{
	chunk->next = all.next;
	chunk->previous = &all;
	all.next->previous = chunk;
	all.next = chunk;
	return chunk + 1;
}

static void
unlink_chunk(Chunk *chunk)
{
	chunk->previous->next = chunk->next;
	chunk->next->previous = chunk->previous;
}

static void
count_one(void)
{
	if (++allocations == fail_at)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

void *
palloc_extended(Size size, int flags)
{
	Chunk	   *chunk;

	if ((flags & MCXT_ALLOC_NO_OOM) == 0)
		count_one();
	else if (++allocations == fail_at)
		return NULL;
	chunk = (flags & MCXT_ALLOC_ZERO) != 0 ?
		calloc(1, sizeof(Chunk) + size) : malloc(sizeof(Chunk) + size);
	if (chunk == NULL)
		abort();
	return link_in(chunk);
}

void *
palloc(Size size)
{
	return palloc_extended(size, 0);
}

void *
palloc0(Size size)
{
	return palloc_extended(size, MCXT_ALLOC_ZERO);
}

void *
repalloc(void *pointer, Size size)
{
	Chunk	   *chunk = (Chunk *) pointer - 1;

	count_one();
	unlink_chunk(chunk);
	chunk = realloc(chunk, sizeof(Chunk) + size);
	if (chunk == NULL)
		abort();
	return link_in(chunk);
}

void
pfree(void *pointer)
{
	Chunk	   *chunk = (Chunk *) pointer - 1;

	unlink_chunk(chunk);
	free(chunk);
}

char *
pnstrdup(const char *text, Size len)
{
	char	   *copy;

	len = strnlen(text, len);
	copy = palloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

/* libpgcommon's own users of memory. */

void *
pg_malloc(size_t size)
{
	return palloc(size);
}

void *
pg_malloc0(size_t size)
{
	return palloc0(size);
}

void *
pg_malloc_extended(size_t size, int flags)
{
	return palloc_extended(size, flags);
}

void *
pg_realloc(void *pointer, size_t size)
{
	return pointer == NULL ? palloc(size) : repalloc(pointer, size);
}

char *
pg_strdup(const char *text)
{
	return pstrdup(text);
}

void
pg_free(void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}
