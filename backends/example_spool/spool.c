/*-------------------------------------------------------------------------
 *
 * spool.c
 *	  The smallest backend that does something: a line for each event.
 *
 * Appends "event_id,cost" (the cost times 10^8; empty where it is NULL or NaN)
 * to the file that the option path names.  Built from the installed
 * tokenledger_backend.h alone: start your own backend from a copy of this
 * folder.
 *
 * A file cannot be asked which events it holds, so there is no resolve, and
 * status shows this target as at-least-once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/builtins.h"

#include "tokenledger_backend.h"

PG_MODULE_MAGIC;

static const TlCore *core;

static TlOutcome spool_open(TlSession *session, TlVerdict *verdict);
static TlOutcome spool_send(TlSession *session, TlBatch *batch,
							TlVerdict *verdict);
static void spool_close(TlSession *session, bool retire);
static const TlColumn *find_column(const TlBatch *batch, const char *name);
static void append_lines(StringInfo out, const TlBatch *batch);
static bool write_out(int fd, const char *data, Size len);

static const TlOption options[] = {
	{
		"path", TL_STRING_OPT, TL_OPT_REQUIRED | TL_OPT_DESTINATION,
		.description = "file to append to"
	},
	{.name = NULL}
};

static const TlBackend backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "spool",
	.display_name = "Spool file",
	.features = "streaming",
	.max_lanes = 1,				/* two would interleave their lines */
	.options = options,
	.open = spool_open,
	.send = spool_send,
	.close = spool_close
};

/* The only symbol that the core looks for. */
const TlBackend *
tokenledger_backend_init(const TlCore *services)
{
	core = services;
	return &backend;
}

/* No I/O yet.  What this says about duplicates is never a hope. */
static TlOutcome
spool_open(TlSession *session, TlVerdict *verdict)
{
	session->guarantee = TL_PER_ATTEMPT;
	return TL_OK;
}

/*
 * Nothing was stored when the file cannot be opened: TL_RETRY.  Once the
 * first byte may have been written, a failure is TL_UNKNOWN.
 */
static TlOutcome
spool_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	StringInfoData lines;
	int			fd;
	bool		ok;

	initStringInfo(&lines);
	append_lines(&lines, batch);	/* may throw: before the file is open */

	fd = BasicOpenFile(core->option(session, "path"),
					   O_WRONLY | O_APPEND | O_CREAT);
	if (fd < 0)
	{
		verdict->cause = TL_CAUSE_CONFIG;
		snprintf(verdict->message, sizeof(verdict->message),
				 "could not open the spool file: %m");
		return TL_RETRY;
	}
	ok = write_out(fd, lines.data, lines.len) && pg_fsync(fd) == 0;
	if (!ok)
	{
		verdict->cause = errno == ENOSPC ? TL_CAUSE_QUOTA : TL_CAUSE_CONFIG;
		snprintf(verdict->message, sizeof(verdict->message),
				 "could not write the spool file: %m");
	}
	close(fd);
	verdict->rows_new = ok ? batch->nrows : -1;
	return ok ? TL_OK : TL_UNKNOWN;
}

static void
spool_close(TlSession *session, bool retire)
{
}

/* The URL may have left a column out. */
static const TlColumn *
find_column(const TlBatch *batch, const char *name)
{
	for (int i = 0; i < batch->ncolumns; i++)
		if (strcmp(batch->columns[i].name, name) == 0)
			return &batch->columns[i];
	return NULL;
}

static void
append_lines(StringInfo out, const TlBatch *batch)
{
	const TlColumn *cost = find_column(batch, "cost_usd");

	for (int32 row = 0; row < batch->nrows; row++)
	{
		Datum		id = UUIDPGetDatum(&batch->event_ids[row]);

		appendStringInfo(out, "%s,",
						 DatumGetCString(DirectFunctionCall1(uuid_out, id)));
		if (cost != NULL && !tl_isnull(cost, row) &&
			tl_int64(cost, row) != PG_INT64_MIN)	/* NaN */
			appendStringInfo(out, INT64_FORMAT, tl_int64(cost, row));
		appendStringInfoChar(out, '\n');
	}
}

static bool
write_out(int fd, const char *data, Size len)
{
	while (len > 0)
	{
		ssize_t		written = write(fd, data, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		data += written;
		len -= written;
	}
	return true;
}
