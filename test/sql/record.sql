-- token_ledger.record(): one event by one call.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

-- Fills in the id, the time and the total; the rest as columns default.
BEGIN;
SELECT token_ledger.record('openai', 'short', 10, 5) AS id \gset
SELECT event_id = :'id' AS same_id, "timestamp" = now() AS is_now, provider,
	model, input_tokens, output_tokens, total_tokens, cached_tokens, cost_usd,
	request_type, status, team
FROM token_ledger.token_ledger_events;
COMMIT;

-- What is given is stored as given.
SELECT token_ledger.record('p', 'total given', 10, 5, total_tokens => 99) \g /dev/null
SELECT token_ledger.record('p', 'nulls', NULL, NULL, NULL,
	request_type => NULL, status => NULL, cached_tokens => NULL) \g /dev/null
SELECT token_ledger.record('', '', -1, -2, cost_usd => 'NaN') \g /dev/null
SELECT provider, model, input_tokens, output_tokens, total_tokens,
	cached_tokens, cost_usd, request_type, status
FROM token_ledger.token_ledger_events WHERE model <> 'short'
ORDER BY ingest_seq;

-- Every column by name.
SELECT token_ledger.record(provider => 'p', model => 'every column',
	input_tokens => 1, output_tokens => 2, total_tokens => 3,
	cost_usd => 0.00000004, duration_ms => 5.5, endpoint => 'e6',
	request_type => 'r7', user_id => 'u8', session_id => 's9',
	organization_id => 'o10', app_name => 'a11', environment => 'e12',
	status => 's13', error_type => 'e14', error_message => 'e15',
	metadata => '16', request_preview => 'r17', response_preview => 'r18',
	trace_id => '00000000-0000-0000-0000-000000000019',
	span_id => '00000000-0000-0000-0000-000000000020',
	parent_span_id => '00000000-0000-0000-0000-000000000021',
	event_id => '00000000-0000-0000-0000-000000000022',
	"timestamp" => '2023-01-01 00:00+00', cached_tokens => 24,
	feature => 'f25', page => 'p26', component => 'c27', team => 't28',
	project => 'p29', cost_center => 'c30', metadata_extra => '31');
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT k.name, to_jsonb(e) -> k.name AS value
FROM token_ledger.token_ledger_events e,
	unnest((SELECT proargnames FROM pg_proc
		WHERE oid = 'token_ledger.record'::regproc))
		WITH ORDINALITY k (name, n)
WHERE model = 'every column'
ORDER BY k.n;

-- Its parameters are the ledger's columns, all of them.
SELECT string_agg(a.attname, ', ') AS missing
FROM pg_attribute a
WHERE a.attrelid = 'token_ledger.token_ledger_events'::regclass
	AND a.attnum > 0 AND NOT a.attisdropped
	AND a.attname NOT LIKE 'ingest%'
	AND a.attname <> ALL ((SELECT proargnames FROM pg_proc
		WHERE oid = 'token_ledger.record'::regproc)::name[]);

-- Recorded again: the same id, and no second event.
SELECT token_ledger.record('p', 'again',
	event_id => '00000000-0000-0000-0000-000000000022');
SELECT count(*) FROM token_ledger.token_ledger_events
WHERE model IN ('every column', 'again');

-- In a query: an event a row, each with an id of its own.
SELECT count(DISTINCT token_ledger.record('p', 'many', i, i))
FROM generate_series(1, 100) i;
SELECT count(DISTINCT event_id), sum(total_tokens)
FROM token_ledger.token_ledger_events WHERE model = 'many';

-- Does not look at the caller's search_path.
CREATE SCHEMA trap;
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql
AS $$ SELECT '2000-01-01'::timestamptz $$;
SET search_path = trap, pg_catalog;
SELECT token_ledger.record('p', 'trapped') \g /dev/null
RESET search_path;
SELECT "timestamp" > '2001-01-01' AS not_trapped
FROM token_ledger.token_ledger_events WHERE model = 'trapped';
SET client_min_messages = warning;
DROP SCHEMA trap CASCADE;
RESET client_min_messages;

-- The columns are not nullable, and say so.
\set VERBOSITY sqlstate
SELECT token_ledger.record(NULL, 'no provider');
