/* sources: backends/common/tl_auth.c
 * libs: -lcrypto
 *-------------------------------------------------------------------------
 *
 * test_auth.c
 *	  JSON Web Tokens: signed here, verified by OpenSSL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "../../backends/common/tl_auth.h"
#include "unit.h"

static char *
base64url(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	tl_base64url(&out, text, strlen(text));
	return out.data;
}

static char *
decoded(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	return tl_base64_decode(&out, text, strlen(text)) ? out.data : NULL;
}

/* The examples of RFC 4648. */
static void
test_base64(void)
{
	static const char *const pairs[][2] = {
		{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
		{"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}
	};

	unit_test("base64");
	for (int i = 0; i < lengthof(pairs); i++)
	{
		StringInfoData out;

		initStringInfo(&out);
		tl_base64(&out, pairs[i][0], strlen(pairs[i][0]));
		CHECK_STR(out.data, pairs[i][1]);
		CHECK_STR(decoded(pairs[i][1]), pairs[i][0]);
	}
	CHECK_STR(base64url("\xfb\xff\xfe"), "-__-");
	CHECK_STR(base64url("f"), "Zg");
	CHECK_STR(decoded("-__-"), "\xfb\xff\xfe");
	CHECK_STR(decoded("+//+"), "\xfb\xff\xfe");
	CHECK_STR(decoded("Zg"), "f");
	CHECK(decoded("Z") == NULL);
	CHECK(decoded("Z*==") == NULL);
}

static char *
pem_of(EVP_PKEY *key, bool private)
{
	BIO		   *bio = BIO_new(BIO_s_mem());
	char	   *data;
	long		len;
	char	   *result;

	if (private)
		PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	else
		PEM_write_bio_PUBKEY(bio, key);
	len = BIO_get_mem_data(bio, &data);
	result = pnstrdup(data, len);
	BIO_free(bio);
	return result;
}

static bool
verify(EVP_PKEY *key, const char *jwt)
{
	const char *dot = strrchr(jwt, '.');
	StringInfoData signature;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		ok;

	initStringInfo(&signature);
	ok = tl_base64_decode(&signature, dot + 1, strlen(dot + 1)) &&
		EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(context, (unsigned char *) signature.data,
						 signature.len, (const unsigned char *) jwt,
						 dot - jwt) == 1;
	EVP_MD_CTX_free(context);
	return ok;
}

static void
test_jwt(void)
{
	EVP_PKEY   *key = EVP_RSA_gen(2048);
	EVP_PKEY   *other = EVP_RSA_gen(2048);
	StringInfoData jwt;

	unit_test("a JWT is signed, and verified with the right key only");
	initStringInfo(&jwt);
	CHECK(tl_sign_jwt(&jwt, "{\"alg\":\"RS256\"}", "{\"iss\":\"me\"}",
					  pem_of(key, true), NULL) == NULL);
	CHECK(strncmp(jwt.data, base64url("{\"alg\":\"RS256\"}"), 20) == 0);
	CHECK(strstr(jwt.data, base64url("{\"iss\":\"me\"}")) != NULL);
	CHECK(verify(key, jwt.data));
	CHECK(!verify(other, jwt.data));

	unit_test("what stands before it stays and is not signed");
	resetStringInfo(&jwt);
	appendStringInfoString(&jwt, "assertion=");
	CHECK(tl_sign_jwt(&jwt, "{}", "{}", pem_of(key, true), NULL) == NULL);
	CHECK(strncmp(jwt.data, "assertion=e30.e30.", 18) == 0);
	CHECK(verify(key, jwt.data + 10));

	unit_test("keys that are none");
	CHECK(tl_sign_jwt(&jwt, "{}", "{}", "secret", NULL) != NULL);
	CHECK(strstr(tl_sign_jwt(&jwt, "{}", "{}", "secret", NULL),
				 "secret") == NULL);
	CHECK(tl_sign_jwt(&jwt, "{}", "{}", pem_of(key, false), NULL) != NULL);
	CHECK(strstr(tl_sign_jwt(&jwt, "{}", "{}",
							 pem_of(EVP_EC_gen("P-256"), true), NULL),
				 "not of RSA") != NULL);
}

static char *
encrypted_pem_of(EVP_PKEY *key, const char *passphrase)
{
	BIO		   *bio = BIO_new(BIO_s_mem());
	char	   *data;
	long		len;

	PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), passphrase,
								  strlen(passphrase), NULL, NULL);
	len = BIO_get_mem_data(bio, &data);
	return pnstrdup(data, len);
}

static void
test_encrypted(void)
{
	EVP_PKEY   *key = EVP_RSA_gen(2048);
	char	   *pem = encrypted_pem_of(key, "open sesame");
	StringInfoData jwt;
	StringInfoData plain;
	StringInfoData decrypted;
	const char *error;

	unit_test("an encrypted key needs its passphrase");
	initStringInfo(&jwt);
	initStringInfo(&plain);
	initStringInfo(&decrypted);
	CHECK(tl_sign_jwt(&jwt, "{}", "{}", pem, "open sesame") == NULL);
	CHECK(verify(key, jwt.data));
	CHECK(tl_key_fingerprint(&decrypted, pem, "open sesame") == NULL);
	CHECK(tl_key_fingerprint(&plain, pem_of(key, true), NULL) == NULL);
	CHECK_STR(decrypted.data, plain.data);
	error = tl_sign_jwt(&jwt, "{}", "{}", pem, "secret");
	CHECK(strstr(error, "cannot be decrypted") != NULL);
	CHECK(strstr(error, "secret") == NULL);
	CHECK(strstr(tl_sign_jwt(&jwt, "{}", "{}", pem, NULL),
				 "there is no passphrase") != NULL);
	CHECK(tl_sign_jwt(&jwt, "{}", "{}", pem_of(key, true), "unused") == NULL);
}

/* As "openssl rsa -pubin -outform der | openssl dgst -sha256" has it. */
static void
test_fingerprint(void)
{
	EVP_PKEY   *key = EVP_RSA_gen(2048);
	StringInfoData ours;
	StringInfoData theirs;
	unsigned char *der = NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len;
	int			der_len = i2d_PUBKEY(key, &der);

	unit_test("the fingerprint of a key");
	initStringInfo(&ours);
	initStringInfo(&theirs);
	CHECK(tl_key_fingerprint(&ours, pem_of(key, true), NULL) == NULL);
	EVP_Digest(der, der_len, digest, &len, EVP_sha256(), NULL);
	tl_base64(&theirs, digest, len);
	CHECK_STR(ours.data, theirs.data);
	CHECK_INT(ours.len, 44);
	CHECK(tl_key_fingerprint(&ours, "none", NULL) != NULL);
}

int
main(void)
{
	test_base64();
	test_jwt();
	test_encrypted();
	test_fingerprint();
	return unit_done();
}
