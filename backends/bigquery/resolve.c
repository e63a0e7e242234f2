/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Which events of a batch does the table hold?
 *
 * With a fence the lane's stream is finalized first: nothing can be appended
 * to it afterwards, and its row count tells what landed, for free and without
 * the right to run queries:
 *
 * committed	Rows beyond the acknowledged offset are of the one batch that
 *				was not acknowledged, and an append is whole or not at all.
 *				None there: the batch is absent.  As many as it has: it is
 *				there, if it was this batch that was appended last, which the
 *				session that sent it remembers; after a crash the table is
 *				asked as well, where it can be.
 * pending		A stream is one batch's, the one whose token is saved with it.
 *				If it holds that batch, it is committed here, which also
 *				answers a commit whose answer was lost; if it holds nothing, a
 *				commit that is still on its way adds nothing.  A batch with
 *				another token was not sent by this lane.
 *
 * The table is asked, by query, where streams cannot tell: for look-ups, for
 * batches that other lanes or another server may have sent, after a
 * fail-over, and in the modes without a stream of their own.  These last have
 * no fence either; a request of theirs that is still on its way is waited for
 * a while, and what arrives later than that lands twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

/* Ids in one query; its text stays below 1 MB. */
#define IDS_IN_ONE_QUERY	20000

/* A request of the default stream or of insertAll has so long to end. */
#define GRACE_MS			1000

typedef enum Answer
{
	ABSENT,						/* none of the batch is there */
	PRESENT,					/* all of it is */
	PROBABLY_PRESENT,			/* so unless a query says otherwise */
	PROBABLY_ABSENT,
	ASK,						/* only the table can tell */
	FAILED
} Answer;

typedef struct EventRow
{
	pg_uuid_t	id;
	int32		row;
} EventRow;

typedef struct Look
{
	EventRow   *sorted;
	int32		n;
	bool	   *present;
	bool		broken;
} Look;

static Answer fence_lane(TlbqState *state, const TlBatch *batch,
						 TlVerdict *verdict);
static Answer fence_committed(TlbqState *state, const TlBatch *batch,
							  TlbqStream *stream, TlVerdict *verdict);
static Answer judge_count(const TlbqState *state, const TlBatch *batch,
						  const TlbqStream *stream);
static Answer fence_pending(TlbqState *state, const TlBatch *batch,
							const TlbqStream *stream, TlVerdict *verdict);
static bool finalize(TlbqState *state, const char *stream, int64 *row_count,
					 TlVerdict *verdict);
static Answer wait_for_stragglers(TlbqState *state, TlVerdict *verdict);
static TlOutcome conclude(TlbqState *state, TlBatch *batch, Answer answer,
						  TlVerdict *verdict);
static bool find_events(TlbqState *state, const TlBatch *batch,
						bool *present, TlVerdict *verdict);
static bool ask(TlbqState *state, const TlBatch *batch, int32 begin,
				int32 end, Look *look, TlVerdict *verdict);
static void take_id(void *arg, const char *const *values, int n);
static int	compare_events(const void *a, const void *b);

/* TlBackend.resolve */
TlOutcome
tlbq_resolve(TlSession *session, TlBatch *batch, bool fence,
			 TlVerdict *verdict)
{
	TlbqState  *state = tlbq_begin(session);
	Answer		answer = ASK;

	if (batch->nrows == 0)
		return TL_OK;
	if (fence)
		answer = fence_lane(state, batch, verdict);
	if (answer == FAILED)
		return TL_RETRY;
	if (batch->history == TL_OVERLAP)
		answer = ASK;
	if (fence && !state->ask && answer != PRESENT)
		answer = ABSENT;		/* at least once, as it was asked for */
	return conclude(state, batch, answer, verdict);
}

/* By the mode that the stream was made in, whatever the mode is by now. */
static Answer
fence_lane(TlbqState *state, const TlBatch *batch, TlVerdict *verdict)
{
	TlbqStream	stream;
	bool		suspect = false;
	bool		saved = tlbq_load_stream(state, &stream, &suspect);
	Answer		answer = ABSENT;

	if (saved && stream.mode == TLBQ_COMMITTED)
		answer = fence_committed(state, batch, &stream, verdict);
	else if (saved && stream.mode == TLBQ_PENDING)
		answer = fence_pending(state, batch, &stream, verdict);
	else if (saved)
		answer = wait_for_stragglers(state, verdict);
	return answer != FAILED && suspect ? ASK : answer;
}

static Answer
fence_committed(TlbqState *state, const TlBatch *batch, TlbqStream *stream,
				TlVerdict *verdict)
{
	int64		row_count = stream->row_count;

	if (row_count >= 0)
	{
		if (memcmp(&stream->token, &batch->token, sizeof(pg_uuid_t)) != 0)
			return PROBABLY_ABSENT;
		return judge_count(state, batch, stream);
	}
	if (!finalize(state, stream->name, &row_count, verdict))
		return FAILED;
	if (row_count < 0)
	{
		row_count = stream->offset;
		stream->doubtful = true;
	}
	stream->row_count = row_count;
	stream->token = batch->token;
	if (!tlbq_save_stream(state, stream))
		return FAILED;
	return judge_count(state, batch, stream);
}

static Answer
judge_count(const TlbqState *state, const TlBatch *batch,
			const TlbqStream *stream)
{
	int64		landed = stream->row_count - stream->offset;

	if (stream->doubtful)
		return ASK;
	if (landed == 0)
		return ABSENT;
	if (landed != batch->nrows)
		return ASK;
	return memcmp(&state->last_append, &batch->token,
				  sizeof(pg_uuid_t)) == 0 ? PRESENT : PROBABLY_PRESENT;
}

/*
 * NB: a stream of another token is settled, and is not to be committed.  One
 * of this token is, also where it has fewer rows than this batch, because
 * they were a piece of it: a commit that is on its way is answered so.
 */
static Answer
fence_pending(TlbqState *state, const TlBatch *batch,
			  const TlbqStream *stream, TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlbqError	error;
	int64		row_count;
	bool		sent;

	if (memcmp(&stream->token, &batch->token, sizeof(pg_uuid_t)) != 0)
		return PROBABLY_ABSENT;
	if (!finalize(state, stream->name, &row_count, verdict))
		return FAILED;
	if (row_count == 0)
		return ABSENT;
	if (tlbq_commit_stream(state, stream->name, &error, &sent, &here))
		return row_count == batch->nrows ? PRESENT : ASK;
	if (error.new_stream)
		return ASK;
	*verdict = here;
	return FAILED;
}

/*
 * row_count -1: the stream is gone, or says no more than that it is
 * finalized.
 */
static bool
finalize(TlbqState *state, const char *stream, int64 *row_count,
		 TlVerdict *verdict)
{
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	TlbqError	error;

	if (tlbq_finalize_stream(state, stream, row_count, &error, &here))
		return true;
	*row_count = -1;
	if (error.new_stream)
		return true;
	*verdict = here;
	return false;
}

static Answer
wait_for_stragglers(TlbqState *state, TlVerdict *verdict)
{
	int64		until = tl_http_now_ms() + GRACE_MS;
	int64		now;

	if (!state->ask)
		return ABSENT;
	while ((now = tl_http_now_ms()) < until)
		if (tlbq_core->wait(state->session, NULL, 0, until - now) ==
			TL_WAKE_STOP)
		{
			tl_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
			return FAILED;
		}
	return ASK;
}

/*
 * What is only probable is believed where the table cannot be asked: for a
 * lane that is the only user of its stream it is certain.
 */
static TlOutcome
conclude(TlbqState *state, TlBatch *batch, Answer answer, TlVerdict *verdict)
{
	bool	   *present = palloc0(batch->nrows * sizeof(bool));
	TlVerdict	here = {.struct_size = sizeof(TlVerdict)};
	bool		ask_table = answer == ASK || answer == PROBABLY_PRESENT ||
		answer == PROBABLY_ABSENT;

	if (ask_table && !find_events(state, batch, present, &here))
	{
		if (answer == ASK || here.cause != TL_CAUSE_AUTH)
		{
			*verdict = here;
			return TL_RETRY;
		}
		ask_table = false;
	}
	for (int32 row = 0; row < batch->nrows; row++)
		if (ask_table ? present[row] :
			answer == PRESENT || answer == PROBABLY_PRESENT)
			tlbq_core->mark_landed(batch, row);
	return TL_OK;
}

/* Sets present[row] for each event that the table holds. */
static bool
find_events(TlbqState *state, const TlBatch *batch, bool *present,
			TlVerdict *verdict)
{
	Look		look = {.n = batch->nrows, .present = present};
	bool		ok = true;

	look.sorted = palloc(batch->nrows * sizeof(EventRow));
	for (int32 row = 0; row < batch->nrows; row++)
	{
		look.sorted[row].id = batch->event_ids[row];
		look.sorted[row].row = row;
	}
	qsort(look.sorted, batch->nrows, sizeof(EventRow), compare_events);
	for (int32 begin = 0; ok && begin < batch->nrows;
		 begin += IDS_IN_ONE_QUERY)
		ok = ask(state, batch, begin,
				 Min(begin + IDS_IN_ONE_QUERY, batch->nrows), &look, verdict);
	pfree(look.sorted);
	return ok;
}

/*
 * The ids are one parameter, and the batch's timestamps keep BigQuery from
 * reading, and charging for, other partitions.  NB: they may be beyond what
 * the table can hold; such an event is not there.
 */
static bool
ask(TlbqState *state, const TlBatch *batch, int32 begin, int32 end,
	Look *look, TlVerdict *verdict)
{
	StringInfoData sql;
	StringInfoData ids;

	if (batch->min_timestamp <= batch->max_timestamp &&
		(batch->min_timestamp >= TLBQ_END_USEC ||
		 batch->max_timestamp < TLBQ_FIRST_USEC))
		return true;
	initStringInfo(&sql);
	initStringInfo(&ids);
	appendStringInfo(&sql, "SELECT DISTINCT event_id FROM %s WHERE ",
					 state->name.quoted);
	if (batch->min_timestamp <= batch->max_timestamp)
		appendStringInfo(&sql, "`timestamp` >= TIMESTAMP_MICROS(" INT64_FORMAT
						 ") AND `timestamp` <= TIMESTAMP_MICROS(" INT64_FORMAT
						 ") AND ",
						 Max(batch->min_timestamp, TLBQ_FIRST_USEC),
						 Min(batch->max_timestamp, TLBQ_END_USEC - 1));
	appendStringInfoString(&sql, "event_id IN UNNEST(SPLIT(@p, ','))");
	for (int32 i = begin; i < end; i++)
	{
		if (i > begin)
			appendStringInfoChar(&ids, ',');
		tl_append_uuid(&ids, &look->sorted[i].id);
	}
	if (!tlbq_query(state, sql.data, ids.data, take_id, look, verdict))
		return false;
	pfree(ids.data);
	if (look->broken)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of BigQuery's");
	return !look->broken;
}

/* A TlbqRowCB. */
static void
take_id(void *arg, const char *const *values, int n)
{
	Look	   *look = arg;
	EventRow	key = {.row = 0};
	const EventRow *found;

	if (n != 1 || values[0] == NULL || !tl_read_uuid(values[0], &key.id))
	{
		look->broken = true;
		return;
	}
	found = bsearch(&key, look->sorted, look->n, sizeof(EventRow),
					compare_events);
	if (found != NULL)
		look->present[found->row] = true;
}

static int
compare_events(const void *a, const void *b)
{
	return memcmp(((const EventRow *) a)->id.data,
				  ((const EventRow *) b)->id.data, UUID_LEN);
}
