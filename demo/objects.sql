-- What an administrator does in the application's database, and a source of
-- calls for the demo.
CREATE EXTENSION tokenledger;
SELECT token_ledger.grant_writer('writer');

CREATE SCHEMA demo;
GRANT USAGE ON SCHEMA demo TO writer;

-- The prices are invented: dollars for a million tokens.
CREATE TABLE demo.model (
	provider text,
	model text,
	input_price numeric,
	output_price numeric,
	share int4range
);
INSERT INTO demo.model VALUES
	('openai', 'gpt-4o', 2.5, 10, '[0, 30)'),
	('openai', 'gpt-4o-mini', 0.15, 0.6, '[30, 55)'),
	('anthropic', 'claude-sonnet', 3, 15, '[55, 80)'),
	('google', 'gemini-flash', 0.1, 0.4, '[80, 92)'),
	('mistral', 'mistral-large', 2, 6, '[92, 98)'),
	('self-hosted', 'llama-70b', NULL, NULL, '[98, 100)');

-- n calls: tokens, a cost where one is known, and now and then an error.
CREATE FUNCTION demo.calls(n integer)
RETURNS TABLE (provider text, model text, input_tokens bigint,
	output_tokens bigint, cost_usd numeric, duration_ms float8, status text,
	error_type text, user_id text, team text, metadata jsonb)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.provider, m.model, c.input, c.output,
		(m.input_price * c.input + m.output_price * c.output) / 1e6,
		20 + c.output * 11.5 * (1 + c.luck),
		CASE WHEN c.output > 0 THEN 'success' ELSE 'error' END,
		CASE WHEN c.output = 0 THEN 'rate_limit' END,
		'user-' || (1000 * c.luck)::int,
		(ARRAY['search', 'support', 'coding'])[1 + c.pick % 3],
		jsonb_build_object('attempt', 1 + c.pick % 2)
	FROM (
		SELECT (random() * 99.99)::int % 100 AS pick,
			(1 + random() * 3000)::bigint AS input,
			CASE WHEN random() < 0.02 THEN 0
				ELSE (1 + random() * 800)::bigint END AS output,
			random() AS luck
		FROM generate_series(1, n)
		OFFSET 0) c
		JOIN demo.model m ON c.pick <@ m.share
$$;
