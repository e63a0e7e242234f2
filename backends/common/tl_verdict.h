/*-------------------------------------------------------------------------
 *
 * tl_verdict.h
 *	  What a callback says of its failure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_VERDICT_H
#define TL_VERDICT_H

#include "tokenledger_backend.h"

/*
 * Fills in the verdict.  The first failure stands: what follows it (the
 * connection that breaks after an error, say) is only its consequence.
 */
extern void tl_fail(TlVerdict *verdict, TlCause cause, const char *code,
					const char *fmt,...) pg_attribute_printf(4, 5);
extern void tl_vfail(TlVerdict *verdict, TlCause cause, const char *code,
					 const char *fmt, va_list args)
			pg_attribute_printf(4, 0);

#endif							/* TL_VERDICT_H */
