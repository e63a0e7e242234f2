-- What a writer needs, and what nobody else gets.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

CREATE ROLE "regress_tokenledger Writer";
CREATE ROLE regress_tokenledger_plain;
CREATE ROLE regress_tokenledger_nobody;
CREATE ROLE regress_tokenledger_monitor IN ROLE pg_monitor;
SELECT token_ledger.grant_writer('"regress_tokenledger Writer"');

-- A writer inserts in every way that clients know.
SET SESSION AUTHORIZATION "regress_tokenledger Writer";
INSERT INTO token_ledger.token_ledger_events (provider, model, user_id, team)
VALUES ('p', 'plain', 'u', 't');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'conflict')
ON CONFLICT (event_id) DO NOTHING RETURNING event_id;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'conflict')
ON CONFLICT (event_id) DO NOTHING RETURNING event_id;
COPY token_ledger.token_ledger_events (provider, model, cached_tokens)
FROM stdin;
p	copy	1
\.
SELECT token_ledger.record('p', 'record', 1, 2, cost_center => 'c') IS NOT NULL
	AS recorded;

-- And that is all.
\set VERBOSITY terse
SELECT * FROM token_ledger.token_ledger_events;
SELECT model FROM token_ledger.token_ledger_events;
UPDATE token_ledger.token_ledger_events SET model = 'x';
DELETE FROM token_ledger.token_ledger_events;
TRUNCATE token_ledger.token_ledger_events;
INSERT INTO token_ledger.token_ledger_events (provider, model, ingest_seq)
OVERRIDING SYSTEM VALUE VALUES ('p', 'forged', -1);
SELECT * FROM token_ledger.status;
SELECT token_ledger.pause('x');
SELECT token_ledger.grant_writer('regress_tokenledger_nobody');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'x')
ON CONFLICT (event_id) DO UPDATE SET model = 'x';
RESET SESSION AUTHORIZATION;
SELECT model FROM token_ledger.token_ledger_events ORDER BY ingest_seq;

-- A plain GRANT INSERT is enough as well.
GRANT USAGE ON SCHEMA token_ledger TO regress_tokenledger_plain;
GRANT INSERT ON token_ledger.token_ledger_events TO regress_tokenledger_plain;
SET SESSION AUTHORIZATION regress_tokenledger_plain;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'granted');
RESET SESSION AUTHORIZATION;

-- Others see nothing; members of pg_monitor see how it goes.
SET SESSION AUTHORIZATION regress_tokenledger_nobody;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'x');
SELECT * FROM token_ledger.status;
RESET SESSION AUTHORIZATION;
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'a' FROM token_ledger.cluster_key();
SET SESSION AUTHORIZATION regress_tokenledger_monitor;
SELECT target, state, pending FROM token_ledger.status WHERE target = 'a';
SELECT count(*) >= 0 AS lanes FROM token_ledger.lanes;
SELECT target, ledger, pending, difference FROM token_ledger.accounting
WHERE target = 'a';
SELECT * FROM token_ledger.token_ledger_events;
SELECT * FROM token_ledger.target;
SELECT token_ledger.resume('a');
RESET SESSION AUTHORIZATION;

-- What PUBLIC may do.
SELECT p.oid::regprocedure AS public_may_execute
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
		AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension x ON x.oid = d.refobjid
WHERE x.extname = 'tokenledger'
	AND (p.proacl IS NULL OR EXISTS (
		SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
ORDER BY p.proname COLLATE "C";
SELECT c.relname AS public_may_use
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'token_ledger'::regnamespace AND a.grantee = 0;
SELECT count(*) AS public_may_use_schema
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname = 'token_ledger' AND a.grantee = 0;

-- Functions run with the search_path of their own, unless they are in C.
SELECT p.oid::regprocedure AS without_search_path
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'token_ledger'::regnamespace AND l.lanname <> 'c'
	AND NOT coalesce(p.proconfig, '{}')
		@> '{"search_path=pg_catalog, pg_temp"}';

-- Users' grants survive an update of the extension and are part of dumps: the
-- script's own are recorded in pg_init_privs, theirs are not.
ALTER EXTENSION tokenledger UPDATE TO '1.0';
ALTER EXTENSION tokenledger UPDATE TO '1.3';
SET SESSION AUTHORIZATION "regress_tokenledger Writer";
INSERT INTO token_ledger.token_ledger_events (provider, model, cached_tokens,
	feature, page, component, team, project, cost_center, metadata_extra)
VALUES ('p', 'updated', 1, 'f', 'p', 'c', 't', 'p', 'c', '{}');
SELECT token_ledger.record('p', 'updated', team => 't') IS NOT NULL AS recorded;
RESET SESSION AUTHORIZATION;
SELECT i.classoid::regclass, count(*) AS users_grants_in_init_privs
FROM pg_init_privs i, aclexplode(i.initprivs) a
WHERE a.grantee::regrole::text LIKE '%regress_tokenledger%'
GROUP BY 1;

SET client_min_messages = warning;
DROP OWNED BY "regress_tokenledger Writer", regress_tokenledger_plain;
DROP ROLE "regress_tokenledger Writer";
DROP ROLE regress_tokenledger_plain;
DROP ROLE regress_tokenledger_nobody;
DROP ROLE regress_tokenledger_monitor;

-- Who is not a role, or nobody.
SELECT token_ledger.grant_writer('regress_tokenledger_missing');
SELECT token_ledger.grant_writer(NULL);
