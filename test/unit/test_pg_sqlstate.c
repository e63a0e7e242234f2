/* sources: backends/postgres/sqlstate.c
 * libs: -lpq
 *-------------------------------------------------------------------------
 *
 * test_pg_sqlstate.c
 *	  What errors of a remote PostgreSQL mean, and what their texts name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/postgres/tlpg.h"
#include "unit.h"

typedef struct Sample
{
	const char *sqlstate;
	TlOutcome	outcome;
	TlCause		cause;
} Sample;

static const Sample samples[] = {
	{"08006", TL_RETRY, TL_CAUSE_NETWORK},
	{"08P01", TL_RETRY, TL_CAUSE_CONFIG},
	{"0A000", TL_RETRY, TL_CAUSE_CONFIG},
	{"22001", TL_REFUSED, TL_CAUSE_DATA},
	{"22003", TL_REFUSED, TL_CAUSE_DATA},
	{"22021", TL_REFUSED, TL_CAUSE_DATA},
	{"22P05", TL_REFUSED, TL_CAUSE_DATA},
	{"22P03", TL_RETRY, TL_CAUSE_SCHEMA},
	{"22P04", TL_RETRY, TL_CAUSE_SCHEMA},
	{"23502", TL_REFUSED, TL_CAUSE_DATA},
	{"23514", TL_REFUSED, TL_CAUSE_DATA},
	{"25006", TL_RETRY, TL_CAUSE_CONFIG},
	{"25P02", TL_RETRY, TL_CAUSE_NETWORK},
	{"28000", TL_RETRY, TL_CAUSE_AUTH},
	{"28P01", TL_RETRY, TL_CAUSE_AUTH},
	{"3D000", TL_RETRY, TL_CAUSE_CONFIG},
	{"3F000", TL_RETRY, TL_CAUSE_SCHEMA},
	{"40001", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"40003", TL_UNKNOWN, TL_CAUSE_NETWORK},
	{"40P01", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"42501", TL_RETRY, TL_CAUSE_AUTH},
	{"42703", TL_RETRY, TL_CAUSE_SCHEMA},
	{"42P01", TL_RETRY, TL_CAUSE_SCHEMA},
	{"42P10", TL_RETRY, TL_CAUSE_SCHEMA},
	{"44000", TL_REFUSED, TL_CAUSE_DATA},
	{"53100", TL_RETRY, TL_CAUSE_QUOTA},
	{"53200", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"53300", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"54000", TL_SPLIT, TL_CAUSE_DATA},
	{"54011", TL_RETRY, TL_CAUSE_SCHEMA},
	{"55P03", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"57014", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"57P01", TL_RETRY, TL_CAUSE_NETWORK},
	{"57P03", TL_RETRY, TL_CAUSE_NETWORK},
	{"57P04", TL_RETRY, TL_CAUSE_CONFIG},
	{"58030", TL_RETRY, TL_CAUSE_CONFIG},
	{"P0001", TL_REFUSED, TL_CAUSE_DATA},
	{"XX000", TL_RETRY, TL_CAUSE_CONFIG},
	{"", TL_RETRY, TL_CAUSE_CONFIG},
	{NULL, TL_RETRY, TL_CAUSE_CONFIG}
};

static void
test_classes(void)
{
	for (int i = 0; i < lengthof(samples); i++)
	{
		const TlpgErrorClass *class = tlpg_classify(samples[i].sqlstate);

		unit_test(psprintf("class of %s", samples[i].sqlstate ?
						   samples[i].sqlstate : "nothing"));
		CHECK_INT(class->outcome, samples[i].outcome);
		CHECK_INT(class->cause, samples[i].cause);
	}
	unit_test("another connection may do better");
	CHECK(tlpg_classify("25006")->reconnect);
	CHECK(tlpg_classify("57P03")->reconnect);
	CHECK(!tlpg_classify("22001")->reconnect);
	CHECK(!tlpg_classify("42P01")->reconnect);
}

static void
test_copy_line(void)
{
	unit_test("line of COPY");
	CHECK_INT(tlpg_copy_line("COPY t, line 17", "t"), 17);
	CHECK_INT(tlpg_copy_line("COPY t, line 17, column c4", "t"), 17);
	CHECK_INT(tlpg_copy_line("COPY events2, line 3", "events2"), 3);
	CHECK_INT(tlpg_copy_line("COPY t, Zeile 17, Spalte c4", "t"), 17);
	CHECK_INT(tlpg_copy_line("COPY t, 行 5, 列 c", "t"), 5);
	CHECK_INT(tlpg_copy_line("PL/pgSQL function f() line 3 at RAISE\n"
							 "COPY events, line 9", "events"), 9);
	CHECK_INT(tlpg_copy_line("PL/pgSQL function events() line 3", "events"),
			  0);
	CHECK_INT(tlpg_copy_line("COPY other, line 9", "events"), 0);
	CHECK_INT(tlpg_copy_line("COPY events\nline 9", "events"), 0);
	CHECK_INT(tlpg_copy_line("", "t"), 0);
	CHECK_INT(tlpg_copy_line(NULL, "t"), 0);
}

static void
test_connect_error(void)
{
	char		sqlstate[6];
	char		message[64];

	unit_test("error of a connection");
	CHECK(tlpg_parse_connect_error("connection to server at \"h\" (::1), port 1"
								   " failed: FATAL:  28P01: password authentication"
								   " failed for user \"u\"\nLOCATION:  auth_failed\n",
								   sqlstate, message, sizeof(message)));
	CHECK_STR(sqlstate, "28P01");
	CHECK_STR(message, "password authentication failed for user \"u\"");

	CHECK(tlpg_parse_connect_error("FATAL:  57P03: the database system is starting up",
								   sqlstate, message, 12));
	CHECK_STR(sqlstate, "57P03");
	CHECK_STR(message, "the databas");

	CHECK(!tlpg_parse_connect_error("could not connect: Connection refused\n"
									"\tIs the server running?\n",
									sqlstate, message, sizeof(message)));
	CHECK(!tlpg_parse_connect_error("FATAL:  no code: here",
									sqlstate, message, sizeof(message)));
	CHECK(!tlpg_parse_connect_error("", sqlstate, message, sizeof(message)));
}

static void
test_clean(void)
{
	char		text[] = "  one\n\ttwo  three \n";
	char		empty[] = "";

	unit_test("one clean line");
	tlpg_clean(text);
	CHECK_STR(text, "one two three");
	tlpg_clean(empty);
	CHECK_STR(empty, "");
}

int
main(void)
{
	test_classes();
	test_copy_line();
	test_connect_error();
	test_clean();
	return unit_done();
}
