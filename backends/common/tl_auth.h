/*-------------------------------------------------------------------------
 *
 * tl_auth.h
 *	  JSON Web Tokens signed with RS256, and what belongs to them.
 *
 * Pure but for palloc and OpenSSL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_AUTH_H
#define TL_AUTH_H

#include "postgres.h"

#include "lib/stringinfo.h"

/* base64 of RFC 4648: of URLs and without padding, or the standard one. */
extern void tl_base64url(StringInfo out, const void *data, Size len);
extern void tl_base64(StringInfo out, const void *data, Size len);

/* Either alphabet, padded or not.  false: it is none. */
extern bool tl_base64_decode(StringInfo out, const char *text, Size len);

/*
 * Appends <header>.<claims>.<signature>; header and claims are JSON texts,
 * private_key is PEM (PKCS#1 or PKCS#8), passphrase that of an encrypted one
 * (NULL: none).  Returns NULL, or what is wrong; no part of the key is in it.
 */
extern const char *tl_sign_jwt(StringInfo out, const char *header,
							   const char *claims, const char *private_key,
							   const char *passphrase);

/*
 * Appends the standard base64 of the SHA-256 of the public half, as its DER
 * SubjectPublicKeyInfo.  Returns NULL, or what is wrong.
 */
extern const char *tl_key_fingerprint(StringInfo out,
									  const char *private_key,
									  const char *passphrase);

#endif							/* TL_AUTH_H */
