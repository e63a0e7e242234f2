/* sources: src/decimal.c
 *-------------------------------------------------------------------------
 *
 * test_decimal.c
 *	  The stored form of numeric, read by decimal.c.
 *
 * The bytes below are what PostgreSQL stores (words here, so that the test
 * holds in either byte order).  That a release still stores them so is for a
 * test against a server to say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_convert.h"
#include "unit.h"

#define SHORT_WORD(negative, scale, weight) \
	(0x8000 | ((negative) ? 0x2000 : 0) | ((scale) << 7) | ((weight) & 0x7F))
#define LONG_WORD(negative, scale) \
	(((negative) ? 0x4000 : 0) | (scale))
#define WORDS(...) \
	(const uint16[]) {__VA_ARGS__}, \
	sizeof((const uint16[]) {__VA_ARGS__})

#define ONE INT64CONST(100000000)

typedef struct Sample
{
	const char *what;
	DecimalResult result;
	int64		value;
	const uint16 *words;
	int			len;
} Sample;

static const Sample samples[] = {
	{"0", DECIMAL_OK, 0, WORDS(SHORT_WORD(0, 0, 0))},
	{"0.00000000", DECIMAL_OK, 0, WORDS(SHORT_WORD(0, 8, 0))},
	{"1", DECIMAL_OK, ONE, WORDS(SHORT_WORD(0, 0, 0), 1)},
	{"-1", DECIMAL_OK, -ONE, WORDS(SHORT_WORD(1, 0, 0), 1)},
	{"10000, a place not stored", DECIMAL_OK, 10000 * ONE,
	WORDS(SHORT_WORD(0, 0, 1), 1)},
	{"1.5", DECIMAL_OK, 150000000, WORDS(SHORT_WORD(0, 8, 0), 1, 5000)},
	{"0.0001", DECIMAL_OK, 10000, WORDS(SHORT_WORD(0, 8, -1), 1)},
	{"0.00000001", DECIMAL_OK, 1, WORDS(SHORT_WORD(0, 8, -2), 1)},
	{"-0.00000001", DECIMAL_OK, -1, WORDS(SHORT_WORD(1, 8, -2), 1)},
	{"1.00000001", DECIMAL_OK, ONE + 1,
	WORDS(SHORT_WORD(0, 8, 0), 1, 0, 1)},
	{"9999999999.99999999", DECIMAL_OK, INT64CONST(999999999999999999),
	WORDS(SHORT_WORD(0, 8, 2), 99, 9999, 9999, 9999, 9999)},
	{"the largest", DECIMAL_OK, PG_INT64_MAX,
	WORDS(SHORT_WORD(0, 8, 2), 922, 3372, 368, 5477, 5807)},
	{"the smallest", DECIMAL_OK, -PG_INT64_MAX,
	WORDS(SHORT_WORD(1, 8, 2), 922, 3372, 368, 5477, 5807)},
	{"the sentinel", DECIMAL_UNFIT, 0,
	WORDS(SHORT_WORD(1, 8, 2), 922, 3372, 368, 5477, 5808)},
	{"too large in the sum", DECIMAL_UNFIT, 0,
	WORDS(SHORT_WORD(0, 8, 2), 922, 3372, 368, 5477, 5808)},
	{"too large in a product", DECIMAL_UNFIT, 0,
	WORDS(SHORT_WORD(0, 0, 3), 1)},
	{"much too large", DECIMAL_UNFIT, 0,
	WORDS(LONG_WORD(0, 0), 32767, 1)},
	{"ninth decimal", DECIMAL_UNFIT, 0,
	WORDS(SHORT_WORD(0, 9, -3), 1000)},
	{"ninth decimal behind others", DECIMAL_UNFIT, 0,
	WORDS(SHORT_WORD(0, 9, 0), 1, 0, 0, 1000)},
	{"zeros behind the eighth decimal", DECIMAL_OK, ONE,
	WORDS(SHORT_WORD(0, 12, 0), 1, 0, 0, 0)},
	{"long form", DECIMAL_OK, 150000000,
	WORDS(LONG_WORD(0, 64), 0, 1, 5000)},
	{"long form, negative", DECIMAL_OK, -150000000,
	WORDS(LONG_WORD(1, 64), 0, 1, 5000)},
	{"long form, weight -1", DECIMAL_OK, -10000,
	WORDS(LONG_WORD(1, 64), 0xFFFF, 1)},
	{"long form, weight -5000", DECIMAL_UNFIT, 0,
	WORDS(LONG_WORD(0, 16383), (uint16) -5000, 1)},
	{"NaN", DECIMAL_NAN, 0, WORDS(0xC000)},
	{"infinity", DECIMAL_UNFIT, 0, WORDS(0xD000)},
	{"-infinity", DECIMAL_UNFIT, 0, WORDS(0xF000)}
};

/* At an odd address, as behind a short varlena header. */
static void
check_sample(const Sample *sample)
{
	char	   *copy = palloc(sample->len + 1);
	int64		value = 0;

	unit_test(sample->what);
	memcpy(copy + 1, sample->words, sample->len);
	CHECK_INT(decimal_decode(copy + 1, sample->len, &value), sample->result);
	if (sample->result == DECIMAL_OK)
		CHECK_INT(value, sample->value);
}

int
main(void)
{
	for (int i = 0; i < lengthof(samples); i++)
		check_sample(&samples[i]);
	return unit_done();
}
