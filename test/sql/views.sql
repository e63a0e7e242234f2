-- The views: costs, and what status, lanes and accounting make of the state
-- of forwarding.  No lane runs: the rows of state are written here.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

SET timezone = 'UTC';
SET datestyle = 'ISO';

-- Output columns of the cost views, in the order that clients rely on.
SELECT c.relname, string_agg(
	a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', '
	ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'token_ledger'::regnamespace AND c.relkind = 'v'
	AND c.relname LIKE '%costs'
GROUP BY c.relname ORDER BY c.relname COLLATE "C";

-- Costs.
INSERT INTO token_ledger.token_ledger_events ("timestamp", provider, model,
	input_tokens, output_tokens, total_tokens, cost_usd, duration_ms, user_id,
	team, feature, cost_center)
VALUES
	('2026-01-01 23:30+00', 'a', 'm', 1, 2, 3, 0.5, 100, 'u', 't', 'f', 'c'),
	('2026-01-01 10:00+00', 'a', 'm', 1, 2, 3, 'NaN', 'NaN', 'u', 't', 'f', 'c'),
	('2026-01-02 10:00+00', 'a', 'm', 1, 2, 9223372036854775807, 1, 50, NULL,
		NULL, NULL, NULL),
	('2026-01-02 11:00+00', 'a', 'm', 1, 2, 9223372036854775807, -1, NULL,
		'', '', '', ''),
	('2026-01-02 12:00+00', 'b', 'm', 1, 2, 3, NULL, NULL, 'v', 'w', 'x', 'y');
SELECT * FROM token_ledger.token_ledger_daily_costs
ORDER BY date, provider, model;
SET timezone = 'Asia/Tokyo';
SELECT date, provider, request_count
FROM token_ledger.token_ledger_daily_costs ORDER BY date, provider;
SET timezone = 'UTC';
SELECT * FROM token_ledger.token_ledger_user_costs
ORDER BY user_id COLLATE "C";
SELECT * FROM token_ledger.token_ledger_team_costs ORDER BY team COLLATE "C";
SELECT * FROM token_ledger.token_ledger_feature_costs
ORDER BY feature COLLATE "C";
SELECT * FROM token_ledger.token_ledger_cost_center_costs
ORDER BY cost_center COLLATE "C";

-- A client replaces the first two by its own.
BEGIN;
CREATE OR REPLACE VIEW token_ledger.token_ledger_daily_costs AS
	SELECT "timestamp"::date AS date, provider, model,
		count(event_id) AS request_count,
		sum(input_tokens) AS total_input_tokens,
		sum(output_tokens) AS total_output_tokens,
		sum(total_tokens) AS total_tokens, sum(cost_usd) AS total_cost,
		avg(duration_ms) AS avg_latency_ms
	FROM token_ledger.token_ledger_events GROUP BY 1, 2, 3;
CREATE OR REPLACE VIEW token_ledger.token_ledger_user_costs AS
	SELECT coalesce(user_id, 'nobody') AS user_id, count(*) AS request_count,
		sum(total_tokens) AS total_tokens, sum(cost_usd) AS total_cost,
		min("timestamp") AS first_request, max("timestamp") AS last_request
	FROM token_ledger.token_ledger_events GROUP BY user_id;
ROLLBACK;

-- A target of this cluster that the settings do not name, and the restored
-- row of another cluster, which is history.
INSERT INTO token_ledger.target (system_identifier, database_oid, name,
	backend, destination, last_error, cause, code)
SELECT system_identifier, database_oid, 'old', 'postgres', 'postgres://db/x',
	'gone', 'network', '08006'
FROM token_ledger.cluster_key()
UNION ALL
SELECT system_identifier + 1, database_oid, 'history', 'postgres', NULL,
	NULL, NULL, NULL
FROM token_ledger.cluster_key();
SELECT id AS target FROM token_ledger.target WHERE name = 'old' \gset
CREATE VIEW public.account AS
	SELECT ledger, retired, skipped, filtered, forwarded, in_flight, pending,
		dead, discarded, difference, vanished
	FROM token_ledger.accounting WHERE target = 'old';
SELECT target, backend, destination, state, lanes, forwarded, in_flight,
	pending, dead, discarded, filtered, skipped, lag_events, lag_seconds > 0
	AS lags, last_error, cause, code
FROM token_ledger.status WHERE target IN ('old', 'history');
TABLE public.account;

-- Nothing claimed, then everything: claimed by lane 0, in flight.
SELECT token_ledger.pending(:target), token_ledger.pending(-1) AS unknown;
UPDATE token_ledger.target SET window_from = '3:3:',
	window_to = pg_current_snapshot() WHERE id = :target;
TABLE public.account;
WITH page AS (
	SELECT ingest_xid, ingest_seq FROM token_ledger.token_ledger_events
	ORDER BY ingest_xid, ingest_seq LIMIT 2
), claimed AS (
	UPDATE token_ledger.target t SET (last_xid, last_seq) =
		(SELECT ingest_xid, ingest_seq FROM page
		ORDER BY ingest_xid DESC, ingest_seq DESC LIMIT 1)
	WHERE t.id = :target
	RETURNING t.*
)
INSERT INTO token_ledger.lane (target_id, lane, source, range_from, range_to,
	first_xid, first_seq, done_xid, done_seq, last_xid, last_seq, range_rows)
SELECT id, 0, 'window', window_from, window_to, '0', -1, '0', -1, last_xid,
	last_seq, 2
FROM claimed;
TABLE public.account;
SELECT oldest FROM token_ledger.backlog(:target);
SELECT lag_events, in_flight, pending FROM token_ledger.status
WHERE target = 'old';
SELECT target, lane, pid, range_rows, done_rows, forwarded, epoch
FROM token_ledger.lanes WHERE target = 'old';

-- Settled: one forwarded, one dead.
UPDATE token_ledger.lane SET forwarded = 1, dead = 1, source = NULL,
	range_rows = 0, done_rows = 0 WHERE target_id = :target;
INSERT INTO token_ledger.dead_letter (target_id, event_id, reason)
SELECT :target, event_id, 'test' FROM token_ledger.token_ledger_events
ORDER BY ingest_seq LIMIT 1;
TABLE public.account;
SELECT oldest FROM token_ledger.backlog(:target);

-- A requeued dead letter is pending, then in flight; a discarded one neither.
UPDATE token_ledger.dead_letter SET state = 'requeued';
TABLE public.account;
UPDATE token_ledger.dead_letter SET state = 'sending';
UPDATE token_ledger.lane SET source = 'dead_letter',
	held = ARRAY[(SELECT event_id FROM token_ledger.dead_letter)];
TABLE public.account;
SELECT oldest FROM token_ledger.backlog(:target);
UPDATE token_ledger.lane SET source = NULL, held = NULL;
UPDATE token_ledger.dead_letter SET state = 'discarded';
TABLE public.account;

-- A held event is in flight; what a job sends again does not count.
UPDATE token_ledger.lane SET forwarded = 0,
	held = ARRAY[(SELECT event_id FROM token_ledger.token_ledger_events
		ORDER BY ingest_seq OFFSET 1 LIMIT 1)];
TABLE public.account;
SELECT oldest FROM token_ledger.backlog(:target);
UPDATE token_ledger.lane SET forwarded = 1, held = NULL, source = 'job',
	range_rows = 100;
TABLE public.account;
UPDATE token_ledger.lane SET source = NULL, range_rows = 0;

-- New events are pending.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
SELECT ('00000000-0000-0000-0000-' || to_char(i, 'FM000000000000'))::uuid,
	'p', 'new' FROM generate_series(1, 10) i;
TABLE public.account;

-- The next window: all but the new events are behind the cursor.
UPDATE token_ledger.lane SET forwarded = 4;
UPDATE token_ledger.target SET window_from = window_to,
	window_to = pg_current_snapshot(), last_xid = NULL, last_seq = NULL
WHERE id = :target;
TABLE public.account;

-- Events that are deleted with the guard off: one that was forwarded, one
-- that was never claimed, one in flight when the deletion comes.
SET tokenledger.allow_ledger_edits = on;
DELETE FROM token_ledger.token_ledger_events
WHERE ingest_seq = (SELECT ingest_seq FROM token_ledger.token_ledger_events
	ORDER BY ingest_seq OFFSET 1 LIMIT 1);
TABLE public.account;
DELETE FROM token_ledger.token_ledger_events
WHERE event_id = '00000000-0000-0000-0000-000000000010';
TABLE public.account;
UPDATE token_ledger.target t SET last_xid = e.ingest_xid,
	last_seq = e.ingest_seq
FROM token_ledger.token_ledger_events e
WHERE t.id = :target AND e.event_id = '00000000-0000-0000-0000-000000000001';
UPDATE token_ledger.lane SET source = 'window', range_rows = 1;
TABLE public.account;
DELETE FROM token_ledger.token_ledger_events
WHERE event_id = '00000000-0000-0000-0000-000000000001';
TABLE public.account;
UPDATE token_ledger.lane SET source = NULL, range_rows = 0, vanished = 1;
TABLE public.account;

-- An upsert moves an event that is pending, and one that was forwarded.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000005', 'p', 'upsert')
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;
TABLE public.account;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
SELECT event_id, 'p', 'upsert' FROM token_ledger.token_ledger_events
WHERE provider = 'b'
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;
TABLE public.account;

-- A target that comes later owes nothing of what is gone.
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'later' FROM token_ledger.cluster_key();
SELECT ledger, retired, pending, vanished, difference
FROM token_ledger.accounting WHERE target = 'later';
TRUNCATE token_ledger.token_ledger_events;
TABLE public.account;
SELECT ledger, retired, pending, vanished, difference
FROM token_ledger.accounting WHERE target = 'later';
RESET tokenledger.allow_ledger_edits;
SELECT lag_events, lag_seconds FROM token_ledger.status WHERE target = 'old';

-- The identity is one that can fail.
UPDATE token_ledger.lane SET forwarded = forwarded + 1;
SELECT difference FROM public.account;
UPDATE token_ledger.lane SET forwarded = forwarded - 1;

-- An event from the future does not lag.
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp")
VALUES ('p', 'future', now() + interval '1 hour');
SELECT lag_events, lag_seconds FROM token_ledger.status WHERE target = 'old';


-- What is infinite, nobody knows how long it lags.
SET tokenledger.allow_ledger_edits = on;
UPDATE token_ledger.token_ledger_events SET "timestamp" = '-infinity';
RESET tokenledger.allow_ledger_edits;
SELECT lag_events, lag_seconds FROM token_ledger.status WHERE target = 'old';

\set SHOW_CONTEXT never
-- pause and resume.
SELECT token_ledger.pause('old');
SELECT name, paused FROM token_ledger.target ORDER BY id;
SELECT token_ledger.resume('old');
SELECT name, paused FROM token_ledger.target ORDER BY id;
SELECT token_ledger.pause('history');
SELECT token_ledger.resume('nonesuch');

-- A deleted target takes its state along.
DELETE FROM token_ledger.target WHERE id = :target;
SELECT (SELECT count(*) FROM token_ledger.lane) AS lanes,
	(SELECT count(*) FROM token_ledger.dead_letter) AS dead_letters;

DROP VIEW public.account;
