-- What may be replayed and reconciled, and by whom; what lanes make of it are
-- test/t/049_replay.pl and 054_reconcile.pl.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;
\set SHOW_CONTEXT never

INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'here' FROM token_ledger.cluster_key();

SELECT token_ledger.replay('here', '2026-01-01 00:00Z', '2026-01-02 00:00Z');
SELECT token_ledger.replay('here', NULL, NULL, 100);
SELECT token_ledger.replay('here', 'infinity', '-infinity');
SET timezone = 'UTC';
SELECT token_ledger.replay('here', '2026-01-01', '2026-01-01');
SELECT token_ledger.replay('here', NULL, NULL, 0);
UPDATE token_ledger.target SET state = 'stopped' WHERE name = 'here';
SELECT token_ledger.replay('here', NULL, NULL);
SELECT token_ledger.reconcile('here', NULL, NULL);
UPDATE token_ledger.target SET state = 'running' WHERE name = 'here';
SELECT token_ledger.reconcile('here', '2026-01-01', '2026-01-01');
SELECT token_ledger.reconcile('here', '2026-01-01', NULL, true);
SELECT token_ledger.reconcile('here', NULL, NULL, NULL);
SELECT target, kind, from_time, to_time, rate, requeue, state, done, total, sent, refused
FROM token_ledger.jobs ORDER BY id;

-- What a job has still to send is forgotten with it, but for a part that may
-- have been sent.
INSERT INTO token_ledger.job_event
SELECT 1, x::text::xid8, s FROM generate_series(10, 12) x,
	generate_series(1, 2) s;
INSERT INTO token_ledger.job_event VALUES (2, '10', 1);
INSERT INTO token_ledger.lane (target_id, lane, source, source_id,
	part_xid, part_seq)
SELECT id, 0, 'job', 1, '11', 1 FROM token_ledger.target WHERE name = 'here';
SELECT token_ledger.cancel_job(1);
SELECT * FROM token_ledger.job_event ORDER BY job_id, xid::text, seq;
DELETE FROM token_ledger.target WHERE name = 'here';
SELECT count(*) FROM token_ledger.job_event;

-- What was found goes with its job.
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'here' FROM token_ledger.cluster_key();
SELECT token_ledger.reconcile('here', NULL, NULL) AS job \gset
INSERT INTO token_ledger.reconcile_hour (job_id, hour, ledger_events,
	store_events, ledger_tokens, store_tokens, ledger_cost, store_cost, missing,
	extra, different, doubled)
VALUES (:job, '2026-01-01 00:00Z', 2, 1, 20, 10, 0.2, 0.1, 1, 0, 0, 0);
INSERT INTO token_ledger.reconcile_event VALUES (:job, '2026-01-01 00:00Z',
	'missing', '00000000-0000-0000-0000-000000000001', 10, NULL, 0.1, NULL);
SELECT target, hour, missing, extra, retired FROM token_ledger.reconcile_hours;
SELECT target, hour, kind, event_id, ledger_tokens, store_tokens
FROM token_ledger.reconcile_findings;

-- Not for everybody.
CREATE ROLE regress_tokenledger_replay;
GRANT USAGE ON SCHEMA token_ledger TO regress_tokenledger_replay;
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_tokenledger_replay;
SELECT token_ledger.replay('here', NULL, NULL);
SELECT token_ledger.drop_job_events(1);
SELECT * FROM token_ledger.job_event;
SELECT token_ledger.reconcile('here', NULL, NULL);
SELECT * FROM token_ledger.reconcile_findings;
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_tokenledger_watcher IN ROLE pg_monitor;
SET SESSION AUTHORIZATION regress_tokenledger_watcher;
SELECT missing FROM token_ledger.reconcile_hours;
SELECT * FROM token_ledger.reconcile_findings;
RESET SESSION AUTHORIZATION;
DELETE FROM token_ledger.target WHERE name = 'here';
SELECT (SELECT count(*) FROM token_ledger.reconcile_hour) AS hours,
	(SELECT count(*) FROM token_ledger.reconcile_event) AS events;
DROP ROLE regress_tokenledger_watcher;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_tokenledger_replay;
DROP ROLE regress_tokenledger_replay;
