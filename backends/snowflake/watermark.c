/*-------------------------------------------------------------------------
 *
 * watermark.c
 *	  Records up to when the events are complete.
 *
 * In a table of its own beside the events table, a row for each ledger:
 * TOKEN_LEDGER_WATERMARK, or T_WATERMARK beside another table T.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

/* TlBackend.watermark */
TlOutcome
tlsf_watermark(TlSession *session, int64 until, TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	char		at[TLSF_TIMESTAMP_TEXT];
	TlsfStatement statement = {0};
	StringInfoData template;
	TlsfError	error;
	TlJson	   *answer;
	bool		sent;

	*tlsf_put_timestamp(at, until) = '\0';
	initStringInfo(&template);
	appendStringInfoString(&template, "MERGE INTO {watermark} t USING"
						   " (SELECT '");
	tl_append_uuid(&template, &session->ledger_id);
	appendStringInfo(&template, "' AS {ledger_id},"
					 " CAST('%s' AS TIMESTAMP_NTZ(6)) AS {complete_until}) s"
					 " ON t.{ledger_id} = s.{ledger_id}"
					 " WHEN MATCHED THEN UPDATE SET"
					 " {complete_until} = s.{complete_until},"
					 " {written_at} = SYSDATE()"
					 " WHEN NOT MATCHED THEN INSERT"
					 " ({ledger_id}, {complete_until}, {written_at})"
					 " VALUES (s.{ledger_id}, s.{complete_until}, SYSDATE())",
					 at);
	statement.sql = tlsf_expand(&state->name, template.data);
	if (tlsf_submit(state, &statement, &answer, &error, &sent, &here))
		return TL_OK;

	/* NB: CREATE TABLE needs its right also where there is nothing to do. */
	if (error.status == 422 && error.missing)
		return tlsf_run(state, tlsf_expand(&state->name,
										   "CREATE TABLE IF NOT EXISTS"
										   " {watermark} ({ledger_id}"
										   " VARCHAR(36) NOT NULL,"
										   " {complete_until}"
										   " TIMESTAMP_NTZ(6) NOT NULL,"
										   " {written_at} TIMESTAMP_NTZ(6)"
										   " NOT NULL)"), verdict) &&
			tlsf_submit(state, &statement, &answer, &error, &sent, verdict) ?
			TL_OK : TL_RETRY;
	*verdict = here;
	return TL_RETRY;
}
