-- The ledger as clients find it: columns, defaults, indexes, and values that
-- only a client could think of.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

-- Columns.
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull,
	attidentity, attgenerated,
	CASE WHEN attgenerated = '' THEN pg_get_expr(adbin, adrelid) END AS default
FROM pg_attribute
	LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'token_ledger.token_ledger_events'::regclass
	AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- Indexes: the eight names that a starting client would create are taken.
SELECT c.relname, i.indisunique AND i.indimmediate AS is_unique, a.amname,
	pg_get_expr(i.indpred, i.indrelid) AS predicate,
	(SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), ', ' ORDER BY k)
		FROM generate_series(1, i.indnatts) k) AS columns
FROM pg_index i
	JOIN pg_class c ON c.oid = i.indexrelid
	JOIN pg_am a ON a.oid = c.relam
WHERE i.indrelid = 'token_ledger.token_ledger_events'::regclass
ORDER BY c.relname COLLATE "C";
SET client_min_messages = warning;
CREATE INDEX IF NOT EXISTS idx_token_ledger_events_timestamp
	ON token_ledger.token_ledger_events ("timestamp" DESC);
CREATE INDEX IF NOT EXISTS idx_token_ledger_events_cost_center
	ON token_ledger.token_ledger_events (cost_center, "timestamp" DESC);
RESET client_min_messages;
SELECT count(*) AS indexes FROM pg_index
WHERE indrelid = 'token_ledger.token_ledger_events'::regclass;

-- Nothing that could make an insert fail.
SELECT conname, contype FROM pg_constraint
WHERE conrelid = 'token_ledger.token_ledger_events'::regclass
	AND contype <> 'n'
ORDER BY 1;
SELECT tgname, tgenabled,
	CASE WHEN tgtype & 1 <> 0 THEN 'row' ELSE 'statement' END AS level,
	CASE WHEN tgtype & 2 <> 0 THEN 'before' ELSE 'after' END AS time,
	concat_ws(' ', CASE WHEN tgtype & 4 <> 0 THEN 'insert' END,
		CASE WHEN tgtype & 8 <> 0 THEN 'delete' END,
		CASE WHEN tgtype & 16 <> 0 THEN 'update' END,
		CASE WHEN tgtype & 32 <> 0 THEN 'truncate' END) AS events
FROM pg_trigger
WHERE tgrelid = 'token_ledger.token_ledger_events'::regclass
	AND NOT tgisinternal
ORDER BY tgname;
SELECT relrowsecurity FROM pg_class
WHERE oid = 'token_ledger.token_ledger_events'::regclass;

-- Defaults.
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('openai', 'defaults');
SELECT event_id IS NOT NULL AS has_id, "timestamp" = now() AS is_now,
	input_tokens, output_tokens, total_tokens, cached_tokens, cost_usd,
	request_type, status, ingest_xid = pg_current_xact_id() AS own_xid
FROM token_ledger.token_ledger_events WHERE model = 'defaults';
COMMIT;

-- Every column.
INSERT INTO token_ledger.token_ledger_events (
	event_id, trace_id, span_id, parent_span_id, "timestamp", duration_ms,
	provider, model, input_tokens, output_tokens, total_tokens, cached_tokens,
	cost_usd, endpoint, request_type, user_id, session_id, organization_id,
	app_name, environment, status, error_type, error_message, metadata,
	request_preview, response_preview, feature, page, component, team,
	project, cost_center, metadata_extra)
VALUES ('00000000-0000-0000-0000-000000000001',
	'00000000-0000-0000-0000-000000000002',
	'00000000-0000-0000-0000-000000000003',
	'00000000-0000-0000-0000-000000000004', '2026-01-02 03:04:05.678901+00',
	12.5, 'openai', 'every column', 1, 2, 3, 4, 0.12345678, '/v1/chat',
	'chat', 'user', 'session', 'organization', 'app', 'production', 'error',
	'RateLimit', 'slow down', '{"a": [1, null]}', 'request', 'response',
	'feature', 'page', 'component', 'team', 'project', 'cost center', '{}');
SELECT (SELECT count(*) FROM jsonb_object_keys(jsonb_strip_nulls(j)) k
	WHERE k NOT LIKE 'ingest%') AS filled
FROM (SELECT to_jsonb(e) AS j FROM token_ledger.token_ledger_events e
	WHERE model = 'every column') s;

-- What clients send: explicit NULLs, negative and NaN costs, totals that do
-- not add up, empty strings, times anywhere, texts of any length.
INSERT INTO token_ledger.token_ledger_events (provider, model, cost_usd,
	input_tokens, output_tokens, total_tokens, cached_tokens, duration_ms,
	request_type, status, metadata, "timestamp")
VALUES
	('', 'odd', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, '-infinity'),
	('p', 'odd', -1.5, -1, -2, 7, 100, 'NaN', '', '', '[]', 'infinity'),
	('p', 'odd', 'NaN', 9223372036854775807, -9223372036854775808, 0, -1,
		'Infinity', 'x', 'x', 'null', '4713-01-01 00:00+00 BC'),
	('p', 'odd', 9999999999.99999999, 1, 1, 1, 2, -0.0, 'x', 'x', '"x"',
		'294276-12-31 23:59:59.999999+00');
SELECT provider, cost_usd, input_tokens, output_tokens, total_tokens,
	cached_tokens, duration_ms, request_type, status, metadata
FROM token_ledger.token_ledger_events WHERE model = 'odd'
ORDER BY ingest_seq;

-- Texts that no index could hold, and that do not compress.
INSERT INTO token_ledger.token_ledger_events (provider, model, user_id,
	session_id, organization_id, app_name, environment, endpoint,
	request_type, status, error_type, error_message, request_preview,
	response_preview, feature, page, component, team, project, cost_center)
SELECT t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t
FROM (SELECT string_agg(sha512(i::text::bytea)::text, '') AS t
	FROM generate_series(1, 100) i) s;
SELECT count(*) AS long_texts, min(length(user_id)) AS length
FROM token_ledger.token_ledger_events WHERE length(model) > 10000;

-- Clients send a batch again.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000001', 'openai', 'again'),
	('00000000-0000-0000-0000-000000000005', 'openai', 'again')
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id;
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES ('00000000-0000-0000-0000-000000000005', 'openai', 'again')
ON CONFLICT DO NOTHING
RETURNING event_id;

-- The place in the queue cannot be set.
INSERT INTO token_ledger.token_ledger_events (provider, model, ingest_xid)
VALUES ('p', 'forged', '3');
INSERT INTO token_ledger.token_ledger_events (provider, model, ingest_seq)
VALUES ('p', 'forged', 3);
COPY token_ledger.token_ledger_events (provider, model, ingest_xid)
FROM '/dev/null';

-- Its index serves the queue's order.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS off) SELECT ingest_xid, ingest_seq
FROM ONLY token_ledger.token_ledger_events
WHERE (ingest_xid, ingest_seq) > ('3', 0)
ORDER BY ingest_xid, ingest_seq LIMIT 10;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;

-- The migration command of the Python client finds its schema complete.
TABLE token_ledger.alembic_version;
INSERT INTO token_ledger.alembic_version VALUES ('003');
TABLE token_ledger.alembic_version;

-- What pg_dump carries.
SELECT c.oid::regclass AS configuration, u.condition
FROM pg_extension x, unnest(x.extconfig, x.extcondition) u (oid, condition)
	JOIN pg_class c ON c.oid = u.oid
WHERE x.extname = 'tokenledger'
ORDER BY c.relname COLLATE "C";
SELECT c.relname AS not_dumped
FROM pg_depend d
	JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass
		AND x.oid = d.refobjid
WHERE d.deptype = 'e' AND x.extname = 'tokenledger'
	AND c.relkind IN ('r', 'S') AND NOT c.oid = ANY (x.extconfig)
ORDER BY 1;
