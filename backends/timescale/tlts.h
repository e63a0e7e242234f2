/*-------------------------------------------------------------------------
 *
 * tlts.h
 *	  What the backend "timescale" has beyond the other libpq backends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLTS_H
#define TLTS_H

#include "../postgres/tlpg.h"

/* What follows the table's base name in that of the continuous aggregate. */
#define TLTS_CAGG_SUFFIX	"_daily_costs_cagg"

/* TimescaleDB 2.13 and later: by_range(), in the form of tlts_version(). */
#define TLTS_OLDEST_VERSION	2013

typedef struct TltsOptions		/* of the URL; times in milliseconds */
{
	int64		chunk_interval;
	int64		compress_after; /* 0: not compressed */
	int64		drop_after;		/* 0: no retention policy */
	bool		cagg;			/* a continuous aggregate */
	int64		cagg_start_offset;
	int64		cagg_end_offset;
	int64		cagg_schedule_interval;
} TltsOptions;

typedef struct TltsServer		/* TlpgState.server */
{
	char		version[32];
	char		license[32];
	char		schema[2 * NAMEDATALEN + 2];	/* of the extension, quoted */
	bool		full;			/* not the Apache edition: has compression,
								 * policies and continuous aggregates */
} TltsServer;

/* ---- script.c: options to SQL; pure ---- */

extern int	tlts_version(const char *text);
extern void tlts_interval(StringInfo out, int64 ms);
extern const char *tlts_check_options(const TltsOptions *options,
									  const TlpgTableName *table);
extern void tlts_list_unavailable(const TltsOptions *options,
								  StringInfo out);
extern void tlts_append_script(StringInfo sql, const TltsServer *server,
							   const TltsOptions *options,
							   const TlpgTableName *table);

/* ---- server.c ---- */

extern bool tlts_check_server(TlpgState *state, TlVerdict *verdict);

/* ---- chunks.c; pure ---- */

extern int32 tlts_count_chunks(const TlBatch *batch, int64 interval);

/* ---- differences.c ---- */

extern bool tlts_inspect(TlpgState *state, TlRemote *remote,
						 TlVerdict *verdict);

/* ---- timescale.c ---- */

extern void tlts_read_options(TlSession *session, TltsOptions *options);

#endif							/* TLTS_H */
