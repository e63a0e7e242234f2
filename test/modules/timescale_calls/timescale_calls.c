/*-------------------------------------------------------------------------
 *
 * timescale_calls.c
 *	  The part of a stand-in for TimescaleDB that SQL cannot play.
 *
 * The licensed features of TimescaleDB (compression, policies, continuous
 * aggregates) have no engine that a test could install.  What is asked of
 * them is recorded by this library and by stand_in.sql, and shown by views
 * that have the names and the columns of TimescaleDB's.  It shows that each
 * call is well-formed and what it says; what TimescaleDB makes of it, only
 * TimescaleDB can show.
 *
 * Here are the options in the namespace "timescaledb", which a server without
 * the extension refuses: those of ALTER TABLE SET are recorded, and those of
 * CREATE MATERIALIZED VIEW turn it into an ordinary one that is recorded too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static ProcessUtility_hook_type previous_hook = NULL;
static char *license;

static void process_utility(PlannedStmt *pstmt, const char *query_string,
							bool read_only_tree,
							ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *env,
							DestReceiver *dest, QueryCompletion *qc);
static bool take_table_options(AlterTableStmt *statement);
static bool take_options(List **options, RangeVar *relation);
static void record(RangeVar *relation, const char *name, const char *value);

void
_PG_init(void)
{
	DefineCustomStringVariable("timescaledb.license", "The edition to play.",
							   NULL, &license, "timescale", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env,
				DestReceiver *dest, QueryCompletion *qc)
{
	bool		done = false;

	if (IsA(pstmt->utilityStmt, AlterTableStmt) ||
		IsA(pstmt->utilityStmt, CreateTableAsStmt))
	{
		pstmt = copyObject(pstmt);
		if (IsA(pstmt->utilityStmt, AlterTableStmt))
			done = take_table_options((AlterTableStmt *) pstmt->utilityStmt);
		else
		{
			CreateTableAsStmt *create = castNode(CreateTableAsStmt,
												 pstmt->utilityStmt);
			IntoClause *into = create->into;

			if (take_options(&into->options, into->rel) && !into->skipData)
				PreventInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL,
										  "CREATE MATERIALIZED VIEW ... WITH DATA");
		}
	}
	if (done)
		return;
	if (previous_hook != NULL)
		previous_hook(pstmt, query_string, read_only_tree, context, params,
					  env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, env, dest, qc);
}

/* true: the statement had no other options. */
static bool
take_table_options(AlterTableStmt *statement)
{
	ListCell   *lc;
	bool		all = true;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		List	   *options = (List *) command->def;

		if (command->subtype != AT_SetRelOptions)
			return false;
		take_options(&options, statement->relation);
		command->def = (Node *) options;
		all = all && options == NIL;
	}
	return all;
}

/* Records those in TimescaleDB's namespace and removes them. */
static bool
take_options(List **options, RangeVar *relation)
{
	ListCell   *lc;
	List	   *others = NIL;
	bool		any = false;

	foreach(lc, *options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (option->defnamespace == NULL ||
			strcmp(option->defnamespace, "timescaledb") != 0)
		{
			others = lappend(others, option);
			continue;
		}
		record(relation, option->defname,
			   option->arg ? defGetString(option) : "true");
		any = true;
	}
	*options = others;
	return any;
}

static void
record(RangeVar *relation, const char *name, const char *value)
{
	Oid			namespace = RangeVarGetCreationNamespace(relation);
	Oid			types[4] = {OIDOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];

	values[0] = ObjectIdGetDatum(namespace);
	values[1] = CStringGetTextDatum(relation->relname);
	values[2] = CStringGetTextDatum(name);
	values[3] = CStringGetTextDatum(value);
	SPI_connect();
	if (SPI_execute_with_args("INSERT INTO timescale_calls.options"
							  " SELECT nspname, $2, $3, $4"
							  " FROM pg_catalog.pg_namespace WHERE oid = $1"
							  " ON CONFLICT DO NOTHING",
							  4, types, values, NULL, false,
							  0) != SPI_OK_INSERT)
		elog(ERROR, "could not record an option");
	SPI_finish();
}
