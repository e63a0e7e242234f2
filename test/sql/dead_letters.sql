-- Dead letters: what the view shows, requeue() and discard(), and who may.
-- That they are sent is tested with lanes, in test/t.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;
SET timezone = 'UTC';

INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp")
SELECT ('00000000-0000-0000-0000-' || to_char(i, 'FM000000000000'))::uuid,
	'p', 'm' || i, '2026-01-01' FROM generate_series(1, 6) i;
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
SELECT system_identifier, database_oid, 'here' FROM token_ledger.cluster_key();
INSERT INTO token_ledger.target (system_identifier, database_oid, name)
VALUES (1, 1, 'copied');
INSERT INTO token_ledger.dead_letter (target_id, event_id, reason, code)
SELECT t.id, e.event_id, 'refused', 'C' || right(e.model, 1)::integer % 2
FROM token_ledger.target t, token_ledger.token_ledger_events e
WHERE e.model <> 'm6';
INSERT INTO token_ledger.dead_letter (target_id, event_id, reason)
SELECT id, '00000000-0000-0000-0000-00000000000f', 'gone'
FROM token_ledger.target WHERE name = 'here';

SELECT target, right(event_id::text, 1) AS event, state, reason, code, times,
	first_at = last_at AS once, "timestamp", provider, model
FROM token_ledger.dead_letters ORDER BY event_id;

CREATE VIEW public.states AS
	SELECT string_agg(right(event_id::text, 1) || ' ' || state, ', '
		ORDER BY event_id) AS states
	FROM token_ledger.dead_letters;

-- By id, by code, all; what is requeued can be discarded, what is being sent
-- cannot; what is discarded comes back by its id only.
SELECT token_ledger.requeue('here',
	ARRAY['00000000-0000-0000-0000-000000000001',
		'00000000-0000-0000-0000-000000000001',
		'00000000-0000-0000-0000-000000000006']::uuid[]);
TABLE public.states;
SELECT token_ledger.discard('here', code => 'C1');
TABLE public.states;
SELECT token_ledger.requeue('here', '{}'), token_ledger.discard('here', '{}');
SELECT token_ledger.requeue('here',
	ARRAY['00000000-0000-0000-0000-000000000003',
		'00000000-0000-0000-0000-000000000004']::uuid[], code => 'C1');
TABLE public.states;
UPDATE token_ledger.dead_letter SET state = 'sending'
WHERE event_id = '00000000-0000-0000-0000-000000000003';
SELECT token_ledger.requeue('here');
TABLE public.states;
SELECT token_ledger.discard('here');
TABLE public.states;
SELECT token_ledger.requeue('here'), token_ledger.discard('here');
SELECT dead, discarded FROM token_ledger.status WHERE target = 'here';

-- Unknown, or of another cluster.
\set VERBOSITY terse
SELECT token_ledger.requeue('nonesuch');
SELECT token_ledger.discard('copied');
SELECT token_ledger.requeue(NULL);

-- Who may: the owner, and whom it grants it.
CREATE ROLE regress_tokenledger_plain IN ROLE pg_monitor;
SET SESSION AUTHORIZATION regress_tokenledger_plain;
SELECT token_ledger.requeue('here');
SELECT token_ledger.discard('here');
SELECT token_ledger.set_dead_letters('here', NULL, NULL, '{}', 'dead');
TABLE token_ledger.dead_letters;
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION token_ledger.requeue TO regress_tokenledger_plain;
SET SESSION AUTHORIZATION regress_tokenledger_plain;
SELECT token_ledger.requeue('here',
	ARRAY['00000000-0000-0000-0000-000000000001']::uuid[]);
RESET SESSION AUTHORIZATION;
TABLE public.states;

DROP VIEW public.states;
DROP OWNED BY regress_tokenledger_plain;
DROP ROLE regress_tokenledger_plain;
