/* sources: src/decimal.c
 *-------------------------------------------------------------------------
 *
 * fuzz_decimal.c
 *	  The bytes of a numeric, of which the server writes four at least.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_convert.h"
#include "fuzz.h"

const bool	fuzz_may_throw = false;

void
fuzz_one(const char *text, size_t len)
{
	int64		value = 0;

	if (len >= 4 && decimal_decode(text, len, &value) == DECIMAL_OK)
		FUZZ_CHECK(value != PG_INT64_MIN);
}
