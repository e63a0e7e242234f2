/* tokenledger 1.2 to 1.3: attribution columns and their views. */

\echo Use "ALTER EXTENSION tokenledger UPDATE TO '1.3'" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';
SELECT token_ledger.lock_ledger();

ALTER TABLE token_ledger.token_ledger_events
	ADD COLUMN feature text,
	ADD COLUMN page text,
	ADD COLUMN component text,
	ADD COLUMN team text,
	ADD COLUMN project text,
	ADD COLUMN cost_center text,
	ADD COLUMN metadata_extra jsonb;
COMMENT ON COLUMN token_ledger.token_ledger_events.feature IS
'Feature of the application that made the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events.page IS
'Page of the application that made the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events.component IS
'Component of the application that made the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events.team IS
'Team that the call is attributed to.';
COMMENT ON COLUMN token_ledger.token_ledger_events.project IS
'Project that the call is attributed to.';
COMMENT ON COLUMN token_ledger.token_ledger_events.cost_center IS
'Cost center that the call is attributed to.';
COMMENT ON COLUMN token_ledger.token_ledger_events.metadata_extra IS
'What else the client wants to keep about the attribution.';

-- More names that a starting client would create indexes under.
CREATE INDEX idx_token_ledger_events_feature
	ON token_ledger.token_ledger_events (feature) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_feature IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';
CREATE INDEX idx_token_ledger_events_team
	ON token_ledger.token_ledger_events (team) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_team IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';
CREATE INDEX idx_token_ledger_events_project
	ON token_ledger.token_ledger_events (project) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_project IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';
CREATE INDEX idx_token_ledger_events_cost_center
	ON token_ledger.token_ledger_events (cost_center) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_cost_center IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';

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
	cached_tokens bigint DEFAULT 0,
	feature text DEFAULT NULL,
	page text DEFAULT NULL,
	component text DEFAULT NULL,
	team text DEFAULT NULL,
	project text DEFAULT NULL,
	cost_center text DEFAULT NULL,
	metadata_extra jsonb DEFAULT NULL)
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
			cached_tokens, feature, page, component, team, project,
			cost_center, metadata_extra)
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
			record.cached_tokens, record.feature, record.page,
			record.component, record.team, record.project,
			record.cost_center, record.metadata_extra
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

CREATE VIEW token_ledger.token_ledger_team_costs AS
	SELECT coalesce(e.team, 'unassigned') AS team,
		date(e."timestamp") AS date,
		count(*) AS request_count,
		sum(e.total_tokens) AS total_tokens,
		sum(e.cost_usd) FILTER (WHERE e.cost_usd <> 'NaN') AS total_cost,
		avg(e.duration_ms) FILTER (WHERE e.duration_ms <> 'NaN')
			AS avg_latency_ms
	FROM token_ledger.token_ledger_events e
	GROUP BY 1, 2;
COMMENT ON VIEW token_ledger.token_ledger_team_costs IS
'Costs by team and day. Costs and durations that are NaN are left out.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.team IS
'The team; NULL is shown as unassigned.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.date IS
'Day of the timestamp in the session''s time zone.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.request_count IS
'Number of events.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.total_tokens IS
'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.total_cost IS
'Sum of cost_usd, without NaN; NULL: no cost is known.';
COMMENT ON COLUMN token_ledger.token_ledger_team_costs.avg_latency_ms IS
'Average of duration_ms, without NaN.';

CREATE VIEW token_ledger.token_ledger_feature_costs AS
	SELECT coalesce(e.feature, 'unassigned') AS feature,
		date(e."timestamp") AS date,
		count(*) AS request_count,
		sum(e.total_tokens) AS total_tokens,
		sum(e.cost_usd) FILTER (WHERE e.cost_usd <> 'NaN') AS total_cost,
		avg(e.duration_ms) FILTER (WHERE e.duration_ms <> 'NaN')
			AS avg_latency_ms
	FROM token_ledger.token_ledger_events e
	GROUP BY 1, 2;
COMMENT ON VIEW token_ledger.token_ledger_feature_costs IS
'Costs by feature and day. Costs and durations that are NaN are left out.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.feature IS
'The feature; NULL is shown as unassigned.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.date IS
'Day of the timestamp in the session''s time zone.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.request_count IS
'Number of events.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.total_tokens IS
'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.total_cost IS
'Sum of cost_usd, without NaN; NULL: no cost is known.';
COMMENT ON COLUMN token_ledger.token_ledger_feature_costs.avg_latency_ms IS
'Average of duration_ms, without NaN.';

CREATE VIEW token_ledger.token_ledger_cost_center_costs AS
	SELECT coalesce(e.cost_center, 'unassigned') AS cost_center,
		date(e."timestamp") AS date,
		count(*) AS request_count,
		sum(e.total_tokens) AS total_tokens,
		sum(e.cost_usd) FILTER (WHERE e.cost_usd <> 'NaN') AS total_cost
	FROM token_ledger.token_ledger_events e
	GROUP BY 1, 2;
COMMENT ON VIEW token_ledger.token_ledger_cost_center_costs IS
'Costs by cost center and day. Costs that are NaN are left out.';
COMMENT ON COLUMN token_ledger.token_ledger_cost_center_costs.cost_center IS
'The cost center; NULL is shown as unassigned.';
COMMENT ON COLUMN token_ledger.token_ledger_cost_center_costs.date IS
'Day of the timestamp in the session''s time zone.';
COMMENT ON COLUMN token_ledger.token_ledger_cost_center_costs.request_count IS
'Number of events.';
COMMENT ON COLUMN token_ledger.token_ledger_cost_center_costs.total_tokens IS
'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_cost_center_costs.total_cost IS
'Sum of cost_usd, without NaN; NULL: no cost is known.';
