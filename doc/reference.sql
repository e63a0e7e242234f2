-- Writes what doc/reference.md has between its markers, from the catalog of a
-- database with the extension:
--
--	doc/update_reference DATABASE
--
-- runs it and puts the text there; test/t/091_reference.pl compares the two.
-- A function that is in neither list below is shown as one of the extension's
-- own.

\set ON_ERROR_STOP on
SET search_path = pg_catalog, pg_temp;
SET client_min_messages = warning;

CREATE FUNCTION pg_temp.cell(text) RETURNS text LANGUAGE sql
RETURN replace(coalesce($1, ''), '|', '\|');

CREATE FUNCTION pg_temp.code(text) RETURNS text LANGUAGE sql
RETURN CASE WHEN $1 <> '' THEN '`' || replace($1, '|', '\|') || '`' ELSE '' END;

CREATE TABLE pg_temp.shown (ordinal serial, kind text, name text);
INSERT INTO pg_temp.shown (kind, name) VALUES
	('write', 'record'), ('write', 'grant_writer'),
	('ask', 'flush'), ('ask', 'pause'), ('ask', 'resume'), ('ask', 'adopt'),
	('ask', 'retarget'), ('ask', 'rename_target'),
	('ask', 'wake'), ('ask', 'create_schema'), ('ask', 'migrate'),
	('ask', 'rollback'), ('ask', 'replay'), ('ask', 'reconcile'),
	('ask', 'requeue'), ('ask', 'discard'), ('ask', 'wait_for_job'),
	('ask', 'cancel_job'),
	('look', 'health_check'), ('look', 'connection_info'), ('look', 'routing'),
	('look', 'schema_version'), ('look', 'available_migrations'),
	('look', 'backends'), ('look', 'backend_options');

CREATE VIEW pg_temp.functions AS
	SELECT p.oid, p.proname AS name, s.kind, s.ordinal, a.arguments, a.columns,
		CASE WHEN a.columns IS NULL THEN format_type(p.prorettype, NULL) END
			AS result,
		p.proretset, obj_description(p.oid, 'pg_proc') AS comment,
		(SELECT string_agg(CASE WHEN x.grantee = 0 THEN 'PUBLIC'
				ELSE x.grantee::regrole::text END, ', ' ORDER BY x.grantee)
			FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
			WHERE x.grantee <> p.proowner) AS granted
	FROM pg_proc p
		LEFT JOIN pg_temp.shown s ON s.name = p.proname
		CROSS JOIN LATERAL (
			SELECT string_agg(concat_ws(' ', quote_ident(n.name),
					format_type(t.type, NULL),
					'DEFAULT ' || CASE WHEN coalesce(m.mode, 'i') IN ('i', 'b')
						THEN regexp_replace(pg_get_function_arg_default(p.oid,
							t.i::int), '::[a-z ]+$', '') END),
					', ' ORDER BY t.i)
					FILTER (WHERE coalesce(m.mode, 'i') IN ('i', 'b')) AS arguments,
				string_agg(quote_ident(n.name) || ' '
					|| format_type(t.type, NULL), ', '
					ORDER BY t.i)
					FILTER (WHERE m.mode IN ('o', 'b')) AS columns
			FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]))
					WITH ORDINALITY t (type, i)
				LEFT JOIN unnest(p.proargmodes) WITH ORDINALITY m (mode, i)
					USING (i)
				LEFT JOIN unnest(p.proargnames) WITH ORDINALITY n (name, i)
					USING (i)) a
	WHERE p.pronamespace = 'token_ledger'::regnamespace;

-- What would be too wide for a line gets a line for each element.
CREATE FUNCTION pg_temp.list(before text, list text, after text) RETURNS text
LANGUAGE sql
RETURN CASE WHEN length(concat(before, list, after)) > 76
	THEN concat(before, E'\n\t', replace(list, ', ', E',\n\t'), after)
	WHEN before LIKE '%(' THEN concat(before, list, after)
	ELSE concat_ws(' ', before, list) END;

CREATE FUNCTION pg_temp.put_functions(text) RETURNS SETOF text LANGUAGE sql
AS $$
	SELECT format(E'#### `%s`\n\n```\n%s\n%s\n```\n\n%s\n', name,
		pg_temp.list(name || '(', arguments, ')'),
		pg_temp.list(CASE WHEN proretset THEN '  returns rows of'
				WHEN columns IS NOT NULL THEN '  returns'
				WHEN result = 'void' THEN '  returns nothing'
				ELSE '  returns ' || result END,
			columns, ''),
		comment || coalesce(' May be called by ' || granted || '.', ''))
	FROM pg_temp.functions WHERE kind = $1 ORDER BY ordinal
$$;

CREATE FUNCTION pg_temp.put_columns(regclass) RETURNS SETOF text LANGUAGE sql
AS $$
	SELECT format(E'#### `%s`\n\n%s\n\n| column | type | meaning |\n|---|---|---|\n%s\n',
		$1, obj_description($1, 'pg_class'), string_agg(
			format('| %s | %s | %s |', pg_temp.code(a.attname),
				format_type(a.atttypid, a.atttypmod)
				|| CASE WHEN a.attnotnull THEN ', not null' ELSE '' END
				|| CASE WHEN a.attidentity <> '' THEN ', identity'
					WHEN a.attgenerated <> '' THEN ', generated'
					WHEN d.adbin IS NOT NULL THEN ', default '
						|| pg_temp.code(pg_get_expr(d.adbin, d.adrelid))
					ELSE '' END,
				pg_temp.cell(col_description($1, a.attnum))), E'\n'
			ORDER BY a.attnum))
	FROM pg_attribute a
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- Numbers of milliseconds and bytes as a user would write them.
CREATE FUNCTION pg_temp.quantity(value bigint, type text) RETURNS text
LANGUAGE sql
RETURN CASE
	WHEN type = 'time' AND value > 0 AND value % 86400000 = 0
		THEN value / 86400000 || 'd'
	WHEN type = 'time' AND value > 0 AND value % 3600000 = 0
		THEN value / 3600000 || 'h'
	WHEN type = 'time' AND value > 0 AND value % 60000 = 0
		THEN value / 60000 || 'min'
	WHEN type = 'time' AND value > 0 AND value % 1000 = 0
		THEN value / 1000 || 's'
	WHEN type = 'time' AND value > 0 THEN value || 'ms'
	WHEN type = 'size' AND value % 1048576 = 0 THEN value / 1048576 || 'MB'
	WHEN type = 'size' AND value % 1024 = 0 THEN value / 1024 || 'kB'
	ELSE value::text END;

CREATE FUNCTION pg_temp.put_options(backend text, wanted text[], others boolean)
RETURNS SETOF text LANGUAGE sql
AS $$
	SELECT E'| option | type | default | limits | meaning |\n|---|---|---|---|---|'
	UNION ALL
	(SELECT format('| %s | %s | %s | %s | %s |',
		CASE WHEN o.secret THEN format('`%1$s_file`, `%1$s_env`', o.option)
			ELSE pg_temp.code(o.option) END,
		o.type, pg_temp.code(o.default_value),
		CASE WHEN o.allowed IS NOT NULL THEN array_to_string(o.allowed, ', ')
			WHEN o.max IS NOT NULL THEN pg_temp.quantity(o.min, o.type)
				|| ' to ' || pg_temp.quantity(o.max, o.type)
			ELSE '' END,
		pg_temp.cell(o.description)
			|| CASE WHEN o.destination THEN ' (part of the destination)'
				ELSE '' END)
	FROM token_ledger.backend_options(backend) WITH ORDINALITY
		o (option, type, required, secret, destination, default_value, min,
			max, allowed, description, i)
	WHERE (o.option = ANY (wanted)) <> others
	ORDER BY o.i)
$$;

SELECT array_agg(option) AS core
FROM token_ledger.backend_options('null') WHERE option <> 'delay' \gset

\echo '## Functions\n'
\echo 'All are in the schema `token_ledger`. Where nothing else is said, only the'
\echo 'extension''s owner may call them: GRANT EXECUTE to whoever shall. `flush()` and'
\echo '`create_schema()` work with the caller''s own rights on the extension''s tables.\n'
\echo '### To write events\n'
SELECT pg_temp.put_functions('write');
\echo '### To ask something of forwarding\n'
SELECT pg_temp.put_functions('ask');
\echo '### To look\n'
SELECT pg_temp.put_functions('look');

\echo '## Views\n'
SELECT pg_temp.put_columns(c.oid)
FROM pg_class c
WHERE c.relnamespace = 'token_ledger'::regnamespace AND c.relkind = 'v'
ORDER BY array_position('{status,lanes,jobs,accounting}', c.relname::text),
	c.relname COLLATE "C";

\echo '## Tables\n'
SELECT pg_temp.put_columns(c.oid)
FROM pg_class c
WHERE c.relnamespace = 'token_ledger'::regnamespace AND c.relkind = 'r'
	AND c.relname IN ('token_ledger_events', 'dead_letter', 'retired')
ORDER BY array_position('{token_ledger_events,dead_letter,retired}',
	c.relname::text);

\echo '## Options of a target''s URL\n'
\echo '### With every backend\n'
SELECT pg_temp.put_options('null', :'core', false);
\echo '\n### With `postgres` and `postgresql`\n'
\echo '`table` is described above.\n'
SELECT pg_temp.put_options('postgres', :'core', true);
\echo '\n### With `null`\n'
SELECT pg_temp.put_options('null', :'core', true);

\echo '\n## The extension''s own\n'
\echo 'For the views, the triggers, the lanes and the update scripts. Do not rely on them.\n'
\echo '| function or table | meaning |\n|---|---|'
SELECT format('| `%s(%s)` | %s |', name, arguments, pg_temp.cell(comment
	|| coalesce(' May be called by ' || granted || '.', '')))
FROM pg_temp.functions WHERE kind IS NULL ORDER BY name COLLATE "C";
SELECT format('| `%s` | %s |', c.relname,
	pg_temp.cell(obj_description(c.oid, 'pg_class')))
FROM pg_class c
WHERE c.relnamespace = 'token_ledger'::regnamespace AND c.relkind = 'r'
	AND c.relname NOT IN ('token_ledger_events', 'dead_letter', 'retired')
ORDER BY c.relname COLLATE "C";
