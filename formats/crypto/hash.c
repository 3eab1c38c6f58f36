/* SPDX-License-Identifier: BSD-3-Clause */
/* Hashes and keys from passphrases, by libcrypto; see crypto-parts.h. */
#include "formats/crypto/crypto-parts.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "formats/crypto/cipher.h"

/* Fewer are no protection: the specification's lower bound. */
#define LEAST_ITERATIONS 1000U

/* Measured for so long at least, in nanoseconds. */
#define LONG_ENOUGH 20000000ULL

int fail_crypto(struct gild_error *err, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	fail(err, GILD_ERR_IO, 0, "%s: libcrypto fails: %s", what,
	     reason ? reason : "for no reason that it knows");
	ERR_clear_error();
	return -1;
}

void crypto_forget_errors(void)
{
	ERR_clear_error();
}

EVP_MD *hash_fetch(const char *name, struct gild_error *err)
{
	static const char *const known[] = { "sha1",   "sha224", "sha256",
					     "sha384", "sha512", "ripemd160" };
	EVP_MD *md = NULL;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !md; i++)
		if (strcmp(name, known[i]) == 0)
			md = EVP_MD_fetch(NULL, name, NULL);
	if (md)
		return md;
	ERR_clear_error();
	return fail_null(err, GILD_ERR_UNSUPPORTED, 0,
			 "hash \"%s\" is not supported (sha1, sha224, sha256, "
			 "sha384, sha512 and ripemd160 are)",
			 name);
}

int kdf_derive(const char *hash, const void *secret, size_t secret_length,
	       const unsigned char *salt, size_t salt_length,
	       uint32_t iterations, unsigned char *key, size_t key_length,
	       struct gild_error *err)
{
	EVP_MD *md;
	int ok;

	if (secret_length > INT_MAX || iterations > INT_MAX || !iterations)
		return fail(err, GILD_ERR_RANGE, 0,
			    "a key cannot be derived in %u iterations",
			    iterations);
	md = hash_fetch(hash, err);
	if (!md)
		return -1;
	ok = PKCS5_PBKDF2_HMAC(secret, (int)secret_length, salt,
			       (int)salt_length, (int)iterations, md,
			       (int)key_length, key);
	EVP_MD_free(md);
	return ok ? 0 : fail_crypto(err, "deriving a key");
}

/* Of this thread, so that a busy machine gives no weak key. */
static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int time_one(const char *hash, size_t key_length, uint32_t iterations,
		    uint64_t *nanoseconds, struct gild_error *err)
{
	static const unsigned char salt[32];
	unsigned char key[CIPHER_MAX_KEY];
	uint64_t start = now();

	if (kdf_derive(hash, "benchmark", 9, salt, sizeof(salt), iterations,
		       key, key_length, err) < 0)
		return -1;
	*nanoseconds = now() - start;
	return 0;
}

int kdf_benchmark(const char *hash, size_t key_length, uint32_t milliseconds,
		  uint32_t *iterations, struct gild_error *err)
{
	uint64_t wanted = milliseconds * 1000000ULL, took = 0, count;
	uint64_t enough = wanted < LONG_ENOUGH ? wanted : LONG_ENOUGH;
	uint32_t tried = LEAST_ITERATIONS / 2;

	if (key_length > CIPHER_MAX_KEY)
		return fail(err, GILD_ERR_INVALID, 0, "the key is too long");
	do {
		tried *= 2;
		if (time_one(hash, key_length, tried, &took, err) < 0)
			return -1;
	} while (took < enough && tried < INT_MAX / 4);
	count = (uint64_t)((double)tried * (double)wanted /
			   (double)(took ? took : 1));
	if (count < LEAST_ITERATIONS)
		count = LEAST_ITERATIONS;
	*iterations = count > KDF_MAX_ITERATIONS ? KDF_MAX_ITERATIONS :
						   (uint32_t)count;
	return 0;
}
