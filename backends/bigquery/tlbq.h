/*-------------------------------------------------------------------------
 *
 * tlbq.h
 *	  Backend "bigquery": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLBQ_H
#define TLBQ_H

#include "../common/tl_columns.h"
#include "../common/tl_http.h"
#include "../common/tl_json.h"
#include "../common/tl_schema.h"
#include "../common/tl_session.h"
#include "../common/tl_sums.h"
#include "../common/tl_text.h"
#include "tokenledger_backend.h"

/* What TIMESTAMP_MICROS takes: the years 1 to 9999. */
#define TLBQ_FIRST_USEC		INT64CONST(-62135596800000000)
#define TLBQ_END_USEC		INT64CONST(253402300800000000)

/* Bytes of a request; BigQuery takes 10 MB. */
#define TLBQ_MAX_REQUEST	(9 * 1000 * 1000)

/* ---- names.c ---- */

typedef struct TlbqName			/* of a table */
{
	const char *project;
	const char *dataset;
	const char *table;
	const char *quoted;			/* `project.dataset.table` of SQL */
	const char *resource;		/* "projects/p/datasets/d/tables/t" */
} TlbqName;

extern const char *tlbq_parse_name(const char *project, const char *path,
								   const char *table_option, TlbqName *name);

/* ---- columns.c ---- */

extern const char *tlbq_type_name(TlType type);

typedef struct TlbqColumn		/* a column as BigQuery has it */
{
	const char *name;
	const char *type;			/* as tlbq_type_name writes it */
	const char *mode;			/* NULLABLE, REQUIRED, REPEATED */
	int64		precision;		/* 0: as the type has it */
	int64		scale;
} TlbqColumn;

typedef struct TlbqTable
{
	bool		exists;
	const char *etag;
	const char *kind;			/* TABLE, VIEW, ... */
	int32		version;		/* of our label; 0: none */
	const char *ledger;			/* of our label; NULL: none */
	bool		partitioned;	/* by time */
	const char *partition_field;	/* NULL: by the time of arrival */
	int64		expiration_ms;	/* of a partition; 0: never */
	int			ncolumns;
	TlbqColumn *columns;
	TlJson	   *fields;			/* its schema's, as it was told */
} TlbqTable;

extern const TlbqColumn *tlbq_find_column(const TlbqTable *table,
										  const char *name);
extern bool tlbq_column_fits(const TlbqColumn *column,
							 const TlExpected *expected);
extern void tlbq_list_differences(const TlbqTable *table, int32 version,
								  int32 newest, StringInfo out,
								  StringInfo fatal);
extern void tlbq_append_fields(StringInfo out, int32 after, int32 version,
							   const TlbqTable *table);

/* ---- encode.c, rows.c ---- */

typedef struct TlbqAppend		/* a message AppendRowsRequest, framed */
{
	const char *data;
	Size		len;
} TlbqAppend;

extern void tlbq_encode_rows(StringInfo out, const TlBatch *batch);
extern void tlbq_encode_schema(StringInfo out, const TlBatch *batch);
extern void tlbq_encode_append(const TlBatch *batch, const char *stream,
							   int64 offset, StringInfo buffer,
							   TlbqAppend *append);
extern char *tlbq_put_decimal(char *p, int64 value);

/* ---- screen.c ---- */

extern int32 tlbq_screen(const TlBatch *batch, bool partitioned, int64 now,
						 const char **reasons);

/* ---- errors.c ---- */

typedef struct TlbqError		/* an answer that is a refusal */
{
	int			code;			/* of gRPC; -1: of REST, or none came */
	int			storage;		/* StorageErrorCode; 0: none was given */
	int			status;			/* of HTTP, unless it was 200 */
	TlOutcome	outcome;		/* TL_RETRY, TL_SPLIT, TL_REFUSED: certain */
	TlCause		cause;
	bool		new_stream;		/* the stream takes no more */
	bool		unauthenticated;	/* a new token may help */
	char		name[64];
	char		message[512];	/* without what it may quote of an event */
} TlbqError;

extern void tlbq_classify_grpc(int code, int storage, const char *words,
							   TlbqError *error);
extern void tlbq_classify_http(int status, TlbqError *error);
extern void tlbq_classify_rest(int status, const char *reason,
							   const char *words, TlbqError *error);
extern const char *tlbq_describe_row_error(const char *words);

/* ---- session.c ---- */

typedef enum TlbqMode
{
	TLBQ_COMMITTED,
	TLBQ_PENDING,
	TLBQ_DEFAULT,
	TLBQ_INSERTALL
} TlbqMode;

typedef enum TlbqAuth
{
	TLBQ_AUTH_AUTO,				/* a key file, else application default */
	TLBQ_AUTH_SELF_SIGNED,
	TLBQ_AUTH_METADATA,
	TLBQ_AUTH_NONE
} TlbqAuth;

typedef struct TlbqToken
{
	char	   *bearer;			/* palloc'd in session->mcxt; NULL: none */
	char	   *quota_project;	/* NULL: none */
	int64		renew_at;		/* of tl_http_now_ms() */
} TlbqToken;

typedef struct TlbqState		/* TlSession.private_state */
{
	TlSession  *session;
	TlbqName	name;
	TlbqMode	mode;
	TlbqAuth	auth;
	bool		ask;			/* modes default and insertall: by query */
	int			expiration_days;
	const char *rest_url;		/* "https://host", without a slash */
	const char *grpc_url;
	const char *location;		/* NULL: as BigQuery finds it */
	TlHttpSettings rest_settings;
	TlHttpSettings grpc_settings;
	TlHttp	   *rest;			/* NULL: not yet */
	TlHttp	   *grpc;
	TlHttp	   *tokens;
	TlbqToken	token;
	int			timeout_ms;
	int64		deadline;		/* of the current callback */
	pg_uuid_t	last_append;	/* token of the batch that this session has
								 * appended last to the lane's stream */
	MemoryContext table_mcxt;
	TlbqTable  *remote;			/* as last seen; NULL: not yet */
} TlbqState;

extern const TlCore *tlbq_core;
extern const TlMigration tlbq_migrations[];

extern TlOutcome tlbq_open(TlSession *session, TlVerdict *verdict);
extern void tlbq_close(TlSession *session, bool retire);
extern TlOutcome tlbq_check_health(TlSession *session, TlVerdict *verdict);
extern void tlbq_describe(TlSession *session, TlPairCB emit, void *arg);
extern TlbqState *tlbq_begin(TlSession *session);
extern const char *tlbq_mode_name(TlbqMode mode);

/* ---- credentials.c ---- */

extern bool tlbq_authorize(TlbqState *state, const char **headers, int *n,
						   TlVerdict *verdict);
extern bool tlbq_forget_token(TlbqState *state);

/* ---- rest.c, query.c ---- */

extern bool tlbq_rest(TlbqState *state, const char *method, const char *path,
					  const char *etag, StringInfo body, TlJson **answer,
					  TlbqError *error, bool *sent, TlVerdict *verdict);
extern void tlbq_record_error(const TlbqError *error, TlVerdict *verdict);
extern void tlbq_fail_unanswered(const TlHttpReply *reply, const char *what,
								 TlVerdict *verdict);

/* A row of an answer: n values as text, NULL where SQL's is. */
typedef void (*TlbqRowCB) (void *arg, const char *const *values, int n);

extern bool tlbq_query(TlbqState *state, const char *sql,
					   const char *parameter, TlbqRowCB row, void *arg,
					   TlVerdict *verdict);

/* ---- grpc.c, write_api.c ---- */

typedef struct TlbqReply
{
	bool		ok;				/* status 0 and one message, or none */
	bool		sent;
	const uint8 *message;
	Size		len;			/* 0: no message */
	TlbqError	error;			/* unless ok */
} TlbqReply;

extern void tlbq_call(TlbqState *state, const char *method,
					  const char *routing_name, const char *routing_value,
					  const char *framed, Size len, TlbqReply *reply,
					  TlVerdict *verdict);
extern void tlbq_read_status(const uint8 *data, Size len, TlbqError *error);

typedef enum TlbqAnswer			/* to an append */
{
	TLBQ_APPENDED,
	TLBQ_FAILED,				/* see error */
	TLBQ_ROWS_REFUSED			/* none was appended; those that are to blame
								 * have been marked */
} TlbqAnswer;

extern bool tlbq_create_stream(TlbqState *state, TlbqMode mode, char **name,
							   TlVerdict *verdict);
extern TlbqAnswer tlbq_append(TlbqState *state, TlBatch *batch,
							  const char *stream, int64 offset,
							  TlbqError *error, bool *sent,
							  TlVerdict *verdict);
extern bool tlbq_finalize_stream(TlbqState *state, const char *stream,
								 int64 *row_count, TlbqError *error,
								 TlVerdict *verdict);
extern bool tlbq_commit_stream(TlbqState *state, const char *stream,
							   TlbqError *error, bool *sent,
							   TlVerdict *verdict);

/* ---- stream.c ---- */

typedef struct TlbqStream		/* what a lane has saved */
{
	TlbqMode	mode;
	const char *name;			/* "": none */
	int64		offset;			/* rows that were acknowledged */
	int64		row_count;		/* when it was finalized; -1: it was not */
	bool		doubtful;		/* its row count tells nothing */
	pg_uuid_t	token;			/* of the batch it was saved for: see there */
} TlbqStream;

extern bool tlbq_load_stream(TlbqState *state, TlbqStream *stream,
							 bool *suspect);
extern bool tlbq_save_stream(TlbqState *state, const TlbqStream *stream);
extern void tlbq_acknowledge_stream(TlbqState *state,
									const TlbqStream *stream);
extern bool tlbq_parse_stream(const char *data, Size len, TlbqStream *stream);
extern char *tlbq_format_stream(const TlbqStream *stream);

/* ---- table.c ---- */

#define TLBQ_VERSION_LABEL	"tokenledger_version"
#define TLBQ_LEDGER_LABEL	"tokenledger_ledger"
#define TLBQ_UNTIL_LABEL	"tokenledger_until-"	/* with the ledger's id */

extern bool tlbq_load_table(TlbqState *state, TlVerdict *verdict);
extern bool tlbq_batch_fits(TlbqState *state, const TlBatch *batch,
							TlVerdict *verdict);

/* ---- send.c, insertall.c, resolve.c, schema.c, audit.c ---- */

extern TlOutcome tlbq_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlbq_insert_all(TlbqState *state, TlBatch *batch,
								 TlVerdict *verdict);
extern TlOutcome tlbq_encode(TlSession *session, const TlBatch *batch,
							 StringInfo out, TlVerdict *verdict);
extern bool tlbq_save_mode(TlbqState *state, const TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlbq_not_stored(const TlBatch *batch, TlOutcome outcome);
extern TlOutcome tlbq_resolve(TlSession *session, TlBatch *batch, bool fence,
							  TlVerdict *verdict);
extern TlOutcome tlbq_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
extern TlOutcome tlbq_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);
extern TlOutcome tlbq_watermark(TlSession *session, int64 until,
								TlVerdict *verdict);
extern TlOutcome tlbq_audit(TlSession *session, int64 from, int64 to,
							bool by_event, TlSumCB emit, void *arg,
							TlVerdict *verdict);

#endif							/* TLBQ_H */
