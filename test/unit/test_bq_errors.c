/* sources: backends/bigquery/errors.c backends/bigquery/columns.c
 * sources: backends/common/tl_json.c backends/common/tl_columns.c
 * libs: -ljson-c
 *-------------------------------------------------------------------------
 *
 * test_bq_errors.c
 *	  What each refusal of BigQuery means, row by row of its documentation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/bigquery/tlbq.h"
#include "unit.h"

/* Can it have been carried out?  Whose fault is it?  A new stream? */
static void
test_codes(void)
{
	static const struct
	{
		int			code;
		TlOutcome	outcome;
		TlCause		cause;
		bool		new_stream;
	}			rows[] = {
		{1, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{2, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{3, TL_REFUSED, TL_CAUSE_DATA, false},
		{4, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{5, TL_RETRY, TL_CAUSE_SCHEMA, true},
		{6, TL_UNKNOWN, TL_CAUSE_CONFIG, false},
		{7, TL_RETRY, TL_CAUSE_AUTH, false},
		{8, TL_UNKNOWN, TL_CAUSE_QUOTA, false},
		{9, TL_RETRY, TL_CAUSE_CONFIG, true},
		{10, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{11, TL_RETRY, TL_CAUSE_CONFIG, true},
		{12, TL_RETRY, TL_CAUSE_CONFIG, false},
		{13, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{14, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{15, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{16, TL_RETRY, TL_CAUSE_AUTH, false},
		{17, TL_UNKNOWN, TL_CAUSE_CONFIG, false},
		{-1, TL_UNKNOWN, TL_CAUSE_CONFIG, false}
	};
	TlbqError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("status %d", rows[i].code));
		tlbq_classify_grpc(rows[i].code, 0, "words", &e);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
		CHECK_INT(e.new_stream, rows[i].new_stream);
		CHECK_INT(e.unauthenticated, rows[i].code == 16);
	}
}

/* The service's own code says more than the status that it comes with. */
static void
test_storage_codes(void)
{
	static const struct
	{
		int			storage;
		int			code;
		TlOutcome	outcome;
		TlCause		cause;
		bool		new_stream;
	}			rows[] = {
		{1, 5, TL_RETRY, TL_CAUSE_SCHEMA, true},
		{2, 3, TL_RETRY, TL_CAUSE_CONFIG, true},
		{3, 5, TL_RETRY, TL_CAUSE_CONFIG, true},
		{4, 3, TL_RETRY, TL_CAUSE_CONFIG, true},
		{5, 3, TL_RETRY, TL_CAUSE_CONFIG, true},
		{6, 3, TL_RETRY, TL_CAUSE_CONFIG, true},
		{7, 3, TL_RETRY, TL_CAUSE_SCHEMA, true},
		{8, 6, TL_UNKNOWN, TL_CAUSE_CONFIG, false},
		{9, 11, TL_RETRY, TL_CAUSE_CONFIG, true},
		{10, 9, TL_RETRY, TL_CAUSE_CONFIG, false},
		{11, 3, TL_RETRY, TL_CAUSE_CONFIG, false},
		{12, 9, TL_RETRY, TL_CAUSE_CONFIG, false},
		{13, 13, TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{14, 7, TL_RETRY, TL_CAUSE_AUTH, false}
	};
	TlbqError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("StorageErrorCode %d", rows[i].storage));
		tlbq_classify_grpc(rows[i].code, rows[i].storage, "words", &e);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
		CHECK_INT(e.new_stream, rows[i].new_stream);
	}
	unit_test("a StorageErrorCode that is not listed");
	tlbq_classify_grpc(14, 99, NULL, &e);
	CHECK_INT(e.outcome, TL_UNKNOWN);
	CHECK_STR(e.name, "UNAVAILABLE");
}

static void
test_reasons(void)
{
	static const struct
	{
		const char *reason;
		int			status;
		TlOutcome	outcome;
		TlCause		cause;
	}			rows[] = {
		{"accessDenied", 403, TL_RETRY, TL_CAUSE_AUTH},
		{"authError", 401, TL_RETRY, TL_CAUSE_AUTH},
		{"backendError", 503, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
		{"billingNotEnabled", 403, TL_RETRY, TL_CAUSE_CONFIG},
		{"billingTierLimitExceeded", 400, TL_RETRY, TL_CAUSE_QUOTA},
		{"blocked", 403, TL_RETRY, TL_CAUSE_AUTH},
		{"conditionNotMet", 412, TL_RETRY, TL_CAUSE_SCHEMA},
		{"duplicate", 409, TL_RETRY, TL_CAUSE_SCHEMA},
		{"forbidden", 403, TL_RETRY, TL_CAUSE_AUTH},
		{"insufficientPermissions", 403, TL_RETRY, TL_CAUSE_AUTH},
		{"internalError", 500, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
		{"invalid", 400, TL_REFUSED, TL_CAUSE_DATA},
		{"invalidQuery", 400, TL_RETRY, TL_CAUSE_CONFIG},
		{"invalidUser", 400, TL_RETRY, TL_CAUSE_AUTH},
		{"notFound", 404, TL_RETRY, TL_CAUSE_SCHEMA},
		{"notImplemented", 501, TL_RETRY, TL_CAUSE_CONFIG},
		{"quotaExceeded", 403, TL_RETRY, TL_CAUSE_QUOTA},
		{"rateLimitExceeded", 403, TL_RETRY, TL_CAUSE_OVERLOAD},
		{"required", 400, TL_RETRY, TL_CAUSE_CONFIG},
		{"resourceInUse", 400, TL_RETRY, TL_CAUSE_OVERLOAD},
		{"resourcesExceeded", 400, TL_RETRY, TL_CAUSE_QUOTA},
		{"responseTooLarge", 403, TL_RETRY, TL_CAUSE_CONFIG},
		{"stopped", 200, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
		{"tableUnavailable", 400, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
		{"timeout", 400, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
		{"somethingNew", 503, TL_UNKNOWN, TL_CAUSE_NETWORK},
		{NULL, 403, TL_RETRY, TL_CAUSE_AUTH}
	};
	TlbqError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("reason %s", rows[i].reason ? rows[i].reason :
						   "missing"));
		tlbq_classify_rest(rows[i].status, rows[i].reason, "words", &e);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
		CHECK_INT(e.status, rows[i].status);
		CHECK_INT(e.unauthenticated, rows[i].status == 401);
	}
}

static void
test_statuses(void)
{
	static const struct
	{
		int			status;
		TlOutcome	outcome;
		TlCause		cause;
	}			rows[] = {
		{302, TL_RETRY, TL_CAUSE_CONFIG},
		{400, TL_RETRY, TL_CAUSE_CONFIG},
		{401, TL_RETRY, TL_CAUSE_AUTH},
		{403, TL_RETRY, TL_CAUSE_AUTH},
		{404, TL_RETRY, TL_CAUSE_CONFIG},
		{405, TL_RETRY, TL_CAUSE_CONFIG},
		{407, TL_RETRY, TL_CAUSE_CONFIG},
		{411, TL_RETRY, TL_CAUSE_CONFIG},
		{412, TL_RETRY, TL_CAUSE_SCHEMA},
		{413, TL_SPLIT, TL_CAUSE_OVERLOAD},
		{415, TL_RETRY, TL_CAUSE_CONFIG},
		{429, TL_RETRY, TL_CAUSE_OVERLOAD},
		{500, TL_UNKNOWN, TL_CAUSE_NETWORK},
		{502, TL_UNKNOWN, TL_CAUSE_NETWORK},
		{503, TL_UNKNOWN, TL_CAUSE_NETWORK},
		{504, TL_UNKNOWN, TL_CAUSE_NETWORK}
	};
	TlbqError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("HTTP %d", rows[i].status));
		tlbq_classify_http(rows[i].status, &e);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
	}
}

static void
test_words(void)
{
	TlbqError	e;

	unit_test("words are passed on, but not those about data");
	tlbq_classify_grpc(7, 0, "Access Denied\nsecond line", &e);
	CHECK_STR(e.message, "PERMISSION_DENIED: Access Denied");
	tlbq_classify_grpc(3, 0, "value 'my secret prompt'", &e);
	CHECK(strstr(e.message, "secret") == NULL);
	tlbq_classify_rest(400, "invalid", "value 'my secret prompt'", &e);
	CHECK(strstr(e.message, "secret") == NULL);
	tlbq_classify_grpc(14, 0, psprintf("%0*d", 5000, 7), &e);
	CHECK(strlen(e.message) < sizeof(e.message));

	unit_test("of a row that was refused the column is named");
	CHECK_STR(tlbq_describe_row_error("Field cost_usd: 'my secret'"),
			  "BigQuery cannot take its value of column \"cost_usd\"");
	CHECK_STR(tlbq_describe_row_error("Field metadata_extra: x"),
			  "BigQuery cannot take its value of column \"metadata_extra\"");
	CHECK_STR(tlbq_describe_row_error("something else"),
			  "BigQuery cannot take one of its values");
}

int
main(void)
{
	test_codes();
	test_storage_codes();
	test_reasons();
	test_statuses();
	test_words();
	return unit_done();
}
