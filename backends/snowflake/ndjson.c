/*-------------------------------------------------------------------------
 *
 * ndjson.c
 *	  Rows of a batch as Snowpipe Streaming takes them: one JSON object a
 *	  line, compressed.
 *
 * A request's limit of 4 MB holds for what goes over the wire; lines are cut
 * before they have as much uncompressed, so that no compression is relied on
 * and none is done twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <zstd.h>

#include "tlsf.h"

#define MAX_LINES			(3900 * 1000)
#define LEVEL				3

/*
 * Appends the rows from begin on, as many as one request takes.  Returns
 * where they end; begin: not even one.
 */
int32
tlsf_encode_lines(StringInfo out, const TlBatch *batch,
				  const TlsfTable *table, int32 begin)
{
	const char **keys = palloc0((batch->ncolumns + 1) * sizeof(char *));
	int32		row;

	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlsfColumn *column = tlsf_find_column(table,
													batch->columns[i].name);
		const char *name = column ? column->name : batch->columns[i].name;
		StringInfoData key;

		initStringInfo(&key);
		tl_json_append_string(&key, name, strlen(name));
		keys[i] = key.data;
	}
	for (row = begin; row < batch->nrows; row++)
	{
		int			before = out->len;

		tlsf_encode_row(out, batch, row, keys);
		appendStringInfoChar(out, '\n');
		if (out->len <= MAX_LINES)
			continue;
		out->len = before;
		break;
	}
	return row;
}

/* false: no memory. */
bool
tlsf_compress(StringInfo out, const StringInfo lines)
{
	size_t		room = ZSTD_compressBound(lines->len);
	size_t		len;

	enlargeStringInfo(out, (int) room);
	len = ZSTD_compress(out->data, room, lines->data, lines->len, LEVEL);
	if (ZSTD_isError(len))
		return false;
	out->len = (int) len;
	return true;
}
