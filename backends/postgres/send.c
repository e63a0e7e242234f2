/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sends a batch: one transaction, two round trips.
 *
 * One message holds the whole transaction, from BEGIN to COMMIT, with a COPY
 * in the middle.  The server executes it up to the COPY and asks for data;
 * what follows the COPY runs once it has seen CopyDone.  Two facts decide
 * every outcome:
 *
 * 1. Until CopyDone is handed to libpq, nothing can be committed, whatever
 *	  breaks: the server ends a COPY without CopyDone by rolling back.
 * 2. CopyDone is sent only after the server has asked for data, and it does
 *	  that only when the transaction holds the lane's advisory lock.  So an
 *	  attempt that can still land holds the lock, and who gets the lock later
 *	  knows that all earlier attempts have ended.  An attempt that has not
 *	  even begun (its message lies in some buffer) can never land, because
 *	  nobody will send it data.
 *
 * After CopyDone only two answers are certain: COMMIT's own tag, and an error
 * after which the server is ready for the next query.  A connection that
 * breaks, also after a FATAL error, leaves TL_UNKNOWN.
 *
 * A fresh batch goes straight into the table, which is as fast as COPY is;
 * only when an event turns out to be there already (another ledger's, or
 * somebody's own insert) is it sent again the careful way: into a temporary
 * table and from there with ON CONFLICT DO NOTHING, as other batches are from
 * the start.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "tlpg.h"

/* Encoded rows are handed to libpq in pieces of about this size. */
#define CHUNK_SIZE			65536

#define STAGE_NAME			"token_ledger_batch"
#define STAGE				"pg_temp." STAGE_NAME

typedef struct Attempt
{
	TlpgState  *state;
	TlBatch    *batch;
	TlVerdict  *verdict;
	TlpgEncoder encoder;
	bool		staged;			/* by way of a temporary table */
	bool		interferes;		/* copied: a lost connection forgets it */
	bool		copy_done;		/* from here on it may be committed */
	bool		changed;		/* the table has other columns than before */
	bool		committed;		/* the server has said so */
	int64		rows;			/* that the last command stored */
	int64		line;			/* of COPY, that an error named; or 0 */
	char		column[NAMEDATALEN];	/* that an error named; or empty */
} Attempt;

static bool ready_to_send(TlpgState *state, TlBatch *batch,
						  TlVerdict *verdict);
static bool met_an_event(const Attempt *attempt);
static void clear_error(TlVerdict *verdict);
static TlOutcome not_stored(const TlBatch *batch, TlOutcome outcome);
static void run_attempt(Attempt *attempt, bool staged);
static void append_columns(StringInfo sql, const TlpgEncoder *encoder);
static void append_staged(Attempt *attempt, StringInfo sql,
						  const char *columns);
static void start_attempt(Attempt *attempt);
static bool await_copy(Attempt *attempt);
static void compare_shape(Attempt *attempt);
static bool give_up_copy(Attempt *attempt);
static bool copy_rows(Attempt *attempt);
static bool put_chunk(Attempt *attempt, StringInfo chunk);
static bool end_copy(Attempt *attempt);
static void read_answers(Attempt *attempt);
static void note_error(Attempt *attempt);
static TlOutcome conclude(Attempt *attempt);
static TlOutcome stored(Attempt *attempt);
static TlOutcome refuse_absent(Attempt *attempt);
static TlOutcome failed(Attempt *attempt);
static bool names_foreign_column(const Attempt *attempt);
static TlOutcome blame(Attempt *attempt, TlOutcome outcome);

/* TlBackend.send */
TlOutcome
tlpg_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	Attempt		attempt = {0};
	bool		fresh = batch->history == TL_FRESH;

	if (batch->nrows == 0)
		return TL_OK;
	attempt.state = tlpg_begin(session);
	attempt.batch = batch;
	attempt.verdict = verdict;
	if (!ready_to_send(attempt.state, batch, verdict))
		return not_stored(batch, TL_RETRY);

	run_attempt(&attempt, !fresh);
	if (fresh && met_an_event(&attempt))
	{
		tlpg_rollback(attempt.state);
		clear_error(verdict);
		if (attempt.state->conn == NULL)
		{
			tlpg_fail(verdict, TL_CAUSE_NETWORK, "08006",
					  "connection lost while rolling back");
			return TL_RETRY;
		}
		run_attempt(&attempt, true);
	}
	return conclude(&attempt);
}

/* Did an event turn out to be in the table already? */
static bool
met_an_event(const Attempt *attempt)
{
	return attempt->state->conn != NULL &&
		strcmp(attempt->verdict->code, "23505") == 0;
}

static void
clear_error(TlVerdict *verdict)
{
	verdict->cause = TL_CAUSE_NONE;
	verdict->code[0] = verdict->message[0] = '\0';
}

/*
 * Is there a connection, and a table that takes the batch?  A guarantee that
 * the table no longer gives is withdrawn before the batch relies on it.
 */
static bool
ready_to_send(TlpgState *state, TlBatch *batch, TlVerdict *verdict)
{
	TlSession  *session = state->session;
	TlGuarantee promised = session->guarantee;

	if (!tlpg_connect(state, verdict) || !tlpg_load_table(state, verdict))
		return false;
	if (!tlpg_batch_fits(state, batch, verdict))
	{
		state->remote = NULL;	/* look again next time */
		return false;
	}
	if (batch->history == TL_FRESH || promised != TL_PER_EVENT ||
		session->guarantee == TL_PER_EVENT)
		return true;
	tlpg_fail(verdict, TL_CAUSE_SCHEMA, "42P10",
			  "table %s no longer has a unique index on (%s)",
			  state->table.quoted, tlpg_dialect.conflict_target);
	return false;
}

/*
 * This attempt stored nothing; an earlier one of a batch that is not fresh
 * may have.
 */
static TlOutcome
not_stored(const TlBatch *batch, TlOutcome outcome)
{
	return batch->history == TL_FRESH ? outcome : TL_UNKNOWN;
}

/* Leaves what became of it in *attempt, in its verdict and in state->conn. */
static void
run_attempt(Attempt *attempt, bool staged)
{
	attempt->staged = staged;
	attempt->interferes = attempt->state->remote->interferes;
	attempt->copy_done = attempt->changed = attempt->committed = false;
	attempt->rows = attempt->line = 0;
	attempt->column[0] = '\0';
	tlpg_encoder_init(&attempt->encoder, attempt->batch);
	start_attempt(attempt);
	if (!await_copy(attempt) || !copy_rows(attempt))
		return;
	read_answers(attempt);
}

/* Hands the message with the whole transaction to libpq. */
static void
start_attempt(Attempt *attempt)
{
	TlpgState  *state = attempt->state;
	bool		alone = attempt->staged && !state->remote->unique;
	StringInfoData sql;
	StringInfoData columns;

	initStringInfo(&columns);
	append_columns(&columns, &attempt->encoder);
	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, alone ? TLPG_FENCE_LEDGER : TLPG_FENCE_LANE,
				   TLPG_WRITE);
	/* The lock of the first keeps what the second sees. */
	appendStringInfo(&sql, "SELECT FROM %s LIMIT 0;%s;", state->table.quoted,
					 tlpg_shape_sql(state->remote));
	if (attempt->staged)
		append_staged(attempt, &sql, columns.data);
	else
		appendStringInfo(&sql, "COPY %s (%s) FROM STDIN (FORMAT binary);",
						 state->table.quoted, columns.data);
	appendStringInfoString(&sql, "COMMIT");
	if (!PQsendQuery(state->conn, sql.data))
	{
		tlpg_fail(attempt->verdict, TL_CAUSE_NETWORK, "08006", "%s",
				  PQerrorMessage(state->conn));
		tlpg_disconnect(state);
	}
}

static void
append_columns(StringInfo sql, const TlpgEncoder *encoder)
{
	appendStringInfoString(sql, "event_id");
	for (int i = 1; i < encoder->ncolumns; i++)
	{
		appendStringInfoString(sql, ", ");
		tlpg_quote_identifier(sql, encoder->columns[i]->name);
	}
}

/*
 * Without a unique index NOT EXISTS does the same, as long as no other lane
 * of this ledger writes: the ledger's lock sees to that.
 */
static void
append_staged(Attempt *attempt, StringInfo sql, const char *columns)
{
	const char *table = attempt->state->table.quoted;

	appendStringInfo(sql,
					 "CREATE TEMP TABLE " STAGE_NAME " ON COMMIT DROP AS"
					 " SELECT %s FROM %s WITH NO DATA;"
					 "COPY " STAGE " (%s) FROM STDIN (FORMAT binary);"
					 "INSERT INTO %s (%s) SELECT %s FROM " STAGE " b ",
					 columns, table, columns, table, columns, columns);
	if (attempt->state->remote->unique)
		appendStringInfo(sql, "ON CONFLICT (%s) DO NOTHING;",
						 tlpg_dialect.conflict_target);
	else
		appendStringInfo(sql, "WHERE NOT EXISTS (SELECT FROM %s t"
						 " WHERE t.event_id = b.event_id);", table);
}

/* Reads answers until the server asks for data. */
static bool
await_copy(Attempt *attempt)
{
	TlpgState  *state = attempt->state;

	if (state->conn == NULL)
		return false;
	while (tlpg_next_result(state, attempt->verdict))
	{
		if (state->result == NULL)
			return false;		/* all is answered, with an error */
		if (PQresultStatus(state->result) == PGRES_COPY_IN)
			return !attempt->changed || give_up_copy(attempt);
		if (PQresultStatus(state->result) == PGRES_TUPLES_OK)
			compare_shape(attempt);
		if (PQresultStatus(state->result) == PGRES_FATAL_ERROR)
			note_error(attempt);
	}
	return false;
}

static void
compare_shape(Attempt *attempt)
{
	const PGresult *result = attempt->state->result;

	if (PQfnumber(result, "tokenledger_shape") == 0)
		attempt->changed = PQntuples(result) != 1 ||
			strcmp(PQgetvalue(result, 0, 0),
				   attempt->state->remote->shape) != 0;
}

/* Makes the server roll back, and returns false. */
static bool
give_up_copy(Attempt *attempt)
{
	TlpgState  *state = attempt->state;

	tlpg_fail(attempt->verdict, TL_CAUSE_SCHEMA, "42804",
			  "table %s has been altered; looking at it again",
			  state->table.quoted);
	while (PQputCopyEnd(state->conn, "the table has been altered") == 0)
		if (!tlpg_flush(state, attempt->verdict))
			return false;
	while (tlpg_next_result(state, attempt->verdict) && state->result != NULL)
		continue;
	return false;
}

static bool
copy_rows(Attempt *attempt)
{
	StringInfoData chunk;
	bool		more = true;

	initStringInfo(&chunk);
	enlargeStringInfo(&chunk, CHUNK_SIZE + CHUNK_SIZE / 4);
	tlpg_encode_header(&chunk);
	while (more)
	{
		more = tlpg_encode_rows(&attempt->encoder, &chunk, CHUNK_SIZE);
		if (!more)
			tlpg_encode_trailer(&chunk);
		if (!put_chunk(attempt, &chunk))
			return false;
		resetStringInfo(&chunk);
	}
	pfree(chunk.data);
	return end_copy(attempt);
}

static bool
put_chunk(Attempt *attempt, StringInfo chunk)
{
	TlpgState  *state = attempt->state;
	int			rc;

	while ((rc = PQputCopyData(state->conn, chunk->data, chunk->len)) == 0)
		if (!tlpg_flush(state, attempt->verdict))
			return false;
	if (rc > 0)
		return tlpg_flush(state, attempt->verdict);
	tlpg_fail(attempt->verdict, TL_CAUSE_NETWORK, "08006", "%s",
			  PQerrorMessage(state->conn));
	tlpg_disconnect(state);
	return false;
}

/* NB: copy_done is set first, for libpq may write at once. */
static bool
end_copy(Attempt *attempt)
{
	TlpgState  *state = attempt->state;
	int			rc;

	attempt->copy_done = true;
	while ((rc = PQputCopyEnd(state->conn, NULL)) == 0)
		if (!tlpg_flush(state, attempt->verdict))
			return false;
	if (rc > 0)
		return true;
	tlpg_fail(attempt->verdict, TL_CAUSE_NETWORK, "08006", "%s",
			  PQerrorMessage(state->conn));
	tlpg_disconnect(state);
	return false;
}

static void
read_answers(Attempt *attempt)
{
	TlpgState  *state = attempt->state;

	while (tlpg_next_result(state, attempt->verdict) && state->result != NULL)
	{
		const char *tag = PQcmdStatus(state->result);

		if (PQresultStatus(state->result) != PGRES_COMMAND_OK)
			note_error(attempt);
		else if (strcmp(tag, "COMMIT") == 0)
			attempt->committed = true;
		else
			attempt->rows = strtoll(PQcmdTuples(state->result), NULL, 10);
	}
}

static void
note_error(Attempt *attempt)
{
	const PGresult *result = attempt->state->result;
	const char *column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);

	if (attempt->verdict->message[0] == '\0')
	{
		attempt->line = tlpg_copy_line(PQresultErrorField(result,
														  PG_DIAG_CONTEXT),
									   attempt->staged ? STAGE_NAME :
									   attempt->state->table.name);
		strlcpy(attempt->column, column ? column : "",
				sizeof(attempt->column));
	}
	tlpg_record_error(attempt->state, attempt->verdict);
}

static TlOutcome
conclude(Attempt *attempt)
{
	if (attempt->committed)
		return stored(attempt);
	if (attempt->state->conn == NULL)
		return attempt->copy_done ? TL_UNKNOWN :
			not_stored(attempt->batch, TL_RETRY);
	return failed(attempt);
}

/*
 * Committed.  A trigger or a rule may have made events vanish on their way;
 * then the table itself is asked.
 */
static TlOutcome
stored(Attempt *attempt)
{
	bool		complete = attempt->staged ||
		attempt->rows == attempt->batch->nrows;

	clear_error(attempt->verdict);
	attempt->verdict->rows_new = attempt->rows;
	if (complete && !attempt->interferes)
		return TL_OK;
	return refuse_absent(attempt);
}

static TlOutcome
refuse_absent(Attempt *attempt)
{
	TlBatch    *batch = attempt->batch;
	bool	   *present = palloc0(batch->nrows * sizeof(bool));
	bool		all = true;

	if (attempt->state->conn == NULL ||
		!tlpg_find_events(attempt->state, batch, TLPG_NO_FENCE, present,
						  attempt->verdict))
		return TL_UNKNOWN;
	for (int32 row = 0; row < batch->nrows; row++)
	{
		all = all && present[row];
		if (present[row])
			tlpg_core->mark_landed(batch, row);
		else
			tlpg_core->mark_refused(batch, row, "a trigger or rule of the remote table dropped the event");
	}
	if (all)
		return TL_OK;
	tlpg_fail(attempt->verdict, TL_CAUSE_DATA, NULL,
			  "a trigger or rule of the remote table dropped events");
	return TL_REFUSED;
}

/* The server answered with an error and rolled back. */
static TlOutcome
failed(Attempt *attempt)
{
	TlpgState  *state = attempt->state;
	TlVerdict  *verdict = attempt->verdict;
	const TlpgErrorClass *class = tlpg_classify(verdict->code);
	TlOutcome	outcome = class->outcome;

	tlpg_rollback(state);
	if (outcome == TL_REFUSED && names_foreign_column(attempt))
	{
		verdict->cause = TL_CAUSE_SCHEMA;
		outcome = TL_RETRY;
	}
	if (strcmp(verdict->code, "42P10") == 0)
		state->session->guarantee = TL_PER_ATTEMPT;
	if (verdict->cause == TL_CAUSE_SCHEMA)
		state->remote = NULL;	/* look again */
	if (class->reconnect)
	{
		tlpg_disconnect(state);
		state->host = (state->host + 1) % state->nhosts;
	}
	if (outcome == TL_REFUSED || outcome == TL_SPLIT)
		return blame(attempt, outcome);
	return not_stored(attempt->batch, outcome);
}

/* A column that we do not send must not be null: no event's fault. */
static bool
names_foreign_column(const Attempt *attempt)
{
	if (strcmp(attempt->verdict->code, "23502") != 0 ||
		attempt->column[0] == '\0' ||
		strcmp(attempt->column, "event_id") == 0)
		return false;
	for (int i = 1; i < attempt->encoder.ncolumns; i++)
		if (strcmp(attempt->encoder.columns[i]->name, attempt->column) == 0)
			return false;
	return true;
}

/*
 * Events are to blame, the named one if one was named.  That none of them is
 * in the store is only certain of a fresh batch; of another one the events
 * which earlier attempts landed are found first.
 */
static TlOutcome
blame(Attempt *attempt, TlOutcome outcome)
{
	TlBatch    *batch = attempt->batch;
	TlVerdict	asking = {0};
	bool	   *present = palloc0(batch->nrows * sizeof(bool));
	TlpgFence	fence = batch->history == TL_OVERLAP ? TLPG_FENCE_LEDGER :
		TLPG_FENCE_LANE;

	if (batch->history != TL_FRESH)
	{
		if (attempt->state->conn == NULL ||
			!tlpg_find_events(attempt->state, batch, fence, present,
							  &asking))
			return TL_UNKNOWN;
		for (int32 row = 0; row < batch->nrows; row++)
			if (present[row])
				tlpg_core->mark_landed(batch, row);
	}
	if (attempt->line < 1 || attempt->line > batch->nrows ||
		present[attempt->line - 1])
		return outcome;
	tlpg_core->mark_refused(batch, attempt->line - 1,
							attempt->verdict->message);
	return TL_REFUSED;
}

/* TlBackend.encode */
TlOutcome
tlpg_encode(TlSession *session, const TlBatch *batch, StringInfo out,
			TlVerdict *verdict)
{
	TlpgEncoder encoder;

	tlpg_encoder_init(&encoder, batch);
	tlpg_encode_header(out);
	tlpg_encode_rows(&encoder, out, INT_MAX);
	tlpg_encode_trailer(out);
	return TL_OK;
}
