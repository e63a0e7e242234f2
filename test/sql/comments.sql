-- Every object of the extension has a comment, and every column of its tables
-- and views.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

CREATE VIEW public.uncommented AS
	SELECT pg_describe_object(d.classid, d.objid, 0) AS object
	FROM pg_depend d
		JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass
			AND x.oid = d.refobjid
	WHERE x.extname = 'tokenledger' AND d.deptype = 'e'
		AND d.classid <> 'pg_type'::regclass
		AND obj_description(d.objid, d.classid::regclass::name) IS NULL
	UNION ALL
	SELECT pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum)
	FROM pg_depend d
		JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass
			AND x.oid = d.refobjid
		JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
			AND NOT a.attisdropped
	WHERE x.extname = 'tokenledger' AND d.deptype = 'e'
		AND c.relkind IN ('r', 'v')
		AND col_description(a.attrelid, a.attnum) IS NULL
	UNION ALL
	SELECT pg_describe_object('pg_trigger'::regclass, t.oid, 0)
	FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'token_ledger'::regnamespace AND NOT t.tgisinternal
		AND obj_description(t.oid, 'pg_trigger') IS NULL
	UNION ALL
	SELECT pg_describe_object('pg_class'::regclass, i.indexrelid, 0)
	FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
	WHERE c.relnamespace = 'token_ledger'::regnamespace
		AND obj_description(i.indexrelid, 'pg_class') IS NULL
		AND NOT EXISTS (SELECT FROM pg_constraint n
			WHERE n.conindid = i.indexrelid)
	UNION ALL
	SELECT 'extension' WHERE NOT EXISTS (
		SELECT FROM pg_extension x
		WHERE x.extname = 'tokenledger'
			AND obj_description(x.oid, 'pg_extension') IS NOT NULL);
SELECT * FROM public.uncommented ORDER BY object COLLATE "C";
ALTER EXTENSION tokenledger UPDATE TO '1.2';
SELECT * FROM public.uncommented ORDER BY object COLLATE "C";
ALTER EXTENSION tokenledger UPDATE TO '1.1';
SELECT * FROM public.uncommented ORDER BY object COLLATE "C";
ALTER EXTENSION tokenledger UPDATE TO '1.0';
SELECT * FROM public.uncommented ORDER BY object COLLATE "C";
ALTER EXTENSION tokenledger UPDATE TO '1.3';

-- The check itself sees what lacks one.
BEGIN;
COMMENT ON COLUMN token_ledger.status.lag_seconds IS NULL;
COMMENT ON FUNCTION token_ledger.wake() IS NULL;
COMMENT ON TRIGGER wake_lanes ON token_ledger.token_ledger_events IS NULL;
SELECT * FROM public.uncommented ORDER BY object COLLATE "C";
ROLLBACK;
DROP VIEW public.uncommented;
