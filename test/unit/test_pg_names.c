/* sources: backends/postgres/names.c
 * libs: -lpq
 *-------------------------------------------------------------------------
 *
 * test_pg_names.c
 *	  Hosts, tables, scripts and lock keys of the libpq backends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/postgres/tlpg.h"
#include "unit.h"

static void
check_table(const char *text, const char *schema, const char *name)
{
	TlpgTableName table;

	unit_test(text);
	CHECK(tlpg_parse_table(text, &table) == NULL);
	CHECK_STR(table.schema, schema);
	CHECK_STR(table.name, name);
}

static void
check_bad_table(const char *text)
{
	TlpgTableName table;

	unit_test(psprintf("refused: %s", text));
	CHECK(tlpg_parse_table(text, &table) != NULL);
}

static void
test_tables(void)
{
	check_table("t", "public", "t");
	check_table("s.t", "s", "t");
	check_table("S.Events", "S", "Events");
	check_table("\"a.b\".\"c\"\"d\"", "a.b", "c\"d");
	check_table("s.\"t\"", "s", "t");
	check_bad_table("");
	check_bad_table(".t");
	check_bad_table("s.");
	check_bad_table("a.b.c");
	check_bad_table("\"");
	check_bad_table("\"\"");
	check_bad_table("\"t");
	check_bad_table("\"t\"\"");
	check_bad_table("\"t\"x");
	check_bad_table("t\"x\"");
	check_bad_table("a2345678901234567890123456789012345678901234567890");
}

static void
test_scripts(void)
{
	TlpgTableName table;

	unit_test("names in scripts");
	CHECK(tlpg_parse_table("s.token_ledger_events", &table) == NULL);
	CHECK_STR(tlpg_expand("{table} {schema}.{name:*_schema_version}", &table),
			  "\"s\".\"token_ledger_events\""
			  " \"s\".\"token_ledger_schema_version\"");
	CHECK(tlpg_parse_table("\"o\"\"x\"", &table) == NULL);
	CHECK_STR(tlpg_expand("{name:idx_*_time} ON {table}", &table),
			  "\"idx_o\"\"x_time\" ON \"public\".\"o\"\"x\"");
	CHECK_STR(tlpg_expand("{} {other} {", &table), "{} {other} {");
}

static void
check_hosts(const char *text, const char *expected)
{
	TlpgHost   *hosts;
	int			n = tlpg_parse_hosts(text, "5432", &hosts);
	StringInfoData found;

	unit_test(text);
	initStringInfo(&found);
	for (int i = 0; i < n; i++)
		appendStringInfo(&found, "<%s|%s>", hosts[i].host, hosts[i].port);
	CHECK_STR(found.data, expected);
}

static void
test_hosts(void)
{
	check_hosts("a", "<a|5432>");
	check_hosts("a:1", "<a|1>");
	check_hosts("a:1,b", "<a|1><b|5432>");
	check_hosts("[::1]:7,[fe80::1]", "<::1|7><fe80::1|5432>");
	check_hosts("/run/x,b", "</run/x|5432><b|5432>");
	check_hosts("", "");
	check_hosts("a,", "");
	check_hosts(",a", "");
	check_hosts("a:", "");
	check_hosts("a:x", "");
	check_hosts("[::1", "");
	check_hosts("[::1]x", "");
}

static void
test_local_hosts(void)
{
	unit_test("local hosts");
	CHECK(tlpg_host_is_local("/run/postgresql"));
	CHECK(tlpg_host_is_local("localhost"));
	CHECK(tlpg_host_is_local("127.0.0.1"));
	CHECK(tlpg_host_is_local("::1"));
	CHECK(!tlpg_host_is_local("127.0.0.1.example.com"));
	CHECK(!tlpg_host_is_local("localhost.example.com"));
	CHECK(!tlpg_host_is_local("10.0.0.1"));
	CHECK(!tlpg_host_is_local("db"));
}

static void
test_quoting(void)
{
	StringInfoData out;

	unit_test("quoting");
	initStringInfo(&out);
	tlpg_quote_identifier(&out, "a\"b");
	tlpg_quote_literal(&out, "it's");
	tlpg_quote_literal(&out, "a\\'b");
	CHECK_STR(out.data, "\"a\"\"b\"'it''s' E'a\\\\''b'");
}

/*
 * The numbers stand for what released versions compute: were they to change,
 * two versions would no longer exclude each other.
 */
static void
test_lock_keys(void)
{
	pg_uuid_t	a = {{1}};
	pg_uuid_t	b = {{2}};
	int64		key = tlpg_lock_key(&a, "lane", "\"public\".\"t\"", 0);

	unit_test("lock keys");
	CHECK_INT(key, INT64CONST(2676960010490553));
	CHECK_INT(tlpg_lock_key(NULL, "migrate", "\"public\".\"t\"", 0),
			  INT64CONST(855069955398896729));
	CHECK(key != tlpg_lock_key(&a, "lane", "\"public\".\"t\"", 1));
	CHECK(key != tlpg_lock_key(&b, "lane", "\"public\".\"t\"", 0));
	CHECK(key != tlpg_lock_key(&a, "lane", "\"public\".\"u\"", 0));
	CHECK(key != tlpg_lock_key(&a, "ledger", "\"public\".\"t\"", 0));
}

int
main(void)
{
	test_tables();
	test_scripts();
	test_hosts();
	test_local_hosts();
	test_quoting();
	test_lock_keys();
	return unit_done();
}
