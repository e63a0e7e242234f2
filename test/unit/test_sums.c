/* sources: backends/common/tl_sums.c backends/common/tl_text.c
 *-------------------------------------------------------------------------
 *
 * test_sums.c
 *	  Sums of an audit, from rows of text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/common/tl_sums.h"
#include "unit.h"

#define ID	"00112233-4455-6677-8899-aabbccddeeff"

static TlSum last;
static int	ntaken;

static void
take(void *arg, const TlSum *sum)
{
	last = *sum;
	ntaken++;
}

/* Its cost, times 10^8. */
static int64
cost_of(const char *text)
{
	TlSums		sums = {false, 1, take, NULL, false};
	const char *const row[] = {"", "0", "1", text, text};

	tl_take_sum(&sums, row, lengthof(row));
	return last.cost;
}

static void
test_rows(void)
{
	TlSums		by_hour = {false, 1000000, take, NULL, false};
	TlSums		by_event = {true, 1, take, NULL, false};
	const char *const hour[] = {"", "3600", "2", "7.0", "0.00000012"};
	const char *const event[] = {ID, "-3600000000", "1", NULL, NULL};
	const char *const nameless[] = {"x", "0", "1", "1", "1"};
	const char *const timeless[] = {ID, NULL, "1", "1", "1"};

	unit_test("a row of an hour");
	tl_take_sum(&by_hour, hour, lengthof(hour));
	CHECK_INT(ntaken, 1);
	CHECK(last.event_id == NULL);
	CHECK_INT(last.from, INT64CONST(3600000000));
	CHECK_INT(last.events, 2);
	CHECK_INT(last.tokens, 7);
	CHECK_INT(last.cost, 12);

	unit_test("a row of an event");
	tl_take_sum(&by_event, event, lengthof(event));
	CHECK_INT(ntaken, 2);
	CHECK(last.event_id != NULL);
	CHECK_INT(last.from, INT64CONST(-3600000000));
	CHECK_INT(last.tokens, 0);
	CHECK_INT(last.cost, 0);

	unit_test("rows that are none of ours");
	CHECK(!by_event.broken);
	tl_take_sum(&by_event, nameless, lengthof(nameless));
	CHECK(by_event.broken);
	by_event.broken = false;
	tl_take_sum(&by_event, timeless, lengthof(timeless));
	CHECK(by_event.broken);
	tl_take_sum(&by_hour, hour, 4);
	CHECK(by_hour.broken);
	CHECK_INT(ntaken, 2);
}

static void
test_decimals(void)
{
	unit_test("decimals");
	CHECK_INT(cost_of("1"), 100000000);
	CHECK_INT(cost_of("-1.5"), -150000000);
	CHECK_INT(cost_of("0.123456789"), 12345678);
	CHECK_INT(cost_of("92233720368.54775807"), PG_INT64_MAX);
	CHECK_INT(cost_of("92233720368.54775808"), PG_INT64_MAX);
	CHECK_INT(cost_of("-99999999999999999999"), -PG_INT64_MAX);
	CHECK_INT(cost_of("x"), 0);
}

int
main(void)
{
	test_rows();
	test_decimals();
	return unit_done();
}
