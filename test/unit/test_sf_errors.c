/* sources: backends/snowflake/errors.c
 *-------------------------------------------------------------------------
 *
 * test_sf_errors.c
 *	  What each refusal of Snowflake means.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/snowflake/tlsf.h"
#include "unit.h"

/* Of a statement that failed: nothing has been done. */
static void
test_codes(void)
{
	static const struct
	{
		const char *code;
		const char *sqlstate;
		TlOutcome	outcome;
		TlCause		cause;
		bool		missing;
	}			rows[] = {
		{"000603", "XX000", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{"000604", "57014", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{"000606", "57P03", TL_RETRY, TL_CAUSE_CONFIG, false},
		{"000625", "57014", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{"000630", "57014", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{"000904", "42000", TL_RETRY, TL_CAUSE_SCHEMA, false},
		{"001003", "42000", TL_RETRY, TL_CAUSE_CONFIG, false},
		{"001757", "42601", TL_RETRY, TL_CAUSE_SCHEMA, true},
		{"002003", "02000", TL_RETRY, TL_CAUSE_SCHEMA, true},
		{"002043", "02000", TL_RETRY, TL_CAUSE_SCHEMA, true},
		{"003001", "42501", TL_RETRY, TL_CAUSE_AUTH, false},
		{"090073", "22000", TL_RETRY, TL_CAUSE_QUOTA, false},
		{"090105", "22000", TL_RETRY, TL_CAUSE_CONFIG, false},
		{"100035", "22007", TL_REFUSED, TL_CAUSE_DATA, false},
		{"100038", "22018", TL_REFUSED, TL_CAUSE_DATA, false},
		{"100069", "22P02", TL_REFUSED, TL_CAUSE_DATA, false},
		{"100072", "22000", TL_REFUSED, TL_CAUSE_DATA, false},
		{"100078", "22000", TL_REFUSED, TL_CAUSE_DATA, false},
		{"390189", "08001", TL_RETRY, TL_CAUSE_AUTH, false},
		{"390505", NULL, TL_RETRY, TL_CAUSE_OVERLOAD, false},
		/* Not listed: the class of the SQLSTATE says it. */
		{"299999", "22023", TL_REFUSED, TL_CAUSE_DATA, false},
		{"299999", "23001", TL_REFUSED, TL_CAUSE_DATA, false},
		{"299999", "42710", TL_RETRY, TL_CAUSE_SCHEMA, false},
		{"299999", "57P01", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{"299999", "0A000", TL_RETRY, TL_CAUSE_CONFIG, false},
		{"299999", NULL, TL_RETRY, TL_CAUSE_CONFIG, false}
	};
	TlsfError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("statement failed: code %s, sqlState %s",
						   rows[i].code,
						   rows[i].sqlstate ? rows[i].sqlstate : "none"));
		tlsf_classify(422, rows[i].code, rows[i].sqlstate, "words", &e);
		CHECK_INT(e.status, 422);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
		CHECK_INT(e.missing, rows[i].missing);
		CHECK(!e.unauthenticated);
		CHECK_STR(e.code, rows[i].code);
	}
}

/* Statuses, each with words of Snowflake's and with those of a proxy. */
static void
test_statuses(void)
{
	static const struct
	{
		int			status;
		TlOutcome	outcome;
		TlCause		cause;
		bool		unauthenticated;
	}			rows[] = {
		{301, TL_RETRY, TL_CAUSE_CONFIG, false},
		{400, TL_RETRY, TL_CAUSE_CONFIG, false},
		{401, TL_RETRY, TL_CAUSE_AUTH, true},
		{403, TL_RETRY, TL_CAUSE_AUTH, false},
		{404, TL_RETRY, TL_CAUSE_CONFIG, false},
		{405, TL_RETRY, TL_CAUSE_CONFIG, false},
		{407, TL_RETRY, TL_CAUSE_CONFIG, false},
		{411, TL_RETRY, TL_CAUSE_CONFIG, false},
		{413, TL_SPLIT, TL_CAUSE_OVERLOAD, false},
		{415, TL_RETRY, TL_CAUSE_CONFIG, false},
		{429, TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{500, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{502, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{503, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{504, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{522, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{299, TL_UNKNOWN, TL_CAUSE_NETWORK, false}
	};
	TlsfError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("HTTP %d", rows[i].status));
		for (int words = 0; words < 2; words++)
		{
			tlsf_classify(rows[i].status, words ? "390999" : NULL, NULL,
						  words ? "words" : NULL, &e);
			CHECK_INT(e.outcome, rows[i].outcome);
			CHECK_INT(e.cause, rows[i].cause);
			CHECK_INT(e.unauthenticated, rows[i].unauthenticated);
			CHECK(e.message[0] != '\0');
			if (words)
				CHECK_STR(e.message, "words");
		}
	}

	unit_test("HTTP 408 and 422 are certain only from Snowflake itself");
	tlsf_classify(408, "000630", "57014", "gave up", &e);
	CHECK_INT(e.outcome, TL_RETRY);
	tlsf_classify(408, NULL, NULL, NULL, &e);
	CHECK_INT(e.outcome, TL_UNKNOWN);
	tlsf_classify(422, NULL, NULL, NULL, &e);
	CHECK_INT(e.outcome, TL_UNKNOWN);
}

static void
test_words(void)
{
	TlsfError	e;
	char	   *huge = palloc0(10001);

	unit_test("words about data are not passed on, others are one line");
	tlsf_classify(422, "100038", "22018",
				  "Numeric value 'my secret' is not recognized", &e);
	CHECK(strstr(e.message, "secret") == NULL);
	CHECK(strstr(e.message, "100038") != NULL);
	tlsf_classify(422, "002003", "02000",
				  "SQL compilation error:\nTable 'T' does not exist", &e);
	CHECK_STR(e.message, "SQL compilation error: Table 'T' does not exist");
	memset(huge, 'x', 10000);
	tlsf_classify(422, "002003", "02000", huge, &e);
	CHECK_INT(strlen(e.message), 399);
	tlsf_classify(422, huge, NULL, "words", &e);
	CHECK(strlen(e.code) < sizeof(e.code));
	tlsf_classify(422, "002003", NULL, NULL, &e);
	CHECK_STR(e.message, "HTTP status 422, error 002003");
}

/* Of Snowpipe Streaming: what is cured by opening the channel anew? */
static void
test_streaming(void)
{
	static const struct
	{
		int			status;
		const char *code;
		TlOutcome	outcome;
		TlCause		cause;
		bool		reopen;
	}			rows[] = {
		{400, "STALE_CONTINUATION_TOKEN_SEQUENCER",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{400, "STALE_PIPE_CACHE", TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{400, "ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{400, "ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{400, "ERR_CHANNEL_MUST_BE_REOPENED",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{400, "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA",
		TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{409, NULL, TL_RETRY, TL_CAUSE_OVERLOAD, true},
		{404, "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED",
		TL_RETRY, TL_CAUSE_SCHEMA, true},
		{400, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED",
		TL_RETRY, TL_CAUSE_SCHEMA, true},
		{404, NULL, TL_RETRY, TL_CAUSE_SCHEMA, true},
		{400, "ERR_SOMETHING", TL_RETRY, TL_CAUSE_CONFIG, false},
		{401, "390303", TL_RETRY, TL_CAUSE_AUTH, false},
		{403, "390403", TL_RETRY, TL_CAUSE_AUTH, false},
		{408, NULL, TL_UNKNOWN, TL_CAUSE_NETWORK, false},
		{413, "ERR_PAYLOAD_TOO_LARGE", TL_SPLIT, TL_CAUSE_OVERLOAD, false},
		{429, "390505", TL_RETRY, TL_CAUSE_OVERLOAD, false},
		{500, NULL, TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
		{503, "ERR_INTERNAL", TL_UNKNOWN, TL_CAUSE_OVERLOAD, false}
	};
	TlsfError	e;

	for (int i = 0; i < lengthof(rows); i++)
	{
		unit_test(psprintf("streaming: HTTP %d, %s", rows[i].status,
						   rows[i].code ? rows[i].code : "no code"));
		tlsf_classify_streaming(rows[i].status, rows[i].code, "words", &e);
		CHECK_INT(e.outcome, rows[i].outcome);
		CHECK_INT(e.cause, rows[i].cause);
		CHECK_INT(e.reopen, rows[i].reopen);
		CHECK_INT(e.unauthenticated, rows[i].status == 401);
	}
}

int
main(void)
{
	test_codes();
	test_statuses();
	test_words();
	test_streaming();
	return unit_done();
}
