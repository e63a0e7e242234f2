/* sources: backends/clickhouse/errors.c backends/clickhouse/summary.c
 * sources: backends/clickhouse/ttl.c backends/clickhouse/columns.c
 * sources: backends/common/tl_columns.c
 * libs: -ljson-c
 *-------------------------------------------------------------------------
 *
 * fuzz_ch_answer.c
 *	  What a ClickHouse server, or whoever answers for one, says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/clickhouse/tlch.h"
#include "fuzz.h"

const bool	fuzz_may_throw = false;

static void
parse(int status, const char *header, const char *text, size_t len)
{
	TlchError	error;

	memset(&error, 0x7f, sizeof(error));
	tlch_parse_error(status, header, text, len, &error);
	FUZZ_CHECK(memchr(error.name, '\0', sizeof(error.name)) != NULL);
	FUZZ_CHECK(memchr(error.message, '\0', sizeof(error.message)) != NULL);
	FUZZ_CHECK(error.outcome != TL_OK);
	FUZZ_CHECK(error.row >= 0);
}

void
fuzz_one(const char *text, size_t len)
{
	parse(500, NULL, text, len);
	parse(200, text, "Code: 1. DB::Exception: x", 25);
	parse(503, "252", text, len);
	(void) tlch_written_rows(text);
	FUZZ_CHECK(tlch_kept_seconds(text) >= -1);
	for (const TlchExpected *e = tlch_expected; e->name != NULL; e++)
		(void) tlch_type_fits(text, e);
}
