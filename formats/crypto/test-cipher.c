/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ciphers, against vectors: IEEE 1619 (vector 4), and others that the openssl
 * command and Python's cryptography gave.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <pthread.h>
#include <string.h>

#include "formats/crypto/cipher.h"

TestSuite(cipher, .timeout = 30);

static unsigned char nibble(char c)
{
	return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void from_hex(const char *hex, unsigned char *bytes)
{
	for (; *hex; hex += 2)
		*bytes++ =
			(unsigned char)(nibble(hex[0]) << 4 | nibble(hex[1]));
}

static struct cipher *cipher_ok(const char *mode, const char *key)
{
	struct gild_error err = { 0 };
	unsigned char bytes[64];
	struct cipher *cipher;

	from_hex(key, bytes);
	cipher = cipher_new("aes", mode, bytes, strlen(key) / 2, &err);
	cr_assert_not_null(cipher, "%s", err.message);
	return cipher;
}

#define KEY16 "000102030405060708090a0b0c0d0e0f"
#define KEY32 KEY16 "101112131415161718191a1b1c1d1e1f"
#define KEY64                                                         \
	KEY32 "202122232425262728292a2b2c2d2e2f303132333435363738393" \
	      "a3b3c3d3e3f"

/* A sector of zeros encrypts to what begins so. */
struct vector {
	char mode[24], key[132], first[36];
	uint64_t sector;
};

static struct vector vectors[] = {
	{ "xts-plain64", KEY64, "1c5257256343ba236cef84240866db33",
	  0x123456789 },
	{ "xts-plain", KEY64, "eb9f2cfbd687f1f34e25788eb158105f", 0x123456789 },
	{ "cbc-essiv:sha256", KEY32, "1f1d51aecd65437ec712b0ed654cdddc", 42 },
	{ "cbc-plain", KEY16, "789dc76ccb52ce1c3db90ecb357af60e", 0x100000005 },
	{ "cbc-plain64", KEY16, "0a18a6e750989acc6fbc58d73b08b2fb",
	  0x100000005 },
};

ParameterizedTestParameters(cipher, encrypts_as_others_do)
{
	return cr_make_param_array(struct vector, vectors,
				   sizeof(vectors) / sizeof(vectors[0]));
}

ParameterizedTest(struct vector *v, cipher, encrypts_as_others_do)
{
	struct cipher *cipher = cipher_ok(v->mode, v->key);
	unsigned char zeros[512] = { 0 }, out[512], back[512], expected[16];

	from_hex(v->first, expected);
	cr_assert_eq(cipher_encrypt(cipher, zeros, out, 512, v->sector * 512,
				    NULL),
		     0);
	cr_expect_arr_eq(out, expected, 16);
	cr_assert_eq(cipher_decrypt(cipher, out, back, 512, v->sector * 512,
				    NULL),
		     0);
	cr_expect_arr_eq(back, zeros, 512);
	cipher_free(cipher);
}

Test(cipher, ieee_1619_vector_4)
{
	struct cipher *cipher = cipher_ok("xts-plain64",
					  "27182818284590452353602874713526"
					  "31415926535897932384626433832795");
	unsigned char data[512], expected[16];

	for (int i = 0; i < 512; i++)
		data[i] = (unsigned char)i;
	from_hex("27a7479befa1d476489f308cd4cfa6e2", expected);
	cr_assert_eq(cipher_encrypt(cipher, data, data, 512, 0, NULL), 0);
	cr_expect_arr_eq(data, expected, 16);
	cipher_free(cipher);
}

Test(cipher, each_sector_has_its_own_vector)
{
	struct cipher *cipher = cipher_ok("cbc-essiv:sha256", KEY32);
	unsigned char data[4 * 512] = { 0 }, one[512] = { 0 };

	cr_assert_eq(cipher_encrypt(cipher, data, data, sizeof(data), 1024,
				    NULL),
		     0);
	cr_expect_neq(memcmp(data, data + 512, 512), 0);
	cr_assert_eq(cipher_encrypt(cipher, one, one, 512, 5 * 512, NULL), 0);
	cr_expect_arr_eq(one, data + 3 * 512, 512);
	cipher_free(cipher);
}

static void refused(const char *name, const char *mode, size_t key_length,
		    const char *says)
{
	struct gild_error err = { 0 };
	unsigned char key[80] = { 1 };

	cr_expect_null(cipher_new(name, mode, key, key_length, &err));
	cr_expect_eq(err.kind, GILD_ERR_UNSUPPORTED);
	cr_expect(strstr(err.message, says), "%s", err.message);
}

Test(cipher, what_is_not_offered_is_refused_by_name)
{
	refused("serpent", "xts-plain64", 64, "serpent");
	refused("twofish", "cbc-plain64", 32, "twofish");
	refused("cast5", "cbc-plain64", 16, "cast5");
	refused("aes", "ctr-plain64", 32, "ctr");
	refused("aes", "ecb-plain64", 32, "ecb");
	refused("aes", "xts", 64, "xts");
	refused("aes", "", 64, "mode");
	refused("aes", "xts-benbi", 64, "benbi");
	refused("aes", "xts-plain64", 48, "48");
	refused("aes", "xts-plain64", 80, "80");
	refused("aes", "cbc-plain64", 17, "17");
	refused("aes", "cbc-essiv:sha1", 32, "sha1");
	refused("aes", "cbc-essiv:md5", 32, "md5");
	refused("aes", "cbc-essiv:", 32, "hash");
	refused("aes", "averylongchaining-plain64", 32, "averylong");
}

Test(cipher, only_whole_sectors)
{
	struct cipher *cipher = cipher_ok("xts-plain64", KEY64);
	unsigned char data[1024] = { 0 };
	struct gild_error err = { 0 };

	cr_expect_eq(cipher_encrypt(cipher, data, data, 100, 0, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
	cr_expect_eq(cipher_decrypt(cipher, data, data, 512, 100, &err), -1);
	cipher_free(cipher);
}

Test(cipher, equal_halves_of_an_xts_key_are_refused)
{
	unsigned char key[64] = { 0 }, data[512] = { 0 };
	struct gild_error err = { 0 };
	struct cipher *cipher =
		cipher_new("aes", "xts-plain64", key, sizeof(key), NULL);

	cr_assert_not_null(cipher);
	cr_expect_eq(cipher_encrypt(cipher, data, data, 512, 0, &err), -1);
	cr_expect(strstr(err.message, "libcrypto"), "%s", err.message);
	cipher_free(cipher);
}

Test(cipher, locked_denies)
{
	struct gild_error err = { 0 };
	unsigned char data[512] = { 0 };

	cr_expect_eq(cipher_decrypt(&cipher_locked, data, data, 512, 0, &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cipher_free(&cipher_locked);
	cipher_free(NULL);
}

static void *use(void *arg)
{
	unsigned char data[4096], plain[4096];

	memset(plain, 0x5a, sizeof(plain));
	for (unsigned i = 0; i < 200; i++) {
		cipher_encrypt(arg, plain, data, sizeof(data), i * 512, NULL);
		cipher_decrypt(arg, data, data, sizeof(data), i * 512, NULL);
		if (memcmp(plain, data, sizeof(data)) != 0)
			return arg;
	}
	return NULL;
}

Test(cipher, many_threads_at_once)
{
	struct cipher *cipher = cipher_ok("xts-plain64", KEY64);
	pthread_t threads[4];
	void *failed;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, use, cipher);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		cr_expect_null(failed);
	}
	cipher_free(cipher);
}
