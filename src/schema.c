/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  SQL functions about the version of the table in a store.
 *
 * schema_version(), available_migrations() and create_schema() ask the store
 * from the caller's own session, within the target's timeout.  migrate() and
 * rollback() only request a job, which lane 0 of the target carries out after
 * the commit (lane_migrate.c); what the caller can have got wrong is an error
 * here, before anything is requested.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"	/* get_database_name() of 18 */

#include "admin.h"
#include "compat.h"
#include "instance.h"
#include "registry.h"
#include "shmem.h"

TL_FUNCTION_INFO(tl_schema_version);
TL_FUNCTION_INFO(tl_available_migrations);
TL_FUNCTION_INFO(tl_create_schema);
TL_FUNCTION_INFO(tl_migrate);
TL_FUNCTION_INFO(tl_rollback);

static Session *open_with_schema(const char *name);
static void inspect(Session *session, TlRemote *remote);
static void refuse_other_ledger(const Session *session,
								const TlRemote *remote);
static void emit_migration(ReturnSetInfo *rsinfo, const TlMigration *step,
						   const TlRemote *remote);
static void check_schema(const Target *target);
static void check_version(const Target *target, int32 version);
static void check_lanes_run(void);
static void check_reversible(const Target *target, int32 version);
static int64 request(const char *target, const char *kind, int32 version);

/* schema_version(target text) RETURNS integer */
Datum
tl_schema_version(PG_FUNCTION_ARGS)
{
	Session    *session =
		open_with_schema(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	TlRemote	remote;

	inspect(session, &remote);
	session_close(session, false);
	if (!remote.exists)
		PG_RETURN_NULL();
	PG_RETURN_INT32(remote.version);
}

/*
 * available_migrations(target text) RETURNS SETOF (version, description,
 * changes, applied, reversible)
 */
Datum
tl_available_migrations(PG_FUNCTION_ARGS)
{
	Session    *session;
	TlRemote	remote;

	InitMaterializedSRF(fcinfo, 0);
	session = open_with_schema(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	inspect(session, &remote);
	for (const TlMigration *step = session->backend->migrations;
		 step->version != 0; step++)
		emit_migration((ReturnSetInfo *) fcinfo->resultinfo, step, &remote);
	session_close(session, false);
	return (Datum) 0;
}

/* create_schema(target text) RETURNS integer: the version afterwards */
Datum
tl_create_schema(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Session    *session = open_with_schema(name);
	const TlMigration *step = session->backend->migrations;
	TlRemote	remote;
	TlVerdict	verdict;
	bool		dropped;
	int64		system_identifier;
	int32		timeline;

	SPI_connect();
	instance_check(&session->pub.ledger_id, &system_identifier, &timeline);
	SPI_finish();
	inspect(session, &remote);
	refuse_other_ledger(session, &remote);
	for (; step->version != 0; step++)
	{
		if (remote.exists && step->version <= remote.version)
			continue;
		if (session_migrate(session, step, true, &verdict, &dropped) != TL_OK)
			admin_raise_verdict(session, "create the schema of", &verdict);
		tell_remote_changed(MyDatabaseId, name);
	}
	inspect(session, &remote);
	session_close(session, false);
	PG_RETURN_INT32(remote.version);
}

/* migrate(target text, version integer) RETURNS bigint: the job */
Datum
tl_migrate(PG_FUNCTION_ARGS)
{
	const char *name;
	int32		version = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	Target	   *target;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	target = admin_find_target(name);
	check_schema(target);
	check_lanes_run();
	if (!PG_ARGISNULL(1))
		check_version(target, version);
	PG_RETURN_INT64(request(name, "migrate", version));
}

/* rollback(target text, version integer) RETURNS bigint: the job */
Datum
tl_rollback(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int32		version = PG_GETARG_INT32(1);
	Target	   *target = admin_find_target(name);

	check_schema(target);
	check_lanes_run();
	check_version(target, version);
	check_reversible(target, version);
	PG_RETURN_INT64(request(name, "rollback", version));
}

static Session *
open_with_schema(const char *name)
{
	Session    *session = admin_open_session(name);

	check_schema(session->target);
	return session;
}

/* A table that cannot be filled has a version all the same. */
static void
inspect(Session *session, TlRemote *remote)
{
	TlVerdict	verdict;
	TlOutcome	outcome;
	bool		dropped;

	outcome = session_inspect(session, remote, &verdict, &dropped);
	if (outcome != TL_OK && !(outcome == TL_REFUSED && remote->exists))
		admin_raise_verdict(session, "look at the table of", &verdict);
}

static void
refuse_other_ledger(const Session *session, const TlRemote *remote)
{
	if (!remote->exists || !remote->has_ledger_id)
		return;
	if (session->target->shared ||
		memcmp(&remote->ledger_id, &session->pub.ledger_id, UUID_LEN) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("another ledger fills the table of target \"%s\"",
					session->target->name),
			 errhint("Give this one a table of its own, or set shared=on in both targets' URLs.")));
}

static void
emit_migration(ReturnSetInfo *rsinfo, const TlMigration *step,
			   const TlRemote *remote)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = Int32GetDatum(step->version);
	values[1] = CStringGetTextDatum(step->description);
	nulls[2] = step->changes == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(step->changes);
	values[3] = BoolGetDatum(remote->exists &&
							 step->version <= remote->version);
	values[4] = BoolGetDatum(step->down != NULL);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
check_schema(const Target *target)
{
	const TlBackend *backend = target->backend;

	if (backend->migrations == NULL || backend->migrate == NULL ||
		backend->inspect == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("backend \"%s\" of target \"%s\" has no schema",
						backend->name, target->name)));
}

static void
check_version(const Target *target, int32 version)
{
	StringInfoData known;

	initStringInfo(&known);
	for (const TlMigration *step = target->backend->migrations;
		 step->version != 0; step++)
	{
		if (step->version == version)
			return;
		appendStringInfo(&known, "%s%d", known.len > 0 ? ", " : "",
						 step->version);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("backend \"%s\" of target \"%s\" has no schema version %d",
					target->backend->name, target->name, version),
			 errhint("Available versions: %s.", known.data)));
}

/* Is there, by the settings, a lane that would take the job up? */
static void
check_lanes_run(void)
{
	const char *database = get_database_name(MyDatabaseId);

	if (tl_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no lane can carry out a job: tokenledger is not preloaded"),
				 errhint("Add tokenledger to shared_preload_libraries and restart the server.")));
	if (!target_database_listed(database))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no lane can carry out a job: this database is not in tokenledger.databases"),
				 errhint("Add it there and reload, or use token_ledger.create_schema().")));
}

/* NB: what lanes may undo by themselves would not last. */
static void
check_reversible(const Target *target, int32 version)
{
	for (const TlMigration *step = target->backend->migrations;
		 step->version != 0; step++)
	{
		if (step->version > version && step->down == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("schema version %d of backend \"%s\" cannot be undone",
							step->version, target->backend->name)));
	}
	if (target->auto_migrate == AUTO_MIGRATE_ON)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("auto_migrate would bring the table of target \"%s\" up to date again",
						target->name),
				 errhint("Set auto_migrate=create in the target's URL first.")));
}

static int64
request(const char *target, const char *kind, int32 version)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		values[3];
	bool		isnull;
	int64		job;

	values[0] = CStringGetTextDatum(target);
	values[1] = CStringGetTextDatum(kind);
	values[2] = Int32GetDatum(version);
	SPI_connect();
	if (SPI_execute_with_args("SELECT token_ledger.request_job($1, $2, $3)",
							  3, types, values, version == 0 ? "  n" : NULL,
							  false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not request a job");
	job = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return job;
}
