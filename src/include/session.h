/*-------------------------------------------------------------------------
 *
 * session.h
 *	  A target opened in this process: the core's side of the hook table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_SESSION_H
#define TL_SESSION_H

#include "part.h"
#include "queue.h"
#include "target.h"
#include "tokenledger_backend.h"

typedef struct Session
{
	TlSession	pub;			/* first: backends are handed its address */
	const Target *target;
	const TlBackend *backend;
	Queue	   *queue;			/* NULL: an administrative session */
	List	   *secrets;		/* of char *: read so far, for redaction */
	bool		lost;			/* save_state found the lane taken over */
	MemoryContext call_mcxt;	/* reset after each callback without batch */
} Session;

typedef struct Attempt
{
	TlBatch		pub;			/* first: backends are handed its address; its
								 * mcxt is reset before each callback */
	Part	   *part;
	Session    *session;		/* of the callback that runs */
	bool		ask_only;		/* its token names some of its events only */
} Attempt;

typedef struct AuditRange
{
	int64		from;			/* as TL_TIMESTAMP */
	int64		to;
	bool		by_event;
} AuditRange;

/* NULL: verdict says why. */
extern Session *session_open(const Target *target, TlRole role, Queue *queue,
							 TlVerdict *verdict);
extern void session_close(Session *session, bool retire);

/*
 * The callbacks.  In a lane, what a backend throws becomes TL_UNKNOWN and
 * *dropped is set: the session is gone.  In an administrative session errors
 * are thrown on.  A callback that the backend lacks yields TL_REFUSED with
 * TL_CAUSE_CONFIG.
 */
extern TlOutcome session_send(Session *session, Attempt *attempt,
							  TlVerdict *verdict, bool *dropped);
extern TlOutcome session_resolve(Session *session, Attempt *attempt,
								 bool fence, TlVerdict *verdict,
								 bool *dropped);
extern TlOutcome session_inspect(Session *session, TlRemote *remote,
								 TlVerdict *verdict, bool *dropped);
extern TlOutcome session_migrate(Session *session, const TlMigration *step,
								 bool up, TlVerdict *verdict, bool *dropped);
extern TlOutcome session_watermark(Session *session, int64 until,
								   TlVerdict *verdict, bool *dropped);
extern TlOutcome session_audit(Session *session, const AuditRange *range,
							   TlSumCB emit, void *arg, TlVerdict *verdict,
							   bool *dropped);
extern TlOutcome session_check_health(Session *session, TlVerdict *verdict);

/* Can it be asked what it holds? */
extern bool session_resolves(const Session *session);

/* What a store has said: no control characters, and no secret. */
extern void session_clean_words(const Session *session, char *text,
								size_t size);

/* Text for people and for the target's row. */
extern const char *cause_name(TlCause cause);
extern const char *guarantee_name(const Session *session);

#endif							/* TL_SESSION_H */
