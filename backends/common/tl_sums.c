/*-------------------------------------------------------------------------
 *
 * tl_sums.c
 *	  Sums of an audit, from rows of text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "tl_sums.h"
#include "tl_text.h"

#define COST_DIGITS			8

static int64 read_decimal(const char *text, int digits);

void
tl_take_sum(void *sums, const char *const *values, int n)
{
	TlSums	   *to = sums;
	TlSum		sum = {0};
	pg_uuid_t	id;

	if (n != 5 || values[1] == NULL || values[2] == NULL ||
		(to->by_event &&
		 (values[0] == NULL || !tl_read_uuid(values[0], &id))))
	{
		to->broken = true;
		return;
	}
	sum.event_id = to->by_event ? &id : NULL;
	sum.from = strtoll(values[1], NULL, 10) * to->hour_unit;
	sum.events = strtoll(values[2], NULL, 10);
	sum.tokens = read_decimal(values[3], 0);
	sum.cost = read_decimal(values[4], COST_DIGITS);
	to->emit(to->arg, &sum);
}

/* The value times 10^digits; NULL is zero, what is too large is clamped. */
static int64
read_decimal(const char *text, int digits)
{
	bool		negative = text != NULL && text[0] == '-';
	bool		fraction = false;
	int64		value = 0;

	if (text == NULL)
		return 0;
	for (text += negative; *text != '\0' && (!fraction || digits > 0); text++)
	{
		if (*text == '.')
		{
			fraction = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			break;
		if (pg_mul_s64_overflow(value, 10, &value) ||
			pg_add_s64_overflow(value, *text - '0', &value))
			return negative ? -PG_INT64_MAX : PG_INT64_MAX;
		digits -= fraction;
	}
	for (; digits > 0; digits--)
		if (pg_mul_s64_overflow(value, 10, &value))
			return negative ? -PG_INT64_MAX : PG_INT64_MAX;
	return negative ? -value : value;
}
