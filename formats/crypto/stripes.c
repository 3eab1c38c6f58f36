/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A key of length bytes over n stripes s1 .. sn of as many bytes each:
 *
 *     d0 = 0;  dk = H(dk-1 xor sk)  for k < n;  key = dn-1 xor sn
 *
 * s1 .. sn-1 are random. H hashes a stripe in pieces of the hash's size, the
 * piece's number (32 bits, big-endian) before it; a last shorter piece gives as
 * many bytes.
 */
#include <stdbool.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "formats/crypto/cipher.h"
#include "formats/crypto/crypto-parts.h"
#include "util/bytes.h"

struct mixer {
	EVP_MD *md;
	EVP_MD_CTX *context;
	size_t length; /* of a stripe */
	unsigned char state[CIPHER_MAX_KEY];
};

static void mixer_end(struct mixer *mixer)
{
	EVP_MD_CTX_free(mixer->context);
	EVP_MD_free(mixer->md);
	OPENSSL_cleanse(mixer->state, sizeof(mixer->state));
}

static int mixer_begin(struct mixer *mixer, const char *hash, size_t length,
		       struct gild_error *err)
{
	memset(mixer, 0, sizeof(*mixer));
	mixer->length = length;
	if (length > sizeof(mixer->state))
		return fail(err, GILD_ERR_INVALID, 0, "the key is too long");
	mixer->md = hash_fetch(hash, err);
	if (!mixer->md)
		return -1;
	mixer->context = EVP_MD_CTX_new();
	if (mixer->context)
		return 0;
	mixer_end(mixer);
	return fail_nomem(err);
}

static void mixer_xor(struct mixer *mixer, const unsigned char *stripe)
{
	for (size_t i = 0; i < mixer->length; i++)
		mixer->state[i] ^= stripe[i];
}

/* H, in place. */
static bool mixer_hash(struct mixer *mixer)
{
	size_t size = (size_t)EVP_MD_get_size(mixer->md), n;
	unsigned char digest[EVP_MAX_MD_SIZE], number[4];
	uint32_t piece = 0;

	for (size_t at = 0; at < mixer->length; at += n, piece++) {
		n = min_u64(size, mixer->length - at);
		store_be32(number, piece);
		if (!EVP_DigestInit_ex2(mixer->context, mixer->md, NULL) ||
		    !EVP_DigestUpdate(mixer->context, number, 4) ||
		    !EVP_DigestUpdate(mixer->context, mixer->state + at, n) ||
		    !EVP_DigestFinal_ex(mixer->context, digest, NULL))
			return false;
		memcpy(mixer->state + at, digest, n);
	}
	OPENSSL_cleanse(digest, sizeof(digest));
	return true;
}

/* All stripes but the last into the state. */
static bool mix(struct mixer *mixer, const unsigned char *material,
		uint32_t stripes)
{
	for (uint32_t i = 0; i + 1 < stripes; i++) {
		mixer_xor(mixer, material + i * mixer->length);
		if (!mixer_hash(mixer))
			return false;
	}
	return true;
}

int stripes_split(const char *hash, const unsigned char *key, size_t length,
		  uint32_t stripes, unsigned char *material,
		  struct gild_error *err)
{
	unsigned char *last = material + (stripes - 1) * length;
	struct mixer mixer;
	bool ok;

	if (mixer_begin(&mixer, hash, length, err) < 0)
		return -1;
	ok = RAND_bytes(material, (int)((stripes - 1) * length)) == 1 &&
	     mix(&mixer, material, stripes);
	if (ok) {
		mixer_xor(&mixer, key);
		memcpy(last, mixer.state, length);
	}
	mixer_end(&mixer);
	return ok ? 0 : fail_crypto(err, "spreading a key");
}

int stripes_merge(const char *hash, const unsigned char *material,
		  size_t length, uint32_t stripes, unsigned char *key,
		  struct gild_error *err)
{
	struct mixer mixer;
	bool ok;

	if (mixer_begin(&mixer, hash, length, err) < 0)
		return -1;
	ok = mix(&mixer, material, stripes);
	if (ok) {
		mixer_xor(&mixer, material + (stripes - 1) * length);
		memcpy(key, mixer.state, length);
	}
	mixer_end(&mixer);
	return ok ? 0 : fail_crypto(err, "gathering a key");
}
