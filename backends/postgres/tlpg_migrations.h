/*-------------------------------------------------------------------------
 *
 * tlpg_migrations.h
 *	  What the remote tables of all libpq backends have in common.
 *
 * The first migration is a module's own, for it makes the key; the columns
 * beside event_id and the later migrations are the same everywhere.  In a
 * script, {table}, {schema} and {name:...} are what tlpg_expand() says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLPG_MIGRATIONS_H
#define TLPG_MIGRATIONS_H

/* Of version 1.0, but for event_id. */
#define TLPG_COLUMNS														\
	" trace_id uuid,"														\
	" span_id uuid,"														\
	" parent_span_id uuid,"													\
	" \"timestamp\" timestamptz NOT NULL DEFAULT pg_catalog.now(),"			\
	" duration_ms double precision,"										\
	" provider text NOT NULL,"												\
	" model text NOT NULL,"													\
	" input_tokens bigint NOT NULL DEFAULT 0,"								\
	" output_tokens bigint NOT NULL DEFAULT 0,"								\
	" total_tokens bigint NOT NULL DEFAULT 0,"								\
	" cost_usd numeric(18, 8),"												\
	" endpoint text,"														\
	" request_type text DEFAULT 'chat',"									\
	" user_id text,"														\
	" session_id text,"														\
	" organization_id text,"												\
	" app_name text,"														\
	" environment text,"													\
	" status text DEFAULT 'success',"										\
	" error_type text,"														\
	" error_message text,"													\
	" metadata jsonb,"														\
	" request_preview text,"												\
	" response_preview text"

/*
 * Those after version 1.0.  Of texts the index has their beginnings: a longer
 * one would be refused.
 */
#define TLPG_MIGRATIONS														\
	{																		\
		.version = 101,														\
		.oldest_compatible = 100,											\
		.description = "cached tokens",										\
		.changes = "adds the column cached_tokens",							\
		.up = "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS"				\
		" cached_tokens bigint DEFAULT 0",									\
		.down = "ALTER TABLE {table} DROP COLUMN IF EXISTS cached_tokens"	\
	},																		\
	{																		\
		.version = 102,														\
		.oldest_compatible = 100,											\
		.description = "index for dashboards",								\
		.changes = "adds an index on timestamp, model and user_id that"		\
		" includes cost_usd and total_tokens",								\
		.up = "CREATE INDEX IF NOT EXISTS {name:idx_*_dashboard} ON {table}"\
		" (\"timestamp\" DESC, \"left\"(model, 256),"						\
		" \"left\"(user_id, 256)) INCLUDE (cost_usd, total_tokens)",		\
		.down = "DROP INDEX IF EXISTS {schema}.{name:idx_*_dashboard}"		\
	},																		\
	{																		\
		.version = 103,														\
		.oldest_compatible = 100,											\
		.description = "attribution",										\
		.changes = "adds the columns feature, page, component, team,"		\
		" project, cost_center and metadata_extra",							\
		.up = "ALTER TABLE {table}"											\
		" ADD COLUMN IF NOT EXISTS feature text,"							\
		" ADD COLUMN IF NOT EXISTS page text,"								\
		" ADD COLUMN IF NOT EXISTS component text,"							\
		" ADD COLUMN IF NOT EXISTS team text,"								\
		" ADD COLUMN IF NOT EXISTS project text,"							\
		" ADD COLUMN IF NOT EXISTS cost_center text,"						\
		" ADD COLUMN IF NOT EXISTS metadata_extra jsonb",					\
		.down = "ALTER TABLE {table}"										\
		" DROP COLUMN IF EXISTS feature,"									\
		" DROP COLUMN IF EXISTS page,"										\
		" DROP COLUMN IF EXISTS component,"									\
		" DROP COLUMN IF EXISTS team,"										\
		" DROP COLUMN IF EXISTS project,"									\
		" DROP COLUMN IF EXISTS cost_center,"								\
		" DROP COLUMN IF EXISTS metadata_extra"								\
	}

#endif							/* TLPG_MIGRATIONS_H */
