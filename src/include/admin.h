/*-------------------------------------------------------------------------
 *
 * admin.h
 *	  SQL functions that talk to a store from the caller's own session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_ADMIN_H
#define TL_ADMIN_H

#include "compat.h"
#include "session.h"
#include "target.h"

/* A valid target of this database, or an error. */
extern Target *admin_find_target(const char *name);

/* The same, opened in the role TL_ADMIN. */
extern Session *admin_open_session(const char *name);

/* What the store said, as an error: "could not <action> target ...". */
pg_noreturn extern void admin_raise_verdict(const Session *session,
											const char *action,
											const TlVerdict *verdict);

#endif							/* TL_ADMIN_H */
