/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  Which events the last transactions of a lane have brought.
 *
 * A topic cannot be asked for an event, and a token in a group says that its
 * batch was committed, not what was in it.  The core sends a part again in
 * other batches when one was refused or in doubt, and settles it when all of
 * them are through.  So before a batch is committed the lane's saved state
 * says which events it has, and which those committed before it had that may
 * not be settled yet.  After a take-over the two together tell what the topic
 * holds, whatever the batches are then.
 *
 * What is not settled is no more than a part, and a part's first batch is
 * all of it: no more events than the largest batch had, whether it came
 * through or not.  They are forgotten when as many have been committed in a
 * row without any trouble.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define STATE_MAGIC		0x4b4a3031	/* "KJ01" */

typedef struct SavedState
{
	uint32		magic;
	int32		most;
	int32		ncommitted;
	int32		npending;
	pg_uuid_t	token;			/* of the pending ones */
	pg_uuid_t	ids[FLEXIBLE_ARRAY_MEMBER]; /* committed, then pending */
} SavedState;

struct TlkfJournal
{
	SavedState *state;			/* as it was saved, or is to be */
	int32		smooth;			/* events committed since the last trouble */
};

static TlkfJournal *journal(TlkfState *state);
static SavedState *load(TlSession *session);
static Size state_size(int32 nids);
static int	compare_ids(const void *a, const void *b);

/* So many events are begun; durable before any of them is committed. */
void
tlkf_journal_expect(TlkfState *state, int32 nrows)
{
	TlkfJournal *j = journal(state);

	j->state->most = Max(j->state->most, nrows);
}

/*
 * This batch may be committed from now on.  false: the lane is lost.
 */
bool
tlkf_journal_begin(TlkfState *state, const TlBatch *batch)
{
	TlSession  *session = state->session;
	TlkfJournal *j = journal(state);
	const SavedState *old = j->state;
	int32		most = Max(old->most, batch->nrows);
	int32		keep = Min(old->ncommitted, most);
	Size		size = state_size(keep + batch->nrows);
	SavedState *new;

	if (j->smooth >= most)
		keep = 0;
	new = MemoryContextAlloc(session->mcxt, size);
	new->magic = STATE_MAGIC;
	new->most = most;
	new->ncommitted = keep;
	new->npending = batch->nrows;
	new->token = batch->token;
	memcpy(new->ids, old->ids + old->ncommitted - keep, UUID_LEN * keep);
	memcpy(new->ids + keep, batch->event_ids, UUID_LEN * batch->nrows);
	pfree(j->state);
	j->state = new;
	return tlkf_core->save_state(session, new,
								 state_size(keep + batch->nrows));
}

/* What became of it; of one that is in doubt, tlkf_journal_resolve(). */
void
tlkf_journal_end(TlkfState *state, bool committed)
{
	TlkfJournal *j = journal(state);

	if (!committed)
	{
		j->smooth = 0;
		return;
	}
	j->smooth = Min(j->smooth, j->state->most) + j->state->npending;
	j->state->ncommitted += j->state->npending;
	j->state->npending = 0;
}

/*
 * Marks the batch's events that the lane has committed; last: the token that
 * the group has.  NB: what was committed and settled long ago is not known.
 */
void
tlkf_journal_resolve(TlkfState *state, TlBatch *batch, const pg_uuid_t *last)
{
	TlkfJournal *j = journal(state);
	SavedState *s = j->state;
	bool		all = batch->history == TL_SAME_AGAIN &&
		memcmp(&batch->token, last, UUID_LEN) == 0;
	pg_uuid_t  *sorted;

	j->smooth = 0;
	s->most = Max(s->most, batch->nrows);
	if (memcmp(&s->token, last, UUID_LEN) == 0)
		s->ncommitted += s->npending;
	s->npending = 0;
	sorted = palloc(UUID_LEN * (s->ncommitted + 1));
	memcpy(sorted, s->ids, UUID_LEN * s->ncommitted);
	qsort(sorted, s->ncommitted, UUID_LEN, compare_ids);
	for (int32 row = 0; row < batch->nrows; row++)
		if (all || bsearch(&batch->event_ids[row], sorted, s->ncommitted,
						   UUID_LEN, compare_ids) != NULL)
			tlkf_core->mark_landed(batch, row);
	pfree(sorted);
}

static TlkfJournal *
journal(TlkfState *state)
{
	TlSession  *session = state->session;

	if (state->journal == NULL)
	{
		state->journal = MemoryContextAllocZero(session->mcxt,
												sizeof(TlkfJournal));
		state->journal->state = load(session);
	}
	return state->journal;
}

/* NB: also a state from before a fail-over tells of what is in the topic. */
static SavedState *
load(TlSession *session)
{
	Size		len;
	bool		suspect;
	const SavedState *saved = tlkf_core->state(session, &len, &suspect);
	SavedState	header = {0};
	SavedState *copy;

	if (saved != NULL && len >= state_size(0))
		memcpy(&header, saved, state_size(0));
	if (header.magic != STATE_MAGIC || header.ncommitted < 0 ||
		header.npending < 0 ||
		len != state_size(0) + UUID_LEN * ((Size) header.ncommitted +
										   header.npending))
		return MemoryContextAllocZero(session->mcxt, state_size(0));
	copy = MemoryContextAlloc(session->mcxt, len);
	memcpy(copy, saved, len);
	return copy;
}

static Size
state_size(int32 nids)
{
	return offsetof(SavedState, ids) + UUID_LEN * (Size) nids;
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}
