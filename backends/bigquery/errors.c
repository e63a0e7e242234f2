/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  What a refusal of BigQuery means for a batch.
 *
 * Three tables: the status of a call of the Storage Write API, with the
 * StorageErrorCode that may come with it (google/rpc/code.proto and
 * storage.proto), the reason of a REST error (BigQuery's documentation, "Error
 * messages"), and HTTP statuses that are not BigQuery's own.
 *
 * TL_RETRY, TL_SPLIT and TL_REFUSED stand only where the request cannot have
 * been, or be, carried out.  Statuses that any hop on the way may give after
 * the request has been passed on are TL_UNKNOWN, as is what is not listed.
 * ALREADY_EXISTS says that some rows are at the offset, not that they are all
 * of this request's.
 *
 * BigQuery quotes what it could not take, so of errors about data its words
 * are not passed on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

typedef struct CodeClass
{
	int			code;
	const char *name;
	TlOutcome	outcome;
	TlCause		cause;
	bool		new_stream;
} CodeClass;

static const CodeClass codes[] = {
	{1, "CANCELLED", TL_UNKNOWN, TL_CAUSE_NETWORK, false},
	{2, "UNKNOWN", TL_UNKNOWN, TL_CAUSE_NETWORK, false},
	{3, "INVALID_ARGUMENT", TL_REFUSED, TL_CAUSE_DATA, false},
	{4, "DEADLINE_EXCEEDED", TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
	{5, "NOT_FOUND", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{6, "ALREADY_EXISTS", TL_UNKNOWN, TL_CAUSE_CONFIG, false},
	{7, "PERMISSION_DENIED", TL_RETRY, TL_CAUSE_AUTH, false},
	{8, "RESOURCE_EXHAUSTED", TL_UNKNOWN, TL_CAUSE_QUOTA, false},
	{9, "FAILED_PRECONDITION", TL_RETRY, TL_CAUSE_CONFIG, true},
	{10, "ABORTED", TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
	{11, "OUT_OF_RANGE", TL_RETRY, TL_CAUSE_CONFIG, true},
	{12, "UNIMPLEMENTED", TL_RETRY, TL_CAUSE_CONFIG, false},
	{13, "INTERNAL", TL_UNKNOWN, TL_CAUSE_OVERLOAD, false},
	{14, "UNAVAILABLE", TL_UNKNOWN, TL_CAUSE_NETWORK, false},
	{15, "DATA_LOSS", TL_UNKNOWN, TL_CAUSE_NETWORK, false},
	{16, "UNAUTHENTICATED", TL_RETRY, TL_CAUSE_AUTH, false},
	{0, "unlisted status", TL_UNKNOWN, TL_CAUSE_CONFIG, false}
};

/* These say more than the status that they come with. */
static const CodeClass storage_codes[] = {
	{1, "TABLE_NOT_FOUND", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{2, "STREAM_ALREADY_COMMITTED", TL_RETRY, TL_CAUSE_CONFIG, true},
	{3, "STREAM_NOT_FOUND", TL_RETRY, TL_CAUSE_CONFIG, true},
	{4, "INVALID_STREAM_TYPE", TL_RETRY, TL_CAUSE_CONFIG, true},
	{5, "INVALID_STREAM_STATE", TL_RETRY, TL_CAUSE_CONFIG, true},
	{6, "STREAM_FINALIZED", TL_RETRY, TL_CAUSE_CONFIG, true},
	{7, "SCHEMA_MISMATCH_EXTRA_FIELDS", TL_RETRY, TL_CAUSE_SCHEMA, true},
	{8, "OFFSET_ALREADY_EXISTS", TL_UNKNOWN, TL_CAUSE_CONFIG, false},
	{9, "OFFSET_OUT_OF_RANGE", TL_RETRY, TL_CAUSE_CONFIG, true},
	{10, "CMEK_NOT_PROVIDED", TL_RETRY, TL_CAUSE_CONFIG, false},
	{11, "INVALID_CMEK_PROVIDED", TL_RETRY, TL_CAUSE_CONFIG, false},
	{12, "CMEK_ENCRYPTION_ERROR", TL_RETRY, TL_CAUSE_CONFIG, false},
	{13, "KMS_SERVICE_ERROR", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{14, "KMS_PERMISSION_DENIED", TL_RETRY, TL_CAUSE_AUTH, false},
	{0, NULL, TL_UNKNOWN, TL_CAUSE_CONFIG, false}
};

typedef struct ReasonClass
{
	const char *reason;
	TlOutcome	outcome;
	TlCause		cause;
} ReasonClass;

static const ReasonClass reasons[] = {
	{"accessDenied", TL_RETRY, TL_CAUSE_AUTH},
	{"authError", TL_RETRY, TL_CAUSE_AUTH},
	{"backendError", TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{"billingNotEnabled", TL_RETRY, TL_CAUSE_CONFIG},
	{"billingTierLimitExceeded", TL_RETRY, TL_CAUSE_QUOTA},
	{"blocked", TL_RETRY, TL_CAUSE_AUTH},
	{"conditionNotMet", TL_RETRY, TL_CAUSE_SCHEMA},
	{"duplicate", TL_RETRY, TL_CAUSE_SCHEMA},
	{"forbidden", TL_RETRY, TL_CAUSE_AUTH},
	{"insufficientPermissions", TL_RETRY, TL_CAUSE_AUTH},
	{"internalError", TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{"invalid", TL_REFUSED, TL_CAUSE_DATA},
	{"invalidQuery", TL_RETRY, TL_CAUSE_CONFIG},
	{"invalidUser", TL_RETRY, TL_CAUSE_AUTH},
	{"notFound", TL_RETRY, TL_CAUSE_SCHEMA},
	{"notImplemented", TL_RETRY, TL_CAUSE_CONFIG},
	{"quotaExceeded", TL_RETRY, TL_CAUSE_QUOTA},
	{"rateLimitExceeded", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"required", TL_RETRY, TL_CAUSE_CONFIG},
	{"resourceInUse", TL_RETRY, TL_CAUSE_OVERLOAD},
	{"resourcesExceeded", TL_RETRY, TL_CAUSE_QUOTA},
	{"responseTooLarge", TL_RETRY, TL_CAUSE_CONFIG},
	{"stopped", TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{"tableUnavailable", TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{"timeout", TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{NULL, TL_UNKNOWN, TL_CAUSE_CONFIG}
};

typedef struct StatusClass
{
	int			status;
	int			code;			/* the same in gRPC */
	TlOutcome	outcome;
	TlCause		cause;
} StatusClass;

static const StatusClass statuses[] = {
	{400, 3, TL_RETRY, TL_CAUSE_CONFIG},
	{401, 16, TL_RETRY, TL_CAUSE_AUTH},
	{403, 7, TL_RETRY, TL_CAUSE_AUTH},
	{404, 12, TL_RETRY, TL_CAUSE_CONFIG},
	{405, 12, TL_RETRY, TL_CAUSE_CONFIG},
	{407, 7, TL_RETRY, TL_CAUSE_CONFIG},
	{411, 3, TL_RETRY, TL_CAUSE_CONFIG},
	{412, 9, TL_RETRY, TL_CAUSE_SCHEMA},
	{413, 3, TL_SPLIT, TL_CAUSE_OVERLOAD},
	{415, 12, TL_RETRY, TL_CAUSE_CONFIG},
	{429, 14, TL_RETRY, TL_CAUSE_OVERLOAD},
	{0, 14, TL_UNKNOWN, TL_CAUSE_NETWORK}
};

static const CodeClass *find_code(const CodeClass *classes, int code);
static void set_words(TlbqError *error, const char *words);

/* words: the status's message, or NULL.  storage 0: none was given. */
void
tlbq_classify_grpc(int code, int storage, const char *words,
				   TlbqError *error)
{
	const CodeClass *class = find_code(storage_codes, storage);

	memset(error, 0, sizeof(*error));
	error->code = code;
	error->storage = storage;
	if (class->name == NULL)
		class = find_code(codes, code);
	error->outcome = class->outcome;
	error->cause = class->cause;
	error->new_stream = class->new_stream;
	error->unauthenticated = (code == 16);
	strlcpy(error->name, class->name, sizeof(error->name));
	set_words(error, words);
}

static const CodeClass *
find_code(const CodeClass *classes, int code)
{
	while (classes->code != code && classes->code != 0)
		classes++;
	return classes;
}

/* A status of HTTP without BigQuery's own words: a proxy's, mostly. */
void
tlbq_classify_http(int status, TlbqError *error)
{
	const StatusClass *class = statuses;

	memset(error, 0, sizeof(*error));
	while (class->status != status && class->status != 0)
		class++;
	error->code = class->code;
	error->status = status;
	error->outcome = class->outcome;
	error->cause = class->cause;
	error->unauthenticated = (status == 401);
	snprintf(error->name, sizeof(error->name), "HTTP %d", status);
	if (status >= 300 && status < 400)
	{
		error->outcome = TL_RETRY;
		error->cause = TL_CAUSE_CONFIG;
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d: redirects are not followed; option \"endpoint\" or \"grpc_endpoint\" has to name the server itself",
				 status);
	}
	else
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d, not from BigQuery itself", status);
}

/* An error of REST: the first of error.errors, and error.message. */
void
tlbq_classify_rest(int status, const char *reason, const char *words,
				   TlbqError *error)
{
	const ReasonClass *class = reasons;

	tlbq_classify_http(status, error);
	if (reason == NULL)
		reason = "";
	while (class->reason != NULL && strcmp(class->reason, reason) != 0)
		class++;
	error->code = -1;
	if (reason[0] != '\0')
		strlcpy(error->name, reason, sizeof(error->name));
	if (class->reason != NULL)
	{
		error->outcome = class->outcome;
		error->cause = class->cause;
	}
	if (words != NULL)
		set_words(error, words);
}

/* One line, and none of an event's contents. */
static void
set_words(TlbqError *error, const char *words)
{
	Size		len = words ? strcspn(words, "\r\n") : 0;

	if (error->cause == TL_CAUSE_DATA)
		snprintf(error->message, sizeof(error->message),
				 "%s (its words are not shown: they may quote an event)",
				 error->name);
	else if (len == 0)
		strlcpy(error->message, error->name, sizeof(error->message));
	else
		snprintf(error->message, sizeof(error->message), "%s: %.*s",
				 error->name, (int) Min(len, 400), words);
}

/* The column that is spoken of is ours to name; what it holds is not. */
const char *
tlbq_describe_row_error(const char *words)
{
	for (const TlExpected *e = tl_expected; e->name != NULL; e++)
	{
		Size		len = strlen(e->name);

		for (const char *p = words; (p = strstr(p, e->name)) != NULL; p++)
			if ((p == words || !(isalnum((unsigned char) p[-1]) ||
								 p[-1] == '_')) &&
				!isalnum((unsigned char) p[len]) && p[len] != '_')
				return psprintf("BigQuery cannot take its value of column \"%s\"",
								e->name);
	}
	return "BigQuery cannot take one of its values";
}
