-- Versions: installed afresh, updated at once or step by step, taken down and
-- up again.  Every way leads to the same catalogs.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
RESET client_min_messages;

-- Everything there is to know about the extension, one line a fact.  Columns
-- are numbered by their order: a dropped column leaves a gap in attnum.
CREATE FUNCTION public.facts(attnums boolean)
RETURNS TABLE (fact text) LANGUAGE sql AS $$
	WITH members AS (
		SELECT d.classid, d.objid
		FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			AND x.extname = 'tokenledger'
	), tables AS (
		SELECT c.* FROM pg_class c JOIN members m ON m.objid = c.oid
		WHERE m.classid = 'pg_class'::regclass
	)
	SELECT 'member ' || pg_describe_object(classid, objid, 0) FROM members
	UNION ALL
	SELECT format('comment %s %s: %s',
		pg_describe_object(d.classoid, d.objoid, 0), a.attname, d.description)
	FROM pg_description d JOIN members m
			ON m.classid = d.classoid AND m.objid = d.objoid
		LEFT JOIN pg_attribute a ON d.classoid = 'pg_class'::regclass
			AND a.attrelid = d.objoid AND a.attnum = d.objsubid
			AND d.objsubid > 0
	UNION ALL
	SELECT format('table %s %s %s %s', relname, relkind, relacl, reloptions)
	FROM tables
	UNION ALL
	SELECT format('column %s.%s %s %s %s %s %s %s %s %s', t.relname,
		CASE WHEN attnums THEN a.attnum
			ELSE row_number() OVER (PARTITION BY t.oid ORDER BY a.attnum) END,
		a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
		a.attidentity, a.attgenerated, a.attacl, a.attstorage,
		pg_get_expr(d.adbin, d.adrelid))
	FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid
		LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
	WHERE a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(c.oid)
	FROM pg_constraint c JOIN tables t ON t.oid = c.conrelid
	UNION ALL
	SELECT format('index %s %s %s', pg_get_indexdef(i.indexrelid),
		i.indisvalid, obj_description(i.indexrelid, 'pg_class'))
	FROM pg_index i JOIN tables t ON t.oid = i.indrelid
	UNION ALL
	SELECT format('trigger %s %s', pg_get_triggerdef(g.oid), g.tgenabled)
	FROM pg_trigger g JOIN tables t ON t.oid = g.tgrelid
	WHERE NOT g.tgisinternal
	UNION ALL
	SELECT 'view ' || relname || pg_get_viewdef(oid) FROM tables
	WHERE relkind = 'v'
	UNION ALL
	SELECT format('function %s %s', pg_get_functiondef(p.oid), p.proacl)
	FROM pg_proc p JOIN members m ON m.objid = p.oid
	WHERE m.classid = 'pg_proc'::regclass
	UNION ALL
	SELECT format('configuration %s %s', u.oid::regclass, u.condition)
	FROM pg_extension x, unnest(x.extconfig, x.extcondition) u (oid, condition)
	WHERE x.extname = 'tokenledger'
	UNION ALL
	SELECT format('initial privileges %s %s',
		pg_describe_object(i.classoid, i.objoid, i.objsubid), i.initprivs)
	FROM pg_init_privs i JOIN members m
		ON m.classid = i.classoid AND m.objid = i.objoid
	UNION ALL
	SELECT 'schema ' || nspacl::text FROM pg_namespace
	WHERE nspname = 'token_ledger'
	UNION ALL
	SELECT 'revision ' || query_to_xml(
		'SELECT * FROM token_ledger.alembic_version', true, true, '')::text
$$;
CREATE TABLE public.truth (version text, attnums boolean, fact text);
CREATE FUNCTION public.keep(version text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.truth
	SELECT version, n, fact
	FROM unnest('{true,false}'::boolean[]) n, public.facts(n)
$$;
CREATE FUNCTION public.differences(version text, attnums boolean)
RETURNS TABLE (where_found text, fact text) LANGUAGE sql AS $$
	WITH expected AS (
		SELECT t.fact FROM public.truth t
		WHERE t.version = differences.version
			AND t.attnums = differences.attnums
	), found AS (SELECT f.fact FROM public.facts(attnums) f)
	(SELECT 'expected', * FROM expected EXCEPT SELECT 'expected', * FROM found)
	UNION ALL
	(SELECT 'found', * FROM found EXCEPT SELECT 'found', * FROM expected)
$$;

-- The newest is what is installed by default.
SELECT default_version, installed_version FROM pg_available_extensions
WHERE name = 'tokenledger';
SELECT version, superuser, trusted, relocatable, schema
FROM pg_available_extension_versions
WHERE name = 'tokenledger' ORDER BY version COLLATE "C";

-- Each version afresh.
SET client_min_messages = warning;
CREATE EXTENSION tokenledger VERSION '1.0';
SELECT public.keep('1.0') \g /dev/null
DROP EXTENSION tokenledger;
CREATE EXTENSION tokenledger VERSION '1.1';
SELECT public.keep('1.1') \g /dev/null
DROP EXTENSION tokenledger;
CREATE EXTENSION tokenledger VERSION '1.2';
SELECT public.keep('1.2') \g /dev/null
DROP EXTENSION tokenledger;
CREATE EXTENSION tokenledger;
SELECT public.keep('1.3') \g /dev/null
DROP EXTENSION tokenledger;
RESET client_min_messages;
SELECT version, count(*) > 500 AS facts FROM public.truth WHERE attnums
GROUP BY version ORDER BY version;

-- What each version adds.
SELECT * FROM (
	SELECT min(version) AS version, regexp_replace(fact, ' USING.*', '') AS fact
	FROM public.truth
	WHERE attnums AND fact ~ '^(column|index|member view)'
	GROUP BY 2) s
WHERE version > '1.0'
ORDER BY version, fact COLLATE "C";

-- Updated at once, and step by step.
CREATE EXTENSION tokenledger VERSION '1.0';
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'of 1.0');
ALTER EXTENSION tokenledger UPDATE;
SELECT * FROM public.differences('1.3', true);
SELECT model, cached_tokens, feature FROM token_ledger.token_ledger_events;
SET client_min_messages = warning;
DROP EXTENSION tokenledger;
RESET client_min_messages;
CREATE EXTENSION tokenledger VERSION '1.0';
SELECT * FROM public.differences('1.0', true);
ALTER EXTENSION tokenledger UPDATE TO '1.1';
SELECT * FROM public.differences('1.1', true);
ALTER EXTENSION tokenledger UPDATE TO '1.2';
SELECT * FROM public.differences('1.2', true);
ALTER EXTENSION tokenledger UPDATE TO '1.3';
SELECT * FROM public.differences('1.3', true);

-- Down, with nothing to lose: no word.  And up.
ALTER EXTENSION tokenledger UPDATE TO '1.2';
SELECT * FROM public.differences('1.2', false);
ALTER EXTENSION tokenledger UPDATE TO '1.1';
SELECT * FROM public.differences('1.1', false);
ALTER EXTENSION tokenledger UPDATE TO '1.0';
SELECT * FROM public.differences('1.0', false);
ALTER EXTENSION tokenledger UPDATE TO '1.3';
SELECT * FROM public.differences('1.3', false);

-- Down, with values to lose: their number first.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	cached_tokens, team, project, metadata_extra)
VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'm', 0, NULL, NULL, NULL),
	('00000000-0000-0000-0000-000000000002', 'p', 'm', 7, 't', NULL, NULL),
	('00000000-0000-0000-0000-000000000003', 'p', 'm', NULL, 't', 'p', '{}');
ALTER EXTENSION tokenledger UPDATE TO '1.0';
ALTER EXTENSION tokenledger UPDATE TO '1.3';
SELECT event_id, cached_tokens, team, project, metadata_extra
FROM token_ledger.token_ledger_events ORDER BY event_id;

\set SHOW_CONTEXT never
-- The large index may have been built beforehand, but has to be the right one.
ALTER EXTENSION tokenledger UPDATE TO '1.1';
CREATE INDEX idx_token_ledger_dashboard
	ON token_ledger.token_ledger_events ("timestamp");
ALTER EXTENSION tokenledger UPDATE TO '1.3';
DROP INDEX token_ledger.idx_token_ledger_dashboard;
CREATE INDEX CONCURRENTLY idx_token_ledger_dashboard
	ON token_ledger.token_ledger_events
	("timestamp" DESC, "left"(model, 256), "left"(user_id, 256))
	INCLUDE (cost_usd, total_tokens);
SELECT pg_relation_filenode('token_ledger.idx_token_ledger_dashboard') AS file
\gset
ALTER EXTENSION tokenledger UPDATE TO '1.3';
SELECT pg_relation_filenode('token_ledger.idx_token_ledger_dashboard') = :file
	AS kept;
SELECT * FROM public.differences('1.3', false);

-- The comparison sees a difference.
COMMENT ON COLUMN token_ledger.target.name IS 'another';
SELECT * FROM public.differences('1.3', false) ORDER BY 1;

DROP FUNCTION public.facts, public.keep, public.differences;
DROP TABLE public.truth;
