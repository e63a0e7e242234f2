/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  libFuzzer's entry: one execution, and a sweep of failing allocations.
 *
 * Of some inputs the execution is repeated with its first allocation failing,
 * its second, and so on: each must end in the error that palloc throws, or
 * not need the memory, and touch nothing that is not there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../unit/unit.h"
#include "fuzz.h"
#include "heap.h"

#define SWEEP_EVERY		64
#define MAX_SWEEP		200

typedef struct Execution
{
	const char *text;
	size_t		len;
} Execution;

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static const char *run(Execution *execution);
static void execute(void *arg);
static void sweep(Execution *execution, int64 allocations);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static uint64 executions;
	char	   *text = malloc(size + 1);
	Execution	execution = {text, size};
	const char *error;
	int64		allocations;

	memcpy(text, data, size);
	text[size] = '\0';
	heap_fail(0);
	error = run(&execution);
	allocations = heap_allocations();
	if (error != NULL && !fuzz_may_throw)
		fuzz_failed(error, __FILE__, __LINE__);
	if (++executions % SWEEP_EVERY == 0)
		sweep(&execution, allocations);
	free(text);
	return 0;
}

/* The message of what it threw; NULL. */
static const char *
run(Execution *execution)
{
	const char *error = unit_error(execute, execution);

	unit_reset();
	heap_release();
	return error;
}

static void
execute(void *arg)
{
	Execution  *execution = arg;

	fuzz_one(execution->text, execution->len);
}

static void
sweep(Execution *execution, int64 allocations)
{
	for (int64 n = 1; n <= Min(allocations, MAX_SWEEP); n++)
	{
		heap_fail(n);
		(void) run(execution);
	}
	heap_fail(0);
}

void
fuzz_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

uint64
fuzz_take(FuzzInput *input, int bytes)
{
	uint64		value = 0;

	for (int i = 0; i < bytes && input->left > 0; i++, input->left--)
		value = value << 8 | (uint8) *input->next++;
	return value;
}
