/*-------------------------------------------------------------------------
 *
 * tlsf.h
 *	  Backend "snowflake": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLSF_H
#define TLSF_H

#include "../common/tl_columns.h"
#include "../common/tl_http.h"
#include "../common/tl_json.h"
#include "../common/tl_schema.h"
#include "../common/tl_session.h"
#include "../common/tl_sums.h"
#include "../common/tl_text.h"
#include "tokenledger_backend.h"

/*
 * Bytes of a statement with its bind values.  Snowflake's documentation asks
 * to stay below 1 MB: a longer text is cut where Snowflake keeps it, and such
 * a statement cannot be run again by its requestId.
 */
#define TLSF_MAX_STATEMENT	1000000

#define TLSF_MAX_HANDLE		128

/* ---- names.c ---- */

typedef struct TlsfName			/* of a table */
{
	const char *database;
	const char *schema;
	const char *table;
	const char *quoted;			/* "DATABASE"."SCHEMA"."TABLE" of SQL */
	bool		exact;			/* option identifiers=exact */
} TlsfName;

extern const char *tlsf_parse_name(const char *path, const char *table_option,
								   bool exact, TlsfName *name);
extern const char *tlsf_parse_account(const char *hosts, char **host,
									  char **jwt_account);
extern const char *tlsf_identifier(const char *text, bool exact);
extern char *tlsf_expand(const TlsfName *name, const char *template);
extern void tlsf_quote_identifier(StringInfo out, const char *identifier);
extern void tlsf_quote_literal(StringInfo out, const char *text);

/* ---- columns.c ---- */

typedef struct TlsfColumn		/* a column as Snowflake has it */
{
	const char *name;
	const char *type;			/* "NUMBER(18,8)" */
	bool		nullable;
	bool		has_default;
} TlsfColumn;

typedef struct TlsfTable
{
	bool		exists;
	int			ncolumns;
	TlsfColumn *columns;
} TlsfTable;

extern const TlsfColumn *tlsf_find_column(const TlsfTable *table,
										  const char *name);
extern bool tlsf_column_fits(const TlsfColumn *column,
							 const TlExpected *expected);
extern void tlsf_list_differences(const TlsfTable *table, int32 version,
								  int32 newest, StringInfo out,
								  StringInfo fatal);

/* ---- encode.c ---- */

/* Microseconds since 1970: the years 1 to 9999, and the first after them. */
#define TLSF_FIRST_USEC		INT64CONST(-62135596800000000)
#define TLSF_END_USEC		INT64CONST(253402300800000000)
#define TLSF_TIMESTAMP_TEXT	32

extern void tlsf_encode_merge(StringInfo out, const TlBatch *batch,
							  const TlsfTable *table, const TlsfName *name);
extern void tlsf_encode_rows(StringInfo out, const TlBatch *batch);
extern void tlsf_encode_row(StringInfo out, const TlBatch *batch, int32 row,
							const char *const *keys);
extern void tlsf_encode_ids(StringInfo out, const TlBatch *batch);
extern char *tlsf_put_timestamp(char *p, int64 usec);
extern void tlsf_time_range(const TlBatch *batch, int64 margin_ms,
							char *from, char *to);

/* ---- ndjson.c ---- */

extern int32 tlsf_encode_lines(StringInfo out, const TlBatch *batch,
							   const TlsfTable *table, int32 begin);
extern bool tlsf_compress(StringInfo out, const StringInfo lines);

/* ---- screen.c ---- */

extern int32 tlsf_screen(const TlBatch *batch, const char **reasons);

/* ---- errors.c ---- */

typedef struct TlsfError		/* an answer that is a refusal */
{
	int			status;			/* of HTTP; 0: none came */
	TlOutcome	outcome;		/* TL_RETRY, TL_SPLIT, TL_REFUSED: certain */
	TlCause		cause;
	bool		unauthenticated;	/* a new token may help */
	bool		missing;		/* an object is not there, or not for us */
	bool		reopen;			/* the channel takes no more as it is */
	char		code[64];		/* Snowflake's; empty: none was given */
	char		message[512];	/* without what it may quote of an event */
} TlsfError;

extern void tlsf_classify(int status, const char *code, const char *sqlstate,
						  const char *words, TlsfError *error);
extern void tlsf_classify_streaming(int status, const char *code,
									const char *words, TlsfError *error);

/* ---- session.c ---- */

typedef enum TlsfMode
{
	TLSF_SQL,
	TLSF_STREAMING
} TlsfMode;

typedef enum TlsfAuth
{
	TLSF_KEY_PAIR,
	TLSF_OAUTH,
	TLSF_PAT
} TlsfAuth;

typedef struct TlsfToken
{
	char	   *bearer;			/* palloc'd in session->mcxt; NULL: none */
	int64		renew_at;		/* of tl_http_now_ms() */
} TlsfToken;

typedef struct TlsfChannel		/* of a lane; see channel.c */
{
	bool		open;			/* as far as we know */
	char		continuation[4096];
	char		committed[256]; /* the last offset token that is committed */
	int64		errors;			/* rows that were dropped, ever */
	int64		errors_before;	/* of them, those that are accounted for */
} TlsfChannel;

typedef struct TlsfState		/* TlSession.private_state */
{
	TlSession  *session;
	TlsfName	name;
	TlsfMode	mode;
	TlsfAuth	auth;
	const char *url;			/* "https://host", without a slash */
	const char *jwt_account;	/* in the form of a JWT's claims */
	const char *user;			/* upper case; NULL: not needed */
	const char *warehouse;		/* NULL: the user's default, as role */
	const char *role;
	int64		time_margin_ms;
	int			statement_timeout_ms;
	TlHttpSettings http_settings;
	TlHttp	   *http;			/* NULL: not yet */
	TlsfToken	token;
	TlHttp	   *ingest;			/* of mode=streaming, as the rest */
	const char *ingest_host;	/* NULL: not known yet */
	const char *ingest_url;
	TlsfToken	scoped;			/* for that host only */
	TlsfChannel channel;
	int			timeout_ms;
	int64		deadline;		/* of the current callback */
	int64		fence_until;	/* a statement that was sent before may still
								 * be running until then */
	char		running[TLSF_MAX_HANDLE];	/* one whose end nobody saw;
											 * empty: none */
	MemoryContext table_mcxt;
	TlsfTable  *remote;			/* as last seen; NULL: not yet */
} TlsfState;

/* What a lane saves before its first append; before a MERGE it is "sql". */
#define TLSF_STREAMING_STATE	"streaming"

extern const TlCore *tlsf_core;
extern const TlMigration tlsf_migrations[];

extern TlOutcome tlsf_open(TlSession *session, TlVerdict *verdict);
extern bool tlsf_left_streaming(TlSession *session);
extern void tlsf_close(TlSession *session, bool retire);
extern TlOutcome tlsf_check_health(TlSession *session, TlVerdict *verdict);
extern void tlsf_describe(TlSession *session, TlPairCB emit, void *arg);
extern TlsfState *tlsf_begin(TlSession *session);
extern void tlsf_fail_unanswered(const TlHttpReply *reply,
								 TlVerdict *verdict);
extern bool tlsf_sleep(TlsfState *state, int64 until);

/* ---- credentials.c ---- */

extern bool tlsf_authorize(TlsfState *state, const char **headers, int *n,
						   TlVerdict *verdict);
extern bool tlsf_forget_token(TlsfState *state);
extern bool tlsf_drop_token(TlsfToken *token);

/* ---- rest.c ---- */

extern bool tlsf_rest(TlsfState *state, const char *method, const char *path,
					  StringInfo body, int *status, TlJson **answer,
					  TlsfError *error, bool *sent, TlVerdict *verdict);
extern void tlsf_record_error(const TlsfError *error, TlVerdict *verdict);

/* ---- statement.c ---- */

#define TLSF_MAX_BINDS		3

typedef struct TlsfStatement
{
	const char *sql;
	const char *binds[TLSF_MAX_BINDS];	/* TEXT; the first NULL ends them */
	const pg_uuid_t *request_id;	/* NULL: a random one */
	bool		again;			/* may have been submitted before */
} TlsfStatement;

/* A row of an answer: n values as text, NULL where SQL's is. */
typedef void (*TlsfRowCB) (void *arg, const char *const *values, int n);

extern const char *tlsf_random_request_id(void);
extern void tlsf_write_statement(StringInfo body, const TlsfState *state,
								 const TlsfStatement *statement);
extern bool tlsf_submit(TlsfState *state, const TlsfStatement *statement,
						TlJson **answer, TlsfError *error, bool *sent,
						TlVerdict *verdict);
extern void tlsf_end_statement(TlsfState *state);
extern bool tlsf_query(TlsfState *state, const TlsfStatement *statement,
					   TlsfRowCB row, void *arg, TlsfError *error,
					   TlVerdict *verdict);
extern bool tlsf_run(TlsfState *state, const char *sql, TlVerdict *verdict);

/* ---- streaming.c, channel.c, stream_send.c ---- */

extern char *tlsf_channel_path(const TlsfState *state, const char *prefix,
							   const char *suffix);
extern bool tlsf_ingest(TlsfState *state, const char *method,
						const char *path, const char *content_type,
						const char *encoding, StringInfo body,
						TlJson **answer, TlsfError *error, bool *sent,
						TlVerdict *verdict);
extern bool tlsf_open_channel(TlsfState *state, TlVerdict *verdict);
extern bool tlsf_append(TlsfState *state, StringInfo rows, const char *from,
						const char *to, TlsfError *error, bool *sent,
						TlVerdict *verdict);
extern bool tlsf_ask_channel(TlsfState *state, TlsfError *error,
							 TlVerdict *verdict);
extern int32 tlsf_committed_rows(const TlsfChannel *channel,
								 const TlBatch *batch);
extern char *tlsf_offset_token(const TlBatch *batch, int32 rows);
extern void tlsf_drop_channel(TlsfState *state);
extern TlOutcome tlsf_stream_batch(TlsfState *state, TlBatch *batch,
								   TlVerdict *verdict);

/* ---- table.c ---- */

extern bool tlsf_load_table(TlsfState *state, TlVerdict *verdict);
extern bool tlsf_batch_fits(TlsfState *state, const TlBatch *batch,
							TlVerdict *verdict);

/* ---- send.c, resolve.c, schema.c, audit.c, watermark.c ---- */

extern TlOutcome tlsf_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlsf_encode(TlSession *session, const TlBatch *batch,
							 StringInfo out, TlVerdict *verdict);
extern TlOutcome tlsf_resolve(TlSession *session, TlBatch *batch, bool fence,
							  TlVerdict *verdict);
extern bool tlsf_mark_present(TlsfState *state, TlBatch *batch, int32 *found,
							  TlVerdict *verdict);
extern TlOutcome tlsf_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
extern TlOutcome tlsf_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);
extern TlOutcome tlsf_audit(TlSession *session, int64 from, int64 to,
							bool by_event, TlSumCB emit, void *arg,
							TlVerdict *verdict);
extern TlOutcome tlsf_watermark(TlSession *session, int64 until,
								TlVerdict *verdict);

#endif							/* TLSF_H */
