/*-------------------------------------------------------------------------
 *
 * ttl.c
 *	  How long a table keeps its rows, read from its definition.
 *
 * The server drops rows older than the table's TTL, at insert already, and
 * answers as if it had kept them.  Nothing older counts as lost, so what is
 * reported is the shortest interval after which a row may go.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

typedef struct Unit
{
	const char *name;
	int64		seconds;		/* at least so many */
} Unit;

/* As ClickHouse writes INTERVAL n UNIT; months at their shortest. */
static const Unit units[] = {
	{"toIntervalSecond(", 1},
	{"toIntervalMinute(", 60},
	{"toIntervalHour(", 3600},
	{"toIntervalDay(", 86400},
	{"toIntervalWeek(", 7 * 86400},
	{"toIntervalMonth(", 28 * 86400},
	{"toIntervalQuarter(", 89 * 86400},
	{"toIntervalYear(", 365 * 86400}
};

static int64 element_seconds(const char *element, Size len);
static bool deletes(const char *element, Size len);
static bool contains(const char *text, Size len, const char *word);

/*
 * engine_full is of system.tables: "MergeTree PARTITION BY ... TTL a + b, c +
 * d TO DISK 'cold' SETTINGS ...".  -1: rows are kept for ever; 0: nobody can
 * say for how long.
 */
int64
tlch_kept_seconds(const char *engine_full)
{
	const char *p = strstr(engine_full, " TTL ");
	const char *end;
	int64		kept = -1;

	if (p == NULL)
		return -1;
	p += 5;
	end = strstr(p, " SETTINGS ");
	if (end == NULL)
		end = p + strlen(p);
	while (p < end)
	{
		const char *element = p;
		int			depth = 0;
		bool		quoted = false;

		for (; p < end && (depth > 0 || quoted || *p != ','); p++)
		{
			quoted ^= (*p == '\'');
			depth += !quoted * ((*p == '(') - (*p == ')'));
		}
		if (deletes(element, p - element))
		{
			int64		seconds = element_seconds(element, p - element);

			kept = kept < 0 ? seconds : Min(kept, seconds);
		}
		p++;					/* the comma */
	}
	return kept;
}

/* The sum of an element's intervals; 0 if it has none. */
static int64
element_seconds(const char *element, Size len)
{
	int64		seconds = 0;

	for (int i = 0; i < lengthof(units); i++)
	{
		Size		n = strlen(units[i].name);

		for (const char *p = element; p + n < element + len; p++)
			if (strncmp(p, units[i].name, n) == 0)
				seconds += strtoll(p + n, NULL, 10) * units[i].seconds;
	}
	return Max(seconds, 0);
}

/* Rows may also be moved, or compressed anew. */
static bool
deletes(const char *element, Size len)
{
	return !contains(element, len, " TO DISK ") &&
		!contains(element, len, " TO VOLUME ") &&
		!contains(element, len, " RECOMPRESS ");
}

static bool
contains(const char *text, Size len, const char *word)
{
	Size		n = strlen(word);

	for (const char *p = text; p + n <= text + len; p++)
		if (strncmp(p, word, n) == 0)
			return true;
	return false;
}
