/* tokenledger 1.1 to 1.2: an index for dashboards. */

\echo Use "ALTER EXTENSION tokenledger UPDATE TO '1.2'" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';
SELECT token_ledger.lock_ledger();

-- Of model and user_id the index holds the beginnings, as a text of some
-- kilobytes would not fit into an index and make the insert fail.
--
-- To spare a large ledger's writers the wait, the same index may be created
-- CONCURRENTLY beforehand, under the same name.
DO $$
DECLARE
	existing regclass :=
		to_regclass('token_ledger.idx_token_ledger_dashboard');
BEGIN
	IF existing IS NULL THEN
		CREATE INDEX idx_token_ledger_dashboard
			ON token_ledger.token_ledger_events (
				"timestamp" DESC, "left"(model, 256),
				"left"(user_id, 256))
			INCLUDE (cost_usd, total_tokens);
	ELSIF NOT EXISTS (
		SELECT FROM pg_index i
		WHERE i.indexrelid = existing AND i.indisvalid
			AND pg_get_indexdef(existing) =
				'CREATE INDEX idx_token_ledger_dashboard'
				' ON token_ledger.token_ledger_events USING btree'
				' ("timestamp" DESC, "left"(model, 256), "left"(user_id, 256))'
				' INCLUDE (cost_usd, total_tokens)')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_table',
			MESSAGE = '"token_ledger.idx_token_ledger_dashboard" exists and is not the index of version 1.2',
			HINT = 'Drop or rename it.';
	END IF;
END
$$;
COMMENT ON INDEX token_ledger.idx_token_ledger_dashboard IS
'For dashboards: recent events by model and user, with their costs. Holds the first 256 characters of both, so that no text is too long for it.';
