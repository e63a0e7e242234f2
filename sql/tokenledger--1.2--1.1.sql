/* tokenledger 1.2 to 1.1: without the index for dashboards. */

\echo Use "ALTER EXTENSION tokenledger UPDATE TO '1.1'" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';
SELECT token_ledger.lock_ledger();

DROP INDEX token_ledger.idx_token_ledger_dashboard;
