/*-------------------------------------------------------------------------
 *
 * routing.h
 *	  Which events a target gets, and what of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_ROUTING_H
#define TL_ROUTING_H

#include "batch.h"
#include "target.h"

/* Reads columns, exclude, hash and filter; what is wrong is in the target. */
extern void routing_resolve(Target *target);

/*
 * Checks the target's filter against the ledger of this database, in a
 * transaction.  Of an invalid one target->error says what is wrong with it
 * without quoting it: a filter may name users.
 */
extern void routing_check(Target *target);

/* The key of option "hash", appended to out; false: *error says why not. */
extern bool routing_read_key(const Target *target, StringInfo out,
							 char **error);

/* Names, separated by ", ". */
extern char *routing_columns(uint64 columns);

/* The number of a column among ledger_columns; -1: there is none. */
extern int	ledger_column_number(const char *name);

static inline bool
column_sent(const Target *target, int number)
{
	return (target->unsent & (UINT64CONST(1) << number)) == 0;
}

/*
 * filter.c: the filter in the words of the server itself, as a condition on
 * the columns of the ledger with search_path = pg_catalog; throws if it is
 * not a boolean expression of built-in immutable functions over them.
 */
extern char *filter_compile(const char *filter, Oid ledger);

/*
 * The same in a subtransaction.  NULL: *error says what is wrong without
 * quoting the filter.
 */
extern char *filter_compile_guarded(const char *filter, Oid ledger,
									char **error);

#endif							/* TL_ROUTING_H */
