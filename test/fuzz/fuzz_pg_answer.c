/* sources: backends/postgres/sqlstate.c backends/postgres/names.c
 * libs: -lpq
 *-------------------------------------------------------------------------
 *
 * fuzz_pg_answer.c
 *	  What a PostgreSQL server says, and the names of tables and hosts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/postgres/tlpg.h"
#include "fuzz.h"

const bool	fuzz_may_throw = false;

void
fuzz_one(const char *text, size_t len)
{
	char		sqlstate[6] = "";
	char		message[64] = "";
	char	   *copy = pstrdup(text);
	TlpgTableName table;
	TlpgHost   *hosts;

	(void) tlpg_classify(text);
	FUZZ_CHECK(tlpg_copy_line(text, "token_ledger_events") >= 0);
	(void) tlpg_parse_connect_error(text, sqlstate, message, sizeof(message));
	FUZZ_CHECK(memchr(message, '\0', sizeof(message)) != NULL);
	FUZZ_CHECK(memchr(sqlstate, '\0', sizeof(sqlstate)) != NULL);
	tlpg_clean(copy);
	FUZZ_CHECK(strlen(copy) <= len);
	if (tlpg_parse_table(text, &table) == NULL)
		(void) tlpg_expand("{table} {name:*_x} {schema}", &table);
	if (tlpg_parse_table("s.t", &table) == NULL)
		(void) tlpg_expand(text, &table);
	(void) tlpg_parse_hosts(text, "5432", &hosts);
}
