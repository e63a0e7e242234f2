/* sources: backends/clickhouse/errors.c backends/clickhouse/summary.c
 * libs: -ljson-c
 *-------------------------------------------------------------------------
 *
 * test_ch_errors.c
 *	  What each error of ClickHouse means, and what is read of an answer.
 *
 * The messages are those of an engine of version 26.9.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "unit.h"

typedef struct Meaning
{
	TlOutcome	outcome;
	TlCause		cause;
	bool		early;
	int			codes[40];
} Meaning;

/* Every code that is known, by what it means. */
static const Meaning meanings[] = {
	{TL_REFUSED, TL_CAUSE_DATA, true,
	{6, 26, 27, 38, 41, 69, 70, 72, 117, 131, 321, 349, 407, 469, 691}},
	{TL_RETRY, TL_CAUSE_SCHEMA, true, {16, 43, 44, 47, 53, 60, 81, 386}},
	{TL_RETRY, TL_CAUSE_CONFIG, true, {36, 48, 62, 73, 115, 381, 452}},
	{TL_RETRY, TL_CAUSE_AUTH, true, {164, 192, 193, 194, 497, 516}},
	{TL_RETRY, TL_CAUSE_OVERLOAD, true, {202, 252, 745}},
	{TL_RETRY, TL_CAUSE_NETWORK, true, {32, 33, 561, 618}},
	{TL_RETRY, TL_CAUSE_NETWORK, false, {209, 210, 279}},
	{TL_RETRY, TL_CAUSE_OVERLOAD, false,
		{159, 203, 216, 225, 236, 242, 254, 265, 285, 286, 319, 394, 425,
	439, 473, 519, 574, 722, 999}},
	{TL_RETRY, TL_CAUSE_QUOTA, false, {243}},
	{TL_RETRY, TL_CAUSE_CONFIG, false, {107, 395}},
	{TL_SPLIT, TL_CAUSE_OVERLOAD, false, {241}}
};

static void
test_codes(void)
{
	unit_test("codes");
	for (int i = 0; i < lengthof(meanings); i++)
		for (const int *code = meanings[i].codes; *code != 0; code++)
		{
			const TlchErrorClass *class = tlch_classify(*code);

			CHECK_INT(class->code, *code);
			CHECK_INT(class->outcome, meanings[i].outcome);
			CHECK_INT(class->cause, meanings[i].cause);
			CHECK_INT(class->early, meanings[i].early);
		}

	unit_test("a code that is not known is not early");
	CHECK_INT(tlch_classify(1001)->outcome, TL_RETRY);
	CHECK_INT(tlch_classify(1001)->early, false);
	CHECK_INT(tlch_classify(0)->early, false);
}

static TlchError
parsed(int status, const char *code, const char *body)
{
	TlchError	error;

	tlch_parse_error(status, code, body, strlen(body), &error);
	return error;
}

static void
test_messages(void)
{
	TlchError	e;

	unit_test("the frame around a message goes");
	e = parsed(404, "60", "Code: 60. DB::Exception: Table default.t does not"
			   " exist. (UNKNOWN_TABLE) (version 26.9.2.1 (official build))\n");
	CHECK_INT(e.code, 60);
	CHECK_STR(e.message, "Table default.t does not exist. (UNKNOWN_TABLE)");
	CHECK_INT(e.cause, TL_CAUSE_SCHEMA);

	unit_test("without the header");
	e = parsed(500, NULL, "Code: 159. DB::Exception: Timeout exceeded\n");
	CHECK_INT(e.code, 159);
	CHECK_INT(e.early, false);

	unit_test("an event's contents are not passed on, its row is read");
	e = parsed(500, "469", "Code: 469. DB::Exception: Constraint `pos` for"
			   " table default.ck (8f5369a3-69de-4905-a975-3a0d3f587c90) is"
			   " violated at row 3. Expression: (a > 0). Column values: a ="
			   " -3. (VIOLATED_CONSTRAINT) (version 26.9.2.1)\n");
	CHECK_INT(e.outcome, TL_REFUSED);
	CHECK_INT(e.row, 3);
	CHECK(strstr(e.message, "-3") == NULL);
	CHECK(strstr(e.message, "VIOLATED_CONSTRAINT") != NULL);

	unit_test("a row is counted from 1");
	e = parsed(500, "469", "at row -2 at row 3");
	CHECK_INT(e.row, 0);
}

static void
test_two_meanings(void)
{
	TlchError	e;

	unit_test("252");
	e = parsed(500, "252", "Code: 252. DB::Exception: Too many parts (300 with"
			   " average size of 1 KiB) in table 't'. (TOO_MANY_PARTS)\n");
	CHECK_INT(e.outcome, TL_RETRY);
	CHECK_INT(e.cause, TL_CAUSE_OVERLOAD);
	e = parsed(500, "252", "Code: 252. DB::Exception: Too many partitions for"
			   " single INSERT block (more than 100). (TOO_MANY_PARTS)\n");
	CHECK_INT(e.outcome, TL_SPLIT);

	unit_test("an error of a view comes late, whatever its code");
	e = parsed(404, "60", "Code: 60. DB::Exception: Table default.t does not"
			   " exist: while pushing to view default.v. (UNKNOWN_TABLE)\n");
	CHECK_INT(e.code, 60);
	CHECK_INT(e.early, false);

	unit_test("241");
	e = parsed(500, "241", "Code: 241. DB::Exception: (total) memory limit"
			   " exceeded: would use 1.00 GiB. (MEMORY_LIMIT_EXCEEDED)\n");
	CHECK_INT(e.outcome, TL_RETRY);
	e = parsed(500, "241", "Code: 241. DB::Exception: Query memory limit"
			   " exceeded: would use 97.00 MiB. (MEMORY_LIMIT_EXCEEDED)\n");
	CHECK_INT(e.outcome, TL_SPLIT);
	CHECK_INT(e.early, false);
}

static void
test_others(void)
{
	TlchError	e;

	unit_test("answers that are not ClickHouse's");
	e = parsed(302, NULL, "");
	CHECK_INT(e.cause, TL_CAUSE_CONFIG);
	CHECK_INT(e.early, true);
	e = parsed(401, NULL, "<html>who are you</html>");
	CHECK_INT(e.cause, TL_CAUSE_AUTH);
	CHECK_INT(e.early, true);
	CHECK(strstr(e.message, "html") == NULL);
	e = parsed(413, NULL, "");
	CHECK_INT(e.outcome, TL_SPLIT);
	CHECK_INT(e.early, true);
	e = parsed(429, NULL, "");
	CHECK_INT(e.cause, TL_CAUSE_OVERLOAD);
	CHECK_INT(e.early, true);
	e = parsed(502, NULL, "Bad Gateway");
	CHECK_INT(e.outcome, TL_RETRY);
	CHECK_INT(e.early, false);
	e = parsed(200, NULL, "hello");
	CHECK_INT(e.early, false);
	e = parsed(400, NULL, "Port 9001 is for clickhouse-client program\r\n"
			   "You must use port 8124 for HTTP.\r\n");
	CHECK_INT(e.cause, TL_CAUSE_CONFIG);
	CHECK_INT(e.early, true);
	CHECK(strstr(e.message, "native port") != NULL);

	unit_test("an exception in the body of a 200");
	e = parsed(200, NULL, "__exception__\r\nabcdefghijklmnop\r\nCode: 395."
			   " DB::Exception: boom\r\n");
	CHECK_INT(e.code, 395);
	CHECK_INT(e.early, false);

	unit_test("a long answer, and none");
	e = parsed(500, NULL, psprintf("Code: 241. DB::Exception: %0*d", 5000, 7));
	CHECK_INT(e.code, 241);
	tlch_parse_error(500, NULL, NULL, 0, &e);
	CHECK_INT(e.code, 0);
}

static void
test_summary(void)
{
	unit_test("summaries");
	CHECK_INT(tlch_written_rows("{\"read_rows\":\"0\",\"written_rows\":"
								"\"10000\",\"x\":{}}"), 10000);
	CHECK_INT(tlch_written_rows("{\"written_rows\":3}"), 3);
	CHECK_INT(tlch_written_rows("{}"), -1);
	CHECK_INT(tlch_written_rows("[1]"), -1);
	CHECK_INT(tlch_written_rows("{\"written_rows\":"), -1);
	CHECK_INT(tlch_written_rows(""), -1);
}

int
main(void)
{
	test_codes();
	test_messages();
	test_two_meanings();
	test_others();
	test_summary();
	return unit_done();
}
