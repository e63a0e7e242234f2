/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  Commands that lanes must make way for.
 *
 * DROP DATABASE, ALTER DATABASE RENAME or SET TABLESPACE, and CREATE DATABASE
 * from a template fail after five seconds while a session is in the database;
 * DROP and ALTER EXTENSION would wait for a lane's locks.  The lanes are sent
 * home first (hundredths of a second) and come back when the command is over.
 *
 * Only for those who may give the command: nobody else stops a lane by
 * trying.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "compat.h"
#include "hooks.h"
#include "restore.h"
#include "shmem.h"
#include "wakeup.h"

static ProcessUtility_hook_type previous_utility = NULL;

static void utility(PlannedStmt *pstmt, const char *queryString,
					bool readOnlyTree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *queryEnv,
					DestReceiver *dest, QueryCompletion *qc);
static Oid	database_to_hold(Node *statement);
static Oid	moved_database(AlterDatabaseStmt *statement);
static Oid	altered_extension(AlterExtensionStmt *statement);
static Oid	owned_database(const char *name);
static const char *template_of(CreatedbStmt *statement);
static bool has_option(List *options, const char *name);
static Oid	database_of_extension(const char *extension);
static bool drops_extension(DropStmt *statement);
static void after_command(Node *statement);

void
hooks_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}

#define CALL_UTILITY() \
	(previous_utility ? previous_utility : standard_ProcessUtility) \
		(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, \
		 qc)

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Oid			database = database_to_hold(pstmt->utilityStmt);

	restore_hold(pstmt->utilityStmt);
	if (!OidIsValid(database))
		CALL_UTILITY();
	else
	{
		hold_database(database);
		PG_ENSURE_ERROR_CLEANUP(release_database_callback,
								ObjectIdGetDatum(database));
		CALL_UTILITY();
		PG_END_ENSURE_ERROR_CLEANUP(release_database_callback,
									ObjectIdGetDatum(database));
		release_database(database);
	}
	after_command(pstmt->utilityStmt);
}

/*
 * InvalidOid: none.  NB: not inlined, as a compiler would then see its
 * variables beside the caller's setjmp.
 */
static pg_noinline Oid
database_to_hold(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return owned_database(((DropdbStmt *) statement)->dbname);
		case T_CreatedbStmt:
			return owned_database(template_of((CreatedbStmt *) statement));
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return owned_database(((RenameStmt *) statement)->subname);
			break;
		case T_AlterDatabaseStmt:
			return moved_database((AlterDatabaseStmt *) statement);
		case T_AlterExtensionStmt:
			return altered_extension((AlterExtensionStmt *) statement);
		case T_DropStmt:
			if (drops_extension((DropStmt *) statement))
				return database_of_extension("tokenledger");
			break;
		default:
			break;
	}
	return InvalidOid;
}

static Oid
moved_database(AlterDatabaseStmt *statement)
{
	if (!has_option(statement->options, "tablespace"))
		return InvalidOid;
	return owned_database(statement->dbname);
}

static Oid
altered_extension(AlterExtensionStmt *statement)
{
	return database_of_extension(statement->extname);
}

static Oid
owned_database(const char *name)
{
	Oid			database = name ? get_database_oid(name, true) : InvalidOid;

	if (!OidIsValid(database) || !tl_owns_database(database))
		return InvalidOid;
	return database;
}

/* NULL: template1, in which nothing of ours runs. */
static const char *
template_of(CreatedbStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "template") == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, name) == 0)
			return true;
	}
	return false;
}

static Oid
database_of_extension(const char *extension)
{
	if (strcmp(extension, "tokenledger") != 0 || !superuser())
		return InvalidOid;
	return MyDatabaseId;
}

static bool
drops_extension(DropStmt *statement)
{
	ListCell   *lc;

	if (statement->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, statement->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "tokenledger") == 0)
			return true;
	}
	return false;
}

static void
after_command(Node *statement)
{
	if (IsA(statement, CreateExtensionStmt) &&
		strcmp(((CreateExtensionStmt *) statement)->extname, "tokenledger") == 0)
		wake_at_end_of_transaction();
	else if (IsA(statement, TransactionStmt) &&
			 ((TransactionStmt *) statement)->kind ==
			 TRANS_STMT_COMMIT_PREPARED)
		wake_lanes(MyDatabaseId, true); /* it may hold a resume() */
	else if (IsA(statement, CreatedbStmt) || IsA(statement, RenameStmt))
		wake_launcher();
}
