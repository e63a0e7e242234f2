/*-------------------------------------------------------------------------
 *
 * null.c
 *	  Backend "null": accepts every event and keeps none.
 *
 * For measuring the core: what reading the ledger and building the columns
 * cost without a store behind them.  Nothing is stored, so nothing can be
 * stored twice, and each event counts as new.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tokenledger_backend.h"

PG_MODULE_MAGIC;

static const TlCore *core;

static TlOutcome null_open(TlSession *session, TlVerdict *verdict);
static TlOutcome null_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
static void null_close(TlSession *session, bool retire);

static const TlOption options[] = {
	{
		"delay", TL_MS_OPT, 0, "0", 0, 3600000,
		.description = "time that a batch takes, as if a store were working"
	},
	{.name = NULL}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "null",
	.display_name = "Nothing",
	.options = options,
	.open = null_open,
	.send = null_send,
	.close = null_close
};

const TlBackend *
tokenledger_backend_init(const TlCore *services)
{
	core = services;
	return &backend;
}

static TlOutcome
null_open(TlSession *session, TlVerdict *verdict)
{
	session->guarantee = TL_PER_EVENT;
	return TL_OK;
}

static TlOutcome
null_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	const char *delay = core->option(session, "delay");
	long		left = delay != NULL ? atol(delay) : 0;

	if (left > 0 &&
		core->wait(session, NULL, 0, left) == TL_WAKE_STOP)
	{
		verdict->cause = TL_CAUSE_NONE;
		strlcpy(verdict->message, "stopped", sizeof(verdict->message));
		return TL_RETRY;
	}
	verdict->rows_new = batch->nrows;
	return TL_OK;
}

static void
null_close(TlSession *session, bool retire)
{
}
