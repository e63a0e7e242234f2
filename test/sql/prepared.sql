-- The lie, continued: prepared transactions (max_prepared_transactions > 0).
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

CREATE TABLE public.truth (model text, xid xid8);
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'two phases');
SAVEPOINT a;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'two phases, savepoint');
INSERT INTO public.truth
VALUES ('two phases', pg_current_xact_id()),
	('two phases, savepoint', pg_current_xact_id());
PREPARE TRANSACTION 'tokenledger_regress';
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'in between');
INSERT INTO public.truth VALUES ('in between', pg_current_xact_id());
COMMIT;
COMMIT PREPARED 'tokenledger_regress';
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'never');
PREPARE TRANSACTION 'tokenledger_regress';
ROLLBACK PREPARED 'tokenledger_regress';
SELECT model, e.ingest_xid = t.xid AS true
FROM token_ledger.token_ledger_events e
	FULL JOIN public.truth t USING (model)
ORDER BY e.ingest_seq;

-- The order of the queue is that of the transactions' ids, not of commits.
SELECT model FROM token_ledger.token_ledger_events
ORDER BY ingest_xid, ingest_seq;

-- A prepared transaction has no process: it is named all the same when it
-- keeps an update of the extension waiting.
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'blocks');
PREPARE TRANSACTION 'tokenledger_regress';
BEGIN;
\set SHOW_CONTEXT never
SET LOCAL lock_timeout = '10ms';
SELECT token_ledger.lock_ledger();
ROLLBACK;
ROLLBACK PREPARED 'tokenledger_regress';
DROP TABLE public.truth;

-- Late commits: a transaction that was in progress when a window's snapshots
-- were taken.  Whatever the cursor, pending() finds what the definition says.
CREATE TABLE public.cursors (n integer, window_from pg_snapshot,
	window_to pg_snapshot, last_xid xid8, last_seq bigint);
SET tokenledger.allow_ledger_edits = on;
TRUNCATE token_ledger.token_ledger_events;
RESET tokenledger.allow_ledger_edits;
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'late 1' FROM generate_series(1, 3);
PREPARE TRANSACTION 'tokenledger_regress_1';
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'early' FROM generate_series(1, 3);
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'late 2' FROM generate_series(1, 3);
PREPARE TRANSACTION 'tokenledger_regress_2';
SELECT pg_current_snapshot() AS s1 \gset
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'later' FROM generate_series(1, 3);
COMMIT PREPARED 'tokenledger_regress_1';
SELECT pg_current_snapshot() AS s2 \gset
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'last' FROM generate_series(1, 3);
COMMIT PREPARED 'tokenledger_regress_2';
SELECT pg_current_snapshot() AS s3 \gset

-- Every window between these snapshots, with the cursor at each of its rows.
INSERT INTO public.cursors
SELECT row_number() OVER (), w.f, w.t, p.ingest_xid, p.ingest_seq
FROM (VALUES ('3:3:'::pg_snapshot, :'s1'::pg_snapshot), ('3:3:', :'s2'),
		('3:3:', :'s3'), (:'s1', :'s2'), (:'s1', :'s3'), (:'s2', :'s3'),
		('3:3:', NULL)) w (f, t),
	LATERAL (
		SELECT ingest_xid, ingest_seq FROM token_ledger.token_ledger_events
		WHERE pg_visible_in_snapshot(ingest_xid, w.t)
			AND NOT pg_visible_in_snapshot(ingest_xid, w.f)
		UNION ALL SELECT NULL, NULL) p;
INSERT INTO token_ledger.target (system_identifier, database_oid, name,
	window_from, window_to, last_xid, last_seq)
SELECT k.system_identifier, k.database_oid, c.n::text, c.window_from,
	c.window_to, c.last_xid, c.last_seq
FROM public.cursors c, token_ledger.cluster_key() k;
SELECT count(*) AS cursors, min(pending), max(pending),
	count(*) FILTER (WHERE pending <> expected) AS wrong
FROM (
	SELECT token_ledger.pending(t.id) AS pending, (
			SELECT count(*) FROM token_ledger.token_ledger_events e
			WHERE NOT pg_visible_in_snapshot(e.ingest_xid, t.window_from)
				AND (t.window_to IS NULL OR t.last_xid IS NULL
					OR NOT pg_visible_in_snapshot(e.ingest_xid, t.window_to)
					OR (e.ingest_xid, e.ingest_seq) > (t.last_xid, t.last_seq))
		) AS expected
	FROM token_ledger.target t) s;

-- Deleted, each event is counted by those targets that had not claimed it.
SELECT n, token_ledger.pending(t.id) AS pending, vanished INTO public.before
FROM public.cursors c JOIN token_ledger.target t ON t.name = c.n::text;
SET tokenledger.allow_ledger_edits = on;
DELETE FROM token_ledger.token_ledger_events WHERE model IN ('late 1', 'last');
DELETE FROM token_ledger.token_ledger_events;
SELECT count(*) AS cursors,
	count(*) FILTER (WHERE t.vanished - b.vanished <> b.pending) AS wrong
FROM public.before b JOIN token_ledger.target t ON t.name = b.n::text;
DROP TABLE public.cursors, public.before;
