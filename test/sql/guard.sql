-- The ledger is append-only, whoever asks and by whatever statement.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	total_tokens, cost_usd, "timestamp")
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'm', 10, 0.5,
		'2026-01-01 10:59:59.999999+00'),
	('00000000-0000-0000-0000-000000000002', 'p', 'm', 20, 'NaN',
		'2026-01-01 11:00+00'),
	('00000000-0000-0000-0000-000000000003', 'p', 'm', 30, NULL,
		'2026-01-01 11:59+00'),
	('00000000-0000-0000-0000-000000000004', 'p', 'm', 9223372036854775807,
		1, 'infinity'),
	('00000000-0000-0000-0000-000000000005', 'p', 'm', 9223372036854775807,
		1, 'infinity');

-- Refused.
UPDATE token_ledger.token_ledger_events SET model = 'x';
DELETE FROM token_ledger.token_ledger_events;
TRUNCATE token_ledger.token_ledger_events;
\set VERBOSITY sqlstate
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'x')
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;

-- Also in the role of a replica, where other triggers do not fire.
SET session_replication_role = replica;
UPDATE token_ledger.token_ledger_events SET model = 'x';
DELETE FROM token_ledger.token_ledger_events;
TRUNCATE token_ledger.token_ledger_events;
RESET session_replication_role;
\set VERBOSITY default

-- What changes nothing is not refused.
UPDATE token_ledger.token_ledger_events SET model = 'x' WHERE false;
DELETE FROM token_ledger.token_ledger_events WHERE false;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp")
VALUES ('00000000-0000-0000-0000-000000000006', 'p', 'upsert',
	'2026-01-01 13:00+00')
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000006', 'p', 'upsert')
ON CONFLICT (event_id) DO UPDATE SET model = 'x' WHERE false;
SELECT count(*), count(*) FILTER (WHERE model = 'x') AS changed
FROM token_ledger.token_ledger_events;
TABLE token_ledger.retired;

-- A user who may delete may still not switch the guard off: neither with the
-- setting, nor with a variable of its name from before the library is loaded.
CREATE ROLE regress_tokenledger_editor;
GRANT USAGE ON SCHEMA token_ledger TO regress_tokenledger_editor;
GRANT SELECT, UPDATE, DELETE, TRUNCATE ON token_ledger.token_ledger_events
	TO regress_tokenledger_editor;
SET ROLE regress_tokenledger_editor;
SET tokenledger.allow_ledger_edits = on;
DELETE FROM token_ledger.token_ledger_events;
\c -
SET SESSION AUTHORIZATION regress_tokenledger_editor;
SET client_min_messages = error;
DO $$
BEGIN
	PERFORM set_config('tokenledger.allow_ledger_edits', 'on', false);
EXCEPTION WHEN insufficient_privilege THEN
	NULL;						-- the library was preloaded
END
$$;
\set VERBOSITY sqlstate
DELETE FROM token_ledger.token_ledger_events;
UPDATE token_ledger.token_ledger_events SET model = 'x';
TRUNCATE token_ledger.token_ledger_events;
SHOW tokenledger.allow_ledger_edits;
\c -
\set VERBOSITY default

-- The owner of a transaction that has to change the ledger is a superuser,
-- and what it removes is counted, by hour (UTC), without NaN.
SET timezone = 'Asia/Kolkata';
BEGIN;
SET LOCAL tokenledger.allow_ledger_edits = on;
UPDATE token_ledger.token_ledger_events SET model = 'edited';
SELECT count(*) AS retired FROM token_ledger.retired;
DELETE FROM token_ledger.token_ledger_events
WHERE event_id::text < '00000000-0000-0000-0000-000000000003';
DELETE FROM token_ledger.token_ledger_events
WHERE event_id::text > '00000000-0000-0000-0000-000000000002'
	AND model = 'edited';
COMMIT;
SET timezone = 'UTC';
SELECT * FROM token_ledger.retired ORDER BY hour;
DELETE FROM token_ledger.token_ledger_events;

-- A role that an administrator lets edit needs no right to the counters.
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp")
VALUES ('p', 'm', '2026-01-01 10:00+00'), ('p', 'm', '2026-01-01 10:30+00');
SET tokenledger.allow_ledger_edits = on;
SET ROLE regress_tokenledger_editor;
DELETE FROM token_ledger.token_ledger_events
WHERE "timestamp" = '2026-01-01 10:00+00';
TRUNCATE token_ledger.token_ledger_events;
RESET ROLE;
SELECT * FROM token_ledger.retired ORDER BY hour;

-- Events that were never committed are nobody's loss.  Nor is what a
-- transaction takes back.
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'never committed');
DELETE FROM token_ledger.token_ledger_events;
COMMIT;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp")
VALUES ('00000000-0000-0000-0000-000000000007', 'p', 'm',
	'2026-01-01 12:00+00');
BEGIN;
DELETE FROM token_ledger.token_ledger_events;
ROLLBACK;
SELECT * FROM token_ledger.retired ORDER BY hour;

-- An upsert gives an event another place in the queue: the old one retires.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000007', 'p', 'upsert')
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;
SELECT * FROM token_ledger.retired ORDER BY hour;
SELECT model, total_tokens FROM token_ledger.token_ledger_events;

DROP OWNED BY regress_tokenledger_editor;
DROP ROLE regress_tokenledger_editor;
