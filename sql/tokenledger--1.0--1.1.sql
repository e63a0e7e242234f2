/* tokenledger 1.0 to 1.1: cached_tokens. */

\echo Use "ALTER EXTENSION tokenledger UPDATE TO '1.1'" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';
SELECT token_ledger.lock_ledger();

ALTER TABLE token_ledger.token_ledger_events
	ADD COLUMN cached_tokens bigint DEFAULT 0;
COMMENT ON COLUMN token_ledger.token_ledger_events.cached_tokens IS
'Tokens of the request that the provider had cached.';

ALTER FUNCTION token_ledger.record RENAME TO former_record;
CREATE FUNCTION token_ledger.record(
	provider text,
	model text,
	input_tokens bigint DEFAULT 0,
	output_tokens bigint DEFAULT 0,
	total_tokens bigint DEFAULT NULL,
	cost_usd numeric DEFAULT NULL,
	duration_ms double precision DEFAULT NULL,
	endpoint text DEFAULT NULL,
	request_type text DEFAULT 'chat',
	user_id text DEFAULT NULL,
	session_id text DEFAULT NULL,
	organization_id text DEFAULT NULL,
	app_name text DEFAULT NULL,
	environment text DEFAULT NULL,
	status text DEFAULT 'success',
	error_type text DEFAULT NULL,
	error_message text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	request_preview text DEFAULT NULL,
	response_preview text DEFAULT NULL,
	trace_id uuid DEFAULT NULL,
	span_id uuid DEFAULT NULL,
	parent_span_id uuid DEFAULT NULL,
	event_id uuid DEFAULT NULL,
	"timestamp" timestamptz DEFAULT NULL,
	cached_tokens bigint DEFAULT 0)
RETURNS uuid LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	WITH event AS MATERIALIZED (
		SELECT coalesce(record.event_id, gen_random_uuid()) AS id
	), inserted AS (
		INSERT INTO token_ledger.token_ledger_events (
			event_id, trace_id, span_id, parent_span_id, "timestamp",
			duration_ms, provider, model, input_tokens, output_tokens,
			total_tokens,
			cost_usd, endpoint, request_type, user_id, session_id,
			organization_id, app_name, environment, status, error_type,
			error_message, metadata, request_preview, response_preview,
			cached_tokens)
		SELECT event.id, record.trace_id, record.span_id,
			record.parent_span_id, coalesce(record."timestamp", now()),
			record.duration_ms, record.provider, record.model,
			coalesce(record.input_tokens, 0),
			coalesce(record.output_tokens, 0),
			coalesce(record.total_tokens, coalesce(record.input_tokens, 0)
				+ coalesce(record.output_tokens, 0)),
			record.cost_usd, record.endpoint, record.request_type,
			record.user_id, record.session_id, record.organization_id,
			record.app_name, record.environment, record.status,
			record.error_type, record.error_message, record.metadata,
			record.request_preview, record.response_preview,
			record.cached_tokens
		FROM event
		ON CONFLICT (event_id) DO NOTHING
	)
	SELECT event.id FROM event;
$$;
REVOKE ALL ON FUNCTION token_ledger.record FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.record IS
'Records one LLM call and returns its event_id. Fills in the event_id, the time, and total_tokens (input + output) where they are not given. An event_id that is there already is left as it is.';
SELECT token_ledger.keep_grants('token_ledger.former_record',
	'token_ledger.record');
DROP FUNCTION token_ledger.former_record;
