/*-------------------------------------------------------------------------
 *
 * tl_json.h
 *	  Reading and writing JSON, for backends.
 *
 * Reading is json-c's, behind a curtain: its header and the server's declare
 * the same names.  A document lives as long as the memory context it was
 * parsed in.  Values are looked up leniently: what is not there, or is of
 * another type, is NULL, zero, or an empty list.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_JSON_H
#define TL_JSON_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct TlJson TlJson;

/* NULL: not one JSON text. */
extern TlJson *tl_json_parse(const char *text, Size len);

/* A member of an object, "a.b" one of a member; NULL: none, or JSON's null. */
extern TlJson *tl_json_get(TlJson *value, const char *path);

extern int	tl_json_length(TlJson *array);
extern TlJson *tl_json_item(TlJson *array, int i);

/* A string, number or boolean as text; NULL: it is none of these. */
extern const char *tl_json_text(TlJson *value);

/* tl_json_text of a member. */
extern const char *tl_json_get_text(TlJson *value, const char *path);

/* A number, also one written as a string; otherwise, if there is none. */
extern int64 tl_json_get_int64(TlJson *value, const char *path,
							   int64 otherwise);

/* The whole value as text, palloc'd. */
extern char *tl_json_print(TlJson *value);

/* Appends text as a JSON string; len bytes of valid UTF-8. */
extern void tl_json_append_string(StringInfo out, const char *text, Size len);

#endif							/* TL_JSON_H */
