/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  A dump is restored completely before a lane looks at it.
 *
 * Which events a target has, and that the ledger is a copy at all, is in rows
 * that a restore brings after CREATE EXTENSION, each table in a transaction
 * of its own.  A lane that started in between would take the ledger for a new
 * one: it would forward as the original does, and its own rows would be in
 * the way of the restored ones.
 *
 * So a session that restores (recognized by the settings that every pg_dump
 * since version 10 writes at the top) keeps lanes away from its CREATE
 * EXTENSION or first COPY on until it ends, and for a moment longer:
 * pg_restore --jobs continues in other sessions, each of which does the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/guc.h"

#include "compat.h"
#include "restore.h"
#include "shmem.h"

#define BETWEEN_SESSIONS_MS		3000

static bool session_restores(void);
static bool brings_ledger(Node *statement);
static void session_ends(int code, Datum database);

void
restore_hold(Node *statement)
{
	static bool holding = false;

	if (holding || !brings_ledger(statement) || !session_restores())
		return;
	hold_database(MyDatabaseId);
	before_shmem_exit(session_ends, ObjectIdGetDatum(MyDatabaseId));
	holding = true;
}

/* By someone who may: nobody else stops a lane by pretending. */
static bool
session_restores(void)
{
	return !check_function_bodies && namespace_search_path != NULL &&
		namespace_search_path[0] == '\0' &&
		(superuser() || tl_owns_database(MyDatabaseId));
}

static bool
brings_ledger(Node *statement)
{
	if (IsA(statement, CreateExtensionStmt))
		return strcmp(((CreateExtensionStmt *) statement)->extname,
					  "tokenledger") == 0;
	if (IsA(statement, CopyStmt))
	{
		CopyStmt   *copy = (CopyStmt *) statement;

		return copy->is_from && copy->relation != NULL &&
			copy->relation->schemaname != NULL &&
			strcmp(copy->relation->schemaname, "token_ledger") == 0;
	}
	return false;
}

static void
session_ends(int code, Datum database)
{
	linger_database(DatumGetObjectId(database), BETWEEN_SESSIONS_MS);
	release_database(DatumGetObjectId(database));
}
