/*-------------------------------------------------------------------------
 *
 * batch_convert.h
 *	  Conversions of single values, from the server's form to a column's.
 *
 * None of them throws for what a value holds: a value that a column cannot
 * carry is its event's refusal, not the batch's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_BATCH_CONVERT_H
#define TL_BATCH_CONVERT_H

#include "lib/stringinfo.h"

struct JsonbContainer;

/* How decimal_decode ended. */
typedef enum DecimalResult
{
	DECIMAL_OK,
	DECIMAL_NAN,
	DECIMAL_UNFIT				/* infinite, too large, or finer than 10^-8 */
} DecimalResult;

/* How an append to a text column ended. */
typedef enum TextResult
{
	TEXT_OK,
	TEXT_TOO_LARGE,				/* it would take more than max bytes */
	TEXT_NOT_UTF8				/* it has no form in UTF-8 */
} TextResult;

/* From the encoding of the database to UTF-8. */
typedef struct Utf8Source
{
	int			encoding;
	bool		looked_up;		/* is conversion valid? */
	Oid			conversion;		/* InvalidOid: there is none */
} Utf8Source;

/*
 * The contents of a numeric (behind its varlena header; any alignment) as
 * value times 10^8.  *value is set for DECIMAL_OK only, and never INT64_MIN.
 */
extern DecimalResult decimal_decode(const char *data, int len, int64 *value);

/*
 * Appends what jsonb's output function prints, in the encoding of the
 * database.  Works in the current memory context and leaves garbage there.
 */
extern TextResult json_append(StringInfo out, struct JsonbContainer *json,
							  int max);

/* Appends text in UTF-8.  Needs a transaction for some encodings. */
extern TextResult utf8_append(Utf8Source *source, StringInfo out,
							  const char *text, int len, int max);

/* Appends bytes and no terminating NUL; the caller has checked the size. */
static inline void
bytes_append(StringInfo out, const char *data, int len)
{
	if (unlikely(out->maxlen - out->len <= len))
		enlargeStringInfo(out, len);
	memcpy(out->data + out->len, data, len);
	out->len += len;
}

#endif							/* TL_BATCH_CONVERT_H */
