/*-------------------------------------------------------------------------
 *
 * tlck.h
 *	  Backend "clickhouse-kafka": what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TLCK_H
#define TLCK_H

#include "tlch.h"
#include "tlkf.h"

/* ---- inner.c ---- */

/*
 * The session that the code of the backend "clickhouse" sees: its host,
 * database and options are those that this target's URL has for ClickHouse.
 */
typedef struct TlckInner
{
	TlSession	pub;			/* first */
	TlSession  *outer;
	const char *tls;			/* "on" or "off"; NULL: as the host suggests */
} TlckInner;

typedef struct TlckState		/* TlSession.private_state */
{
	TlkfState	kafka;			/* first: Kafka's code sees this alone */
	TlckInner	inner;
	bool		road_missing;	/* when the store was looked at, and is still
								 * to be made */
} TlckState;

extern void tlck_inner_core(const TlCore *core);
extern TlOutcome tlck_inner_open(TlckState *state, TlVerdict *verdict);

static inline TlchState *
tlck_clickhouse(const TlckState *state)
{
	return state->inner.pub.private_state;
}

/* ---- road.c ---- */

typedef enum TlckRoad
{
	TLCK_ROAD_OPEN,
	TLCK_ROAD_MISSING,			/* there is no queue */
	TLCK_ROAD_BROKEN			/* events do not get through */
} TlckRoad;

extern const char *tlck_check_road(TlckState *state);
extern bool tlck_road_look(TlckState *state, TlckRoad *road,
						   StringInfo differences, TlVerdict *verdict);
extern bool tlck_road_make(TlckState *state, TlVerdict *verdict);
extern bool tlck_road_close(TlckState *state, TlVerdict *verdict);

#endif							/* TLCK_H */
