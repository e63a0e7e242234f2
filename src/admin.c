/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  SQL functions that talk to a store from the caller's own session.
 *
 * They open the target in the role TL_ADMIN, which does not disturb the
 * lanes, and are bounded by the target's timeout.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"	/* get_database_name() of 18 */

#include "admin.h"
#include "compat.h"
#include "routing.h"

TL_FUNCTION_INFO(tl_connection_info);
TL_FUNCTION_INFO(tl_health_check);
TL_FUNCTION_INFO(tl_can_be_asked);

static void emit_routing(void *arg, const Target *target);
static void emit_pair(void *arg, const char *key, const char *value);
static int	verdict_sqlstate(TlCause cause);

/* connection_info(target text) RETURNS SETOF (key text, value text) */
Datum
tl_connection_info(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Session    *session;

	InitMaterializedSRF(fcinfo, 0);
	session = admin_open_session(name);
	emit_pair(fcinfo->resultinfo, "backend", session->backend->name);
	emit_pair(fcinfo->resultinfo, "destination", session->target->destination);
	if (session->pub.user != NULL)
		emit_pair(fcinfo->resultinfo, "user", session->pub.user);
	emit_routing(fcinfo->resultinfo, session->target);
	if (session->backend->describe != NULL)
		session->backend->describe(&session->pub, emit_pair,
								   fcinfo->resultinfo);
	session_close(session, false);
	return (Datum) 0;
}

/* health_check(target text) RETURNS (healthy, latency_ms, code, message) */
Datum
tl_health_check(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Session    *session = admin_open_session(name);
	TlVerdict	verdict;
	TlOutcome	outcome;
	instr_time	begin;
	instr_time	elapsed;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	INSTR_TIME_SET_CURRENT(begin);
	outcome = session_check_health(session, &verdict);
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, begin);
	session_close(session, false);
	CHECK_FOR_INTERRUPTS();

	values[0] = BoolGetDatum(outcome == TL_OK);
	values[1] = Float8GetDatum(INSTR_TIME_GET_MILLISEC(elapsed));
	values[2] = CStringGetTextDatum(verdict.code);
	values[3] = CStringGetTextDatum(verdict.message);
	nulls[2] = verdict.code[0] == '\0';
	nulls[3] = verdict.message[0] == '\0';
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/*
 * can_be_asked(target text) RETURNS boolean: can its store be asked which
 * events it holds?  A property of the backend; no I/O.  NB: resolve alone may
 * know of what its own lane has sent last, and of nothing before that.
 */
Datum
tl_can_be_asked(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Target	   *target = admin_find_target(name);

	PG_RETURN_BOOL(target->backend->resolve != NULL &&
				   target->backend->audit != NULL);
}

/* NB: a filter may name users: routing() shows it. */
static void
emit_routing(void *arg, const Target *target)
{
	if (target->unsent != 0)
		emit_pair(arg, "columns_not_sent",
				  routing_columns(target->unsent));
	if (target->hashed != 0)
		emit_pair(arg, "columns_hashed",
				  routing_columns(target->hashed));
	if (target->filter != NULL)
		emit_pair(arg, "filter", "on");
}

Session *
admin_open_session(const char *name)
{
	Target	   *target = admin_find_target(name);
	TlVerdict	verdict;
	Session    *session = session_open(target, TL_ADMIN, NULL, &verdict);

	if (session == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target \"%s\" cannot be opened", name),
				 errdetail_internal("%s", verdict.message),
				 errhint("Change its entry in tokenledger.targets.")));
	return session;
}

Target *
admin_find_target(const char *name)
{
	Target	   *target = target_load(get_database_name(MyDatabaseId), name);

	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("target \"%s\" does not exist in this database", name),
				 errhint("tokenledger.targets names the targets; see token_ledger.status.")));
	if (target->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target \"%s\" is invalid: %s", name, target->error),
				 target->hint ? errhint("%s", target->hint) : 0));
	return target;
}

static void
emit_pair(void *arg, const char *key, const char *value)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[2];
	bool		nulls[2] = {false, value == NULL};

	values[0] = CStringGetTextDatum(key);
	values[1] = value ? CStringGetTextDatum(value) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

void
admin_raise_verdict(const Session *session, const char *action,
					const TlVerdict *verdict)
{
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(verdict_sqlstate(verdict->cause)),
			 errmsg("could not %s target \"%s\" (%s)", action,
					session->target->name, cause_name(verdict->cause)),
			 errdetail_internal("%s", verdict->message)));
}

static int
verdict_sqlstate(TlCause cause)
{
	switch (cause)
	{
		case TL_CAUSE_NETWORK:
			return ERRCODE_CONNECTION_FAILURE;
		case TL_CAUSE_OVERLOAD:
		case TL_CAUSE_QUOTA:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case TL_CAUSE_AUTH:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
		case TL_CAUSE_CONFIG:
			return ERRCODE_CONFIG_FILE_ERROR;
		case TL_CAUSE_SCHEMA:
			return ERRCODE_UNDEFINED_TABLE;
		default:
			return ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
	}
}
