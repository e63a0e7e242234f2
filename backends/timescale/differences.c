/*-------------------------------------------------------------------------
 *
 * differences.c
 *	  How the table differs from the hypertable that the URL asks for, and
 *	  what its retention policy keeps.
 *
 * None of it stops events: a table that is no hypertable takes them too.  So
 * all is said in TlRemote.differences, for people, and nothing is changed.
 *
 * Only the views of timescaledb_information are read; in what they show, the
 * versions since 2.13 agree but for the name under which a refresh policy
 * lists its aggregate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlts.h"

/* Columns of the query, in its order. */
typedef enum Found
{
	FOUND_COLUMN,				/* that the table is partitioned by */
	FOUND_INTERVAL,				/* of its chunks */
	FOUND_SAME_INTERVAL,
	FOUND_COMPRESSION,
	FOUND_COMPRESS_AFTER,
	FOUND_SAME_COMPRESS_AFTER,
	FOUND_DROP_AFTER,
	FOUND_SAME_DROP_AFTER,
	FOUND_KEEPS_FROM,
	FOUND_CAGG,
	FOUND_CAGG_POLICY
} Found;

/*
 * Parameters: schema and name of the table, of the aggregate; chunk_interval,
 * compress_after, drop_after.  A policy that drops by the time at which a
 * chunk was created says nothing of timestamps: no event is safe from it.
 */
static const char query[] =
	"WITH job AS (SELECT j.* FROM timescaledb_information.jobs j"
	" WHERE (j.hypertable_schema, j.hypertable_name) = (%s, %s))"
	" SELECT d.column_name, d.time_interval, d.time_interval = %s,"
	" h.compression_enabled,"
	" c.config ->> 'compress_after',"
	" (c.config ->> 'compress_after')::interval = %s,"
	" r.config ->> 'drop_after',"
	" (r.config ->> 'drop_after')::interval = %s,"
	" CASE WHEN r.job_id IS NOT NULL THEN pg_catalog.floor(1000000 *"
	" extract(epoch FROM pg_catalog.now() - coalesce("
	"(r.config ->> 'drop_after')::interval, '0')))::bigint END,"
	" a.view_name IS NOT NULL,"
	" EXISTS (SELECT FROM timescaledb_information.jobs p"
	" WHERE p.proc_name = 'policy_refresh_continuous_aggregate'"
	" AND (p.hypertable_schema, p.hypertable_name) IN"
	" ((a.view_schema, a.view_name), (a.materialization_hypertable_schema,"
	" a.materialization_hypertable_name)))"
	" FROM (VALUES (1)) one"
	" LEFT JOIN timescaledb_information.hypertables h"
	" ON (h.hypertable_schema, h.hypertable_name) = (%s, %s)"
	" LEFT JOIN timescaledb_information.dimensions d"
	" ON (d.hypertable_schema, d.hypertable_name)"
	" = (h.hypertable_schema, h.hypertable_name) AND d.dimension_number = 1"
	" LEFT JOIN job c ON c.proc_name = 'policy_compression'"
	" LEFT JOIN job r ON r.proc_name = 'policy_retention'"
	" LEFT JOIN timescaledb_information.continuous_aggregates a"
	" ON (a.view_schema, a.view_name) = (%s, %s)";

static char *make_query(const TltsOptions *options,
						const TlpgTableName *table);
static const char *found(const PGresult *row, Found what);
static bool found_true(const PGresult *row, Found what);
static void compare_partitions(const PGresult *row,
							   const TltsOptions *options, StringInfo out);
static void compare_compression(const PGresult *row,
								const TltsOptions *options, StringInfo out);
static void compare_cagg(const PGresult *row, const TlpgTableName *table,
						 StringInfo out);
static void compare_retention(const PGresult *row,
							  const TltsOptions *options, StringInfo out);
static void note_unavailable(const TltsServer *server,
							 const TltsOptions *options, StringInfo out);
static void note(StringInfo out, const char *fmt,...)
			pg_attribute_printf(2, 3);

/* TlpgDialect.inspect */
bool
tlts_inspect(TlpgState *state, TlRemote *remote, TlVerdict *verdict)
{
	const TltsServer *server = state->server;
	StringInfo	out = &remote->differences;
	TltsOptions options;
	const char *keeps_from;

	tlts_read_options(state->session, &options);
	if (!tlpg_look_up(state, make_query(&options, &state->table), verdict))
		return false;

	keeps_from = found(state->rows, FOUND_KEEPS_FROM);
	if (keeps_from != NULL)
		remote->keeps_from = strtoll(keeps_from, NULL, 10);
	compare_partitions(state->rows, &options, out);
	if (!server->full)
	{
		note_unavailable(server, &options, out);
		return true;
	}
	if (options.compress_after > 0)
		compare_compression(state->rows, &options, out);
	if (options.cagg)
		compare_cagg(state->rows, &state->table, out);
	if (options.drop_after > 0)
		compare_retention(state->rows, &options, out);
	return true;
}

static char *
make_query(const TltsOptions *options, const TlpgTableName *table)
{
	char	   *cagg = psprintf("%s" TLTS_CAGG_SUFFIX, table->base);
	const char *names[] = {table->schema, table->name, cagg};
	StringInfoData quoted[3];
	const int64 times[] = {options->chunk_interval, options->compress_after,
	options->drop_after};
	StringInfoData intervals[3];

	for (int i = 0; i < 3; i++)
	{
		initStringInfo(&quoted[i]);
		tlpg_quote_literal(&quoted[i], names[i]);
		initStringInfo(&intervals[i]);
		tlts_interval(&intervals[i], times[i]);
	}
	return psprintf(query, quoted[0].data, quoted[1].data,
					intervals[0].data, intervals[1].data, intervals[2].data,
					quoted[0].data, quoted[1].data,
					quoted[0].data, quoted[2].data);
}

static const char *
found(const PGresult *row, Found what)
{
	return PQgetisnull(row, 0, what) ? NULL : PQgetvalue(row, 0, what);
}

static bool
found_true(const PGresult *row, Found what)
{
	return PQgetvalue(row, 0, what)[0] == 't';
}

static void
compare_partitions(const PGresult *row, const TltsOptions *options,
				   StringInfo out)
{
	StringInfoData wanted;
	const char *column = found(row, FOUND_COLUMN);

	if (column == NULL)
	{
		note(out, "it is not a hypertable");
		return;
	}
	if (strcmp(column, "timestamp") != 0)
		note(out, "it is partitioned by column \"%s\" instead of \"timestamp\"",
			 column);
	if (found_true(row, FOUND_SAME_INTERVAL))
		return;
	initStringInfo(&wanted);
	tlts_interval(&wanted, options->chunk_interval);
	note(out, "its chunk interval is %s instead of %s",
		 PQgetvalue(row, 0, FOUND_INTERVAL), wanted.data);
}

static void
compare_compression(const PGresult *row, const TltsOptions *options,
					StringInfo out)
{
	StringInfoData wanted;
	const char *after = found(row, FOUND_COMPRESS_AFTER);

	if (!found_true(row, FOUND_COMPRESSION))
		note(out, "it is not compressed");
	else if (after == NULL)
		note(out, "it has no compression policy");
	else if (!found_true(row, FOUND_SAME_COMPRESS_AFTER))
	{
		initStringInfo(&wanted);
		tlts_interval(&wanted, options->compress_after);
		note(out, "its chunks are compressed after %s instead of %s", after,
			 wanted.data);
	}
}

static void
compare_cagg(const PGresult *row, const TlpgTableName *table, StringInfo out)
{
	char	   *name = tlpg_expand("{name:*" TLTS_CAGG_SUFFIX "}", table);

	if (!found_true(row, FOUND_CAGG))
		note(out, "continuous aggregate %s is missing", name);
	else if (!found_true(row, FOUND_CAGG_POLICY))
		note(out, "continuous aggregate %s has no refresh policy", name);
}

static void
compare_retention(const PGresult *row, const TltsOptions *options,
				  StringInfo out)
{
	StringInfoData wanted;
	const char *after = found(row, FOUND_DROP_AFTER);

	if (found(row, FOUND_KEEPS_FROM) == NULL)
		note(out, "it has no retention policy");
	else if (!found_true(row, FOUND_SAME_DROP_AFTER))
	{
		initStringInfo(&wanted);
		tlts_interval(&wanted, options->drop_after);
		note(out, "its chunks are dropped after %s instead of %s",
			 after ? after : "a time since their creation", wanted.data);
	}
}

static void
note_unavailable(const TltsServer *server, const TltsOptions *options,
				 StringInfo out)
{
	StringInfoData list;

	initStringInfo(&list);
	tlts_list_unavailable(options, &list);
	if (list.len > 0)
		note(out, "TimescaleDB %s under the licence \"%s\" does not offer: %s",
			 server->version, server->license, list.data);
}

/* Appends to a list. */
static void
note(StringInfo out, const char *fmt,...)
{
	char		line[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	appendStringInfo(out, "%s%s", out->len > 0 ? "; " : "", line);
}
