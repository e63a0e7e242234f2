/*-------------------------------------------------------------------------
 *
 * tlch_migrations.h
 *	  What the scripts of all backends with a ClickHouse table share.
 *
 * TLCH_COLUMNS are the columns of version 1.0.  TLCH_MIGRATIONS are the steps
 * after it, the elements of a module's array.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLCH_MIGRATIONS_H
#define TLCH_MIGRATIONS_H

#define TLCH_COLUMNS														\
	"`event_id` UUID, "														\
	"`trace_id` Nullable(UUID), "											\
	"`span_id` Nullable(UUID), "											\
	"`parent_span_id` Nullable(UUID), "										\
	"`timestamp` DateTime64(6, 'UTC'), "									\
	"`duration_ms` Nullable(Float64), "										\
	"`provider` LowCardinality(String), "									\
	"`model` LowCardinality(String), "										\
	"`input_tokens` Int64, "												\
	"`output_tokens` Int64, "												\
	"`total_tokens` Int64, "												\
	"`cost_usd` Nullable(Decimal(18, 8)), "									\
	"`endpoint` Nullable(String), "											\
	"`request_type` LowCardinality(Nullable(String)), "						\
	"`user_id` Nullable(String), "											\
	"`session_id` Nullable(String), "										\
	"`organization_id` Nullable(String), "									\
	"`app_name` LowCardinality(Nullable(String)), "							\
	"`environment` LowCardinality(Nullable(String)), "						\
	"`status` LowCardinality(Nullable(String)), "							\
	"`error_type` LowCardinality(Nullable(String)), "						\
	"`error_message` Nullable(String), "									\
	"`metadata` {json}, "													\
	"`request_preview` Nullable(String), "									\
	"`response_preview` Nullable(String)"

#define TLCH_MIGRATIONS														\
	{																		\
		.version = 101,														\
		.oldest_compatible = 100,											\
		.description = "cached tokens",										\
		.changes = "adds the column cached_tokens",							\
		.up = "ALTER TABLE {table}{cluster} ADD COLUMN IF NOT EXISTS"		\
		" `cached_tokens` Nullable(Int64)",									\
		.down = "ALTER TABLE {table}{cluster} DROP COLUMN IF EXISTS `cached_tokens`" \
	},																		\
	{																		\
		.version = 102,														\
		.oldest_compatible = 100,											\
		.description = "index for dashboards",								\
		.changes = "adds a bloom filter on user_id, for the parts written from then on", \
		.up = "ALTER TABLE {table}{cluster} ADD INDEX IF NOT EXISTS"		\
		" `idx_token_ledger_dashboard` `user_id` TYPE bloom_filter",		\
		.down = "ALTER TABLE {table}{cluster} DROP INDEX IF EXISTS"			\
		" `idx_token_ledger_dashboard`"										\
	},																		\
	{																		\
		.version = 103,														\
		.oldest_compatible = 100,											\
		.description = "attribution",										\
		.changes = "adds the columns feature, page, component, team, project, cost_center and metadata_extra", \
		.up = "ALTER TABLE {table}{cluster}"								\
		" ADD COLUMN IF NOT EXISTS `feature` LowCardinality(Nullable(String))," \
		" ADD COLUMN IF NOT EXISTS `page` Nullable(String),"				\
		" ADD COLUMN IF NOT EXISTS `component` LowCardinality(Nullable(String))," \
		" ADD COLUMN IF NOT EXISTS `team` LowCardinality(Nullable(String))," \
		" ADD COLUMN IF NOT EXISTS `project` LowCardinality(Nullable(String))," \
		" ADD COLUMN IF NOT EXISTS `cost_center` LowCardinality(Nullable(String))," \
		" ADD COLUMN IF NOT EXISTS `metadata_extra` {json}",				\
		.down = "ALTER TABLE {table}{cluster}"								\
		" DROP COLUMN IF EXISTS `feature`,"									\
		" DROP COLUMN IF EXISTS `page`,"									\
		" DROP COLUMN IF EXISTS `component`,"								\
		" DROP COLUMN IF EXISTS `team`,"									\
		" DROP COLUMN IF EXISTS `project`,"									\
		" DROP COLUMN IF EXISTS `cost_center`,"								\
		" DROP COLUMN IF EXISTS `metadata_extra`"							\
	}

#endif							/* TLCH_MIGRATIONS_H */
