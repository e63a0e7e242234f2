/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * The fence: each statement carries the time after which Snowflake gives it
 * up (option statement_timeout), so what an earlier attempt left running, of
 * this session or of one before it, has ended when that time has passed since
 * it was sent, or since this session began.  Until then is waited; after that
 * the table is asked, within the same time range that a MERGE looks at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

typedef struct IdRow
{
	pg_uuid_t	id;
	int32		row;
} IdRow;

typedef struct Lookup
{
	TlBatch    *batch;
	IdRow	   *ids;			/* sorted */
	bool		broken;
} Lookup;

static bool pass_fence(TlsfState *state, TlVerdict *verdict);
static char *lookup_sql(const TlsfState *state);
static void take_id(void *arg, const char *const *values, int n);
static int	compare_ids(const void *a, const void *b);

/* TlBackend.resolve */
TlOutcome
tlsf_resolve(TlSession *session, TlBatch *batch, bool fence,
			 TlVerdict *verdict)
{
	TlsfState  *state = tlsf_begin(session);
	char		range[2][TLSF_TIMESTAMP_TEXT];
	Lookup		lookup = {.batch = batch};
	TlsfStatement statement = {0};
	StringInfoData ids;
	TlsfError	error;

	if (fence && !pass_fence(state, verdict))
		return TL_RETRY;
	if (!tlsf_load_table(state, verdict))
		return TL_RETRY;
	if (!state->remote->exists)
	{
		state->remote = NULL;	/* look again next time */
		tlsf_fail(verdict, TL_CAUSE_SCHEMA, "002003",
				  "table %s does not exist, or the role may not see it",
				  state->name.quoted);
		return TL_RETRY;
	}
	if (batch->nrows == 0 || batch->min_timestamp > batch->max_timestamp)
		return TL_OK;
	lookup.ids = palloc(batch->nrows * sizeof(IdRow));
	for (int32 row = 0; row < batch->nrows; row++)
	{
		lookup.ids[row].id = batch->event_ids[row];
		lookup.ids[row].row = row;
	}
	qsort(lookup.ids, batch->nrows, sizeof(IdRow), compare_ids);
	initStringInfo(&ids);
	tlsf_encode_ids(&ids, batch);
	tlsf_time_range(batch, state->time_margin_ms, range[0], range[1]);
	statement.sql = lookup_sql(state);
	statement.binds[0] = ids.data;
	statement.binds[1] = range[0];
	statement.binds[2] = range[1];
	if (!tlsf_query(state, &statement, take_id, &lookup, &error, verdict))
	{
		if (error.cause == TL_CAUSE_SCHEMA)
			state->remote = NULL;	/* look again next time */
		return TL_RETRY;
	}
	if (!lookup.broken)
		return TL_OK;
	tlsf_fail(verdict, TL_CAUSE_CONFIG, NULL,
			  "the answer is not one of Snowflake's");
	return TL_RETRY;
}

/* false: not yet. */
static bool
pass_fence(TlsfState *state, TlVerdict *verdict)
{
	int64		now = tl_http_now_ms();

	if (state->fence_until <= now)
		return true;
	if (tlsf_sleep(state, Min(state->fence_until, state->deadline)) &&
		state->fence_until <= tl_http_now_ms())
	{
		state->deadline = tl_http_now_ms() + state->timeout_ms;
		return true;
	}
	tlsf_fail(verdict, TL_CAUSE_NONE, NULL,
			  "waiting until what an earlier attempt may have left running has ended");
	return false;
}

static char *
lookup_sql(const TlsfState *state)
{
	const TlsfColumn *id = tlsf_find_column(state->remote, "event_id");
	const TlsfColumn *at = tlsf_find_column(state->remote, "timestamp");
	StringInfoData id_name;
	StringInfoData at_name;

	initStringInfo(&id_name);
	initStringInfo(&at_name);
	tlsf_quote_identifier(&id_name, id ? id->name : "event_id");
	tlsf_quote_identifier(&at_name, at ? at->name : "timestamp");
	return psprintf("SELECT t.%s FROM %s t WHERE t.%s IN"
					" (SELECT f.value:\"a\"::VARCHAR"
					" FROM (SELECT PARSE_JSON(?) AS j) b,"
					" LATERAL FLATTEN(INPUT => b.j) f)"
					" AND t.%s >= CAST(? AS TIMESTAMP_NTZ)"
					" AND t.%s <= CAST(? AS TIMESTAMP_NTZ)",
					id_name.data, state->name.quoted, id_name.data,
					at_name.data, at_name.data);
}

/* A TlsfRowCB. */
static void
take_id(void *arg, const char *const *values, int n)
{
	Lookup	   *lookup = arg;
	IdRow		key;
	IdRow	   *found;

	if (n != 1 || values[0] == NULL || !tlsf_read_uuid(values[0], &key.id))
	{
		lookup->broken = true;
		return;
	}
	found = bsearch(&key, lookup->ids, lookup->batch->nrows, sizeof(IdRow),
					compare_ids);
	if (found != NULL)
		tlsf_core->mark_landed(lookup->batch, found->row);
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(&((const IdRow *) a)->id, &((const IdRow *) b)->id,
				  UUID_LEN);
}
