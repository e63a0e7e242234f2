/*-------------------------------------------------------------------------
 *
 * tlch.h
 *	  Backend "clickhouse": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLCH_H
#define TLCH_H

#include "../common/tl_columns.h"
#include "../common/tl_http.h"
#include "../common/tl_schema.h"
#include "../common/tl_session.h"
#include "../common/tl_text.h"
#include "tokenledger_backend.h"

/* Most months of one INSERT: the server's max_partitions_per_insert_block. */
#define TLCH_MAX_MONTHS		100

/* Inserts that a table of ours remembers the tokens of. */
#define TLCH_TOKEN_WINDOW	"1000"

/* ---- names.c ---- */

typedef struct TlchTableName
{
	const char *database;
	const char *name;
	const char *base;			/* of the names of what stands beside it */
	const char *quoted;			/* `database`.`name` */
} TlchTableName;

/* What a script's placeholders stand for besides the table's names. */
typedef struct TlchPlacement
{
	const char *cluster;		/* NULL: this server alone */
	const char *engine;			/* "MergeTree", "ReplicatedMergeTree" */
	const char *json;			/* type of the JSON columns */
	int			ttl_days;		/* 0: events are kept for ever */
} TlchPlacement;

extern void tlch_quote_identifier(StringInfo out, const char *name);
extern void tlch_quote_literal(StringInfo out, const char *text);
extern const char *tlch_parse_table(const char *text, const char *database,
									TlchTableName *table);
extern char *tlch_expand(const char *template, const TlchTableName *table,
						 const TlchPlacement *placement);

/* ---- columns.c ---- */

typedef struct TlchExpected		/* a column as our own table has it */
{
	const char *name;
	TlType		type;
	const char *base;			/* its type without wrappers */
	bool		nullable;
	bool		dictionary;		/* LowCardinality */
	int32		since;
} TlchExpected;

extern const TlchExpected tlch_expected[];	/* ends with name NULL */
extern const TlchExpected *tlch_find_expected(const char *name);
extern const char *tlch_type_name(const TlchExpected *column);

typedef struct TlchColumn		/* a column as the server has it */
{
	const char *name;
	const char *type;
	bool		computed;		/* MATERIALIZED, ALIAS or EPHEMERAL */
} TlchColumn;

typedef struct TlchTable
{
	bool		exists;
	const char *engine;
	const char *engine_full;
	const char *sorting_key;
	bool		has_views;		/* materialized ones read its inserts */
	bool		keyed;			/* copies go by the sorting key: no tokens */
	int64		window;			/* tokens remembered; 0: none */
	int64		window_seconds; /* for how long; 0: no limit */
	int			ncolumns;
	TlchColumn *columns;
} TlchTable;

extern const TlchColumn *tlch_find_column(const TlchTable *table,
										  const char *name);
extern bool tlch_type_fits(const char *type, const TlchExpected *expected);
extern bool tlch_is_json(const char *type);
extern void tlch_list_differences(const TlchTable *table, int32 version,
								  int32 newest, StringInfo out,
								  StringInfo fatal);

/* ---- ttl.c ---- */

extern int64 tlch_kept_seconds(const char *engine_full);

/* ---- encode.c, dictionary.c ---- */

/* Takes bytes of the block; false: give up. */
typedef bool (*TlchSinkCB) (void *arg, const void *data, Size len);

extern bool tlch_encode_block(const TlBatch *batch, TlchSinkCB sink,
							  void *arg);
extern void tlch_encode_dictionary(StringInfo out, const TlColumn *column,
								   int32 nrows, bool nullable);

static inline char *
tlch_put_varint(char *p, uint64 value)
{
	while (value >= 0x80)
	{
		*p++ = (char) (value | 0x80);
		value >>= 7;
	}
	*p++ = (char) value;
	return p;
}

#define TLCH_MAX_VARINT		10

/* ---- compress.c ---- */

typedef enum TlchCompression
{
	TLCH_NONE,
	TLCH_LZ4,
	TLCH_ZSTD
} TlchCompression;

typedef struct TlchCompressor TlchCompressor;

extern TlchCompressor *tlch_compressor_create(MemoryContext mcxt,
											  TlchCompression kind,
											  int level, const char **error);
extern bool tlch_compress_begin(TlchCompressor *compressor, StringInfo out);
extern bool tlch_compress(void *compressor, const void *data, Size len);
extern bool tlch_compress_end(TlchCompressor *compressor);
extern const char *tlch_compress_error(const TlchCompressor *compressor);

/* ---- screen.c ---- */

extern int32 tlch_screen(const TlBatch *batch, const TlchTable *table,
						 const char **reasons);
extern bool tlch_too_many_months(const TlBatch *batch);
extern int32 *tlch_by_month(const TlBatch *batch);
extern int32 tlch_months_end(const TlBatch *batch, const int32 *rows,
							 int32 begin);
extern void tlch_take_rows(const TlBatch *batch, const int32 *rows,
						   int32 nrows, TlBatch *taken);

/* ---- errors.c, summary.c ---- */

typedef struct TlchErrorClass
{
	int			code;
	const char *name;
	TlOutcome	outcome;		/* if nothing has been written */
	TlCause		cause;
	bool		early;			/* thrown before anything is written */
} TlchErrorClass;

typedef struct TlchError		/* an answer that is none */
{
	int			code;			/* 0: not ClickHouse's own */
	TlOutcome	outcome;
	TlCause		cause;
	bool		early;
	int64		row;			/* of the insert, from 1; 0: none was named */
	char		name[64];
	char		message[512];	/* without what it may quote of an event */
} TlchError;

extern const TlchErrorClass *tlch_classify(int code);
extern void tlch_parse_error(int status, const char *code_header,
							 const char *body, Size len, TlchError *error);
extern int64 tlch_written_rows(const char *summary);

/* ---- session.c ---- */

typedef struct TlchState		/* TlSession.private_state */
{
	TlSession  *session;
	TlHttp	   *http;			/* NULL: not yet */
	TlHttpSettings http_settings;
	const char *url;			/* "https://host:port/" */
	TlchTableName table;
	TlchPlacement placement;
	TlchCompression compression;
	int			level;			/* of zstd */
	bool		async;			/* async_insert */
	bool		final;			/* rows with one sorting key are one row */
	int			timeout_ms;
	int64		deadline;		/* of the current callback */
	TlchCompressor *compressor; /* NULL: not yet */
	MemoryContext table_mcxt;
	TlchTable  *remote;			/* as last seen; NULL: not yet */
	char		version[32];	/* of the server; empty: not yet known */
} TlchState;

extern const TlCore *tlch_core;
extern const TlMigration tlch_migrations[];

extern TlOutcome tlch_open(TlSession *session, TlVerdict *verdict);
extern void tlch_close(TlSession *session, bool retire);
extern TlOutcome tlch_check_health(TlSession *session, TlVerdict *verdict);
extern void tlch_describe(TlSession *session, TlPairCB emit, void *arg);
extern TlchState *tlch_begin(TlSession *session);

/* ---- request.c ---- */

typedef struct TlchReader		/* over an answer in RowBinary */
{
	const char *next;
	const char *end;
	bool		broken;			/* it ended within a value */
} TlchReader;

extern bool tlch_post(TlchState *state, const char *parameters,
					  const char *encoding, StringInfo body,
					  const TlHttpRequest *how, TlHttpReply *reply,
					  TlVerdict *verdict);
extern bool tlch_is_success(const TlchState *state, const TlHttpReply *reply);
extern void tlch_read_error(const TlchState *state, const TlHttpReply *reply,
							TlchError *error);
extern void tlch_record_error(const TlchError *error, TlVerdict *verdict);
extern bool tlch_query(TlchState *state, const char *sql, TlchReader *reader,
					   TlVerdict *verdict);
extern bool tlch_stream(TlchState *state, const char *sql,
						TlHttpConsumeCB consume, void *arg,
						TlVerdict *verdict);
extern char *tlch_read_string(TlchReader *reader);
extern int64 tlch_read_int64(TlchReader *reader);
extern void tlch_read_uuid(TlchReader *reader, pg_uuid_t *uuid);
extern void tlch_append_hex(StringInfo out, const pg_uuid_t *uuid);

/* ---- table.c ---- */

extern bool tlch_load_table(TlchState *state, TlVerdict *verdict);
extern bool tlch_batch_fits(TlchState *state, const TlBatch *batch,
							TlVerdict *verdict);

/* ---- insert.c ---- */

extern bool tlch_insert(TlchState *state, const TlBatch *batch, int number,
						TlHttpReply *reply, TlVerdict *verdict);

/* ---- fence.c ---- */

extern bool tlch_fence(TlchState *state, const TlBatch *batch,
					   TlVerdict *verdict);
extern void tlch_append_query_id(StringInfo out, const TlchState *state,
								 const pg_uuid_t *token);

/* ---- send.c, resolve.c, schema.c, audit.c: the callbacks ---- */

extern TlOutcome tlch_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlch_watermark(TlSession *session, int64 until,
								TlVerdict *verdict);
extern TlOutcome tlch_encode(TlSession *session, const TlBatch *batch,
							 StringInfo out, TlVerdict *verdict);
extern TlOutcome tlch_resolve(TlSession *session, TlBatch *batch, bool fence,
							  TlVerdict *verdict);
extern bool tlch_find_events(TlchState *state, const TlBatch *batch,
							 bool *present, TlVerdict *verdict);
extern TlOutcome tlch_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
extern TlOutcome tlch_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);
extern TlOutcome tlch_audit(TlSession *session, int64 from, int64 to,
							bool by_event, TlSumCB emit, void *arg,
							TlVerdict *verdict);

#endif							/* TLCH_H */
