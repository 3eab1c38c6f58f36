/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys from passphrases (RFC 6070 and its like for SHA-256), and keys over
 * stripes, against Python's hashlib. */
#include <criterion/criterion.h>

#include <string.h>

#include "formats/crypto/crypto-parts.h"

TestSuite(crypto_hash, .timeout = 30);

static void expect_hex(const unsigned char *bytes, size_t length,
		       const char *hex)
{
	char text[160];

	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	cr_expect_str_eq(text, hex);
}

static void derive(const char *hash, uint32_t iterations, size_t length,
		   const char *hex)
{
	struct gild_error err = { 0 };
	unsigned char key[64];

	cr_assert_eq(kdf_derive(hash, "password", 8,
				(const unsigned char *)"salt", 4, iterations,
				key, length, &err),
		     0, "%s", err.message);
	expect_hex(key, length, hex);
}

Test(crypto_hash, keys_of_the_rfc)
{
	derive("sha1", 1, 20, "0c60c80f961f0e71f3a9b524af6012062fe037a6");
	derive("sha1", 4096, 20, "4b007901b765489abead49d926f721d065a429c1");
	derive("sha256", 1, 32,
	       "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be"
	       "17b");
}

Test(crypto_hash, an_empty_passphrase_is_one)
{
	unsigned char key[32], salt[32] = { 1 };

	cr_expect_eq(kdf_derive("sha256", "", 0, salt, 32, 10, key, 32, NULL),
		     0);
}

Test(crypto_hash, no_or_too_many_iterations_are_refused)
{
	unsigned char key[32], salt[32] = { 1 };
	struct gild_error err = { 0 };

	cr_expect_eq(kdf_derive("sha256", "x", 1, salt, 32, 0, key, 32, &err),
		     -1);
	cr_expect_eq(kdf_derive("sha256", "x", 1, salt, 32, UINT32_MAX, key, 32,
				&err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
}

Test(crypto_hash, unknown_ones_are_refused_by_name)
{
	struct gild_error err = { 0 };

	cr_expect_null(hash_fetch("whirlpool", &err));
	cr_expect(strstr(err.message, "whirlpool"));
	cr_expect_eq(err.kind, GILD_ERR_UNSUPPORTED);
	/* libcrypto would take it */
	cr_expect_null(hash_fetch("SHA256", &err));
}

Test(crypto_hash, benchmark_stays_within_bounds)
{
	uint32_t few = 0, more = 0;

	cr_assert_eq(kdf_benchmark("sha256", 64, 0, &few, NULL), 0);
	cr_expect_eq(few, 1000);
	cr_assert_eq(kdf_benchmark("sha256", 64, 600000, &more, NULL), 0);
	cr_expect_gt(more, few);
	cr_expect_leq(more, KDF_MAX_ITERATIONS);
}

static void merge(const char *hash, size_t length, const char *hex)
{
	unsigned char material[5 * 64], key[64];

	for (size_t i = 0; i < sizeof(material); i++)
		material[i] = (unsigned char)(i * 7 + 3);
	cr_assert_eq(stripes_merge(hash, material, length, 5, key, NULL), 0);
	expect_hex(key, length, hex);
}

Test(crypto_hash, stripes_give_the_key)
{
	merge("sha256", 32,
	      "575ae1aafeb1b0f815314409d65caa4e5e412e46e219a0fdb25d8a7500f1ea58");
	/* longer than the hash, and no multiple of it */
	merge("sha1", 32,
	      "940172d68ed8b5f266b370c897cf2eb23a6a02320a724776ab881de4043b9ab9");
	merge("sha256", 64,
	      "73912f5a0b968c8f185248e9a37f54a83c5a6d23e94ffba3b5847d91ce2e3634"
	      "9c71dcb8aa9b8a0393f7c696cc8bdf07399b193ee0b2f26ab21341a425615eed");
}

Test(crypto_hash, split_and_merge)
{
	static unsigned char material[4000 * 24];
	unsigned char key[24], back[24];

	memset(key, 0xa7, sizeof(key));
	cr_assert_eq(stripes_split("ripemd160", key, 24, 4000, material, NULL),
		     0);
	cr_assert_eq(stripes_merge("ripemd160", material, 24, 4000, back, NULL),
		     0);
	cr_expect_arr_eq(back, key, 24);
	/* every bit counts */
	material[1000] ^= 1;
	stripes_merge("ripemd160", material, 24, 4000, back, NULL);
	cr_expect_neq(memcmp(back, key, 24), 0);
}
