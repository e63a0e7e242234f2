/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  Commands that lanes must make way for.
 *
 * DROP DATABASE, ALTER DATABASE RENAME or SET TABLESPACE, and CREATE DATABASE
 * from a template fail after five seconds while a session is in the database;
 * DROP and ALTER EXTENSION would wait for a lane's locks.  The lanes are sent
 * home first (hundredths of a second) and come back when the transaction is
 * over, as they would wait for its locks until then.
 *
 * Only for those who may give the command: nobody else stops a lane by
 * trying.
 *
 * A hold belongs to the top-level transaction: a command that failed in a
 * savepoint keeps the lanes away until its end, and PREPARE TRANSACTION lets
 * them come back, to wait for the locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hooks.h"
#include "restore.h"
#include "shmem.h"
#include "wakeup.h"

/* In TopTransactionContext. */
typedef struct Hold
{
	Oid			database;
	bool		holds;
	struct Hold *next;
} Hold;

typedef enum Effect				/* of a command, once it is done */
{
	NO_EFFECT,
	NEW_EXTENSION,
	COMMIT_PREPARED,
	OTHER_DATABASES
} Effect;

static ProcessUtility_hook_type previous_utility = NULL;
static Hold *my_holds = NULL;	/* of this transaction */

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
static void hold_until_end_of_transaction(Oid database);
static void end_of_transaction(XactEvent event, void *arg);
static Effect effect_of(Node *statement);
static void take_effect(Effect effect);

void
hooks_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	RegisterXactCallback(end_of_transaction, NULL);
}

/*
 * NB: a ROLLBACK within the command may free its statement, so what follows
 * from it is found out before.
 */
static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Oid			database = database_to_hold(pstmt->utilityStmt);
	Effect		effect = effect_of(pstmt->utilityStmt);

	restore_hold(pstmt->utilityStmt);
	if (OidIsValid(database))
		hold_until_end_of_transaction(database);
	if (previous_utility)
		previous_utility(pstmt, queryString, readOnlyTree, context, params,
						 queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
	take_effect(effect);
}

/* InvalidOid: none. */
static Oid
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
hold_until_end_of_transaction(Oid database)
{
	Hold	   *hold;

	for (hold = my_holds; hold != NULL; hold = hold->next)
	{
		if (hold->database == database && hold->holds)
			return;
	}
	hold = MemoryContextAlloc(TopTransactionContext, sizeof(Hold));
	hold->database = database;
	hold->holds = false;		/* hold_database() may throw */
	hold->next = my_holds;
	my_holds = hold;
	hold_database(database);
	hold->holds = true;
}

/* A session that is ended aborts its transaction too. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	for (Hold *hold = my_holds; hold != NULL; hold = hold->next)
	{
		if (hold->holds)
			release_database(hold->database);
	}
	my_holds = NULL;
}

static Effect
effect_of(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateExtensionStmt:
			if (strcmp(((CreateExtensionStmt *) statement)->extname,
					   "tokenledger") == 0)
				return NEW_EXTENSION;
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) statement)->kind ==
				TRANS_STMT_COMMIT_PREPARED)
				return COMMIT_PREPARED;
			break;
		case T_CreatedbStmt:
		case T_RenameStmt:
			return OTHER_DATABASES;
		default:
			break;
	}
	return NO_EFFECT;
}

static void
take_effect(Effect effect)
{
	switch (effect)
	{
		case NEW_EXTENSION:
			wake_at_end_of_transaction();
			break;
		case COMMIT_PREPARED:
			wake_lanes(MyDatabaseId, true); /* it may hold a resume() */
			break;
		case OTHER_DATABASES:
			wake_launcher();
			break;
		case NO_EFFECT:
			break;
	}
}
