/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the supported versions of PostgreSQL (14 to 18).
 *
 * The only place where PG_VERSION_NUM may be looked at; test/lint enforces
 * it.  Each entry gives the newest version's name or form to older ones, so
 * that the rest of the source reads as if written for the newest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_COMPAT_H
#define TL_COMPAT_H

#if PG_VERSION_NUM < 140000
#error "tokenledger needs PostgreSQL 14 or later"
#endif

/* 15: MarkGUCPrefixReserved() replaces EmitWarningsOnPlaceholders(). */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix)	EmitWarningsOnPlaceholders(prefix)
#endif

/* 16: the accessors of varlena headers have a header of their own. */
#if !defined(FRONTEND) && PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16: ExceptionalCondition() lost errorType (for the unit tests' stubs). */
#if PG_VERSION_NUM >= 160000
#define TL_EXCEPTIONAL_CONDITION_ARGS \
	const char *conditionName, const char *fileName, int lineNumber
#else
#define TL_EXCEPTIONAL_CONDITION_ARGS \
	const char *conditionName, const char *errorType, \
	const char *fileName, int lineNumber
#endif

/* 16: PG_FUNCTION_INFO_V1() exports the function as well as its record. */
#define TL_FUNCTION_INFO(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* 15: the suffix of shared libraries is known to extensions. */
#ifndef DLSUFFIX
#define DLSUFFIX	".so"
#endif

/* 15: shared memory is requested in a hook. */
#define TL_HAVE_SHMEM_REQUEST_HOOK	(PG_VERSION_NUM >= 150000)

/* 18: it is a specifier, not an attribute at the end. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 17: one timeout for whole transactions. */
#define TL_HAVE_TRANSACTION_TIMEOUT	(PG_VERSION_NUM >= 170000)

/* 17: a WaitEventSet belongs to a resource owner, NULL for none. */
#if PG_VERSION_NUM >= 170000
#define tl_create_wait_event_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define tl_create_wait_event_set(n) \
	CreateWaitEventSet(CurrentMemoryContext, (n))
#endif

/* 17: custom wait events have names. */
#if PG_VERSION_NUM >= 170000
#define tl_wait_event(name)		WaitEventExtensionNew(name)
#else
#define tl_wait_event(name)		PG_WAIT_EXTENSION
#endif

/* 15: InitMaterializedSRF() prepares a set-returning function. */
#if !defined(FRONTEND) && PG_VERSION_NUM < 150000
#include "funcapi.h"
#include "miscadmin.h"

static inline void
InitMaterializedSRF(FunctionCallInfo fcinfo, bits32 flags)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	caller = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &rsinfo->setDesc) !=
		TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes &
							   SFRM_Materialize_Random) != 0,
							  false, work_mem);
	MemoryContextSwitchTo(caller);
}
#endif

/* 15: pg_prng. */
#if PG_VERSION_NUM >= 150000
#define tl_random_double()	pg_prng_double(&pg_global_prng_state)
#define TL_PRNG_HEADER		"common/pg_prng.h"
#else
#define tl_random_double()	((double) random() / MAX_RANDOM_VALUE)
#define TL_PRNG_HEADER		"postgres.h"
#endif

/* 16: ownership is checked by catalog and object. */
#if PG_VERSION_NUM >= 160000
#define tl_owns_database(database) \
	object_ownercheck(DatabaseRelationId, (database), GetUserId())
#else
#define tl_owns_database(database) \
	pg_database_ownercheck((database), GetUserId())
#endif

#endif							/* TL_COMPAT_H */
