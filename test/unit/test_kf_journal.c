/* sources: backends/kafka/journal.c
 *-------------------------------------------------------------------------
 *
 * test_kf_journal.c
 *	  Which events a lane of backend kafka knows to be in the topic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/kafka/tlkf.h"
#include "unit.h"

#define MOST	64

static char saved[4096];
static Size saved_len;
static bool landed[MOST];
static bool lane_lost;

static const void *
fake_state(TlSession *session, Size *len, bool *suspect)
{
	*len = saved_len;
	*suspect = false;
	return saved_len > 0 ? saved : NULL;
}

static bool
fake_save(TlSession *session, const void *data, Size len)
{
	if (lane_lost)
		return false;
	memcpy(saved, data, len);
	saved_len = len;
	return true;
}

static void
fake_mark(TlBatch *batch, int32 row)
{
	landed[row] = true;
}

static const TlCore core = {
	.state = fake_state,.save_state = fake_save,.mark_landed = fake_mark
};
const TlCore *tlkf_core = &core;

static TlSession session;
static TlkfState state;

/* Another process: only what is saved is left. */
static void
take_over(void)
{
	memset(&state, 0, sizeof(state));
	state.session = &session;
}

/* Events first, first + 1, ... under a token. */
static TlBatch *
batch_of(int first, int n, uint8 token)
{
	TlBatch    *batch = palloc0(sizeof(TlBatch));
	pg_uuid_t  *ids = palloc0(sizeof(pg_uuid_t) * n);

	for (int i = 0; i < n; i++)
		ids[i].data[0] = (uint8) (first + i);
	batch->nrows = n;
	batch->event_ids = ids;
	batch->token.data[0] = token;
	return batch;
}

/* As text: which of these events are there, when the group has this token. */
static const char *
resolved(int first, int n, uint8 token, uint8 last)
{
	pg_uuid_t	group = {{last}};
	char	   *text = palloc0(n + 1);

	memset(landed, 0, sizeof(landed));
	tlkf_journal_resolve(&state, batch_of(first, n, token), &group);
	for (int i = 0; i < n; i++)
		text[i] = landed[i] ? '1' : '0';
	return text;
}

static void
commit_batch(int first, int n, uint8 token)
{
	CHECK(tlkf_journal_begin(&state, batch_of(first, n, token)));
	tlkf_journal_end(&state, true);
}

static void
start(void)
{
	saved_len = 0;
	lane_lost = false;
	take_over();
}

static void
test_one_batch(void)
{
	unit_test("nothing is saved");
	start();
	CHECK_STR(resolved(1, 3, 1, 0), "000");

	unit_test("killed before the commit");
	CHECK(tlkf_journal_begin(&state, batch_of(1, 3, 1)));
	take_over();
	CHECK_STR(resolved(1, 3, 1, 0), "000");

	unit_test("killed after the commit");
	CHECK(tlkf_journal_begin(&state, batch_of(1, 3, 2)));
	take_over();
	CHECK_STR(resolved(1, 3, 2, 2), "111");

	unit_test("killed after the commit, and cut in another way since");
	start();
	CHECK(tlkf_journal_begin(&state, batch_of(1, 3, 1)));
	take_over();
	CHECK_STR(resolved(2, 4, 9, 1), "1100");
}

static void
test_halves(void)
{
	unit_test("one half is through, the other is in doubt");
	start();
	commit_batch(1, 8, 1);
	tlkf_journal_end(&state, false);	/* the next part is refused */
	commit_batch(11, 4, 2);
	CHECK(tlkf_journal_begin(&state, batch_of(15, 4, 3)));
	take_over();
	CHECK_STR(resolved(11, 8, 9, 2), "11110000");

	unit_test("both are through");
	CHECK(tlkf_journal_begin(&state, batch_of(15, 4, 4)));
	take_over();
	CHECK_STR(resolved(11, 8, 9, 4), "11111111");

	unit_test("what a resolve has found is kept over the next take-over");
	CHECK(tlkf_journal_begin(&state, batch_of(30, 2, 5)));
	take_over();
	CHECK_STR(resolved(11, 8, 9, 4), "11111111");
}

static void
test_size(void)
{
	Size		one;

	unit_test("without trouble, what was settled is forgotten");
	start();
	commit_batch(1, 8, 1);
	one = saved_len;
	for (uint8 i = 2; i < 20; i++)
		commit_batch(8 * i, 8, i);
	CHECK_INT(saved_len, one);

	unit_test("with trouble it is no more than a part");
	for (uint8 i = 20; i < 40; i++)
	{
		tlkf_journal_end(&state, false);
		commit_batch(4 * i, 4, i);
	}
	CHECK(saved_len <= one + 16 * 4);
}

static void
test_bad_states(void)
{
	unit_test("a lane that is lost commits nothing");
	start();
	lane_lost = true;
	CHECK(!tlkf_journal_begin(&state, batch_of(1, 3, 1)));

	unit_test("a state of something else");
	start();
	memset(saved, 0x7f, sizeof(saved));
	saved_len = 100;
	CHECK_STR(resolved(1, 3, 1, 9), "000");
	saved_len = 3;
	take_over();
	CHECK_STR(resolved(1, 3, 1, 9), "000");
}

int
main(void)
{
	test_one_batch();
	test_halves();
	test_size();
	test_bad_states();
	return unit_done();
}
