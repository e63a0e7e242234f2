/* sources: backends/common/tl_schema.c backends/common/tl_verdict.c
 *-------------------------------------------------------------------------
 *
 * test_schema.c
 *	  The steps of a table's migrations, as backends have them in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/common/tl_schema.h"
#include "unit.h"

static const TlMigration migrations[] = {
	{.version = 100, .description = "table", .up = "a;b"},
	{.version = 101, .description = "column", .up = "c", .down = "d;e"},
	{.version = 103, .description = "nothing", .up = "", .down = ""},
	{.version = 0}
};

typedef struct Store
{
	StringInfoData done;
	TlOutcome	judged;
	int32		recorded;		/* this version and those before it */
	const char *breaks_at;		/* NULL: nothing fails */
} Store;

static TlOutcome
judge(void *arg, TlVerdict *verdict)
{
	Store	   *store = arg;

	return store->judged;
}

static bool
is_recorded(void *arg, int32 version, bool *recorded, TlVerdict *verdict)
{
	Store	   *store = arg;

	*recorded = version <= store->recorded;
	return true;
}

static bool
run(void *arg, const char *statement, TlVerdict *verdict)
{
	Store	   *store = arg;

	appendStringInfo(&store->done, "%s ", statement);
	return store->breaks_at == NULL ||
		strcmp(statement, store->breaks_at) != 0;
}

static bool
record(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	return run(arg, psprintf("+%d", step->version), verdict);
}

static bool
forget(void *arg, const TlMigration *step, TlVerdict *verdict)
{
	return run(arg, psprintf("-%d", step->version), verdict);
}

static const TlScripts scripts = {judge, is_recorded, run, record, forget};

static TlOutcome
migrate(Store *store, int step, bool up, TlVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	initStringInfo(&store->done);
	return tl_migrate(&scripts, store, &migrations[step], up, verdict);
}

static void
test_versions(void)
{
	unit_test("versions");
	CHECK_INT(tl_newest_version(migrations), 103);
	CHECK_INT(tl_version_before(migrations, 103), 101);
	CHECK_INT(tl_version_before(migrations, 100), 0);
	CHECK_INT(tl_newest_version(&migrations[3]), 0);
}

static void
test_steps(void)
{
	Store		store = {.judged = TL_OK};
	TlVerdict	verdict;

	unit_test("a step and its record");
	CHECK_INT(migrate(&store, 0, true, &verdict), TL_OK);
	CHECK_STR(store.done.data, "a b +100 ");
	store.recorded = 101;
	CHECK_INT(migrate(&store, 1, false, &verdict), TL_OK);
	CHECK_STR(store.done.data, "d e -101 ");
	CHECK_INT(migrate(&store, 2, true, &verdict), TL_OK);
	CHECK_STR(store.done.data, "+103 ");

	unit_test("what is recorded is not done again");
	CHECK_INT(migrate(&store, 1, true, &verdict), TL_OK);
	CHECK_STR(store.done.data, "");
	CHECK_INT(migrate(&store, 2, false, &verdict), TL_OK);
	CHECK_STR(store.done.data, "");

	unit_test("a step that breaks is not recorded");
	store.breaks_at = "d";
	CHECK_INT(migrate(&store, 1, false, &verdict), TL_RETRY);
	CHECK_STR(store.done.data, "d ");
	store.breaks_at = "-101";
	CHECK_INT(migrate(&store, 1, false, &verdict), TL_RETRY);
	CHECK_STR(store.done.data, "d e -101 ");

	unit_test("what is not done at all");
	CHECK_INT(migrate(&store, 0, false, &verdict), TL_REFUSED);
	CHECK_STR(verdict.message, "version 1.0 of the table cannot be undone");
	store.judged = TL_REFUSED;
	CHECK_INT(migrate(&store, 1, false, &verdict), TL_REFUSED);
	CHECK_STR(store.done.data, "");
}

static void
test_judgements(void)
{
	TlVerdict	verdict = {0};
	StringInfoData fatal;

	unit_test("tables that are not as they should be");
	initStringInfo(&fatal);
	CHECK_INT(tl_judge_fillable("t", &fatal, "1", &verdict), TL_OK);
	CHECK_INT(tl_judge_ours("t", &fatal, "2", &verdict), TL_OK);
	CHECK_STR(verdict.message, "");
	appendStringInfoString(&fatal, "it is a view");
	CHECK_INT(tl_judge_ours("t", &fatal, "2", &verdict), TL_REFUSED);
	CHECK_STR(verdict.message,
			  "table t was not made by tokenledger: it is a view");
	CHECK_STR(verdict.code, "2");
	CHECK_INT(tl_judge_fillable("t", &fatal, "1", &verdict), TL_REFUSED);
	CHECK_STR(verdict.code, "2");	/* the first failure stands */
}

int
main(void)
{
	test_versions();
	test_steps();
	test_judgements();
	return unit_done();
}
