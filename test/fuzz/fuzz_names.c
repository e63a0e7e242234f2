/* sources: backends/clickhouse/names.c backends/clickhouse/columns.c
 * sources: backends/common/tl_text.c backends/common/tl_columns.c
 *-------------------------------------------------------------------------
 *
 * fuzz_names.c
 *	  Names of tables, and statements with names and texts in them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "fuzz.h"

const bool	fuzz_may_throw = false;

/* A quote that nothing escapes ends the literal, and nothing follows it. */
static void
check_quoted(const char *quoted, char quote)
{
	const char *p = quoted + 1;

	FUZZ_CHECK(quoted[0] == quote);
	while (*p != quote)
	{
		if (*p == '\\')
			p++;
		FUZZ_CHECK(*p != '\0');
		p++;
	}
	FUZZ_CHECK(p[1] == '\0');
}

void
fuzz_one(const char *text, size_t len)
{
	TlchTableName table;
	TlchPlacement placement = {.engine = "MergeTree", .json = "String"};
	StringInfoData quoted;

	initStringInfo(&quoted);
	tlch_quote_identifier(&quoted, text);
	check_quoted(quoted.data, '`');
	resetStringInfo(&quoted);
	tlch_quote_literal(&quoted, text);
	check_quoted(quoted.data, '\'');
	(void) tl_host_is_local(text);
	(void) tl_url_is_local(text);
	if (tlch_parse_table(text, "d", &table) == NULL)
		(void) tlch_expand("{table} {name:*_x} {cluster}", &table, &placement);
	if (tlch_parse_table("d.t", "d", &table) == NULL)
		(void) tlch_expand(text, &table, &placement);
}
