/*-------------------------------------------------------------------------
 *
 * tlpg.h
 *	  What the files of the libpq backends share.
 *
 * Two modules are compiled from these files: postgres, and timescale with a
 * dialect of its own.  A module's main file defines tlpg_core, tlpg_dialect
 * and tokenledger_backend_init(); everything else is common.
 *
 * Nothing relies on the state of a server session between transactions, so
 * that a pooler in transaction mode may stand in between: settings are local
 * to a transaction, statements are unnamed, temporary tables are dropped at
 * commit, advisory locks belong to a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLPG_H
#define TLPG_H

#include "tokenledger_backend.h"

#include <libpq-fe.h>

/* ---- names.c: text in, text out; pure ---- */

typedef struct TlpgHost
{
	char	   *host;			/* name, address, or socket directory */
	char	   *port;
} TlpgHost;

typedef struct TlpgTableName
{
	char	   *schema;
	char	   *name;
	char	   *base;			/* the names of companions are made of it */
	char	   *quoted;			/* "schema"."name" */
} TlpgTableName;

extern void tlpg_quote_identifier(StringInfo out, const char *name);
extern void tlpg_quote_literal(StringInfo out, const char *text);
extern const char *tlpg_parse_table(const char *text, TlpgTableName *table);
extern int	tlpg_parse_hosts(const char *hosts, const char *default_port,
							 TlpgHost **result);
extern bool tlpg_host_is_local(const char *host);
extern char *tlpg_expand(const char *template, const TlpgTableName *table);
extern int64 tlpg_lock_key(const pg_uuid_t *ledger_id, const char *kind,
						   const char *table, int32 lane);

/* ---- sqlstate.c: what an error means; pure ---- */

typedef struct TlpgErrorClass
{
	const char *prefix;			/* of an SQLSTATE; "" matches all */
	TlOutcome	outcome;		/* when certainly nothing was stored */
	TlCause		cause;
	bool		reconnect;		/* another connection may do better */
} TlpgErrorClass;

extern const TlpgErrorClass *tlpg_classify(const char *sqlstate);
extern int64 tlpg_copy_line(const char *context, const char *table);
extern bool tlpg_parse_connect_error(const char *text, char *sqlstate,
									 char *message, Size size);
extern void tlpg_clean(char *message);

/* ---- encode.c: columns to binary COPY; pure ---- */

typedef struct TlpgEncoder
{
	const TlBatch *batch;
	int			ncolumns;		/* event_id first */
	const TlColumn **columns;	/* columns[0] is NULL: event_id is taken from
								 * batch->event_ids */
	Size		fixed_size;		/* of a row, at most, without its texts */
	int32		next_row;
} TlpgEncoder;

extern void tlpg_encoder_init(TlpgEncoder *encoder, const TlBatch *batch);
extern void tlpg_encode_header(StringInfo out);
extern bool tlpg_encode_rows(TlpgEncoder *encoder, StringInfo out,
							 int stop_after);
extern void tlpg_encode_trailer(StringInfo out);
extern void tlpg_encode_uuid_array(StringInfo out, const pg_uuid_t *ids,
								   int32 n);
extern int64 tlpg_decode_int64(const char *bytes);
extern int64 tlpg_timestamp_to_server(int64 unix_usec);
extern int64 tlpg_timestamp_from_server(int64 server_usec);

/* ---- table.c: what the remote table looks like ---- */

typedef struct TlpgColumn		/* a column of the remote table */
{
	char	   *name;
	Oid			type;
	int32		typmod;
	char	   *type_name;
	bool		not_null;
	bool		filled;			/* has a default, or is an identity */
	bool		generated;		/* cannot be written */
} TlpgColumn;

typedef struct TlpgTable
{
	bool		exists;
	Oid			oid;
	char		kind;			/* pg_class.relkind */
	bool		unlogged;
	bool		unique;			/* the dialect's key is verified */
	bool		interferes;		/* a rule or a BEFORE trigger may drop or
								 * change events on their way in */
	bool		may_insert;
	bool		may_select;
	char	   *shape;			/* digest of its columns, as sends see it */
	int			ncolumns;
	TlpgColumn *columns;
} TlpgTable;

typedef struct TlpgExpected		/* a column of the ledger */
{
	const char *name;
	Oid			type;
	int32		typmod;			/* -1: none */
	const char *type_name;
	bool		not_null;
	int32		since;
} TlpgExpected;

extern const TlpgExpected tlpg_expected[];	/* ends with name NULL */

/* ---- the dialect of a module ---- */

typedef struct TlpgState TlpgState;

typedef struct TlpgDialect
{
	const char *default_table;
	const char *const *key;		/* unique key, ends with NULL */
	const char *conflict_target;	/* the same, as SQL */
	const char *own_triggers;	/* LIKE pattern of triggers that the server's
								 * extension puts on a table; NULL */
	bool		prune_by_time;	/* bound look-ups of events by timestamp */
	const char *settings;		/* further columns of the SELECT that makes a
								 * transaction's settings; NULL */

	/*
	 * Optional from here on.  Is this a server for us?  Asked on each
	 * connection, before the table is looked at.
	 */
	bool		(*check_server) (TlpgState *state, TlVerdict *verdict);

	/* Appends what a step does besides its script up. */
	void		(*append_step) (TlpgState *state, const TlMigration *step,
								StringInfo sql);

	/* Adds to what inspect has found of an existing table. */
	bool		(*inspect) (TlpgState *state, TlRemote *remote,
							TlVerdict *verdict);
} TlpgDialect;

/* Defined by the module's main file. */
extern const TlCore *tlpg_core;
extern const TlpgDialect tlpg_dialect;

/* ---- session.c ---- */

struct TlpgState				/* TlSession.private_state */
{
	TlSession  *session;
	TlpgTableName table;
	TlpgHost   *hosts;
	int			nhosts;
	int			host;			/* the one to try first */
	int			timeout_ms;
	int64		deadline;		/* of the current callback, tlpg_now_ms() */
	MemoryContextCallback reset;	/* frees the three below */
	PGconn	   *conn;
	PGresult   *rows;			/* of the last query that returned any */
	PGresult   *result;			/* being looked at */
	bool		fd_reserved;
	MemoryContext table_mcxt;
	TlpgTable  *remote;			/* as verified on this connection; NULL: not
								 * yet */
	void	   *server;			/* what check_server found; the dialect's */
};

extern TlOutcome tlpg_open(TlSession *session, TlVerdict *verdict);
extern void tlpg_close(TlSession *session, bool retire);
extern TlOutcome tlpg_check_health(TlSession *session, TlVerdict *verdict);
extern void tlpg_describe(TlSession *session, TlPairCB emit, void *arg);
extern TlpgState *tlpg_begin(TlSession *session);

/* ---- connection.c ---- */

/* Each ends with NULL. */
extern const char *const tlpg_session_attrs[];
extern const char *const tlpg_ssl_modes[];
extern const char *const tlpg_gss_modes[];

extern int64 tlpg_now_ms(void);
extern void tlpg_fail(TlVerdict *verdict, TlCause cause, const char *code,
					  const char *fmt,...) pg_attribute_printf(4, 5);
extern const char *tlpg_sslmode(TlpgState *state, const char *host);
extern bool tlpg_connect(TlpgState *state, TlVerdict *verdict);
extern void tlpg_disconnect(TlpgState *state);

/* ---- query.c ---- */

#define TLPG_MAX_PARAMS		40

typedef struct TlpgParams
{
	int			n;
	Oid			types[TLPG_MAX_PARAMS];
	const char *values[TLPG_MAX_PARAMS];
	int			lengths[TLPG_MAX_PARAMS];	/* all is binary */
} TlpgParams;

extern bool tlpg_flush(TlpgState *state, TlVerdict *verdict);
extern bool tlpg_next_result(TlpgState *state, TlVerdict *verdict);
extern void tlpg_record_error(TlpgState *state, TlVerdict *verdict);
extern bool tlpg_query(TlpgState *state, const char *sql,
					   const TlpgParams *params, TlVerdict *verdict);
extern bool tlpg_stream(TlpgState *state, const char *sql,
						const TlpgParams *params, TlVerdict *verdict);
extern void tlpg_rollback(TlpgState *state);

typedef enum TlpgFence
{
	TLPG_NO_FENCE,
	TLPG_FENCE_LANE,			/* this lane's attempts have ended */
	TLPG_FENCE_LEDGER			/* those of all lanes of this ledger */
} TlpgFence;

typedef enum TlpgAccess
{
	TLPG_WRITE,
	TLPG_LOOK_UP				/* not on a standby */
} TlpgAccess;

extern void tlpg_begin_sql(TlpgState *state, StringInfo sql, TlpgFence fence,
						   TlpgAccess access);
extern bool tlpg_look_up(TlpgState *state, const char *select,
						 TlVerdict *verdict);

/* ---- table.c ---- */

extern bool tlpg_load_table(TlpgState *state, TlVerdict *verdict);
extern char *tlpg_shape_sql(const TlpgTable *table);
extern const TlpgColumn *tlpg_find_column(const TlpgTable *table,
										  const char *name);
extern bool tlpg_batch_fits(TlpgState *state, const TlBatch *batch,
							TlVerdict *verdict);
extern void tlpg_list_differences(const TlpgTable *table, int32 version,
								  StringInfo out, StringInfo fatal);

/* ---- schema.c ---- */

extern bool tlpg_companion_exists(TlpgState *state, const char *template,
								  bool *exists, TlVerdict *verdict);
extern void tlpg_append_uuid(StringInfo out, const pg_uuid_t *uuid);

/* ---- send.c, resolve.c, schema.c, audit.c, watermark.c: callbacks ---- */

extern TlOutcome tlpg_watermark(TlSession *session, int64 until,
								TlVerdict *verdict);

extern TlOutcome tlpg_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlpg_encode(TlSession *session, const TlBatch *batch,
							 StringInfo out, TlVerdict *verdict);
extern TlOutcome tlpg_resolve(TlSession *session, TlBatch *batch, bool fence,
							  TlVerdict *verdict);
extern bool tlpg_find_events(TlpgState *state, TlBatch *batch,
							 TlpgFence fence, bool *present,
							 TlVerdict *verdict);
extern TlOutcome tlpg_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
extern TlOutcome tlpg_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);
extern TlOutcome tlpg_audit(TlSession *session, int64 from, int64 to,
							bool by_event, TlSumCB emit, void *arg,
							TlVerdict *verdict);

#endif							/* TLPG_H */
