/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  What a refusal of Snowflake means for a batch.
 *
 * Two tables: codes of a statement that failed (HTTP 422, and 408 for one
 * that was given up; Snowflake's documentation, "Handling errors"), and HTTP
 * statuses that say it all by themselves.
 *
 * A statement that failed has done nothing.  Statuses that any hop on the way
 * may give after the request has been passed on are TL_UNKNOWN, as is what is
 * not listed.
 *
 * Snowflake quotes the value that it could not take, so of errors about data
 * its words are not passed on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

typedef struct CodeClass
{
	const char *code;			/* or what it begins with */
	TlOutcome	outcome;
	TlCause		cause;
} CodeClass;

static const CodeClass codes[] = {
	{"000603", TL_RETRY, TL_CAUSE_OVERLOAD},	/* internal incident */
	{"000604", TL_RETRY, TL_CAUSE_OVERLOAD},	/* cancelled */
	{"000606", TL_RETRY, TL_CAUSE_CONFIG},	/* no active warehouse */
	{"000625", TL_RETRY, TL_CAUSE_OVERLOAD},	/* too many wait for a lock */
	{"000630", TL_RETRY, TL_CAUSE_OVERLOAD},	/* statement timeout */
	{"000904", TL_RETRY, TL_CAUSE_SCHEMA},	/* invalid identifier */
	{"001003", TL_RETRY, TL_CAUSE_CONFIG},	/* syntax error */
	{"001757", TL_RETRY, TL_CAUSE_SCHEMA},	/* table does not exist */
	{"002003", TL_RETRY, TL_CAUSE_SCHEMA},	/* does not exist, or not for us */
	{"002043", TL_RETRY, TL_CAUSE_SCHEMA},	/* the same, of an operation */
	{"003001", TL_RETRY, TL_CAUSE_AUTH},	/* insufficient privileges */
	{"090073", TL_RETRY, TL_CAUSE_QUOTA},	/* the resource monitor's limit */
	{"090105", TL_RETRY, TL_CAUSE_CONFIG},	/* no current database */
	{"1000", TL_REFUSED, TL_CAUSE_DATA},	/* values that do not convert */
	{"390505", TL_RETRY, TL_CAUSE_OVERLOAD},	/* too many requests */
	{"39", TL_RETRY, TL_CAUSE_AUTH},	/* tokens, users, roles */
	{NULL, TL_RETRY, TL_CAUSE_CONFIG}
};

/* Of statements whose code is not listed, the class of their SQLSTATE. */
static const CodeClass sqlstates[] = {
	{"22", TL_REFUSED, TL_CAUSE_DATA},
	{"23", TL_REFUSED, TL_CAUSE_DATA},
	{"42", TL_RETRY, TL_CAUSE_SCHEMA},
	{"57", TL_RETRY, TL_CAUSE_OVERLOAD},
	{NULL, TL_RETRY, TL_CAUSE_CONFIG}
};

typedef struct StatusClass
{
	int			status;
	TlOutcome	outcome;
	TlCause		cause;
} StatusClass;

static const StatusClass statuses[] = {
	{400, TL_RETRY, TL_CAUSE_CONFIG},
	{401, TL_RETRY, TL_CAUSE_AUTH},
	{403, TL_RETRY, TL_CAUSE_AUTH},
	{404, TL_RETRY, TL_CAUSE_CONFIG},
	{405, TL_RETRY, TL_CAUSE_CONFIG},
	{407, TL_RETRY, TL_CAUSE_CONFIG},
	{411, TL_RETRY, TL_CAUSE_CONFIG},
	{413, TL_SPLIT, TL_CAUSE_OVERLOAD},
	{415, TL_RETRY, TL_CAUSE_CONFIG},
	{429, TL_RETRY, TL_CAUSE_OVERLOAD},
	{500, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{503, TL_UNKNOWN, TL_CAUSE_OVERLOAD},
	{0, TL_UNKNOWN, TL_CAUSE_NETWORK}
};

/* Of Snowpipe Streaming: what is cured by opening the channel anew. */
static const char *const reopen_codes[] = {
	"STALE_CONTINUATION_TOKEN_SEQUENCER", "STALE_PIPE_CACHE",
	"ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER",
	"ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER",
	"ERR_CHANNEL_MUST_BE_REOPENED",
	"ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP",
	"ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED"
};

static void classify_status(int status, TlsfError *error);
static const CodeClass *find_class(const CodeClass *classes,
								   const char *text);
static void set_words(TlsfError *error, const char *words);

/* code, sqlstate and words: the answer's, or NULL. */
void
tlsf_classify(int status, const char *code, const char *sqlstate,
			  const char *words, TlsfError *error)
{
	const CodeClass *class;

	memset(error, 0, sizeof(*error));
	error->status = status;
	strlcpy(error->code, code ? code : "", sizeof(error->code));
	classify_status(status, error);
	if (code == NULL)
		return;
	if (status == 422)
	{
		class = find_class(codes, code);
		if (class->code == NULL)
			class = find_class(sqlstates, sqlstate ? sqlstate : "");
		error->outcome = class->outcome;
		error->cause = class->cause;
	}
	else if (status == 408)
	{
		error->outcome = TL_RETRY;
		error->cause = TL_CAUSE_OVERLOAD;
	}
	error->missing = strcmp(code, "002003") == 0 ||
		strcmp(code, "002043") == 0 || strcmp(code, "001757") == 0;
	set_words(error, words);
}

/* A status without Snowflake's own words: a proxy's, mostly. */
static void
classify_status(int status, TlsfError *error)
{
	const StatusClass *class = statuses;

	while (class->status != status && class->status != 0)
		class++;
	error->outcome = class->outcome;
	error->cause = class->cause;
	error->unauthenticated = (status == 401);
	if (status >= 300 && status < 400)
	{
		error->outcome = TL_RETRY;
		error->cause = TL_CAUSE_CONFIG;
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d: redirects are not followed; the account in the target's URL, or option \"endpoint\", has to name the server itself",
				 status);
	}
	else
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d, not from Snowflake itself", status);
}

/*
 * Of Snowpipe Streaming.  A refusal says that this request was not taken; of
 * rows that were before, nothing.
 */
void
tlsf_classify_streaming(int status, const char *code, const char *words,
						TlsfError *error)
{
	memset(error, 0, sizeof(*error));
	error->status = status;
	strlcpy(error->code, code ? code : "", sizeof(error->code));
	classify_status(status, error);
	if (status == 409 || (status == 400 && code != NULL))
		error->outcome = TL_RETRY;
	for (int i = 0; code != NULL && i < lengthof(reopen_codes); i++)
		error->reopen |= strcmp(code, reopen_codes[i]) == 0;
	error->reopen |= (status == 409);
	if (error->reopen)
	{
		error->outcome = TL_RETRY;
		error->cause = TL_CAUSE_OVERLOAD;
	}
	else if (status == 404 || (code != NULL &&
							   (strncmp(code, "ERR_TABLE_", 10) == 0 ||
								strncmp(code, "ERR_PIPE_", 9) == 0)))
	{
		error->outcome = TL_RETRY;
		error->cause = TL_CAUSE_SCHEMA;
		error->reopen = true;
	}
	if (code != NULL)
		set_words(error, words);
}

static const CodeClass *
find_class(const CodeClass *classes, const char *text)
{
	while (classes->code != NULL &&
		   strncmp(classes->code, text, strlen(classes->code)) != 0)
		classes++;
	return classes;
}

/* One line, and none of an event's contents. */
static void
set_words(TlsfError *error, const char *words)
{
	char		line[400];
	Size		len = 0;

	for (; words != NULL && *words != '\0' && len < sizeof(line) - 1; words++)
		line[len++] = (unsigned char) *words < ' ' ? ' ' : *words;
	line[len] = '\0';
	if (error->cause == TL_CAUSE_DATA)
		snprintf(error->message, sizeof(error->message),
				 "Snowflake cannot take some of the values (error %s; its words are not shown: they may quote an event)",
				 error->code);
	else if (len == 0)
		snprintf(error->message, sizeof(error->message),
				 "HTTP status %d, error %s", error->status, error->code);
	else
		strlcpy(error->message, line, sizeof(error->message));
}
