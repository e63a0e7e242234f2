/*-------------------------------------------------------------------------
 *
 * faulty.c
 *	  A backend around another one, which makes things go wrong on a plan.
 *
 * Preloaded after tokenledger, the library registers the backend
 * "faulty-<name>" for each name in faulty.inner: the options, limits and
 * callbacks of tokenledger_<name>, but what is planned (plan.c) happens
 * before the store is asked, or after it has answered, and everything is
 * written down (journal.c).
 *
 * Whatever goes wrong, the outcome is true, as the contract demands of a
 * backend: before TL_RETRY, TL_SPLIT or TL_REFUSED is said of events that may
 * have landed by an earlier attempt, the store is asked.  So each event that
 * is lost or doubled is the core's fault, or the inner backend's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "faulty.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/* A call of a callback that has a fault. */
typedef struct Call
{
	Faulty	   *f;
	TlBatch    *batch;			/* NULL: it has none */
	Plan	   *plan;
	const char *callback;
	int			number;
	TlVerdict  *verdict;
} Call;

typedef TlOutcome (*FaultCB) (Call *call);

typedef struct FaultEntry
{
	const char *name;
	FaultCB		run;
} FaultEntry;

const TlCore *faulty_core;

static TlCore inner_core;		/* handed to the inner backends */
static Inner *inners = NULL;
static Faulty *sessions = NULL;
static char *inner_names;

/* Registration. */

static const char *const guarantees[] = {"per_attempt", "per_batch", NULL};

static const TlOption own_options[] = {
	{
		"faulty_plan", TL_STRING_OPT, 0,
		.description = "file with the faults to come"
	},
	{
		"faulty_journal", TL_STRING_OPT, 0,
		.description = "file to which every call is written"
	},
	{
		"faulty_guarantee", TL_ENUM_OPT, 0, NULL, 0, 0, guarantees,
		.description = "guarantee to pretend, if the store's is better"
	},
	{
		"faulty_token_valid", TL_MS_OPT, 0, "1h", 0, 86400000,
		.description = "how long a token is pretended to be valid"
	},
	{
		"faulty_atomic", TL_BOOL_OPT, 0, "off",
		.description = "the store takes a batch whole or not at all"
	},
	{
		"faulty_state", TL_BOOL_OPT, 0, "off",
		.description = "save a state with each batch"
	},
	{.name = NULL}
};

static TlOutcome faulty_open(TlSession *session, TlVerdict *verdict);
static TlOutcome faulty_send(TlSession *session, TlBatch *batch,
							 TlVerdict *verdict);
static void faulty_close(TlSession *session, bool retire);
static TlOutcome faulty_resolve(TlSession *session, TlBatch *batch,
								bool fence, TlVerdict *verdict);
static TlOutcome faulty_inspect(TlSession *session, TlRemote *remote,
								TlVerdict *verdict);
static TlOutcome faulty_migrate(TlSession *session, const TlMigration *step,
								bool up, TlVerdict *verdict);
static TlOutcome faulty_watermark(TlSession *session, int64 until,
								  TlVerdict *verdict);

static const TlOption *
merged_options(const TlOption *options)
{
	const int	mine = lengthof(own_options);
	int			theirs = 0;
	TlOption   *merged;

	while (options != NULL && options[theirs].name != NULL)
		theirs++;
	merged = palloc(sizeof(TlOption) * (theirs + mine));
	if (theirs > 0)
		memcpy(merged, options, sizeof(TlOption) * theirs);
	memcpy(merged + theirs, own_options, sizeof(own_options));
	return merged;
}

static void
wrap(Inner *inner, const char *name)
{
	const TlBackend *table = inner->table;
	TlBackend  *faulty = &inner->faulty;

	memcpy(faulty, table, Min(table->struct_size, sizeof(TlBackend)));
	faulty->struct_size = sizeof(TlBackend);
	faulty->name = psprintf("faulty-%s", name);
	faulty->options = merged_options(table->options);
	faulty->open = faulty_open;
	faulty->send = faulty_send;
	faulty->close = faulty_close;
	faulty->resolve = faulty->resolve ? faulty_resolve : NULL;
	faulty->inspect = faulty->inspect ? faulty_inspect : NULL;
	faulty->migrate = faulty->migrate ? faulty_migrate : NULL;
	faulty->watermark = faulty->watermark ? faulty_watermark : NULL;
}

static void
register_around(const char *name, TlRegisterCB register_backend)
{
	const TlBackend *(*init) (const TlCore *core);
	Inner	   *inner = palloc0(sizeof(Inner));

	init = (const TlBackend *(*) (const TlCore *))
		load_external_function(psprintf("$libdir/tokenledger_%s", name),
							   "tokenledger_backend_init", true, NULL);
	inner->table = init(&inner_core);
	wrap(inner, name);
	faulty_core = register_backend(&inner->faulty);
	if (faulty_core == NULL)
		elog(ERROR, "could not register backend \"%s\"", inner->faulty.name);
	inner_core = landing_core();
	inner->next = inners;
	inners = inner;
}

void
_PG_init(void)
{
	TlRegisterCB *registry;
	List	   *names;
	ListCell   *lc;

	DefineCustomStringVariable("faulty.inner",
							   "Backends to put a faulty one around.", NULL,
							   &inner_names, "", PGC_POSTMASTER, 0, NULL,
							   NULL, NULL);
	registry = (TlRegisterCB *) find_rendezvous_variable(TL_REGISTRY);
	if (*registry == NULL)
		elog(ERROR, "tokenledger must be preloaded before this library");
	MemoryContextSwitchTo(TopMemoryContext);
	if (!SplitIdentifierString(pstrdup(inner_names), ',', &names))
		elog(ERROR, "faulty.inner is not a list of names");
	foreach(lc, names)
		register_around(lfirst(lc), *registry);
}

/* Sessions. */

static void
forget_session(void *arg)
{
	Faulty	  **link = &sessions;

	while (*link != NULL && *link != arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

static Faulty *
add_session(TlSession *session)
{
	Faulty	   *f = MemoryContextAllocZero(session->mcxt, sizeof(Faulty));
	const Inner *inner = inners;

	while (strcmp(inner->faulty.name, session->scheme) != 0)
		inner = inner->next;
	f->session = session;
	f->inner = inner;
	f->next = sessions;
	f->reset.func = forget_session;
	f->reset.arg = f;
	MemoryContextRegisterResetCallback(session->mcxt, &f->reset);
	sessions = f;
	return f;
}

static Faulty *
find_session(TlSession *session)
{
	Faulty	   *f = sessions;

	while (f->session != session)
		f = f->next;
	return f;
}

/* The inner backend sees and sets the guarantee that it has verified. */
static void
enter_inner(Faulty *f)
{
	f->session->guarantee = f->real;
}

static void
leave_inner(Faulty *f)
{
	const char *pretended = faulty_core->option(f->session,
												"faulty_guarantee");
	const char *valid = faulty_core->option(f->session, "faulty_token_valid");
	TlGuarantee guarantee = TL_PER_EVENT;

	landing_meddle(NULL);
	f->real = f->session->guarantee;
	if (pretended != NULL)
		guarantee = strcmp(pretended, "per_batch") == 0 ? TL_PER_BATCH :
			TL_PER_ATTEMPT;
	if (f->real == TL_AT_LEAST_ONCE || guarantee >= f->real)
		return;
	f->session->guarantee = guarantee;
	f->session->token_valid_ms = atol(valid);
}

/* Truth. */

static TlOutcome
injected(Call *call, TlCause cause, TlOutcome outcome)
{
	call->verdict->cause = cause;
	strlcpy(call->verdict->message, INJECTED, sizeof(call->verdict->message));
	return outcome;
}

static void
mark_landed(TlBatch *batch, int32 row)
{
	journal_mark(batch, row, 'l');
	faulty_core->mark_landed(batch, row);
}

static void
mark_refused(TlBatch *batch, int32 row)
{
	journal_mark(batch, row, 'r');
	faulty_core->mark_refused(batch, row, INJECTED);
}

static bool
poisoned(const Call *call)
{
	for (int32 row = 0; row < call->batch->nrows; row++)
		if (plan_poisons(call->plan, &call->batch->event_ids[row]))
			return true;
	return false;
}

/* No part of a batch can be in the store without the others. */
static bool
atomic(const Call *call)
{
	return strcmp(faulty_core->option(call->f->session, "faulty_atomic"),
				  "on") == 0;
}

/* The first percent of the rows, without those that no store would take. */
static int32 *
healthy_rows(const Call *call, long percent, int32 *n)
{
	TlBatch    *batch = call->batch;
	int32	   *rows = palloc(sizeof(int32) * (batch->nrows + 1));

	*n = 0;
	for (int32 row = 0; row < batch->nrows * percent / 100; row++)
		if (!plan_poisons(call->plan, &batch->event_ids[row]))
			rows[(*n)++] = row;
	return rows;
}

/* Those of them that can land with the others, or without them. */
static int32 *
landing_rows(const Call *call, long percent, int32 *n)
{
	int32	   *rows = healthy_rows(call, percent, n);

	if (atomic(call) && poisoned(call))
		*n = 0;
	return rows;
}

/*
 * May we say of the batch that it is not stored, and never will be by what
 * was sent so far?  Marks what is there after all.
 */
static TlOutcome
not_stored(Call *call, TlCause cause, TlOutcome outcome)
{
	TlBatch    *batch = call->batch;
	bool	   *present = palloc0(batch->nrows + 1);
	int32		landed = 0;
	int32		n;
	int32	   *rows = healthy_rows(call, 100, &n);

	land_late(call->f);
	if (batch->history == TL_FRESH || call->f->real == TL_AT_LEAST_ONCE ||
		call->f->inner->table->resolve == NULL)
		return injected(call, cause, outcome);
	if (look_up(call->f, batch, rows, n, present) != TL_OK)
		return injected(call, TL_CAUSE_NETWORK, TL_UNKNOWN);
	for (int32 row = 0; row < batch->nrows; row++)
	{
		if (!present[row])
			continue;
		mark_landed(batch, row);
		landed++;
	}
	if (landed == batch->nrows)
		return TL_OK;
	return injected(call, cause, outcome);
}

/*
 * Everything healthy lands, as far as the inner backend can do it.  What has
 * no batch has been done by then.
 */
static TlOutcome
land_all(Call *call)
{
	int32		n;
	int32	   *rows;

	if (call->batch == NULL)
		return TL_OK;
	rows = landing_rows(call, 100, &n);
	return land(call->f, call->batch, rows, n, false, call->verdict);
}

/* Everything lands that does; if something does not, who can tell. */
static TlOutcome
land_whole(Call *call)
{
	TlOutcome	outcome = land_all(call);

	if (outcome == TL_OK && poisoned(call))
		return injected(call, TL_CAUSE_NETWORK, TL_UNKNOWN);
	return outcome;
}

/*
 * Some land.  A store whose token names a batch does not do that, nor one
 * that takes it as a whole, so there nothing lands.
 */
static TlOutcome
land_part(Call *call, long percent, bool mark)
{
	int32		n;
	int32	   *rows = landing_rows(call, percent, &n);
	TlOutcome	outcome;

	if (call->f->real == TL_PER_BATCH || atomic(call))
		return TL_OK;
	outcome = land(call->f, call->batch, rows, n, true, call->verdict);
	for (int32 i = 0; outcome == TL_OK && mark && i < n; i++)
		mark_landed(call->batch, rows[i]);
	return outcome;
}

/* What was said instead of the truth, unless that is worse. */
static TlOutcome
unless_failed(Call *call, TlOutcome landed, TlOutcome outcome)
{
	return landed == TL_OK ? injected(call, TL_CAUSE_NETWORK, outcome) :
		landed;
}

/* Faults. */

static TlOutcome
fault_retry(Call *call)
{
	if (call->batch == NULL)
		return injected(call, TL_CAUSE_NETWORK, TL_RETRY);
	return not_stored(call, TL_CAUSE_NETWORK, TL_RETRY);
}

static TlOutcome
fault_schema(Call *call)
{
	return not_stored(call, TL_CAUSE_SCHEMA, TL_RETRY);
}

static TlOutcome
fault_unknown_before(Call *call)
{
	return injected(call, TL_CAUSE_NETWORK, TL_UNKNOWN);
}

static TlOutcome
fault_unknown_after(Call *call)
{
	return unless_failed(call, land_all(call), TL_UNKNOWN);
}

static TlOutcome
fault_unknown_part(Call *call)
{
	return unless_failed(call, land_part(call, call->plan->fault.arg, false),
						 TL_UNKNOWN);
}

/* The answer is lost now, the events arrive later. */
static TlOutcome
fault_unknown_late(Call *call)
{
	int32		n;
	int32	   *rows = landing_rows(call, 100, &n);
	MemoryContext old;

	land_late(call->f);
	old = MemoryContextSwitchTo(call->f->session->mcxt);
	if (n > 0)
		call->f->late = landing_copy(call->batch, rows, n);
	MemoryContextSwitchTo(old);
	return injected(call, TL_CAUSE_NETWORK, TL_UNKNOWN);
}

static TlOutcome
fault_split(Call *call)
{
	if (call->batch->nrows <= call->plan->fault.arg)
		return land_whole(call);
	return not_stored(call, TL_CAUSE_DATA, TL_SPLIT);
}

static TlOutcome
fault_split_poison(Call *call)
{
	if (!poisoned(call))
		return land_all(call);
	return not_stored(call, TL_CAUSE_DATA, TL_SPLIT);
}

static void
mark_poison(Call *call)
{
	for (int32 row = 0; row < call->batch->nrows; row++)
		if (plan_poisons(call->plan, &call->batch->event_ids[row]))
			mark_refused(call->batch, row);
}

/* The others do not land either. */
static TlOutcome
fault_refuse_named_none(Call *call)
{
	TlOutcome	outcome;

	if (!poisoned(call))
		return land_all(call);
	outcome = not_stored(call, TL_CAUSE_DATA, TL_REFUSED);
	if (outcome == TL_REFUSED)
		mark_poison(call);
	return outcome;
}

/* The others land, if one can land without another. */
static TlOutcome
fault_refuse_named(Call *call)
{
	TlOutcome	outcome;

	if (atomic(call))
		return fault_refuse_named_none(call);
	outcome = land_all(call);
	if (outcome == TL_OK)
		mark_poison(call);
	return outcome;
}

static TlOutcome
fault_refuse_unnamed(Call *call)
{
	if (!poisoned(call))
		return land_all(call);
	return not_stored(call, TL_CAUSE_DATA, TL_REFUSED);
}

static TlOutcome
fault_refuse_all(Call *call)
{
	return not_stored(call, TL_CAUSE_DATA, TL_REFUSED);
}

static TlOutcome
fault_refuse_all_named(Call *call)
{
	if (call->batch->history != TL_FRESH)
		return not_stored(call, TL_CAUSE_DATA, TL_REFUSED);
	for (int32 row = 0; row < call->batch->nrows; row++)
		mark_refused(call->batch, row);
	return injected(call, TL_CAUSE_DATA, TL_REFUSED);
}

/* Half of them land and are marked; of the others nothing is known. */
static TlOutcome
fault_marks_unknown(Call *call)
{
	return unless_failed(call, land_part(call, 50, true), TL_UNKNOWN);
}

static TlOutcome
fault_marks_retry(Call *call)
{
	if (call->batch->history != TL_FRESH)
		return fault_retry(call);
	return unless_failed(call, land_part(call, 50, true), TL_RETRY);
}

static TlOutcome
fault_throw(Call *call)
{
	elog(ERROR, "%s", INJECTED);
	return TL_UNKNOWN;
}

/* Ends as by pg_terminate_backend(), with nothing said to the core. */
static TlOutcome
fault_exit(Call *call)
{
	kill(getpid(), SIGTERM);
	proc_exit(1);
	return TL_UNKNOWN;
}

static TlOutcome
fault_kill(Call *call)
{
	kill(getpid(), SIGKILL);
	return TL_UNKNOWN;
}

static TlOutcome
fault_throw_after(Call *call)
{
	(void) land_all(call);
	return fault_throw(call);
}

static TlOutcome
fault_exit_after(Call *call)
{
	(void) land_all(call);
	return fault_exit(call);
}

static TlOutcome
fault_kill_after(Call *call)
{
	(void) land_all(call);
	return fault_kill(call);
}

/* Waits until it is told to stop. */
static TlOutcome
fault_hang(Call *call)
{
	while (faulty_core->wait(call->f->session, NULL, 0, -1) != TL_WAKE_STOP)
		;
	if (call->batch != NULL && call->batch->history != TL_FRESH)
		return injected(call, TL_CAUSE_NETWORK, TL_UNKNOWN);
	return injected(call, TL_CAUSE_NETWORK, TL_RETRY);
}

static TlOutcome
fault_hang_after(Call *call)
{
	TlOutcome	landed = land_all(call);

	(void) fault_hang(call);
	return unless_failed(call, landed, TL_UNKNOWN);
}

/* Lands, and has the answer wait until the plan says otherwise. */
static TlOutcome
fault_hold(Call *call)
{
	TlOutcome	outcome = land_whole(call);
	Plan	   *plan = call->plan;

	while (plan_is(plan, "hold"))
	{
		if (faulty_core->wait(call->f->session, NULL, 0, 20) == TL_WAKE_STOP)
			return unless_failed(call, outcome, TL_UNKNOWN);
		plan = plan_read(call->f, call->callback, call->number);
	}
	return outcome;
}

/* The second must change nothing, if that is what the store guarantees. */
static TlOutcome
fault_twice(Call *call)
{
	TlOutcome	outcome;

	if (call->f->real == TL_PER_ATTEMPT ||
		call->f->real == TL_AT_LEAST_ONCE)
		return land_whole(call);
	(void) fault_unknown_late(call);
	memset(call->verdict->message, 0, sizeof(call->verdict->message));
	call->verdict->cause = TL_CAUSE_NONE;
	outcome = land_whole(call);
	if (call->f->late == NULL)
		return outcome;
	call->f->late->history = TL_SAME_AGAIN;
	call->f->late->attempt++;
	land_late(call->f);
	return outcome;
}

static TlOutcome
fault_meddle(Call *call)
{
	const Fault *fault = &call->plan->fault;
	Meddling	with = {0};
	TlOutcome	outcome;

	if (plan_is(call->plan, "stop_at"))
		with.stop_at = fault->arg;
	else if (plan_is(call->plan, "timeout_at"))
		with.timeout_at = fault->arg;
	else
		with.stall = true;
	landing_meddle(&with);
	outcome = land_whole(call);
	journal_note(call->f, "waits=%d", landing_waits());
	return outcome;
}

static void
save_state(Call *call, const char *kind)
{
	char	   *state = psprintf("%s%d", kind, call->number);

	journal_note(call->f, "%s=%s", kind, state);
	if (strcmp(kind, "set") == 0)
		faulty_core->set_state(call->f->session, state, strlen(state));
	else if (!faulty_core->save_state(call->f->session, state, strlen(state)))
		journal_note(call->f, "lost=1");
}

static TlOutcome
fault_save(Call *call)
{
	save_state(call, "saved");
	return land_whole(call);
}

static TlOutcome
fault_save_exit(Call *call)
{
	save_state(call, "saved");
	return fault_exit(call);
}

static const FaultEntry faults[] = {
	{"retry", fault_retry},
	{"schema", fault_schema},
	{"unknown_before", fault_unknown_before},
	{"unknown_after", fault_unknown_after},
	{"unknown_part", fault_unknown_part},
	{"unknown_late", fault_unknown_late},
	{"split", fault_split},
	{"split_poison", fault_split_poison},
	{"refuse_named", fault_refuse_named},
	{"refuse_named_none", fault_refuse_named_none},
	{"refuse_unnamed", fault_refuse_unnamed},
	{"refuse_all", fault_refuse_all},
	{"refuse_all_named", fault_refuse_all_named},
	{"marks_unknown", fault_marks_unknown},
	{"marks_retry", fault_marks_retry},
	{"throw", fault_throw},
	{"throw_after", fault_throw_after},
	{"exit", fault_exit},
	{"exit_after", fault_exit_after},
	{"kill", fault_kill},
	{"kill_after", fault_kill_after},
	{"hang", fault_hang},
	{"hang_after", fault_hang_after},
	{"hold", fault_hold},
	{"twice", fault_twice},
	{"stop_at", fault_meddle},
	{"timeout_at", fault_meddle},
	{"stall", fault_meddle},
	{"save", fault_save},
	{"save_exit", fault_save_exit},
	{.name = NULL}
};

/* The fault of this call; NULL: none.  NB: a plan that we cannot follow. */
static FaultCB
find_fault(const Call *call)
{
	const char *name = call->plan->fault.name;

	if (*name == '\0')
		return NULL;
	for (const FaultEntry *entry = faults; entry->name != NULL; entry++)
		if (strcmp(entry->name, name) == 0)
			return entry->run;
	elog(PANIC, "the plan has an unknown fault \"%s\"", name);
}

static void
begin_call(Call *call, Faulty *f, const char *callback, TlBatch *batch,
		   TlVerdict *verdict)
{
	call->f = f;
	call->batch = batch;
	call->callback = callback;
	call->verdict = verdict;
	call->number = journal_count(f, callback) + 1;
	call->plan = plan_read(f, callback, call->number);
	journal_begin(f, callback, call->number, call->plan->fault.name, batch);
	enter_inner(f);
}

static TlOutcome
end_call(Call *call, TlOutcome outcome)
{
	leave_inner(call->f);
	journal_end(call->f, call->callback, call->number, outcome, call->batch);
	return outcome;
}

/* Callbacks. */

static TlOutcome
faulty_open(TlSession *session, TlVerdict *verdict)
{
	Faulty	   *f = add_session(session);
	Call		call;
	FaultCB		fault;
	TlOutcome	outcome;

	f->real = session->guarantee;
	begin_call(&call, f, "open", NULL, verdict);
	fault = find_fault(&call);
	outcome = fault ? fault(&call) : f->inner->table->open(session, verdict);
	return end_call(&call, outcome);
}

static bool
keeps_state(Faulty *f)
{
	return strcmp(faulty_core->option(f->session, "faulty_state"), "on") == 0;
}

static TlOutcome
faulty_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	Faulty	   *f = find_session(session);
	Call		call;
	FaultCB		fault;
	bool		was_late = f->late != NULL;
	TlOutcome	outcome;

	begin_call(&call, f, "send", batch, verdict);
	fault = find_fault(&call);
	if (keeps_state(f))
		save_state(&call, "set");
	outcome = fault ? fault(&call) :
		f->inner->table->send(session, batch, verdict);
	if (was_late)
		land_late(f);
	return end_call(&call, outcome);
}

static void
faulty_close(TlSession *session, bool retire)
{
	Faulty	   *f = find_session(session);
	int			number = journal_count(f, "close") + 1;

	journal_begin(f, "close", number, retire ? "retire" : "", NULL);
	enter_inner(f);
	f->inner->table->close(session, retire);
	journal_end(f, "close", number, TL_OK, NULL);
}

/* NB: what was on its way arrives before the fence, never after it. */
static TlOutcome
faulty_resolve(TlSession *session, TlBatch *batch, bool fence,
			   TlVerdict *verdict)
{
	Faulty	   *f = find_session(session);
	Call		call;
	FaultCB		fault;
	TlOutcome	outcome;
	int32		n;
	int32	   *rows;

	begin_call(&call, f, "resolve", batch, verdict);
	rows = healthy_rows(&call, 100, &n);
	if (fence)
		land_late(f);
	if (plan_is(call.plan, "retry"))
		outcome = injected(&call, TL_CAUSE_NETWORK, TL_RETRY);
	else if ((fault = find_fault(&call)) != NULL)
		outcome = fault(&call);
	else
		outcome = ask(f, batch, rows, n, fence, verdict);
	return end_call(&call, outcome);
}

static TlOutcome
faulty_inspect(TlSession *session, TlRemote *remote, TlVerdict *verdict)
{
	Faulty	   *f = find_session(session);
	Call		call;
	TlOutcome	outcome;

	begin_call(&call, f, "inspect", NULL, verdict);
	if (plan_is(call.plan, "version") || *call.plan->fault.name == '\0')
		outcome = f->inner->table->inspect(session, remote, verdict);
	else
		outcome = find_fault(&call) (&call);
	if (outcome == TL_OK && plan_is(call.plan, "version"))
		remote->version = Min(remote->version, call.plan->fault.arg);
	return end_call(&call, outcome);
}

static TlOutcome
faulty_migrate(TlSession *session, const TlMigration *step, bool up,
			   TlVerdict *verdict)
{
	Faulty	   *f = find_session(session);
	Call		call;
	FaultCB		fault;
	TlOutcome	outcome = TL_OK;

	begin_call(&call, f, "migrate", NULL, verdict);
	fault = find_fault(&call);
	if (fault == NULL || strstr(call.plan->fault.name, "_after") != NULL)
		outcome = f->inner->table->migrate(session, step, up, verdict);
	if (fault != NULL)
		outcome = fault(&call);
	return end_call(&call, outcome);
}

static TlOutcome
faulty_watermark(TlSession *session, int64 until, TlVerdict *verdict)
{
	Faulty	   *f = find_session(session);
	Call		call;
	FaultCB		fault;
	TlOutcome	outcome = TL_OK;

	begin_call(&call, f, "watermark", NULL, verdict);
	journal_note(f, "until=" INT64_FORMAT, until);
	fault = find_fault(&call);
	if (fault == NULL || strstr(call.plan->fault.name, "_after") != NULL)
		outcome = f->inner->table->watermark(session, until, verdict);
	if (fault != NULL)
		outcome = fault(&call);
	return end_call(&call, outcome);
}
