/*-------------------------------------------------------------------------
 *
 * target.h
 *	  A configured target: its URL, its backend and its validated options.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_TARGET_H
#define TL_TARGET_H

#include "guc.h"
#include "nodes/pg_list.h"
#include "options.h"			/* options_get, _next, _secret: for TlCore */
#include "target_url.h"
#include "tokenledger_backend.h"

typedef struct Target
{
	const TargetUrl *url;
	const char *name;			/* url->name */
	const TlBackend *backend;	/* NULL if it could not be loaded */
	Options    *options;		/* core's and backend's, with defaults from
								 * the GUCs; NULL while invalid */
	char	   *destination;	/* canonical, without user, secrets and
								 * options that do not change the store:
								 * "postgres://db2:5432/llm?table=...".  ASCII;
								 * NULL while invalid or without backend */
	uint64		fingerprint;	/* of the entry's whole text and of the GUCs
								 * that are its defaults; not of the files it
								 * names */
	char	   *error;			/* NULL: valid */
	char	   *hint;			/* also of a valid target whose database is
								 * not in tokenledger.databases */

	/* Core options, resolved; only of a valid target. */
	int32		lanes;
	int32		batch_rows;
	int64		batch_bytes;
	int64		max_event_bytes;
	int32		claim_rows;
	int32		flush_interval_ms;
	int32		timeout_ms;
	int32		retry_min_ms;
	int32		retry_max_ms;
	AutoMigrate auto_migrate;
	bool		start_now;		/* of a new target: skip what is there */
	bool		watermark;		/* the store is told what is complete */
	bool		shared;			/* another ledger may fill the table too */
	bool		check_kept;		/* the store is asked whether it still has
								 * what it acknowledged */
	const char *table;			/* NULL: the backend's default */

	/* What the target gets: routing.h. */
	uint64		unsent;			/* bits of ledger_columns */
	uint64		hashed;			/* bits of ledger_columns */
	const char *filter;			/* as written, UTF-8; NULL: all events */
	uint64		routing;		/* a hash of these; 0: everything is sent */
} Target;

/*
 * Every target that the settings name for this database, also the invalid
 * ones, as a List of Target * in the current memory context.  Loads the
 * backends.  Does not throw for bad settings, and needs no transaction.
 */
extern List *target_load_all(const char *database);

/*
 * The same from the core's options alone, without loading a backend: for the
 * launcher, which runs no third party's code.  backend and destination stay
 * NULL, and mistakes that only the backend's declarations show are not seen;
 * the fingerprints are those of target_load_all.  Neither of them looks at a
 * filter: see routing_check().
 */
extern List *target_load_core_only(const char *database);

/* One of them; NULL if the settings do not name it. */
extern Target *target_load(const char *database, const char *name);

/*
 * Names of tokenledger.databases, each once, as a List of char *.  NIL of a
 * text that is no list: then target_databases_error() says so, else it is
 * NULL.
 */
extern List *target_databases(void);
extern const char *target_databases_error(void);

/* Is this database among them? */
extern bool target_database_listed(const char *database);

/*
 * Entries that never run, since their database is not in
 * tokenledger.databases, as a List of TargetUrl *: for the launcher to log.
 */
extern List *target_unlisted(void);

/* Declarations of the core's options, with the GUCs as defaults. */
extern const TlOption *target_core_options(void);

#endif							/* TL_TARGET_H */
