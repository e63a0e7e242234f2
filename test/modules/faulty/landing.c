/*-------------------------------------------------------------------------
 *
 * landing.c
 *	  What the wrapper lets the inner backend really do.
 *
 * The inner backend is handed a service table of ours.  Its marks on a batch
 * that we have cut are translated to rows of the core's batch; its waits can
 * be told to stop, to be over, or never to see a socket ready, which is how a
 * store that hangs looks from inside.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "faulty.h"

/* The batch that the inner backend works on. */
static struct
{
	TlBatch    *batch;			/* ours; NULL: it has the core's own */
	TlBatch    *outer;			/* the core's; NULL: marks are dropped */
	const int32 *rows;			/* of outer, by row of batch */
	bool	   *present;		/* collects marks in place of the core */
} cut;

static Meddling meddling;
static int	waits;

static void mark(TlBatch *batch, int32 row, const char *reason, bool landed);
static void inner_mark_landed(TlBatch *batch, int32 row);
static void inner_mark_refused(TlBatch *batch, int32 row, const char *reason);
static TlWake inner_wait(TlSession *session, TlWaitFd *fds, int nfds,
						 long timeout_ms);
static void inner_set_state(TlSession *session, const void *data, Size len);
static TlColumn copy_column(const TlColumn *column, const int32 *rows,
							int32 nrows);
static void copy_validity(TlColumn *copy, const TlColumn *column,
						  const int32 *rows, int32 nrows);
static void copy_text(TlColumn *copy, const TlColumn *column,
					  const int32 *rows, int32 nrows);

TlCore
landing_core(void)
{
	TlCore		core = *faulty_core;

	core.mark_landed = inner_mark_landed;
	core.mark_refused = inner_mark_refused;
	core.wait = inner_wait;
	core.set_state = inner_set_state;
	return core;
}

void
landing_meddle(const Meddling *with)
{
	static const Meddling nothing = {0};

	meddling = with ? *with : nothing;
	waits = 0;
}

int
landing_waits(void)
{
	return waits;
}

/* Rows of a batch as a batch of its own, in the current memory context. */
TlBatch *
landing_copy(const TlBatch *batch, const int32 *rows, int32 nrows)
{
	TlBatch    *copy = palloc(sizeof(TlBatch));
	TlColumn   *columns = palloc(sizeof(TlColumn) * (batch->ncolumns + 1));
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (nrows + 1));

	*copy = *batch;
	for (int i = 0; i < batch->ncolumns; i++)
		columns[i] = copy_column(&batch->columns[i], rows, nrows);
	for (int32 i = 0; i < nrows; i++)
		ids[i] = batch->event_ids[rows[i]];
	copy->nrows = nrows;
	copy->columns = columns;
	copy->event_ids = ids;
	return copy;
}

/*
 * Sends these rows.  With a token of its own if the batch may be sent again
 * as a whole: one token must not name two sets of events.
 */
TlOutcome
land(Faulty *f, TlBatch *batch, const int32 *rows, int32 nrows,
	 bool own_token, TlVerdict *verdict)
{
	TlOutcome	outcome;

	if (nrows == 0)
		return TL_OK;
	if (nrows == batch->nrows && !own_token)
		return f->inner->table->send(f->session, batch, verdict);
	cut.batch = landing_copy(batch, rows, nrows);
	cut.outer = batch;
	cut.rows = rows;
	if (own_token && !pg_strong_random(&cut.batch->token, UUID_LEN))
		elog(ERROR, "no random number");
	outcome = f->inner->table->send(f->session, cut.batch, verdict);
	memset(&cut, 0, sizeof(cut));
	return outcome;
}

/* The batch that was on its way arrives now; nobody hears how it ended. */
void
land_late(Faulty *f)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};
	TlOutcome	outcome;

	if (f->late == NULL)
		return;
	cut.batch = f->late;
	f->late->mcxt = CurrentMemoryContext;
	f->late = NULL;
	outcome = f->inner->table->send(f->session, cut.batch, &verdict);
	journal_note(f, "late=%d", outcome);
	memset(&cut, 0, sizeof(cut));
}

/*
 * Asks the store for these rows.  NB: of a fence, which may send what is
 * absent, events that no store would take must be kept away.
 */
TlOutcome
ask(Faulty *f, TlBatch *batch, const int32 *rows, int32 nrows, bool fence,
	TlVerdict *verdict)
{
	TlOutcome	outcome;

	if (nrows == 0)
		return TL_OK;
	if (nrows == batch->nrows)
		return f->inner->table->resolve(f->session, batch, fence, verdict);
	cut.batch = landing_copy(batch, rows, nrows);
	cut.outer = batch;
	cut.rows = rows;
	outcome = f->inner->table->resolve(f->session, cut.batch, fence, verdict);
	memset(&cut, 0, sizeof(cut));
	return outcome;
}

/* The same with a fence, and the answer is kept from the core. */
TlOutcome
look_up(Faulty *f, TlBatch *batch, const int32 *rows, int32 nrows,
		bool *present)
{
	TlVerdict	verdict = {.struct_size = sizeof(TlVerdict)};
	TlOutcome	outcome;

	if (nrows == 0)
		return TL_OK;
	cut.batch = landing_copy(batch, rows, nrows);
	cut.rows = rows;
	cut.present = present;
	outcome = f->inner->table->resolve(f->session, cut.batch, true, &verdict);
	memset(&cut, 0, sizeof(cut));
	return outcome;
}

static void
inner_mark_landed(TlBatch *batch, int32 row)
{
	mark(batch, row, NULL, true);
}

static void
inner_mark_refused(TlBatch *batch, int32 row, const char *reason)
{
	mark(batch, row, reason, false);
}

static void
mark(TlBatch *batch, int32 row, const char *reason, bool landed)
{
	if (row < 0 || row >= batch->nrows)
		elog(PANIC, "row %d of %d was marked", row, batch->nrows);
	if (batch == cut.batch && cut.present != NULL)
	{
		cut.present[cut.rows[row]] |= landed;
		return;
	}
	if (batch == cut.batch && cut.outer == NULL)
		return;
	if (batch == cut.batch)
	{
		row = cut.rows[row];
		batch = cut.outer;
	}
	journal_mark(batch, row, landed ? 'l' : 'r');
	if (landed)
		faulty_core->mark_landed(batch, row);
	else
		faulty_core->mark_refused(batch, row, reason);
}

/* NB: a backend that is told to stop may wait no more. */
static TlWake
inner_wait(TlSession *session, TlWaitFd *fds, int nfds, long timeout_ms)
{
	waits++;
	for (int i = 0; i < nfds; i++)
		fds[i].fired = 0;
	if (meddling.stop_at > 0 && waits >= meddling.stop_at)
		return TL_WAKE_STOP;
	if (waits == meddling.timeout_at)
		return TL_WAKE_TIMEOUT;
	if (meddling.stall)
		return faulty_core->wait(session, NULL, 0, timeout_ms);
	return faulty_core->wait(session, fds, nfds, timeout_ms);
}

/* What arrives late is acknowledged to nobody. */
static void
inner_set_state(TlSession *session, const void *data, Size len)
{
	if (cut.batch == NULL || cut.outer != NULL)
		faulty_core->set_state(session, data, len);
}

static TlColumn
copy_column(const TlColumn *column, const int32 *rows, int32 nrows)
{
	static const Size widths[] = {
		[TL_UUID] = sizeof(pg_uuid_t), [TL_TIMESTAMP] = 8, [TL_FLOAT64] = 8,
		[TL_INT64] = 8, [TL_DECIMAL] = 8
	};
	TlColumn	copy = *column;

	copy_validity(&copy, column, rows, nrows);
	if (column->type == TL_TEXT || column->type == TL_JSON)
		copy_text(&copy, column, rows, nrows);
	else
	{
		Size		width = widths[column->type];
		char	   *values = palloc(width * (nrows + 1));

		for (int32 i = 0; i < nrows; i++)
			memcpy(values + i * width,
				   (const char *) column->values + rows[i] * width, width);
		copy.values = values;
	}
	return copy;
}

static void
copy_validity(TlColumn *copy, const TlColumn *column, const int32 *rows,
			  int32 nrows)
{
	uint8	   *bits = palloc0(nrows / 8 + 8);

	copy->null_count = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		if (tl_isnull(column, rows[i]))
			copy->null_count++;
		else
			bits[i >> 3] |= 1 << (i & 7);
	}
	copy->validity = copy->null_count > 0 ? bits : NULL;
}

static void
copy_text(TlColumn *copy, const TlColumn *column, const int32 *rows,
		  int32 nrows)
{
	StringInfoData data;
	int32	   *offsets = palloc(sizeof(int32) * (nrows + 1));

	initStringInfo(&data);
	offsets[0] = 0;
	for (int32 i = 0; i < nrows; i++)
	{
		int32		len;
		const char *text = tl_text(column, rows[i], &len);

		appendBinaryStringInfo(&data, text, len);
		offsets[i + 1] = data.len;
	}
	copy->values = offsets;
	copy->data = data.data;
}
