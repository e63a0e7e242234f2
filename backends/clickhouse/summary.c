/*-------------------------------------------------------------------------
 *
 * summary.c
 *	  X-ClickHouse-Summary, in which the server counts what it wrote.
 *
 * Apart from the rest because json-c's header and the server's declare the
 * same name.
 *
 *-------------------------------------------------------------------------
 */
#include "c.h"

#include <json-c/json.h>

extern int64 tlch_written_rows(const char *summary);

/* {"written_rows":"10000", ...}; numbers are strings.  -1: not said. */
int64
tlch_written_rows(const char *summary)
{
	json_object *all = json_tokener_parse(summary);
	json_object *rows;
	int64		result = -1;

	if (json_object_is_type(all, json_type_object) &&
		json_object_object_get_ex(all, "written_rows", &rows))
		result = json_object_get_int64(rows);
	json_object_put(all);
	return result;
}
