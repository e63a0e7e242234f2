/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  Which partition a message goes to.
 *
 * As the producer of Apache Kafka's Java client chooses it for a message with
 * a key, so that messages of both meet: MurmurHash2 of the bytes with its
 * seed, without the sign, modulo the number of partitions
 * (org.apache.kafka.common.utils.Utils.murmur2 and toPositive).
 *
 * Pure: librdkafka calls it on threads of its own too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlkf.h"

#define SEED		0x9747b28cU
#define MULTIPLIER	0x5bd1e995U
#define SHIFT		24

static inline uint32
mix(uint32 k)
{
	k *= MULTIPLIER;
	k ^= k >> SHIFT;
	return k * MULTIPLIER;
}

uint32
tlkf_murmur2(const void *data, Size len)
{
	const uint8 *p = data;
	uint32		h = SEED ^ (uint32) len;

	for (; len >= 4; p += 4, len -= 4)
	{
		uint32		k = p[0] | p[1] << 8 | p[2] << 16 | (uint32) p[3] << 24;

		h = h * MULTIPLIER ^ mix(k);
	}
	if (len >= 3)
		h ^= p[2] << 16;
	if (len >= 2)
		h ^= p[1] << 8;
	if (len >= 1)
	{
		h ^= p[0];
		h *= MULTIPLIER;
	}
	h ^= h >> 13;
	h *= MULTIPLIER;
	return h ^ h >> 15;
}

int32
tlkf_partition(uint32 hash, int32 partitions)
{
	return (int32) (hash & 0x7fffffff) % partitions;
}
