/*-------------------------------------------------------------------------
 *
 * tl_text.h
 *	  UUIDs and addresses as text, for backends.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_TEXT_H
#define TL_TEXT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/uuid.h"

/* In lower case, with dashes: as event ids are stored. */
extern void tl_append_uuid(StringInfo out, const pg_uuid_t *uuid);

/* Dashes may be anywhere.  false: it is none. */
extern bool tl_read_uuid(const char *text, pg_uuid_t *uuid);

/* Can nobody on a network listen in? */
extern bool tl_host_is_local(const char *host);
extern bool tl_url_is_local(const char *url);

/* Can others on a network read what is sent there? */
extern bool tl_url_is_open(const char *url);

#endif							/* TL_TEXT_H */
