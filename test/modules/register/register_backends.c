/*-------------------------------------------------------------------------
 *
 * register_backends.c
 *	  Registers backends at run time: for shared_preload_libraries.
 *
 * The first is usable.  Each of the others has one thing wrong; the test
 * reads in the server's log that it was refused, and why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tokenledger_backend.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static TlOutcome
runtime_open(TlSession *session, TlVerdict *verdict)
{
	session->guarantee = TL_PER_EVENT;
	return TL_OK;
}

static TlOutcome
runtime_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	return TL_OK;
}

static void
runtime_close(TlSession *session, bool retire)
{
}

static const TlOption core_of_other_type[] = {
	{"lanes", TL_STRING_OPT, 0, NULL, 0, 0, NULL, NULL}, {.name = NULL}
};
static const TlOption twice[] = {
	{"a", TL_STRING_OPT, 0, NULL, 0, 0, NULL, NULL},
	{"a", TL_INT_OPT, 0, NULL, 0, 0, NULL, NULL}, {.name = NULL}
};
static const TlOption bad_default[] = {
	{"b", TL_MS_OPT, 0, "soon", 0, 0, NULL, NULL}, {.name = NULL}
};
static const TlMigration descending[] = {
	{101, 100, "", NULL, NULL, NULL}, {100, 100, "", NULL, NULL, NULL},
	{.version = 0}
};

static const TlBackend usable = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "runtime",
	.open = runtime_open,
	.send = runtime_send,
	.close = runtime_close
};

/* Registers a copy of the usable backend with one member changed. */
#define REGISTER_WITH(member, value) \
	do { \
		TlBackend	changed = usable; \
		changed.name = "changed"; \
		changed.member = value; \
		report(#member, register_backend(&changed)); \
	} while (0)

static void
report(const char *what, const TlCore *core)
{
	elog(LOG, "register %s: %s", what, core != NULL ? "accepted" : "refused");
}

void
_PG_init(void)
{
	TlRegisterCB register_backend =
		*(TlRegisterCB *) find_rendezvous_variable(TL_REGISTRY);

	if (register_backend == NULL)
		elog(ERROR, "tokenledger must be preloaded first");
	report("usable", register_backend(&usable));
	report("again", register_backend(&usable));
	report("nothing", register_backend(NULL));
	REGISTER_WITH(magic, 1);
	REGISTER_WITH(struct_size, 8);
	REGISTER_WITH(struct_size, sizeof(TlBackend) + 1);
	REGISTER_WITH(name, "null");
	REGISTER_WITH(name, "../x");
	REGISTER_WITH(name, NULL);
	REGISTER_WITH(send, NULL);
	REGISTER_WITH(max_rows, -1);
	REGISTER_WITH(options, core_of_other_type);
	REGISTER_WITH(options, twice);
	REGISTER_WITH(options, bad_default);
	REGISTER_WITH(migrations, descending);
}
