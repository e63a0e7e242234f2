/* sources: backends/snowflake/names.c backends/snowflake/columns.c
 * sources: backends/common/tl_columns.c
 *-------------------------------------------------------------------------
 *
 * test_sf_names.c
 *	  Names of backend "snowflake": accounts, tables, their case; and columns
 *	  that can hold the ledger's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/snowflake/tlsf.h"
#include "unit.h"

static void
test_accounts(void)
{
	static const struct
	{
		const char *given;
		const char *host;
		const char *jwt;
	}			rows[] = {
		{"myorg-myaccount", "myorg-myaccount", "MYORG-MYACCOUNT"},
		{"MyOrg-My_Account", "myorg-my-account", "MYORG-MY_ACCOUNT"},
		{"xy12345", "xy12345", "XY12345"},
		{"xy12345.us-east-1", "xy12345.us-east-1", "XY12345"},
		{"xy12345.us-east-1.aws", "xy12345.us-east-1.aws", "XY12345"},
		{"xy12345-abc.global", "xy12345-abc.global", "XY12345"},
		{"myorg-myaccount.privatelink", "myorg-myaccount.privatelink",
		"MYORG-MYACCOUNT"},
		{"xy12345.us-east-1.privatelink", "xy12345.us-east-1.privatelink",
		"XY12345"},
		{"myorg-my.account", "myorg-my.account", "MYORG-MY-ACCOUNT"},
		{"myorg-myaccount.snowflakecomputing.com", "myorg-myaccount",
		"MYORG-MYACCOUNT"}
	};
	static const char *const wrong[] = {
		"", "host:443", "a,b", ".a", "a..b", "a.", "a/b", "-a", "a b"
	};
	char	   *host;
	char	   *jwt;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("account %s", rows[i].given));
		CHECK(tlsf_parse_account(rows[i].given, &host, &jwt) == NULL);
		CHECK_STR(host, rows[i].host);
		CHECK_STR(jwt, rows[i].jwt);
	}
	unit_test("no accounts");
	CHECK(tlsf_parse_account(NULL, &host, &jwt) != NULL);
	for (int i = 0; i < lengthof(wrong); i++)
		CHECK(tlsf_parse_account(wrong[i], &host, &jwt) != NULL);
}

static void
test_tables(void)
{
	TlsfName	name;

	unit_test("names are folded to upper case");
	CHECK(tlsf_parse_name("app/ledger", NULL, false, &name) == NULL);
	CHECK_STR(name.quoted, "\"APP\".\"LEDGER\".\"TOKEN_LEDGER_EVENTS\"");
	CHECK_STR(tlsf_expand(&name, "{table_stream} {schema_version} {source} {watermark} {event_id}"),
			  "\"APP\".\"LEDGER\".\"TOKEN_LEDGER_EVENTS_STREAM\""
			  " \"APP\".\"LEDGER\".\"TOKEN_LEDGER_SCHEMA_VERSION\""
			  " \"APP\".\"LEDGER\".\"TOKEN_LEDGER_SOURCE\""
			  " \"APP\".\"LEDGER\".\"TOKEN_LEDGER_WATERMARK\" \"EVENT_ID\"");
	CHECK(tlsf_parse_name("app/ledger/t", NULL, false, &name) == NULL);
	CHECK_STR(tlsf_expand(&name, "{source}"),
			  "\"APP\".\"LEDGER\".\"T_SOURCE\"");
	CHECK(tlsf_parse_name("app/ledger/", "t$2", false, &name) == NULL);
	CHECK_STR(name.table, "T$2");

	unit_test("or are exactly as they are written");
	CHECK(tlsf_parse_name("App/my ledger", "a\"b", true, &name) == NULL);
	CHECK_STR(name.quoted, "\"App\".\"my ledger\".\"a\"\"b\"");
	CHECK_STR(tlsf_expand(&name, "{source} {event_id}"),
			  "\"App\".\"my ledger\".\"a\"\"b_source\" \"event_id\"");

	unit_test("names that are none");
	CHECK(tlsf_parse_name(NULL, NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("app", NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("app/", NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("/ledger", NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("my app/ledger", NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("app/1edger", NULL, false, &name) != NULL);
	CHECK(tlsf_parse_name("app/ledger/a", "b", false, &name) != NULL);
	CHECK(tlsf_parse_name("app/ledger", "a\nb", true, &name) != NULL);
}

static void
test_quotes(void)
{
	StringInfoData out;

	unit_test("literals");
	initStringInfo(&out);
	tlsf_quote_literal(&out, "it's a \\");
	CHECK_STR(out.data, "'it''s a \\\\'");
}

static bool
fits(const char *type, bool nullable, const char *column)
{
	TlsfColumn	remote = {"x", type, nullable, false};

	return tlsf_column_fits(&remote, tl_find_expected(column));
}

static void
test_columns(void)
{
	unit_test("which types hold the ledger's");
	CHECK(fits("VARCHAR(36)", false, "event_id"));
	CHECK(fits("VARCHAR(16777216)", false, "event_id"));
	CHECK(!fits("VARCHAR(35)", false, "event_id"));
	CHECK(!fits("VARCHAR(36)", false, "trace_id"));
	CHECK(fits("VARCHAR(36)", true, "trace_id"));
	CHECK(fits("VARCHAR(16777216)", false, "model"));
	CHECK(fits("VARCHAR(134217728)", true, "model"));
	CHECK(!fits("VARCHAR(100)", true, "model"));
	CHECK(fits("TIMESTAMP_NTZ(6)", false, "timestamp"));
	CHECK(fits("TIMESTAMP_NTZ(9)", false, "timestamp"));
	CHECK(!fits("TIMESTAMP_NTZ(3)", false, "timestamp"));
	CHECK(!fits("TIMESTAMP_LTZ(9)", false, "timestamp"));
	CHECK(fits("NUMBER(19,0)", false, "input_tokens"));
	CHECK(fits("NUMBER(38,0)", false, "input_tokens"));
	CHECK(!fits("NUMBER(18,0)", false, "input_tokens"));
	CHECK(fits("NUMBER(18,8)", true, "cost_usd"));
	CHECK(fits("NUMBER(38,10)", true, "cost_usd"));
	CHECK(!fits("NUMBER(38,6)", true, "cost_usd"));
	CHECK(!fits("NUMBER(17,8)", true, "cost_usd"));
	CHECK(!fits("FLOAT", true, "cost_usd"));
	CHECK(fits("FLOAT", true, "duration_ms"));
	CHECK(fits("VARIANT", true, "metadata"));
	CHECK(!fits("VARCHAR(16777216)", true, "metadata"));
}

static void
test_differences(void)
{
	TlsfColumn	remote[] = {
		{"event_ID", "VARCHAR(40)", false, false},
		{"MODEL", "VARCHAR(10)", false, false},
		{"NOTE", "DATE", true, false},
		{"NEEDED", "DATE", false, false},
		{"FILLED", "DATE", false, true}
	};
	TlsfTable	table = {true, lengthof(remote), remote};
	StringInfoData out;
	StringInfoData fatal;

	unit_test("differences");
	initStringInfo(&out);
	initStringInfo(&fatal);
	tlsf_list_differences(&table, 100, 103, &out, &fatal);
	CHECK(strstr(out.data, "\"event_ID\" is VARCHAR(40) NOT NULL") != NULL);
	CHECK(strstr(fatal.data, "event_ID") == NULL);
	CHECK(strstr(fatal.data, "\"MODEL\" is VARCHAR(10)") != NULL);
	CHECK(strstr(out.data, "extra column \"NOTE\"") != NULL);
	CHECK(strstr(fatal.data, "NOTE") == NULL);
	CHECK(strstr(fatal.data, "\"NEEDED\" is NOT NULL") != NULL);
	CHECK(strstr(fatal.data, "FILLED") == NULL);
	CHECK(strstr(fatal.data, "column \"timestamp\" is missing") != NULL);
	CHECK(strstr(fatal.data, "cached_tokens") == NULL);
	tlsf_list_differences(&table, 0, 103, &out, &fatal);
	CHECK(strstr(fatal.data, "cached_tokens") != NULL);
}

int
main(void)
{
	test_accounts();
	test_tables();
	test_quotes();
	test_columns();
	test_differences();
	return unit_done();
}
