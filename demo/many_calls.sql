INSERT INTO token_ledger.token_ledger_events (provider, model, input_tokens,
		output_tokens, total_tokens, cost_usd, duration_ms, status, error_type,
		user_id, team, app_name, metadata)
	SELECT provider, model, input_tokens, output_tokens,
		input_tokens + output_tokens, cost_usd, duration_ms, status,
		error_type, user_id, team, 'demo', metadata
	FROM demo.calls(25);
