/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * The fence: each statement carries the time after which Snowflake gives it
 * up (option statement_timeout), so what an earlier attempt left running, of
 * this session or of one before it, has ended when that time has passed since
 * it was sent, or since this session began.  One whose handle is known is
 * cancelled, and asked for until it has ended.  Then the table is asked,
 * within the same time range that a MERGE looks at.
 *
 * With mode=streaming opening the lane's channel is the fence: what was not
 * committed is discarded, and the offset token says whether the batch was.
 * Where it was not, or not to its end, and for what other lanes or another
 * server may have sent, the table is asked, after the same time: rows of
 * another channel are committed within seconds, or never.
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
	int32		found;
	bool		broken;
} Lookup;

static bool reopen_channel(TlsfState *state, bool *dropped,
						   TlVerdict *verdict);
static bool channel_tells(TlsfState *state, TlBatch *batch);
static IdRow *sorted_ids(const TlBatch *batch);
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
	bool		dropped;
	int32		found;

	if (batch->nrows == 0)
		return TL_OK;
	if (fence && state->mode == TLSF_STREAMING)
	{
		if (!reopen_channel(state, &dropped, verdict))
			return TL_RETRY;
		if (!dropped && channel_tells(state, batch))
			return TL_OK;
	}
	if (fence && !pass_fence(state, verdict))
		return TL_RETRY;
	return tlsf_mark_present(state, batch, &found, verdict) ?
		TL_OK : TL_RETRY;
}

/*
 * *dropped: some rows ever were, which count as committed, so that only the
 * table can tell.  Whether opening resets their number is not documented, so
 * it is asked for before as well, of a channel that is there.
 */
static bool
reopen_channel(TlsfState *state, bool *dropped, TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlsfError	error;

	state->channel.errors = 0;
	(void) tlsf_ask_channel(state, &error, &here);
	*dropped = state->channel.errors > 0;
	if (!tlsf_open_channel(state, verdict))
		return false;
	*dropped |= state->channel.errors > 0;
	return true;
}

/*
 * The channel has just been opened: nothing that was appended can come any
 * more.  If the batch was committed to its end, it is there.  A smaller
 * number of rows is not taken for the batch's first ones: it might be that of
 * another cut under the same token.  Nor is another batch's token taken for
 * saying that none of its events are there.
 */
static bool
channel_tells(TlsfState *state, TlBatch *batch)
{
	if (tlsf_committed_rows(&state->channel, batch) != batch->nrows ||
		batch->history == TL_OVERLAP)
		return false;
	for (int32 row = 0; row < batch->nrows; row++)
		tlsf_core->mark_landed(batch, row);
	return true;
}

/* Asks the table.  false: it could not be asked. */
bool
tlsf_mark_present(TlsfState *state, TlBatch *batch, int32 *found,
				  TlVerdict *verdict)
{
	char		range[2][TLSF_TIMESTAMP_TEXT];
	Lookup		lookup = {.batch = batch};
	TlsfStatement statement = {0};
	StringInfoData ids;
	TlsfError	error;

	*found = 0;
	if (!tlsf_load_table(state, verdict))
		return false;
	if (!state->remote->exists)
	{
		state->remote = NULL;	/* look again next time */
		tl_fail(verdict, TL_CAUSE_SCHEMA, "002003",
				"table %s does not exist, or the role may not see it",
				state->name.quoted);
		return false;
	}
	if (batch->min_timestamp > batch->max_timestamp)
		return true;
	lookup.ids = sorted_ids(batch);
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
		return false;
	}
	*found = lookup.found;
	if (lookup.broken)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of Snowflake's");
	return !lookup.broken;
}

static IdRow *
sorted_ids(const TlBatch *batch)
{
	IdRow	   *ids = palloc(batch->nrows * sizeof(IdRow));

	for (int32 row = 0; row < batch->nrows; row++)
	{
		ids[row].id = batch->event_ids[row];
		ids[row].row = row;
	}
	qsort(ids, batch->nrows, sizeof(IdRow), compare_ids);
	return ids;
}

/* false: not yet. */
static bool
pass_fence(TlsfState *state, TlVerdict *verdict)
{
	tlsf_end_statement(state);
	if (state->fence_until <= tl_http_now_ms())
		return true;
	if (tlsf_sleep(state, Min(state->fence_until, state->deadline)) &&
		state->fence_until <= tl_http_now_ms())
	{
		state->deadline = tl_http_now_ms() + state->timeout_ms;
		return true;
	}
	tl_fail(verdict, TL_CAUSE_NONE, NULL,
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

	if (n != 1 || values[0] == NULL || !tl_read_uuid(values[0], &key.id))
	{
		lookup->broken = true;
		return;
	}
	found = bsearch(&key, lookup->ids, lookup->batch->nrows, sizeof(IdRow),
					compare_ids);
	if (found == NULL)
		return;
	tlsf_core->mark_landed(lookup->batch, found->row);
	lookup->found++;
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(&((const IdRow *) a)->id, &((const IdRow *) b)->id,
				  UUID_LEN);
}
