/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sectors through libcrypto. Initialization vectors, by the names of Linux's
 * dm-crypt ("n": the sector's number, little-endian, zeros behind it):
 *
 *     plain         n, 32 bits of it
 *     plain64       n, 64 bits
 *     essiv:HASH    n, 64 bits, encrypted (one block, no chaining) with the
 *                   hash of the key as key
 */
#include "formats/crypto/cipher.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "formats/crypto/crypto-parts.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define BLOCK 16 /* AES, and so every initialization vector */

enum ivgen {
	IV_PLAIN,
	IV_PLAIN64,
	IV_ESSIV,
};

struct cipher {
	EVP_CIPHER *evp; /* NULL: locked */
	unsigned char key[CIPHER_MAX_KEY];
	size_t key_length;
	enum ivgen ivgen;
	EVP_CIPHER *essiv; /* where ivgen says so */
	unsigned char essiv_key[EVP_MAX_MD_SIZE];
};

const struct cipher cipher_locked = { .evp = NULL };

/* --- making one ----------------------------------------------------------- */

/* libcrypto's name, or NULL. XTS takes two keys of that many bits. */
static const char *evp_name(const char *chaining, size_t key_length,
			    char text[static 32])
{
	size_t bits = key_length * 8;

	if (strcmp(chaining, "xts") == 0)
		bits /= 2;
	else if (strcmp(chaining, "cbc") != 0 && strcmp(chaining, "ecb") != 0)
		return NULL;
	if (bits != 128 && bits != 256 &&
	    (bits != 192 || strcmp(chaining, "xts") == 0))
		return NULL;
	snprintf(text, 32, "AES-%zu-%s", bits, chaining);
	return text;
}

static EVP_CIPHER *fetch(const char *chaining, size_t key_length)
{
	char text[32];
	const char *name = evp_name(chaining, key_length, text);

	return name ? EVP_CIPHER_fetch(NULL, name, NULL) : NULL;
}

static int set_essiv(struct cipher *cipher, const char *hash, size_t key_length,
		     struct gild_error *err)
{
	EVP_MD *md = hash_fetch(hash, err);
	unsigned length = 0;
	int ok;

	if (!md)
		return -1;
	ok = EVP_Digest(cipher->key, key_length, cipher->essiv_key, &length, md,
			NULL);
	EVP_MD_free(md);
	if (!ok)
		return fail_crypto(err, "hashing a key");
	cipher->essiv = fetch("ecb", length);
	if (cipher->essiv)
		return 0;
	crypto_forget_errors();
	return fail(err, GILD_ERR_UNSUPPORTED, 0,
		    "essiv:%s: the hash is no key for aes (sha256 is)", hash);
}

static int set_ivgen(struct cipher *cipher, const char *ivgen,
		     size_t key_length, struct gild_error *err)
{
	if (strcmp(ivgen, "plain") == 0)
		cipher->ivgen = IV_PLAIN;
	else if (strcmp(ivgen, "plain64") == 0)
		cipher->ivgen = IV_PLAIN64;
	else if (strncmp(ivgen, "essiv:", 6) == 0)
		cipher->ivgen = IV_ESSIV;
	else
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "initialization vectors \"%s\" are not supported "
			    "(plain, plain64 and essiv:HASH are)",
			    ivgen);
	if (cipher->ivgen != IV_ESSIV)
		return 0;
	return set_essiv(cipher, ivgen + 6, key_length, err);
}

/* mode: "xts-plain64". */
static int set_mode(struct cipher *cipher, const char *mode, size_t key_length,
		    struct gild_error *err)
{
	size_t length = strcspn(mode, "-");
	char chaining[8] = "";

	if (length < sizeof(chaining))
		memcpy(chaining, mode, length);
	if (!mode[length] ||
	    (strcmp(chaining, "xts") != 0 && strcmp(chaining, "cbc") != 0))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "cipher mode \"%s\" is not supported (xts and cbc "
			    "are)",
			    mode);
	cipher->evp = fetch(chaining, key_length);
	if (!cipher->evp) {
		crypto_forget_errors();
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "aes in %s mode with a key of %zu bytes is not "
			    "offered by libcrypto",
			    chaining, key_length);
	}
	return set_ivgen(cipher, mode + length + 1, key_length, err);
}

struct cipher *cipher_new(const char *name, const char *mode,
			  const unsigned char *key, size_t key_length,
			  struct gild_error *err)
{
	struct cipher *cipher;

	if (strcmp(name, "aes") != 0)
		return fail_null(err, GILD_ERR_UNSUPPORTED, 0,
				 "cipher \"%s\" is not supported (aes is)",
				 name);
	if (key_length > CIPHER_MAX_KEY)
		return fail_null(err, GILD_ERR_UNSUPPORTED, 0,
				 "a key of %zu bytes is too long for aes",
				 key_length);
	cipher = calloc(1, sizeof(*cipher));
	if (!cipher)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	memcpy(cipher->key, key, key_length);
	cipher->key_length = key_length;
	if (set_mode(cipher, mode, key_length, err) < 0) {
		cipher_free(cipher);
		return NULL;
	}
	return cipher;
}

size_t cipher_key(const struct cipher *cipher,
		  unsigned char key[static CIPHER_MAX_KEY])
{
	memcpy(key, cipher->key, cipher->key_length);
	return cipher->key_length;
}

void cipher_free(const struct cipher *cipher)
{
	struct cipher *own = (struct cipher *)(uintptr_t)cipher;

	if (!cipher || cipher == &cipher_locked)
		return;
	EVP_CIPHER_free(own->evp);
	EVP_CIPHER_free(own->essiv);
	OPENSSL_cleanse(own, sizeof(*own));
	free(own);
}

/* --- using it ------------------------------------------------------------- */

/* Contexts of one call. */
struct run {
	const struct cipher *cipher;
	EVP_CIPHER_CTX *data, *essiv;
};

static void run_end(struct run *run)
{
	EVP_CIPHER_CTX_free(run->data);
	EVP_CIPHER_CTX_free(run->essiv);
}

static int run_begin(struct run *run, const struct cipher *cipher, bool encrypt,
		     struct gild_error *err)
{
	static const unsigned char no_iv[BLOCK];

	*run = (struct run){
		.cipher = cipher,
		.data = EVP_CIPHER_CTX_new(),
		.essiv = cipher->essiv ? EVP_CIPHER_CTX_new() : NULL,
	};
	if (!run->data || (cipher->essiv && !run->essiv)) {
		run_end(run);
		return fail_nomem(err);
	}
	if (EVP_CipherInit_ex2(run->data, cipher->evp, cipher->key, no_iv,
			       encrypt, NULL) &&
	    (!run->essiv ||
	     EVP_EncryptInit_ex2(run->essiv, cipher->essiv, cipher->essiv_key,
				 NULL, NULL))) {
		EVP_CIPHER_CTX_set_padding(run->data, 0);
		if (run->essiv)
			EVP_CIPHER_CTX_set_padding(run->essiv, 0);
		return 0;
	}
	run_end(run);
	return fail_crypto(err, "setting a key");
}

static int make_iv(const struct run *run, uint64_t sector,
		   unsigned char iv[BLOCK])
{
	uint64_t number = htole64(sector);
	int length;

	if (run->cipher->ivgen == IV_PLAIN)
		number = htole64(sector & UINT32_MAX);
	memset(iv, 0, BLOCK);
	memcpy(iv, &number, sizeof(number));
	if (!run->essiv)
		return 1;
	return EVP_EncryptUpdate(run->essiv, iv, &length, iv, BLOCK);
}

static int run_sectors(const struct run *run, const unsigned char *source,
		       unsigned char *target, size_t length, uint64_t sector)
{
	unsigned char iv[BLOCK];
	int done;

	for (; length; length -= CIPHER_SECTOR) {
		if (!make_iv(run, sector++, iv) ||
		    !EVP_CipherInit_ex2(run->data, NULL, NULL, iv, -1, NULL) ||
		    !EVP_CipherUpdate(run->data, target, &done, source,
				      (int)CIPHER_SECTOR) ||
		    done != (int)CIPHER_SECTOR)
			return 0;
		source += CIPHER_SECTOR;
		target += CIPHER_SECTOR;
	}
	return 1;
}

static int cipher_run(const struct cipher *cipher, bool encrypt,
		      const void *source, void *target, size_t length,
		      uint64_t offset, struct gild_error *err)
{
	struct run run;
	int ok;

	if (!cipher->evp) {
		fail(err, GILD_ERR_DENIED, 0,
		     "the image is encrypted, and its secret was not given");
		return error_hint(err, "give it with --secret-file FILE");
	}
	if (!is_aligned(length, CIPHER_SECTOR) ||
	    !is_aligned(offset, CIPHER_SECTOR))
		return fail(err, GILD_ERR_INVALID, 0,
			    "encrypted data is read and written in sectors "
			    "of %u bytes",
			    CIPHER_SECTOR);
	if (run_begin(&run, cipher, encrypt, err) < 0)
		return -1;
	ok = run_sectors(&run, source, target, length, offset / CIPHER_SECTOR);
	run_end(&run);
	return ok ? 0 : fail_crypto(err, "running a cipher");
}

int cipher_encrypt(const struct cipher *cipher, const void *source,
		   void *target, size_t length, uint64_t offset,
		   struct gild_error *err)
{
	return cipher_run(cipher, true, source, target, length, offset, err);
}

int cipher_decrypt(const struct cipher *cipher, const void *source,
		   void *target, size_t length, uint64_t offset,
		   struct gild_error *err)
{
	return cipher_run(cipher, false, source, target, length, offset, err);
}
