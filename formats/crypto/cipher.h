/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A key and what is done with it: data is encrypted in sectors of 512 bytes,
 * each by itself, with an initialization vector made from its number. Which
 * number a sector has is the format's to say.
 *
 * Threads: a cipher is immutable; any number of threads may use one at once,
 * each call with a context of its own.
 */
#ifndef CRYPTO_CIPHER_H
#define CRYPTO_CIPHER_H

#include <stddef.h>

#include "util/error.h"

#define CIPHER_SECTOR 512U
#define CIPHER_MAX_KEY 64U

struct cipher;

/* Stands for the key of an image that nobody unlocked: to use it is
 * GILD_ERR_DENIED. */
extern const struct cipher cipher_locked;

/*
 * name and mode as LUKS has them: "aes"; "xts-plain64", "cbc-essiv:sha256".
 * What libcrypto does not offer is GILD_ERR_UNSUPPORTED, by name. The key is
 * copied, and wiped when the cipher is freed.
 */
struct cipher *cipher_new(const char *name, const char *mode,
			  const unsigned char *key, size_t key_length,
			  struct gild_error *err);

/* The key again, to put it under another passphrase; the caller wipes it.
 * Returns its length, 0 for cipher_locked. */
size_t cipher_key(const struct cipher *cipher,
		  unsigned char key[static CIPHER_MAX_KEY]);

/* NULL is allowed, and so is cipher_locked. */
void cipher_free(const struct cipher *cipher);

/*
 * length bytes from source to target, which may be the same. offset: in bytes,
 * numbers the first sector. Both are multiples of CIPHER_SECTOR, or the call is
 * GILD_ERR_INVALID.
 */
int cipher_encrypt(const struct cipher *cipher, const void *source,
		   void *target, size_t length, uint64_t offset,
		   struct gild_error *err);
int cipher_decrypt(const struct cipher *cipher, const void *source,
		   void *target, size_t length, uint64_t offset,
		   struct gild_error *err);

#endif
