SELECT s.state, s.lanes, (SELECT count(*) FROM token_ledger.token_ledger_events),
	s.forwarded, s.in_flight, coalesce(s.pending, 0),
	coalesce(round(s.lag_seconds::numeric, 1), 0),
	CASE WHEN s.last_error IS NOT NULL
		THEN s.cause || ': ' || regexp_replace(s.last_error, '\s+', ' ', 'g') END
FROM token_ledger.status s
WHERE s.target = 'warehouse';
