/*-------------------------------------------------------------------------
 *
 * decimal.c
 *	  A numeric becomes an int64: its value times 10^8.
 *
 * This reads the stored form of numeric, which PostgreSQL keeps private to
 * numeric.c.  The ways through its functions (numeric_send, or numeric_mul
 * and numeric_int8) cost several allocations for each event.  The form cannot
 * change under us without a change that pg_upgrade would have to survive: the
 * short form dates from 9.1, infinity (in bits that were reserved) from 14.
 *
 *	int16 header	11ss............  special: NaN 1100, inf 1101, -inf 1111
 *					10sddddddwwwwwww  short: sign, display scale, weight (a
 *									  signed number of 7 bits)
 *					0sdddddddddddddd  long: sign, display scale; an int16
 *									  weight follows
 *	int16 digits[]	base 10000; the first is times 10000 ^ weight
 *
 * The display scale says nothing about the value.  Words are in the byte
 * order of the machine and may be unaligned.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_convert.h"
#include "common/int.h"

#define HEADER_FORM			0xC000
#define HEADER_SHORT		0x8000	/* as HEADER_FORM */
#define HEADER_SPECIAL		0xC000	/* as HEADER_FORM */
#define HEADER_NAN			0xC000	/* the whole word */
#define LONG_NEGATIVE		0x4000
#define SHORT_NEGATIVE		0x2000
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT		0x003F

#define DIGIT_BASE			10000
#define LAST_PLACE			(-2)	/* 10000 ^ -2 is 10 ^ -8 */

typedef struct Digits
{
	bool		negative;
	int			weight;			/* place of the first digit */
	int			count;
	const char *data;
} Digits;

static bool read_header(const char *data, int len, Digits *digits);
static bool sum_digits(const Digits *digits, int64 *value);

static inline uint16
read_word(const char *data)
{
	uint16		word;

	memcpy(&word, data, sizeof(word));
	return word;
}

DecimalResult
decimal_decode(const char *data, int len, int64 *value)
{
	Digits		digits;
	int64		sum;

	if (!read_header(data, len, &digits))
		return read_word(data) == HEADER_NAN ? DECIMAL_NAN : DECIMAL_UNFIT;
	if (!sum_digits(&digits, &sum))
		return DECIMAL_UNFIT;
	*value = digits.negative ? -sum : sum;
	return DECIMAL_OK;
}

/* false: not a finite number. */
static bool
read_header(const char *data, int len, Digits *digits)
{
	uint16		header = read_word(data);
	int			size = sizeof(uint16);

	if ((header & HEADER_FORM) == HEADER_SPECIAL)
		return false;
	if ((header & HEADER_FORM) == HEADER_SHORT)
	{
		digits->negative = (header & SHORT_NEGATIVE) != 0;
		digits->weight = header & SHORT_WEIGHT;
		if (header & SHORT_WEIGHT_SIGN)
			digits->weight -= SHORT_WEIGHT_SIGN;
	}
	else
	{
		digits->negative = (header & LONG_NEGATIVE) != 0;
		digits->weight = (int16) read_word(data + size);
		size += sizeof(uint16);
	}
	digits->count = (len - size) / (int) sizeof(uint16);
	digits->data = data + size;
	return true;
}

/*
 * Adds up the digits, places that are not stored included.  false: more than
 * an int64, or digits below the last place.  The sum is positive, so that
 * INT64_MIN, which stands for NaN, cannot come out.
 */
static bool
sum_digits(const Digits *digits, int64 *value)
{
	int			next = 0;
	int64		sum = 0;

	for (int place = digits->weight;
		 place >= LAST_PLACE && (sum != 0 || next < digits->count); place--)
	{
		int64		digit = 0;

		if (next < digits->count)
			digit = read_word(digits->data + 2 * next++);
		if (pg_mul_s64_overflow(sum, DIGIT_BASE, &sum) ||
			pg_add_s64_overflow(sum, digit, &sum))
			return false;
	}
	for (; next < digits->count; next++)
		if (read_word(digits->data + 2 * next) != 0)
			return false;
	*value = sum;
	return true;
}
