/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Inspects and migrates the events table.
 *
 * The version and the ledger's id are labels of the table, so that a step is
 * one request: columns and version change together or not at all, and with
 * the table's etag nobody else's change is overwritten.  A table of versions
 * beside it, as other stores have, would need a query for each of them, which
 * costs money and is not atomic with the change.
 *
 * BigQuery adds columns; it neither drops nor renames them by that request.
 * So those steps cannot be undone, and say so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "tlbq.h"

static int64 keeps_from(const TlbqTable *table);
static TlOutcome judge(TlbqState *state, TlRemote *remote,
					   TlVerdict *verdict);
static TlOutcome adoptable(TlbqState *state, TlVerdict *verdict);
static TlOutcome create(TlbqState *state, TlVerdict *verdict);
static TlOutcome patch(TlbqState *state, const TlMigration *step, bool up,
					   TlVerdict *verdict);
static void append_labels(StringInfo out, const TlbqState *state,
						  int32 version);

/* TlBackend.inspect */
TlOutcome
tlbq_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	const TlbqTable *table;

	state->remote = NULL;		/* look again, whatever is known */
	tl_clear_remote(remote);
	if (!tlbq_load_table(state, verdict))
		return TL_RETRY;
	table = state->remote;
	if (!table->exists)
		return TL_OK;
	remote->exists = true;
	remote->version = table->version;
	remote->keeps_from = keeps_from(table);
	remote->has_ledger_id = table->ledger != NULL &&
		tl_read_uuid(table->ledger, &remote->ledger_id);
	return judge(state, remote, verdict);
}

/* By our clock: it need not be exact, see TlRemote. */
static int64
keeps_from(const TlbqTable *table)
{
	if (!table->partitioned || table->expiration_ms <= 0)
		return PG_INT64_MIN;
	return ((int64) time(NULL) - table->expiration_ms / 1000) * 1000000;
}

/* Can the table be filled? */
static TlOutcome
judge(TlbqState *state, TlRemote *remote, TlVerdict *verdict)
{
	StringInfoData fatal;

	initStringInfo(&fatal);
	tlbq_list_differences(state->remote, remote->version,
						  tl_newest_version(tlbq_migrations),
						  &remote->differences, &fatal);
	return tl_judge_fillable(state->name.quoted, &fatal, "400", verdict);
}

/* TlBackend.migrate */
TlOutcome
tlbq_migrate(TlSession *session, const TlMigration *step, bool up,
			 TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	TlOutcome	outcome;

	if (!up && step->down == NULL)
	{
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"version %d.%d of the table cannot be undone: BigQuery drops no columns this way",
				step->version / 100, step->version % 100);
		return TL_REFUSED;
	}
	state->remote = NULL;
	if (!tlbq_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
	{
		if (up && tl_version_before(tlbq_migrations, step->version) == 0)
			return create(state, verdict);
		tl_fail(verdict, TL_CAUSE_SCHEMA, "404",
				"table %s does not exist", state->name.quoted);
		return TL_RETRY;
	}
	outcome = adoptable(state, verdict);
	if (outcome != TL_OK)
		return outcome;
	if ((state->remote->version >= step->version) == up)
		return TL_OK;
	return patch(state, step, up, verdict);
}

/* Is the table ours, or can it become so? */
static TlOutcome
adoptable(TlbqState *state, TlVerdict *verdict)
{
	StringInfoData differences;
	StringInfoData fatal;

	initStringInfo(&differences);
	initStringInfo(&fatal);
	tlbq_list_differences(state->remote, 100, 100, &differences, &fatal);
	return tl_judge_ours(state->name.quoted, &fatal, "409", verdict);
}

static TlOutcome
create(TlbqState *state, TlVerdict *verdict)
{
	StringInfoData body;
	TlbqError	error;
	TlJson	   *answer;
	bool		sent;
	bool		made;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"tableReference\":{\"projectId\":\"%s\","
					 "\"datasetId\":\"%s\",\"tableId\":\"%s\"},"
					 "\"description\":\"LLM calls, forwarded by tokenledger\","
					 "\"timePartitioning\":{\"type\":\"DAY\","
					 "\"field\":\"timestamp\"", state->name.project,
					 state->name.dataset, state->name.table);
	if (state->expiration_days > 0)
		appendStringInfo(&body, ",\"expirationMs\":\"" INT64_FORMAT "\"",
						 (int64) state->expiration_days * 86400000);
	appendStringInfoString(&body, "},\"clustering\":{\"fields\":"
						   "[\"provider\",\"model\",\"user_id\"]},"
						   "\"schema\":{\"fields\":");
	tlbq_append_fields(&body, 0, 100, NULL);
	appendStringInfoString(&body, "},");
	append_labels(&body, state, 100);
	appendStringInfoChar(&body, '}');
	made = tlbq_rest(state, "POST",
					 psprintf("/projects/%s/datasets/%s/tables",
							  state->name.project, state->name.dataset),
					 NULL, &body, &answer, &error, &sent, verdict);
	state->remote = NULL;
	return made ? TL_OK : TL_RETRY;
}

/* Its labels, and the columns that the step adds. */
static TlOutcome
patch(TlbqState *state, const TlMigration *step, bool up, TlVerdict *verdict)
{
	StringInfoData body;
	TlbqError	error;
	TlJson	   *answer;
	bool		sent;
	bool		done;
	int32		before = tl_version_before(tlbq_migrations, step->version);

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	if (up)
	{
		appendStringInfoString(&body, "\"schema\":{\"fields\":");
		tlbq_append_fields(&body, before, step->version, state->remote);
		appendStringInfoString(&body, "},");
	}
	append_labels(&body, state, up ? step->version : before);
	appendStringInfoChar(&body, '}');
	done = tlbq_rest(state, "PATCH", psprintf("/%s", state->name.resource),
					 state->remote->etag, &body, &answer, &error, &sent,
					 verdict);
	state->remote = NULL;		/* look again */
	return done ? TL_OK : TL_RETRY;
}

/* The ledger that came first stays. */
static void
append_labels(StringInfo out, const TlbqState *state, int32 version)
{
	appendStringInfo(out, "\"labels\":{\"" TLBQ_VERSION_LABEL "\":\"%d\"",
					 version);
	if (state->remote == NULL || state->remote->ledger == NULL)
	{
		appendStringInfoString(out, ",\"" TLBQ_LEDGER_LABEL "\":\"");
		tl_append_uuid(out, &state->session->ledger_id);
		appendStringInfoChar(out, '"');
	}
	appendStringInfoChar(out, '}');
}
