/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Queries over a non-blocking connection, and what every transaction of
 *	  ours begins with.
 *
 * A function that returns false has filled in the verdict.  When the server
 * did not answer, or the connection broke, the connection is gone by then
 * (state->conn is NULL); when the server answered with an error, it is still
 * there and all its answers have been read.  Callers tell the two apart by
 * that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/latch.h"
#include "tlpg.h"

static bool wait_socket(TlpgState *state, uint32 events, TlVerdict *verdict);
static bool lost(TlpgState *state, TlVerdict *verdict);
static bool start_query(TlpgState *state, const char *sql,
						const TlpgParams *params, TlVerdict *verdict);
static void append_locks(TlpgState *state, StringInfo sql, TlpgFence fence);

/* Waits for the socket until the callback's deadline. */
static bool
wait_socket(TlpgState *state, uint32 events, TlVerdict *verdict)
{
	TlWaitFd	fd = {PQsocket(state->conn), events, 0};
	long		left = state->deadline - tlpg_now_ms();
	TlWake		wake = TL_WAKE_TIMEOUT;

	if (fd.fd < 0)
		return lost(state, verdict);
	if (left > 0)
		wake = tlpg_core->wait(state->session, &fd, 1, left);
	if (wake == TL_WAKE_FD)
	{
		if ((fd.fired & WL_SOCKET_READABLE) == 0 ||
			PQconsumeInput(state->conn))
			return true;
		return lost(state, verdict);
	}
	if (wake == TL_WAKE_STOP)
		tlpg_fail(verdict, TL_CAUSE_NONE, NULL, "stopped");
	else
		tlpg_fail(verdict, TL_CAUSE_NETWORK, NULL,
				  "no answer from the server within %d ms (option timeout)",
				  state->timeout_ms);
	tlpg_disconnect(state);
	return false;
}

/* The connection broke. */
static bool
lost(TlpgState *state, TlVerdict *verdict)
{
	tlpg_fail(verdict, TL_CAUSE_NETWORK, "08006", "%s",
			  PQerrorMessage(state->conn));
	tlpg_disconnect(state);
	return false;
}

/* Writes out all that libpq has buffered. */
bool
tlpg_flush(TlpgState *state, TlVerdict *verdict)
{
	int			rc;

	while ((rc = PQflush(state->conn)) > 0)
		if (!wait_socket(state, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE,
						 verdict))
			return false;
	return rc == 0 ? true : lost(state, verdict);
}

/*
 * Makes state->result the next result; NULL: the server has answered all.
 */
bool
tlpg_next_result(TlpgState *state, TlVerdict *verdict)
{
	PQclear(state->result);
	state->result = NULL;
	if (!tlpg_flush(state, verdict))
		return false;
	while (PQisBusy(state->conn))
		if (!wait_socket(state, WL_SOCKET_READABLE, verdict))
			return false;
	state->result = PQgetResult(state->conn);
	if (PQstatus(state->conn) == CONNECTION_OK)
		return true;
	if (state->result != NULL)
		tlpg_record_error(state, verdict);
	return lost(state, verdict);
}

/*
 * Puts the error in state->result into the verdict.  Neither detail nor
 * context: they may quote an event.
 */
void
tlpg_record_error(TlpgState *state, TlVerdict *verdict)
{
	const char *code = PQresultErrorField(state->result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(state->result,
										  PG_DIAG_MESSAGE_PRIMARY);

	if (code == NULL)			/* libpq's own: the connection broke */
		tlpg_fail(verdict, TL_CAUSE_NETWORK, "08006", "%s",
				  PQresultErrorMessage(state->result));
	else
		tlpg_fail(verdict, tlpg_classify(code)->cause, code, "%s",
				  text ? text : "");
}

/*
 * Runs sql and reads all its answers.  Without params it may be several
 * statements.  The last rows returned are in state->rows until the next call.
 */
bool
tlpg_query(TlpgState *state, const char *sql, const TlpgParams *params,
		   TlVerdict *verdict)
{
	bool		ok = true;

	if (!start_query(state, sql, params, verdict))
		return false;
	for (;;)
	{
		if (!tlpg_next_result(state, verdict))
			return false;
		if (state->result == NULL)
			return ok;
		switch (PQresultStatus(state->result))
		{
			case PGRES_TUPLES_OK:
				PQclear(state->rows);
				state->rows = state->result;
				state->result = NULL;
				break;
			case PGRES_COMMAND_OK:
				break;
			default:
				tlpg_record_error(state, verdict);
				ok = false;
		}
	}
}

/*
 * Starts a query whose rows arrive one by one, as state->result of
 * tlpg_next_result with the status PGRES_SINGLE_TUPLE.
 */
bool
tlpg_stream(TlpgState *state, const char *sql, const TlpgParams *params,
			TlVerdict *verdict)
{
	if (!start_query(state, sql, params, verdict))
		return false;
	if (!PQsetSingleRowMode(state->conn))
		return lost(state, verdict);
	return true;
}

static bool
start_query(TlpgState *state, const char *sql, const TlpgParams *params,
			TlVerdict *verdict)
{
	int			formats[TLPG_MAX_PARAMS];
	int			ok;

	for (int i = 0; i < TLPG_MAX_PARAMS; i++)
		formats[i] = 1;
	PQclear(state->rows);
	state->rows = NULL;
	if (params == NULL)
		ok = PQsendQuery(state->conn, sql);
	else
		ok = PQsendQueryParams(state->conn, sql, params->n, params->types,
							   params->values, params->lengths, formats, 1);
	return ok ? true : lost(state, verdict);
}

/* Runs one SELECT in a transaction of its own; the answer is text. */
bool
tlpg_look_up(TlpgState *state, const char *select, TlVerdict *verdict)
{
	StringInfoData sql;

	initStringInfo(&sql);
	tlpg_begin_sql(state, &sql, TLPG_NO_FENCE, TLPG_LOOK_UP);
	appendStringInfo(&sql, "%s;COMMIT", select);
	if (tlpg_query(state, sql.data, NULL, verdict))
		return true;
	tlpg_rollback(state);
	return false;
}

/* Ends a transaction that failed, or drops the connection. */
void
tlpg_rollback(TlpgState *state)
{
	TlVerdict	ignored = {0};

	if (state->conn == NULL ||
		PQtransactionStatus(state->conn) == PQTRANS_IDLE)
		return;
	if (!tlpg_query(state, "ROLLBACK", NULL, &ignored))
		tlpg_disconnect(state);
}

/*
 * Appends what every transaction begins with.  READ COMMITTED, because what
 * comes after a lock must see what its last holder committed.  The server's
 * time limits are a little shorter than ours: then it is the server that
 * gives up, and we know that nothing happened.  Names are qualified and
 * operators come from pg_catalog, whatever the role's search_path.
 *
 * A server that waits in COPY for a client which the network has cut off
 * keeps our locks, and no statement_timeout ends that wait: keepalives do,
 * after a minute instead of the usual two hours.
 *
 * Look-ups ask for READ WRITE, which a standby refuses: it may lag behind,
 * and an event that it does not hold yet would be sent again.  Sending does
 * not ask: a server made read-only by its administrator stays so.
 */
void
tlpg_begin_sql(TlpgState *state, StringInfo sql, TlpgFence fence,
			   TlpgAccess access)
{
	appendStringInfo(sql,
					 "BEGIN ISOLATION LEVEL READ COMMITTED%s;"
					 "SELECT pg_catalog.set_config('search_path',"
					 " 'pg_catalog, pg_temp', true),"
					 " pg_catalog.set_config('statement_timeout', '%d', true),"
					 " pg_catalog.set_config('lock_timeout', '%d', true),"
					 " pg_catalog.set_config('tcp_keepalives_idle', '30', true),"
					 " pg_catalog.set_config('tcp_keepalives_interval', '10', true),"
					 " pg_catalog.set_config('tcp_keepalives_count', '3', true),"
					 " CASE WHEN pg_catalog.current_setting("
					 "'synchronous_commit') IN ('off', 'local',"
					 " 'remote_write') THEN pg_catalog.set_config("
					 "'synchronous_commit', 'on', true) END%s%s;",
					 access == TLPG_LOOK_UP ? " READ WRITE" : "",
					 Max(state->timeout_ms / 10 * 9, 1),
					 Max(state->timeout_ms / 2, 1),
					 tlpg_dialect.settings ? ", " : "",
					 tlpg_dialect.settings ? tlpg_dialect.settings : "");
	if (fence != TLPG_NO_FENCE)
		append_locks(state, sql, fence);
}

/*
 * An attempt holds its lane's lock, and the ledger's in share mode, until its
 * transaction ends.  Who then takes the lane's lock knows that no earlier
 * attempt of the lane is in progress; the ledger's, that none of any lane is.
 */
static void
append_locks(TlpgState *state, StringInfo sql, TlpgFence fence)
{
	TlSession  *session = state->session;
	int64		ledger = tlpg_lock_key(&session->ledger_id, "ledger",
									   state->table.quoted, 0);
	int64		lane = tlpg_lock_key(&session->ledger_id, "lane",
									 state->table.quoted, session->lane);

	if (fence == TLPG_FENCE_LEDGER)
		appendStringInfo(sql, "SELECT pg_catalog.pg_advisory_xact_lock("
						 INT64_FORMAT ");", ledger);
	else
		appendStringInfo(sql,
						 "SELECT pg_catalog.pg_advisory_xact_lock_shared("
						 INT64_FORMAT ");"
						 "SELECT pg_catalog.pg_advisory_xact_lock("
						 INT64_FORMAT ");", ledger, lane);
}
