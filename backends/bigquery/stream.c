/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  What a lane remembers of its stream, durably.
 *
 * It is one line of text,
 *
 *		1 <mode> <offset> <row count> <doubtful> <token> <name>
 *
 * and it is all that is ever known about earlier attempts:
 *
 *	- It is saved before the first append to a stream, so whatever a lane has
 *	  appended, it appended to the stream that is saved, or to none.
 *	- offset is saved with the acknowledgement of a batch.  What the stream
 *	  holds beyond it is of the one batch that was not acknowledged.
 *	- row_count is what the stream held when it was finalized.  Nothing is
 *	  ever added to it, so it answers for the batch with this token, and a
 *	  batch with another token has not been sent by this lane.
 *	- In mode pending a stream is one batch's, the one with this token.
 *	- Modes without streams of their own leave "default" or "insertall" with
 *	  no name: then only the table can tell.
 *
 * A state that is older than a fail-over names a stream of the past; whoever
 * reads it finalizes that stream and believes nothing else of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

#define MAX_STATE			2048

static const char *const modes[] = {
	[TLBQ_COMMITTED] = "committed",
	[TLBQ_PENDING] = "pending",
	[TLBQ_DEFAULT] = "default",
	[TLBQ_INSERTALL] = "insertall"
};

const char *
tlbq_mode_name(TlbqMode mode)
{
	return modes[mode];
}

/* false: nothing was saved, or nothing that can be read; *stream is none. */
bool
tlbq_load_stream(TlbqState *state, TlbqStream *stream, bool *suspect)
{
	Size		len = 0;
	const void *data = tlbq_core->state(state->session, &len, suspect);

	if (data != NULL && tlbq_parse_stream(data, len, stream))
		return true;
	memset(stream, 0, sizeof(*stream));
	stream->name = "";
	stream->row_count = -1;
	if (data == NULL)
		return false;
	*suspect = true;			/* another version's: it may have sent */
	return false;
}

/* Durable at once.  false: the lane is lost. */
bool
tlbq_save_stream(TlbqState *state, const TlbqStream *stream)
{
	char	   *text = tlbq_format_stream(stream);

	return tlbq_core->save_state(state->session, text, strlen(text));
}

/* Durable with the batch's acknowledgement. */
void
tlbq_acknowledge_stream(TlbqState *state, const TlbqStream *stream)
{
	char	   *text = tlbq_format_stream(stream);

	tlbq_core->set_state(state->session, text, strlen(text));
}

char *
tlbq_format_stream(const TlbqStream *stream)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "1 %s " INT64_FORMAT " " INT64_FORMAT " %d ",
					 modes[stream->mode], stream->offset, stream->row_count,
					 stream->doubtful);
	tl_append_uuid(&out, &stream->token);
	appendStringInfo(&out, " %s", stream->name);
	return out.data;
}

bool
tlbq_parse_stream(const char *data, Size len, TlbqStream *stream)
{
	char	   *text;
	char		mode[16];
	char		token[48];
	long long	offset;
	long long	row_count;
	int			doubtful;
	int			begin = 0;

	if (len > MAX_STATE)
		return false;
	text = pnstrdup(data, len);
	if (sscanf(text, "1 %15s %lld %lld %d %47s %n", mode, &offset, &row_count,
			   &doubtful, token, &begin) != 5 || begin == 0)
		return false;
	stream->offset = offset;
	stream->row_count = row_count;
	stream->doubtful = (doubtful != 0);
	stream->name = text + begin;
	if (!tl_read_uuid(token, &stream->token))
		return false;
	for (int i = 0; i < lengthof(modes); i++)
		if (strcmp(mode, modes[i]) == 0)
		{
			stream->mode = i;
			return true;
		}
	return false;
}
