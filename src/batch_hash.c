/*-------------------------------------------------------------------------
 *
 * batch_hash.c
 *	  Columns of which a store gets a keyed hash in place of the value.
 *
 * HMAC-SHA-256 of the text in UTF-8, as 64 hexadecimal digits: the same in
 * every database whatever its encoding, and what others compute with the same
 * key (encode(hmac(value, key, 'sha256'), 'hex') of pgcrypto).  Equal values
 * stay equal, so that they can be counted and joined; without the key nobody
 * can tell by trying which value it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_internal.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/builtins.h"

#define HEX_LENGTH		(2 * PG_SHA256_DIGEST_LENGTH)

/*
 * NB: it belongs to the resource owner of the query, which is why it is made
 * and freed with each.
 */
void
batch_hash_begin(BatchBuilder *builder)
{
	builder->hmac = NULL;
	if (builder->hash_key_len == 0)
		return;
	builder->hmac = pg_hmac_create(PG_SHA256);
	if (builder->hmac == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

void
batch_hash_end(BatchBuilder *builder)
{
	if (builder->hmac != NULL)
		pg_hmac_free(builder->hmac);
	builder->hmac = NULL;
}

/* Appends the hash of a text that is in UTF-8. */
void
batch_hash_append(BatchBuilder *builder, StringInfo out, const char *text,
				  int len)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		hex[HEX_LENGTH];

	if (pg_hmac_init(builder->hmac, (const uint8 *) builder->hash_key,
					 builder->hash_key_len) < 0 ||
		pg_hmac_update(builder->hmac, (const uint8 *) text, len) < 0 ||
		pg_hmac_final(builder->hmac, digest, sizeof(digest)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute an HMAC-SHA-256")));
	(void) hex_encode((const char *) digest, sizeof(digest), hex);
	bytes_append(out, hex, sizeof(hex));
}
