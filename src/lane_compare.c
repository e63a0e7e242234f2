/*-------------------------------------------------------------------------
 *
 * lane_compare.c
 *	  A stretch of time, event by event: what the ledger and the store say.
 *
 * The events of the ledger are read first, then the rows of the store are
 * added one by one, in no order; what is left over on either side is found
 * in the end.  Memory is bounded by the caller, who cuts the stretch, and by
 * the number of findings that are named.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "compat.h"
#include "reconcile.h"

/* A stretch, event by event. */
struct Comparison
{
	bool		tokens;			/* are they sent to this target? */
	bool		cost;
	HTAB	   *events;			/* of the ledger: ComparedEvent */
	Findings	findings;
	NamedFinding *unknown;		/* rows whose event was not there */
	int			nunknown;
	int64		more_unknown;	/* for which there was no room */
};

static void find_unknown(Comparison *comparison, Queue *queue,
						 TimestampTz from, TimestampTz to);
static void sum_up(Comparison *comparison);
static void found(Comparison *comparison, FindingKind kind,
				  const pg_uuid_t *id, const ComparedEvent *event);
static HTAB *create_events(void);
static int64 clamped_sum(int64 a, int64 b);

/* In the current memory context. */
Comparison *
comparison_create(bool tokens, bool cost)
{
	Comparison *comparison = palloc0(sizeof(Comparison));

	comparison->tokens = tokens;
	comparison->cost = cost;
	comparison->events = create_events();
	comparison->unknown = palloc0(sizeof(NamedFinding) * STRETCH_EVENTS);
	comparison->findings.named = palloc(sizeof(NamedFinding) * MAX_NAMED *
										FINDING_KINDS);
	return comparison;
}

HTAB *
comparison_events(Comparison *comparison)
{
	return comparison->events;
}

const Findings *
comparison_finish(Comparison *comparison, Queue *queue, TimestampTz from,
				  TimestampTz to)
{
	find_unknown(comparison, queue, from, to);
	sum_up(comparison);
	return &comparison->findings;
}

/* A TlSumCB: events. */
void
comparison_add(void *arg, const TlSum *sum)
{
	Comparison *comparison = arg;
	Sums		one = {1, sum->tokens, sum->cost};
	ComparedEvent *event;

	comparison->findings.store = sums_add(comparison->findings.store, one);
	event = hash_search(comparison->events, sum->event_id, HASH_FIND, NULL);
	if (event != NULL)
	{
		event->rows++;
		event->store_tokens = sum->tokens;
		event->store_cost = sum->cost;
		event->different = event->different ||
			(comparison->tokens && event->tokens != sum->tokens) ||
			(comparison->cost && event->cost != sum->cost);
	}
	else if (comparison->nunknown == STRETCH_EVENTS)
		comparison->more_unknown++;
	else
	{
		NamedFinding *unknown =
			&comparison->unknown[comparison->nunknown++];

		unknown->id = *sum->event_id;
		unknown->tokens[1] = sum->tokens;
		unknown->cost[1] = sum->cost;
	}
}

/* Rows whose event has come since, or has another time, or is not there. */
static void
find_unknown(Comparison *comparison, Queue *queue, TimestampTz from,
			 TimestampTz to)
{
	HTAB	   *known = create_events();

	reconcile_known(queue, from, to, comparison->unknown,
					comparison->nunknown, known);
	for (int i = 0; i < comparison->nunknown; i++)
	{
		const NamedFinding *unknown = &comparison->unknown[i];
		ComparedEvent event = {
			.tokens = unknown->tokens[1], .cost = unknown->cost[1],
			.store_tokens = unknown->tokens[1], .store_cost = unknown->cost[1]
		};
		const ComparedEvent *now = hash_search(known, &unknown->id,
											   HASH_FIND, NULL);
		Sums		one = {1, event.tokens, event.cost};

		if (now == NULL)
			found(comparison, FOUND_EXTRA, &unknown->id, &event);
		else if (now->different)
			found(comparison, FOUND_DIFFERENT, &unknown->id, &event);
		else
			comparison->findings.ledger =
				sums_add(comparison->findings.ledger, one);
	}
	comparison->findings.counts[FOUND_EXTRA] += comparison->more_unknown;
}

static void
sum_up(Comparison *comparison)
{
	Findings   *findings = &comparison->findings;
	HASH_SEQ_STATUS scan;
	ComparedEvent *event;

	findings->missing =
		palloc(sizeof(pg_uuid_t) *
			   (hash_get_num_entries(comparison->events) + 1));
	hash_seq_init(&scan, comparison->events);
	while ((event = hash_seq_search(&scan)) != NULL)
	{
		Sums		one = {1, event->tokens, event->cost};

		if (!event->settled && event->rows == 0)
			continue;
		findings->ledger = sums_add(findings->ledger, one);
		if (event->rows == 0)
		{
			findings->missing[findings->nmissing++] = event->id;
			found(comparison, FOUND_MISSING, &event->id, event);
		}
		if (event->different)
			found(comparison, FOUND_DIFFERENT, &event->id, event);
		if (event->rows > 1)
		{
			found(comparison, FOUND_DOUBLED, &event->id, event);
			findings->counts[FOUND_DOUBLED] += event->rows - 2;
		}
	}
}

/* NB: named has room for MAX_NAMED of each kind. */
static void
found(Comparison *comparison, FindingKind kind, const pg_uuid_t *id,
	  const ComparedEvent *event)
{
	Findings   *findings = &comparison->findings;
	NamedFinding *named = &findings->named[findings->nnamed];

	if (findings->counts[kind]++ >= MAX_NAMED)
		return;
	findings->nnamed++;
	named->kind = kind;
	named->id = *id;
	named->tokens[0] = event->tokens;
	named->tokens[1] = event->store_tokens;
	named->cost[0] = event->cost;
	named->cost[1] = event->store_cost;
}

/* In the memory of the cycle. */
static HTAB *
create_events(void)
{
	HASHCTL		control = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(ComparedEvent),
		.hcxt = CurrentMemoryContext
	};

	return hash_create("tokenledger reconcile", 1024, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

Sums
sums_add(Sums a, Sums b)
{
	a.events = clamped_sum(a.events, b.events);
	a.tokens = clamped_sum(a.tokens, b.tokens);
	a.cost = clamped_sum(a.cost, b.cost);
	return a;
}

static int64
clamped_sum(int64 a, int64 b)
{
	int64		sum;

	if (!pg_add_s64_overflow(a, b, &sum))
		return sum;
	return a < 0 ? PG_INT64_MIN : PG_INT64_MAX;
}
