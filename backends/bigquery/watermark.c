/*-------------------------------------------------------------------------
 *
 * watermark.c
 *	  Records up to when the events are complete.
 *
 * As a label of the table, like its version: tokenledger_until-<ledger id>,
 * in microseconds since 1970.  A change of labels costs nothing and no query
 * slot; one every ten seconds stays below BigQuery's limit of five changes of
 * a table's metadata in ten seconds
 * (https://cloud.google.com/bigquery/quotas#standard_tables).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

/* TlBackend.watermark */
TlOutcome
tlbq_watermark(TlSession *session, int64 until, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	StringInfoData body;
	TlbqError	error;
	TlJson	   *answer;
	bool		sent;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"labels\":{\"" TLBQ_UNTIL_LABEL);
	tl_append_uuid(&body, &session->ledger_id);
	appendStringInfo(&body, "\":\"" INT64_FORMAT "\"}}", until);
	return tlbq_rest(state, "PATCH", psprintf("/%s", state->name.resource),
					 NULL, &body, &answer, &error, &sent, verdict) ?
		TL_OK : TL_RETRY;
}
