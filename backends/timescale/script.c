/*-------------------------------------------------------------------------
 *
 * script.c
 *	  What makes a table a hypertable: options of the URL to SQL.
 *
 * Everything runs in the transaction of the migration that creates the table,
 * and can run again: each statement does nothing where its object is there
 * already.  Calls are those that TimescaleDB 2.13 and all later versions
 * have; where a newer name exists (columnstore), the older one is used.
 * Functions are qualified by the extension's schema, which may be any.
 *
 * What a transaction cannot hold (CALL refresh_continuous_aggregate, CREATE
 * MATERIALIZED VIEW ... WITH DATA) is not among them: the aggregate begins
 * empty, and its policy fills it.
 *
 * Pure but for palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlts.h"

#define SECOND				INT64CONST(1000)
#define MINUTE				(60 * SECOND)
#define HOUR				(60 * MINUTE)
#define DAY					(24 * HOUR)

/* Of a table's base name: the suffix has to fit behind it. */
#define MAX_BASE_LENGTH		46

StaticAssertDecl(MAX_BASE_LENGTH + sizeof(TLTS_CAGG_SUFFIX) <= NAMEDATALEN,
				 "name of the continuous aggregate is too long");

static void append_hypertable(StringInfo sql, const TltsServer *server,
							  const TltsOptions *options,
							  const TlpgTableName *table);
static void append_compression(StringInfo sql, const TltsServer *server,
							   const TltsOptions *options,
							   const TlpgTableName *table);
static void append_cagg(StringInfo sql, const TltsServer *server,
						const TltsOptions *options,
						const TlpgTableName *table);
static void append_regclass(StringInfo sql, const char *quoted);

/*
 * "2.13.1" becomes 2013, as 1000 * major + minor; what cannot be read, 0.
 */
int
tlts_version(const char *text)
{
	int			major;
	int			minor;

	if (sscanf(text, "%4d.%3d", &major, &minor) != 2 || major < 0 ||
		minor < 0)
		return 0;
	return 1000 * major + minor;
}

/* As a literal, in the largest unit that needs no fraction. */
void
tlts_interval(StringInfo out, int64 ms)
{
	static const struct
	{
		int64		length;
		const char *name;
	}			units[] = {
		{DAY, "day"}, {HOUR, "hour"}, {MINUTE, "minute"}, {SECOND, "second"},
		{1, "millisecond"}
	};
	int			i = 0;

	while (ms % units[i].length != 0)
		i++;
	appendStringInfo(out, "INTERVAL '" INT64_FORMAT " %s%s'",
					 ms / units[i].length, units[i].name,
					 ms == units[i].length ? "" : "s");
}

/*
 * NULL, or how the options contradict each other.  The aggregate's rules are
 * TimescaleDB's: a refresh covers two buckets at least, and one that reaches
 * back to events which are dropped would drop their sums too.
 */
const char *
tlts_check_options(const TltsOptions *options, const TlpgTableName *table)
{
	if (strlen(table->base) > MAX_BASE_LENGTH)
		return "option \"table\" is longer than 46 bytes";
	if (!options->cagg)
		return NULL;
	if (options->cagg_start_offset < options->cagg_end_offset + 2 * DAY)
		return "option \"cagg_start_offset\" must be two days longer than \"cagg_end_offset\" at least";
	if (options->drop_after > 0 &&
		options->drop_after < options->cagg_start_offset)
		return "option \"drop_after\" must not be shorter than \"cagg_start_offset\": refreshing the continuous aggregate would drop the sums of dropped events";
	return NULL;
}

/* What of that which is asked for the Apache edition does not have. */
void
tlts_list_unavailable(const TltsOptions *options, StringInfo out)
{
	int			start = out->len;

	if (options->compress_after > 0)
		appendStringInfoString(out, "compression");
	if (options->cagg)
		appendStringInfo(out, "%scontinuous aggregate",
						 out->len > start ? ", " : "");
	if (options->drop_after > 0)
		appendStringInfo(out, "%sretention policy",
						 out->len > start ? ", " : "");
}

/* All that the options ask for and the server's edition has. */
void
tlts_append_script(StringInfo sql, const TltsServer *server,
				   const TltsOptions *options, const TlpgTableName *table)
{
	append_hypertable(sql, server, options, table);
	if (!server->full)
		return;
	if (options->compress_after > 0)
		append_compression(sql, server, options, table);
	if (options->cagg)
		append_cagg(sql, server, options, table);
	if (options->drop_after > 0)
	{
		appendStringInfo(sql, "SELECT %s.add_retention_policy(",
						 server->schema);
		append_regclass(sql, table->quoted);
		appendStringInfoString(sql, ", drop_after => ");
		tlts_interval(sql, options->drop_after);
		appendStringInfoString(sql, ", if_not_exists => true);");
	}
}

/*
 * Events that the table held before it was one of ours move to chunks.  No
 * default index: those of the migrations serve dashboards better.
 */
static void
append_hypertable(StringInfo sql, const TltsServer *server,
				  const TltsOptions *options, const TlpgTableName *table)
{
	appendStringInfo(sql, "SELECT %s.create_hypertable(", server->schema);
	append_regclass(sql, table->quoted);
	appendStringInfo(sql, ", %s.by_range('timestamp', ", server->schema);
	tlts_interval(sql, options->chunk_interval);
	appendStringInfoString(sql,
						   "), create_default_indexes => false,"
						   " if_not_exists => true, migrate_data => true);");
}

/*
 * Settings of a table that is compressed already are left alone: some
 * versions refuse to repeat them where a chunk is compressed.
 */
static void
append_compression(StringInfo sql, const TltsServer *server,
				   const TltsOptions *options, const TlpgTableName *table)
{
	StringInfoData block;

	initStringInfo(&block);
	appendStringInfoString(&block,
						   "BEGIN IF NOT EXISTS (SELECT FROM"
						   " timescaledb_information.hypertables h"
						   " WHERE h.compression_enabled"
						   " AND h.hypertable_schema = ");
	tlpg_quote_literal(&block, table->schema);
	appendStringInfoString(&block, " AND h.hypertable_name = ");
	tlpg_quote_literal(&block, table->name);
	appendStringInfo(&block,
					 ") THEN ALTER TABLE %s SET (timescaledb.compress,"
					 " timescaledb.compress_segmentby = 'provider, model',"
					 " timescaledb.compress_orderby = '\"timestamp\" DESC');"
					 " END IF; END", table->quoted);
	appendStringInfoString(sql, "DO ");
	tlpg_quote_literal(sql, block.data);
	appendStringInfo(sql, ";SELECT %s.add_compression_policy(",
					 server->schema);
	append_regclass(sql, table->quoted);
	appendStringInfoString(sql, ", compress_after => ");
	tlts_interval(sql, options->compress_after);
	appendStringInfoString(sql, ", if_not_exists => true);");
}

/*
 * The ledger's own view of daily costs, by UTC days.  It adds what has come
 * since the last refresh (not materialized_only): else the current day, which
 * is never complete, would never show.
 */
static void
append_cagg(StringInfo sql, const TltsServer *server,
			const TltsOptions *options, const TlpgTableName *table)
{
	char	   *name = tlpg_expand("{schema}.{name:*" TLTS_CAGG_SUFFIX "}",
									table);

	appendStringInfo(sql,
					 "CREATE MATERIALIZED VIEW IF NOT EXISTS %s"
					 " WITH (timescaledb.continuous,"
					 " timescaledb.materialized_only = false) AS"
					 " SELECT %s.time_bucket(INTERVAL '1 day', \"timestamp\") AS bucket,"
					 " provider, model,"
					 " pg_catalog.count(*) AS request_count,"
					 " pg_catalog.sum(input_tokens) AS total_input_tokens,"
					 " pg_catalog.sum(output_tokens) AS total_output_tokens,"
					 " pg_catalog.sum(total_tokens) AS total_tokens,"
					 " pg_catalog.sum(cost_usd) FILTER"
					 " (WHERE cost_usd <> 'NaN') AS total_cost,"
					 " pg_catalog.avg(duration_ms) FILTER"
					 " (WHERE duration_ms <> 'NaN') AS avg_latency_ms"
					 " FROM %s GROUP BY 1, 2, 3 WITH NO DATA;"
					 "SELECT %s.add_continuous_aggregate_policy(",
					 name, server->schema, table->quoted, server->schema);
	append_regclass(sql, name);
	appendStringInfoString(sql, ", start_offset => ");
	tlts_interval(sql, options->cagg_start_offset);
	appendStringInfoString(sql, ", end_offset => ");
	tlts_interval(sql, options->cagg_end_offset);
	appendStringInfoString(sql, ", schedule_interval => ");
	tlts_interval(sql, options->cagg_schedule_interval);
	appendStringInfoString(sql, ", if_not_exists => true);");
}

static void
append_regclass(StringInfo sql, const char *quoted)
{
	tlpg_quote_literal(sql, quoted);
	appendStringInfoString(sql, "::regclass");
}
