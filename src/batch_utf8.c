/*-------------------------------------------------------------------------
 *
 * batch_utf8.c
 *	  Text in the encoding of the database becomes UTF-8, without throwing.
 *
 * Stores get UTF-8 whatever the encoding of the database is.  The server's
 * own conversion functions throw at a character without equivalent, which
 * would stop the lane at that event; their form with a buffer (COPY's) stops
 * and says how far it came instead.
 *
 * Not called where the encoding is UTF8: there every text is valid already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_convert.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#define CHUNK	8192			/* bytes of text converted at a time */

static TextResult convert(Utf8Source *source, StringInfo out,
						  const char *text, int len, int max);
static int	convert_chunk(Utf8Source *source, StringInfo out,
						  const char *text, int len);
static Oid	find_conversion(Utf8Source *source);

static bool
is_ascii(const char *text, int len)
{
	unsigned char bits = 0;

	for (int i = 0; i < len; i++)
		bits |= (unsigned char) text[i];
	return bits < 0x80;
}

TextResult
utf8_append(Utf8Source *source, StringInfo out, const char *text, int len,
			int max)
{
	bool		ascii = is_ascii(text, len);

	if (!ascii && source->encoding != PG_SQL_ASCII)
		return convert(source, out, text, len, max);

	/* SQL_ASCII says nothing about the bytes: look. */
	if (!ascii && !pg_verify_mbstr(PG_UTF8, text, len, true))
		return TEXT_NOT_UTF8;
	if (len > max)
		return TEXT_TOO_LARGE;
	bytes_append(out, text, len);
	return TEXT_OK;
}

static TextResult
convert(Utf8Source *source, StringInfo out, const char *text, int len,
		int max)
{
	int			start = out->len;

	if (!OidIsValid(find_conversion(source)))
		return TEXT_NOT_UTF8;
	while (len > 0)
	{
		int			done = convert_chunk(source, out, text, Min(len, CHUNK));

		if (done <= 0)
			return TEXT_NOT_UTF8;
		if (out->len - start > max)
			return TEXT_TOO_LARGE;
		text += done;
		len -= done;
	}
	return TEXT_OK;
}

/*
 * Returns how much of the text was converted: up to a character without
 * equivalent, or up to one that the end of the chunk cuts, with which the
 * next chunk then begins.
 */
static int
convert_chunk(Utf8Source *source, StringInfo out, const char *text, int len)
{
	unsigned char *bytes = (unsigned char *) unconstify(char *, text);
	int			size = (len + 1) * MAX_CONVERSION_GROWTH + 1;
	char	   *end;
	int			done;

	enlargeStringInfo(out, size);
	end = out->data + out->len;
	*end = '\0';
	done = pg_do_encoding_conversion_buf(source->conversion,
										 source->encoding, PG_UTF8,
										 bytes, len, (unsigned char *) end,
										 size, true);
	out->len += strlen(end);
	return done;
}

/* MULE_INTERNAL has no conversion to UTF-8 at all. */
static Oid
find_conversion(Utf8Source *source)
{
	if (!source->looked_up)
	{
		source->conversion = FindDefaultConversionProc(source->encoding,
													   PG_UTF8);
		source->looked_up = true;
	}
	return source->conversion;
}
