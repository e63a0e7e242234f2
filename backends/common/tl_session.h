/*-------------------------------------------------------------------------
 *
 * tl_session.h
 *	  What sessions of stores that are reached over HTTP have in common:
 *	  options and clients.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SESSION_H
#define TL_SESSION_H

#include "tl_http.h"
#include "tl_verdict.h"
#include "tokenledger_backend.h"

/* An option's value, or another if it is not set. */
extern bool tl_bool_option(const TlCore *core, TlSession *session,
						   const char *name, bool otherwise);
extern int	tl_int_option(const TlCore *core, TlSession *session,
						  const char *name, int otherwise);

/*
 * The option of an address, http[s]://host[:port], without slashes at its
 * end; *url stays as it is if the option is not set.  Returns NULL, or what
 * is wrong with it.
 */
extern const char *tl_endpoint_option(const TlCore *core, TlSession *session,
									  const char *name, const char **url);

/*
 * Makes *client unless it is there: open does no I/O, takes no descriptor.
 * false: see the verdict.
 */
extern bool tl_make_client(const TlCore *core, TlSession *session,
						   const TlHttpSettings *settings, TlHttp **client,
						   TlVerdict *verdict);

#endif							/* TL_SESSION_H */
