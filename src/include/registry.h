/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  The hook table: loads, validates and finds backends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_REGISTRY_H
#define TL_REGISTRY_H

#include "nodes/pg_list.h"
#include "tokenledger_backend.h"

/* Publishes TL_REGISTRY; called from _PG_init. */
extern void registry_init(void);

/*
 * The backend of a URL scheme, loaded from $libdir if need be; NULL: *error
 * and *hint say why, in the current memory context.  Does not throw, and
 * needs no transaction.
 *
 * The result lives as long as the process.  It has the core's size whatever
 * the library was built with: callbacks the library does not know are NULL.
 */
extern const TlBackend *registry_lookup(const char *scheme, char **error,
										char **hint);

/* All that are registered or installed, by name: a List of char * schemes. */
extern List *registry_schemes(void);

/* "$libdir/tokenledger_<scheme>"; NULL if it was registered at run time. */
extern char *registry_library(const char *scheme);

/* The service table handed to backends (session.c). */
extern const TlCore tl_core;

/* Of the schema that the backend makes; 0: it makes none. */
extern int32 registry_newest_version(const TlBackend *backend);

#endif							/* TL_REGISTRY_H */
