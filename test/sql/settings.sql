-- Settings, and what can be asked of backends without any target.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
DROP ROLE IF EXISTS regress_tl_settings;
RESET client_min_messages;
LOAD 'tokenledger';

-- Every setting.  tokenledger.max_lanes is fixed at start where preloaded.
SELECT name, vartype, unit, context, min_val, max_val, boot_val
FROM pg_settings
WHERE name LIKE 'tokenledger.%' AND name <> 'tokenledger.max_lanes'
ORDER BY name COLLATE "C";
SELECT name, vartype, unit, min_val, max_val, boot_val, context =
	CASE WHEN current_setting('shared_preload_libraries') ~ 'tokenledger'
	THEN 'postmaster' ELSE 'sighup' END AS context_right
FROM pg_settings WHERE name = 'tokenledger.max_lanes';

-- None is without a description, none lacks the category of extensions.
SELECT name FROM pg_settings
WHERE name LIKE 'tokenledger.%'
	AND (short_desc = '' OR category <> 'Customized Options');

-- A session changes none but the guard's.  (Texts differ between versions.)
\set VERBOSITY sqlstate
SET tokenledger.targets = 'a=null://';
SET tokenledger.databases = 'a';
SET tokenledger.lanes = 2;
SET tokenledger.allow_ledger_edits = on;
SHOW tokenledger.allow_ledger_edits;
RESET tokenledger.allow_ledger_edits;

-- Who may see and do what.
CREATE ROLE regress_tl_settings;
SET ROLE regress_tl_settings;
SHOW tokenledger.targets;
SELECT count(*) FROM pg_settings WHERE name = 'tokenledger.targets';
SET tokenledger.allow_ledger_edits = on;
SELECT * FROM token_ledger.configured_targets();
SELECT * FROM token_ledger.backends();
SELECT * FROM token_ledger.backend_options('null');
RESET ROLE;
DROP ROLE regress_tl_settings;

-- Numbers out of range are refused where they are written.
ALTER SYSTEM SET tokenledger.lanes = 0;
ALTER SYSTEM SET tokenledger.lanes = 65;
ALTER SYSTEM SET tokenledger.batch_bytes = '1GB';
ALTER SYSTEM SET tokenledger.timeout = '1us';
ALTER SYSTEM SET tokenledger.auto_migrate = 'perhaps';
\set VERBOSITY default

-- Backends that are always there, loaded on demand.
SELECT name, display_name IS NOT NULL AS has_display_name, library,
	recommended_batch_rows > 0 AS recommends, error
FROM token_ledger.backends()
WHERE name IN ('null', 'postgres', 'postgresql')
ORDER BY name COLLATE "C";

-- An alias is the same backend.
SELECT count(DISTINCT b - 'name' - 'library') AS different
FROM token_ledger.backends() AS backends
CROSS JOIN LATERAL to_jsonb(backends) AS b
WHERE name IN ('postgres', 'postgresql');

-- The core's options, which every backend has.
SELECT option, type, required, secret, destination, min, max, allowed
FROM token_ledger.backend_options('null')
WHERE option IN ('lanes', 'batch_rows', 'batch_bytes', 'max_event_bytes',
	'claim_rows', 'flush_interval', 'timeout', 'retry_min', 'retry_max',
	'auto_migrate', 'start', 'table')
ORDER BY option COLLATE "C";

-- Their defaults are the settings of the same name; their ranges too.
SELECT o.option
FROM token_ledger.backend_options('null') AS o
JOIN pg_settings AS s ON s.name = 'tokenledger.' || o.option
WHERE o.default_value <>
	s.setting || CASE WHEN s.vartype = 'integer' THEN coalesce(s.unit, '')
				ELSE '' END
	OR o.min <> s.min_val::bigint * CASE s.unit WHEN 'kB' THEN 1024 ELSE 1 END
	OR o.max <> s.max_val::bigint * CASE s.unit WHEN 'kB' THEN 1024 ELSE 1 END;

-- Every option of every backend is described, and secrets have no default.
SELECT b.name, o.option
FROM token_ledger.backends() AS b
CROSS JOIN LATERAL token_ledger.backend_options(b.name) AS o
WHERE b.error IS NULL AND b.name IN ('null', 'postgres')
	AND (coalesce(o.description, '') = ''
		OR (o.secret AND o.default_value IS NOT NULL)
		OR (o.secret AND o.description !~ 'given as'));
SELECT count(*) > 0 AS has_secrets
FROM token_ledger.backend_options('postgresql') WHERE secret;

-- Names that are none do not become paths.  (The hints list what there is.)
\set VERBOSITY terse
SELECT * FROM token_ledger.backend_options('nosuch');
SELECT * FROM token_ledger.backend_options('');
SELECT * FROM token_ledger.backend_options('../tokenledger_null');
SELECT * FROM token_ledger.backend_options('Null');
SELECT * FROM token_ledger.backend_options(repeat('x', 33));
\set VERBOSITY default
SELECT * FROM token_ledger.backend_options(NULL);

-- A failed look-up leaves the session as it was.
BEGIN;
SAVEPOINT s;
\set VERBOSITY terse
SELECT * FROM token_ledger.backend_options('nosuch');
ROLLBACK TO s;
SELECT count(*) > 0 AS works FROM token_ledger.backend_options('null');
COMMIT;
