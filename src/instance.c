/*-------------------------------------------------------------------------
 *
 * instance.c
 *	  Which ledger, cluster and database this is.
 *
 * token_ledger.instance holds the ledger's id: it goes wherever the events go
 * (dump, copy, upgrade).  token_ledger.instance_local holds facts about the
 * cluster in which it was written and is not dumped.  pg_upgrade changes the
 * cluster's identifier but keeps tuples and transaction ids, so there, and
 * only there, the row's xmin is still the transaction that it names itself.
 * Where instance_local is empty and a target of this very database has run, a
 * dump was restored over the original: its cursors are of no use, either.
 *
 * A copy of the data directory is the same in everything but what is kept
 * outside of it: tokenledger.cluster_id.  One that has been promoted is told
 * by its timeline, but not whether it has taken the original's place: that is
 * tokenledger.after_promotion.  The places in the queue are true there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "guc.h"
#include "instance.h"

TL_FUNCTION_INFO(tl_cluster_key);

static void check_local_facts(int64 system_identifier, int32 timeline);
static void take_over_rows(int64 system_identifier);
static void suspend_restored_rows(int64 system_identifier);
static void suspend_clones(int64 system_identifier, int32 timeline);
static void run(const char *sql, int nargs, Oid *types, Datum *values);
static int32 current_timeline(void);

void
instance_check(pg_uuid_t *ledger_id, int64 *system_identifier,
			   int32 *timeline)
{
	bool		isnull;

	*system_identifier = (int64) GetSystemIdentifier();
	*timeline = current_timeline();
	run("INSERT INTO token_ledger.instance (ledger_id)"
		" VALUES (pg_catalog.gen_random_uuid()) ON CONFLICT DO NOTHING",
		0, NULL, NULL);
	run("SELECT ledger_id FROM token_ledger.instance", 0, NULL, NULL);
	*ledger_id = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1,
											  &isnull));
	check_local_facts(*system_identifier, *timeline);
}

/* cluster_key(OUT system_identifier bigint, OUT database_oid oid) */
Datum
tl_cluster_key(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

static void
check_local_facts(int64 system_identifier, int32 timeline)
{
	Oid			types[] = {INT8OID, OIDOID, INT4OID, TEXTOID};
	Datum		values[4];

	values[0] = Int64GetDatum(system_identifier);
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = Int32GetDatum(timeline);
	values[3] = CStringGetTextDatum(guc_cluster_id);
	run("SELECT 1 FROM token_ledger.instance_local"
		" WHERE system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database_oid OPERATOR(pg_catalog.=) $2"
		" AND timeline OPERATOR(pg_catalog.=) $3"
		" AND cluster_id OPERATOR(pg_catalog.=) $4", 4, types, values);
	if (SPI_processed > 0)
		return;
	take_over_rows(system_identifier);
	suspend_restored_rows(system_identifier);
	suspend_clones(system_identifier, timeline);
	run("INSERT INTO token_ledger.instance_local AS i"
		" (system_identifier, database_oid, timeline, cluster_id,"
		" written_xid)"
		" VALUES ($1, $2, $3, $4, pg_catalog.pg_current_xact_id())"
		" ON CONFLICT (singleton) DO UPDATE"
		" SET system_identifier = excluded.system_identifier,"
		" database_oid = excluded.database_oid,"
		" timeline = excluded.timeline, cluster_id = excluded.cluster_id,"
		" written_xid = excluded.written_xid",
		4, types, values);
}

/* After pg_upgrade, the old cluster's rows are ours. */
static void
take_over_rows(int64 system_identifier)
{
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[2];

	values[0] = Int64GetDatum(system_identifier);
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	run("UPDATE token_ledger.target t"
		" SET system_identifier = $1, database_oid = $2"
		" FROM token_ledger.instance_local i"
		" WHERE i.system_identifier OPERATOR(pg_catalog.<>) $1"
		" AND i.xmin OPERATOR(pg_catalog.=) pg_catalog.xid(i.written_xid)"
		" AND t.system_identifier OPERATOR(pg_catalog.=) i.system_identifier"
		" AND t.database_oid OPERATOR(pg_catalog.=) i.database_oid",
		2, types, values);
}

static void
suspend_restored_rows(int64 system_identifier)
{
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[2];

	values[0] = Int64GetDatum(system_identifier);
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	run("UPDATE token_ledger.target SET state = 'suspended',"
		" cause = NULL, code = NULL, last_error = 'this database was restored"
		" from a dump', error_since = pg_catalog.now()"
		" WHERE system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database_oid OPERATOR(pg_catalog.=) $2"
		" AND window_from IS NOT NULL"
		" AND NOT EXISTS (SELECT FROM token_ledger.instance_local)",
		2, types, values);
}

/* NB: before instance_local is written anew. */
static void
suspend_clones(int64 system_identifier, int32 timeline)
{
	Oid			types[] = {INT8OID, OIDOID, INT4OID, TEXTOID, BOOLOID};
	Datum		values[5];

	values[0] = Int64GetDatum(system_identifier);
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = Int32GetDatum(timeline);
	values[3] = CStringGetTextDatum(guc_cluster_id);
	values[4] = BoolGetDatum(guc_after_promotion == AFTER_PROMOTION_SUSPEND);
	run("UPDATE token_ledger.target t SET state = 'suspended',"
		" cause = CASE WHEN clone THEN 'clone' ELSE 'promotion' END,"
		" code = NULL, last_error = CASE WHEN clone THEN"
		" 'tokenledger.cluster_id is not the one that this database had'"
		" ELSE 'this server has been promoted, and"
		" tokenledger.after_promotion is suspend' END,"
		" error_since = pg_catalog.now()"
		" FROM (SELECT i.cluster_id OPERATOR(pg_catalog.<>) ''"
		" AND i.cluster_id OPERATOR(pg_catalog.<>) $4 AS clone,"
		" $5 AND i.system_identifier OPERATOR(pg_catalog.=) $1"
		" AND i.timeline OPERATOR(pg_catalog.<>) $3 AS promoted"
		" FROM token_ledger.instance_local i) AS now"
		" WHERE t.system_identifier OPERATOR(pg_catalog.=) $1"
		" AND t.database_oid OPERATOR(pg_catalog.=) $2"
		" AND t.state OPERATOR(pg_catalog.<>) 'suspended'"
		" AND t.window_from IS NOT NULL AND (clone OR promoted)",
		5, types, values);
}

static void
run(const char *sql, int nargs, Oid *types, Datum *values)
{
	int			code = SPI_execute_with_args(sql, nargs, types, values, NULL,
											 false, 0);

	if (code < 0)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(code));
}

/*
 * The first eight digits of a WAL file's name: the form in which every
 * supported version gives it.
 */
static int32
current_timeline(void)
{
	bool		isnull;
	char	   *name;

	run("SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())",
		0, NULL, NULL);
	name = TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1,
											 &isnull));
	name[8] = '\0';
	return (int32) strtoul(name, NULL, 16);
}
