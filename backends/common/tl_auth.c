/*-------------------------------------------------------------------------
 *
 * tl_auth.c
 *	  JSON Web Tokens signed with RS256 (RFC 7515, RFC 7518).
 *
 * OpenSSL's objects are made and freed within one function that cannot throw
 * in between: what is palloc'd is palloc'd before or afterwards.
 *
 *-------------------------------------------------------------------------
 */
#include "tl_auth.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define MAX_SIGNATURE		2048	/* bytes: a key of 16384 bits */

static void encode(StringInfo out, const void *data, Size len,
				   const char *alphabet, bool pad);
static int	decode_digit(char c);
static EVP_PKEY *read_key(const char *pem, const char *passphrase,
						  const char **error);
static int	give_passphrase(char *buffer, int size, int rwflag, void *arg);
static bool sign(EVP_PKEY *key, const char *data, Size len,
				 unsigned char *signature, size_t *signature_len);

static const char url_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
tl_base64url(StringInfo out, const void *data, Size len)
{
	encode(out, data, len, url_alphabet, false);
}

void
tl_base64(StringInfo out, const void *data, Size len)
{
	encode(out, data, len, alphabet, true);
}

static void
encode(StringInfo out, const void *data, Size len, const char *digits,
	   bool pad)
{
	const unsigned char *bytes = data;

	for (Size i = 0; i < len; i += 3)
	{
		Size		n = Min(len - i, 3);
		uint32		group = (uint32) bytes[i] << 16 |
			(n > 1 ? (uint32) bytes[i + 1] << 8 : 0) |
			(n > 2 ? bytes[i + 2] : 0);

		for (Size digit = 0; digit <= n; digit++)
			appendStringInfoChar(out,
								 digits[(group >> (18 - 6 * digit)) & 63]);
		for (Size digit = n; pad && digit < 3; digit++)
			appendStringInfoChar(out, '=');
	}
}

bool
tl_base64_decode(StringInfo out, const char *text, Size len)
{
	uint32		group = 0;
	int			bits = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (Size i = 0; i < len; i++)
	{
		int			digit = decode_digit(text[i]);

		if (digit < 0)
			return false;
		group = (group << 6 | (uint32) digit) & 0xFFFF;
		bits += 6;
		if (bits >= 8)
		{
			bits -= 8;
			appendStringInfoChar(out, (char) (group >> bits));
		}
	}
	return bits < 6;
}

static int
decode_digit(char c)
{
	const char *found;

	if (c == '-' || c == '+')
		return 62;
	if (c == '_' || c == '/')
		return 63;
	found = c != '\0' ? strchr(alphabet, c) : NULL;
	return found ? (int) (found - alphabet) : -1;
}

const char *
tl_sign_jwt(StringInfo out, const char *header, const char *claims,
			const char *private_key, const char *passphrase)
{
	unsigned char signature[MAX_SIGNATURE];
	size_t		len = sizeof(signature);
	int			begin = out->len;
	const char *error;
	EVP_PKEY   *key;

	tl_base64url(out, header, strlen(header));
	appendStringInfoChar(out, '.');
	tl_base64url(out, claims, strlen(claims));
	key = read_key(private_key, passphrase, &error);
	if (key == NULL)
		return error;
	if (!sign(key, out->data + begin, out->len - begin, signature, &len))
		error = "OpenSSL could not sign with the private key";
	EVP_PKEY_free(key);
	ERR_clear_error();
	if (error != NULL)
		return error;
	appendStringInfoChar(out, '.');
	tl_base64url(out, signature, len);
	return NULL;
}

static EVP_PKEY *
read_key(const char *pem, const char *passphrase, const char **error)
{
	BIO		   *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY   *key = NULL;

	*error = NULL;
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase,
									  unconstify(char *, passphrase));
	BIO_free(bio);
	ERR_clear_error();
	if (key != NULL && EVP_PKEY_base_id(key) == EVP_PKEY_RSA &&
		EVP_PKEY_size(key) <= MAX_SIGNATURE)
		return key;
	if (key != NULL)
		*error = "the private key is not of RSA";
	else if (strstr(pem, "ENCRYPTED") == NULL)
		*error = "the private key is not one in PEM format";
	else
		*error = passphrase == NULL ?
			"the private key is encrypted, and there is no passphrase" :
			"the private key cannot be decrypted with its passphrase";
	EVP_PKEY_free(key);
	return NULL;
}

/* OpenSSL would ask at the terminal. */
static int
give_passphrase(char *buffer, int size, int rwflag, void *arg)
{
	const char *passphrase = arg;
	Size		len = passphrase ? strlen(passphrase) : 0;

	if (passphrase == NULL || len > (Size) size)
		return -1;
	memcpy(buffer, passphrase, len);
	return (int) len;
}

static bool
sign(EVP_PKEY *key, const char *data, Size len, unsigned char *signature,
	 size_t *signature_len)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		ok;

	ok = context != NULL &&
		EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestSign(context, signature, signature_len,
					   (const unsigned char *) data, len) == 1;
	EVP_MD_CTX_free(context);
	return ok;
}

const char *
tl_key_fingerprint(StringInfo out, const char *private_key,
				   const char *passphrase)
{
	const char *error;
	EVP_PKEY   *key = read_key(private_key, passphrase, &error);
	unsigned char *der = NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len = 0;
	int			len;

	if (key == NULL)
		return error;
	len = i2d_PUBKEY(key, &der);
	if (len <= 0 ||
		EVP_Digest(der, len, digest, &digest_len, EVP_sha256(), NULL) != 1)
		error = "OpenSSL could not read the public half of the private key";
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	ERR_clear_error();
	if (error == NULL)
		tl_base64(out, digest, digest_len);
	return error;
}
