/* tokenledger 1.0: the ledger, its guard, and the state of forwarding. */

\echo Use "CREATE EXTENSION tokenledger" to load this file. \quit

-- Every installation runs this script and then each delta, so that fresh and
-- updated ledgers are equal to the attribute number.

-- Nothing that the schema may hold already is mistaken for PostgreSQL's own.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Clients of other makes keep their table here, under the same name.  They
-- are told what to do with it, before the first CREATE fails without saying.
DO $$
DECLARE
	found text;
BEGIN
	SELECT string_agg(format('%s "%s"', CASE c.relkind
				WHEN 'i' THEN 'index' WHEN 'I' THEN 'index'
				WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
				WHEN 'S' THEN 'sequence' ELSE 'table' END, c.relname),
			', ' ORDER BY c.relname COLLATE "C")
	INTO found
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'token_ledger'
		AND (c.relname IN ('token_ledger_events', 'token_ledger_events_pkey',
				'alembic_version', 'alembic_version_pkc')
			OR c.relname ~
				'^token_ledger_(daily|user|team|feature|cost_center)_costs$'
			OR c.relname LIKE 'idx\_token\_ledger\_%')
		AND NOT EXISTS (		-- said with its table
			SELECT FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
			WHERE i.indexrelid = c.oid
				AND t.relname IN ('token_ledger_events', 'alembic_version'));
	IF found IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_table',
			MESSAGE = 'schema "token_ledger" holds the ledger of another client already',
			DETAIL = format('It holds %s.', found),
			HINT = 'Move it away (ALTER SCHEMA token_ledger RENAME TO token_ledger_before), create the extension, and copy the events: doc/adopting-a-table.md shows how to lose none.';
	END IF;
END
$$;

--------------------------------------------------------------------------
-- Privileges and locks: for the scripts themselves

-- What a script grants counts as the extension's own and is left out of
-- dumps.  Where it grants on behalf of users (again), or touches an object
-- that is theirs as well, that record is removed.
CREATE FUNCTION token_ledger.dump_privileges(class regclass, object oid)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM pg_catalog.pg_init_privs i
	WHERE i.classoid = class AND i.objoid = object
		AND (class <> 'pg_catalog.pg_class'::regclass OR i.objsubid > 0);

	-- Roles named in such a record, from PostgreSQL 17 on.
	DELETE FROM pg_catalog.pg_shdepend d
	USING pg_catalog.pg_database b
	WHERE b.datname = current_database() AND d.dbid = b.oid
		AND d.deptype = 'i' AND d.classid = class AND d.objid = object
		AND (class <> 'pg_catalog.pg_class'::regclass OR d.objsubid > 0);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.dump_privileges FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.dump_privileges IS
'Of the extension''s scripts: makes pg_dump write all privileges of an object (of a table: of its columns).';

CREATE FUNCTION token_ledger.lock_ledger()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	holders text;
BEGIN
	-- At once in the strongest mode that the script will need: to raise it
	-- later could cost an application's INSERT a deadlock.
	LOCK TABLE token_ledger.token_ledger_events IN ACCESS EXCLUSIVE MODE;
EXCEPTION WHEN lock_not_available THEN
	SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL
		THEN 'a prepared transaction'
		ELSE format('process %s (user "%s", application "%s", %s)',
			l.pid, a.usename, a.application_name, a.state) END, ', ')
	INTO holders
	FROM pg_catalog.pg_locks l
		LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
	WHERE l.relation = 'token_ledger.token_ledger_events'::regclass
		AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
			WHERE d.datname = current_database());
	RAISE EXCEPTION USING
		ERRCODE = 'lock_not_available',
		MESSAGE = format('table "token_ledger.token_ledger_events" was in use for %s',
			current_setting('lock_timeout')),
		DETAIL = coalesce('Locks are held by ' || holders || '.',
			'Nobody holds a lock any more.'),
		HINT = 'Repeat the command when these transactions have ended.';
END
$$;
REVOKE ALL ON FUNCTION token_ledger.lock_ledger FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.lock_ledger() IS
'Of the extension''s scripts: locks the ledger for DDL within lock_timeout, or says who holds it.';

--------------------------------------------------------------------------
-- The ledger

-- The label IMMUTABLE is a deliberate lie: the value is the inserting
-- transaction.  PostgreSQL evaluates a generation expression once for each
-- execution of a statement, in the transaction that inserts.  src/ledger.c
-- explains why it is so and which tests pin it.  Every role that may insert
-- needs EXECUTE, however it came by its INSERT privilege, hence PUBLIC keeps
-- it; the function tells no more than pg_current_xact_id() does.
CREATE FUNCTION token_ledger.ingest_position()
RETURNS xid8 LANGUAGE c IMMUTABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'tl_ingest_position';
COMMENT ON FUNCTION token_ledger.ingest_position() IS
'The inserting transaction. Labelled IMMUTABLE so that a generated column accepts it; not for other uses.';

-- No CHECK, no foreign key, and nullability no tighter than this: an insert
-- never fails because a client sent odd values.
--
-- ingest_seq orders the rows of one transaction, thus of one session, whose
-- cached values ascend; so the sequence is asked once for many rows.
CREATE TABLE token_ledger.token_ledger_events (
	event_id uuid NOT NULL DEFAULT gen_random_uuid(),
	trace_id uuid,
	span_id uuid,
	parent_span_id uuid,
	"timestamp" timestamptz NOT NULL DEFAULT now(),
	duration_ms double precision,
	provider text NOT NULL,
	model text NOT NULL,
	input_tokens bigint NOT NULL DEFAULT 0,
	output_tokens bigint NOT NULL DEFAULT 0,
	total_tokens bigint NOT NULL DEFAULT 0,
	cost_usd numeric(18, 8),
	endpoint text,
	request_type text DEFAULT 'chat',
	user_id text,
	session_id text,
	organization_id text,
	app_name text,
	environment text,
	status text DEFAULT 'success',
	error_type text,
	error_message text,
	metadata jsonb,
	request_preview text,
	response_preview text,
	ingest_xid xid8 GENERATED ALWAYS AS (token_ledger.ingest_position()) STORED,
	ingest_seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 64),
	CONSTRAINT token_ledger_events_pkey PRIMARY KEY (event_id)
);
COMMENT ON TABLE token_ledger.token_ledger_events IS
'The ledger: one row per LLM call, append-only. Also the queue: each committed row is forwarded to every target.';
COMMENT ON COLUMN token_ledger.token_ledger_events.event_id IS
'Identity of the event, here and in every store.';
COMMENT ON COLUMN token_ledger.token_ledger_events.trace_id IS
'Trace that the call belongs to.';
COMMENT ON COLUMN token_ledger.token_ledger_events.span_id IS
'Span of the call within its trace.';
COMMENT ON COLUMN token_ledger.token_ledger_events.parent_span_id IS
'Span that made the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events."timestamp" IS
'Time of the call as the client states it.';
COMMENT ON COLUMN token_ledger.token_ledger_events.duration_ms IS
'Duration of the call in milliseconds.';
COMMENT ON COLUMN token_ledger.token_ledger_events.provider IS
'Provider of the model, such as openai.';
COMMENT ON COLUMN token_ledger.token_ledger_events.model IS
'Model as the provider names it.';
COMMENT ON COLUMN token_ledger.token_ledger_events.input_tokens IS
'Tokens of the request.';
COMMENT ON COLUMN token_ledger.token_ledger_events.output_tokens IS
'Tokens of the response.';
COMMENT ON COLUMN token_ledger.token_ledger_events.total_tokens IS
'Tokens in all as the client states them; not computed, not checked.';
COMMENT ON COLUMN token_ledger.token_ledger_events.cost_usd IS
'Cost of the call in US dollars; NULL if not known.';
COMMENT ON COLUMN token_ledger.token_ledger_events.endpoint IS
'Endpoint of the provider that was called.';
COMMENT ON COLUMN token_ledger.token_ledger_events.request_type IS
'Kind of request: chat, completion, embedding and so on.';
COMMENT ON COLUMN token_ledger.token_ledger_events.user_id IS
'User on whose behalf the call was made.';
COMMENT ON COLUMN token_ledger.token_ledger_events.session_id IS
'Session of that user.';
COMMENT ON COLUMN token_ledger.token_ledger_events.organization_id IS
'Organization of that user.';
COMMENT ON COLUMN token_ledger.token_ledger_events.app_name IS
'Application that made the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events.environment IS
'Environment of the application, such as production.';
COMMENT ON COLUMN token_ledger.token_ledger_events.status IS
'Outcome of the call: success, error and so on.';
COMMENT ON COLUMN token_ledger.token_ledger_events.error_type IS
'Class of the error, if the call failed.';
COMMENT ON COLUMN token_ledger.token_ledger_events.error_message IS
'Message of the error, if the call failed.';
COMMENT ON COLUMN token_ledger.token_ledger_events.metadata IS
'What else the client wants to keep about the call.';
COMMENT ON COLUMN token_ledger.token_ledger_events.request_preview IS
'Beginning of the request.';
COMMENT ON COLUMN token_ledger.token_ledger_events.response_preview IS
'Beginning of the response.';
COMMENT ON COLUMN token_ledger.token_ledger_events.ingest_xid IS
'Transaction that inserted the row into this cluster: its place in the queue. Not forwarded.';
COMMENT ON COLUMN token_ledger.token_ledger_events.ingest_seq IS
'Place in the queue among the rows of one transaction. Not forwarded.';
COMMENT ON SEQUENCE token_ledger.token_ledger_events_ingest_seq_seq IS
'Of token_ledger_events.ingest_seq.';
COMMENT ON CONSTRAINT token_ledger_events_pkey
	ON token_ledger.token_ledger_events IS
'Clients insert ON CONFLICT (event_id) DO NOTHING: this has to stay a plain unique index on event_id alone.';

CREATE UNIQUE INDEX token_ledger_events_ingest_key
	ON token_ledger.token_ledger_events (ingest_xid, ingest_seq);
COMMENT ON INDEX token_ledger.token_ledger_events_ingest_key IS
'The queue''s order: targets read the ledger along it.';

-- A client that starts creates indexes of eight names if they do not exist.
-- On a large ledger that takes long, holds off writers, and makes every later
-- insert dearer.  So the names are taken: by a useful and very small index on
-- the time, and by indexes that never hold a row.
CREATE INDEX idx_token_ledger_events_timestamp
	ON token_ledger.token_ledger_events USING brin ("timestamp");
COMMENT ON INDEX token_ledger.idx_token_ledger_events_timestamp IS
'For queries by time. Bears the name that clients would create an index under.';
CREATE INDEX idx_token_ledger_events_user
	ON token_ledger.token_ledger_events (user_id) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_user IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';
CREATE INDEX idx_token_ledger_events_model
	ON token_ledger.token_ledger_events (model) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_model IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';
CREATE INDEX idx_token_ledger_events_app
	ON token_ledger.token_ledger_events (app_name) WHERE false;
COMMENT ON INDEX token_ledger.idx_token_ledger_events_app IS
'Empty: takes the name, so that a starting client does not build an index here. Create indexes that you need under other names.';

--------------------------------------------------------------------------
-- Forwarding: its state

CREATE TABLE token_ledger.instance (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	ledger_id uuid NOT NULL
);
COMMENT ON TABLE token_ledger.instance IS
'Identity of the ledger, the same in every copy of it. One row, made at first use.';
COMMENT ON COLUMN token_ledger.instance.singleton IS 'Always true.';
COMMENT ON COLUMN token_ledger.instance.ledger_id IS
'Random; the stores keep it beside the events.';

CREATE TABLE token_ledger.instance_local (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	timeline integer NOT NULL,
	cluster_id text NOT NULL DEFAULT '',
	written_xid xid8 NOT NULL
);
COMMENT ON TABLE token_ledger.instance_local IS
'Where this ledger last ran, by which a copy is told from the original. One row, never dumped.';
COMMENT ON COLUMN token_ledger.instance_local.singleton IS 'Always true.';
COMMENT ON COLUMN token_ledger.instance_local.system_identifier IS
'Of the cluster.';
COMMENT ON COLUMN token_ledger.instance_local.database_oid IS
'Of the database.';
COMMENT ON COLUMN token_ledger.instance_local.timeline IS
'Of the write-ahead log.';
COMMENT ON COLUMN token_ledger.instance_local.cluster_id IS
'The setting tokenledger.cluster_id.';
COMMENT ON COLUMN token_ledger.instance_local.written_xid IS
'Transaction that wrote this row; differs from the row''s xmin after a restore.';

CREATE TABLE token_ledger.retired (
	hour timestamptz PRIMARY KEY,
	events bigint NOT NULL,
	tokens numeric NOT NULL,
	cost numeric NOT NULL
);
COMMENT ON TABLE token_ledger.retired IS
'Committed events that the ledger no longer holds, by hour: deleted, truncated, or written over at another place in the queue.';
COMMENT ON COLUMN token_ledger.retired.hour IS
'Start of the hour (UTC) of the events'' timestamp.';
COMMENT ON COLUMN token_ledger.retired.events IS 'Number of events.';
COMMENT ON COLUMN token_ledger.retired.tokens IS 'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.retired.cost IS
'Sum of cost_usd, without NaN.';

-- Default of target.vanished.  Waits for deletions that are under way: those
-- that come later see the new target.
CREATE FUNCTION token_ledger.retired_events()
RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	LOCK TABLE token_ledger.retired IN SHARE MODE;
	RETURN (SELECT coalesce(sum(r.events), 0) FROM token_ledger.retired r);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.retired_events FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.retired_events() IS
'How many events the ledger has held and no longer holds.';

-- Counts as a target does, with a cursor and what escaped it, but independent
-- of every target: so that what they have done can be checked without counting
-- the ledger.  Not dumped: in another cluster the cursor says nothing.
CREATE TABLE token_ledger.tally (
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	window_from pg_snapshot NOT NULL,
	window_to pg_snapshot NOT NULL,
	last_xid xid8 NOT NULL,
	last_seq bigint NOT NULL,
	counted bigint NOT NULL DEFAULT 0,
	vanished bigint NOT NULL DEFAULT token_ledger.retired_events(),
	PRIMARY KEY (system_identifier, database_oid)
);
COMMENT ON TABLE token_ledger.tally IS
'How many events have been committed, up to a place in the queue.';
COMMENT ON COLUMN token_ledger.tally.system_identifier IS 'Of the cluster.';
COMMENT ON COLUMN token_ledger.tally.database_oid IS 'Of the database.';
COMMENT ON COLUMN token_ledger.tally.window_from IS
'Everything visible in this snapshot has been counted.';
COMMENT ON COLUMN token_ledger.tally.window_to IS
'End of the current window; its events up to last_xid, last_seq have been counted.';
COMMENT ON COLUMN token_ledger.tally.last_xid IS
'Last position counted in the current window.';
COMMENT ON COLUMN token_ledger.tally.last_seq IS
'Last position counted in the current window.';
COMMENT ON COLUMN token_ledger.tally.counted IS 'Events counted.';
COMMENT ON COLUMN token_ledger.tally.vanished IS
'Events that left the ledger before they were counted.';

CREATE TABLE token_ledger.target (
	id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	name text NOT NULL,
	backend text,
	destination text,
	paused boolean NOT NULL DEFAULT false,
	state text NOT NULL DEFAULT 'running'
		CHECK (state IN ('running', 'suspended', 'stopped', 'error')),
	cause text,
	code text,
	last_error text,
	error_since timestamptz,
	remote_version integer,
	remote_differences text,
	remote_hint text,
	guarantee text,
	keeps_from timestamptz,
	lost_event uuid,
	window_from pg_snapshot,
	window_to pg_snapshot,
	window_to_at timestamptz,
	from_until timestamptz,
	to_until timestamptz,
	last_xid xid8,
	last_seq bigint,
	suspect_to pg_snapshot,
	start_request text CHECK (start_request IN ('beginning', 'now')),
	takes_over boolean NOT NULL DEFAULT false,
	timeline integer,
	skipped_to pg_snapshot,
	skipped bigint NOT NULL DEFAULT 0,
	vanished bigint NOT NULL DEFAULT token_ledger.retired_events(),
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (system_identifier, database_oid, name)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE token_ledger.target IS
'One row per target, with its cursor over the ledger. Rows of other clusters (restored ones) are history.';
COMMENT ON COLUMN token_ledger.target.id IS 'Names the target in other tables.';
COMMENT ON COLUMN token_ledger.target.system_identifier IS
'Of the cluster that forwards.';
COMMENT ON COLUMN token_ledger.target.database_oid IS
'Of the database that forwards.';
COMMENT ON COLUMN token_ledger.target.name IS
'As in the setting tokenledger.targets.';
COMMENT ON COLUMN token_ledger.target.backend IS 'Kind of store.';
COMMENT ON COLUMN token_ledger.target.destination IS
'The store and its table, without user and secrets.';
COMMENT ON COLUMN token_ledger.target.paused IS
'Set by pause(), cleared by resume().';
COMMENT ON COLUMN token_ledger.target.state IS
'running, suspended (this ledger is a copy), stopped (another destination) or error (tries again by itself).';
COMMENT ON COLUMN token_ledger.target.cause IS 'Class of the last error.';
COMMENT ON COLUMN token_ledger.target.code IS
'The store''s code of the last error.';
COMMENT ON COLUMN token_ledger.target.last_error IS
'Words of the last error; NULL once the cause is gone.';
COMMENT ON COLUMN token_ledger.target.error_since IS
'Since when the target has been in error.';
COMMENT ON COLUMN token_ledger.target.remote_version IS
'Schema version of the store''s table: 100 * major + minor.';
COMMENT ON COLUMN token_ledger.target.remote_differences IS
'How the store''s table differs from what is expected.';
COMMENT ON COLUMN token_ledger.target.remote_hint IS
'What to do about the version of the store''s table.';
COMMENT ON COLUMN token_ledger.target.guarantee IS
'What the store is verified to hold once when it is sent twice: an attempt, a batch or an event.';
COMMENT ON COLUMN token_ledger.target.keeps_from IS
'The store may have dropped events that are older; NULL: it drops none.';
COMMENT ON COLUMN token_ledger.target.lost_event IS
'An event that the store has acknowledged and no longer has: nothing is claimed until it has it again, or retarget() says how to go on. NULL: nothing is known to be lost.';
COMMENT ON COLUMN token_ledger.target.window_from IS
'Everything visible in this snapshot has been claimed.';
COMMENT ON COLUMN token_ledger.target.window_to IS
'End of the current window; its events up to last_xid, last_seq have been claimed. NULL: nothing has been.';
COMMENT ON COLUMN token_ledger.target.window_to_at IS
'When that snapshot was taken.';
COMMENT ON COLUMN token_ledger.target.from_until IS
'What was committed before this has been claimed: it is visible in window_from, or a later look has found nothing to claim.';
COMMENT ON COLUMN token_ledger.target.to_until IS
'What was committed before this is visible in window_to.';
COMMENT ON COLUMN token_ledger.target.last_xid IS
'Last position claimed in the current window; NULL: none.';
COMMENT ON COLUMN token_ledger.target.last_seq IS
'Last position claimed in the current window; NULL: none.';
COMMENT ON COLUMN token_ledger.target.suspect_to IS
'Events of transactions before the xmax of this snapshot may have been sent before a fail-over and are looked up first.';
COMMENT ON COLUMN token_ledger.target.timeline IS
'Of the write-ahead log when the target last ran.';
COMMENT ON COLUMN token_ledger.target.start_request IS
'Where adopt() or retarget() asked the next lane that starts to begin: beginning or now, whatever the URL says. NULL: they did not.';
COMMENT ON COLUMN token_ledger.target.takes_over IS
'The next lane that starts forgets what other targets have filled this destination: so said adopt() or retarget().';
COMMENT ON COLUMN token_ledger.target.skipped_to IS
'Events visible in this snapshot were passed over by start=now; NULL: none were.';
COMMENT ON COLUMN token_ledger.target.skipped IS
'Events that start=now has passed over.';
COMMENT ON COLUMN token_ledger.target.vanished IS
'Events that left the ledger before this target claimed them, those before its creation included.';
COMMENT ON COLUMN token_ledger.target.created_at IS
'When the target was first taken up.';
COMMENT ON SEQUENCE token_ledger.target_id_seq IS 'Of target.id.';

-- No foreign keys to target: pg_restore --jobs brings the tables' rows in any
-- order.
CREATE TABLE token_ledger.lane (
	target_id integer NOT NULL,
	lane smallint NOT NULL,
	epoch bigint NOT NULL DEFAULT 0,
	source text CHECK (source IN ('window', 'dead_letter', 'job')),
	source_id bigint,
	range_from pg_snapshot,
	range_to pg_snapshot,
	first_xid xid8,
	first_seq bigint,
	done_xid xid8,
	done_seq bigint,
	last_xid xid8,
	last_seq bigint,
	range_rows integer NOT NULL DEFAULT 0,
	done_rows integer NOT NULL DEFAULT 0,
	range_history smallint NOT NULL DEFAULT 0,
	part_xid xid8,
	part_seq bigint,
	part_rows integer,
	part_checksum bigint,
	part_token uuid,
	part_history smallint,
	part_started_at timestamptz,
	part_event_bytes bigint,
	held uuid[],
	held_suspect boolean NOT NULL DEFAULT false,
	range_until timestamptz,
	held_until timestamptz,
	backend_state bytea,
	state_timeline integer,
	forwarded bigint NOT NULL DEFAULT 0,
	replayed bigint NOT NULL DEFAULT 0,
	rows_new bigint NOT NULL DEFAULT 0,
	dead bigint NOT NULL DEFAULT 0,
	filtered bigint NOT NULL DEFAULT 0,
	vanished bigint NOT NULL DEFAULT 0,
	batches bigint NOT NULL DEFAULT 0,
	bytes bigint NOT NULL DEFAULT 0,
	retries bigint NOT NULL DEFAULT 0,
	unknowns bigint NOT NULL DEFAULT 0,
	resolves bigint NOT NULL DEFAULT 0,
	settled_at timestamptz,
	last_event uuid,
	kept_event uuid,
	retired boolean NOT NULL DEFAULT false,
	PRIMARY KEY (target_id, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE token_ledger.lane IS
'One row per lane of a target: the range it has claimed, the part that is on its way, and its totals.';
COMMENT ON COLUMN token_ledger.lane.target_id IS 'The target.';
COMMENT ON COLUMN token_ledger.lane.lane IS 'Number of the lane, from 0.';
COMMENT ON COLUMN token_ledger.lane.epoch IS
'Grows whenever a process takes the lane over; an earlier owner writes nothing.';
COMMENT ON COLUMN token_ledger.lane.source IS
'Where the claimed range comes from: window or job; dead_letter: no range, the held events are dead letters that are sent again. NULL: no range.';
COMMENT ON COLUMN token_ledger.lane.source_id IS
'Which job, where the range comes from one.';
COMMENT ON COLUMN token_ledger.lane.range_from IS
'Events visible in this snapshot are not in the range.';
COMMENT ON COLUMN token_ledger.lane.range_to IS
'Events not visible in this snapshot are not in the range.';
COMMENT ON COLUMN token_ledger.lane.first_xid IS
'The range lies after this position.';
COMMENT ON COLUMN token_ledger.lane.first_seq IS
'The range lies after this position.';
COMMENT ON COLUMN token_ledger.lane.done_xid IS
'Settled up to and with this position.';
COMMENT ON COLUMN token_ledger.lane.done_seq IS
'Settled up to and with this position.';
COMMENT ON COLUMN token_ledger.lane.last_xid IS
'Last position of the range.';
COMMENT ON COLUMN token_ledger.lane.last_seq IS
'Last position of the range.';
COMMENT ON COLUMN token_ledger.lane.range_rows IS 'Events in the range.';
COMMENT ON COLUMN token_ledger.lane.range_history IS
'0: none of the range''s events can be in the store by another batch; 2: some may.';
COMMENT ON COLUMN token_ledger.lane.done_rows IS
'Events of the range that are settled.';
COMMENT ON COLUMN token_ledger.lane.part_xid IS
'Last position of the current part.';
COMMENT ON COLUMN token_ledger.lane.part_seq IS
'Last position of the current part.';
COMMENT ON COLUMN token_ledger.lane.part_rows IS 'Events in the part''s batch.';
COMMENT ON COLUMN token_ledger.lane.part_checksum IS
'Over the part''s events: tells whether it can be read again unchanged.';
COMMENT ON COLUMN token_ledger.lane.part_token IS
'Random name of the part''s batch in the store.';
COMMENT ON COLUMN token_ledger.lane.part_history IS
'What may have become of these events before (TlHistory).';
COMMENT ON COLUMN token_ledger.lane.part_started_at IS
'When the part was first attempted.';
COMMENT ON COLUMN token_ledger.lane.part_event_bytes IS
'max_event_bytes when the part was made: read again, it leaves out what it left out then.';
COMMENT ON COLUMN token_ledger.lane.held IS
'Events that were refused alone, to be judged again together with later ones; or dead letters that are sent again.';
COMMENT ON COLUMN token_ledger.lane.held_suspect IS
'Some of them may have been sent before, by another lane or before a fail-over, and are looked up first.';
COMMENT ON COLUMN token_ledger.lane.range_until IS
'What was committed before this is not in the range; NULL: no range of a window.';
COMMENT ON COLUMN token_ledger.lane.held_until IS
'What was committed before this is not held; NULL: nothing is, or dead letters are.';
COMMENT ON COLUMN token_ledger.lane.backend_state IS
'What the backend has saved: a stream, a channel.';
COMMENT ON COLUMN token_ledger.lane.state_timeline IS
'Timeline of the write-ahead log when the backend saved it.';
COMMENT ON COLUMN token_ledger.lane.forwarded IS
'Events that the store has acknowledged.';
COMMENT ON COLUMN token_ledger.lane.replayed IS
'Events that a job has sent again and the store has acknowledged; not among those forwarded.';
COMMENT ON COLUMN token_ledger.lane.rows_new IS
'Those of them that were new to the store, as far as it tells.';
COMMENT ON COLUMN token_ledger.lane.dead IS 'Events set aside as dead letters.';
COMMENT ON COLUMN token_ledger.lane.filtered IS
'Events that the target''s filter left out.';
COMMENT ON COLUMN token_ledger.lane.vanished IS
'Events that left the ledger after they were claimed, before they were read.';
COMMENT ON COLUMN token_ledger.lane.batches IS
'Batches sent, those that a refusal was narrowed down with included.';
COMMENT ON COLUMN token_ledger.lane.bytes IS
'Bytes of column data acknowledged.';
COMMENT ON COLUMN token_ledger.lane.retries IS
'Attempts that certainly stored nothing.';
COMMENT ON COLUMN token_ledger.lane.unknowns IS
'Attempts whose outcome was not known.';
COMMENT ON COLUMN token_ledger.lane.resolves IS
'How often the store was asked what it holds.';
COMMENT ON COLUMN token_ledger.lane.settled_at IS 'When the lane last settled.';
COMMENT ON COLUMN token_ledger.lane.last_event IS
'An event of the last batch acknowledged, to look up whether the store still has it.';
COMMENT ON COLUMN token_ledger.lane.kept_event IS
'An event of an earlier batch, to be looked up as well: after a loss it is missing for longer.';
COMMENT ON COLUMN token_ledger.lane.retired IS
'More lanes once ran than the setting now asks for; this one only keeps its totals.';

CREATE TABLE token_ledger.dead_letter (
	target_id integer NOT NULL,
	event_id uuid NOT NULL,
	state text NOT NULL DEFAULT 'dead'
		CHECK (state IN ('dead', 'requeued', 'sending', 'discarded')),
	reason text NOT NULL,
	code text,
	times integer NOT NULL DEFAULT 1,
	first_at timestamptz NOT NULL DEFAULT now(),
	last_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (target_id, event_id)
);
CREATE INDEX dead_letter_requeued_idx ON token_ledger.dead_letter (target_id)
	WHERE state = 'requeued';
COMMENT ON INDEX token_ledger.dead_letter_requeued_idx IS
'What a target''s lanes are to send again.';
COMMENT ON TABLE token_ledger.dead_letter IS
'Events that a store refused. One that it takes later has no row any more.';
COMMENT ON COLUMN token_ledger.dead_letter.target_id IS 'The target.';
COMMENT ON COLUMN token_ledger.dead_letter.event_id IS 'The event.';
COMMENT ON COLUMN token_ledger.dead_letter.state IS
'dead, requeued (to be sent again), sending (a lane has it) or discarded (given up).';
COMMENT ON COLUMN token_ledger.dead_letter.reason IS
'Why, in the store''s or the core''s words.';
COMMENT ON COLUMN token_ledger.dead_letter.code IS 'The store''s code.';
COMMENT ON COLUMN token_ledger.dead_letter.times IS
'How often the event was refused.';
COMMENT ON COLUMN token_ledger.dead_letter.first_at IS
'When it was first refused.';
COMMENT ON COLUMN token_ledger.dead_letter.last_at IS
'When it was last refused.';

CREATE TABLE token_ledger.job (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	target_id integer NOT NULL,
	kind text NOT NULL
		CHECK (kind IN ('migrate', 'rollback', 'replay', 'reconcile')),
	state text NOT NULL DEFAULT 'requested'
		CHECK (state IN ('requested', 'running', 'done', 'failed',
			'cancelled')),
	version integer,
	from_time timestamptz,
	to_time timestamptz,
	rate integer,
	horizon_from pg_snapshot,
	horizon_to pg_snapshot,
	horizon_xid xid8,
	horizon_seq bigint,
	waits_for text[],
	at_xid xid8,
	at_seq bigint,
	end_xid xid8,
	sent bigint NOT NULL DEFAULT 0,
	refused bigint NOT NULL DEFAULT 0,
	refusal text,
	requeue boolean NOT NULL DEFAULT false,
	at_time timestamptz,
	end_time timestamptz,
	cancel_requested boolean NOT NULL DEFAULT false,
	attempts integer NOT NULL DEFAULT 0,
	done bigint NOT NULL DEFAULT 0,
	total bigint,
	message text,
	code text,
	error text,
	requested_by text,
	requested_at timestamptz NOT NULL DEFAULT now(),
	started_at timestamptz,
	finished_at timestamptz
);
CREATE INDEX job_open_idx ON token_ledger.job (target_id, id)
	WHERE state IN ('requested', 'running');
COMMENT ON TABLE token_ledger.job IS
'Requests that lane 0 of a target carries out between its ranges.';
COMMENT ON COLUMN token_ledger.job.id IS 'Number of the request.';
COMMENT ON COLUMN token_ledger.job.target_id IS 'The target.';
COMMENT ON COLUMN token_ledger.job.kind IS
'migrate, rollback, replay or reconcile.';
COMMENT ON COLUMN token_ledger.job.state IS
'requested, running, done, failed or cancelled.';
COMMENT ON COLUMN token_ledger.job.version IS
'Of migrate and rollback: the version to reach; NULL: the newest.';
COMMENT ON COLUMN token_ledger.job.from_time IS
'Events from this timestamp on; NULL: from the beginning.';
COMMENT ON COLUMN token_ledger.job.to_time IS
'Events before this timestamp; NULL: to the end.';
COMMENT ON COLUMN token_ledger.job.rate IS
'Events a second at most; NULL: no limit.';
COMMENT ON COLUMN token_ledger.job.horizon_from IS
'Of replay: the target''s window_from when it began. What had been claimed by then is sent again, the rest comes by itself.';
COMMENT ON COLUMN token_ledger.job.horizon_to IS
'Of replay: the target''s window_to when it began.';
COMMENT ON COLUMN token_ledger.job.horizon_xid IS
'Of replay: the target''s last_xid when it began.';
COMMENT ON COLUMN token_ledger.job.horizon_seq IS
'Of replay: the target''s last_seq when it began.';
COMMENT ON COLUMN token_ledger.job.waits_for IS
'Of replay: the ranges that lanes had claimed when it began; it sends nothing before they are settled.';
COMMENT ON COLUMN token_ledger.job.at_xid IS
'Of replay: the queue has been searched up to here.';
COMMENT ON COLUMN token_ledger.job.at_seq IS
'Of replay: the queue has been searched up to here.';
COMMENT ON COLUMN token_ledger.job.end_xid IS
'Of replay: the last transaction that has events of that time.';
COMMENT ON COLUMN token_ledger.job.sent IS
'Events that it has sent and the store has acknowledged.';
COMMENT ON COLUMN token_ledger.job.refused IS
'Events that it has sent and the store has refused. They stay what they were: no dead letters.';
COMMENT ON COLUMN token_ledger.job.refusal IS
'Why the store refused the last of them.';
COMMENT ON COLUMN token_ledger.job.requeue IS
'Of reconcile: whether what the store lacks is sent again.';
COMMENT ON COLUMN token_ledger.job.at_time IS
'Of reconcile: events before this timestamp have been compared.';
COMMENT ON COLUMN token_ledger.job.end_time IS
'Of reconcile: events before this timestamp are to be compared.';
COMMENT ON COLUMN token_ledger.job.cancel_requested IS
'The lane ends it after the step that it is at.';
COMMENT ON COLUMN token_ledger.job.attempts IS
'How often it was tried since it last got on.';
COMMENT ON COLUMN token_ledger.job.done IS
'How far it has come: steps or events.';
COMMENT ON COLUMN token_ledger.job.total IS
'How far it has to come; NULL: not known yet.';
COMMENT ON COLUMN token_ledger.job.message IS 'What it did last.';
COMMENT ON COLUMN token_ledger.job.code IS 'The store''s code of the error.';
COMMENT ON COLUMN token_ledger.job.error IS
'Why it failed, or why it has to be tried again.';
COMMENT ON COLUMN token_ledger.job.requested_by IS
'Who asked for it; NULL: tokenledger itself, as auto_migrate allows.';
COMMENT ON COLUMN token_ledger.job.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN token_ledger.job.started_at IS 'When it was begun.';
COMMENT ON COLUMN token_ledger.job.finished_at IS 'When it was ended.';
COMMENT ON SEQUENCE token_ledger.job_id_seq IS 'Of job.id.';
COMMENT ON INDEX token_ledger.job_open_idx IS
'What a target''s lane still has to do, in order.';

-- No event_id: an upsert up to PostgreSQL 16 gives its event another place in
-- the queue, where every target meets it anew.  Not dumped: in another cluster
-- the places are others, and the jobs are history.
CREATE TABLE token_ledger.job_event (
	job_id bigint NOT NULL,
	xid xid8 NOT NULL,
	seq bigint NOT NULL,
	PRIMARY KEY (job_id, xid, seq)
);
COMMENT ON TABLE token_ledger.job_event IS
'What jobs have still to send, by place in the queue. Lane 0 of the target takes its ranges from here, beside those of the cursor.';
COMMENT ON COLUMN token_ledger.job_event.job_id IS 'The job.';
COMMENT ON COLUMN token_ledger.job_event.xid IS 'ingest_xid of the event.';
COMMENT ON COLUMN token_ledger.job_event.seq IS 'ingest_seq of the event.';

CREATE TABLE token_ledger.reconcile_hour (
	job_id bigint NOT NULL,
	hour timestamptz NOT NULL,
	ledger_events bigint NOT NULL,
	store_events bigint NOT NULL,
	ledger_tokens numeric NOT NULL,
	store_tokens numeric NOT NULL,
	ledger_cost numeric NOT NULL,
	store_cost numeric NOT NULL,
	missing bigint NOT NULL,
	extra bigint NOT NULL,
	different bigint NOT NULL,
	doubled bigint NOT NULL,
	retired bigint NOT NULL DEFAULT 0,
	retired_missing bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (job_id, hour)
);
COMMENT ON TABLE token_ledger.reconcile_hour IS
'What reconcile has found: an hour in which ledger and store differ.';
COMMENT ON COLUMN token_ledger.reconcile_hour.job_id IS 'The job.';
COMMENT ON COLUMN token_ledger.reconcile_hour.hour IS
'Start of the hour (UTC) of the events'' timestamp.';
COMMENT ON COLUMN token_ledger.reconcile_hour.ledger_events IS
'Events of the hour that the store should have, in those stretches of it that differed. What the target has not settled counts if it was there.';
COMMENT ON COLUMN token_ledger.reconcile_hour.store_events IS
'Rows that the store has there.';
COMMENT ON COLUMN token_ledger.reconcile_hour.ledger_tokens IS
'Sum of their total_tokens in the ledger.';
COMMENT ON COLUMN token_ledger.reconcile_hour.store_tokens IS
'Sum of their total_tokens in the store.';
COMMENT ON COLUMN token_ledger.reconcile_hour.ledger_cost IS
'Sum of their cost_usd in the ledger, without NaN.';
COMMENT ON COLUMN token_ledger.reconcile_hour.store_cost IS
'Sum of their cost_usd in the store, without NaN.';
COMMENT ON COLUMN token_ledger.reconcile_hour.missing IS
'Events that the store has acknowledged and does not have.';
COMMENT ON COLUMN token_ledger.reconcile_hour.extra IS
'Rows whose event is not in the ledger, beyond those that it has retired.';
COMMENT ON COLUMN token_ledger.reconcile_hour.different IS
'Events whose total_tokens, cost_usd or timestamp differ.';
COMMENT ON COLUMN token_ledger.reconcile_hour.doubled IS
'Rows of events that the store has already.';
COMMENT ON COLUMN token_ledger.reconcile_hour.retired IS
'Events of the hour that the ledger no longer holds: so many rows without an event are no surprise.';
COMMENT ON COLUMN token_ledger.reconcile_hour.retired_missing IS
'Those of them that the store should still have and does not. 0 where the target may not have got all of them.';

CREATE TABLE token_ledger.reconcile_event (
	job_id bigint NOT NULL,
	hour timestamptz NOT NULL,
	kind text NOT NULL
		CHECK (kind IN ('missing', 'extra', 'different', 'doubled')),
	event_id uuid NOT NULL,
	ledger_tokens numeric,
	store_tokens numeric,
	ledger_cost numeric,
	store_cost numeric,
	PRIMARY KEY (job_id, hour, kind, event_id)
);
COMMENT ON TABLE token_ledger.reconcile_event IS
'What reconcile has found, by event: the first thousand of each kind in an hour.';
COMMENT ON COLUMN token_ledger.reconcile_event.job_id IS 'The job.';
COMMENT ON COLUMN token_ledger.reconcile_event.hour IS
'Start of the hour (UTC) in which it was found.';
COMMENT ON COLUMN token_ledger.reconcile_event.kind IS
'missing, extra, different or doubled.';
COMMENT ON COLUMN token_ledger.reconcile_event.event_id IS 'The event.';
COMMENT ON COLUMN token_ledger.reconcile_event.ledger_tokens IS
'Its total_tokens in the ledger; NULL: it is not there.';
COMMENT ON COLUMN token_ledger.reconcile_event.store_tokens IS
'Its total_tokens in the store; NULL: it is not there.';
COMMENT ON COLUMN token_ledger.reconcile_event.ledger_cost IS
'Its cost_usd in the ledger, 0 where it is NULL or NaN.';
COMMENT ON COLUMN token_ledger.reconcile_event.store_cost IS
'Its cost_usd in the store, 0 where it is NULL or NaN.';

-- What a job has found goes with it.
CREATE FUNCTION token_ledger.forget_job()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM token_ledger.job_event WHERE job_id = old.id;
	DELETE FROM token_ledger.reconcile_hour WHERE job_id = old.id;
	DELETE FROM token_ledger.reconcile_event WHERE job_id = old.id;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.forget_job FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.forget_job() IS
'Deletes what belongs to a deleted job.';
CREATE TRIGGER forget_job AFTER DELETE ON token_ledger.job
	FOR EACH ROW EXECUTE FUNCTION token_ledger.forget_job();
COMMENT ON TRIGGER forget_job ON token_ledger.job IS
'Deletes what belongs to a deleted job.';

-- Per lane, so that lanes never wait for each other's counts.
CREATE TABLE token_ledger.left_out (
	target_id integer NOT NULL,
	lane smallint NOT NULL,
	column_name text NOT NULL,
	events bigint NOT NULL,
	PRIMARY KEY (target_id, lane, column_name)
) WITH (fillfactor = 50);
COMMENT ON TABLE token_ledger.left_out IS
'Values that a store did not get, because its table was at a version without the column.';
COMMENT ON COLUMN token_ledger.left_out.target_id IS 'The target.';
COMMENT ON COLUMN token_ledger.left_out.lane IS 'The lane that counted them.';
COMMENT ON COLUMN token_ledger.left_out.column_name IS 'Column of the ledger.';
COMMENT ON COLUMN token_ledger.left_out.events IS
'Events that were forwarded without their value: one that is neither NULL nor, of a number, 0.';

-- A target that comes to such a store, under whatever name, must not take its
-- own first events for events that the store cannot have.
CREATE TABLE token_ledger.filled (
	destination text PRIMARY KEY
);
COMMENT ON TABLE token_ledger.filled IS
'Stores that have got events from targets that were deleted, or moved elsewhere. A target that begins there looks each event up; delete the row of a store that was emptied.';
COMMENT ON COLUMN token_ledger.filled.destination IS
'As target.destination.';

CREATE FUNCTION token_ledger.note_filled()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO token_ledger.filled (destination) VALUES (old.destination)
	ON CONFLICT DO NOTHING;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.note_filled FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.note_filled() IS
'Keeps in mind that a target has filled the store that it leaves.';
CREATE TRIGGER note_filled_by_deleted AFTER DELETE ON token_ledger.target
	FOR EACH ROW WHEN (old.last_seq >= 0 AND old.destination IS NOT NULL)
	EXECUTE FUNCTION token_ledger.note_filled();
COMMENT ON TRIGGER note_filled_by_deleted ON token_ledger.target IS
'Keeps in mind that a target has filled the store that it leaves.';
CREATE TRIGGER note_filled_by_moved
	AFTER UPDATE OF destination ON token_ledger.target
	FOR EACH ROW WHEN (old.last_seq >= 0
		AND old.destination IS NOT NULL
		AND old.destination IS DISTINCT FROM new.destination)
	EXECUTE FUNCTION token_ledger.note_filled();
COMMENT ON TRIGGER note_filled_by_moved ON token_ledger.target IS
'Keeps in mind that a target has filled the store that it leaves.';

CREATE FUNCTION token_ledger.forget_target()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM token_ledger.lane WHERE target_id = old.id;
	DELETE FROM token_ledger.dead_letter WHERE target_id = old.id;
	DELETE FROM token_ledger.job WHERE target_id = old.id;
	DELETE FROM token_ledger.left_out WHERE target_id = old.id;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.forget_target FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.forget_target() IS
'Deletes what belongs to a deleted target.';
CREATE TRIGGER forget_target AFTER DELETE ON token_ledger.target
	FOR EACH ROW EXECUTE FUNCTION token_ledger.forget_target();
COMMENT ON TRIGGER forget_target ON token_ledger.target IS
'Deletes what belongs to a deleted target.';

--------------------------------------------------------------------------
-- Functions of the library

CREATE FUNCTION token_ledger.events_inserted()
RETURNS trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_events_inserted';
REVOKE ALL ON FUNCTION token_ledger.events_inserted FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.events_inserted() IS
'Wakes the lanes when the inserting transaction has committed.';

-- Called by WHEN clauses, thus by whoever updates, deletes or truncates.
CREATE FUNCTION token_ledger.edits_refused()
RETURNS boolean LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'tl_edits_refused';
COMMENT ON FUNCTION token_ledger.edits_refused() IS
'Whether tokenledger.allow_ledger_edits is off.';

CREATE FUNCTION token_ledger.refuse_edit()
RETURNS trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_refuse_edit';
REVOKE ALL ON FUNCTION token_ledger.refuse_edit FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.refuse_edit() IS
'Keeps the ledger append-only.';

CREATE FUNCTION token_ledger.cluster_key(
	OUT system_identifier bigint, OUT database_oid oid)
RETURNS record LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'tl_cluster_key';
REVOKE ALL ON FUNCTION token_ledger.cluster_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.cluster_key TO pg_monitor;
COMMENT ON FUNCTION token_ledger.cluster_key() IS
'This cluster and database: the rows of token_ledger.target that are in force here.';

CREATE FUNCTION token_ledger.configured_targets(
	OUT name text, OUT backend text, OUT destination text,
	OUT lanes integer, OUT error text, OUT hint text)
RETURNS SETOF record LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_configured_targets';
REVOKE ALL ON FUNCTION token_ledger.configured_targets FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.configured_targets TO pg_monitor;
COMMENT ON FUNCTION token_ledger.configured_targets() IS
'The targets that tokenledger.targets names for this database, invalid ones too. Shows no user and no secret.';

CREATE FUNCTION token_ledger.lane_processes(
	OUT target text, OUT lane integer, OUT pid integer, OUT phase text,
	OUT phase_since timestamptz, OUT retry_at timestamptz,
	OUT attempts integer)
RETURNS SETOF record LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_lane_processes';
REVOKE ALL ON FUNCTION token_ledger.lane_processes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.lane_processes TO pg_monitor;
COMMENT ON FUNCTION token_ledger.lane_processes() IS
'The lanes that run for this database.';

CREATE FUNCTION token_ledger.complete_until(target_id integer, name text)
RETURNS timestamptz LANGUAGE c STRICT SECURITY DEFINER
AS 'MODULE_PATHNAME', 'tl_complete_until';
REVOKE ALL ON FUNCTION token_ledger.complete_until FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.complete_until TO pg_monitor;
COMMENT ON FUNCTION token_ledger.complete_until(integer, text) IS
'Whatever was committed before this moment has been settled for the target: delivered, or set aside and counted.';

CREATE FUNCTION token_ledger.forwarding_problem()
RETURNS text LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_forwarding_problem';
REVOKE ALL ON FUNCTION token_ledger.forwarding_problem FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.forwarding_problem TO pg_monitor;
COMMENT ON FUNCTION token_ledger.forwarding_problem() IS
'Why nothing can be forwarded from this database at all; NULL: it can.';

CREATE FUNCTION token_ledger.backends(
	OUT name text, OUT display_name text, OUT library text,
	OUT jsonb boolean, OUT upsert boolean, OUT "returning" boolean,
	OUT window_functions boolean, OUT cte boolean, OUT streaming boolean,
	OUT compression boolean, OUT max_batch_rows integer,
	OUT recommended_batch_rows integer, OUT max_batch_bytes bigint,
	OUT max_lanes integer, OUT error text)
RETURNS SETOF record LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_backends';
REVOKE ALL ON FUNCTION token_ledger.backends FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.backends() IS
'The backends that are installed or registered, and what they can do. No limit is NULL.';

CREATE FUNCTION token_ledger.backend_options(
	backend text, OUT option text, OUT type text, OUT required boolean,
	OUT secret boolean, OUT destination boolean, OUT default_value text,
	OUT min bigint, OUT max bigint, OUT allowed text[],
	OUT description text)
RETURNS SETOF record LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_backend_options';
REVOKE ALL ON FUNCTION token_ledger.backend_options FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.backend_options(text) IS
'The options that a target''s URL may have with this backend.';

CREATE FUNCTION token_ledger.connection_info(
	target text, OUT key text, OUT value text)
RETURNS SETOF record LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_connection_info';
REVOKE ALL ON FUNCTION token_ledger.connection_info FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.connection_info(text) IS
'How a target is reached, without secrets. Does not connect.';

CREATE FUNCTION token_ledger.routing(
	target text, OUT columns text[], OUT hashed text[], OUT filter text)
RETURNS record LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_routing';
REVOKE ALL ON FUNCTION token_ledger.routing FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.routing(text) IS
'What of the events a target gets: the columns, those of them that are hashed, and the condition that events have to meet, as PostgreSQL has understood the option; NULL: none. An invalid filter is the error of this function.';

CREATE FUNCTION token_ledger.health_check(
	target text, OUT healthy boolean, OUT latency_ms double precision,
	OUT code text, OUT message text)
RETURNS record LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_health_check';
REVOKE ALL ON FUNCTION token_ledger.health_check FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.health_check(text) IS
'Connects to a target''s store and asks how it is, within the target''s timeout.';

CREATE FUNCTION token_ledger.can_be_asked(target text)
RETURNS boolean LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_can_be_asked';
REVOKE ALL ON FUNCTION token_ledger.can_be_asked FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.can_be_asked(text) IS
'Whether a target''s store can be asked which events it holds. Does not connect.';

CREATE FUNCTION token_ledger.create_schema(target text)
RETURNS integer LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_create_schema';
REVOKE ALL ON FUNCTION token_ledger.create_schema FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.create_schema(text) IS
'Makes a target''s table, or brings it up to date, from the caller''s own session: no lane need run, each step is bounded by the target''s timeout. Returns the version afterwards (100 * major + minor).';

CREATE FUNCTION token_ledger.schema_version(target text)
RETURNS integer LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_schema_version';
REVOKE ALL ON FUNCTION token_ledger.schema_version FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.schema_version(text) IS
'Asks a target''s store for the version of its table (100 * major + minor); 0: a table that was not made by tokenledger, NULL: no table.';

CREATE FUNCTION token_ledger.available_migrations(
	target text, OUT version integer, OUT description text,
	OUT changes text, OUT applied boolean, OUT reversible boolean)
RETURNS SETOF record LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_available_migrations';
REVOKE ALL ON FUNCTION token_ledger.available_migrations FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.available_migrations(text) IS
'The versions that a target''s table can have, what each changes, and whether the store, which is asked, has it.';

-- Whether the backend knows the version, and can go there, is checked before
-- anything is requested.
CREATE FUNCTION token_ledger.migrate(
	target text, version integer DEFAULT NULL)
RETURNS bigint LANGUAGE c SECURITY DEFINER
AS 'MODULE_PATHNAME', 'tl_migrate';
REVOKE ALL ON FUNCTION token_ledger.migrate FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.migrate(text, integer) IS
'Requests that a target''s table is brought up to a version, the newest if it is NULL. Returns the number of the job, which lane 0 of the target carries out once the transaction has committed; CALL wait_for_job() waits for it.';

CREATE FUNCTION token_ledger.rollback(target text, version integer)
RETURNS bigint LANGUAGE c STRICT SECURITY DEFINER
AS 'MODULE_PATHNAME', 'tl_rollback';
REVOKE ALL ON FUNCTION token_ledger.rollback FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.rollback(text, integer) IS
'Requests that a target''s table is taken back to a version: the columns that later versions added are dropped with their values. Returns the number of the job, as migrate() does.';

-- No SET and not SECURITY DEFINER: it commits, so that the request is seen
-- and no snapshot is held meanwhile.
CREATE PROCEDURE token_ledger.wait_for_job(
	job bigint, timeout interval DEFAULT '1 minute',
	INOUT message text DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_wait_for_job';
REVOKE ALL ON PROCEDURE token_ledger.wait_for_job FROM PUBLIC;
COMMENT ON PROCEDURE token_ledger.wait_for_job(bigint, interval, text) IS
'Commits, then waits until a job is done and says what it did. An error if it failed, was cancelled, or took longer than timeout; in the last case the job goes on.';

CREATE FUNCTION token_ledger.flush(
	target text, timeout interval DEFAULT '1 minute')
RETURNS boolean LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'tl_flush';
REVOKE ALL ON FUNCTION token_ledger.flush FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.flush(text, interval) IS
'Waits until everything that was committed when it was called has been settled; false: it took longer than timeout. Does not wait for the caller''s own transaction.';

CREATE FUNCTION token_ledger.wake()
RETURNS void LANGUAGE c
AS 'MODULE_PATHNAME', 'tl_wake';
REVOKE ALL ON FUNCTION token_ledger.wake FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.wake() IS
'Wakes this database''s lanes when the transaction commits.';

--------------------------------------------------------------------------
-- The guard, and the account of what passes it

-- Counts committed events that lose their place in the queue: those deleted
-- or truncated, and those that INSERT ... ON CONFLICT DO UPDATE moves to the
-- inserting transaction (they will be forwarded once more; up to PostgreSQL
-- 16, later ones leave them where they are).  A target that had not claimed
-- them counts them as vanished.
CREATE FUNCTION token_ledger.retire()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gone constant text := CASE TG_OP
		WHEN 'DELETE' THEN
			'SELECT * FROM old_rows'
		WHEN 'UPDATE' THEN
			'SELECT * FROM old_rows o WHERE NOT EXISTS ('
			'SELECT FROM new_rows n WHERE n.ingest_xid = o.ingest_xid'
			' AND n.ingest_seq = o.ingest_seq)'
		WHEN 'TRUNCATE' THEN
			'SELECT * FROM ONLY token_ledger.token_ledger_events'
		END;
	unclaimed constant text :=
		'SELECT count(*) FROM (' || gone || ') g'
		' WHERE ingest_xid <> pg_current_xact_id()'
		' AND ($1 IS NULL'
		' OR NOT pg_visible_in_snapshot(ingest_xid, $1)'
		' OR NOT pg_visible_in_snapshot(ingest_xid, $2)'
		' AND ($3 IS NULL OR (ingest_xid, ingest_seq) > ($3, $4)))';
	target record;
	tally record;
	events bigint;
BEGIN
	EXECUTE 'INSERT INTO token_ledger.retired AS r'
		' SELECT date_trunc(''hour'', "timestamp", ''UTC''), count(*),'
		' sum(total_tokens),'
		' coalesce(sum(cost_usd) FILTER (WHERE cost_usd <> ''NaN''), 0)'
		' FROM (' || gone || ') g WHERE ingest_xid <> pg_current_xact_id()'
		' GROUP BY 1 ORDER BY 1'
		' ON CONFLICT (hour) DO UPDATE SET'
		' events = r.events + excluded.events,'
		' tokens = r.tokens + excluded.tokens,'
		' cost = r.cost + excluded.cost';
	GET DIAGNOSTICS events = ROW_COUNT;
	IF events = 0 THEN
		RETURN NULL;
	END IF;
	FOR target IN
		SELECT t.* FROM token_ledger.target t, token_ledger.cluster_key() k
		WHERE t.system_identifier = k.system_identifier
			AND t.database_oid = k.database_oid
		ORDER BY t.id
	LOOP
		EXECUTE unclaimed INTO events
		USING target.window_to, target.window_from,
			target.last_xid, target.last_seq;
		CONTINUE WHEN events = 0;

		-- The cursor may have moved on; from here on it does not.
		SELECT t.* INTO target FROM token_ledger.target t
		WHERE t.id = target.id FOR NO KEY UPDATE;
		CONTINUE WHEN NOT FOUND;
		EXECUTE unclaimed INTO events
		USING target.window_to, target.window_from,
			target.last_xid, target.last_seq;
		UPDATE token_ledger.target t SET vanished = t.vanished + events
		WHERE t.id = target.id;
	END LOOP;

	-- The same for the count of all.
	SELECT y.* INTO tally FROM token_ledger.tally y, token_ledger.cluster_key() k
	WHERE y.system_identifier = k.system_identifier
		AND y.database_oid = k.database_oid;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	EXECUTE unclaimed INTO events
	USING tally.window_to, tally.window_from, tally.last_xid, tally.last_seq;
	IF events > 0 THEN
		SELECT y.* INTO tally FROM token_ledger.tally y
		WHERE y.system_identifier = tally.system_identifier
			AND y.database_oid = tally.database_oid FOR NO KEY UPDATE;
		EXECUTE unclaimed INTO events
		USING tally.window_to, tally.window_from,
			tally.last_xid, tally.last_seq;
		UPDATE token_ledger.tally y SET vanished = y.vanished + events
		WHERE y.system_identifier = tally.system_identifier
			AND y.database_oid = tally.database_oid;
	END IF;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.retire FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.retire() IS
'Keeps token_ledger.retired and target.vanished.';

-- Row triggers: statement triggers would break ON CONFLICT DO UPDATE and
-- MERGE where they change nothing.  AFTER: a BEFORE UPDATE trigger would make
-- PostgreSQL recompute ingest_xid.  Triggers of one kind fire by name: the
-- guard's come first.
CREATE TRIGGER guard_update
	AFTER UPDATE ON token_ledger.token_ledger_events
	FOR EACH ROW WHEN (token_ledger.edits_refused())
	EXECUTE FUNCTION token_ledger.refuse_edit();
CREATE TRIGGER guard_delete
	AFTER DELETE ON token_ledger.token_ledger_events
	FOR EACH ROW WHEN (token_ledger.edits_refused())
	EXECUTE FUNCTION token_ledger.refuse_edit();
CREATE TRIGGER guard_truncate
	BEFORE TRUNCATE ON token_ledger.token_ledger_events
	FOR EACH STATEMENT WHEN (token_ledger.edits_refused())
	EXECUTE FUNCTION token_ledger.refuse_edit();
CREATE TRIGGER retire_update
	AFTER UPDATE ON token_ledger.token_ledger_events
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION token_ledger.retire();
CREATE TRIGGER retire_delete
	AFTER DELETE ON token_ledger.token_ledger_events
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION token_ledger.retire();
CREATE TRIGGER retire_truncate
	BEFORE TRUNCATE ON token_ledger.token_ledger_events
	FOR EACH STATEMENT EXECUTE FUNCTION token_ledger.retire();
CREATE TRIGGER wake_lanes
	AFTER INSERT ON token_ledger.token_ledger_events
	FOR EACH STATEMENT EXECUTE FUNCTION token_ledger.events_inserted();
ALTER TABLE token_ledger.token_ledger_events
	ENABLE ALWAYS TRIGGER guard_update,
	ENABLE ALWAYS TRIGGER guard_delete,
	ENABLE ALWAYS TRIGGER guard_truncate,
	ENABLE ALWAYS TRIGGER retire_update,
	ENABLE ALWAYS TRIGGER retire_delete,
	ENABLE ALWAYS TRIGGER retire_truncate,
	ENABLE ALWAYS TRIGGER wake_lanes;
COMMENT ON TRIGGER guard_update ON token_ledger.token_ledger_events IS
'The ledger is append-only unless tokenledger.allow_ledger_edits is on.';
COMMENT ON TRIGGER guard_delete ON token_ledger.token_ledger_events IS
'The ledger is append-only unless tokenledger.allow_ledger_edits is on.';
COMMENT ON TRIGGER guard_truncate ON token_ledger.token_ledger_events IS
'The ledger is append-only unless tokenledger.allow_ledger_edits is on.';
COMMENT ON TRIGGER retire_update ON token_ledger.token_ledger_events IS
'Counts events that an upsert moves to another place in the queue.';
COMMENT ON TRIGGER retire_delete ON token_ledger.token_ledger_events IS
'Counts events that are deleted.';
COMMENT ON TRIGGER retire_truncate ON token_ledger.token_ledger_events IS
'Counts events that are truncated.';
COMMENT ON TRIGGER wake_lanes ON token_ledger.token_ledger_events IS
'Forwarding begins when the transaction commits.';

--------------------------------------------------------------------------
-- Writing events

-- The event_id is filled in, or names an event that may have been recorded
-- before: recording it again changes nothing.
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
	"timestamp" timestamptz DEFAULT NULL)
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
			error_message, metadata, request_preview, response_preview)
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
			record.request_preview, record.response_preview
		FROM event
		ON CONFLICT (event_id) DO NOTHING
	)
	SELECT event.id FROM event;
$$;
REVOKE ALL ON FUNCTION token_ledger.record FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.record IS
'Records one LLM call and returns its event_id. Fills in the event_id, the time, and total_tokens (input + output) where they are not given. An event_id that is there already is left as it is.';

CREATE FUNCTION token_ledger.event_columns()
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
	FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = 'token_ledger.token_ledger_events'::regclass
		AND a.attnum > 0 AND NOT a.attisdropped
		AND a.attgenerated = '' AND a.attidentity = ''
$$;
REVOKE ALL ON FUNCTION token_ledger.event_columns FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.event_columns() IS
'The ledger''s columns that clients fill, for GRANT.';

CREATE FUNCTION token_ledger.grant_writer(role regrole)
RETURNS void LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA token_ledger TO %s', role);
	EXECUTE format('GRANT INSERT (%s), SELECT (event_id)'
		' ON token_ledger.token_ledger_events TO %s',
		token_ledger.event_columns(), role);
	-- The Python client's migration command looks whether it is needed.
	EXECUTE format('GRANT SELECT ON token_ledger.alembic_version TO %s', role);
	EXECUTE format('GRANT EXECUTE ON FUNCTION token_ledger.record TO %s',
		role);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.grant_writer FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.grant_writer(regrole) IS
'Grants what an application needs to write events: INSERT on the event columns, SELECT on event_id (for ON CONFLICT and RETURNING), record(), and SELECT on alembic_version. Later versions'' columns are granted when the extension is updated.';

-- Of the scripts: old_record is about to be replaced by new_record, and the
-- ledger may have got columns.
CREATE FUNCTION token_ledger.keep_grants(old_record regproc, new_record regproc)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s %s', new_record,
			CASE WHEN acl.grantee = 0 THEN 'PUBLIC'
				ELSE acl.grantee::regrole::text END,
			CASE WHEN acl.is_grantable THEN 'WITH GRANT OPTION' END)
		FROM pg_catalog.pg_proc p, aclexplode(p.proacl) acl
		WHERE p.oid = old_record AND acl.grantee <> p.proowner
		UNION ALL
		SELECT format('GRANT INSERT (%s) ON %s TO %s %s',
			token_ledger.event_columns(), a.attrelid::regclass,
			CASE WHEN acl.grantee = 0 THEN 'PUBLIC'
				ELSE acl.grantee::regrole::text END,
			CASE WHEN acl.is_grantable THEN 'WITH GRANT OPTION' END)
		FROM pg_catalog.pg_attribute a, aclexplode(a.attacl) acl
		WHERE a.attrelid = 'token_ledger.token_ledger_events'::regclass
			AND a.attname = 'event_id' AND acl.privilege_type = 'INSERT'
	LOOP
		EXECUTE command;
	END LOOP;
	PERFORM token_ledger.dump_privileges('pg_catalog.pg_proc', new_record);
	PERFORM token_ledger.dump_privileges('pg_catalog.pg_class',
		'token_ledger.token_ledger_events'::regclass);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.keep_grants FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.keep_grants(regproc, regproc) IS
'Of the extension''s scripts: gives writers the new columns and the new record().';

--------------------------------------------------------------------------
-- Costs

-- Types are those of the plain aggregates: clients replace the first two by
-- their own with CREATE OR REPLACE VIEW.
CREATE VIEW token_ledger.token_ledger_daily_costs AS
	SELECT date(e."timestamp") AS date,
		e.provider,
		e.model,
		count(*) AS request_count,
		sum(e.input_tokens) AS total_input_tokens,
		sum(e.output_tokens) AS total_output_tokens,
		sum(e.total_tokens) AS total_tokens,
		sum(e.cost_usd) FILTER (WHERE e.cost_usd <> 'NaN') AS total_cost,
		avg(e.duration_ms) FILTER (WHERE e.duration_ms <> 'NaN')
			AS avg_latency_ms
	FROM token_ledger.token_ledger_events e
	GROUP BY 1, 2, 3;
COMMENT ON VIEW token_ledger.token_ledger_daily_costs IS
'Costs by day, provider and model. Costs and durations that are NaN are left out.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.date IS
'Day of the timestamp in the session''s time zone.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.provider IS
'Provider of the model.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.model IS 'The model.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.request_count IS
'Number of events.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.total_input_tokens IS
'Sum of input_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.total_output_tokens IS
'Sum of output_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.total_tokens IS
'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.total_cost IS
'Sum of cost_usd, without NaN; NULL: no cost is known.';
COMMENT ON COLUMN token_ledger.token_ledger_daily_costs.avg_latency_ms IS
'Average of duration_ms, without NaN.';

CREATE VIEW token_ledger.token_ledger_user_costs AS
	SELECT coalesce(e.user_id, 'anonymous') AS user_id,
		count(*) AS request_count,
		sum(e.total_tokens) AS total_tokens,
		sum(e.cost_usd) FILTER (WHERE e.cost_usd <> 'NaN') AS total_cost,
		min(e."timestamp") AS first_request,
		max(e."timestamp") AS last_request
	FROM token_ledger.token_ledger_events e
	GROUP BY 1;
COMMENT ON VIEW token_ledger.token_ledger_user_costs IS
'Costs by user. Costs that are NaN are left out.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.user_id IS
'The user; NULL is shown as anonymous.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.request_count IS
'Number of events.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.total_tokens IS
'Sum of total_tokens.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.total_cost IS
'Sum of cost_usd, without NaN; NULL: no cost is known.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.first_request IS
'Earliest timestamp.';
COMMENT ON COLUMN token_ledger.token_ledger_user_costs.last_request IS
'Latest timestamp.';

CREATE TABLE token_ledger.alembic_version (
	version_num varchar(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO token_ledger.alembic_version (version_num) VALUES ('002');
COMMENT ON TABLE token_ledger.alembic_version IS
'For the migration command of the Python client: its schema is complete.';
COMMENT ON COLUMN token_ledger.alembic_version.version_num IS
'Revision of the client''s schema that this extension stands for.';

-- A dump holds the table only where the revision differs, and its restore
-- finds the row from above.
CREATE FUNCTION token_ledger.alembic_version_restored()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM token_ledger.alembic_version a
	WHERE a.version_num = '002' AND EXISTS (
		SELECT FROM token_ledger.alembic_version b
		WHERE b.version_num <> '002');
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.alembic_version_restored FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.alembic_version_restored() IS
'Lets a restored revision replace the one that CREATE EXTENSION wrote.';
CREATE TRIGGER restored AFTER INSERT ON token_ledger.alembic_version
	FOR EACH STATEMENT
	EXECUTE FUNCTION token_ledger.alembic_version_restored();
COMMENT ON TRIGGER restored ON token_ledger.alembic_version IS
'Lets a restored revision replace the one that CREATE EXTENSION wrote.';

--------------------------------------------------------------------------
-- Forwarding: what is asked of it

CREATE FUNCTION token_ledger.set_paused(target text, paused boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE token_ledger.target t SET paused = set_paused.paused
	FROM token_ledger.cluster_key() k
	WHERE t.name = set_paused.target
		AND t.system_identifier = k.system_identifier
		AND t.database_oid = k.database_oid;
	IF NOT FOUND THEN
		-- Configured, and no lane has taken it up yet.  A copy is suspended,
		-- as a lane would have it (src/queue_sql.c).
		INSERT INTO token_ledger.target AS t
			(system_identifier, database_oid, name, paused, state, last_error,
			error_since)
		SELECT k.system_identifier, k.database_oid, c.name, set_paused.paused,
			CASE WHEN o.copied THEN 'suspended' ELSE 'running' END,
			CASE WHEN o.copied THEN
				'this database is a copy of one that forwards to the target'
			END,
			CASE WHEN o.copied THEN now() END
		FROM token_ledger.cluster_key() k,
			token_ledger.configured_targets() c,
			(SELECT EXISTS (SELECT FROM token_ledger.target other
				WHERE other.name = set_paused.target
					AND other.window_from IS NOT NULL)) o (copied)
		WHERE c.name = set_paused.target
		LIMIT 1
		ON CONFLICT (system_identifier, database_oid, name)
			DO UPDATE SET paused = excluded.paused;
	END IF;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('target "%s" does not exist', target),
			HINT = 'Targets are named in the setting tokenledger.targets.';
	END IF;
	PERFORM token_ledger.wake();
END
$$;
REVOKE ALL ON FUNCTION token_ledger.set_paused FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.set_paused(text, boolean) IS
'What pause() and resume() have in common.';

CREATE FUNCTION token_ledger.pause(target text)
RETURNS void LANGUAGE sql SECURITY DEFINER STRICT
SET search_path = pg_catalog, pg_temp
AS $$ SELECT token_ledger.set_paused(target, true) $$;
REVOKE ALL ON FUNCTION token_ledger.pause FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.pause(text) IS
'Stops forwarding to a target once the transaction has committed; the cursor stays where it is.';

CREATE FUNCTION token_ledger.resume(target text)
RETURNS void LANGUAGE sql SECURITY DEFINER STRICT
SET search_path = pg_catalog, pg_temp
AS $$ SELECT token_ledger.set_paused(target, false) $$;
REVOKE ALL ON FUNCTION token_ledger.resume FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.resume(text) IS
'Goes on forwarding to a paused target, from where it was.';

-- The target's row, made if no lane has taken the target up yet; suspended
-- and stopped ones have no lane that would do anything to the store.
CREATE FUNCTION token_ledger.request_job(target text, kind text,
	version integer DEFAULT NULL, from_time timestamptz DEFAULT NULL,
	to_time timestamptz DEFAULT NULL, rate integer DEFAULT NULL,
	requeue boolean DEFAULT false)
RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	asked token_ledger.target;
	job bigint;
BEGIN
	-- Of migrations the functions in C have seen the target's URL.
	IF kind IN ('replay', 'reconcile')
		AND NOT EXISTS (SELECT FROM token_ledger.configured_targets() c
			WHERE c.name = request_job.target)
		AND NOT EXISTS (SELECT FROM token_ledger.target t
			WHERE t.name = request_job.target) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('target "%s" does not exist', target),
			HINT = 'Targets are named in the setting tokenledger.targets.';
	END IF;
	INSERT INTO token_ledger.target AS t
		(system_identifier, database_oid, name)
	SELECT k.system_identifier, k.database_oid, request_job.target
	FROM token_ledger.cluster_key() k
	WHERE NOT EXISTS (SELECT FROM token_ledger.target t
		WHERE t.name = request_job.target)
	ON CONFLICT DO NOTHING;
	SELECT t.* INTO asked
	FROM token_ledger.target t, token_ledger.cluster_key() k
	WHERE t.name = request_job.target
		AND t.system_identifier = k.system_identifier
		AND t.database_oid = k.database_oid;
	IF coalesce(asked.state, 'suspended') IN ('suspended', 'stopped') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('target "%s" is %s', target,
				coalesce(asked.state, 'suspended')),
			DETAIL = CASE WHEN asked.id IS NULL
				THEN 'This database is a copy of one that forwards to it.'
				ELSE coalesce(asked.last_error, 'No lane of it does anything.')
				END,
			HINT = CASE WHEN asked.state = 'stopped'
				THEN 'Set its URL back, or see token_ledger.retarget() and rename_target().'
				ELSE 'See token_ledger.adopt().' END;
	END IF;
	INSERT INTO token_ledger.job AS j
		(target_id, kind, version, from_time, to_time, rate, requeue,
			requested_by)
	VALUES (asked.id, request_job.kind, request_job.version,
		request_job.from_time, request_job.to_time, request_job.rate,
		request_job.requeue, session_user)
	RETURNING j.id INTO job;
	PERFORM token_ledger.wake();
	RETURN job;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.request_job FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.request_job(text, text, integer, timestamptz,
	timestamptz, integer, boolean) IS
'What the functions that request jobs have in common.';

CREATE FUNCTION token_ledger.check_time_range(from_time timestamptz,
	to_time timestamptz)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF from_time >= to_time THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the time range is empty',
			DETAIL = format('It begins at %s and ends before %s.', from_time,
				to_time);
	END IF;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.check_time_range FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.check_time_range(timestamptz, timestamptz) IS
'Raises an error unless the range of time can hold an event.';

CREATE FUNCTION token_ledger.replay(target text, from_time timestamptz,
	to_time timestamptz, rate integer DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM token_ledger.check_time_range(from_time, to_time);
	IF rate < 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid rate %s', rate),
			HINT = 'It is a number of events a second; NULL: no limit.';
	END IF;
	RETURN token_ledger.request_job(target, 'replay', NULL, from_time,
		to_time, rate);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.replay FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.replay(text, timestamptz, timestamptz,
	integer) IS
'Requests that the events from a timestamp on and before another (NULL: no bound) are sent to a target again, at most rate a second: those that it has taken from the queue when the job begins, also those that start=now passed over, and no dead letters. A store that can be asked, or that keeps an event once, gets only what it lacks. Returns the number of the job.';

CREATE FUNCTION token_ledger.reconcile(target text, from_time timestamptz,
	to_time timestamptz, requeue boolean DEFAULT false)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM token_ledger.check_time_range(from_time, to_time);
	RETURN token_ledger.request_job(target, 'reconcile', NULL, from_time,
		to_time, NULL, coalesce(requeue, false));
END
$$;
REVOKE ALL ON FUNCTION token_ledger.reconcile FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.reconcile(text, timestamptz, timestamptz,
	boolean) IS
'Requests that the events from a timestamp on and before another (NULL: no bound) are compared with what a target''s store holds: number, tokens and cost by hour, and event by event where they differ. requeue: what the store lacks is sent again. Returns the number of the job; see reconcile_hours and reconcile_findings.';

-- What may have been sent stays: its outcome has to be found out.
CREATE FUNCTION token_ledger.drop_job_events(job bigint)
RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	DELETE FROM token_ledger.job_event e
	WHERE e.job_id = job AND NOT EXISTS (
		SELECT FROM token_ledger.lane l
		WHERE l.source = 'job' AND l.source_id = job
			AND (e.xid, e.seq) <= (l.part_xid, l.part_seq));
$$;
REVOKE ALL ON FUNCTION token_ledger.drop_job_events FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.drop_job_events(bigint) IS
'Forgets what a job that has ended has still to send, but for the part that is on its way.';

CREATE FUNCTION token_ledger.cancel_job(job bigint)
RETURNS boolean LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_state text;
BEGIN
	-- Nobody is at it, or the lane that is ends it after its step.
	UPDATE token_ledger.job j
	SET state = 'cancelled', finished_at = now()
	WHERE j.id = job AND (j.state = 'requested' OR j.state = 'running'
		AND NOT EXISTS (
			SELECT FROM token_ledger.lane_processes() p
				JOIN token_ledger.target t ON t.name = p.target
			WHERE t.id = j.target_id AND p.lane = 0));
	IF NOT FOUND THEN
		UPDATE token_ledger.job j SET cancel_requested = true
		WHERE j.id = job AND j.state = 'running';
	END IF;
	IF NOT FOUND THEN
		SELECT j.state INTO found_state
		FROM token_ledger.job j WHERE j.id = job;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'undefined_object',
				MESSAGE = format('job %s does not exist', job),
				HINT = 'See token_ledger.jobs.';
		END IF;
		RETURN false;
	END IF;
	PERFORM token_ledger.drop_job_events(job)
	FROM token_ledger.job j WHERE j.id = job AND j.state = 'cancelled';
	PERFORM token_ledger.wake();
	RETURN true;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.cancel_job FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.cancel_job(bigint) IS
'Ends a job: at once if it has not begun, else after the step that it is at. What it has done stays done. false: it had ended already.';

-- Dead letters of a target: all of those that are in one of the states, or
-- only those of the ids, or of the code, that are given.
CREATE FUNCTION token_ledger.set_dead_letters(target text, event_ids uuid[],
	code text, from_states text[], to_state text)
RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	asked integer;
	changed bigint;
BEGIN
	IF target IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'target must not be null';
	END IF;
	SELECT t.id INTO asked
	FROM token_ledger.target t, token_ledger.cluster_key() k
	WHERE t.name = set_dead_letters.target
		AND t.system_identifier = k.system_identifier
		AND t.database_oid = k.database_oid;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('target "%s" has not started in this database',
				target),
			HINT = 'See token_ledger.status, and tokenledger.targets.';
	END IF;
	UPDATE token_ledger.dead_letter d SET state = to_state
	WHERE d.target_id = asked AND d.state = ANY (from_states)
		AND (event_ids IS NULL OR d.event_id = ANY (event_ids))
		AND (set_dead_letters.code IS NULL
			OR d.code = set_dead_letters.code);
	GET DIAGNOSTICS changed = ROW_COUNT;
	IF changed > 0 THEN
		PERFORM token_ledger.wake();
	END IF;
	RETURN changed;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.set_dead_letters FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.set_dead_letters(text, uuid[], text, text[], text) IS
'What requeue() and discard() have in common.';

CREATE FUNCTION token_ledger.requeue(target text,
	event_ids uuid[] DEFAULT NULL, code text DEFAULT NULL)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT token_ledger.set_dead_letters(target, event_ids, code,
		CASE WHEN event_ids IS NULL THEN ARRAY['dead']
			ELSE ARRAY['dead', 'discarded'] END, 'requeued')
$$;
REVOKE ALL ON FUNCTION token_ledger.requeue FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.requeue(text, uuid[], text) IS
'Lets dead letters of a target be sent again once the transaction has committed: all of them, those of these events (discarded ones too), or those with this code. Returns how many.';

CREATE FUNCTION token_ledger.discard(target text,
	event_ids uuid[] DEFAULT NULL, code text DEFAULT NULL)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT token_ledger.set_dead_letters(target, event_ids, code,
		ARRAY['dead', 'requeued'], 'discarded')
$$;
REVOKE ALL ON FUNCTION token_ledger.discard FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.discard(text, uuid[], text) IS
'Gives dead letters of a target up: all of them, those of these events, or those with this code. They are counted as discarded, and the ledger may drop their events. Returns how many.';

-- The row of a target of this database, locked; or an error.
CREATE FUNCTION token_ledger.own_target(target text)
RETURNS token_ledger.target LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	own token_ledger.target;
BEGIN
	SELECT t.* INTO own
	FROM token_ledger.target t, token_ledger.cluster_key() k
	WHERE t.name = own_target.target
		AND t.system_identifier = k.system_identifier
		AND t.database_oid = k.database_oid
	FOR UPDATE OF t;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('target "%s" has not started in this database',
				target),
			HINT = 'See token_ledger.status, and tokenledger.targets.';
	END IF;
	RETURN own;
END
$$;
REVOKE ALL ON FUNCTION token_ledger.own_target FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.own_target(text) IS
'What functions that change a target have in common.';

-- The account begins anew, as the cursor does: what the rows say of events
-- that were forwarded is true of another database, or of another store.
-- First the lock of retired, then the target's row, as in retire().
CREATE FUNCTION token_ledger.restart_target(id integer, start text, gone bigint,
	reason text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM token_ledger.lane l WHERE l.target_id = restart_target.id;
	DELETE FROM token_ledger.dead_letter d
	WHERE d.target_id = restart_target.id;
	DELETE FROM token_ledger.left_out o WHERE o.target_id = restart_target.id;
	DELETE FROM token_ledger.job_event e
	USING token_ledger.job j
	WHERE j.target_id = restart_target.id AND e.job_id = j.id;
	UPDATE token_ledger.job j
	SET state = 'cancelled', finished_at = now(), error = reason
	WHERE j.target_id = restart_target.id
		AND j.state IN ('requested', 'running');
	UPDATE token_ledger.target t
	SET state = 'running', start_request = start, takes_over = true,
		destination = NULL,
		lost_event = NULL,
		window_from = NULL, window_to = NULL, window_to_at = NULL,
		from_until = NULL, to_until = NULL,
		last_xid = NULL, last_seq = NULL, suspect_to = NULL,
		skipped_to = NULL, skipped = 0, vanished = gone,
		cause = NULL, code = NULL, last_error = NULL, error_since = NULL
	WHERE t.id = restart_target.id;
	PERFORM token_ledger.wake();
END
$$;
REVOKE ALL ON FUNCTION token_ledger.restart_target FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.restart_target(integer, text, bigint, text) IS
'What adopt() and retarget() have in common.';

-- NB: the store is asked event by event, not by the sums of an hour.  A copy
-- and its original may both have gone on, each with events of its own of the
-- same hour, and sums that agree by accident (a client that sends equal ones)
-- would lose what is missing.
CREATE FUNCTION token_ledger.adopt(target text,
	start text DEFAULT 'missing')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gone bigint;
	adopted token_ledger.target;
BEGIN
	IF start NOT IN ('missing', 'everything', 'now', 'continue') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid start "%s"', start),
			HINT = 'It is missing, everything or now; after a promotion, or another tokenledger.cluster_id, also continue.';
	END IF;
	gone := token_ledger.retired_events();
	adopted := token_ledger.own_target(target);
	IF adopted.state <> 'suspended' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('target "%s" is not suspended', target),
			DETAIL = format('Its state is %s.', adopted.state);
	ELSIF start = 'missing' AND NOT token_ledger.can_be_asked(target) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('the store of target "%s" cannot be asked what it lacks',
				target),
			HINT = format('Choose: adopt(''%s'', ''everything'') sends the whole ledger, and what the store has already may be there twice; adopt(''%1$s'', ''now'') sends nothing that was committed before.',
				target);
	ELSIF start <> 'continue' THEN
		PERFORM token_ledger.restart_target(adopted.id,
			CASE WHEN start = 'now' THEN 'now' ELSE 'beginning' END, gone,
			'the request was made in the original of this database');
		RETURN;
	ELSIF adopted.cause IS NULL OR adopted.window_from IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('target "%s" has no place to continue from',
				target),
			DETAIL = format('Its state is suspended: %s.', adopted.last_error),
			HINT = 'What the original has sent is not known here: adopt it with what its store is missing, with everything, or from now on.';
	END IF;
	UPDATE token_ledger.target t
	SET state = 'running', cause = NULL, code = NULL, last_error = NULL,
		error_since = NULL
	WHERE t.id = adopted.id;
	PERFORM token_ledger.wake();
END
$$;
REVOKE ALL ON FUNCTION token_ledger.adopt FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.adopt(text, text) IS
'Lets this copy of a database forward to a target that was suspended. missing: goes through the whole ledger and sends what the store lacks, event by event, which takes a store that can be asked; everything: the whole ledger, also to a store that cannot; now: only what is committed after the target has started again; continue, after a promotion or with another tokenledger.cluster_id: from where it was.';

-- NB: destination = NULL makes each lane take its place anew.  What was on its
-- way may be in either store.
CREATE FUNCTION token_ledger.retarget(target text, start text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gone bigint;
	own token_ledger.target;
BEGIN
	IF start NOT IN ('beginning', 'continue') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid start "%s"', start),
			HINT = 'It is beginning or continue.';
	END IF;
	gone := token_ledger.retired_events();
	own := token_ledger.own_target(target);
	IF own.state = 'suspended' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('target "%s" is suspended', target),
			DETAIL = own.last_error,
			HINT = 'See token_ledger.adopt().';
	ELSIF start = 'beginning' OR own.window_from IS NULL THEN
		PERFORM token_ledger.restart_target(own.id, 'beginning', gone,
			'the target was moved to another store');
		RETURN;
	END IF;
	UPDATE token_ledger.lane l
	SET epoch = epoch + 1, backend_state = NULL,
		last_event = NULL, kept_event = NULL,
		range_history = 2, held_suspect = held IS NOT NULL,
		part_xid = NULL, part_seq = NULL, part_rows = NULL,
		part_checksum = NULL, part_token = NULL, part_history = NULL,
		part_started_at = NULL, part_event_bytes = NULL
	WHERE l.target_id = own.id;
	UPDATE token_ledger.target t
	SET state = 'running', destination = NULL, lost_event = NULL,
		cause = NULL, code = NULL, last_error = NULL, error_since = NULL
	WHERE t.id = own.id;
	PERFORM token_ledger.wake();
END
$$;
REVOKE ALL ON FUNCTION token_ledger.retarget FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.retarget(text, text) IS
'Lets a target go on in the store that its URL names now. beginning: with the whole ledger, each event being looked up where that can be asked; continue: from where it was, so that the new store gets the later events only.';

CREATE FUNCTION token_ledger.rename_target(old_name text, new_name text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	own token_ledger.target;
	taken token_ledger.target;
BEGIN
	own := token_ledger.own_target(old_name);
	IF new_name !~ '^[A-Za-z_][A-Za-z0-9_-]{0,62}$' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_name',
			MESSAGE = format('invalid name of a target "%s"', new_name),
			HINT = 'A name is a letter or underscore followed by at most 62 letters, digits, underscores and hyphens.';
	END IF;
	SELECT t.* INTO taken
	FROM token_ledger.target t
	WHERE t.name = new_name AND t.id <> own.id
		AND t.system_identifier = own.system_identifier
		AND t.database_oid = own.database_oid
	FOR UPDATE;
	IF taken.last_seq >= 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = format('target "%s" has forwarded events of its own',
				new_name),
			HINT = 'To forget it, delete its row of token_ledger.target.';
	END IF;
	DELETE FROM token_ledger.target t WHERE t.id = taken.id;
	UPDATE token_ledger.target t SET name = new_name WHERE t.id = own.id;
	PERFORM token_ledger.wake();
END
$$;
REVOKE ALL ON FUNCTION token_ledger.rename_target FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.rename_target(text, text) IS
'Gives the place in the queue, the counts and the jobs of a target to another name, before or after tokenledger.targets does.';

--------------------------------------------------------------------------
-- Forwarding: what it says

-- What a target has not settled.  Unclaimed are the transactions that
-- window_from does not see, without the events that the cursor has passed.
-- They are looked for by the index, whatever the planner believes that bound
-- to be worth: a cursor near the end of the ledger costs next to nothing.
CREATE FUNCTION token_ledger.backlog(target_id integer,
	OUT pending bigint, OUT oldest timestamptz)
RETURNS record LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
	t record;
	passed constant text :=
		'$2 IS NOT NULL AND $3 IS NOT NULL'
		' AND (ingest_xid, ingest_seq) <= ($3, $4)'
		' AND pg_visible_in_snapshot(ingest_xid, $2)';

	-- Transactions that began after window_from was taken: those before the
	-- cursor and before anything in progress in window_to are all claimed.
	-- And those that were in progress then.
	unclaimed constant text :=
		'SELECT ingest_xid, ingest_seq, "timestamp"'
		' FROM ONLY token_ledger.token_ledger_events'
		' WHERE ingest_xid >= greatest('
		'coalesce(pg_snapshot_xmax($1), ''0''),'
		' least(coalesce($3, ''0''), pg_snapshot_xmin($2)))'
		' AND NOT (' || passed || ')'
		' UNION ALL'
		' SELECT ingest_xid, ingest_seq, "timestamp"'
		' FROM pg_snapshot_xip($1) late (xid)'
		' JOIN ONLY token_ledger.token_ledger_events ON ingest_xid = xid'
		' WHERE NOT (' || passed || ')';
	claimed timestamptz;
	held timestamptz;
BEGIN
	SELECT * INTO t FROM token_ledger.target WHERE id = target_id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	EXECUTE 'SELECT count(*) FROM (' || unclaimed || ') u' INTO pending
	USING t.window_from, t.window_to, t.last_xid, t.last_seq;
	EXECUTE 'SELECT "timestamp" FROM (' || unclaimed || ') u'
		' ORDER BY ingest_xid, ingest_seq LIMIT 1' INTO oldest
	USING t.window_from, t.window_to, t.last_xid, t.last_seq;

	SELECT min(e."timestamp") INTO claimed
	FROM token_ledger.lane l,
		LATERAL (
			SELECT q."timestamp"
			FROM ONLY token_ledger.token_ledger_events q
			WHERE (q.ingest_xid, q.ingest_seq)
					> (coalesce(l.done_xid, l.first_xid, '0'),
						coalesce(l.done_seq, l.first_seq, 0))
				AND (q.ingest_xid, q.ingest_seq) <= (l.last_xid, l.last_seq)
				AND pg_visible_in_snapshot(q.ingest_xid, l.range_to)
				AND NOT pg_visible_in_snapshot(q.ingest_xid, l.range_from)
			ORDER BY q.ingest_xid, q.ingest_seq LIMIT 1) e
	WHERE l.target_id = backlog.target_id
		AND l.source = 'window' AND l.range_rows > l.done_rows;

	SELECT min(e."timestamp") INTO held
	FROM token_ledger.lane l
		JOIN ONLY token_ledger.token_ledger_events e
			ON e.event_id = ANY (l.held)
	WHERE l.target_id = backlog.target_id
		AND l.source IS DISTINCT FROM 'dead_letter';
	oldest := least(oldest, claimed, held);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.backlog FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.backlog TO pg_monitor;
COMMENT ON FUNCTION token_ledger.backlog(integer) IS
'How many committed events a target has not claimed yet, and the timestamp of the first event, in the order of the queue, that it has not settled.';

-- As backlog(): what the tally has counted, and what lies beyond.
CREATE FUNCTION token_ledger.ledger_events()
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
	t record;
	beyond bigint;
BEGIN
	SELECT y.* INTO t FROM token_ledger.tally y, token_ledger.cluster_key() k
	WHERE y.system_identifier = k.system_identifier
		AND y.database_oid = k.database_oid;
	IF NOT FOUND THEN
		RETURN (SELECT count(*) FROM ONLY token_ledger.token_ledger_events);
	END IF;
	EXECUTE 'SELECT count(*) FROM ('
		' SELECT ingest_xid, ingest_seq'
		' FROM ONLY token_ledger.token_ledger_events'
		' WHERE ingest_xid >= greatest(pg_snapshot_xmax($1),'
		' least($3, pg_snapshot_xmin($2)))'
		' UNION ALL'
		' SELECT ingest_xid, ingest_seq'
		' FROM pg_snapshot_xip($1) late (xid)'
		' JOIN ONLY token_ledger.token_ledger_events ON ingest_xid = xid) u'
		' WHERE NOT ((ingest_xid, ingest_seq) <= ($3, $4)'
		' AND pg_visible_in_snapshot(ingest_xid, $2))' INTO beyond
	USING t.window_from, t.window_to, t.last_xid, t.last_seq;
	RETURN t.counted + t.vanished + beyond
		- (SELECT coalesce(sum(r.events), 0) FROM token_ledger.retired r);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.ledger_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.ledger_events TO pg_monitor;
COMMENT ON FUNCTION token_ledger.ledger_events() IS
'How many events the ledger holds, by the tally: exact, at a cost that does not grow with the ledger.';

CREATE FUNCTION token_ledger.pending(target_id integer)
RETURNS bigint LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$ SELECT b.pending FROM token_ledger.backlog(target_id) b $$;
REVOKE ALL ON FUNCTION token_ledger.pending FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.pending TO pg_monitor;
COMMENT ON FUNCTION token_ledger.pending(integer) IS
'How many committed events a target has not claimed yet.';

-- Whatever a target may still want keeps an event: what it has not claimed,
-- what a lane has claimed or holds, dead letters, and jobs.  A target that the
-- settings no longer name goes on from where it was if they name it again, so
-- it keeps what it has not got until its row is deleted; and one that no lane
-- has taken up yet keeps everything.
--
-- What is kept at one moment may become free at the next, never the reverse,
-- but for requests that come later: they find less.
CREATE FUNCTION token_ledger.delete_expired(cutoff timestamptz,
	page_rows integer,
	INOUT at_xid xid8, INOUT at_seq bigint, OUT seen bigint, OUT deleted bigint)
RETURNS record LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	last record;
BEGIN
	WITH page AS MATERIALIZED (
		SELECT e.ctid AS id, e.event_id, e.ingest_xid, e.ingest_seq,
			e."timestamp"
		FROM ONLY token_ledger.token_ledger_events e
		WHERE (e.ingest_xid, e.ingest_seq) > (at_xid, at_seq)
		ORDER BY e.ingest_xid, e.ingest_seq LIMIT page_rows
	), targets AS MATERIALIZED (
		SELECT t.id, t.name, t.window_from, t.window_to,
			coalesce(t.last_xid, '0') AS last_xid,
			coalesce(t.last_seq, -1) AS last_seq
		FROM token_ledger.target t, token_ledger.cluster_key() k
		WHERE t.system_identifier = k.system_identifier
			AND t.database_oid = k.database_oid
	), lanes AS MATERIALIZED (
		SELECT l.*, coalesce(l.done_xid, l.first_xid, '0') AS after_xid,
			coalesce(l.done_seq, l.first_seq, -1) AS after_seq
		FROM token_ledger.lane l JOIN targets t ON t.id = l.target_id
		WHERE l.source IS NOT NULL OR l.held IS NOT NULL
	), jobs AS MATERIALIZED (
		SELECT coalesce(j.from_time, '-infinity') AS from_time, j.to_time
		FROM token_ledger.job j JOIN targets t ON t.id = j.target_id
		WHERE j.kind IN ('replay', 'reconcile')
			AND j.state IN ('requested', 'running')
	), expired AS (
		SELECT p.id FROM page p
		WHERE p."timestamp" < cutoff
			AND NOT EXISTS (
				SELECT FROM targets t
				WHERE t.window_to IS NULL
					OR NOT (pg_visible_in_snapshot(p.ingest_xid, t.window_from)
						OR pg_visible_in_snapshot(p.ingest_xid, t.window_to)
							AND (p.ingest_xid, p.ingest_seq)
								<= (t.last_xid, t.last_seq)))
			AND NOT EXISTS (
				SELECT FROM lanes l
				WHERE l.range_to IS NOT NULL
					AND (p.ingest_xid, p.ingest_seq)
						> (l.after_xid, l.after_seq)
					AND (p.ingest_xid, p.ingest_seq)
						<= (l.last_xid, l.last_seq)
					AND pg_visible_in_snapshot(p.ingest_xid, l.range_to)
					AND NOT pg_visible_in_snapshot(p.ingest_xid, l.range_from))
			AND NOT EXISTS (
				SELECT FROM lanes l WHERE p.event_id = ANY (l.held))
			AND NOT EXISTS (
				SELECT FROM targets t
					JOIN token_ledger.dead_letter d ON d.target_id = t.id
				WHERE d.event_id = p.event_id AND d.state <> 'discarded')
			AND NOT EXISTS (
				SELECT FROM jobs j
				WHERE p."timestamp" >= j.from_time
					AND (j.to_time IS NULL OR p."timestamp" < j.to_time))
			AND NOT EXISTS (
				SELECT FROM token_ledger.configured_targets() c
				WHERE NOT EXISTS (SELECT FROM targets t WHERE t.name = c.name))
	), gone AS (
		DELETE FROM ONLY token_ledger.token_ledger_events e
		USING expired x WHERE e.ctid = x.id
		RETURNING 1
	)
	SELECT (SELECT count(*) FROM page) AS seen,
		(SELECT count(*) FROM gone) AS deleted,
		p.ingest_xid, p.ingest_seq
	INTO last
	FROM (SELECT) one LEFT JOIN (
		SELECT q.ingest_xid, q.ingest_seq FROM page q
		ORDER BY q.ingest_xid DESC, q.ingest_seq DESC LIMIT 1) p ON true;
	seen := last.seen;
	deleted := last.deleted;
	at_xid := coalesce(last.ingest_xid, at_xid);
	at_seq := coalesce(last.ingest_seq, at_seq);
END
$$;
REVOKE ALL ON FUNCTION token_ledger.delete_expired FROM PUBLIC;
COMMENT ON FUNCTION token_ledger.delete_expired(timestamptz, integer, xid8, bigint) IS
'Of the retention worker: looks at the ledger''s next events in the order of the queue, and deletes those that are older than cutoff and that no target wants.';

-- Of what is not settled, the first events are looked at.
CREATE FUNCTION token_ledger.retention_held(target_id integer)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
	t record;
	days constant integer :=
		coalesce(current_setting('tokenledger.retention', true), '0');
	cutoff constant timestamptz := now() - make_interval(days => days);
	found text[] := '{}';
BEGIN
	IF days = 0 THEN
		RETURN NULL;
	END IF;
	SELECT * INTO t FROM token_ledger.target g
	WHERE g.id = retention_held.target_id;
	IF t.window_to IS NULL OR EXISTS (
			SELECT FROM (
				SELECT q.ingest_xid, q.ingest_seq, q."timestamp"
				FROM ONLY token_ledger.token_ledger_events q
				WHERE q.ingest_xid >= least(pg_snapshot_xmin(t.window_from),
					(SELECT min(coalesce(l.done_xid, l.first_xid))
					FROM token_ledger.lane l
					WHERE l.target_id = t.id AND l.source = 'window'))
				ORDER BY q.ingest_xid, q.ingest_seq LIMIT 10000) e
			WHERE e."timestamp" < cutoff
				AND (NOT (pg_visible_in_snapshot(e.ingest_xid, t.window_from)
						OR pg_visible_in_snapshot(e.ingest_xid, t.window_to)
							AND (e.ingest_xid, e.ingest_seq)
								<= (coalesce(t.last_xid, '0'),
									coalesce(t.last_seq, -1)))
					OR EXISTS (
						SELECT FROM token_ledger.lane l
						WHERE l.target_id = t.id AND l.source = 'window'
							AND (e.ingest_xid, e.ingest_seq)
								> (coalesce(l.done_xid, l.first_xid, '0'),
									coalesce(l.done_seq, l.first_seq, -1))
							AND (e.ingest_xid, e.ingest_seq)
								<= (l.last_xid, l.last_seq)
							AND pg_visible_in_snapshot(e.ingest_xid,
								l.range_to)
							AND NOT pg_visible_in_snapshot(e.ingest_xid,
								l.range_from)))) THEN
		found := found || 'events that are not settled'::text;
	END IF;
	IF EXISTS (
			SELECT FROM token_ledger.lane l
				JOIN ONLY token_ledger.token_ledger_events e
					ON e.event_id = ANY (l.held)
			WHERE l.target_id = retention_held.target_id
				AND l.source IS DISTINCT FROM 'dead_letter'
				AND e."timestamp" < cutoff) THEN
		found := found || 'events that the store refuses'::text;
	END IF;
	IF EXISTS (
			SELECT FROM token_ledger.dead_letter d
				JOIN ONLY token_ledger.token_ledger_events e
					ON e.event_id = d.event_id
			WHERE d.target_id = retention_held.target_id
				AND d.state <> 'discarded' AND e."timestamp" < cutoff) THEN
		found := found || 'dead letters'::text;
	END IF;
	RETURN nullif(array_to_string(found || ARRAY(
		SELECT 'job ' || j.id FROM token_ledger.job j
		WHERE j.target_id = retention_held.target_id
			AND j.kind IN ('replay', 'reconcile')
			AND j.state IN ('requested', 'running')
			AND coalesce(j.from_time, '-infinity') < cutoff
		ORDER BY j.id), ', '), '');
END
$$;
REVOKE ALL ON FUNCTION token_ledger.retention_held FROM PUBLIC;
GRANT EXECUTE ON FUNCTION token_ledger.retention_held TO pg_monitor;
COMMENT ON FUNCTION token_ledger.retention_held(integer) IS
'What of a target keeps events in the ledger that are older than tokenledger.retention; NULL: nothing.';

-- A requeued dead letter is pending until a lane takes it, and then one of the
-- events that the lane holds.  What a job sends again is neither: it has been counted before.
CREATE VIEW token_ledger.totals AS
	SELECT t.id AS target_id,
		coalesce(l.forwarded, 0) AS forwarded,
		coalesce(l.replayed, 0) AS replayed,
		coalesce(l.filtered, 0) AS filtered,
		coalesce(l.vanished, 0) + t.vanished AS vanished,
		coalesce(l.in_flight, 0) AS in_flight,
		b.pending + coalesce(d.requeued, 0) AS pending,
		b.oldest,
		coalesce(d.dead, 0) AS dead,
		coalesce(d.discarded, 0) AS discarded
	FROM token_ledger.target t
		JOIN token_ledger.cluster_key() k
			ON k.system_identifier = t.system_identifier
			AND k.database_oid = t.database_oid
		CROSS JOIN LATERAL token_ledger.backlog(t.id) b
		LEFT JOIN (
			SELECT target_id,
				sum(forwarded)::bigint AS forwarded,
				sum(replayed)::bigint AS replayed,
				sum(filtered)::bigint AS filtered,
				sum(vanished)::bigint AS vanished,
				coalesce(sum(range_rows - done_rows)
					FILTER (WHERE source = 'window'), 0)
					+ sum(coalesce(cardinality(held), 0)) AS in_flight
			FROM token_ledger.lane
			GROUP BY target_id) l
			ON l.target_id = t.id
		LEFT JOIN (
			SELECT target_id,
				count(*) FILTER (WHERE state = 'dead') AS dead,
				count(*) FILTER (WHERE state = 'requeued') AS requeued,
				count(*) FILTER (WHERE state = 'discarded') AS discarded
			FROM token_ledger.dead_letter
			GROUP BY target_id) d
			ON d.target_id = t.id;
COMMENT ON VIEW token_ledger.totals IS
'What became of the events, per target: what status and accounting have in common.';
COMMENT ON COLUMN token_ledger.totals.target_id IS 'The target.';
COMMENT ON COLUMN token_ledger.totals.forwarded IS
'Events that the store has acknowledged.';
COMMENT ON COLUMN token_ledger.totals.replayed IS
'Events that jobs have sent again, however often.';
COMMENT ON COLUMN token_ledger.totals.filtered IS
'Events that the target''s filter left out.';
COMMENT ON COLUMN token_ledger.totals.vanished IS
'Events that left the ledger before they were sent.';
COMMENT ON COLUMN token_ledger.totals.in_flight IS
'Events claimed and not settled.';
COMMENT ON COLUMN token_ledger.totals.pending IS 'Events not claimed yet.';
COMMENT ON COLUMN token_ledger.totals.oldest IS
'Timestamp of the first event that is not settled.';
COMMENT ON COLUMN token_ledger.totals.dead IS 'Dead letters.';
COMMENT ON COLUMN token_ledger.totals.discarded IS
'Dead letters that were given up.';

CREATE VIEW token_ledger.status AS
	SELECT coalesce(c.name, t.name) AS target,
		coalesce(c.backend, t.backend) AS backend,
		coalesce(c.destination, t.destination) AS destination,
		CASE
			WHEN c.error IS NOT NULL THEN 'invalid'
			WHEN c.name IS NULL THEN 'removed'
			WHEN t.paused THEN 'paused'
			ELSE coalesce(t.state, 'starting')
		END AS state,
		coalesce(p.lanes, 0) AS lanes,
		coalesce(s.forwarded, 0) AS forwarded,
		coalesce(s.in_flight, 0) AS in_flight,
		s.pending,
		coalesce(s.dead, 0) AS dead,
		coalesce(s.discarded, 0) AS discarded,
		coalesce(s.filtered, 0) AS filtered,
		coalesce(t.skipped, 0) AS skipped,
		coalesce(s.replayed, 0) AS replayed,
		s.in_flight + s.pending AS lag_events,
		CASE WHEN s.in_flight + s.pending = 0 THEN 0
			WHEN isfinite(s.oldest) IS DISTINCT FROM false
			THEN greatest(extract(epoch FROM now() - s.oldest), 0)
		END::double precision AS lag_seconds,
		coalesce(c.error, t.last_error) AS last_error,
		CASE WHEN c.error IS NOT NULL THEN 'config' ELSE t.cause END AS cause,
		CASE WHEN c.error IS NULL THEN t.code END AS code,
		CASE WHEN c.error IS NULL THEN t.error_since END AS error_since,
		p.retry_at,
		coalesce(c.hint, t.remote_hint) AS hint,
		t.remote_version,
		t.remote_differences,
		o.left_out,
		t.guarantee,
		t.keeps_from,
		token_ledger.complete_until(t.id, t.name) AS complete_until,
		coalesce(j.jobs, 0) AS jobs,
		token_ledger.retention_held(coalesce(t.id, -1))
			AS retention_held,
		token_ledger.forwarding_problem() AS problem
	FROM token_ledger.configured_targets() c
		FULL JOIN (
			SELECT t.*
			FROM token_ledger.target t
				JOIN token_ledger.cluster_key() k
					ON k.system_identifier = t.system_identifier
					AND k.database_oid = t.database_oid) t
			ON t.name = c.name
		LEFT JOIN (
			SELECT target, count(pid)::integer AS lanes,
				min(retry_at) AS retry_at
			FROM token_ledger.lane_processes()
			GROUP BY target) p
			ON p.target = coalesce(c.name, t.name)
		LEFT JOIN (
			SELECT target_id,
				jsonb_object_agg(column_name, events) AS left_out
			FROM (
				SELECT target_id, column_name, sum(events) AS events
				FROM token_ledger.left_out
				GROUP BY target_id, column_name) c
			GROUP BY target_id) o
			ON o.target_id = t.id
		LEFT JOIN (
			SELECT target_id, count(*) AS jobs
			FROM token_ledger.job
			WHERE state IN ('requested', 'running')
			GROUP BY target_id) j
			ON j.target_id = t.id
		LEFT JOIN token_ledger.totals s ON s.target_id = t.id;
GRANT SELECT ON token_ledger.status TO pg_monitor;
COMMENT ON VIEW token_ledger.status IS
'One row per target: those that the settings name for this database, and those that have been forwarded to.';
COMMENT ON COLUMN token_ledger.status.target IS
'Name, as in tokenledger.targets.';
COMMENT ON COLUMN token_ledger.status.backend IS 'Kind of store.';
COMMENT ON COLUMN token_ledger.status.destination IS
'The store and its table, without user and secrets.';
COMMENT ON COLUMN token_ledger.status.state IS
'running, starting (no lane has taken it up yet), paused (by hand), suspended (this ledger is a copy), stopped (another destination), error (tries again by itself), invalid (see last_error and hint) or removed (no longer in the settings).';
COMMENT ON COLUMN token_ledger.status.lanes IS 'Lanes that run now.';
COMMENT ON COLUMN token_ledger.status.forwarded IS
'Events that the store has acknowledged.';
COMMENT ON COLUMN token_ledger.status.in_flight IS
'Events that lanes have claimed and not settled.';
COMMENT ON COLUMN token_ledger.status.pending IS
'Committed events that no lane has claimed yet, requeued dead letters included; NULL: no lane has taken the target up yet.';
COMMENT ON COLUMN token_ledger.status.dead IS
'Events that the store refused: see token_ledger.dead_letters.';
COMMENT ON COLUMN token_ledger.status.discarded IS
'Dead letters that were given up.';
COMMENT ON COLUMN token_ledger.status.filtered IS
'Events that the target''s filter left out.';
COMMENT ON COLUMN token_ledger.status.skipped IS
'Events that start=now has passed over; a replay may have sent them since.';
COMMENT ON COLUMN token_ledger.status.replayed IS
'Events that jobs have sent again and the store has acknowledged, however often; not among those forwarded.';
COMMENT ON COLUMN token_ledger.status.lag_events IS 'in_flight + pending.';
COMMENT ON COLUMN token_ledger.status.lag_seconds IS
'Age of the first event, in the order of the queue, that is not settled yet, by its timestamp; requeued dead letters do not count. 0 if there is none, NULL if that is infinite.';
COMMENT ON COLUMN token_ledger.status.last_error IS
'Why the target is invalid or in error.';
COMMENT ON COLUMN token_ledger.status.cause IS
'Class of the error: network, overload, quota, auth, config, schema or data; of a suspended target promotion or clone, where it may continue.';
COMMENT ON COLUMN token_ledger.status.code IS 'The store''s code of the error.';
COMMENT ON COLUMN token_ledger.status.error_since IS
'Since when the target has been in error.';
COMMENT ON COLUMN token_ledger.status.retry_at IS
'When the first of the lanes that wait will try again.';
COMMENT ON COLUMN token_ledger.status.hint IS 'What to change.';
COMMENT ON COLUMN token_ledger.status.remote_version IS
'Schema version of the store''s table: 100 * major + minor.';
COMMENT ON COLUMN token_ledger.status.remote_differences IS
'How the store''s table differs from what is expected.';
COMMENT ON COLUMN token_ledger.status.left_out IS
'Columns that the store did not get because its table was at a version without them, each with the number of events that had a value: one that is neither NULL nor, of a number, 0.';
COMMENT ON COLUMN token_ledger.status.guarantee IS
'What the store is verified to hold once when it is sent twice: an attempt, a batch or an event.';
COMMENT ON COLUMN token_ledger.status.keeps_from IS
'When the lane last looked at the table: timestamp of the oldest events that the store would keep, whose expiration may drop older ones as soon as it has taken them; NULL: it keeps all.';
COMMENT ON COLUMN token_ledger.status.complete_until IS
'Every event that was committed before this moment, and every event of a transaction that began before it and had written then, has been delivered, or is counted as dead, discarded, filtered or skipped; NULL: not known yet.';
COMMENT ON COLUMN token_ledger.status.jobs IS
'Jobs that have been requested and have not ended: see token_ledger.jobs.';
COMMENT ON COLUMN token_ledger.status.retention_held IS
'What of this target keeps events in the ledger that are older than tokenledger.retention: events that are not settled, dead letters, or a job; NULL: nothing.';
COMMENT ON COLUMN token_ledger.status.problem IS
'Why nothing can be forwarded from this database at all; NULL: it can.';

CREATE VIEW token_ledger.lanes AS
	SELECT n.target,
		n.lane,
		p.pid,
		p.phase,
		p.phase_since,
		p.attempts,
		p.retry_at,
		coalesce(l.range_rows, 0) AS range_rows,
		coalesce(l.done_rows, 0) AS done_rows,
		coalesce(l.forwarded, 0) AS forwarded,
		coalesce(l.replayed, 0) AS replayed,
		coalesce(l.dead, 0) AS dead,
		coalesce(l.batches, 0) AS batches,
		coalesce(l.retries, 0) AS retries,
		coalesce(l.unknowns, 0) AS unknowns,
		coalesce(l.resolves, 0) AS resolves,
		l.settled_at,
		l.epoch
	FROM (
			SELECT c.name AS target, generate_series(0, c.lanes - 1) AS lane
			FROM token_ledger.configured_targets() c
			WHERE c.error IS NULL
			UNION
			SELECT target, lane FROM token_ledger.lane_processes()
			UNION
			SELECT t.name, l.lane::integer
			FROM token_ledger.target t
				JOIN token_ledger.cluster_key() k
					ON k.system_identifier = t.system_identifier
					AND k.database_oid = t.database_oid
				JOIN token_ledger.lane l ON l.target_id = t.id) n
		LEFT JOIN token_ledger.lane_processes() p
			ON p.target = n.target AND p.lane = n.lane
		LEFT JOIN (
			SELECT t.name, l.*
			FROM token_ledger.target t
				JOIN token_ledger.cluster_key() k
					ON k.system_identifier = t.system_identifier
					AND k.database_oid = t.database_oid
				JOIN token_ledger.lane l ON l.target_id = t.id) l
			ON l.name = n.target AND l.lane = n.lane;
GRANT SELECT ON token_ledger.lanes TO pg_monitor;
COMMENT ON VIEW token_ledger.lanes IS
'One row per lane: those that the settings ask for, and those that have run.';
COMMENT ON COLUMN token_ledger.lanes.target IS 'Name of the target.';
COMMENT ON COLUMN token_ledger.lanes.lane IS 'Number of the lane, from 0.';
COMMENT ON COLUMN token_ledger.lanes.pid IS
'Its process; NULL: it does not run.';
COMMENT ON COLUMN token_ledger.lanes.phase IS
'Where it stands between claiming and settling.';
COMMENT ON COLUMN token_ledger.lanes.phase_since IS
'Since when it has been there.';
COMMENT ON COLUMN token_ledger.lanes.attempts IS
'Failed attempts in a row at the current part.';
COMMENT ON COLUMN token_ledger.lanes.retry_at IS 'When it will try again.';
COMMENT ON COLUMN token_ledger.lanes.range_rows IS
'Events of the range that it has claimed.';
COMMENT ON COLUMN token_ledger.lanes.done_rows IS
'Those of them that are settled.';
COMMENT ON COLUMN token_ledger.lanes.forwarded IS
'Events that the store has acknowledged.';
COMMENT ON COLUMN token_ledger.lanes.replayed IS
'Events that jobs have sent again.';
COMMENT ON COLUMN token_ledger.lanes.dead IS
'Events set aside as dead letters.';
COMMENT ON COLUMN token_ledger.lanes.batches IS
'Batches sent, those that a refusal was narrowed down with included.';
COMMENT ON COLUMN token_ledger.lanes.retries IS
'Attempts that certainly stored nothing.';
COMMENT ON COLUMN token_ledger.lanes.unknowns IS
'Attempts whose outcome was not known.';
COMMENT ON COLUMN token_ledger.lanes.resolves IS
'How often the store was asked what it holds.';
COMMENT ON COLUMN token_ledger.lanes.settled_at IS 'When it last settled.';
COMMENT ON COLUMN token_ledger.lanes.epoch IS
'How often a process has taken the lane over.';

CREATE VIEW token_ledger.jobs AS
	SELECT j.id,
		t.name AS target,
		j.kind,
		j.version,
		j.from_time,
		j.to_time,
		j.rate,
		j.requeue,
		CASE WHEN j.state = 'running' AND j.cancel_requested
			THEN 'cancelling' ELSE j.state END AS state,
		j.done,
		j.total,
		j.sent,
		j.refused,
		j.message,
		j.code,
		j.error,
		j.attempts,
		j.requested_by,
		j.requested_at,
		j.started_at,
		j.finished_at
	FROM token_ledger.job j
		JOIN token_ledger.target t ON t.id = j.target_id
		JOIN token_ledger.cluster_key() k
			ON k.system_identifier = t.system_identifier
			AND k.database_oid = t.database_oid;
GRANT SELECT ON token_ledger.jobs TO pg_monitor;
COMMENT ON VIEW token_ledger.jobs IS
'One row per job: what lane 0 of a target has been asked to do besides forwarding, and what became of it.';
COMMENT ON COLUMN token_ledger.jobs.id IS 'Number of the job.';
COMMENT ON COLUMN token_ledger.jobs.target IS 'Name of the target.';
COMMENT ON COLUMN token_ledger.jobs.kind IS 'migrate, rollback, replay or reconcile.';
COMMENT ON COLUMN token_ledger.jobs.version IS
'Of migrate and rollback: the version to reach; NULL: the newest.';
COMMENT ON COLUMN token_ledger.jobs.from_time IS
'Of replay and reconcile: events from this timestamp on; NULL: from the beginning.';
COMMENT ON COLUMN token_ledger.jobs.to_time IS
'Of replay and reconcile: events before this timestamp; NULL: to the end.';
COMMENT ON COLUMN token_ledger.jobs.rate IS
'Of replay: events a second at most; NULL: no limit.';
COMMENT ON COLUMN token_ledger.jobs.requeue IS
'Of reconcile: whether what the store lacks is sent again.';
COMMENT ON COLUMN token_ledger.jobs.state IS
'requested (no lane has begun), running, cancelling (after the step that it is at), done, failed or cancelled.';
COMMENT ON COLUMN token_ledger.jobs.done IS
'Steps that are done; of replay, events, of reconcile, hours that were compared.';
COMMENT ON COLUMN token_ledger.jobs.total IS
'Steps, events or hours that there were when it began; NULL: not known yet.';
COMMENT ON COLUMN token_ledger.jobs.sent IS
'Events that it has sent and the store has acknowledged.';
COMMENT ON COLUMN token_ledger.jobs.refused IS
'Events that it has sent and the store has refused: they are no dead letters, and stay what they were.';
COMMENT ON COLUMN token_ledger.jobs.message IS 'What it did last.';
COMMENT ON COLUMN token_ledger.jobs.code IS 'The store''s code of the error.';
COMMENT ON COLUMN token_ledger.jobs.error IS
'Why it failed, or why it has to be tried again.';
COMMENT ON COLUMN token_ledger.jobs.attempts IS
'How often it was tried since it last got on.';
COMMENT ON COLUMN token_ledger.jobs.requested_by IS
'Who asked for it; NULL: tokenledger itself, as auto_migrate allows.';
COMMENT ON COLUMN token_ledger.jobs.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN token_ledger.jobs.started_at IS 'When it was begun.';
COMMENT ON COLUMN token_ledger.jobs.finished_at IS 'When it was ended.';

-- Not for pg_monitor: the store's words may quote an event.
CREATE VIEW token_ledger.dead_letters AS
	SELECT t.name AS target,
		d.event_id,
		d.state,
		d.reason,
		d.code,
		d.times,
		d.first_at,
		d.last_at,
		e."timestamp",
		e.provider,
		e.model
	FROM token_ledger.dead_letter d
		JOIN token_ledger.target t ON t.id = d.target_id
		JOIN token_ledger.cluster_key() k
			ON k.system_identifier = t.system_identifier
			AND k.database_oid = t.database_oid
		LEFT JOIN ONLY token_ledger.token_ledger_events e
			ON e.event_id = d.event_id;
COMMENT ON VIEW token_ledger.dead_letters IS
'One row per event that a target''s store has refused, and has not taken since.';
COMMENT ON COLUMN token_ledger.dead_letters.target IS 'Name of the target.';
COMMENT ON COLUMN token_ledger.dead_letters.event_id IS 'The event.';
COMMENT ON COLUMN token_ledger.dead_letters.state IS
'dead, requeued (to be sent again), sending (a lane has it) or discarded (given up).';
COMMENT ON COLUMN token_ledger.dead_letters.reason IS
'Why, in the store''s or the core''s words.';
COMMENT ON COLUMN token_ledger.dead_letters.code IS 'The store''s code.';
COMMENT ON COLUMN token_ledger.dead_letters.times IS
'How often the event was refused.';
COMMENT ON COLUMN token_ledger.dead_letters.first_at IS
'When it was first refused.';
COMMENT ON COLUMN token_ledger.dead_letters.last_at IS
'When it was last refused.';
COMMENT ON COLUMN token_ledger.dead_letters."timestamp" IS
'Of the event; NULL: the ledger no longer holds it.';
COMMENT ON COLUMN token_ledger.dead_letters.provider IS 'Of the event.';
COMMENT ON COLUMN token_ledger.dead_letters.model IS 'Of the event.';

CREATE VIEW token_ledger.reconcile_hours AS
	SELECT j.id AS job, j.target, h.hour, h.ledger_events, h.store_events,
		h.ledger_tokens, h.store_tokens, h.ledger_cost, h.store_cost,
		h.missing, h.extra, h.different, h.doubled, h.retired,
		h.retired_missing
	FROM token_ledger.reconcile_hour h
		JOIN token_ledger.jobs j ON j.id = h.job_id;
GRANT SELECT ON token_ledger.reconcile_hours TO pg_monitor;
COMMENT ON VIEW token_ledger.reconcile_hours IS
'One row per hour in which a reconcile has found a difference. Sums are of the stretches of the hour that differed.';
COMMENT ON COLUMN token_ledger.reconcile_hours.job IS 'The job.';
COMMENT ON COLUMN token_ledger.reconcile_hours.target IS 'Name of its target.';
COMMENT ON COLUMN token_ledger.reconcile_hours.hour IS
'Start of the hour (UTC) of the events'' timestamp.';
COMMENT ON COLUMN token_ledger.reconcile_hours.ledger_events IS
'Events that the store should have.';
COMMENT ON COLUMN token_ledger.reconcile_hours.store_events IS
'Rows that the store has.';
COMMENT ON COLUMN token_ledger.reconcile_hours.ledger_tokens IS
'Sum of total_tokens in the ledger.';
COMMENT ON COLUMN token_ledger.reconcile_hours.store_tokens IS
'Sum of total_tokens in the store.';
COMMENT ON COLUMN token_ledger.reconcile_hours.ledger_cost IS
'Sum of cost_usd in the ledger, without NaN.';
COMMENT ON COLUMN token_ledger.reconcile_hours.store_cost IS
'Sum of cost_usd in the store, without NaN.';
COMMENT ON COLUMN token_ledger.reconcile_hours.missing IS
'Events that the store has acknowledged and does not have.';
COMMENT ON COLUMN token_ledger.reconcile_hours.extra IS
'Rows whose event is not in the ledger, beyond those that it has retired.';
COMMENT ON COLUMN token_ledger.reconcile_hours.different IS
'Events whose total_tokens, cost_usd or timestamp differ.';
COMMENT ON COLUMN token_ledger.reconcile_hours.doubled IS
'Rows of events that the store has already.';
COMMENT ON COLUMN token_ledger.reconcile_hours.retired IS
'Events of the hour that the ledger no longer holds.';
COMMENT ON COLUMN token_ledger.reconcile_hours.retired_missing IS
'Those of them that the store should still have and does not; 0 where the target may not have got all of them.';

CREATE VIEW token_ledger.reconcile_findings AS
	SELECT j.id AS job, j.target, e.hour, e.kind, e.event_id,
		e.ledger_tokens, e.store_tokens, e.ledger_cost, e.store_cost
	FROM token_ledger.reconcile_event e
		JOIN token_ledger.jobs j ON j.id = e.job_id;
COMMENT ON VIEW token_ledger.reconcile_findings IS
'One row per event that a reconcile has found to be missing in the store, extra, different or doubled: the first thousand of each kind in an hour. reconcile_hours counts all.';
COMMENT ON COLUMN token_ledger.reconcile_findings.job IS 'The job.';
COMMENT ON COLUMN token_ledger.reconcile_findings.target IS
'Name of its target.';
COMMENT ON COLUMN token_ledger.reconcile_findings.hour IS
'Start of the hour (UTC) in which it was found.';
COMMENT ON COLUMN token_ledger.reconcile_findings.kind IS
'missing, extra, different (total_tokens, cost_usd or timestamp) or doubled.';
COMMENT ON COLUMN token_ledger.reconcile_findings.event_id IS 'The event.';
COMMENT ON COLUMN token_ledger.reconcile_findings.ledger_tokens IS
'Its total_tokens in the ledger; NULL: it is not there.';
COMMENT ON COLUMN token_ledger.reconcile_findings.store_tokens IS
'Its total_tokens in the store; NULL: it is not there.';
COMMENT ON COLUMN token_ledger.reconcile_findings.ledger_cost IS
'Its cost_usd in the ledger, 0 where it is NULL or NaN.';
COMMENT ON COLUMN token_ledger.reconcile_findings.store_cost IS
'Its cost_usd in the store, 0 where it is NULL or NaN.';

CREATE VIEW token_ledger.accounting AS
	SELECT a.target, a.ledger, a.retired, a.skipped, a.filtered, a.forwarded,
		a.in_flight, a.pending, a.dead, a.discarded,
		a.ledger + a.retired - a.skipped - a.filtered - a.forwarded
			- a.in_flight - a.pending - a.dead - a.discarded AS difference,
		a.vanished
	FROM (
		SELECT t.name AS target,
			(SELECT count(*)
				FROM ONLY token_ledger.token_ledger_events) AS ledger,
			(SELECT coalesce(sum(r.events), 0)::bigint
				FROM token_ledger.retired r) - s.vanished AS retired,
			t.skipped, s.filtered, s.forwarded, s.in_flight, s.pending,
			s.dead, s.discarded, s.vanished
		FROM token_ledger.totals s
			JOIN token_ledger.target t ON t.id = s.target_id
		OFFSET 0) a;
GRANT SELECT ON token_ledger.accounting TO pg_monitor;
COMMENT ON VIEW token_ledger.accounting IS
'Per target: ledger + retired = skipped + filtered + forwarded + in_flight + pending + dead + discarded, always. Counts the whole ledger. It cannot tell what was done to the ledger with its triggers disabled, nor events that a TRUNCATE in a transaction with an older snapshot removed.';
COMMENT ON COLUMN token_ledger.accounting.target IS 'Name of the target.';
COMMENT ON COLUMN token_ledger.accounting.ledger IS 'Events in the ledger.';
COMMENT ON COLUMN token_ledger.accounting.retired IS
'Events that the ledger no longer holds, without those that vanished before this target could send them.';
COMMENT ON COLUMN token_ledger.accounting.skipped IS
'Events that start=now has passed over; a replay may have sent them since.';
COMMENT ON COLUMN token_ledger.accounting.filtered IS
'Events that the target''s filter left out.';
COMMENT ON COLUMN token_ledger.accounting.forwarded IS
'Events that the store has acknowledged.';
COMMENT ON COLUMN token_ledger.accounting.in_flight IS
'Events that lanes have claimed and not settled.';
COMMENT ON COLUMN token_ledger.accounting.pending IS
'Committed events that no lane has claimed yet.';
COMMENT ON COLUMN token_ledger.accounting.dead IS 'Dead letters.';
COMMENT ON COLUMN token_ledger.accounting.discarded IS
'Dead letters that were given up.';
COMMENT ON COLUMN token_ledger.accounting.difference IS
'0 while the identity holds.';
COMMENT ON COLUMN token_ledger.accounting.vanished IS
'Events that left the ledger before this target could send them.';

CREATE VIEW token_ledger.identity AS
	SELECT t.name AS target,
		g.ledger + r.events - s.vanished - t.skipped - s.filtered
			- s.forwarded - s.in_flight - s.pending - s.dead - s.discarded
			AS difference
	FROM token_ledger.totals s
		JOIN token_ledger.target t ON t.id = s.target_id
		CROSS JOIN (
			SELECT token_ledger.ledger_events() AS ledger OFFSET 0) g
		CROSS JOIN (
			SELECT coalesce(sum(events), 0)::bigint AS events
			FROM token_ledger.retired) r;
GRANT SELECT ON token_ledger.identity TO pg_monitor;
COMMENT ON VIEW token_ledger.identity IS
'The identity of token_ledger.accounting, at a cost that does not grow with the ledger: its events are not counted but taken from token_ledger.tally.';
COMMENT ON COLUMN token_ledger.identity.target IS 'Name of the target.';
COMMENT ON COLUMN token_ledger.identity.difference IS
'0 while the identity holds.';

--------------------------------------------------------------------------
-- Whose the privileges and the data are

GRANT USAGE ON SCHEMA token_ledger TO pg_monitor;
SELECT token_ledger.dump_privileges('pg_namespace',
	'token_ledger'::regnamespace);
SELECT token_ledger.dump_privileges('pg_proc',
	'token_ledger.record'::regproc);

-- instance_local is left out: it is true in this cluster only.
SELECT pg_extension_config_dump(
	'token_ledger.token_ledger_events', '');
SELECT pg_extension_config_dump(
	'token_ledger.token_ledger_events_ingest_seq_seq', '');
SELECT pg_extension_config_dump('token_ledger.instance', '');
SELECT pg_extension_config_dump('token_ledger.retired', '');
SELECT pg_extension_config_dump('token_ledger.target', '');
SELECT pg_extension_config_dump('token_ledger.target_id_seq', '');
SELECT pg_extension_config_dump('token_ledger.lane', '');
SELECT pg_extension_config_dump('token_ledger.dead_letter', '');
SELECT pg_extension_config_dump('token_ledger.job', '');
SELECT pg_extension_config_dump('token_ledger.job_id_seq', '');
SELECT pg_extension_config_dump('token_ledger.reconcile_hour', '');
SELECT pg_extension_config_dump('token_ledger.reconcile_event', '');
SELECT pg_extension_config_dump('token_ledger.left_out', '');
SELECT pg_extension_config_dump('token_ledger.filled', '');
SELECT pg_extension_config_dump('token_ledger.alembic_version',
	$$WHERE version_num <> '002'$$);
