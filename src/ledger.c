/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  The functions that the ledger table itself calls.
 *
 * ingest_position() is the generation expression of the ledger's column
 * ingest_xid; edits_refused() and refuse_edit() are its append-only guard.
 * All three run inside other people's statements: they need no privileges
 * but EXECUTE, and ingest_position() has no way to fail that an INSERT would
 * not have without it.
 *
 * Invariants: a row's ingest_xid is the top-level transaction that inserted
 * the row into this cluster, and nobody can set it to anything else; a
 * committed row does not change and does not go away unless
 * tokenledger.allow_ledger_edits is on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "compat.h"
#include "guc.h"

TL_FUNCTION_INFO(tl_ingest_position);
TL_FUNCTION_INFO(tl_edits_refused);
TL_FUNCTION_INFO(tl_refuse_edit);

static const char *edit_name(TriggerEvent event);

/*
 * ingest_position() RETURNS xid8 IMMUTABLE
 *
 * The full id of the current top-level transaction, which is assigned if
 * need be (an INSERT needs one anyway).
 *
 * The label IMMUTABLE is a deliberate lie: the value differs from one
 * transaction to the next.  A stored generated column accepts no other
 * label, and only a stored generated column gives what the queue needs:
 *
 *	- no client can set or forge it, by INSERT or by COPY;
 *	- a dump does not carry it, so that a restore, a logical subscriber and an
 *	  INSERT ... SELECT get the position that is true in this cluster;
 *	- it is no volatile default and no row trigger, either of which would make
 *	  COPY give up its multi-insert path.
 *
 * What PostgreSQL makes of the lie: it prepares the generation expression
 * when the executor of a statement that inserts starts up, and folds the call
 * to a constant there.  That happens in the transaction that inserts, once
 * for each execution.  The expression is not part of any plan, so a prepared
 * statement, a cached generic plan, or a procedure that commits half-way does
 * not carry the constant into another transaction.  All subtransactions of a
 * transaction share its top-level id, so a constant that outlives a savepoint
 * is right as well.
 *
 * As the expression refers to no column, an UPDATE does not recompute it:
 * that is why the ledger has no BEFORE UPDATE trigger, which would make
 * PostgreSQL recompute every generated column.  INSERT ... ON CONFLICT DO
 * UPDATE (with the guard off) may renew it, and the event is then carried
 * once more.  A rewrite of the table (VACUUM FULL, CLUSTER, ALTER TABLE)
 * copies stored values.
 *
 * A future version of PostgreSQL could do otherwise.  test/sql/ingest.sql and
 * prepared.sql therefore pin each of these facts, and run on every major
 * version we support.
 */
Datum
tl_ingest_position(PG_FUNCTION_ARGS)
{
	PG_RETURN_FULLTRANSACTIONID(GetTopFullTransactionId());
}

/*
 * edits_refused() RETURNS boolean
 *
 * The WHEN clause of the guard's triggers.  It is a function of this library,
 * not current_setting(), so that evaluating it loads the library: until then
 * any user may set a variable of that name, and loading revokes what the user
 * had no right to set.
 */
Datum
tl_edits_refused(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!guc_allow_ledger_edits);
}

/*
 * refuse_edit() RETURNS trigger
 *
 * Raises an error for UPDATE, DELETE and TRUNCATE of the ledger.
 */
Datum
tl_refuse_edit(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("refuse_edit was not called by the trigger manager")));
	rel = trigger->tg_relation;
	if (!guc_allow_ledger_edits)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot %s table \"%s.%s\"",
						edit_name(trigger->tg_event),
						get_namespace_name(RelationGetNamespace(rel)),
						RelationGetRelationName(rel)),
				 errdetail("The ledger is append-only."),
				 errhint("A superuser can set tokenledger.allow_ledger_edits "
						 "to on for a transaction that has to change it.")));
	return PointerGetDatum(NULL);
}

static const char *
edit_name(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "update";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "delete from";
	return "truncate";
}
