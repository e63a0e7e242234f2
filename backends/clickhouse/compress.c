/*-------------------------------------------------------------------------
 *
 * compress.c
 *	  A request's body, compressed as it is made.
 *
 * Whole-body Content-Encoding: a zstd frame or an LZ4 frame, each with a
 * checksum of its content.  Without one ClickHouse lets a flipped bit of an
 * LZ4 frame through.  The frame's end also shows the server a body that was
 * cut off.
 *
 * The libraries' contexts are made once for a session and used again.  They
 * hang on a reset callback that is registered before they exist.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <lz4frame.h>
#include <zstd.h>

#include "tlch.h"

/* What is given to lz4 at once: it wants that much room, and more. */
#define LZ4_PIECE			65536

struct TlchCompressor
{
	TlchCompression kind;
	MemoryContextCallback reset;
	ZSTD_CCtx  *zstd;
	LZ4F_cctx  *lz4;
	StringInfo	out;
	const char *error;			/* a static text */
};

static void release(void *arg);
static bool zstd_feed(TlchCompressor *compressor, const void *data, Size len,
					  ZSTD_EndDirective end);
static bool lz4_feed(TlchCompressor *compressor, const char *data, Size len);
static bool lz4_added(TlchCompressor *compressor, size_t n);

static const LZ4F_preferences_t lz4_preferences = {
	.frameInfo = {
		.blockSizeID = LZ4F_max256KB,
		.contentChecksumFlag = LZ4F_contentChecksumEnabled
	}
};

/* NULL: the library has no memory; *error says so. */
TlchCompressor *
tlch_compressor_create(MemoryContext mcxt, TlchCompression kind, int level,
					   const char **error)
{
	TlchCompressor *compressor =
		MemoryContextAllocZero(mcxt, sizeof(TlchCompressor));
	bool		ok = true;

	compressor->kind = kind;
	compressor->reset.func = release;
	compressor->reset.arg = compressor;
	MemoryContextRegisterResetCallback(mcxt, &compressor->reset);
	if (kind == TLCH_ZSTD)
	{
		compressor->zstd = ZSTD_createCCtx();
		ok = compressor->zstd != NULL &&
			!ZSTD_isError(ZSTD_CCtx_setParameter(compressor->zstd,
												 ZSTD_c_compressionLevel,
												 level)) &&
			!ZSTD_isError(ZSTD_CCtx_setParameter(compressor->zstd,
												 ZSTD_c_checksumFlag, 1));
	}
	else if (kind == TLCH_LZ4)
		ok = !LZ4F_isError(LZ4F_createCompressionContext(&compressor->lz4,
														 LZ4F_VERSION));
	*error = "the compression library is out of memory";
	return ok ? compressor : NULL;
}

static void
release(void *arg)
{
	TlchCompressor *compressor = arg;

	ZSTD_freeCCtx(compressor->zstd);
	if (compressor->lz4 != NULL)
		LZ4F_freeCompressionContext(compressor->lz4);
}

/* What is compressed from here on is appended to out. */
bool
tlch_compress_begin(TlchCompressor *compressor, StringInfo out)
{
	compressor->out = out;
	compressor->error = NULL;
	if (compressor->kind == TLCH_ZSTD)
	{
		ZSTD_CCtx_reset(compressor->zstd, ZSTD_reset_session_only);
		return true;
	}
	if (compressor->kind == TLCH_NONE)
		return true;
	enlargeStringInfo(out, LZ4F_HEADER_SIZE_MAX);
	return lz4_added(compressor,
					 LZ4F_compressBegin(compressor->lz4, out->data + out->len,
										LZ4F_HEADER_SIZE_MAX,
										&lz4_preferences));
}

/* A TlchSinkCB. */
bool
tlch_compress(void *arg, const void *data, Size len)
{
	TlchCompressor *compressor = arg;

	switch (compressor->kind)
	{
		case TLCH_NONE:
			appendBinaryStringInfo(compressor->out, data, len);
			return true;
		case TLCH_LZ4:
			return lz4_feed(compressor, data, len);
		case TLCH_ZSTD:
			return zstd_feed(compressor, data, len, ZSTD_e_continue);
	}
	return false;
}

bool
tlch_compress_end(TlchCompressor *compressor)
{
	StringInfo	out = compressor->out;
	size_t		room;

	if (compressor->kind == TLCH_NONE)
		return true;
	if (compressor->kind == TLCH_ZSTD)
		return zstd_feed(compressor, NULL, 0, ZSTD_e_end);
	room = LZ4F_compressBound(0, &lz4_preferences);
	enlargeStringInfo(out, room);
	return lz4_added(compressor,
					 LZ4F_compressEnd(compressor->lz4, out->data + out->len,
									  room, NULL));
}

const char *
tlch_compress_error(const TlchCompressor *compressor)
{
	return compressor->error ? compressor->error : "cannot compress";
}

static bool
zstd_feed(TlchCompressor *compressor, const void *data, Size len,
		  ZSTD_EndDirective end)
{
	StringInfo	out = compressor->out;
	ZSTD_inBuffer from = {data, len, 0};
	size_t		left;

	do
	{
		ZSTD_outBuffer to;

		enlargeStringInfo(out, ZSTD_CStreamOutSize());
		to.dst = out->data + out->len;
		to.size = out->maxlen - out->len - 1;
		to.pos = 0;
		left = ZSTD_compressStream2(compressor->zstd, &to, &from, end);
		if (ZSTD_isError(left))
		{
			compressor->error = ZSTD_getErrorName(left);
			return false;
		}
		out->len += to.pos;
	} while (from.pos < from.size || (end == ZSTD_e_end && left > 0));
	return true;
}

static bool
lz4_feed(TlchCompressor *compressor, const char *data, Size len)
{
	StringInfo	out = compressor->out;

	while (len > 0)
	{
		Size		piece = Min(len, LZ4_PIECE);
		size_t		room = LZ4F_compressBound(piece, &lz4_preferences);

		enlargeStringInfo(out, room);
		if (!lz4_added(compressor,
					   LZ4F_compressUpdate(compressor->lz4,
										   out->data + out->len, room, data,
										   piece, NULL)))
			return false;
		data += piece;
		len -= piece;
	}
	return true;
}

static bool
lz4_added(TlchCompressor *compressor, size_t n)
{
	if (LZ4F_isError(n))
	{
		compressor->error = LZ4F_getErrorName(n);
		return false;
	}
	compressor->out->len += n;
	return true;
}
