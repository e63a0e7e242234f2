/*-------------------------------------------------------------------------
 *
 * queue_sql.c
 *	  The statements on the rows of target, lane, dead_letter and job.
 *
 * A lane updates the same two rows thousands of times.  While somebody holds
 * an old snapshot none of the old versions can be pruned, and a look-up by
 * key walks all of them: from 0.1 to 11 ms after 18,000 updates.  So each
 * statement on such a row goes by the TID the previous one returned, and by
 * the key only if that finds nothing (another lane moved the row).  The key
 * is always checked besides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "compat.h"
#include "queue_sql.h"

#define TARGET_KEY	"id OPERATOR(pg_catalog.=) $2"
#define LANE_KEY	"target_id OPERATOR(pg_catalog.=) $2" \
	" AND lane OPERATOR(pg_catalog.=) $3 AND epoch OPERATOR(pg_catalog.=) $4"
#define OPEN_JOB	"state OPERATOR(pg_catalog.=)" \
	" ANY (ARRAY['requested', 'running'])"
#define OUR_DATABASE	"system_identifier OPERATOR(pg_catalog.=) $1" \
	" AND database_oid OPERATOR(pg_catalog.=) $2"
#define OF_OUR_JOB	"job_id OPERATOR(pg_catalog.=) $4"
#define RANGE_KEY	"pg_catalog.format('%s %s %s %s', lane, range_from," \
	" first_xid, first_seq)"

/* What replay sends again: of that time, claimed before, and not refused. */
#define OF_TIME(from, to) \
	"\"timestamp\" OPERATOR(pg_catalog.>=) " from \
	" AND (\"timestamp\" OPERATOR(pg_catalog.<) " to \
	" OR " to " OPERATOR(pg_catalog.=) 'infinity')"
#define NO_DEAD_LETTER(event_id) \
	"NOT EXISTS (SELECT FROM token_ledger.dead_letter d" \
	" WHERE d.target_id OPERATOR(pg_catalog.=) $1" \
	" AND d.event_id OPERATOR(pg_catalog.=) " event_id ")"

#define HAS_REQUEUED	"EXISTS (SELECT FROM token_ledger.dead_letter" \
	" WHERE target_id OPERATOR(pg_catalog.=) $2" \
	" AND state OPERATOR(pg_catalog.=) 'requeued')"

/* Events went to another destination; or another target filled this one. */
#define MOVED \
	"(destination OPERATOR(pg_catalog.<>) $3" \
	" AND last_seq OPERATOR(pg_catalog.>=) 0)"
#define TAKEN \
	"(other IS NOT NULL AND last_seq OPERATOR(pg_catalog.<) 0)"

#define BY_TID		"ctid OPERATOR(pg_catalog.=) $1 AND "
#define BY_KEY		"$1 IS NOT NULL AND "

#define LANE_COLUMNS \
	"source, range_from, range_to, first_xid, first_seq, done_xid, done_seq," \
	" last_xid, last_seq, range_rows, done_rows, range_history," \
	" part_xid, part_seq, part_rows, part_checksum, part_token, part_history," \
	" part_started_at, part_event_bytes, held, backend_state," \
	" state_timeline, held_suspect"

typedef struct StatementText
{
	const char *head;
	const char *key;			/* NULL: by key alone, all of it is in head */
	const char *tail;
	int			nargs;
	Oid			types[42];
} StatementText;

static const StatementText texts[Q_NSTATEMENTS] = {
	[Q_LOCK_TARGET] = {
		"SELECT ctid, window_from, window_to, last_xid, last_seq, paused,"
		" state, suspect_to, " HAS_REQUEUED ", from_until, to_until,"
		" destination IS NULL, lost_event IS NOT NULL"
		" FROM token_ledger.target WHERE ", TARGET_KEY,
	" FOR UPDATE", 2, {TIDOID, INT4OID}},
	[Q_LOOK_TARGET] = {
		"SELECT ctid, window_from, window_to, last_xid, last_seq, paused,"
		" state, suspect_to, " HAS_REQUEUED ", from_until, to_until,"
		" destination IS NULL, lost_event IS NOT NULL"
		" FROM token_ledger.target WHERE ", TARGET_KEY,
	"", 2, {TIDOID, INT4OID}},
	[Q_MOVE_CURSOR] = {
		"UPDATE token_ledger.target SET window_from = $3, window_to = $4,"
		" window_to_at = CASE WHEN $7 THEN pg_catalog.now()"
		" ELSE window_to_at END, last_xid = $5, last_seq = $6,"
		" from_until = $8, to_until = $9 WHERE ",
		TARGET_KEY, " RETURNING ctid", 9,
		{TIDOID, INT4OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, XID8OID, INT8OID,
	BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
	[Q_TARGET_ERROR] = {
		"UPDATE token_ledger.target SET state = CASE state"
		" WHEN 'running' THEN 'error' ELSE state END, cause = $3, code = $4,"
		" last_error = $5, error_since = COALESCE(error_since,"
		" pg_catalog.now()) WHERE ", TARGET_KEY, " RETURNING ctid", 5,
	{TIDOID, INT4OID, TEXTOID, TEXTOID, TEXTOID}},
	[Q_TARGET_RECOVERY] = {
		"UPDATE token_ledger.target SET state = CASE state"
		" WHEN 'error' THEN 'running' ELSE state END, cause = NULL,"
		" code = NULL, last_error = NULL, error_since = NULL WHERE ",
	TARGET_KEY, " RETURNING ctid", 2, {TIDOID, INT4OID}},
	[Q_TARGET_REMOTE] = {
		"UPDATE token_ledger.target SET remote_version = $3,"
		" guarantee = $4, remote_differences = $5, remote_hint = $6,"
		" keeps_from = $7 WHERE (remote_version, guarantee,"
		" remote_differences, remote_hint, keeps_from)"
		" IS DISTINCT FROM ($3, $4, $5, $6, $7) AND ",
		TARGET_KEY, " RETURNING ctid", 7,
	{TIDOID, INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}},
	[Q_TARGET_LOST] = {
		"UPDATE token_ledger.target SET lost_event = $3 WHERE EXISTS"
		" (SELECT FROM token_ledger.lane WHERE target_id"
		" OPERATOR(pg_catalog.=) $2 AND lane OPERATOR(pg_catalog.=) $4"
		" AND epoch OPERATOR(pg_catalog.=) $5) AND ", TARGET_KEY,
	" RETURNING ctid", 5, {TIDOID, INT4OID, UUIDOID, INT2OID, INT8OID}},
	[Q_WRITE_LANE] = {
		"UPDATE token_ledger.lane SET (" LANE_COLUMNS ") ="
		" ($5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,"
		" $19, $20, $21, $22, $23, $24, $25, $26, $27, $28),"
		" forwarded = forwarded + $29, rows_new = rows_new + $30,"
		" dead = dead + $31, vanished = vanished + $32,"
		" batches = batches + $33, bytes = bytes + $34,"
		" retries = retries + $35, unknowns = unknowns + $36,"
		" resolves = resolves + $37, filtered = filtered + $38,"
		" settled_at = CASE WHEN $33 > 0 THEN pg_catalog.now()"
		" ELSE settled_at END, last_event = COALESCE($39, last_event),"
		" kept_event = COALESCE($40, kept_event),"
		" range_until = $41, held_until = $42 WHERE ",
		LANE_KEY, " RETURNING ctid", 42,
		{TIDOID, INT4OID, INT2OID, INT8OID, TEXTOID, PG_SNAPSHOTOID,
			PG_SNAPSHOTOID, XID8OID, INT8OID, XID8OID, INT8OID, XID8OID,
			INT8OID, INT4OID, INT4OID, INT2OID, XID8OID, INT8OID, INT4OID,
			INT8OID, UUIDOID, INT2OID, TIMESTAMPTZOID, INT8OID, UUIDARRAYOID,
			BYTEAOID, INT4OID, BOOLOID, INT8OID, INT8OID, INT8OID, INT8OID,
			INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, UUIDOID,
	UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
	[Q_SAVE_STATE] = {
		"UPDATE token_ledger.lane SET backend_state = $5,"
		" state_timeline = $6, range_history = GREATEST(range_history, $7),"
		" part_history = CASE WHEN part_history IS NOT NULL"
		" THEN GREATEST(part_history, $7) END,"
		" held_suspect = held_suspect OR $8 WHERE ",
		LANE_KEY, " RETURNING ctid", 8,
		{TIDOID, INT4OID, INT2OID, INT8OID, BYTEAOID, INT4OID, INT2OID,
	BOOLOID}},
	[Q_RETIRE_LANE] = {
		"UPDATE token_ledger.lane SET retired = true, backend_state = NULL"
		" WHERE ", LANE_KEY, " RETURNING ctid", 4,
	{TIDOID, INT4OID, INT2OID, INT8OID}},

	[Q_INSERT_TARGET] = {
		"INSERT INTO token_ledger.target (system_identifier, database_oid,"
		" name, state, last_error, error_since)"
		" SELECT $1, $2, $3, CASE WHEN copy THEN 'suspended' ELSE 'running'"
		" END, CASE WHEN copy THEN 'this database is a copy of one that"
		" forwards to the target' END, CASE WHEN copy THEN pg_catalog.now()"
		" END FROM (SELECT EXISTS (SELECT FROM token_ledger.target"
		" WHERE name OPERATOR(pg_catalog.=) $3 AND window_from IS NOT NULL)"
		" AS copy) AS c WHERE NOT EXISTS (SELECT FROM token_ledger.target"
		" WHERE system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database_oid OPERATOR(pg_catalog.=) $2"
		" AND name OPERATOR(pg_catalog.=) $3)"
		" ON CONFLICT DO NOTHING", NULL, NULL, 3,
	{INT8OID, OIDOID, TEXTOID}},
	[Q_FIND_TARGET] = {
		"SELECT ctid, id, window_from IS NULL, timeline, start_request"
		" FROM token_ledger.target"
		" WHERE system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database_oid OPERATOR(pg_catalog.=) $2"
		" AND name OPERATOR(pg_catalog.=) $3 FOR UPDATE", NULL, NULL, 3,
	{INT8OID, OIDOID, TEXTOID}},
	[Q_TAKE_OVER] = {
		"WITH me AS (UPDATE token_ledger.target SET takes_over = false"
		" WHERE id OPERATOR(pg_catalog.=) $1 AND takes_over RETURNING *)"
		" DELETE FROM token_ledger.target o USING me"
		" WHERE o.system_identifier OPERATOR(pg_catalog.=)"
		" me.system_identifier"
		" AND o.database_oid OPERATOR(pg_catalog.=) me.database_oid"
		" AND o.id OPERATOR(pg_catalog.<>) me.id"
		" AND o.destination OPERATOR(pg_catalog.=) $2", NULL, NULL, 2,
	{INT4OID, TEXTOID}},
	[Q_SET_DESTINATION] = {
		"UPDATE token_ledger.target AS t SET backend = $2,"
		" destination = CASE WHEN destination IS NULL OR last_seq"
		" OPERATOR(pg_catalog.<) 0 THEN $3 ELSE destination END,"
		" state = CASE WHEN state OPERATOR(pg_catalog.=) 'suspended' THEN state"
		" WHEN " MOVED " OR " TAKEN " THEN 'stopped'"
		" WHEN state OPERATOR(pg_catalog.=) 'stopped' THEN 'running'"
		" ELSE state END,"
		" last_error = CASE WHEN state OPERATOR(pg_catalog.=) 'suspended'"
		" THEN last_error WHEN " MOVED
		" THEN 'the URL names another destination than the one that has the"
		" events so far'"
		" WHEN " TAKEN " THEN pg_catalog.format('target \"%1$s\" has"
		" filled this destination so far; token_ledger.rename_target(''%1$s'',"
		" ''%2$s'') goes on where it was, token_ledger.retarget(''%2$s'',"
		" ''beginning'') begins anew', other, name)"
		" WHEN state OPERATOR(pg_catalog.=) 'stopped' THEN NULL"
		" ELSE last_error END"
		" FROM (SELECT (SELECT o.name FROM token_ledger.target me"
		" JOIN token_ledger.target o ON o.system_identifier"
		" OPERATOR(pg_catalog.=) me.system_identifier"
		" AND o.database_oid OPERATOR(pg_catalog.=) me.database_oid"
		" AND o.id OPERATOR(pg_catalog.<>) me.id"
		" AND o.destination OPERATOR(pg_catalog.=) $3"
		" AND o.last_seq OPERATOR(pg_catalog.>=) 0"
		" WHERE me.id OPERATOR(pg_catalog.=) $1 LIMIT 1) AS other) AS others"
		" WHERE id OPERATOR(pg_catalog.=) $1"
		" RETURNING state OPERATOR(pg_catalog.=)"
		" ANY (ARRAY['suspended', 'stopped']),"
		" state OPERATOR(pg_catalog.=) 'error'", NULL, NULL, 3,
	{INT4OID, TEXTOID, TEXTOID}},
	[Q_SET_WINDOW] = {
		"UPDATE token_ledger.target SET window_from = $2, window_to = $2,"
		" window_to_at = pg_catalog.now(), last_xid = '0', last_seq = -1,"
		" skipped = skipped + $3, timeline = $4,"
		" skipped_to = CASE WHEN $3 OPERATOR(pg_catalog.>) 0 THEN $2 END,"
		" suspect_to = COALESCE($5, suspect_to), start_request = NULL,"
		" from_until = $6, to_until = $6"
		" WHERE id OPERATOR(pg_catalog.=) $1", NULL, NULL, 6,
		{INT4OID, PG_SNAPSHOTOID, INT8OID, INT4OID, PG_SNAPSHOTOID,
	TIMESTAMPTZOID}},
	[Q_WAS_FILLED] = {
		"SELECT 1 FROM token_ledger.filled"
		" WHERE destination OPERATOR(pg_catalog.=) $2"
		" UNION ALL SELECT 1 FROM token_ledger.target"
		" WHERE id OPERATOR(pg_catalog.<>) $1"
		" AND destination OPERATOR(pg_catalog.=) $2"
		" AND last_seq OPERATOR(pg_catalog.>=) 0 LIMIT 1",
	NULL, NULL, 2, {INT4OID, TEXTOID}},
	[Q_SET_TIMELINE] = {
		"UPDATE token_ledger.target SET timeline = $2, suspect_to = $3"
		" WHERE id OPERATOR(pg_catalog.=) $1", NULL, NULL, 3,
	{INT4OID, INT4OID, PG_SNAPSHOTOID}},
	[Q_INSERT_LANE] = {
		"INSERT INTO token_ledger.lane (target_id, lane) VALUES ($1, $2)"
		" ON CONFLICT DO NOTHING", NULL, NULL, 2, {INT4OID, INT2OID}},
	[Q_TAKE_LANE] = {
		"UPDATE token_ledger.lane SET epoch = epoch + 1, retired = false"
		" WHERE target_id OPERATOR(pg_catalog.=) $1"
		" AND lane OPERATOR(pg_catalog.=) $2 RETURNING epoch",
	NULL, NULL, 2, {INT4OID, INT2OID}},
	[Q_READ_LANE] = {
		"SELECT ctid, epoch, " LANE_COLUMNS ", CASE source WHEN 'job'"
		" THEN source_id END, range_until, held_until, last_event"
		" FROM token_ledger.lane"
		" WHERE target_id OPERATOR(pg_catalog.=) $1"
		" AND lane OPERATOR(pg_catalog.=) $2", NULL, NULL, 2,
	{INT4OID, INT2OID}},
	[Q_LANES_NEEDED] = {
		"SELECT pg_catalog.max(lane) + 1 FROM token_ledger.lane"
		" WHERE target_id OPERATOR(pg_catalog.=) $1 AND NOT retired",
	NULL, NULL, 1, {INT4OID}},
	[Q_HAS_FORWARDED] = {
		"SELECT FROM token_ledger.lane WHERE target_id"
		" OPERATOR(pg_catalog.=) $1 AND last_event IS NOT NULL LIMIT 1",
	NULL, NULL, 1, {INT4OID}},
	[Q_DEAD_LETTER] = {
		"INSERT INTO token_ledger.dead_letter AS d"
		" (target_id, event_id, reason, code) VALUES ($1, $2, $3, $4)"
		" ON CONFLICT (target_id, event_id) DO UPDATE SET state = 'dead',"
		" reason = excluded.reason, code = excluded.code,"
		" times = d.times + 1, last_at = pg_catalog.now()", NULL, NULL, 4,
	{INT4OID, UUIDOID, TEXTOID, TEXTOID}},
	[Q_TAKE_REQUEUED] = {
		"WITH taken AS (UPDATE token_ledger.dead_letter SET state = 'sending'"
		" WHERE target_id OPERATOR(pg_catalog.=) $1 AND event_id"
		" OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT event_id"
		" FROM token_ledger.dead_letter"
		" WHERE target_id OPERATOR(pg_catalog.=) $1"
		" AND state OPERATOR(pg_catalog.=) 'requeued' LIMIT $2"
		" FOR UPDATE SKIP LOCKED)) RETURNING event_id)"
		" SELECT pg_catalog.array_agg(event_id) FROM taken", NULL, NULL, 2,
	{INT4OID, INT8OID}},
	[Q_GIVE_BACK] = {
		"UPDATE token_ledger.dead_letter SET state = 'requeued'"
		" WHERE target_id OPERATOR(pg_catalog.=) $1"
		" AND event_id OPERATOR(pg_catalog.=) ANY ($2)"
		" AND state OPERATOR(pg_catalog.=) 'sending'", NULL, NULL, 2,
	{INT4OID, UUIDARRAYOID}},
	[Q_FORGET_DEAD_LETTERS] = {
		"DELETE FROM token_ledger.dead_letter"
		" WHERE target_id OPERATOR(pg_catalog.=) $1"
		" AND event_id OPERATOR(pg_catalog.=) ANY ($2)"
		" AND ($3 IS NULL OR event_id OPERATOR(pg_catalog.<>) ALL ($3))"
		" AND state OPERATOR(pg_catalog.=) 'sending'", NULL, NULL, 3,
	{INT4OID, UUIDARRAYOID, UUIDARRAYOID}},
	[Q_LEFT_OUT] = {
		"INSERT INTO token_ledger.left_out AS o"
		" (target_id, lane, column_name, events) VALUES ($1, $2, $3, $4)"
		" ON CONFLICT (target_id, lane, column_name) DO UPDATE"
		" SET events = o.events + excluded.events", NULL, NULL, 4,
	{INT4OID, INT2OID, TEXTOID, INT8OID}},
	[Q_FIND_JOB] = {
		"SELECT id, kind, version, requested_by IS NULL, cancel_requested,"
		" done, total FROM token_ledger.job"
		" WHERE target_id OPERATOR(pg_catalog.=) $1 AND " OPEN_JOB
		" ORDER BY kind OPERATOR(pg_catalog.=) ANY (ARRAY['replay',"
		" 'reconcile']), id LIMIT 1", NULL, NULL, 1, {INT4OID}},
	[Q_BEGIN_JOB] = {
		"UPDATE token_ledger.job SET state = 'running',"
		" started_at = COALESCE(started_at, pg_catalog.now()),"
		" attempts = attempts + 1"
		" WHERE id OPERATOR(pg_catalog.=) $4 AND " OPEN_JOB " AND " OUR_LANE
		" RETURNING attempts", NULL, NULL, 4,
	{INT4OID, INT2OID, INT8OID, INT8OID}},
	[Q_JOB_GOES_ON] = {
		"UPDATE token_ledger.job SET attempts = 0, code = NULL, error = NULL,"
		" done = $5, total = $6, message = $7 WHERE " OUR_JOB,
		NULL, NULL, 7,
	{INT4OID, INT2OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID}},
	[Q_JOB_TROUBLE] = {
		"UPDATE token_ledger.job SET code = $5, error = $6 WHERE " OUR_JOB,
		NULL, NULL, 6,
	{INT4OID, INT2OID, INT8OID, INT8OID, TEXTOID, TEXTOID}},
	[Q_END_JOB] = {
		"UPDATE token_ledger.job SET state = $5,"
		" finished_at = pg_catalog.now(), done = $6, total = $7,"
		" message = COALESCE($8, message), code = $9, error = $10"
		" WHERE " OUR_JOB, NULL, NULL, 10,
		{INT4OID, INT2OID, INT8OID, INT8OID, TEXTOID, INT8OID, INT8OID,
	TEXTOID, TEXTOID, TEXTOID}},
	[Q_REPLAY_STATE] = {
		"SELECT j.horizon_to IS NOT NULL, j.from_time, j.to_time, j.rate,"
		" j.at_xid, j.at_seq, j.end_xid, j.sent, j.refused, j.refusal,"
		" t.paused, EXISTS (SELECT FROM token_ledger.lane l"
		" WHERE l.target_id OPERATOR(pg_catalog.=) $1"
		" AND l.source OPERATOR(pg_catalog.=) 'window' AND " RANGE_KEY
		" OPERATOR(pg_catalog.=) ANY (j.waits_for))"
		" FROM token_ledger.job j JOIN token_ledger.target t"
		" ON t.id OPERATOR(pg_catalog.=) j.target_id"
		" WHERE t.id OPERATOR(pg_catalog.=) $1"
		" AND j.id OPERATOR(pg_catalog.=) $2", NULL, NULL, 2,
	{INT4OID, INT8OID}},
	[Q_REPLAY_EXTENT] = {
		"SELECT t.window_from, t.window_to, t.last_xid, t.last_seq,"
		" (SELECT pg_catalog.array_agg(" RANGE_KEY ")"
		" FROM token_ledger.lane l WHERE l.target_id OPERATOR(pg_catalog.=)"
		" $1 AND l.source OPERATOR(pg_catalog.=) 'window'),"
		" e.events, e.first, e.last FROM token_ledger.target t,"
		" LATERAL (SELECT pg_catalog.count(*) AS events,"
		" pg_catalog.min(x::pg_catalog.text::pg_catalog.int8) AS first,"
		" pg_catalog.max(x::pg_catalog.text::pg_catalog.int8) AS last"
		" FROM (SELECT ingest_xid AS x"
		" FROM ONLY token_ledger.token_ledger_events q WHERE "
		OF_TIME("$2", "$3") " AND "
		CLAIMED_BY("t.window_from", "t.window_to", "t.last_xid", "t.last_seq")
		" AND " NO_DEAD_LETTER("q.event_id") ") AS c) AS e"
		" WHERE t.id OPERATOR(pg_catalog.=) $1", NULL, NULL, 3,
	{INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
	[Q_REPLAY_BEGIN] = {
		"UPDATE token_ledger.job SET horizon_from = $5, horizon_to = $6,"
		" horizon_xid = $7, horizon_seq = $8, waits_for = $9, total = $10,"
		" at_xid = $11, at_seq = -1, end_xid = $12, attempts = 0 WHERE "
		OUR_JOB, NULL, NULL, 12,
		{INT4OID, INT2OID, INT8OID, INT8OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID,
	XID8OID, INT8OID, TEXTARRAYOID, INT8OID, XID8OID, XID8OID}},
	[Q_REPLAY_FILL] = {
		"WITH page AS MATERIALIZED (SELECT ingest_xid, ingest_seq, event_id,"
		" \"timestamp\" FROM ONLY token_ledger.token_ledger_events"
		" WHERE ingest_xid OPERATOR(pg_catalog.<=) $7"
		" AND (ingest_xid, ingest_seq) OPERATOR(pg_catalog.>) ($5, $6)"
		" ORDER BY ingest_xid, ingest_seq LIMIT $8),"
		" chosen AS (INSERT INTO token_ledger.job_event (job_id, xid, seq)"
		" SELECT j.id, ingest_xid, ingest_seq"
		" FROM token_ledger.job j, page p"
		" WHERE j.id OPERATOR(pg_catalog.=) $4 AND "
		OF_TIME("COALESCE(j.from_time, '-infinity')",
				"COALESCE(j.to_time, 'infinity')") " AND "
		CLAIMED_BY("j.horizon_from", "j.horizon_to", "j.horizon_xid",
				   "j.horizon_seq")
		" AND " NO_DEAD_LETTER("p.event_id")
		" AND p.event_id OPERATOR(pg_catalog.<>) ALL (ARRAY("
		" SELECT pg_catalog.unnest(held) FROM token_ledger.lane"
		" WHERE target_id OPERATOR(pg_catalog.=) $1)) RETURNING 1)"
		" SELECT ingest_xid, ingest_seq, (SELECT pg_catalog.count(*)"
		" FROM page), (SELECT pg_catalog.count(*) FROM chosen)"
		" FROM page WHERE " OUR_LANE
		" ORDER BY ingest_xid DESC, ingest_seq DESC LIMIT 1", NULL, NULL, 8,
		{INT4OID, INT2OID, INT8OID, INT8OID, XID8OID, INT8OID, XID8OID,
	INT8OID}},
	[Q_REPLAY_PROGRESS] = {
		"UPDATE token_ledger.job SET at_xid = $5, at_seq = $6, attempts = 0"
		" WHERE " OUR_JOB " RETURNING id", NULL, NULL, 6,
	{INT4OID, INT2OID, INT8OID, INT8OID, XID8OID, INT8OID}},
	[Q_JOB_NEXT] = {
		"SELECT n, xid, seq FROM (SELECT pg_catalog.row_number() OVER (ORDER"
		" BY xid, seq) AS n, xid, seq FROM token_ledger.job_event WHERE "
		OF_OUR_JOB " AND EXISTS (SELECT FROM token_ledger.job WHERE " OUR_JOB
		") ORDER BY xid, seq LIMIT $5) AS next"
		" ORDER BY n DESC LIMIT 1", NULL, NULL, 5,
	{INT4OID, INT2OID, INT8OID, INT8OID, INT8OID}},
	[Q_JOB_RANGE] = {
		"UPDATE token_ledger.lane SET source_id = $5 WHERE ",
		LANE_KEY, " RETURNING ctid", 5,
	{TIDOID, INT4OID, INT2OID, INT8OID, INT8OID}},
	[Q_JOB_SENT] = {
		"UPDATE token_ledger.lane SET replayed = replayed + $5 WHERE ",
		LANE_KEY, " RETURNING ctid", 5,
	{TIDOID, INT4OID, INT2OID, INT8OID, INT8OID}},
	[Q_JOB_EVENTS_SENT] = {
		"WITH sent AS (DELETE FROM token_ledger.job_event"
		" WHERE job_id OPERATOR(pg_catalog.=) $1"
		" AND (xid, seq) OPERATOR(pg_catalog.<=) ($2, $3) RETURNING 1)"
		" UPDATE token_ledger.job SET attempts = 0,"
		" done = done + CASE kind WHEN 'replay' THEN"
		" (SELECT pg_catalog.count(*) FROM sent) ELSE 0 END,"
		" sent = sent + $4, refused = refused + $5,"
		" refusal = COALESCE($6, refusal)"
		" WHERE id OPERATOR(pg_catalog.=) $1", NULL, NULL, 6,
	{INT8OID, XID8OID, INT8OID, INT8OID, INT8OID, TEXTOID}},
	[Q_DROP_JOB_EVENTS] = {
	"SELECT token_ledger.drop_job_events($1)", NULL, NULL, 1, {INT8OID}},
	[Q_REQUEST_MIGRATION] = {
		"INSERT INTO token_ledger.job (target_id, kind)"
		" SELECT $1, 'migrate' WHERE " OUR_LANE
		" AND NOT EXISTS (SELECT FROM token_ledger.job WHERE target_id"
		" OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) 'migrate'"
		" AND " OPEN_JOB ")", NULL, NULL, 3, {INT4OID, INT2OID, INT8OID}},
	[Q_IS_MIGRATING] = {
		"SELECT FROM token_ledger.job WHERE target_id"
		" OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) 'migrate'"
		" AND requested_by IS NULL AND (error IS NULL OR attempts"
		" OPERATOR(pg_catalog.<) $2) AND " OPEN_JOB
		" LIMIT 1", NULL, NULL, 2, {INT4OID, INT4OID}},
	[Q_DELETE_EXPIRED] = {
		"SELECT at_xid, at_seq, seen, deleted FROM"
		" token_ledger.delete_expired(pg_catalog.now()"
		" - pg_catalog.make_interval(days => $1), $2, $3, $4)",
	NULL, NULL, 4, {INT4OID, INT4OID, XID8OID, INT8OID}},
	[Q_OPEN_SINCE] = {
		"SELECT LEAST(pg_catalog.clock_timestamp(),"
		" (SELECT pg_catalog.min(xact_start)"
		" FROM pg_catalog.pg_stat_get_activity(NULL)"
		" WHERE datid OPERATOR(pg_catalog.=) $1"
		" AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
		" AND (backend_xid IS NOT NULL"
		" OR xact_start OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp()"
		" OPERATOR(pg_catalog.-) '1 minute'::pg_catalog.interval))),"
		" (SELECT pg_catalog.min(prepared) FROM pg_catalog.pg_prepared_xacts"
		" WHERE database OPERATOR(pg_catalog.=)"
		" pg_catalog.current_database()))", NULL, NULL, 1, {OIDOID}},
	[Q_COMPLETE_UNTIL] = {
	COMPLETE_UNTIL_SQL, NULL, NULL, 2, {INT4OID, TIMESTAMPTZOID}},
	[Q_READ_TALLY] = {
		"SELECT window_from, window_to, last_xid, last_seq"
		" FROM token_ledger.tally WHERE " OUR_DATABASE, NULL, NULL, 2,
	{INT8OID, OIDOID}},
	[Q_LOCK_TALLY] = {
		"SELECT window_from, window_to, last_xid, last_seq"
		" FROM token_ledger.tally WHERE " OUR_DATABASE
		" FOR NO KEY UPDATE SKIP LOCKED", NULL, NULL, 2, {INT8OID, OIDOID}},
	[Q_INSERT_TALLY] = {
		"INSERT INTO token_ledger.tally (system_identifier, database_oid,"
		" window_from, window_to, last_xid, last_seq)"
		" VALUES ($1, $2, $3, $3, '0', -1) ON CONFLICT DO NOTHING",
	NULL, NULL, 3, {INT8OID, OIDOID, PG_SNAPSHOTOID}},
	[Q_MOVE_TALLY] = {
		"UPDATE token_ledger.tally SET window_from = $3, window_to = $4,"
		" last_xid = $5, last_seq = $6,"
		" counted = counted OPERATOR(pg_catalog.+) $7 WHERE " OUR_DATABASE,
		NULL, NULL, 7, {INT8OID, OIDOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID,
	XID8OID, INT8OID, INT8OID}},
	[Q_SNAPSHOT] = {
	"SELECT pg_catalog.pg_current_snapshot()", NULL, NULL, 0, {0}},
	[Q_COUNT_VISIBLE] = {
		"SELECT pg_catalog.count(*)"
		" FROM ONLY token_ledger.token_ledger_events"
		" WHERE pg_catalog.pg_visible_in_snapshot(ingest_xid, $1)",
	NULL, NULL, 1, {PG_SNAPSHOTOID}}
};

static SPIPlanPtr plans[Q_NSTATEMENTS][2];	/* by key, by TID */

static SPIPlanPtr statement_plan(QueueStatement statement, bool by_tid);
static uint64 execute(QueueStatement statement, bool by_tid, QueueArgs *args);

void
arg_add(QueueArgs *args, Datum value)
{
	args->values[args->n] = value;
	args->nulls[args->n++] = ' ';
}

void
arg_add_null(QueueArgs *args)
{
	args->values[args->n] = (Datum) 0;
	args->nulls[args->n++] = 'n';
}

void
arg_add_text(QueueArgs *args, const char *value)
{
	if (value == NULL)
		arg_add_null(args);
	else
		arg_add(args, CStringGetTextDatum(value));
}

uint64
queue_run(QueueStatement statement, QueueArgs *args)
{
	return execute(statement, false, args);
}

/*
 * NB: a row that a concurrent transaction has just moved is not found by its
 * old TID; the look-up by key then waits for that transaction.
 */
uint64
queue_run_at(QueueStatement statement, ItemPointer tid, QueueArgs *args)
{
	uint64		found = 0;

	args->values[0] = PointerGetDatum(tid);
	args->nulls[0] = ' ';
	if (ItemPointerIsValid(tid))
		found = execute(statement, true, args);
	if (found == 0)
		found = execute(statement, false, args);
	if (found > 0)
		*tid = queue_tid(1);
	return found;
}

Datum
queue_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
						 isnull);
}

ItemPointerData
queue_tid(int column)
{
	bool		isnull;

	return *(ItemPointer) DatumGetPointer(queue_value(column, &isnull));
}

Datum
queue_snapshot(int column, bool *isnull)
{
	Datum		value = queue_value(column, isnull);

	return *isnull ? value : PointerGetDatum(PG_DETOAST_DATUM(value));
}

int64
queue_int64(int column, int64 if_null)
{
	bool		isnull;
	Datum		value = queue_value(column, &isnull);

	if (isnull)
		return if_null;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

static uint64
execute(QueueStatement statement, bool by_tid, QueueArgs *args)
{
	int			code;

	Assert(args->n == texts[statement].nargs);
	code = SPI_execute_plan(statement_plan(statement, by_tid), args->values,
							args->nulls, false, 0);
	if (code < 0)
		elog(ERROR, "statement %d failed: %s", statement,
			 SPI_result_code_string(code));
	return SPI_processed;
}

static SPIPlanPtr
statement_plan(QueueStatement statement, bool by_tid)
{
	const StatementText *text = &texts[statement];
	SPIPlanPtr *plan = &plans[statement][by_tid];
	const char *sql = text->head;

	if (*plan != NULL)
		return *plan;
	if (text->key != NULL)
		sql = psprintf("%s%s%s%s", text->head, by_tid ? BY_TID : BY_KEY,
					   text->key, text->tail);
	*plan = SPI_prepare_cursor(sql, text->nargs, (Oid *) text->types,
							   CURSOR_OPT_GENERIC_PLAN);
	if (*plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(*plan);
	return *plan;
}
