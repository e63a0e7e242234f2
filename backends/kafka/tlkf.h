/*-------------------------------------------------------------------------
 *
 * tlkf.h
 *	  Backend "kafka": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLKF_H
#define TLKF_H

#include "../common/tl_verdict.h"
#include "tokenledger_backend.h"

#include <librdkafka/rdkafka.h>

/* ---- partition.c ---- */

extern uint32 tlkf_murmur2(const void *data, Size len);
extern int32 tlkf_partition(uint32 hash, int32 partitions);

/* ---- fields.c ---- */

extern int	tlkf_field_number(const char *name);
extern const char *tlkf_schema_version(const TlBatch *batch);
extern const TlColumn *tlkf_find_column(const TlBatch *batch,
										const char *name);

/* ---- encode.c ---- */

typedef enum TlkfFormat
{
	TLKF_JSON,
	TLKF_PROTOBUF
} TlkfFormat;

/* Columns of one batch, prepared for going through its rows. */
typedef struct TlkfEncoder TlkfEncoder;

extern TlkfEncoder *tlkf_encoder_create(const TlBatch *batch,
										TlkfFormat format);
extern void tlkf_encode_row(const TlkfEncoder *encoder, int32 row,
							StringInfo out);
extern const char *tlkf_refusal(const TlkfEncoder *encoder, int32 row);
extern void tlkf_format_uuid(char *out, const pg_uuid_t *uuid);
extern void tlkf_parse_uuid(pg_uuid_t *uuid, const char *text);
extern char *tlkf_format_decimal(char *p, int64 value);

#define TLKF_UUID_LEN		36
#define TLKF_MAX_DECIMAL	24	/* bytes */

/* ---- protobuf.c ---- */

extern void tlkf_put_field(StringInfo out, int number, const TlColumn *column,
						   int32 row);
extern void tlkf_put_length(StringInfo out, int32 len);

/* ---- errors.c ---- */

typedef struct TlkfErrorClass
{
	rd_kafka_resp_err_t code;
	TlCause		cause;
	bool		hopeless;		/* the same for whatever is asked: there is no
								 * point in waiting for an answer */
} TlkfErrorClass;

extern const TlkfErrorClass *tlkf_classify(rd_kafka_resp_err_t code);

/* ---- properties.c ---- */

extern const char *tlkf_property_refusal(const char *name);

/* ---- session.c ---- */

typedef struct TlkfClient TlkfClient;

typedef struct TlkfState		/* TlSession.private_state */
{
	TlSession  *session;
	const char *topic;
	bool		tls;
	const char *sasl;			/* mechanism; NULL: none */
	bool		transactional;
	const char *transactional_id;	/* also the consumer group of tokens */
	const char *partition_by;	/* column; NULL: the key */
	TlkfFormat	format;			/* of values */
	int			partitions;		/* of a topic that is made; -1: the broker
								 * decides */
	int			replication;	/* likewise */
	int			timeout_ms;
	int64		deadline;		/* of the current callback */
	int64		max_message;	/* bytes that the topic takes; 0: not known */
	TlkfClient *client;			/* NULL: not yet, or given up */
	struct TlkfJournal *journal;	/* NULL: not read yet */
	bool		in_charge;		/* transactions are initialized: no earlier
								 * owner of the lane can commit any more */

	/* Of a backend for which the topic is not the end of the road. */
	bool		has_table;		/* there is an option "table" */
	const char **reasons;		/* why it cannot take events of the current
								 * batch, by row; NULL: it takes all */
} TlkfState;

extern const TlCore *tlkf_core;
extern const char *const tlkf_compressions[];
extern const char *const tlkf_mechanisms[];

extern TlOutcome tlkf_open(TlSession *session, TlVerdict *verdict);
extern TlOutcome tlkf_open_state(TlSession *session, TlkfState *state,
								 TlVerdict *verdict);
extern void tlkf_close(TlSession *session, bool retire);
extern TlOutcome tlkf_check_health(TlSession *session, TlVerdict *verdict);
extern void tlkf_describe(TlSession *session, TlPairCB emit, void *arg);
extern TlkfState *tlkf_begin(TlSession *session);
extern int64 tlkf_now_ms(void);
extern bool tlkf_option_on(TlSession *session, const char *name);
extern bool tlkf_secret_given(TlSession *session, const char *name);

/* ---- conf.c ---- */

extern const char *tlkf_check_properties(TlkfState *state);
extern rd_kafka_conf_t *tlkf_make_conf(TlkfState *state, const char *group,
									   bool secrets, const char **error);
extern int64 tlkf_message_limit(const TlkfState *state);

/* ---- client.c ---- */

typedef enum TlkfEnd			/* of waiting */
{
	TLKF_EVENT,					/* what was waited for */
	TLKF_STOPPED,
	TLKF_TIMEOUT,
	TLKF_HOPELESS				/* an error that waiting does not mend; also
								 * in the client's words */
} TlkfEnd;

/* What librdkafka said last that was no answer. */
typedef struct TlkfTrouble
{
	rd_kafka_resp_err_t code;	/* RD_KAFKA_RESP_ERR_NO_ERROR: nothing */
	char		words[384];
} TlkfTrouble;

extern bool tlkf_client_ready(TlkfState *state, TlVerdict *verdict);
extern void tlkf_client_drop(TlkfState *state);
extern void tlkf_client_forget(TlkfState *state);
extern rd_kafka_t *tlkf_client_reader(TlkfState *state, const char *group,
									  TlVerdict *verdict);
extern int	tlkf_client_fd(const TlkfState *state);
extern rd_kafka_t *tlkf_client_handle(const TlkfState *state);
extern rd_kafka_queue_t *tlkf_client_queue(const TlkfState *state);
extern rd_kafka_topic_t *tlkf_client_topic(const TlkfState *state);
extern rd_kafka_event_t *tlkf_next_event(TlkfState *state, bool give_up,
										 TlkfEnd *end);
extern const TlkfTrouble *tlkf_trouble(const TlkfState *state);
extern void tlkf_clear_trouble(TlkfState *state);
extern uint8 tlkf_client_batch(TlkfState *state);
extern void tlkf_fail_waiting(TlkfState *state, TlkfEnd end,
							  TlVerdict *verdict);
extern void tlkf_fail_code(rd_kafka_resp_err_t code, const char *words,
						   TlVerdict *verdict);

/* What a message carries through librdkafka to its report. */
typedef union TlkfTag
{
	void	   *opaque;
	struct
	{
		uint32		hash;		/* what it is partitioned by */
		uint32		row:24;
		uint32		batch:8;	/* of tlkf_client_batch(): late reports of an
								 * earlier one are none of ours */
	}			of;
} TlkfTag;

StaticAssertDecl(sizeof(TlkfTag) == sizeof(void *),
				 "a message's tag must fit into a pointer");

/* ---- call.c ---- */

/* Calls of librdkafka that block; they run on a thread of their own. */
typedef enum TlkfCallKind
{
	TLKF_INIT_TRANSACTIONS,
	TLKF_SEND_OFFSETS,
	TLKF_COMMIT,
	TLKF_READ_OFFSETS,
	TLKF_DESTROY
} TlkfCallKind;

typedef struct TlkfCallArgs
{
	TlkfCallKind kind;
	rd_kafka_t *rk;				/* destroyed by a call that is left */
	int			timeout_ms;
	int			notify_fd;		/* gets a byte; closed likewise */
	rd_kafka_topic_partition_list_t *offsets;	/* the call's from now on */
	const char *group;			/* that commits offsets */
} TlkfCallArgs;

typedef struct TlkfCall TlkfCall;

extern TlkfCall *tlkf_call_start(const TlkfCallArgs *args);
extern const rd_kafka_topic_partition_list_t *
tlkf_call_offsets(const TlkfCall *call);
extern bool tlkf_call_ended(TlkfCall *call, rd_kafka_error_t **error);
extern bool tlkf_call_await(TlkfCall *call, int timeout_ms);
extern bool tlkf_call_leave(TlkfCall *call);
extern void tlkf_destroy(rd_kafka_t *rk, int fd);

/* ---- journal.c ---- */

typedef struct TlkfJournal TlkfJournal;

extern void tlkf_journal_expect(TlkfState *state, int32 nrows);
extern bool tlkf_journal_begin(TlkfState *state, const TlBatch *batch);
extern void tlkf_journal_end(TlkfState *state, bool committed);
extern void tlkf_journal_resolve(TlkfState *state, TlBatch *batch,
								 const pg_uuid_t *last);

/* ---- transaction.c ---- */

typedef enum TlkfStep			/* of a transaction */
{
	TLKF_DONE,
	TLKF_NOT_DONE,				/* and never will be */
	TLKF_UNCERTAIN
} TlkfStep;

extern bool tlkf_take_charge(TlkfState *state, TlVerdict *verdict);
extern bool tlkf_transaction_begin(TlkfState *state, TlVerdict *verdict);
extern TlkfStep tlkf_transaction_commit(TlkfState *state,
										const TlBatch *batch,
										TlVerdict *verdict);
extern TlOutcome tlkf_resolve(TlSession *session, TlBatch *batch, bool fence,
							  TlVerdict *verdict);

/* ---- send.c, topic.c: the callbacks ---- */

extern TlOutcome tlkf_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
extern TlOutcome tlkf_encode(TlSession *session, const TlBatch *batch,
							 StringInfo out, TlVerdict *verdict);
extern const TlMigration tlkf_migrations[];
extern TlOutcome tlkf_inspect(TlSession *session, TlRemote *remote,
							  TlVerdict *verdict);
extern TlOutcome tlkf_migrate(TlSession *session, const TlMigration *step,
							  bool up, TlVerdict *verdict);

#endif							/* TLKF_H */
