/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  A target's filter: from its text to a condition that is safe to run.
 *
 * The text is parsed and analyzed by PostgreSQL itself, as one expression
 * over the columns of an event.  Every node of the result is looked at: only
 * known kinds, with built-in types, and built-in functions and operators that
 * are immutable.  So a filter runs nobody's code in the lane, which has the
 * rights of the extension's owner, and gives the same answer when a part has
 * to be read again.
 *
 * What runs is not the text but the analyzed expression, deparsed: nothing
 * that is written in the setting gets into a statement.  Literals are read
 * and names are looked up under fixed settings, so that every session takes a
 * filter for the same.
 *
 * A filter may name users, and monitoring may see why a target is invalid:
 * filter_compile_guarded() has words of its own for PostgreSQL's errors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/ruleutils.h"

#include "compat.h"
#include "routing.h"

/* Settings that decide what a literal or a name means. */
static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"timezone", "UTC"},
	{"datestyle", "ISO"},
	{"intervalstyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"standard_conforming_strings", "on"},
	{"transform_null_equals", "off"},
	{"quote_all_identifiers", "off"}
};

#define QUERY_HEAD		"SELECT ("

static char *compile(const char *filter, Relation ledger);
static void point_into_filter(void *filter);
static void fix_settings(void);
static Node *parse(const char *query);
static bool is_one_expression(const SelectStmt *select);
static Node *analyze(Node *raw, Relation ledger, const char *query);
static bool check_node(Node *node, void *context);
static void check_column(const Var *var, Relation ledger);
static void check_operator(Oid operator);
static bool check_function(Oid function, void *context);
static void check_type(Oid type);
static void check_collation(Oid collation);
static char *describe_error(const ErrorData *error);
pg_noreturn static void refuse(const char *fmt,...) pg_attribute_printf(1, 2);

char *
filter_compile(const char *filter, Oid ledger)
{
	int			nest = NewGUCNestLevel();
	Relation	rel = table_open(ledger, AccessShareLock);
	ErrorContextCallback context = {.previous = error_context_stack,
	.callback = point_into_filter};
	char	   *sql;

	fix_settings();
	filter = pg_any_to_server(filter, strlen(filter), PG_UTF8);
	context.arg = unconstify(char *, filter);
	error_context_stack = &context;
	sql = compile(filter, rel);
	error_context_stack = context.previous;
	table_close(rel, NoLock);
	AtEOXact_GUC(true, nest);
	return sql;
}

char *
filter_compile_guarded(const char *filter, Oid ledger, char **error)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile sql = NULL;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		sql = filter_compile(filter, ledger);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(mcxt);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
		*error = describe_error(data);
		if (*error == NULL)
			ReThrowError(data);
		FreeErrorData(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return sql;
}

static char *
compile(const char *filter, Relation ledger)
{
	char	   *query = psprintf(QUERY_HEAD "%s\n)", filter);
	Node	   *expr = analyze(parse(query), ledger, query);
	List	   *context =
		deparse_context_for(RelationGetRelationName(ledger),
							RelationGetRelid(ledger));

	(void) check_node(expr, ledger);
	return deparse_expression(expr, context, false, false);
}

/* The place of an error is one in the filter, not in the caller's query. */
static void
point_into_filter(void *filter)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(Max(position - (int) strlen(QUERY_HEAD), 1));
	internalerrquery(filter);
}

static void
fix_settings(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}

/*
 * The text has to be the whole of an expression: "true) FROM x, (y" is not,
 * though it makes a statement.
 */
static Node *
parse(const char *query)
{
	List	   *list = raw_parser(query, RAW_PARSE_DEFAULT);
	RawStmt    *statement = linitial_node(RawStmt, list);

	if (list_length(list) != 1 || !IsA(statement->stmt, SelectStmt) ||
		!is_one_expression((SelectStmt *) statement->stmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the filter is not one expression")));
	return linitial_node(ResTarget,
						 ((SelectStmt *) statement->stmt)->targetList)->val;
}

/* NB: but for its target list, it is what an empty statement would be. */
static bool
is_one_expression(const SelectStmt *select)
{
	SelectStmt *empty = makeNode(SelectStmt);
	ResTarget  *target;

	if (list_length(select->targetList) != 1)
		return false;
	target = linitial_node(ResTarget, select->targetList);
	empty->targetList = select->targetList;
	empty->limitOption = select->limitOption;
	return target->name == NULL && target->indirection == NIL &&
		select->limitCount == NULL && select->limitOffset == NULL &&
		equal(select, empty);
}

static Node *
analyze(Node *raw, Relation ledger, const char *query)
{
	ParseState *state = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node	   *expr;

	state->p_sourcetext = query;
	item = addRangeTableEntryForRelation(state, ledger, AccessShareLock,
										 NULL, false, true);
	addNSItemToQuery(state, item, false, true, true);
	expr = transformExpr(state, raw, EXPR_KIND_WHERE);
	expr = coerce_to_boolean(state, expr, "FILTER");
	assign_expr_collations(state, expr);
	free_parsestate(state);
	return expr;
}

/* Throws unless it, and all below it, is allowed; context: the ledger. */
static bool
check_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
			return expression_tree_walker(node, check_node, context);
		case T_Var:
			check_column((Var *) node, context);
			return false;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			check_operator(((OpExpr *) node)->opno);
			break;
		case T_ScalarArrayOpExpr:
			check_operator(((ScalarArrayOpExpr *) node)->opno);
			break;
		case T_RowCompareExpr:
			{
				ListCell   *lc;

				foreach(lc, ((RowCompareExpr *) node)->opnos)
					check_operator(lfirst_oid(lc));
				break;
			}
		case T_CollateExpr:
			check_collation(((CollateExpr *) node)->collOid);
			break;
		case T_Const:
		case T_FuncExpr:
		case T_NamedArgExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_SubscriptingRef:
			break;
		case T_SubLink:
			refuse("the filter has a subquery");
		default:
			refuse("the filter has an expression of a kind that is not allowed in filters");
	}
	check_type(exprType(node));
	(void) check_functions_in_node(node, check_function, NULL);
	return expression_tree_walker(node, check_node, context);
}

static void
check_column(const Var *var, Relation ledger)
{
	const char *name = var->varattno > 0 && var->varlevelsup == 0 ?
		NameStr(TupleDescAttr(RelationGetDescr(ledger),
							  var->varattno - 1)->attname) : NULL;

	if (name == NULL || ledger_column_number(name) < 0)
		refuse("the filter uses something of the ledger that is no column of events");
}

static void
check_operator(Oid operator)
{
	if (operator >= FirstGenbkiObjectId)
		refuse("the filter uses operator %s, which is not built in",
			   get_opname(operator));
}

static bool
check_function(Oid function, void *context)
{
	if (function >= FirstGenbkiObjectId)
		refuse("the filter uses function %s, which is not built in",
			   get_func_name(function));
	if (func_volatile(function) != PROVOLATILE_IMMUTABLE)
		refuse("the filter uses function %s, whose result can change (it is not immutable)",
			   get_func_name(function));
	return false;
}

static void
check_type(Oid type)
{
	if (type >= FirstGenbkiObjectId)
		refuse("the filter uses a type that is not built in");
}

static void
check_collation(Oid collation)
{
	if (collation >= FirstGenbkiObjectId)
		refuse("the filter uses a collation that is not built in");
}

/*
 * NB: monitoring sees these words (describe_error()): names of what is built
 * in or somebody's function, no literal.
 */
static void
refuse(const char *fmt,...)
{
	char		message[256];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("%s", message),
			 errhint("A filter is a boolean expression over the columns of an event, of built-in functions and operators that are immutable.")));
}

/* What may be shown; NULL: it is no fault of the filter's. */
static char *
describe_error(const ErrorData *error)
{
	const char *what = NULL;

	switch (error->sqlerrcode)
	{
		case ERRCODE_INVALID_OBJECT_DEFINITION:
			return psprintf("is not allowed: %s", error->message);
		case ERRCODE_SYNTAX_ERROR:
			return pstrdup("is not one SQL expression (syntax error)");
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_TABLE:
			what = "names a column that the ledger does not have";
			break;
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_AMBIGUOUS_FUNCTION:
			what = "uses a function or operator that does not exist for these types";
			break;
		case ERRCODE_UNDEFINED_OBJECT:
			what = "names something that does not exist";
			break;
		case ERRCODE_DATATYPE_MISMATCH:
			what = "is not of type boolean, or combines types that do not fit";
			break;
		default:
			break;
	}
	if (what != NULL)
		return pstrdup(what);
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
			return pstrdup("has a literal that does not fit its type");
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return psprintf("is not a valid filter (SQLSTATE %s)",
							unpack_sql_state(error->sqlerrcode));
		default:
			return NULL;
	}
}
