-- What is wrong with what the stores hold: one row of audit.finding for each
-- event, or hour, and target.  Run in the ledger's database when nothing is
-- inserted any more.  audit.arrived has been filled with copies of the stores'
-- rows; torture.deleted and torture.edited say what a superuser did to the
-- ledger, where the stores keep what they have got, torture.gone what was deleted
-- from it, by him and by retention, and torture.lost what was
-- committed on a primary and had not reached the standby that was promoted.  Of
-- these the application may have inserted some again, with other values.

CREATE VIEW audit.retired AS
SELECT * FROM torture.gone
WHERE event_id NOT IN (SELECT event_id FROM torture.deleted);

CREATE VIEW audit.finding AS
-- Committed, not given up, and not in the store.
SELECT t.name AS target, 'lost' AS what, e.event_id::text AS which
FROM token_ledger.token_ledger_events e CROSS JOIN token_ledger.target t
WHERE NOT EXISTS (
		SELECT FROM audit.arrived a
		WHERE a.target = t.name AND a.event_id = e.event_id)
	AND NOT EXISTS (
		SELECT FROM token_ledger.dead_letter d
		WHERE d.target_id = t.id AND d.event_id = e.event_id)

UNION ALL
-- Retention asks whether every target has it.
SELECT t.name, 'lost', g.event_id || ' (deleted by retention)'
FROM audit.retired g CROSS JOIN token_ledger.target t
WHERE NOT EXISTS (
		SELECT FROM audit.arrived a
		WHERE a.target = t.name AND a.event_id = g.event_id)
	AND NOT EXISTS (
		SELECT FROM token_ledger.dead_letter d
		WHERE d.target_id = t.id AND d.event_id = g.event_id
			AND d.state = 'discarded')

UNION ALL
SELECT a.target, 'doubled', a.event_id::text
FROM audit.arrived a
GROUP BY a.target, a.event_id
HAVING count(*) > 1

UNION ALL
SELECT a.target, 'never committed', a.event_id::text
FROM audit.arrived a
WHERE NOT EXISTS (
		SELECT FROM token_ledger.token_ledger_events e
		WHERE e.event_id = a.event_id)
	AND a.event_id NOT IN (SELECT event_id FROM torture.gone)
	AND a.event_id NOT IN (SELECT event_id FROM torture.lost)

UNION ALL
-- Nothing is sent that a synchronous standby does not have.
SELECT a.target, 'sent before the standby had it', a.event_id::text
FROM audit.arrived a
WHERE a.event_id IN (SELECT event_id FROM torture.lost WHERE synchronous)
	AND NOT EXISTS (
		SELECT FROM token_ledger.token_ledger_events e
		WHERE e.event_id = a.event_id)

UNION ALL
SELECT a.target, 'altered', a.event_id::text
FROM audit.arrived a JOIN token_ledger.token_ledger_events e USING (event_id)
WHERE (a."timestamp", a.provider, a.model, a.total_tokens, a.cost_usd,
		a.request_preview)
	IS DISTINCT FROM (e."timestamp", e.provider, e.model, e.total_tokens,
		e.cost_usd, e.request_preview)
	AND e.event_id NOT IN (SELECT event_id FROM torture.edited)
	AND e.event_id NOT IN (SELECT event_id FROM torture.lost)

UNION ALL
SELECT t.name, 'given up, and in the store', d.event_id::text
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
	JOIN audit.arrived a ON a.target = t.name AND a.event_id = d.event_id

UNION ALL
-- Only one store refuses anything, and only these.
SELECT t.name, 'given up without a reason', d.event_id::text
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
	JOIN token_ledger.token_ledger_events e USING (event_id)
WHERE t.name <> 'picky' OR e.model <> 'refused'

UNION ALL
-- Sums by hour, of what nobody has deleted and no store refused.
SELECT target, 'sums of an hour differ', hour::text
FROM (
	SELECT t.name AS target, date_trunc('hour', e."timestamp", 'UTC') AS hour,
		count(*) AS events, sum(e.total_tokens) AS tokens,
		sum(e.cost_usd) AS cost, 1 AS sign
	FROM token_ledger.token_ledger_events e CROSS JOIN token_ledger.target t
	WHERE NOT EXISTS (
		SELECT FROM token_ledger.dead_letter d
		WHERE d.target_id = t.id AND d.event_id = e.event_id)
		AND e.event_id NOT IN (SELECT event_id FROM torture.lost)
	GROUP BY 1, 2
	UNION ALL
	SELECT t.name, date_trunc('hour', g."timestamp", 'UTC'), count(*),
		sum(g.total_tokens), sum(g.cost_usd), 1
	FROM audit.retired g CROSS JOIN token_ledger.target t
	WHERE NOT EXISTS (
		SELECT FROM token_ledger.dead_letter d
		WHERE d.target_id = t.id AND d.event_id = g.event_id)
	GROUP BY 1, 2
	UNION ALL
	SELECT a.target, date_trunc('hour', a."timestamp", 'UTC'), -count(*),
		-sum(a.total_tokens), -sum(a.cost_usd), -1
	FROM audit.arrived a
	WHERE a.event_id NOT IN (SELECT event_id FROM torture.deleted)
		AND a.event_id NOT IN (SELECT event_id FROM torture.lost)
	GROUP BY 1, 2) sums
GROUP BY target, hour
HAVING sum(events) <> 0 OR sum(tokens) <> 0 OR sum(cost) <> 0

UNION ALL
-- What has gone is counted.
SELECT 'all', 'token_ledger.retired differs', hour::text
FROM (
	SELECT hour, events, tokens, cost FROM token_ledger.retired
	UNION ALL
	SELECT date_trunc('hour', "timestamp", 'UTC'), -count(*),
		-sum(total_tokens), -coalesce(sum(cost_usd), 0)
	FROM torture.gone GROUP BY 1) sums
GROUP BY hour
HAVING sum(events) <> 0 OR sum(tokens) <> 0 OR sum(cost) <> 0

UNION ALL
SELECT target, 'the identity does not hold', difference::text
FROM token_ledger.accounting
WHERE difference IS DISTINCT FROM 0;
