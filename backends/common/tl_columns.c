/*-------------------------------------------------------------------------
 *
 * tl_columns.c
 *	  The columns of an events table, and what is said of one that differs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_columns.h"

const TlExpected tl_expected[] = {
	{"event_id", TL_UUID, true, 100},
	{"trace_id", TL_UUID, false, 100},
	{"span_id", TL_UUID, false, 100},
	{"parent_span_id", TL_UUID, false, 100},
	{"timestamp", TL_TIMESTAMP, true, 100},
	{"duration_ms", TL_FLOAT64, false, 100},
	{"provider", TL_TEXT, true, 100},
	{"model", TL_TEXT, true, 100},
	{"input_tokens", TL_INT64, true, 100},
	{"output_tokens", TL_INT64, true, 100},
	{"total_tokens", TL_INT64, true, 100},
	{"cached_tokens", TL_INT64, false, 101},
	{"cost_usd", TL_DECIMAL, false, 100},
	{"endpoint", TL_TEXT, false, 100},
	{"request_type", TL_TEXT, false, 100},
	{"user_id", TL_TEXT, false, 100},
	{"session_id", TL_TEXT, false, 100},
	{"organization_id", TL_TEXT, false, 100},
	{"app_name", TL_TEXT, false, 100},
	{"environment", TL_TEXT, false, 100},
	{"status", TL_TEXT, false, 100},
	{"error_type", TL_TEXT, false, 100},
	{"error_message", TL_TEXT, false, 100},
	{"metadata", TL_JSON, false, 100},
	{"request_preview", TL_TEXT, false, 100},
	{"response_preview", TL_TEXT, false, 100},
	{"feature", TL_TEXT, false, 103},
	{"page", TL_TEXT, false, 103},
	{"component", TL_TEXT, false, 103},
	{"team", TL_TEXT, false, 103},
	{"project", TL_TEXT, false, 103},
	{"cost_center", TL_TEXT, false, 103},
	{"metadata_extra", TL_JSON, false, 103},
	{.name = NULL}
};

const TlExpected *
tl_find_expected(const char *name)
{
	for (const TlExpected *e = tl_expected; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

void
tl_note(StringInfo list, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	appendStringInfo(list, "%s%s", list->len > 0 ? "; " : "", text);
}

void
tl_note_type(const char *column, const char *is, const char *instead,
			 bool fits, StringInfo all, StringInfo fatal)
{
	tl_note(all, "column \"%s\" is %s instead of %s", column, is, instead);
	if (!fits)
		tl_note(fatal, "column \"%s\" is %s instead of %s", column, is,
				instead);
}

void
tl_note_missing(const char *column, StringInfo all, StringInfo fatal)
{
	tl_note(all, "column \"%s\" is missing", column);
	tl_note(fatal, "column \"%s\" is missing", column);
}
