SELECT token_ledger.record(provider, model, input_tokens, output_tokens,
		cost_usd => cost_usd, duration_ms => duration_ms, status => status,
		error_type => error_type, user_id => user_id, team => team,
		app_name => 'demo', metadata => metadata)
	FROM demo.calls(1);
