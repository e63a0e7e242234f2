-- The lie: token_ledger.ingest_position() is labelled IMMUTABLE and differs
-- from transaction to transaction.  Whatever path a row takes into the
-- ledger, its ingest_xid has to be the transaction that inserted it.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS tokenledger CASCADE;
CREATE EXTENSION tokenledger;
RESET client_min_messages;

-- Inserts one row by the path to be tested and keeps the truth beside it.
CREATE TABLE public.truth (model text, xid xid8);
CREATE VIEW public.lies AS
	SELECT model, e.ingest_xid, t.xid
	FROM token_ledger.token_ledger_events e
		FULL JOIN public.truth t USING (model)
	WHERE e.ingest_xid IS DISTINCT FROM t.xid;
CREATE FUNCTION public.told(model text) RETURNS void LANGUAGE sql
AS $$ INSERT INTO public.truth VALUES (model, pg_current_xact_id()) $$;

SELECT provolatile FROM pg_proc
WHERE oid = 'token_ledger.ingest_position'::regproc;

-- A prepared statement, as custom and as generic plan, across transactions.
PREPARE p (text) AS
	INSERT INTO token_ledger.token_ledger_events (provider, model)
	VALUES ('p', $1);
SET plan_cache_mode = force_custom_plan;
BEGIN; EXECUTE p ('custom 1'); SELECT public.told('custom 1'); COMMIT;
BEGIN; EXECUTE p ('custom 2'); SELECT public.told('custom 2'); COMMIT;
SET plan_cache_mode = force_generic_plan;
BEGIN; EXECUTE p ('generic 1'); SELECT public.told('generic 1'); COMMIT;
BEGIN; EXECUTE p ('generic 2'); SELECT public.told('generic 2'); COMMIT;
BEGIN; EXECUTE p ('generic 3'); SELECT public.told('generic 3'); ROLLBACK;
BEGIN; EXECUTE p ('generic 4'); SELECT public.told('generic 4'); COMMIT;
RESET plan_cache_mode;
TABLE public.lies;

-- The switch from custom to generic plans, within and across transactions.
DO $$
BEGIN
	FOR i IN 1..12 LOOP
		EXECUTE format('EXECUTE p (''switch %s'')', i);
		PERFORM public.told('switch ' || i);
		IF i % 2 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END
$$;
TABLE public.lies;

-- A statement of a procedure that commits on its way: its plan is cached for
-- the session.
CREATE PROCEDURE public.many(prefix text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..12 LOOP
		INSERT INTO token_ledger.token_ledger_events (provider, model)
		VALUES ('p', prefix || i);
		PERFORM public.told(prefix || i);
		COMMIT;
	END LOOP;
END
$$;
CALL public.many('procedure ');
CALL public.many('procedure again ');
SELECT count(DISTINCT ingest_xid) FROM token_ledger.token_ledger_events
WHERE model LIKE 'procedure%';
TABLE public.lies;

-- Functions: SQL and plpgsql, called in several transactions.
CREATE FUNCTION public.by_sql(model text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO token_ledger.token_ledger_events (provider, model)
	VALUES ('p', model);
	SELECT public.told(model);
$$;
CREATE FUNCTION public.by_plpgsql(model text) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO token_ledger.token_ledger_events (provider, model)
	VALUES ('p', by_plpgsql.model);
	PERFORM public.told(model);
END
$$;
DO $$
BEGIN
	FOR i IN 1..8 LOOP
		PERFORM public.by_sql('sql ' || i), public.by_plpgsql('plpgsql ' || i);
		COMMIT;
	END LOOP;
END
$$;
TABLE public.lies;

-- Savepoints: the position is the top-level transaction's.
BEGIN;
SAVEPOINT a;
SELECT public.by_sql('savepoint 1');
SAVEPOINT b;
SELECT public.by_sql('savepoint 2');
ROLLBACK TO b;
SELECT public.by_sql('savepoint 3');
RELEASE a;
SELECT public.by_sql('savepoint 4');
COMMIT;
SELECT count(*), count(DISTINCT ingest_xid)
FROM token_ledger.token_ledger_events WHERE model LIKE 'savepoint%';
TABLE public.lies;

-- A block with an exception handler is a subtransaction too.
BEGIN;
DO $$
BEGIN
	PERFORM public.by_sql('handler 1');
	BEGIN
		PERFORM public.by_sql('handler 2');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM public.by_sql('handler 3');
	END;
END
$$;
COMMIT;
SELECT count(*), count(DISTINCT ingest_xid)
FROM token_ledger.token_ledger_events WHERE model LIKE 'handler%';
TABLE public.lies;

-- COPY, twice in one transaction and in another.
BEGIN;
COPY token_ledger.token_ledger_events (provider, model) FROM stdin;
p	copy 1
p	copy 2
\.
COPY token_ledger.token_ledger_events (provider, model) FROM stdin;
p	copy 3
\.
SELECT public.told('copy ' || i) FROM generate_series(1, 3) i;
COMMIT;
BEGIN;
COPY token_ledger.token_ledger_events (provider, model) FROM stdin;
p	copy 4
\.
SELECT public.told('copy 4');
COMMIT;
TABLE public.lies;

-- Several rows, INSERT ... SELECT, two statements of one transaction.
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'rows 1'), ('p', 'rows 2');
INSERT INTO token_ledger.token_ledger_events (provider, model)
SELECT 'p', 'rows ' || i FROM generate_series(3, 2000) i;
WITH w AS (INSERT INTO token_ledger.token_ledger_events (provider, model)
	VALUES ('p', 'rows 2001') RETURNING model)
SELECT * FROM w;
SELECT public.told('rows ' || i) FROM generate_series(1, 2001) i \g /dev/null
COMMIT;
SELECT count(DISTINCT ingest_xid), count(*), count(DISTINCT ingest_seq)
FROM token_ledger.token_ledger_events WHERE model LIKE 'rows %';
TABLE public.lies;

-- Through a view.
CREATE VIEW public.through AS
	SELECT provider, model FROM token_ledger.token_ledger_events;
BEGIN;
INSERT INTO public.through VALUES ('p', 'view');
SELECT public.told('view');
COMMIT;
TABLE public.lies;

-- From a trigger of another table.
CREATE TABLE public.source (model text);
CREATE FUNCTION public.on_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.by_plpgsql(new.model);
	RETURN new;
END
$$;
CREATE TRIGGER t BEFORE INSERT ON public.source
	FOR EACH ROW EXECUTE FUNCTION public.on_source();
INSERT INTO public.source VALUES ('trigger 1');
INSERT INTO public.source VALUES ('trigger 2');
TABLE public.lies;

-- A copy of the ledger brings no position along.
CREATE TEMP TABLE copy AS SELECT * FROM token_ledger.token_ledger_events
WHERE model = 'copy 4';
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model, metadata)
SELECT provider, 'insert select', metadata FROM copy;
SELECT public.told('insert select');
COMMIT;
TABLE public.lies;

-- With the guard off, an UPDATE leaves the position as it is.
SET tokenledger.allow_ledger_edits = on;
UPDATE token_ledger.token_ledger_events SET provider = 'updated';
TABLE public.lies;
UPDATE token_ledger.token_ledger_events
SET event_id = gen_random_uuid(), "timestamp" = now(), metadata = '{}'
WHERE model LIKE 'copy%';
TABLE public.lies;

-- ON CONFLICT DO UPDATE renews it: such an event is carried again.  Nobody
-- may depend on the one or the other.
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
SELECT event_id, 'upserted', model FROM token_ledger.token_ledger_events
WHERE model = 'view'
ON CONFLICT (event_id) DO UPDATE SET provider = excluded.provider;
SELECT e.ingest_xid > t.xid AS renewed, e.provider
FROM token_ledger.token_ledger_events e JOIN public.truth t USING (model)
WHERE model = 'view';
UPDATE public.truth t SET xid = e.ingest_xid
FROM token_ledger.token_ledger_events e
WHERE e.model = t.model AND t.model = 'view';
RESET tokenledger.allow_ledger_edits;

-- Rewrites of the table copy what is stored.
SELECT pg_relation_filenode('token_ledger.token_ledger_events') AS before \gset
VACUUM FULL token_ledger.token_ledger_events;
TABLE public.lies;
CLUSTER token_ledger.token_ledger_events USING token_ledger_events_pkey;
TABLE public.lies;
ALTER TABLE token_ledger.token_ledger_events ALTER COLUMN trace_id TYPE text;
TABLE public.lies;
ALTER TABLE token_ledger.token_ledger_events
	ADD COLUMN filler uuid DEFAULT gen_random_uuid();
TABLE public.lies;
ALTER TABLE token_ledger.token_ledger_events DROP COLUMN filler;
SELECT pg_relation_filenode('token_ledger.token_ledger_events') <> :before
	AS rewritten;
VACUUM ANALYZE token_ledger.token_ledger_events;
TABLE public.lies;

-- A query that names the column is not folded to its expression.
SELECT count(*) > 2000 AS stored FROM token_ledger.token_ledger_events
WHERE ingest_xid <> pg_current_xact_id();

SET client_min_messages = warning;
DROP VIEW public.lies, public.through;
DROP TABLE public.truth, public.source, copy;
DROP FUNCTION public.on_source, public.by_sql, public.by_plpgsql, public.told;
DROP PROCEDURE public.many;
DROP EXTENSION tokenledger CASCADE;
CREATE EXTENSION tokenledger;
