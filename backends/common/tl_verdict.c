/*-------------------------------------------------------------------------
 *
 * tl_verdict.c
 *	  What a callback says of its failure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_verdict.h"

void
tl_fail(TlVerdict *verdict, TlCause cause, const char *code,
		const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	tl_vfail(verdict, cause, code, fmt, args);
	va_end(args);
}

void
tl_vfail(TlVerdict *verdict, TlCause cause, const char *code, const char *fmt,
		 va_list args)
{
	if (verdict->message[0] != '\0')
		return;
	verdict->cause = cause;
	strlcpy(verdict->code, code ? code : "", sizeof(verdict->code));
	vsnprintf(verdict->message, sizeof(verdict->message), fmt, args);
}
