/*-------------------------------------------------------------------------
 *
 * stubs.c
 *	  What pure backend code needs of the server, for unit tests.
 *
 * libpgcommon and libpgport, which every installation for developers has,
 * give palloc and its family, StringInfo and the formatting functions.  Left
 * over are error reports, memory contexts, lists and the interrupt flags.
 * Memory contexts are one heap that is never freed, whose reset callbacks run
 * when unit_reset() is called; an error longjmps to the innermost PG_TRY or
 * unit_error(), or ends the program.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "compat.h"
#include "unit.h"

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;
MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
MemoryContext ErrorContext = NULL;
volatile sig_atomic_t InterruptPending = false;

static MemoryContextCallback *reset_callbacks;

static int	report_level;
static int	report_code;
static char report_message[1024];
static char report_detail[1024];
static char report_hint[1024];

const char *
unit_error(void (*fn) (void *arg), void *arg)
{
	sigjmp_buf	here;
	sigjmp_buf *outer = PG_exception_stack;
	bool		thrown;

	report_message[0] = '\0';
	if (sigsetjmp(here, 0) == 0)
	{
		PG_exception_stack = &here;
		fn(arg);
		thrown = false;
	}
	else
		thrown = true;
	PG_exception_stack = outer;
	return thrown ? report_message : NULL;
}

int
unit_error_code(void)
{
	return report_code;
}

/* Error reports. */

bool
errstart(int elevel, const char *domain)
{
	if (elevel < ERROR)
		return false;
	report_level = elevel;
	report_code = ERRCODE_INTERNAL_ERROR;
	report_message[0] = report_detail[0] = report_hint[0] = '\0';
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	pg_re_throw();
}

void
pg_re_throw(void)
{
	if (PG_exception_stack != NULL)
		siglongjmp(*PG_exception_stack, 1);
	printf("Bail out! uncaught error: %s (%s) (%s)\n", report_message,
		   report_detail, report_hint);
	fflush(stdout);
	abort();
}

int
errcode(int sqlerrcode)
{
	report_code = sqlerrcode;
	return 0;
}

#define REPORT(buffer, fmt) \
	do { \
		va_list		args; \
		va_start(args, fmt); \
		vsnprintf(buffer, sizeof(buffer), fmt, args); \
		va_end(args); \
	} while (0)

int
errmsg(const char *fmt,...)
{
	REPORT(report_message, fmt);
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	REPORT(report_message, fmt);
	return 0;
}

int
errdetail(const char *fmt,...)
{
	REPORT(report_detail, fmt);
	return 0;
}

int
errhint(const char *fmt,...)
{
	REPORT(report_hint, fmt);
	return 0;
}

void
FlushErrorState(void)
{
}

#ifdef USE_ASSERT_CHECKING
void
ExceptionalCondition(TL_EXCEPTIONAL_CONDITION_ARGS)
{
	printf("Bail out! assertion failed: %s at %s line %d\n", conditionName,
		   fileName, lineNumber);
	fflush(stdout);
	abort();
}
#endif

/* Memory: one heap, whatever the context. */

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	return pstrdup(string);
}

void
MemoryContextReset(MemoryContext context)
{
}

void
MemoryContextRegisterResetCallback(MemoryContext context,
								   MemoryContextCallback *cb)
{
	cb->next = reset_callbacks;
	reset_callbacks = cb;
}

void
unit_reset(void)
{
	while (reset_callbacks != NULL)
	{
		MemoryContextCallback *cb = reset_callbacks;

		reset_callbacks = cb->next;
		cb->func(cb->arg);
	}
}

void
MemoryContextDelete(MemoryContext context)
{
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size minContextSize, Size initBlockSize,
							  Size maxBlockSize)
{
	return palloc0(1);			/* only its identity is used */
}

/* Lists. */

List *
lappend(List *list, void *datum)
{
	if (list == NIL)
	{
		list = palloc0(offsetof(List, initial_elements));
		list->type = T_List;
	}
	if (list->elements == NULL)
		list->elements = palloc(sizeof(ListCell));
	else
		list->elements = repalloc(list->elements,
								  (list->length + 1) * sizeof(ListCell));
	list->elements[list->length].ptr_value = datum;
	list->length++;
	list->max_length = list->length;
	return list;
}

void
list_free(List *list)
{
}

/* Interrupts. */

void
ProcessInterrupts(void)
{
	InterruptPending = false;
}
