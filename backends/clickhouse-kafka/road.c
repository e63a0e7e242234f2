/*-------------------------------------------------------------------------
 *
 * road.c
 *	  What carries the topic's messages into the table, within ClickHouse.
 *
 * A table of the Kafka engine is the topic's reader (*_queue).  One view
 * moves what it could read into the events table (*_queue_events), another
 * one what it could not into the error table (*_queue_errors).
 *
 * The queue's columns are those that the events table has, with its types:
 * what does not fit is found while a message is parsed, and goes to the error
 * table, instead of failing in the view, where it would stop everything
 * behind it.
 *
 * None of the three holds data, and where the reader stands is remembered by
 * the brokers, under the name of its group: the road is made anew whenever it
 * is not as it should be.  The queue is the first to go, so that no message
 * is read while a view is missing; the view of the events is the first to
 * come, so that no event is read without being moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "tlck.h"

#define QUEUE		"{name:*_queue}"
#define EVENTS_VIEW	"{name:*_queue_events}"
#define ERRORS_VIEW	"{name:*_queue_errors}"
#define ERRORS		"{name:*_errors}"

#define FLUSH_MS	"7500"		/* ClickHouse's own default */

/* The road as it is. */
typedef struct Road
{
	const char *engine;			/* of the queue; "": there is none */
	const char *columns;		/* of the queue: "name type, ..." */
	bool		events_view;
	bool		errors_view;
} Road;

static bool look(TlckState *state, Road *road, TlVerdict *verdict);
static const char *fault(TlckState *state, const Road *road);
static bool setting_differs(TlckState *state, const char *engine);
static char *wanted_columns(const TlckState *state, bool types, bool quoted);
static List *wanted_settings(TlckState *state);
static char *setting(const char *name, const char *text);
static char *group_name(TlckState *state);
static char *create_queue(TlckState *state);
static char *create_events_view(TlckState *state);
static char *create_errors_view(TlckState *state);
static bool run(TlckState *state, const char *statement, TlVerdict *verdict);

static char *
expand(const TlckState *state, const char *template)
{
	const TlchState *clickhouse = tlck_clickhouse(state);

	return tlch_expand(template, &clickhouse->table, &clickhouse->placement);
}

/* What is wrong with the options; NULL: nothing. */
const char *
tlck_check_road(TlckState *state)
{
	if ((state->kafka.tls || state->kafka.sasl != NULL) &&
		tlkf_core->option(state->kafka.session,
						  "clickhouse_collection") == NULL)
		return "these brokers want TLS or a user, so option \"clickhouse_collection\" must name the named collection of ClickHouse's by which its own reader gets in";
	return NULL;
}

/*
 * Looks at the road and says how it differs from what it should be.  To be
 * called with the events table loaded.
 */
bool
tlck_road_look(TlckState *state, TlckRoad *road, StringInfo differences,
			   TlVerdict *verdict)
{
	Road		found;
	const char *why;

	if (!look(state, &found, verdict))
		return false;
	why = fault(state, &found);
	*road = why == NULL ? TLCK_ROAD_OPEN :
		found.engine[0] == '\0' ? TLCK_ROAD_MISSING : TLCK_ROAD_BROKEN;
	if (why == NULL && setting_differs(state, found.engine))
		why = psprintf("%s has other settings than the target's URL asks for; drop it, and token_ledger.create_schema() makes it anew",
					   expand(state, QUEUE));
	if (why != NULL)
		appendStringInfoString(differences, why);
	return true;
}

static bool
look(TlckState *state, Road *road, TlVerdict *verdict)
{
	static const char query[] =
		"SELECT anyIf(engine_full, engine = 'Kafka' AND name = {q}),"
		" toInt64(countIf(name = {e})), toInt64(countIf(name = {r})),"
		" ifNull((SELECT arrayStringConcat(groupArray(concat(name, ' ', type)), ', ')"
		" FROM (SELECT name, type FROM system.columns WHERE database = {d}"
		" AND table = {q} ORDER BY position)), '')"
		" FROM system.tables WHERE database = {d} FORMAT RowBinary";
	const TlchTableName *table = &tlck_clickhouse(state)->table;
	StringInfoData sql;
	TlchReader	reader;

	initStringInfo(&sql);
	for (const char *p = query; *p != '\0'; p++)
	{
		if (*p != '{')
		{
			appendStringInfoChar(&sql, *p);
			continue;
		}
		tlch_quote_literal(&sql, p[1] == 'd' ? table->database :
						   psprintf("%s_queue%s", table->base,
									p[1] == 'e' ? "_events" :
									p[1] == 'r' ? "_errors" : ""));
		p += 2;
	}
	if (!tlch_query(tlck_clickhouse(state), sql.data, &reader, verdict))
		return false;
	road->engine = tlch_read_string(&reader);
	road->events_view = tlch_read_int64(&reader) > 0;
	road->errors_view = tlch_read_int64(&reader) > 0;
	road->columns = tlch_read_string(&reader);
	if (reader.broken)
		tl_fail(verdict, TL_CAUSE_CONFIG, NULL,
				"the answer is not one of a ClickHouse server's");
	return !reader.broken;
}

/* What is wrong with it; NULL: nothing. */
static const char *
fault(TlckState *state, const Road *road)
{
	if (road->engine[0] == '\0')
		return psprintf("there is no table %s of the Kafka engine, so nothing moves from the topic to the table",
						expand(state, QUEUE));
	if (!road->events_view)
		return psprintf("there is no view %s, so nothing moves from the topic to the table",
						expand(state, EVENTS_VIEW));
	if (!road->errors_view)
		return psprintf("there is no view %s, so messages that cannot be read are not kept",
						expand(state, ERRORS_VIEW));
	if (strcmp(road->columns, wanted_columns(state, true, false)) != 0)
		return psprintf("%s has other columns than the table",
						expand(state, QUEUE));
	return NULL;
}

static bool
setting_differs(TlckState *state, const char *engine)
{
	ListCell   *lc;

	foreach(lc, wanted_settings(state))
	{
		const char *found = strstr(engine, lfirst(lc));

		/* "= 10" is not "= 100". */
		if (found == NULL || strchr(", ", found[strlen(lfirst(lc))]) == NULL)
			return true;
	}
	return false;
}

/*
 * The columns of the events table that messages have.  NB: JSON is text until
 * the view converts it: the parser would take an object apart.
 */
static char *
wanted_columns(const TlckState *state, bool types, bool quoted)
{
	const TlchTable *table = tlck_clickhouse(state)->remote;
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const TlchColumn *column = &table->columns[i];

		if (column->computed || tlch_find_expected(column->name) == NULL)
			continue;
		if (out.len > 0)
			appendStringInfoString(&out, ", ");
		if (quoted)
			tlch_quote_identifier(&out, column->name);
		else
			appendStringInfoString(&out, column->name);
		if (types)
			appendStringInfo(&out, " %s", tlch_is_json(column->type) ?
							 "Nullable(String)" : column->type);
	}
	return out.data;
}

/* Of the queue, as ClickHouse writes them: a list of texts "name = value". */
static List *
wanted_settings(TlckState *state)
{
	TlSession  *session = state->kafka.session;
	const char *brokers = tlkf_core->option(session, "clickhouse_brokers");
	const char *flush = tlkf_core->option(session,
										  "clickhouse_flush_interval");
	List	   *list = NIL;

	if (tlkf_core->option(session, "clickhouse_collection") == NULL)
		list = lappend(list, setting("kafka_broker_list",
									 brokers ? brokers : session->hosts));
	list = lappend(list, setting("kafka_topic_list", state->kafka.topic));
	list = lappend(list, setting("kafka_group_name", group_name(state)));
	list = lappend(list, setting("kafka_format", "JSONEachRow"));
	list = lappend(list, setting("kafka_handle_error_mode", "stream"));
	list = lappend(list, psprintf("kafka_flush_interval_ms = %s",
								  flush ? flush : FLUSH_MS));
	list = lappend(list, setting("date_time_input_format", "best_effort"));
	list = lappend(list,
				   pstrdup("input_format_skip_unknown_fields = 1"));
	return list;
}

static char *
setting(const char *name, const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s = ", name);
	tlch_quote_literal(&out, text);
	return out.data;
}

/* One for each table: two tables are two readers. */
static char *
group_name(TlckState *state)
{
	const char *given = tlkf_core->option(state->kafka.session,
										  "clickhouse_group");
	const TlchTableName *table = &tlck_clickhouse(state)->table;

	return given ? pstrdup(given) :
		psprintf("clickhouse-%s.%s", table->database, table->name);
}

/*
 * Makes it unless it is there.  Another session may do the same: whatever
 * that leaves half-done is found at the next look.
 */
bool
tlck_road_make(TlckState *state, TlVerdict *verdict)
{
	Road		road;

	if (!tlch_load_table(tlck_clickhouse(state), verdict) ||
		!look(state, &road, verdict))
		return false;
	if (fault(state, &road) == NULL && !setting_differs(state, road.engine))
		return true;
	return tlck_road_close(state, verdict) &&
		run(state, create_queue(state), verdict) &&
		run(state, create_events_view(state), verdict) &&
		run(state, create_errors_view(state), verdict);
}

static char *
create_queue(TlckState *state)
{
	const char *collection = tlkf_core->option(state->kafka.session,
											   "clickhouse_collection");
	StringInfoData sql;
	const char *between = " SETTINGS ";
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE IF NOT EXISTS %s (%s) ENGINE = Kafka",
					 expand(state, QUEUE "{cluster}"),
					 wanted_columns(state, true, true));
	if (collection != NULL)
	{
		appendStringInfoChar(&sql, '(');
		tlch_quote_identifier(&sql, collection);
		appendStringInfoChar(&sql, ')');
	}
	foreach(lc, wanted_settings(state))
	{
		appendStringInfo(&sql, "%s%s", between, (char *) lfirst(lc));
		between = ", ";
	}
	return sql.data;
}

static char *
create_events_view(TlckState *state)
{
	return psprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %s TO %s AS"
					" SELECT %s FROM %s WHERE length(_error) = 0",
					expand(state, EVENTS_VIEW "{cluster}"),
					expand(state, "{table}"),
					wanted_columns(state, false, true),
					expand(state, QUEUE));
}

static char *
create_errors_view(TlckState *state)
{
	return expand(state, "CREATE MATERIALIZED VIEW IF NOT EXISTS "
				  ERRORS_VIEW "{cluster} TO " ERRORS " AS"
				  " SELECT now64(6) AS received_at, _topic AS topic,"
				  " _partition AS partition, _offset AS offset,"
				  " _key AS key, _raw_message AS message, _error AS error"
				  " FROM " QUEUE " WHERE length(_error) > 0");
}

/* Nothing is read any more; what the topic has meanwhile waits there. */
bool
tlck_road_close(TlckState *state, TlVerdict *verdict)
{
	static const char *const parts[] = {QUEUE, EVENTS_VIEW, ERRORS_VIEW};

	for (int i = 0; i < lengthof(parts); i++)
		if (!run(state, psprintf("DROP TABLE IF EXISTS %s%s SYNC",
								 expand(state, parts[i]),
								 expand(state, "{cluster}")), verdict))
			return false;
	return true;
}

static bool
run(TlckState *state, const char *statement, TlVerdict *verdict)
{
	return tlch_query(tlck_clickhouse(state), statement, NULL, verdict);
}
