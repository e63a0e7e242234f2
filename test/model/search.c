/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Visits every world that can come about, nearest ones first.
 *
 * Breadth first, so that the first violation found is one of the shortest.
 * Of a visited world only a 64-bit hash and its predecessor are kept; how it
 * came about is found again by taking the steps that led there once more.
 * (That two of ten million worlds share a hash, so that one of them is
 * passed over, has a probability of about 1 in 400,000.)
 *
 *-------------------------------------------------------------------------
 */
#include "model.h"

#define MAX_CHOICES		32
#define GOOD_STEPS		200		/* without faults all must be done by then */

typedef struct Node
{
	uint64_t	hash;
	uint32_t	parent;
} Node;

typedef struct Slot				/* of the hash table */
{
	uint32_t	tag;			/* the other half of the hash */
	uint32_t	node;			/* index into nodes, + 1; 0: empty */
} Slot;

static Node *nodes;
static uint32_t nnodes;
static Slot *table;
static uint32_t table_size;

static World *level;			/* the worlds that are visited now, ... */
static World *next_level;		/* ... and those that follow on them */
static uint32_t nlevel;
static uint32_t nnext;

/* Choices: the digits of a number that counts up. */
static struct
{
	unsigned	n;
	unsigned	choice;
}			digits[MAX_CHOICES];
static unsigned ndigits;
static unsigned digit;
static bool discarded;			/* this choice does not exist */
static bool all_well;			/* each choice is the first one */

static char told[4096];			/* what this step says */
static bool telling;
static bool full;				/* three faults everywhere */
static char violation[256];		/* what it breaks */

unsigned
choose(unsigned n)
{
	if (all_well)
		return 0;
	if (digit == ndigits)
	{
		if (ndigits == MAX_CHOICES)
			abort();
		digits[ndigits].n = n;
		digits[ndigits++].choice = 0;
	}
	return digits[digit++].choice;
}

static bool
next_choice(void)
{
	ndigits = digit;
	while (ndigits > 0 && digits[ndigits - 1].choice + 1 ==
		   digits[ndigits - 1].n)
		ndigits--;
	if (ndigits == 0)
		return false;
	digits[ndigits - 1].choice++;
	return true;
}

uint8
impossible(void)
{
	discarded = true;
	return TL_UNKNOWN;
}

void
spend_fault(void)
{
	world.faults--;
}

bool
fault(const char *fmt,...)
{
	va_list		args;
	char		said[256];

	if (world.faults == 0 || choose(2) == 0)
		return false;
	spend_fault();
	va_start(args, fmt);
	vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
	say("%s%s", *told ? "; " : "", said);
	return true;
}

static void
append(char *to, size_t size, const char *fmt, va_list args)
{
	size_t		len = strlen(to);

	vsnprintf(to + len, size - len, fmt, args);
}

void
say(const char *fmt,...)
{
	va_list		args;

	if (!telling)
		return;
	va_start(args, fmt);
	append(told, sizeof(told), fmt, args);
	va_end(args);
}

void
violated(const char *fmt,...)
{
	va_list		args;

	if (*violation)
		return;
	va_start(args, fmt);
	append(violation, sizeof(violation), fmt, args);
	va_end(args);
}

/* "events 1, 3" */
const char *
set_text(EventSet events)
{
	static char texts[4][32];
	static int	which;
	char	   *to = texts[which++ % 4];

	if (!telling)
		return "";
	snprintf(to, 32, "%s", events == 0 ? "no events" :
			 events & (events - 1) ? "events" : "event");
	for (int e = 0; e < EVENTS; e++)
		if (events & 1 << e)
			snprintf(to + strlen(to), 32 - strlen(to), "%s %d",
					 events & ((1 << e) - 1) ? "," : "", e + 1);
	return to;
}

static uint64_t
hash_world(void)
{
	const unsigned char *bytes = (const unsigned char *) &world;
	uint64_t	hash = UINT64_C(0x9E3779B97F4A7C15);
	size_t		i = 0;

	for (; i + 8 <= sizeof(World); i += 8)
	{
		uint64_t	word;

		memcpy(&word, bytes + i, 8);
		hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
		hash ^= hash >> 32;
	}
	for (; i < sizeof(World); i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
	hash = (hash ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
	return hash ^ hash >> 32;
}

static void *
grown(void *memory, size_t n, size_t size)
{
	if (n & (n - 1))
		return memory;
	memory = realloc(memory, (n ? 2 * n : 1) * size);
	if (memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	return memory;
}

static Slot *
find_slot(uint64_t hash)
{
	uint32_t	tag = (uint32_t) (hash >> 32);
	uint32_t	slot = (uint32_t) hash & (table_size - 1);

	while (table[slot].node != 0 &&
		   (table[slot].tag != tag ||
			nodes[table[slot].node - 1].hash != hash))
		slot = (slot + 1) & (table_size - 1);
	return &table[slot];
}

static void
fill_slot(Slot *slot, uint32_t node)
{
	slot->tag = (uint32_t) (nodes[node].hash >> 32);
	slot->node = node + 1;
}

static void
grow_table(void)
{
	table_size = table_size ? 2 * table_size : 1 << 16;
	free(table);
	table = calloc(table_size, sizeof(Slot));
	if (table == NULL)
		exit(2);
	for (uint32_t i = 0; i < nnodes; i++)
		fill_slot(find_slot(nodes[i].hash), i);
}

/* false: it was visited before */
static bool
visit(uint32_t parent)
{
	uint64_t	hash = hash_world();
	Slot	   *slot = find_slot(hash);

	if (slot->node != 0)
		return false;
	nodes = grown(nodes, nnodes, sizeof(Node));
	nodes[nnodes].hash = hash;
	nodes[nnodes].parent = parent;
	fill_slot(slot, nnodes++);
	next_level = grown(next_level, nnext, sizeof(World));
	next_level[nnext++] = world;
	if (nnodes > table_size / 2)
		grow_table();
	return true;
}

/* One step from a world, with the choices that are set; false: not one. */
static bool
try_step(const World *from, unsigned action)
{
	world = *from;
	digit = 0;
	discarded = false;
	*told = *violation = '\0';
	if (!take_step(action) || discarded)
		return false;
	rename_everything();
	check_invariants();
	return true;
}

/* A set of hashes: of worlds that come to rest if nothing more goes wrong. */
static uint64_t *resting;
static uint32_t resting_size;
static uint32_t nresting;

static uint64_t *
find_resting(uint64_t hash)
{
	uint32_t	slot = (uint32_t) hash & (resting_size - 1);

	while (resting[slot] != 0 && resting[slot] != hash)
		slot = (slot + 1) & (resting_size - 1);
	return &resting[slot];
}

static void
note_resting(uint64_t hash)
{
	uint64_t   *old = resting;
	uint32_t	old_size = resting_size;

	if (nresting >= resting_size / 2)
	{
		resting_size = old_size ? 2 * old_size : 1 << 16;
		resting = calloc(resting_size, sizeof(uint64_t));
		if (resting == NULL)
			exit(2);
		for (uint32_t i = 0; i < old_size; i++)
			if (old[i] != 0)
				*find_resting(old[i]) = old[i];
		free(old);
	}
	if (*find_resting(hash) == 0)
		nresting++;
	*find_resting(hash) = hash;
}

static bool
take_first_step(void)
{
	unsigned	nactions = count_actions();

	for (unsigned action = 0; action < nactions; action++)
		if (take_step(action))
			return true;
	return false;
}

/*
 * From here on nothing goes wrong: is everything done soon?  A model whose
 * lanes do nothing would break no other rule.
 */
static void
check_rest(void)
{
	World		start = world;
	uint64_t	passed[GOOD_STEPS];
	int			n = 0;

	all_well = true;
	while (n < GOOD_STEPS && *find_resting(hash_world()) == 0)
	{
		passed[n++] = hash_world();
		if (!take_first_step())
			break;
		rename_everything();
	}
	all_well = false;
	if (n == GOOD_STEPS)
		violated("nothing more goes wrong, and yet it does not come to rest");
	else if (*find_resting(hash_world()) == 0 && !quiescent())
		violated("nothing more goes wrong, and yet not everything is done");
	while (n > 0)
		note_resting(passed[--n]);
	world = start;
}

/* All worlds that follow on one; false: one of them breaks an invariant. */
static bool
expand(const World *from, uint32_t index)
{
	unsigned	nactions;

	world = *from;
	nactions = count_actions();
	for (unsigned action = 0; action < nactions; action++)
	{
		ndigits = 0;
		do
		{
			if (!try_step(from, action))
				continue;
			if (visit(index) && from->faults > 0 && world.faults == 0 &&
				*violation == '\0')
				check_rest();
			if (*violation)
				return false;
		} while (next_choice());
	}
	return true;
}

static unsigned
most_faults(void)
{
	return full || config->faults == 0 ? FAULTS : config->faults;
}

static void
begin(World *first)
{
	memset(first, 0, sizeof(World));
	first->faults = most_faults();
	first->timeline = first->db.timeline = 1;
}

/* Takes the step from a world to the one with the hash. */
static bool
retrace(World *from, uint64_t hash)
{
	unsigned	nactions;

	world = *from;
	nactions = count_actions();
	for (unsigned action = 0; action < nactions; action++)
	{
		ndigits = 0;
		do
		{
			if (!try_step(from, action) || hash_world() != hash)
				continue;
			*from = world;
			return true;
		} while (next_choice());
	}
	return false;
}

/* Takes the steps to a node again, and tells them. */
static void
tell(uint32_t node)
{
	uint32_t	path[1024];
	int			n = 0;
	World		from;
	char		broken[sizeof(violation)];

	for (uint32_t i = node; i != 0 && n < 1024; i = nodes[i].parent)
		path[n++] = i;
	memcpy(broken, violation, sizeof(broken));
	telling = true;
	begin(&from);
	for (int step = 1; n > 0; step++)
	{
		const Node *to = &nodes[path[--n]];

		if (!retrace(&from, to->hash))
			break;
		printf("# %4d. %s\n", step, told);
	}
	printf("#       %s\n", broken);
	memcpy(violation, broken, sizeof(broken));
	telling = false;
}

static void
forget_search(void)
{
	free(nodes);
	free(table);
	free(level);
	free(next_level);
	free(resting);
	nodes = NULL;
	table = NULL;
	level = next_level = NULL;
	resting = NULL;
	nnodes = table_size = nlevel = nnext = resting_size = nresting = 0;
}

/* Visits everything, or as far as the first violation; the steps of it. */
static unsigned
search(void)
{
	unsigned	depth = 0;
	uint32_t	first = 0;

	forget_search();
	grow_table();
	note_resting(1);
	begin(&world);
	visit(0);
	while (nnext > 0)
	{
		World	   *spare = level;

		level = next_level;
		nlevel = nnext;
		first = nnodes - nlevel;
		free(spare);
		next_level = NULL;
		nnext = 0;
		for (uint32_t i = 0; i < nlevel; i++)
			if (!expand(&level[i], first + i))
				return depth + 1;
		depth++;
	}
	return depth - 1;
}

/* One line of TAP; the last node is the one that breaks an invariant. */
static bool
run(unsigned number, const Config *which)
{
	unsigned	depth;
	bool		broken;
	bool		expected = which->off != RULE_NONE;
	bool		ok;

	config = which;
	depth = search();
	broken = *violation != '\0';
	ok = broken == expected && (expected || nnodes >= which->at_least);
	if (broken)
		tell(nnodes - 1);
	printf("%sok %u - %s: ", ok ? "" : "not ", number, which->name);
	if (broken && expected)
		printf("as it must, without the rule: %s\n", violation);
	else if (broken)
		printf("%s, and no rule was broken\n", violation);
	else if (expected)
		printf("no violation in %u worlds: the rule is not needed, or the"
			   " model does not show why\n", nnodes);
	else if (!ok)
		printf("%u worlds, there were %u: what has become of the model?\n",
			   nnodes, which->at_least);
	else
		printf("%u worlds, %u steps deep, %u faults\n", nnodes, depth,
			   most_faults());
	return ok;
}

static bool
wanted(const Config *which, int argc, char **argv)
{
	bool		named = false;

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], which->name) == 0)
			return true;
		named |= argv[i][0] != '-';
	}
	return !named;
}

int
main(int argc, char **argv)
{
	bool		ok = true;
	unsigned	n = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
		full |= strcmp(argv[i], "--full") == 0;
	for (unsigned i = 0; i < nconfigs; i++)
	{
		if (wanted(&configs[i], argc, argv))
			ok &= run(++n, &configs[i]);
	}
	printf("1..%u\n", n);
	return ok && n > 0 ? 0 : 1;
}
