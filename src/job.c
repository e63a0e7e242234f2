/*-------------------------------------------------------------------------
 *
 * job.c
 *	  wait_for_job(job, timeout): the end of a job, as a procedure.
 *
 * A procedure, because a function's transaction would hide the request that
 * was made in it, and hold a snapshot for as long as it waits.  It commits
 * first, so that in
 *
 *		CALL token_ledger.wait_for_job(token_ledger.migrate('warehouse'))
 *
 * the lane sees the request, and after each look at the job, so that it holds
 * no snapshot in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "shmem.h"

TL_FUNCTION_INFO(tl_wait_for_job);

#define LOOK_AGAIN_MS	1000

static const char job_sql[] =
"SELECT j.state, j.message, j.error, t.name FROM token_ledger.job j"
" JOIN token_ledger.target t ON t.id OPERATOR(pg_catalog.=) j.target_id"
" WHERE j.id OPERATOR(pg_catalog.=) $1";

static const char owner_sql[] =
"SELECT extowner FROM pg_catalog.pg_extension"
" WHERE extname OPERATOR(pg_catalog.=) 'tokenledger'";

/* What a job's row says, in the portal's memory. */
typedef struct JobState
{
	const char *state;			/* NULL: there is no such job */
	const char *message;
	const char *error;
	const char *target;
} JobState;

static void refuse_atomic(FunctionCallInfo fcinfo);
static JobState look_at_job(int64 job);
static const char *kept_text(MemoryContext mcxt, int column);
static void become_owner(void);
static bool has_ended(int64 job, const JobState *now);
static void wait_a_while(TimestampTz deadline);
static void give_up(int64 job, const JobState *now);
static Datum result(FunctionCallInfo fcinfo, const char *message);

/* wait_for_job(job bigint, timeout interval, INOUT message text) */
Datum
tl_wait_for_job(PG_FUNCTION_ARGS)
{
	int64		job;
	TimestampTz deadline;
	JobState	now;

	refuse_atomic(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("job and timeout must not be null")));
	job = PG_GETARG_INT64(0);
	deadline = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval,
							TimestampTzGetDatum(GetCurrentTimestamp()),
							PG_GETARG_DATUM(1)));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	if (tl_shared != NULL)
		ConditionVariablePrepareToSleep(&tl_shared->settled);
	for (;;)
	{
		now = look_at_job(job);
		SPI_commit();
		if (has_ended(job, &now))
			break;
		if (GetCurrentTimestamp() >= deadline)
			give_up(job, &now);
		wait_a_while(deadline);
	}
	ConditionVariableCancelSleep();
	SPI_finish();
	return result(fcinfo, now.message);
}

static void
refuse_atomic(FunctionCallInfo fcinfo)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context != NULL && IsA(context, CallContext) && !context->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			 errmsg("wait_for_job() cannot run inside a transaction block or a function"),
			 errdetail("It commits, as the job is carried out after the commit only."),
			 errhint("Commit first, and CALL it by itself; or look at token_ledger.jobs.")));
}

/*
 * As the extension's owner: whoever may call the procedure may see the job.
 * An error ends the transaction, and with it the change of user.
 */
static JobState
look_at_job(int64 job)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(job);
	JobState	found = {0};
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	become_owner();
	if (SPI_execute_with_args(job_sql, 1, &type, &value, NULL, true,
							  1) != SPI_OK_SELECT)
		elog(ERROR, "could not look at job " INT64_FORMAT, job);
	SetUserIdAndSecContext(user, context);
	if (SPI_processed > 0)
	{
		found.state = kept_text(PortalContext, 1);
		found.message = kept_text(PortalContext, 2);
		found.error = kept_text(PortalContext, 3);
		found.target = kept_text(PortalContext, 4);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

static const char *
kept_text(MemoryContext mcxt, int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, column);

	return text ? MemoryContextStrdup(mcxt, text) : NULL;
}

static void
become_owner(void)
{
	bool		isnull;
	int			context;
	Oid			user;
	Datum		owner;

	if (SPI_execute(owner_sql, true, 1) != SPI_OK_SELECT ||
		SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"tokenledger\" does not exist")));
	GetUserIdAndSecContext(&user, &context);
	owner = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull);
	SetUserIdAndSecContext(DatumGetObjectId(owner),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_freetuptable(SPI_tuptable);
}

/* Throws if it has not ended well. */
static bool
has_ended(int64 job, const JobState *now)
{
	if (now->state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job " INT64_FORMAT " does not exist", job),
				 errhint("See token_ledger.jobs.")));
	if (strcmp(now->state, "failed") == 0 ||
		strcmp(now->state, "cancelled") == 0)
		ereport(ERROR,
				(errcode(strcmp(now->state, "failed") == 0 ?
						 ERRCODE_EXTERNAL_ROUTINE_EXCEPTION :
						 ERRCODE_QUERY_CANCELED),
				 errmsg("job " INT64_FORMAT " of target \"%s\" %s", job,
						now->target, strcmp(now->state, "failed") == 0 ?
						"has failed" : "was cancelled"),
				 now->error ? errdetail_internal("%s", now->error) : 0));
	return strcmp(now->state, "done") == 0;
}

static void
wait_a_while(TimestampTz deadline)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													   deadline);

	left = Min(left + 1, LOOK_AGAIN_MS);
	if (tl_shared != NULL)
		(void) ConditionVariableTimedSleep(&tl_shared->settled, left,
										   PG_WAIT_EXTENSION);
	else
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	CHECK_FOR_INTERRUPTS();
}

static void
give_up(int64 job, const JobState *now)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("job " INT64_FORMAT " of target \"%s\" has not ended yet: it is %s",
					job, now->target, now->state),
			 now->error ? errdetail_internal("%s", now->error) : 0,
			 errhint("It goes on. See token_ledger.jobs, and token_ledger.status if no lane has taken it up.")));
}

static Datum
result(FunctionCallInfo fcinfo, const char *message)
{
	TupleDesc	desc;
	Datum		value = (Datum) 0;
	bool		isnull = message == NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!isnull)
		value = CStringGetTextDatum(message);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  &value, &isnull)));
}
