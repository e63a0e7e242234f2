/*-------------------------------------------------------------------------
 *
 * tl_schema.h
 *	  Judging and migrating the events table of a store without transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SCHEMA_H
#define TL_SCHEMA_H

#include "tokenledger_backend.h"

/* What inspect starts from: nothing is there. */
extern void tl_clear_remote(TlRemote *remote);

extern int32 tl_newest_version(const TlMigration *migrations);

/* 0: the version is the first. */
extern int32 tl_version_before(const TlMigration *migrations, int32 version);

/*
 * What inspect and migrate say of a table (its quoted name) after it was
 * compared: fatal lists what keeps it from being filled, and is empty or not.
 * code is the store's own for that.
 */
extern TlOutcome tl_judge_fillable(const char *table, const StringInfo fatal,
								   const char *code, TlVerdict *verdict);
extern TlOutcome tl_judge_ours(const char *table, const StringInfo fatal,
							   const char *code, TlVerdict *verdict);

/*
 * A store whose steps are scripts and whose versions are rows of a small
 * table.  Where the answer is false, the verdict says why.
 */
typedef struct TlScripts
{
	/* Looks at the events table anew: is it ours, or can it become so? */
	TlOutcome	(*judge) (void *state, TlVerdict *verdict);

	/* Makes what the versions are kept in, if need be, and looks there. */
	bool		(*is_recorded) (void *state, int32 version, bool *recorded,
								TlVerdict *verdict);

	/* One statement, with placeholders. */
	bool		(*run) (void *state, const char *statement,
						TlVerdict *verdict);

	/* Records the version of a step, and whose ledger it is. */
	bool		(*record) (void *state, const TlMigration *step,
						   TlVerdict *verdict);

	/* Forgets it, and later ones. */
	bool		(*forget) (void *state, const TlMigration *step,
						   TlVerdict *verdict);
} TlScripts;

/* TlBackend.migrate of such a store. */
extern TlOutcome tl_migrate(const TlScripts *scripts, void *state,
							const TlMigration *step, bool up,
							TlVerdict *verdict);

/* Statements separated by semicolons, which occur nowhere else. */
extern bool tl_run_script(const TlScripts *scripts, void *state,
						  const char *script, TlVerdict *verdict);

#endif							/* TL_SCHEMA_H */
