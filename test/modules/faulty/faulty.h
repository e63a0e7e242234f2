/*-------------------------------------------------------------------------
 *
 * faulty.h
 *	  A backend around another one, which makes things go wrong on a plan.
 *
 * See test/conformance/README.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FAULTY_H
#define FAULTY_H

#include "tokenledger_backend.h"

#define INJECTED	"injected by the conformance suite"

/* A backend that is wrapped; lives as long as the process. */
typedef struct Inner
{
	struct Inner *next;
	const TlBackend *table;		/* its own */
	TlBackend	faulty;			/* what is registered in its place */
} Inner;

/* What the wrapper knows of a session that is open. */
typedef struct Faulty
{
	struct Faulty *next;
	TlSession  *session;
	const Inner *inner;
	TlGuarantee real;			/* what the inner backend has said */
	TlBatch    *late;			/* sent, but still on its way; or NULL */
	MemoryContextCallback reset;
} Faulty;

typedef struct Fault
{
	char		name[32];		/* "": none */
	long		arg;
} Fault;

typedef struct Plan
{
	Fault		fault;			/* of this call */
	pg_uuid_t  *poison;			/* events that the store refuses */
	int			npoison;
} Plan;

/* faulty.c */
extern const TlCore *faulty_core;	/* of the core */

/* plan.c */
extern Plan *plan_read(Faulty *f, const char *callback, int number);
extern bool plan_is(const Plan *plan, const char *fault);
extern bool plan_poisons(const Plan *plan, const pg_uuid_t *event_id);

/* journal.c */
extern int	journal_count(Faulty *f, const char *callback);
extern void journal_begin(Faulty *f, const char *callback, int number,
						  const char *fault, const TlBatch *batch);
extern void journal_end(Faulty *f, const char *callback, int number,
						TlOutcome outcome, const TlBatch *batch);
extern void journal_note(Faulty *f, const char *format,...)
			pg_attribute_printf(2, 3);
extern void journal_mark(const TlBatch *batch, int32 row, char mark);

/* landing.c: what really reaches the store. */
typedef struct Meddling			/* with the waits of the inner backend */
{
	int			stop_at;		/* which wait is told to stop; 0: none */
	int			timeout_at;		/* which wait is told that time is over */
	bool		stall;			/* sockets never become ready */
} Meddling;

extern TlCore landing_core(void);
extern void landing_meddle(const Meddling *meddling);
extern int	landing_waits(void);
extern TlBatch *landing_copy(const TlBatch *batch, const int32 *rows,
							 int32 nrows);
extern TlOutcome land(Faulty *f, TlBatch *batch, const int32 *rows,
					  int32 nrows, bool own_token, TlVerdict *verdict);
extern void land_late(Faulty *f);
extern TlOutcome ask(Faulty *f, TlBatch *batch, const int32 *rows,
					 int32 nrows, bool fence, TlVerdict *verdict);
extern TlOutcome look_up(Faulty *f, TlBatch *batch, const int32 *rows,
						 int32 nrows, bool *present);

#endif							/* FAULTY_H */
