/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Reads which fault a call is to have.
 *
 * The plan is a file that the option faulty_plan names, read anew at each
 * call, so that a test can change it.  Its lines are
 *
 *		poison <event id>
 *		<callback> <number, from-to, or *> <fault> [argument]
 *
 * where calls are counted from 1 for each lane, over restarts too; of several
 * lines that fit the last one counts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "faulty.h"

static void read_line(Plan *plan, const char *line, const char *callback,
					  int number);
static void add_poison(Plan *plan, const char *text);
static bool in_range(const char *range, int number);

Plan *
plan_read(Faulty *f, const char *callback, int number)
{
	const char *path = faulty_core->option(f->session, "faulty_plan");
	Plan	   *plan = palloc0(sizeof(Plan));
	FILE	   *file = path ? fopen(path, "r") : NULL;
	char		line[256];

	if (file == NULL)
		return plan;
	while (fgets(line, sizeof(line), file) != NULL)
		read_line(plan, line, callback, number);
	fclose(file);
	return plan;
}

bool
plan_is(const Plan *plan, const char *fault)
{
	return strcmp(plan->fault.name, fault) == 0;
}

bool
plan_poisons(const Plan *plan, const pg_uuid_t *event_id)
{
	for (int i = 0; i < plan->npoison; i++)
		if (memcmp(&plan->poison[i], event_id, UUID_LEN) == 0)
			return true;
	return false;
}

static void
read_line(Plan *plan, const char *line, const char *callback, int number)
{
	char		what[64];
	char		range[64];
	Fault		fault = {.arg = 0};
	int			words = sscanf(line, "%63s %63s %31s %ld", what, range,
							   fault.name, &fault.arg);

	if (words == 2 && strcmp(what, "poison") == 0)
		add_poison(plan, range);
	else if (words >= 3 && strcmp(what, callback) == 0 &&
			 in_range(range, number))
		plan->fault = fault;
}

static void
add_poison(Plan *plan, const char *text)
{
	Size		size = sizeof(pg_uuid_t) * (plan->npoison + 1);

	plan->poison = plan->poison ? repalloc(plan->poison, size) : palloc(size);
	plan->poison[plan->npoison++] =
		*DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
}

static bool
in_range(const char *range, int number)
{
	int			from;
	int			to;

	if (strcmp(range, "*") == 0)
		return true;
	if (sscanf(range, "%d-%d", &from, &to) == 2)
		return number >= from && number <= to;
	return number == atoi(range);
}
