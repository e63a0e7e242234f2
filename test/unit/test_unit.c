/*-------------------------------------------------------------------------
 *
 * test_unit.c
 *	  The harness itself: what the other unit tests stand on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "unit.h"

static void
throw(void *arg)
{
	ereport(ERROR,
			(errcode(ERRCODE_DIVISION_BY_ZERO),
			 errmsg("number %d", *(int *) arg)));
}

static void
catch_inside(void *arg)
{
	PG_TRY();
	{
		throw(arg);
	}
	PG_CATCH();
	{
		*(int *) arg = 0;
	}
	PG_END_TRY();
}

static void
rethrow(void *arg)
{
	PG_TRY();
	{
		throw(arg);
	}
	PG_FINALLY();
	{
		*(int *) arg += 1;
	}
	PG_END_TRY();
}

static void
test_errors(void)
{
	int			number = 7;

	unit_test("errors");
	CHECK_STR(unit_error(throw, &number), "number 7");
	CHECK_INT(unit_error_code(), ERRCODE_DIVISION_BY_ZERO);
	CHECK_STR(unit_error(rethrow, &number), "number 7");
	CHECK_INT(number, 8);
	CHECK_STR(unit_error(catch_inside, &number), NULL);
	CHECK_INT(number, 0);
}

static void
test_server_functions(void)
{
	StringInfoData text;
	List	   *list = NIL;

	unit_test("server functions");
	initStringInfo(&text);
	appendStringInfo(&text, "%s-%d", "a", 1);
	CHECK_STR(text.data, "a-1");
	list = lappend(list, text.data);
	list = lappend(list, &text);
	CHECK_INT(list_length(list), 2);
	CHECK(linitial(list) == text.data && lsecond(list) == &text);
	CHECK_MEM(text.data, "a-1", 4);
}

int
main(void)
{
	test_errors();
	test_server_functions();
	return unit_done();
}
