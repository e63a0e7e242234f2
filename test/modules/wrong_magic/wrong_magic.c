/*-------------------------------------------------------------------------
 *
 * wrong_magic.c
 *	  A backend that was built against another contract.
 *
 * Everything about it is right but its magic number, so that a test which
 * sees it refused knows why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tokenledger_backend.h"

PG_MODULE_MAGIC;

static TlOutcome
wrong_open(TlSession *session, TlVerdict *verdict)
{
	return TL_OK;
}

static TlOutcome
wrong_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	return TL_OK;
}

static void
wrong_close(TlSession *session, bool retire)
{
}

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC + 1,
	.struct_size = sizeof(TlBackend),
	.name = "wrongmagic",
	.display_name = "Wrong magic",
	.open = wrong_open,
	.send = wrong_send,
	.close = wrong_close
};

const TlBackend *
tokenledger_backend_init(const TlCore *core)
{
	return &backend;
}
