/*-------------------------------------------------------------------------
 *
 * queue_walk.c
 *	  Reads the ledger in queue order: (ingest_xid, ingest_seq).
 *
 * A window is read interval by interval (window.c), each with one prepared
 * statement that walks the index from a position.  The shape of the statement
 * matters; it was measured on millions of rows:
 *
 *	- the lower bound is the row comparison alone: a ">=" on the first column
 *	  beside it reads the whole index;
 *	- no UNION of the intervals: it sorts the backlog for every page;
 *	- no "= ANY" of late transactions: minutes with a thousand of them;
 *	- a generic plan, in a process where bitmap and sequential scans and sorts
 *	  are off (lane_settings.c): without statistics the planner sorts.
 *
 * The caller is inside a transaction with SPI connected.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/params.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/xid8.h"

#include "compat.h"
#include "queue_internal.h"

#define WINDOW_QUALS \
	" FROM ONLY token_ledger.token_ledger_events" \
	" WHERE ingest_xid OPERATOR(pg_catalog.<=) $1" \
	" AND (ingest_xid, ingest_seq) OPERATOR(pg_catalog.>) ($2, $3)" \
	" AND (ingest_xid, ingest_seq) OPERATOR(pg_catalog.<=) ($4, $5)" \
	" AND pg_catalog.pg_visible_in_snapshot(ingest_xid, $6)" \
	" ORDER BY ingest_xid, ingest_seq LIMIT $7"

/* LATERAL and OFFSET 0: one look-up for each, whatever the planner thinks. */
#define JOB_QUALS \
	" FROM token_ledger.job_event, LATERAL (SELECT *" \
	" FROM ONLY token_ledger.token_ledger_events" \
	" WHERE ingest_xid OPERATOR(pg_catalog.=) xid" \
	" AND ingest_seq OPERATOR(pg_catalog.=) seq OFFSET 0) AS event" \
	" WHERE job_id OPERATOR(pg_catalog.=) $1" \
	" AND (xid, seq) OPERATOR(pg_catalog.>) ($2, $3)" \
	" AND (xid, seq) OPERATOR(pg_catalog.<=) ($4, $5)" \
	" ORDER BY xid, seq"

#define JOB_NARGS		5

/* Where an event is, and which. */
#define PLACE			"ingest_xid, ingest_seq, event_id"

#define WINDOW_NARGS	7

static Oid	window_types[WINDOW_NARGS] = {XID8OID, XID8OID, INT8OID, XID8OID,
INT8OID, PG_SNAPSHOTOID, INT8OID};

static Oid	job_types[JOB_NARGS] = {INT8OID, XID8OID, INT8OID, XID8OID,
INT8OID};

typedef struct WalkReceiver
{
	DestReceiver pub;
	QueueWalk  *walk;
} WalkReceiver;

/* One interval of a window, clipped to what the caller wants of it. */
typedef struct Stretch
{
	uint64		hi;				/* last transaction, inclusive */
	QueuePosition after;		/* exclusive */
	QueuePosition upto;			/* inclusive */
} Stretch;

typedef struct Stretches
{
	XidInterval *intervals;
	int			nintervals;
	int			next;
	QueuePosition after;
	QueuePosition upto;
} Stretches;

static SPIPlanPtr walk_plan = NULL;
static SPIPlanPtr read_plan = NULL;
static SPIPlanPtr read_events_plan = NULL;
static SPIPlanPtr read_job_plan = NULL;
static SPIPlanPtr read_acknowledged_plan = NULL;
static SPIPlanPtr places_plan = NULL;
static SPIPlanPtr job_places_plan = NULL;

static void begin_stretches(Stretches *stretches, Datum from, Datum to,
							const WindowSnapshot *previous,
							QueuePosition after, QueuePosition upto);
static bool next_stretch(Stretches *stretches, Stretch *stretch);
static void run_stretch(SPIPlanPtr plan, const Stretch *stretch, Datum to,
						int64 rows, DestReceiver *receiver);
static void stretch_values(const Stretch *stretch, Datum to, int64 rows,
						   Datum *values);
static void read_stretch(const Stretch *stretch, Datum to,
						 BatchBuilder *builder, const ColumnChoice *choice);
static void read_walk(WalkStatement *walk, BatchBuilder *builder,
					  const ColumnChoice *choice);
static void read_ids(Datum *ids, int n, BatchBuilder *builder);
static SPIPlanPtr prepare(const char *sql, int nargs, Oid *types);
static SPIPlanPtr prepare_window(const char *columns);
static char *column_list(const ColumnChoice *choice);
static void append_left_out(StringInfo list, const ColumnChoice *choice);
static int	compare_positions(QueuePosition a, QueuePosition b);
static bool walk_receive(TupleTableSlot *slot, DestReceiver *self);
static void walk_startup(DestReceiver *self, int operation, TupleDesc type);
static void walk_ignore(DestReceiver *self);

QueuePosition
queue_end(void)
{
	return (QueuePosition)
	{
		PG_INT64_MAX, PG_INT64_MAX
	};
}

WindowSnapshot *
parse_snapshot(Datum snapshot)
{
	WindowSnapshot *parsed = palloc(sizeof(WindowSnapshot));
	char	   *text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out,
														   snapshot));

	if (!window_parse(text, parsed))
		elog(ERROR, "malformed snapshot \"%s\"", text);
	pfree(text);
	return parsed;
}

/* Counts at most rows events of the window after a position. */
void
walk_window(Datum from, Datum to, const WindowSnapshot *previous,
			QueuePosition after, int32 rows, QueueWalk *walk)
{
	WalkReceiver receiver = {
		{walk_receive, walk_startup, walk_ignore, walk_ignore, DestNone},
		walk
	};
	Stretches	stretches;
	Stretch		stretch;

	memset(walk, 0, sizeof(*walk));
	if (walk_plan == NULL)
		walk_plan = prepare_window("ingest_xid, ingest_seq");
	begin_stretches(&stretches, from, to, previous, after, queue_end());
	while (walk->rows < rows && next_stretch(&stretches, &stretch))
		run_stretch(walk_plan, &stretch, to, rows - walk->rows,
					&receiver.pub);
}

/* Appends the window's events in (after, upto] until the builder is full. */
void
read_window(Datum from, Datum to, QueuePosition after, QueuePosition upto,
			BatchBuilder *builder, const ColumnChoice *choice)
{
	Stretches	stretches;
	Stretch		stretch;

	if (read_plan == NULL)
		read_plan = prepare_window(column_list(choice));
	begin_stretches(&stretches, from, to, NULL, after, upto);
	while (!batch_full(builder) && next_stretch(&stretches, &stretch))
		read_stretch(&stretch, to, builder, choice);
	if (choice->filter != NULL)
		filter_evidence(builder);
}

/* Appends what the job has still to send in (after, upto]. */
void
read_job_events(int64 job, QueuePosition after, QueuePosition upto,
				BatchBuilder *builder, const ColumnChoice *choice)
{
	Datum		values[JOB_NARGS];
	WalkStatement walk = {
		.nargs = JOB_NARGS,.types = job_types,.values = values
	};

	if (read_job_plan == NULL)
		read_job_plan = prepare(psprintf("SELECT %s" JOB_QUALS,
										 column_list(choice)),
								JOB_NARGS, job_types);
	if (job_places_plan == NULL && choice->filter != NULL)
		job_places_plan = prepare("SELECT " PLACE JOB_QUALS, JOB_NARGS,
								  job_types);
	walk.events = read_job_plan;
	walk.places = job_places_plan;
	values[0] = Int64GetDatum(job);
	values[1] = UInt64GetDatum(after.xid);
	values[2] = Int64GetDatum(after.seq);
	values[3] = UInt64GetDatum(upto.xid);
	values[4] = Int64GetDatum(upto.seq);
	read_walk(&walk, builder, choice);
	if (choice->filter != NULL)
		filter_evidence(builder);
}

/* Appends events by their ids. */
void
read_events(List *event_ids, BatchBuilder *builder,
			const ColumnChoice *choice)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(event_ids));
	int			n = 0;
	ListCell   *lc;
	Oid			type = UUIDARRAYOID;

	foreach(lc, event_ids)
		ids[n++] = UUIDPGetDatum((pg_uuid_t *) lfirst(lc));
	if (read_events_plan == NULL)
	{
		read_events_plan =
			prepare(psprintf("SELECT %s"
							 " FROM ONLY token_ledger.token_ledger_events"
							 " WHERE event_id OPERATOR(pg_catalog.=) ANY ($1)",
							 column_list(choice)), 1, &type);
	}
	if (choice->filter == NULL)
		read_ids(ids, n, builder);
	else
		for (int i = 0; i < n && !batch_full(builder); i++)
			filtered_read(read_events_plan, ids[i], builder);
}

/* Without the target's columns and filter, so that its plan is for life. */
void
read_acknowledged(int32 target_id, TimestampTz from, BatchBuilder *builder)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID};
	Datum		values[2];

	if (read_acknowledged_plan == NULL)
		read_acknowledged_plan =
			prepare("SELECT " PLACE ", \"timestamp\""
					" FROM ONLY token_ledger.token_ledger_events"
					" WHERE event_id OPERATOR(pg_catalog.=) ANY (ARRAY("
					" SELECT e FROM token_ledger.lane l,"
					" pg_catalog.unnest(ARRAY[l.last_event, l.kept_event]) e"
					" WHERE l.target_id OPERATOR(pg_catalog.=) $1 UNION"
					" SELECT t.lost_event FROM token_ledger.target t"
					" WHERE t.id OPERATOR(pg_catalog.=) $1))"
					" AND \"timestamp\" OPERATOR(pg_catalog.>=) $2",
					2, types);
	values[0] = Int32GetDatum(target_id);
	values[1] = TimestampTzGetDatum(from);
	walk_execute(read_acknowledged_plan, 2, types, values,
				 batch_receiver(builder));
}

static void
read_ids(Datum *ids, int n, BatchBuilder *builder)
{
	Oid			type = UUIDARRAYOID;
	Datum		array = PointerGetDatum(construct_array(ids, n, UUIDOID,
														UUID_LEN, false,
														TYPALIGN_CHAR));

	walk_execute(read_events_plan, 1, &type, &array, batch_receiver(builder));
}

void
forget_read_plans(void)
{
	if (read_plan != NULL)
		SPI_freeplan(read_plan);
	if (read_events_plan != NULL)
		SPI_freeplan(read_events_plan);
	if (read_job_plan != NULL)
		SPI_freeplan(read_job_plan);
	read_plan = read_events_plan = read_job_plan = NULL;
}

static void
begin_stretches(Stretches *stretches, Datum from, Datum to,
				const WindowSnapshot *previous, QueuePosition after,
				QueuePosition upto)
{
	stretches->nintervals = window_intervals(parse_snapshot(from),
											 parse_snapshot(to), previous,
											 &stretches->intervals);
	stretches->next = 0;
	stretches->after = after;
	stretches->upto = upto;
}

/* The next interval that reaches into (after, upto]; false: no more. */
static bool
next_stretch(Stretches *stretches, Stretch *stretch)
{
	while (stretches->next < stretches->nintervals)
	{
		XidInterval *interval = &stretches->intervals[stretches->next++];
		QueuePosition start = {interval->lo, -1};

		if (interval->hi < stretches->after.xid)
			continue;
		if (interval->lo > stretches->upto.xid)
			return false;
		stretch->hi = Min(interval->hi, stretches->upto.xid);
		stretch->after = stretches->after;
		if (compare_positions(start, stretch->after) > 0)
			stretch->after = start;
		stretch->upto = stretches->upto;
		return true;
	}
	return false;
}

static void
run_stretch(SPIPlanPtr plan, const Stretch *stretch, Datum to, int64 rows,
			DestReceiver *receiver)
{
	Datum		values[WINDOW_NARGS];

	stretch_values(stretch, to, rows, values);
	walk_execute(plan, WINDOW_NARGS, window_types, values, receiver);
}

/* Appends a stretch's events until the builder is full. */
static void
read_stretch(const Stretch *stretch, Datum to, BatchBuilder *builder,
			 const ColumnChoice *choice)
{
	Datum		values[WINDOW_NARGS];
	WalkStatement walk = {
		.events = read_plan,.nargs = WINDOW_NARGS,.types = window_types,
		.values = values
	};

	if (places_plan == NULL && choice->filter != NULL)
		places_plan = prepare_window(PLACE);
	walk.places = places_plan;
	stretch_values(stretch, to, PG_INT64_MAX, values);
	read_walk(&walk, builder, choice);
}

static void
read_walk(WalkStatement *walk, BatchBuilder *builder,
		  const ColumnChoice *choice)
{
	if (choice->filter != NULL)
		filtered_walk(walk, builder);
	else
		walk_execute(walk->events, walk->nargs, walk->types, walk->values,
					 batch_receiver(builder));
}

static void
stretch_values(const Stretch *stretch, Datum to, int64 rows, Datum *values)
{
	values[0] = UInt64GetDatum(stretch->hi);
	values[1] = UInt64GetDatum(stretch->after.xid);
	values[2] = Int64GetDatum(stretch->after.seq);
	values[3] = UInt64GetDatum(stretch->upto.xid);
	values[4] = Int64GetDatum(stretch->upto.seq);
	values[5] = to;
	values[6] = Int64GetDatum(rows);
}

/*
 * NB: not read-only in SPI's sense, so that each statement takes a snapshot
 * of its own: rows that are visible in a window's snapshot must be visible
 * here, and an older snapshot would pass over them for ever.
 */
void
walk_execute(SPIPlanPtr plan, int nargs, const Oid *types,
			 const Datum *values, DestReceiver *receiver)
{
	ParamListInfo params = makeParamList(nargs);
	SPIExecuteOptions options = {.params = params, .dest = receiver};

	for (int i = 0; i < nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	if (SPI_execute_plan_extended(plan, &options) < 0)
		elog(ERROR, "could not read the ledger: %s",
			 SPI_result_code_string(SPI_result));
}

static SPIPlanPtr
prepare_window(const char *columns)
{
	return prepare(psprintf("SELECT %s" WINDOW_QUALS, columns),
				   WINDOW_NARGS, window_types);
}

static SPIPlanPtr
prepare(const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, types,
										  CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

/* The output that a batch builder expects. */
static char *
column_list(const ColumnChoice *choice)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoString(&list, PLACE);
	for (int i = 0; i < choice->ncolumns; i++)
	{
		const char *name = choice->columns[i]->name;

		if (strcmp(name, "event_id") != 0)
			appendStringInfo(&list, ", %s", quote_identifier(name));
	}
	if (choice->nleft_out > 0)
		append_left_out(&list, choice);
	if (choice->filter != NULL)
		appendStringInfo(&list, ", (%s) IS TRUE", choice->filter);
	return list.data;
}

/* A number whose default is 0 has no value where it is that. */
static void
append_left_out(StringInfo list, const ColumnChoice *choice)
{
	for (int i = 0; i < choice->nleft_out; i++)
	{
		const LedgerColumn *column = choice->left_out[i];

		appendStringInfo(list, "%s CASE WHEN %s IS NOT NULL%s THEN "
						 INT64_FORMAT "::pg_catalog.int8 ELSE 0 END",
						 i == 0 ? "," : " OPERATOR(pg_catalog.|)",
						 quote_identifier(column->name),
						 column->type != TL_INT64 ? "" :
						 psprintf(" AND %s OPERATOR(pg_catalog.<>) 0",
								  quote_identifier(column->name)),
						 INT64CONST(1) << i);
	}
}

static int
compare_positions(QueuePosition a, QueuePosition b)
{
	if (a.xid != b.xid)
		return a.xid < b.xid ? -1 : 1;
	if (a.seq != b.seq)
		return a.seq < b.seq ? -1 : 1;
	return 0;
}

static bool
walk_receive(TupleTableSlot *slot, DestReceiver *self)
{
	QueueWalk  *walk = ((WalkReceiver *) self)->walk;

	slot_getallattrs(slot);
	walk->rows++;
	walk->last.xid = DatumGetUInt64(slot->tts_values[0]);
	walk->last.seq = DatumGetInt64(slot->tts_values[1]);
	walk->checksum = batch_checksum_add(walk->checksum, walk->last);
	return true;
}

static void
walk_startup(DestReceiver *self, int operation, TupleDesc type)
{
}

static void
walk_ignore(DestReceiver *self)
{
}
