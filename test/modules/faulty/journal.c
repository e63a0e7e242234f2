/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  Writes down every call, so that a test can judge the protocol.
 *
 * A line a fact, fields separated by tabs: what, callback, lane, number of
 * the call, process, epoch, milliseconds, and then key=value.  "begin" is
 * written before anything can happen, so that a call without an "end" is one
 * whose process has died.  Each line is one write() to a file that is open
 * for appending: it survives the death of the process, and lines of several
 * lanes do not mix.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "faulty.h"

/* Of the current call's batch, by row: '.', 'l'anded or 'r'efused. */
static char *marks = NULL;

static void start_line(StringInfo line, Faulty *f, const char *what,
					   const char *callback, int number);
static void add_batch(StringInfo line, Faulty *f, const TlBatch *batch);
static void add_uuid(StringInfo line, const pg_uuid_t *uuid);
static void add_state(StringInfo line, Faulty *f);
static void add_marked(StringInfo line, const TlBatch *batch, char mark);
static void write_line(Faulty *f, StringInfo line);

/* How many calls of this lane have begun; NB: also by its predecessors. */
int
journal_count(Faulty *f, const char *callback)
{
	const char *path = faulty_core->option(f->session, "faulty_journal");
	FILE	   *file = path ? fopen(path, "r") : NULL;
	char	   *start = psprintf("begin\t%s\t%d\t", callback, f->session->lane);
	bool		at_start = true;
	char		text[1024];
	int			count = 0;

	while (file != NULL && fgets(text, sizeof(text), file) != NULL)
	{
		if (at_start && strncmp(text, start, strlen(start)) == 0)
			count++;
		at_start = strchr(text, '\n') != NULL;
	}
	if (file != NULL)
		fclose(file);
	return count;
}

void
journal_begin(Faulty *f, const char *callback, int number, const char *fault,
			  const TlBatch *batch)
{
	StringInfoData line;

	start_line(&line, f, "begin", callback, number);
	appendStringInfo(&line, "\tfault=%s\tguarantee=%d", fault,
					 f->session->guarantee);
	if (batch != NULL)
		add_batch(&line, f, batch);
	add_state(&line, f);
	write_line(f, &line);
	marks = NULL;
	if (batch != NULL)
	{
		marks = palloc(batch->nrows + 1);
		memset(marks, '.', batch->nrows);
	}
}

void
journal_end(Faulty *f, const char *callback, int number, TlOutcome outcome,
			const TlBatch *batch)
{
	static const char *const names[] = {
		"ok", "retry", "unknown", "split", "refused"
	};
	StringInfoData line;

	start_line(&line, f, "end", callback, number);
	appendStringInfo(&line, "\toutcome=%s\tguarantee=%d", names[outcome],
					 f->session->guarantee);
	if (batch != NULL)
	{
		add_marked(&line, batch, 'l');
		add_marked(&line, batch, 'r');
	}
	write_line(f, &line);
}

/* A fact beside the calls. */
void
journal_note(Faulty *f, const char *format,...)
{
	StringInfoData line;
	char		text[256];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	start_line(&line, f, "note", "-", 0);
	appendStringInfo(&line, "\t%s", text);
	write_line(f, &line);
}

void
journal_mark(const TlBatch *batch, int32 row, char mark)
{
	if (marks != NULL)
		marks[row] = mark;
}

static void
start_line(StringInfo line, Faulty *f, const char *what, const char *callback,
		   int number)
{
	initStringInfo(line);
	appendStringInfo(line, "%s\t%s\t%d\t%d\t%d\t" INT64_FORMAT "\t"
					 INT64_FORMAT, what, callback, f->session->lane, number,
					 MyProcPid, f->session->epoch,
					 (int64) (GetCurrentTimestamp() / 1000));
}

static void
add_batch(StringInfo line, Faulty *f, const TlBatch *batch)
{
	appendStringInfo(line, "\thistory=%d\tattempt=%d\tvalid=" INT64_FORMAT
					 "\ttoken=", batch->history, batch->attempt,
					 f->session->token_valid_ms);
	add_uuid(line, &batch->token);
	appendStringInfoString(line, "\tids=");
	for (int32 row = 0; row < batch->nrows; row++)
	{
		if (row > 0)
			appendStringInfoChar(line, ',');
		add_uuid(line, &batch->event_ids[row]);
	}
}

static void
add_uuid(StringInfo line, const pg_uuid_t *uuid)
{
	Datum		text = DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid));

	appendStringInfoString(line, DatumGetCString(text));
}

/* States of the suite are text; an inner backend's own is not shown. */
static void
add_state(StringInfo line, Faulty *f)
{
	const char *used = faulty_core->option(f->session, "faulty_state");
	const char *state;
	Size		len;
	bool		suspect;

	if (used == NULL || strcmp(used, "on") != 0)
		return;
	state = faulty_core->state(f->session, &len, &suspect);
	appendStringInfo(line, "\tstate=%.*s\tsuspect=%d", (int) len,
					 state ? state : "", suspect);
}

static void
add_marked(StringInfo line, const TlBatch *batch, char mark)
{
	const char *separator = "";

	appendStringInfo(line, "\t%s=", mark == 'l' ? "landed" : "refused");
	for (int32 row = 0; marks != NULL && row < batch->nrows; row++)
	{
		if (marks[row] != mark)
			continue;
		appendStringInfoString(line, separator);
		add_uuid(line, &batch->event_ids[row]);
		separator = ",";
	}
}

static void
write_line(Faulty *f, StringInfo line)
{
	const char *path = faulty_core->option(f->session, "faulty_journal");
	int			fd;
	bool		written;

	if (path == NULL)
		return;
	appendStringInfoChar(line, '\n');
	fd = BasicOpenFile(path, O_WRONLY | O_APPEND | O_CREAT);
	written = fd >= 0 && write(fd, line->data, line->len) == line->len;
	if (fd >= 0)
		close(fd);
	if (!written)
		elog(PANIC, "could not write the journal \"%s\": %m", path);
}
