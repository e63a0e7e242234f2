/*-------------------------------------------------------------------------
 *
 * tokenledger_backend.h
 *	  The whole contract between the core of tokenledger and a backend.
 *
 * A backend carries batches of events into one kind of store.  It is the
 * shared library $libdir/tokenledger_<scheme>.so (an alias is a symlink;
 * TlSession.scheme says which name was used) with PG_MODULE_MAGIC and the
 * function tokenledger_backend_init().  It may call the server, and the core
 * only through the TlCore it is handed: no symbol of the core is linked.
 *
 * ABI		Structs with struct_size grow at the end only, and a TlBackend
 *			that is shorter than the core's lacks the later callbacks.  The
 *			other structs are elements of arrays and frozen, as enum values
 *			are.  Every other change is a new TL_BACKEND_MAGIC.
 * Process	A lane (a background worker; no transaction, no snapshot), or a
 *			session that runs an administrative function within its own
 *			transaction.  One thread.  A backend's own threads touch neither
 *			server nor core and start with all signals blocked.
 * Memory	Callbacks run in batch->mcxt where there is a batch, else in a
 *			context that is reset afterwards.  What lives longer goes to
 *			session->mcxt; a foreign handle hangs on a reset callback of that
 *			context which is registered before the handle exists.
 * Errors	What the store said is an outcome, not an error.  What a callback
 *			throws (palloc may; never through a foreign frame) counts as
 *			TL_UNKNOWN and drops the session: the core deletes
 *			session->mcxt, and close is not called.
 * Waiting	Only core->wait blocks.  It serves the server's interrupts and
 *			does not throw.  After TL_WAKE_STOP return at once: TL_RETRY if
 *			nothing was sent, else TL_UNKNOWN.
 *
 * Copyright (c) 2026, the tokenledger authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef TOKENLEDGER_BACKEND_H
#define TOKENLEDGER_BACKEND_H

#include "postgres.h"			/* so that this header stands alone */

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#define TL_BACKEND_MAGIC	0x544C4231	/* "TLB1" */

/*
 * Name of the rendezvous variable (find_rendezvous_variable) that holds a
 * TlRegisterCB.  A library in shared_preload_libraries, after tokenledger,
 * registers a backend through it.
 */
#define TL_REGISTRY			"tokenledger_registry"

/*
 * What became of a batch: of all its events that were not marked one by one.
 * TL_RETRY, TL_SPLIT and TL_REFUSED promise that the events are not in the
 * store, that no attempt so far can still bring them there, and that the
 * store has not recorded the batch's token.  Where a backend cannot promise
 * that, the outcome is TL_UNKNOWN.
 */
typedef enum TlOutcome
{
	TL_OK,						/* durable in the store; HTTP 200 is not
								 * enough if the store may still drop them */
	TL_RETRY,					/* not stored; not the events' fault */
	TL_UNKNOWN,					/* may be stored, or may still arrive */
	TL_SPLIT,					/* not stored; the request was too large */
	TL_REFUSED					/* not stored; the marked events are to blame.
								 * None marked: some of them are */
} TlOutcome;

/*
 * Why.  Shown in token_ledger.status; after TL_CAUSE_SCHEMA the core inspects
 * the store before it sends again.
 */
typedef enum TlCause
{
	TL_CAUSE_NONE,
	TL_CAUSE_NETWORK,			/* unreachable, broken connection, TLS */
	TL_CAUSE_OVERLOAD,			/* the store asks to slow down */
	TL_CAUSE_QUOTA,				/* a limit of the account, disk full */
	TL_CAUSE_AUTH,				/* who we are, or what we may */
	TL_CAUSE_CONFIG,			/* the URL, or the store's settings */
	TL_CAUSE_SCHEMA,			/* table missing or of another shape */
	TL_CAUSE_DATA				/* the events themselves */
} TlCause;

typedef struct TlVerdict		/* zeroed by the core, filled by the callee */
{
	uint32		struct_size;
	TlCause		cause;
	int32		retry_after_ms; /* the store's wish; 0: the core's back-off */
	int64		rows_new;		/* events that landed and were not there
								 * before; -1: not known */
	char		code[24];		/* the store's code, or an SQLSTATE */
	char		message[512];	/* the store's words; cut, cleaned of control
								 * characters and redacted by the core */
} TlVerdict;

/*
 * Types of columns, and their form in the Apache Arrow columnar format
 * (arrow.apache.org/docs/format/Columnar.html).
 */
typedef enum TlType
{
	TL_UUID,					/* FixedSizeBinary(16) */
	TL_TIMESTAMP,				/* int64, microseconds since 1970-01-01 UTC;
								 * INT64_MIN -infinity, INT64_MAX infinity */
	TL_FLOAT64,					/* double */
	TL_INT64,					/* int64 */
	TL_DECIMAL,					/* decimal64(18,8): int64, the value times
								 * 10^8; INT64_MIN: NaN */
	TL_TEXT,					/* utf8; valid UTF-8 in every database
								 * encoding */
	TL_JSON						/* utf8; a JSON text */
} TlType;

typedef struct TlColumn			/* an Arrow array, offset 0, 8-byte aligned,
								 * read-only */
{
	const char *name;
	TlType		type;
	bool		nullable;
	bool		special;		/* holds one of the sentinels above, or a
								 * non-finite double: the backend handles or
								 * refuses those events */
	int64		null_count;
	const uint8 *validity;		/* bit i, least significant first: set if not
								 * null; NULL if null_count is 0 */
	const void *values;			/* nrows fixed-width values; of TL_TEXT and
								 * TL_JSON nrows + 1 int32 offsets in data */
	const char *data;			/* bytes of TL_TEXT and TL_JSON */
} TlColumn;

typedef enum TlHistory
{
	TL_FRESH,					/* no earlier attempt with any of these events
								 * can have taken effect */
	TL_SAME_AGAIN,				/* this batch under this token may have */
	TL_OVERLAP					/* its events may be there by other batches:
								 * fail-over, requeue, replay, adoption */
} TlHistory;

typedef struct TlBatch			/* the core's; read-only but for marks; valid
								 * until mcxt is reset */
{
	uint32		struct_size;
	TlHistory	history;
	int32		nrows;
	int32		ncolumns;
	int32		attempt;		/* 1, 2, ... under this token */
	const TlColumn *columns;	/* what this target gets: versions of ledger
								 * and store, and the URL, are applied */
	const pg_uuid_t *event_ids; /* nrows, even where columns lacks event_id;
								 * distinct */
	int64		min_timestamp;	/* of the finite ones, as TL_TIMESTAMP; for */
	int64		max_timestamp;	/* pruning; min > max: none is finite */
	pg_uuid_t	token;			/* random; durable before the first attempt,
								 * new for every part, re-cut and resolve;
								 * zero in mere look-ups */
	MemoryContext mcxt;
} TlBatch;

/* What sending again does to events that may have landed. */
typedef enum TlGuarantee
{
	TL_PER_ATTEMPT,				/* doubles them: the core resolves first; a
								 * store without resolve is at-least-once */
	TL_PER_BATCH,				/* one token lands once within token_valid_ms:
								 * TL_SAME_AGAIN is safe */
	TL_PER_EVENT,				/* one event id lands once: all is safe */
	TL_AT_LEAST_ONCE			/* doubles them, and this session's resolve is
								 * as good as absent */
} TlGuarantee;

/*
 * A lane owns its stream, channel or transactional id, and fences earlier
 * owners.  An administrative session must not disturb it.
 */
typedef enum TlRole
{
	TL_LANE,
	TL_ADMIN
} TlRole;

typedef struct TlSession		/* one target, opened in one process; the
								 * core's */
{
	uint32		struct_size;
	TlRole		role;
	const char *target;			/* its name */
	const char *scheme;			/* as the URL wrote it; user, hosts and path
								 * are the URL's too, decoded */
	const char *user;			/* NULL if absent, as the next two */
	const char *hosts;			/* host[:port][,host[:port]...] */
	const char *path;			/* without the leading slash */
	int32		lane;
	int64		epoch;			/* grows with every take-over of the lane */
	pg_uuid_t	ledger_id;		/* the same in every copy of this ledger */
	MemoryContext mcxt;
	TlGuarantee guarantee;		/* set by the backend: what it has verified
								 * about this table, not what it hopes */
	int64		token_valid_ms; /* of TL_PER_BATCH: a first attempt older than
								 * this is resolved */
	void	   *private_state;	/* the backend's */
	uint32		connects;		/* set by the backend: grows with each new
								 * connection, behind which the store may be
								 * an older copy of itself; 0: not told */
} TlSession;

typedef struct TlRemote			/* what inspect found, also if that cannot be
								 * filled */
{
	uint32		struct_size;
	bool		exists;
	bool		has_ledger_id;
	pg_uuid_t	ledger_id;		/* of the ledger that fills the table */
	int32		version;		/* 100 * major + minor; 0: a table that keeps
								 * no record of it */
	int64		keeps_from;		/* older events may be gone by TTL or
								 * expiration; INT64_MIN: none are */
	StringInfoData differences; /* for people: columns missing, extra, of
								 * another type; a missing unique key */
} TlRemote;

typedef struct TlSum			/* of an hour (UTC), or of one event */
{
	int64		from;			/* start of the hour, as TL_TIMESTAMP */
	int64		events;
	int64		tokens;			/* sum(total_tokens) */
	int64		cost;			/* sum(cost_usd) times 10^8, without NaN */
	const pg_uuid_t *event_id;	/* NULL in a sum by hour */
} TlSum;

typedef void (*TlSumCB) (void *arg, const TlSum *sum);	/* does not throw */
typedef void (*TlPairCB) (void *arg, const char *key, const char *value);

typedef struct TlWaitFd
{
	int			fd;
	uint32		events;			/* WL_SOCKET_READABLE, WL_SOCKET_WRITEABLE */
	uint32		fired;			/* out */
} TlWaitFd;

typedef enum TlWake
{
	TL_WAKE_FD,
	TL_WAKE_TIMEOUT,
	TL_WAKE_STOP				/* return at once */
} TlWake;

/* Services of the core.  None throws, but for lack of memory. */
typedef struct TlCore
{
	uint32		struct_size;

	/* An option's value, validated, in base units; NULL: not set. */
	const char *(*option) (TlSession *session, const char *name);

	/* Iterates over the options that begin with prefix; *iter starts at 0. */
	bool		(*option_next) (TlSession *session, const char *prefix,
								int *iter, const char **name,
								const char **value);

	/*
	 * Appends a secret, read anew from its file at each call (rotation).
	 * false: not set, or not readable (the reason is in the core's log and
	 * in status).
	 */
	bool		(*secret) (TlSession *session, const char *name,
						   StringInfo out);

	/* Waits for sockets at most timeout_ms; -1: without limit. */
	TlWake		(*wait) (TlSession *session, TlWaitFd *fds, int nfds,
						 long timeout_ms);

	/* Single events of the batch, whatever the outcome of the others. */
	void		(*mark_landed) (TlBatch *batch, int32 row);
	void		(*mark_refused) (TlBatch *batch, int32 row,
								 const char *reason);

	/*
	 * The lane's saved state; NULL: none.  Valid until the next set_state or
	 * save_state.  suspect: it is older than a fail-over or a restore, what
	 * it names may have moved on.
	 */
	const void *(*state) (TlSession *session, Size *len, bool *suspect);

	/*
	 * Durable together with this batch's acknowledgement, and lost with it:
	 * a batch that comes again finds the state from before.
	 */
	void		(*set_state) (TlSession *session, const void *data, Size len);

	/* Durable now.  false: the lane is lost, return at once. */
	bool		(*save_state) (TlSession *session, const void *data,
							   Size len);

	/* Below ERROR. */
	void		(*log) (TlSession *session, int elevel, const char *fmt,...)
				pg_attribute_printf(3, 4);
} TlCore;

#define TL_OPT_REQUIRED		0x01
#define TL_OPT_SECRET		0x02	/* only as <name>_file or <name>_env;
									 * redacted everywhere */
#define TL_OPT_DESTINATION	0x04	/* another value means another store */
#define TL_OPT_PREFIX		0x08	/* any name that begins so: "rdkafka." */

typedef enum TlOptionType
{
	TL_STRING_OPT,
	TL_BOOL_OPT,				/* the backend sees "on" or "off" */
	TL_INT_OPT,
	TL_MS_OPT,					/* "500ms", "30s", "5min"; base unit ms */
	TL_BYTES_OPT,				/* "64kB", "8MB"; base unit bytes */
	TL_ENUM_OPT
} TlOptionType;

typedef struct TlOption			/* an array that ends with name NULL */
{
	const char *name;
	TlOptionType type;
	uint32		flags;
	const char *default_value;	/* as a user writes it; NULL: none */
	int64		min;			/* of numbers, in base units */
	int64		max;			/* min = max = 0: no limits */
	const char *const *values;	/* of TL_ENUM_OPT; ends with NULL */
	const char *description;
} TlOption;

typedef struct TlMigration		/* ascending; ends with version 0 */
{
	int32		version;		/* 100 * major + minor */
	int32		oldest_compatible;	/* oldest ledger that can fill it */
	const char *description;
	const char *up;				/* for the backend's own migrate */
	const char *down;			/* NULL: cannot be undone */
	const char *changes;		/* for people: what the step adds */
} TlMigration;

typedef struct TlBackend
{
	uint32		magic;			/* TL_BACKEND_MAGIC */
	uint32		struct_size;
	const char *name;			/* canonical: aliases share it */
	const char *display_name;
	const char *features;		/* for backends(): of "jsonb upsert returning
								 * window_functions cte streaming
								 * compression" */
	int32		max_rows;		/* of a batch; 0: no limit */
	int32		good_rows;		/* 0: the core's default */
	int32		max_lanes;		/* 0: no limit */
	int64		max_bytes;		/* of column data; 0: no limit */
	const TlOption *options;
	const TlMigration *migrations;	/* NULL: the store has no schema */

	/*
	 * Required.  open does no I/O: a session connects when it first must.
	 * TL_REFUSED: options that contradict each other.
	 */
	TlOutcome	(*open) (TlSession *session, TlVerdict *verdict);
	TlOutcome	(*send) (TlSession *session, TlBatch *batch,
						 TlVerdict *verdict);

	/* retire: this lane will not come back, drop its stream or channel. */
	void		(*close) (TlSession *session, bool retire);

	/*
	 * Optional from here on.
	 *
	 * resolve marks the events of the batch that the store holds; TL_OK: the
	 * unmarked ones are absent.  With fence, no earlier attempt can land
	 * afterwards; the core asks for it always before it sends again, and not
	 * for mere look-ups.  The token is the latest attempt's, which under
	 * TL_OVERLAP may have held some of the events only; a fence may send what
	 * is absent under it, and marks it then.
	 */
	TlOutcome	(*resolve) (TlSession *session, TlBatch *batch, bool fence,
							TlVerdict *verdict);

	/* Sums over [from, to), by hour or by event, in no particular order. */
	TlOutcome	(*audit) (TlSession *session, int64 from, int64 to,
						  bool by_event, TlSumCB emit, void *arg,
						  TlVerdict *verdict);

	/*
	 * Looks at the table and decides session->guarantee.  TL_OK: it does not
	 * exist, or can be filled with the columns of its version and of earlier
	 * ones, of version 0 with those of the newest; TL_REFUSED: it is there
	 * and cannot, the message says why; TL_RETRY: it could not be asked.
	 */
	TlOutcome	(*inspect) (TlSession *session, TlRemote *remote,
							TlVerdict *verdict);

	/*
	 * Applies one step, up, or undoes it, and records the version and, where
	 * none is, session->ledger_id.  Repeatable after any failure, and safe
	 * beside another session at the same step: what is recorded is not done
	 * again.  The table may be another's: one that cannot become the ledger's
	 * by this step is left alone, TL_REFUSED.  Also without inspect before.
	 */
	TlOutcome	(*migrate) (TlSession *session, const TlMigration *step,
							bool up, TlVerdict *verdict);
	TlOutcome	(*check_health) (TlSession *session, TlVerdict *verdict);

	/* Facts for connection_info(); no I/O, no secrets. */
	void		(*describe) (TlSession *session, TlPairCB emit, void *arg);

	/* The body that send would send; no I/O. */
	TlOutcome	(*encode) (TlSession *session, const TlBatch *batch,
						   StringInfo out, TlVerdict *verdict);

	/*
	 * Records beside the table that nothing which this ledger committed
	 * before until (as TL_TIMESTAMP) is still on its way; one row for each
	 * session->ledger_id, which replaces the earlier one.  Makes the place
	 * for it where there is none.
	 */
	TlOutcome	(*watermark) (TlSession *session, int64 until,
							  TlVerdict *verdict);
} TlBackend;

/*
 * Registers a backend at run time; NULL: the name is taken.
 */
typedef const TlCore *(*TlRegisterCB) (const TlBackend *backend);

/* Called once a process; the result is static. */
extern PGDLLEXPORT const TlBackend *
tokenledger_backend_init(const TlCore *core);

/* Accessors for backends that go row by row. */
static inline bool
tl_isnull(const TlColumn *column, int32 row)
{
	return column->validity != NULL &&
		(column->validity[row >> 3] & (1 << (row & 7))) == 0;
}

/* Of TL_INT64, TL_TIMESTAMP and TL_DECIMAL. */
static inline int64
tl_int64(const TlColumn *column, int32 row)
{
	return ((const int64 *) column->values)[row];
}

static inline double
tl_float64(const TlColumn *column, int32 row)
{
	return ((const double *) column->values)[row];
}

static inline const pg_uuid_t *
tl_uuid(const TlColumn *column, int32 row)
{
	return (const pg_uuid_t *) column->values + row;
}

/* Of TL_TEXT and TL_JSON; not NUL-terminated. */
static inline const char *
tl_text(const TlColumn *column, int32 row, int32 *len)
{
	const int32 *offset = (const int32 *) column->values + row;

	*len = offset[1] - offset[0];
	return column->data + offset[0];
}

#endif							/* TOKENLEDGER_BACKEND_H */
