/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  What an error of ClickHouse means for a batch.
 *
 * One table from exception code to outcome and cause.  HTTP's status says
 * little: most codes come as 500.  The codes and names are those of
 * src/Common/ErrorCodes.cpp in ClickHouse's source.
 *
 * "early" codes are thrown before anything is written: while the request is
 * judged, or while its one block is read and converted.  After any other code
 * some of the events, or the batch's token, may be there: an INSERT is atomic
 * for each partition only, and its token is logged before its rows appear.
 *
 * Only errors which a single event can provoke blame the events.  What is not
 * listed is the store's fault and not early: a target that waits can be
 * mended, an event set aside in error cannot.
 *
 * The server quotes what it could not read, so of errors about data only
 * their names are passed on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

#define TOO_MANY_PARTS			252
#define MEMORY_LIMIT_EXCEEDED	241
#define VIOLATED_CONSTRAINT		469

static const TlchErrorClass error_classes[] = {
	{6, "CANNOT_PARSE_TEXT", TL_REFUSED, TL_CAUSE_DATA, true},
	{16, "NO_SUCH_COLUMN_IN_TABLE", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{26, "CANNOT_PARSE_QUOTED_STRING", TL_REFUSED, TL_CAUSE_DATA, true},
	{27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", TL_REFUSED, TL_CAUSE_DATA, true},
	{32, "ATTEMPT_TO_READ_AFTER_EOF", TL_RETRY, TL_CAUSE_NETWORK, true},
	{33, "CANNOT_READ_ALL_DATA", TL_RETRY, TL_CAUSE_NETWORK, true},
	{36, "BAD_ARGUMENTS", TL_RETRY, TL_CAUSE_CONFIG, true},
	{38, "CANNOT_PARSE_DATE", TL_REFUSED, TL_CAUSE_DATA, true},
	{41, "CANNOT_PARSE_DATETIME", TL_REFUSED, TL_CAUSE_DATA, true},
	{43, "ILLEGAL_TYPE_OF_ARGUMENT", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{44, "ILLEGAL_COLUMN", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{47, "UNKNOWN_IDENTIFIER", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{48, "NOT_IMPLEMENTED", TL_RETRY, TL_CAUSE_CONFIG, true},
	{53, "TYPE_MISMATCH", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{60, "UNKNOWN_TABLE", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{62, "SYNTAX_ERROR", TL_RETRY, TL_CAUSE_CONFIG, true},
	{69, "ARGUMENT_OUT_OF_BOUND", TL_REFUSED, TL_CAUSE_DATA, true},
	{70, "CANNOT_CONVERT_TYPE", TL_REFUSED, TL_CAUSE_DATA, true},
	{72, "CANNOT_PARSE_NUMBER", TL_REFUSED, TL_CAUSE_DATA, true},
	{73, "UNKNOWN_FORMAT", TL_RETRY, TL_CAUSE_CONFIG, true},
	{81, "UNKNOWN_DATABASE", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{107, "FILE_DOESNT_EXIST", TL_RETRY, TL_CAUSE_CONFIG, false},
	{115, "UNKNOWN_SETTING", TL_RETRY, TL_CAUSE_CONFIG, true},
	{117, "INCORRECT_DATA", TL_REFUSED, TL_CAUSE_DATA, true},
	{131, "TOO_LARGE_STRING_SIZE", TL_REFUSED, TL_CAUSE_DATA, true},
	{159, "TIMEOUT_EXCEEDED", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{164, "READONLY", TL_RETRY, TL_CAUSE_AUTH, true},
	{192, "UNKNOWN_USER", TL_RETRY, TL_CAUSE_AUTH, true},
	{193, "WRONG_PASSWORD", TL_RETRY, TL_CAUSE_AUTH, true},
	{194, "REQUIRED_PASSWORD", TL_RETRY, TL_CAUSE_AUTH, true},
	{202, "TOO_MANY_SIMULTANEOUS_QUERIES", TL_RETRY, TL_CAUSE_OVERLOAD, true},
	{203, "NO_FREE_CONNECTION", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{209, "SOCKET_TIMEOUT", TL_RETRY, TL_CAUSE_NETWORK, false},
	{210, "NETWORK_ERROR", TL_RETRY, TL_CAUSE_NETWORK, false},
	{216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{225, "NO_ZOOKEEPER", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{236, "ABORTED", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{241, "MEMORY_LIMIT_EXCEEDED", TL_SPLIT, TL_CAUSE_OVERLOAD, false},
	{242, "TABLE_IS_READ_ONLY", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{243, "NOT_ENOUGH_SPACE", TL_RETRY, TL_CAUSE_QUOTA, false},
	{252, "TOO_MANY_PARTS", TL_RETRY, TL_CAUSE_OVERLOAD, true},
	{254, "NO_ACTIVE_REPLICAS", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{265, "NO_AVAILABLE_REPLICA", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{279, "ALL_CONNECTION_TRIES_FAILED", TL_RETRY, TL_CAUSE_NETWORK, false},
	{285, "TOO_FEW_LIVE_REPLICAS", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{319, "UNKNOWN_STATUS_OF_INSERT", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", TL_REFUSED, TL_CAUSE_DATA, true},
	{349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", TL_REFUSED, TL_CAUSE_DATA, true},
	{381, "HTTP_LENGTH_REQUIRED", TL_RETRY, TL_CAUSE_CONFIG, true},
	{386, "NO_COMMON_TYPE", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{394, "QUERY_WAS_CANCELLED", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", TL_RETRY, TL_CAUSE_CONFIG, false},
	{407, "DECIMAL_OVERFLOW", TL_REFUSED, TL_CAUSE_DATA, true},
	{425, "SYSTEM_ERROR", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{439, "CANNOT_SCHEDULE_TASK", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{452, "SETTING_CONSTRAINT_VIOLATION", TL_RETRY, TL_CAUSE_CONFIG, true},
	{469, "VIOLATED_CONSTRAINT", TL_REFUSED, TL_CAUSE_DATA, true},
	{473, "DEADLOCK_AVOIDED", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{497, "ACCESS_DENIED", TL_RETRY, TL_CAUSE_AUTH, true},
	{516, "AUTHENTICATION_FAILED", TL_RETRY, TL_CAUSE_AUTH, true},
	{519, "NO_REMOTE_SHARD_AVAILABLE", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{561, "ZSTD_DECODER_FAILED", TL_RETRY, TL_CAUSE_NETWORK, true},
	{574, "DISTRIBUTED_TOO_MANY_PENDING_BYTES", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{618, "LZ4_DECODER_FAILED", TL_RETRY, TL_CAUSE_NETWORK, true},
	{691, "UNKNOWN_ELEMENT_OF_ENUM", TL_REFUSED, TL_CAUSE_DATA, true},
	{722, "ASYNC_LOAD_WAIT_FAILED", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{745, "SERVER_OVERLOADED", TL_RETRY, TL_CAUSE_OVERLOAD, true},
	{999, "KEEPER_EXCEPTION", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{0, "UNKNOWN", TL_RETRY, TL_CAUSE_CONFIG, false}
};

typedef struct StatusClass		/* of an answer that is not ClickHouse's */
{
	int			status;
	TlOutcome	outcome;
	TlCause		cause;
	bool		early;
} StatusClass;

static const StatusClass status_classes[] = {
	{400, TL_RETRY, TL_CAUSE_CONFIG, false},
	{401, TL_RETRY, TL_CAUSE_AUTH, true},
	{403, TL_RETRY, TL_CAUSE_AUTH, true},
	{404, TL_RETRY, TL_CAUSE_CONFIG, true},
	{405, TL_RETRY, TL_CAUSE_CONFIG, true},
	{407, TL_RETRY, TL_CAUSE_CONFIG, true},
	{411, TL_RETRY, TL_CAUSE_CONFIG, true},
	{413, TL_SPLIT, TL_CAUSE_OVERLOAD, true},
	{429, TL_RETRY, TL_CAUSE_OVERLOAD, true},
	{0, TL_RETRY, TL_CAUSE_NETWORK, false}
};

static int	find_code(const char *code_header, const char *text);
static void classify_status(int status, const char *text, TlchError *error);
static void adjust(TlchError *error, const char *text);
static void write_message(TlchError *error, const char *text);
static void copy_words(char *to, Size size, const char *from);
static int64 find_row(const char *text);

/* Never NULL; a code that is not listed gets the last entry. */
const TlchErrorClass *
tlch_classify(int code)
{
	const TlchErrorClass *class = error_classes;

	while (class->code != code && class->code != 0)
		class++;
	return class;
}

/*
 * Reads the answer to an INSERT that failed.  code_header is the value of
 * X-ClickHouse-Exception-Code, or NULL; body may be anything, of any length.
 */
void
tlch_parse_error(int status, const char *code_header, const char *body,
				 Size len, TlchError *error)
{
	char		text[2048];
	const TlchErrorClass *class;

	memset(error, 0, sizeof(*error));
	len = Min(len, sizeof(text) - 1);
	if (len > 0)
		memcpy(text, body, len);
	text[len] = '\0';
	error->code = find_code(code_header, text);
	if (error->code == 0)
	{
		classify_status(status, text, error);
		return;
	}
	class = tlch_classify(error->code);
	error->outcome = class->outcome;
	error->cause = class->cause;
	error->early = class->early;
	strlcpy(error->name, class->name, sizeof(error->name));
	error->row = find_row(text);
	adjust(error, text);
	write_message(error, text);
}

/* Servers before 20.x send no header: "Code: 60. DB::Exception: ...". */
static int
find_code(const char *code_header, const char *text)
{
	const char *p = strstr(text, "Code: ");
	long		code = code_header ? strtol(code_header, NULL, 10) : 0;

	if (code <= 0 && p != NULL && strstr(p, "DB::") != NULL)
		code = strtol(p + 6, NULL, 10);
	return (int) Min(Max(code, 0), PG_INT32_MAX);
}

/* A proxy's words are not passed on: they may be a whole page. */
static void
classify_status(int status, const char *text, TlchError *error)
{
	const StatusClass *class = status_classes;

	while (class->status != status && class->status != 0)
		class++;
	error->outcome = class->outcome;
	error->cause = class->cause;
	error->early = class->early;
	snprintf(error->name, sizeof(error->name), "HTTP %d", status);
	if (status >= 300 && status < 400)
	{
		error->cause = TL_CAUSE_CONFIG;
		error->early = true;
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d: redirects are not followed; the target's URL has to name the server itself",
				 status);
	}
	else if (strstr(text, "is for clickhouse-client program") != NULL)
	{
		error->early = true;
		snprintf(error->message, sizeof(error->message),
				 "this is ClickHouse's native port; use the HTTP port, 8123 or, with TLS, 8443");
	}
	else if (status == 200)
		snprintf(error->message, sizeof(error->message),
				 "the answer is not one of a ClickHouse server's");
	else
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d, not from ClickHouse itself", status);
}

/*
 * What a view says comes after the rows of the table, also if the view is
 * newer than our look at the table.
 *
 * Two codes mean two things each.  Waiting helps against too many parts, and
 * against a server whose memory is used up by others; it never helps when one
 * INSERT has too many partitions or too many bytes.
 */
static void
adjust(TlchError *error, const char *text)
{
	if (strstr(text, "while pushing to view") != NULL)
		error->early = false;
	if (error->code == TOO_MANY_PARTS && strstr(text, "partitions for single"))
	{
		error->outcome = TL_SPLIT;
		error->cause = TL_CAUSE_CONFIG;
	}
	if (error->code == MEMORY_LIMIT_EXCEEDED && strstr(text, "(total)"))
		error->outcome = TL_RETRY;
}

/* Without the frame that the server puts around its message. */
static void
write_message(TlchError *error, const char *text)
{
	const char *p = strstr(text, "DB::Exception: ");
	char	   *end;

	if (error->cause == TL_CAUSE_DATA)
	{
		snprintf(error->message, sizeof(error->message),
				 "%s (its words are not shown: they may quote an event)",
				 error->name);
		return;
	}
	copy_words(error->message, sizeof(error->message), p ? p + 15 : text);
	end = strstr(error->message, " (version ");
	if (end != NULL)
		*end = '\0';
	if (error->message[0] == '\0')
		snprintf(error->message, sizeof(error->message), "%s", error->name);
}

/* One line. */
static void
copy_words(char *to, Size size, const char *from)
{
	Size		len = strcspn(from, "\r\n");

	len = Min(len, size - 1);
	memcpy(to, from, len);
	to[len] = '\0';
}

/* "... violated at row 17. ...", "(at row 17)": counted from 1; 0: none. */
static int64
find_row(const char *text)
{
	const char *p = strstr(text, "at row ");

	return p ? Max(strtoll(p + 7, NULL, 10), 0) : 0;
}
