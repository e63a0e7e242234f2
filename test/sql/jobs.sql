-- Jobs as SQL sees them; what lanes make of them is test/t/046_schema.pl.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;
\set SHOW_CONTEXT never

-- One target of this database, one of another that this is a copy of.
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'here' FROM token_ledger.cluster_key();
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
VALUES (1, 1, 'there');

-- What the functions that request jobs have in common.
SELECT token_ledger.request_job('here', 'migrate', 102);
SELECT token_ledger.request_job('here', 'rollback', 101);
SELECT token_ledger.request_job('here', 'migrate', NULL);
SELECT token_ledger.request_job('there', 'migrate', NULL);
\set VERBOSITY terse
SELECT token_ledger.request_job('here', 'dance', NULL);
\set VERBOSITY default
SELECT token_ledger.request_job('new', 'migrate', NULL) IS NOT NULL AS requested;
UPDATE token_ledger.target SET state = 'stopped' WHERE name = 'new';
SELECT token_ledger.request_job('new', 'migrate', NULL);
UPDATE token_ledger.target
SET state = 'suspended', last_error = 'a copy' WHERE name = 'new';
SELECT token_ledger.request_job('new', 'migrate', NULL);
DELETE FROM token_ledger.target WHERE name = 'new';

-- Nobody is at them, so they end at once.
INSERT INTO token_ledger.job (target_id, kind, state)
SELECT id, 'migrate', s
FROM token_ledger.target, unnest('{running,done,failed}'::text[]) s
WHERE name = 'here';
INSERT INTO token_ledger.job (target_id, kind)
SELECT id, 'migrate' FROM token_ledger.target WHERE name = 'there';
SELECT id, token_ledger.cancel_job(id) FROM token_ledger.jobs
WHERE state <> 'requested' ORDER BY id;
SELECT token_ledger.cancel_job(2);
SELECT token_ledger.cancel_job(2);
SELECT token_ledger.cancel_job(0);
SELECT token_ledger.cancel_job(NULL);
SELECT target, kind, version, state, done, total, requested_by = session_user
	AS mine, started_at, finished_at IS NOT NULL AS finished
FROM token_ledger.jobs ORDER BY id;
UPDATE token_ledger.job SET state = 'running', cancel_requested = true
WHERE id = 1;
SELECT state FROM token_ledger.jobs WHERE id = 1;
SELECT target, jobs FROM token_ledger.status ORDER BY 1;

-- Their end.
CALL token_ledger.wait_for_job(1, '0 s');
CALL token_ledger.wait_for_job(2, '0 s');
CALL token_ledger.wait_for_job(0);
CALL token_ledger.wait_for_job(NULL);
CALL token_ledger.wait_for_job(1, NULL);
UPDATE token_ledger.job SET state = 'done', message = 'as asked' WHERE id = 1;
CALL token_ledger.wait_for_job(1);
UPDATE token_ledger.job SET state = 'failed', error = 'no store' WHERE id = 1;
CALL token_ledger.wait_for_job(1);
BEGIN;
CALL token_ledger.wait_for_job(1);
ROLLBACK;
DO $$
DECLARE
	m text;
BEGIN
	CALL token_ledger.wait_for_job(1, message => m);
EXCEPTION WHEN external_routine_exception THEN
	NULL;
END
$$;
UPDATE token_ledger.job SET state = 'done' WHERE id = 1;
DO $$
DECLARE
	m text;
BEGIN
	CALL token_ledger.wait_for_job(1, message => m);
	RAISE NOTICE '%', m;
END
$$;
SELECT token_ledger.wait_for_job(1);

-- Not for everybody.
CREATE ROLE regress_tokenledger_jobs;
CREATE ROLE regress_tokenledger_reader IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA token_ledger TO regress_tokenledger_jobs;
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_tokenledger_jobs;
SELECT token_ledger.migrate('here');
SELECT token_ledger.rollback('here', 100);
SELECT token_ledger.schema_version('here');
SELECT * FROM token_ledger.available_migrations('here');
SELECT token_ledger.request_job('here', 'migrate', NULL);
SELECT token_ledger.cancel_job(1);
CALL token_ledger.wait_for_job(1);
SELECT * FROM token_ledger.jobs;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_tokenledger_reader;
SELECT count(*) > 0 AS may_see FROM token_ledger.jobs;
SELECT * FROM token_ledger.job;
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON PROCEDURE token_ledger.wait_for_job
	TO regress_tokenledger_jobs;
GRANT EXECUTE ON FUNCTION token_ledger.cancel_job TO regress_tokenledger_jobs;
SET SESSION AUTHORIZATION regress_tokenledger_jobs;
CALL token_ledger.wait_for_job(1);
SELECT current_user = 'regress_tokenledger_jobs' AS still;
SELECT token_ledger.cancel_job(3);
RESET SESSION AUTHORIZATION;
\set VERBOSITY default

-- A target takes them along.
DELETE FROM token_ledger.target WHERE name = 'here';
SELECT count(*) FROM token_ledger.jobs;
SELECT count(*) FROM token_ledger.job;

DROP OWNED BY regress_tokenledger_jobs;
DROP ROLE regress_tokenledger_jobs, regress_tokenledger_reader;
