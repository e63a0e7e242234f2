-- A stand-in for TimescaleDB in this database: see timescale_calls.c.  To be
-- run by a superuser in a server that has preloaded the library.  Signatures
-- are those of TimescaleDB 2.13; "version" is what it claims to be.
\set ON_ERROR_STOP on
\set QUIET on

CREATE SCHEMA timescale_calls;
CREATE SCHEMA _timescaledb_internal;
CREATE SCHEMA timescaledb_information;

CREATE TABLE timescale_calls.options (
	schema_name name, table_name name, name text, value text,
	PRIMARY KEY (schema_name, table_name, name));
CREATE TABLE timescale_calls.hypertable (
	relation regclass PRIMARY KEY, column_name name, time_interval interval);
CREATE TABLE timescale_calls.job (
	job_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (START 1000),
	relation regclass, proc_name name, config jsonb,
	schedule_interval interval, UNIQUE (relation, proc_name));

CREATE TYPE _timescaledb_internal.dimension_info AS (
	column_name name, partition_interval interval);

CREATE FUNCTION :schema.by_range(column_name name, partition_interval interval
	DEFAULT NULL, partition_func regproc DEFAULT NULL)
RETURNS _timescaledb_internal.dimension_info LANGUAGE sql
RETURN ROW(column_name, coalesce(partition_interval, '7 days'))
	::_timescaledb_internal.dimension_info;

CREATE FUNCTION :schema.time_bucket(bucket_width interval, ts timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN date_bin(bucket_width, ts, '2000-01-03Z');

-- As TimescaleDB does, it insists on unique keys with the column in them.
CREATE FUNCTION :schema.create_hypertable(relation regclass,
	dimension _timescaledb_internal.dimension_info,
	create_default_indexes boolean DEFAULT true,
	if_not_exists boolean DEFAULT false, migrate_data boolean DEFAULT false,
	OUT hypertable_id integer, OUT created boolean)
LANGUAGE plpgsql AS $$
BEGIN
	created := NOT EXISTS (SELECT FROM timescale_calls.hypertable h
		WHERE h.relation = create_hypertable.relation);
	IF NOT created AND NOT if_not_exists THEN
		RAISE 'table "%" is already a hypertable', relation
			USING ERRCODE = 'TS110';
	END IF;
	IF EXISTS (SELECT FROM pg_index i WHERE i.indrelid = relation
		AND i.indisunique AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = relation AND a.attname = dimension.column_name
			AND a.attnum = ANY (i.indkey))) THEN
		RAISE 'cannot create a unique index without the column "%" (used in partitioning)',
			dimension.column_name USING ERRCODE = 'TS103';
	END IF;
	INSERT INTO timescale_calls.hypertable
	VALUES (relation, dimension.column_name, dimension.partition_interval)
	ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION timescale_calls.add_job(regclass, name, jsonb, interval,
	if_not_exists boolean) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	found_id integer;
BEGIN
	SELECT job_id INTO found_id FROM timescale_calls.job
	WHERE relation = $1 AND proc_name = $2;
	IF found_id IS NOT NULL AND NOT if_not_exists THEN
		RAISE 'policy already exists for "%"', $1
			USING ERRCODE = 'duplicate_object';
	ELSIF found_id IS NOT NULL THEN
		RETURN -1;
	END IF;
	INSERT INTO timescale_calls.job
		(relation, proc_name, config, schedule_interval)
	VALUES ($1, $2, $3, $4) RETURNING job_id INTO found_id;
	RETURN found_id;
END $$;

CREATE FUNCTION timescale_calls.check_hypertable(relation regclass)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM timescale_calls.hypertable h
		WHERE h.relation = $1) THEN
		RAISE '"%" is not a hypertable or a continuous aggregate', relation
			USING ERRCODE = 'TS001';
	END IF;
END $$;

CREATE FUNCTION :schema.add_compression_policy(hypertable regclass,
	compress_after interval DEFAULT NULL, if_not_exists boolean DEFAULT false,
	schedule_interval interval DEFAULT NULL,
	initial_start timestamptz DEFAULT NULL, timezone text DEFAULT NULL,
	compress_created_before interval DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	PERFORM timescale_calls.check_hypertable(hypertable);
	IF NOT EXISTS (SELECT FROM timescaledb_information.hypertables
		WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass
			= hypertable AND compression_enabled) THEN
		RAISE 'compression not enabled on hypertable "%"', hypertable
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	RETURN timescale_calls.add_job(hypertable, 'policy_compression',
		jsonb_build_object('compress_after', compress_after),
		coalesce(schedule_interval, '12 hours'), if_not_exists);
END $$;

CREATE FUNCTION :schema.add_retention_policy(relation regclass,
	drop_after interval DEFAULT NULL, if_not_exists boolean DEFAULT false,
	schedule_interval interval DEFAULT NULL,
	initial_start timestamptz DEFAULT NULL, timezone text DEFAULT NULL,
	drop_created_before interval DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	PERFORM timescale_calls.check_hypertable(relation);
	RETURN timescale_calls.add_job(relation, 'policy_retention',
		jsonb_strip_nulls(jsonb_build_object('drop_after', drop_after,
			'drop_created_before', drop_created_before)),
		coalesce(schedule_interval, '1 day'), if_not_exists);
END $$;

CREATE FUNCTION :schema.add_continuous_aggregate_policy(
	continuous_aggregate regclass, start_offset interval, end_offset interval,
	schedule_interval interval, if_not_exists boolean DEFAULT false,
	initial_start timestamptz DEFAULT NULL, timezone text DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
		WHERE format('%I.%I', view_schema, view_name)::regclass
			= continuous_aggregate) THEN
		RAISE '"%" is not a continuous aggregate', continuous_aggregate
			USING ERRCODE = 'wrong_object_type';
	END IF;
	IF start_offset < end_offset + interval '2 days' THEN
		RAISE 'policy refresh window too small'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN timescale_calls.add_job(continuous_aggregate,
		'policy_refresh_continuous_aggregate',
		jsonb_build_object('start_offset', start_offset,
			'end_offset', end_offset),
		schedule_interval, if_not_exists);
END $$;

CREATE VIEW timescaledb_information.hypertables AS
SELECT n.nspname AS hypertable_schema, c.relname AS hypertable_name,
	EXISTS (SELECT FROM timescale_calls.options o
		WHERE (o.schema_name, o.table_name) = (n.nspname, c.relname)
		AND o.name = 'compress' AND o.value::boolean) AS compression_enabled
FROM timescale_calls.hypertable h JOIN pg_class c ON c.oid = h.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace;

CREATE VIEW timescaledb_information.dimensions AS
SELECT n.nspname AS hypertable_schema, c.relname AS hypertable_name,
	1::bigint AS dimension_number, h.column_name, h.time_interval
FROM timescale_calls.hypertable h JOIN pg_class c ON c.oid = h.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace;

CREATE VIEW timescaledb_information.jobs AS
SELECT j.job_id, j.proc_name, j.config, j.schedule_interval,
	n.nspname AS hypertable_schema, c.relname AS hypertable_name
FROM timescale_calls.job j JOIN pg_class c ON c.oid = j.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace;

CREATE VIEW timescaledb_information.compression_settings AS
SELECT o.schema_name AS hypertable_schema, o.table_name AS hypertable_name,
	trim(BOTH '" ' FROM regexp_replace(e.element, ' (ASC|DESC).*$', '', 'i'))
		::name AS attname,
	CASE WHEN o.name = 'compress_segmentby' THEN e.i END::smallint
		AS segmentby_column_index,
	CASE WHEN o.name = 'compress_orderby' THEN e.i END::smallint
		AS orderby_column_index,
	CASE WHEN o.name = 'compress_orderby' THEN e.element !~* ' DESC' END
		AS orderby_asc
FROM timescale_calls.options o,
	unnest(string_to_array(o.value, ',')) WITH ORDINALITY e (element, i)
WHERE o.name IN ('compress_segmentby', 'compress_orderby');

CREATE VIEW timescaledb_information.continuous_aggregates AS
SELECT o.schema_name AS view_schema, o.table_name AS view_name,
	NULL::name AS materialization_hypertable_schema,
	NULL::name AS materialization_hypertable_name,
	EXISTS (SELECT FROM timescale_calls.options m
		WHERE (m.schema_name, m.table_name) = (o.schema_name, o.table_name)
		AND m.name = 'materialized_only' AND m.value::boolean)
		AS materialized_only
FROM timescale_calls.options o
WHERE o.name = 'continuous' AND o.value::boolean;

INSERT INTO pg_extension (oid, extname, extowner, extnamespace,
	extrelocatable, extversion)
SELECT pg_nextoid('pg_extension', 'oid', 'pg_extension_oid_index'),
	'timescaledb', 10, oid, false, :'version'
FROM pg_namespace WHERE nspname = :'schema';
