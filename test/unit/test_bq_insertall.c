/* test_bq_insertall.c
 * sources: backends/bigquery/insertall.c backends/bigquery/errors.c
 * sources: backends/bigquery/encode.c backends/bigquery/columns.c
 * sources: backends/common/tl_json.c backends/common/tl_text.c
 * sources: backends/common/tl_columns.c backends/common/tl_verdict.c
 * libs: -ljson-c -lm
 *-------------------------------------------------------------------------
 *
 * test_bq_insertall.c
 *	  What an answer to insertAll says of the rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/bigquery/tlbq.h"
#include "unit.h"

#define NROWS	3

static const char *body;		/* of the answer, whose status is 200 */
static int32 refused[NROWS];
static int32 landed;

static void
mark_refused(TlBatch *batch, int32 row, const char *reason)
{
	refused[row]++;
}

static void
mark_landed(TlBatch *batch, int32 row)
{
	landed++;
}

static const TlCore core = {
	.struct_size = sizeof(TlCore),
	.mark_refused = mark_refused,
	.mark_landed = mark_landed
};

const TlCore *tlbq_core = &core;

bool
tlbq_rest(TlbqState *state, const char *method, const char *path,
		  const char *etag, StringInfo request, TlJson **answer,
		  TlbqError *error, bool *sent, TlVerdict *verdict)
{
	*sent = true;
	*answer = tl_json_parse(body, strlen(body));
	return true;
}

bool
tlbq_save_mode(TlbqState *state, const TlBatch *batch, TlVerdict *verdict)
{
	return true;
}

TlOutcome
tlbq_not_stored(const TlBatch *batch, TlOutcome outcome)
{
	return outcome;
}

static TlOutcome
insert(const char *answer, TlVerdict *verdict)
{
	static pg_uuid_t ids[NROWS];
	TlBatch		batch = {.struct_size = sizeof(TlBatch),.nrows = NROWS,
	.event_ids = ids};
	TlbqState	state = {.name.resource = "projects/p/datasets/d/tables/t"};

	body = answer;
	memset(verdict, 0, sizeof(*verdict));
	memset(refused, 0, sizeof(refused));
	landed = 0;
	return tlbq_insert_all(&state, &batch, verdict);
}

#define ROW(index, reason) \
	"{\"index\": " #index ", \"errors\": [{\"reason\": \"" reason "\"}]}"
#define ERRORS(rows)	"{\"insertErrors\": [" rows "]}"

static void
test_certain(void)
{
	TlVerdict	verdict;

	unit_test("all are inserted");
	CHECK_INT(insert("{\"kind\": \"bigquery#tableDataInsertAllResponse\"}",
					 &verdict), TL_OK);
	unit_test("one is to blame, and none is inserted");
	CHECK_INT(insert(ERRORS(ROW(0, "stopped") "," ROW(1, "invalid") ","
							ROW(2, "stopped")), &verdict), TL_REFUSED);
	CHECK_INT(verdict.cause, TL_CAUSE_DATA);
	CHECK_INT(refused[0] + refused[2], 0);
	CHECK_INT(refused[1], 1);
}

/* Nothing is marked: the table has to be asked. */
static void
test_uncertain(void)
{
	static const char *const answers[] = {
		ERRORS(ROW(1, "timeout")),
		ERRORS(ROW(0, "invalid") "," ROW(2, "backendError")),
		ERRORS(ROW(0, "quotaExceeded")),
		ERRORS(ROW(0, "a word of next year")),
		"{\"error\": {\"code\": 503}}",
		"<html>",
		""
	};
	TlVerdict	verdict;

	for (int i = 0; i < lengthof(answers); i++)
	{
		unit_test(answers[i]);
		CHECK_INT(insert(answers[i], &verdict), TL_UNKNOWN);
		CHECK_INT(refused[0] + refused[1] + refused[2] + landed, 0);
		CHECK(verdict.message[0] != '\0');
	}
	unit_test("a store that is busy is no fault of the events");
	(void) insert(answers[0], &verdict);
	CHECK_INT(verdict.cause, TL_CAUSE_OVERLOAD);
}

int
main(void)
{
	test_certain();
	test_uncertain();
	return unit_done();
}
