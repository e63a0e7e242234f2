/*-------------------------------------------------------------------------
 *
 * dump.c
 *	  A backend for tests: appends each batch to a file, as JSON lines.
 *
 * One object for each event, event_id first, with the values in the form that
 * to_jsonb() gives them while TimeZone is UTC, so that a test compares
 *
 *		to_jsonb(e) - 'ingest_xid' - 'ingest_seq'
 *
 * of the ledger's row e with the line.  With batches=on each batch begins
 * with a line {"batch": {...}} of its own.  A batch that breaks the contract
 * (check.c) is not written: the target then shows TLDUMP_CONTRACT and what is
 * wrong.
 *
 * An event may be written twice after a crash: there is no resolve.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "datatype/timestamp.h"
#include "dump.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

#define EPOCH_SHIFT \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define DECIMAL_ONE		INT64CONST(100000000)

static TlOutcome dump_open(TlSession *session, TlVerdict *verdict);
static TlOutcome dump_send(TlSession *session, TlBatch *batch,
						   TlVerdict *verdict);
static void dump_close(TlSession *session, bool retire);
static TlOutcome fail(TlVerdict *verdict, TlOutcome outcome,
					  const char *code, const char *message);
static bool write_all(const char *path, StringInfo lines);
static void print_batch(StringInfo out, const TlBatch *batch);
static void print_row(StringInfo out, const TlBatch *batch, int32 row);
static void print_value(StringInfo out, const TlColumn *column, int32 row);
static void print_uuid(StringInfo out, const pg_uuid_t *uuid);
static void print_timestamp(StringInfo out, int64 value);
static void print_float(StringInfo out, float8 value);
static void print_decimal(StringInfo out, int64 value);

static const TlCore *core;

static const TlOption dump_options[] = {
	{"path", TL_STRING_OPT, TL_OPT_REQUIRED | TL_OPT_DESTINATION,
	.description = "file to append to"},
	{"batches", TL_BOOL_OPT, 0, .default_value = "off",
	.description = "also write a line for each batch"},
	{.name = NULL}
};

static const TlBackend dump_backend = {
	.magic = TL_BACKEND_MAGIC,
	.struct_size = sizeof(TlBackend),
	.name = "dump",
	.display_name = "JSON lines in a file, for tests",
	.features = "",
	.options = dump_options,
	.open = dump_open,
	.send = dump_send,
	.close = dump_close
};

const TlBackend *
tokenledger_backend_init(const TlCore *services)
{
	core = services;
	return &dump_backend;
}

static TlOutcome
dump_open(TlSession *session, TlVerdict *verdict)
{
	session->guarantee = TL_PER_ATTEMPT;
	return TL_OK;
}

static void
dump_close(TlSession *session, bool retire)
{
}

static TlOutcome
dump_send(TlSession *session, TlBatch *batch, TlVerdict *verdict)
{
	const char *wrong = tldump_check(batch);
	const char *batches = core->option(session, "batches");
	StringInfoData lines;

	if (wrong != NULL)
		return fail(verdict, TL_RETRY, "TLDUMP_CONTRACT", wrong);
	initStringInfo(&lines);
	if (batches != NULL && strcmp(batches, "on") == 0)
		print_batch(&lines, batch);
	for (int32 i = 0; i < batch->nrows; i++)
		print_row(&lines, batch, i);
	if (!write_all(core->option(session, "path"), &lines))
		return fail(verdict, TL_UNKNOWN, "TLDUMP_IO", strerror(errno));
	verdict->rows_new = batch->nrows;
	return TL_OK;
}

static TlOutcome
fail(TlVerdict *verdict, TlOutcome outcome, const char *code,
	 const char *message)
{
	verdict->cause = TL_CAUSE_CONFIG;
	verdict->rows_new = -1;
	strlcpy(verdict->code, code, sizeof(verdict->code));
	strlcpy(verdict->message, message, sizeof(verdict->message));
	return outcome;
}

static bool
write_all(const char *path, StringInfo lines)
{
	int			fd = BasicOpenFile(path, O_WRONLY | O_APPEND | O_CREAT);
	int			done = 0;
	int			written = 0;
	bool		ok;
	int			saved_errno;

	if (fd < 0)
		return false;
	while (done < lines->len)
	{
		written = write(fd, lines->data + done, lines->len - done);
		if (written < 0)
			break;
		done += written;
	}
	ok = written >= 0 && pg_fsync(fd) == 0;
	saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return ok;
}

static void
print_batch(StringInfo out, const TlBatch *batch)
{
	static const char *const histories[] = {"fresh", "same_again", "overlap"};

	appendStringInfo(out, "{\"batch\": {\"rows\": %d, \"columns\": %d, "
					 "\"attempt\": %d, \"history\": \"%s\", \"token\": ",
					 batch->nrows, batch->ncolumns, batch->attempt,
					 histories[batch->history]);
	print_uuid(out, &batch->token);
	appendStringInfoString(out, "}}\n");
}

static void
print_row(StringInfo out, const TlBatch *batch, int32 row)
{
	appendStringInfoString(out, "{\"event_id\": ");
	print_uuid(out, &batch->event_ids[row]);
	for (int i = 0; i < batch->ncolumns; i++)
	{
		const TlColumn *column = &batch->columns[i];

		if (strcmp(column->name, "event_id") == 0)
			continue;
		appendStringInfo(out, ", \"%s\": ", column->name);
		if (tl_isnull(column, row))
			appendStringInfoString(out, "null");
		else
			print_value(out, column, row);
	}
	appendStringInfoString(out, "}\n");
}

static void
print_value(StringInfo out, const TlColumn *column, int32 row)
{
	const char *text;
	int32		len;

	switch (column->type)
	{
		case TL_UUID:
			print_uuid(out, tl_uuid(column, row));
			break;
		case TL_TIMESTAMP:
			print_timestamp(out, tl_int64(column, row));
			break;
		case TL_FLOAT64:
			print_float(out, tl_float64(column, row));
			break;
		case TL_INT64:
			appendStringInfo(out, INT64_FORMAT, tl_int64(column, row));
			break;
		case TL_DECIMAL:
			print_decimal(out, tl_int64(column, row));
			break;
		case TL_TEXT:
			text = tl_text(column, row, &len);
			escape_json(out, pnstrdup(text, len));
			break;
		case TL_JSON:
			text = tl_text(column, row, &len);
			appendBinaryStringInfo(out, text, len);
			break;
	}
}

static void
print_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	Datum		text = DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid));

	appendStringInfo(out, "\"%s\"", DatumGetCString(text));
}

static void
print_timestamp(StringInfo out, int64 value)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (value == PG_INT64_MIN || value == PG_INT64_MAX)
		strlcpy(text, value < 0 ? "-infinity" : "infinity", sizeof(text));
	else if (timestamp2tm(value - EPOCH_SHIFT, NULL, &tm, &fsec, NULL,
						  NULL) == 0)
	{
		tm.tm_isdst = 0;		/* or EncodeDateTime() leaves the zone out */
		EncodeDateTime(&tm, fsec, true, 0, NULL, USE_XSD_DATES, text);
	}
	else
		strlcpy(text, "out of range", sizeof(text));
	appendStringInfo(out, "\"%s\"", text);
}

static void
print_float(StringInfo out, float8 value)
{
	const char *quote = isnan(value) || isinf(value) ? "\"" : "";

	appendStringInfo(out, "%s%s%s", quote, float8out_internal(value), quote);
}

static void
print_decimal(StringInfo out, int64 value)
{
	uint64		positive = value < 0 ? -(uint64) value : (uint64) value;

	if (value == PG_INT64_MIN)
		appendStringInfoString(out, "\"NaN\"");
	else
		appendStringInfo(out, "%s" UINT64_FORMAT ".%08d",
						 value < 0 ? "-" : "", positive / DECIMAL_ONE,
						 (int) (positive % DECIMAL_ONE));
}
