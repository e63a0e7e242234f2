/*-------------------------------------------------------------------------
 *
 * fields.c
 *	  The fields that messages have: the columns of the ledger.
 *
 * Their order is that of event.proto, whose numbers begin with 1: whatever
 * comes anew comes at the end, with the version of the ledger that brought
 * it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

typedef struct Field
{
	const char *name;
	const char *since;			/* version */
} Field;

static const Field fields[] = {
	{"event_id", "1.0"}, {"trace_id", "1.0"}, {"span_id", "1.0"},
	{"parent_span_id", "1.0"}, {"timestamp", "1.0"}, {"duration_ms", "1.0"},
	{"provider", "1.0"}, {"model", "1.0"}, {"input_tokens", "1.0"},
	{"output_tokens", "1.0"}, {"total_tokens", "1.0"}, {"cost_usd", "1.0"},
	{"endpoint", "1.0"}, {"request_type", "1.0"}, {"user_id", "1.0"},
	{"session_id", "1.0"}, {"organization_id", "1.0"}, {"app_name", "1.0"},
	{"environment", "1.0"}, {"status", "1.0"}, {"error_type", "1.0"},
	{"error_message", "1.0"}, {"metadata", "1.0"},
	{"request_preview", "1.0"}, {"response_preview", "1.0"},
	{"cached_tokens", "1.1"}, {"feature", "1.3"}, {"page", "1.3"},
	{"component", "1.3"}, {"team", "1.3"}, {"project", "1.3"},
	{"cost_center", "1.3"}, {"metadata_extra", "1.3"}
};

/* Its number in event.proto; 0: no version of the ledger has it. */
int
tlkf_field_number(const char *name)
{
	for (int i = 0; i < lengthof(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return i + 1;
	return 0;
}

/* The ledger's version that has the batch's columns. */
const char *
tlkf_schema_version(const TlBatch *batch)
{
	int			newest = 1;

	for (int i = 0; i < batch->ncolumns; i++)
		newest = Max(newest, tlkf_field_number(batch->columns[i].name));
	return fields[newest - 1].since;
}

/* NULL: the batch lacks it. */
const TlColumn *
tlkf_find_column(const TlBatch *batch, const char *name)
{
	for (int i = 0; i < batch->ncolumns; i++)
		if (strcmp(batch->columns[i].name, name) == 0)
			return &batch->columns[i];
	return NULL;
}
