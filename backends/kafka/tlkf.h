/*-------------------------------------------------------------------------
 *
 * tlkf.h
 *	  Backend "kafka": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLKF_H
#define TLKF_H

#include "tokenledger_backend.h"

#include <librdkafka/rdkafka.h>

/* ---- partition.c ---- */

extern uint32 tlkf_murmur2(const void *data, Size len);
extern int32 tlkf_partition(uint32 hash, int32 partitions);

/* ---- encode.c ---- */

/* Columns of one batch, prepared for going through its rows. */
typedef struct TlkfEncoder TlkfEncoder;

extern TlkfEncoder *tlkf_encoder_create(const TlBatch *batch);
extern void tlkf_encode_row(const TlkfEncoder *encoder, int32 row,
							StringInfo out);
extern const char *tlkf_refusal(const TlkfEncoder *encoder, int32 row);
extern const char *tlkf_schema_version(const TlBatch *batch);
extern const TlColumn *tlkf_find_column(const TlBatch *batch,
										const char *name);
extern bool tlkf_column_known(const char *name);
extern void tlkf_format_uuid(char *out, const pg_uuid_t *uuid);

#define TLKF_UUID_LEN		36

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
	const char *partition_by;	/* column; NULL: the key */
	int			partitions;		/* of a topic that is made; -1: the broker
								 * decides */
	int			replication;	/* likewise */
	int			timeout_ms;
	int64		deadline;		/* of the current callback */
	int64		max_message;	/* bytes that the topic takes; 0: not known */
	TlkfClient *client;			/* NULL: not yet, or given up */

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
extern void tlkf_fail(TlVerdict *verdict, TlCause cause, const char *code,
					  const char *fmt,...) pg_attribute_printf(4, 5);

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
extern rd_kafka_t *tlkf_client_handle(const TlkfState *state);
extern rd_kafka_queue_t *tlkf_client_queue(const TlkfState *state);
extern rd_kafka_topic_t *tlkf_client_topic(const TlkfState *state);
extern rd_kafka_event_t *tlkf_next_event(TlkfState *state, bool give_up,
										 TlkfEnd *end);
extern int64 tlkf_message_limit(const TlkfState *state);
extern const TlkfTrouble *tlkf_trouble(const TlkfState *state);
extern void tlkf_clear_trouble(TlkfState *state);
extern uint8 tlkf_client_batch(TlkfState *state);
extern const char *tlkf_check_properties(TlkfState *state);
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

/* ---- destroy.c ---- */

typedef struct TlkfDestroy TlkfDestroy;

extern TlkfDestroy *tlkf_destroy_start(rd_kafka_t *rk, int fd);
extern bool tlkf_destroy_await(TlkfDestroy *destroy, int timeout_ms);

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
