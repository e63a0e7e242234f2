/*-------------------------------------------------------------------------
 *
 * ledger_columns.c
 *	  The event columns of the ledger, in one table.
 *
 * The order is that of the table's attributes: the columns of 1.0, then those
 * that each version added.  A store at an older version so gets a prefix.
 * Type, NOT NULL and version must agree with the scripts in sql/.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch.h"

#define REQUIRED	false
#define NULLABLE	true

const LedgerColumn ledger_columns[LEDGER_NCOLUMNS] = {
	{"event_id", TL_UUID, REQUIRED, 100},
	{"trace_id", TL_UUID, NULLABLE, 100},
	{"span_id", TL_UUID, NULLABLE, 100},
	{"parent_span_id", TL_UUID, NULLABLE, 100},
	{"timestamp", TL_TIMESTAMP, REQUIRED, 100},
	{"duration_ms", TL_FLOAT64, NULLABLE, 100},
	{"provider", TL_TEXT, REQUIRED, 100},
	{"model", TL_TEXT, REQUIRED, 100},
	{"input_tokens", TL_INT64, REQUIRED, 100},
	{"output_tokens", TL_INT64, REQUIRED, 100},
	{"total_tokens", TL_INT64, REQUIRED, 100},
	{"cost_usd", TL_DECIMAL, NULLABLE, 100},
	{"endpoint", TL_TEXT, NULLABLE, 100},
	{"request_type", TL_TEXT, NULLABLE, 100},
	{"user_id", TL_TEXT, NULLABLE, 100},
	{"session_id", TL_TEXT, NULLABLE, 100},
	{"organization_id", TL_TEXT, NULLABLE, 100},
	{"app_name", TL_TEXT, NULLABLE, 100},
	{"environment", TL_TEXT, NULLABLE, 100},
	{"status", TL_TEXT, NULLABLE, 100},
	{"error_type", TL_TEXT, NULLABLE, 100},
	{"error_message", TL_TEXT, NULLABLE, 100},
	{"metadata", TL_JSON, NULLABLE, 100},
	{"request_preview", TL_TEXT, NULLABLE, 100},
	{"response_preview", TL_TEXT, NULLABLE, 100},
	{"cached_tokens", TL_INT64, NULLABLE, 101},
	{"feature", TL_TEXT, NULLABLE, 103},
	{"page", TL_TEXT, NULLABLE, 103},
	{"component", TL_TEXT, NULLABLE, 103},
	{"team", TL_TEXT, NULLABLE, 103},
	{"project", TL_TEXT, NULLABLE, 103},
	{"cost_center", TL_TEXT, NULLABLE, 103},
	{"metadata_extra", TL_JSON, NULLABLE, 103}
};
