/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of formats/crypto share, and nobody else: hashes by the names
 * that LUKS has for them, keys from passphrases, keys spread over stripes.
 *
 * "LUKS On-Disk Format Specification", version 1.2.3: "PBKDF2", "Anti-forensic
 * splitting". PBKDF2: RFC 8018.
 */
#ifndef CRYPTO_PARTS_H
#define CRYPTO_PARTS_H

#include <openssl/evp.h>

#include "util/error.h"

/* --- hash.c --------------------------------------------------------------- */

/* Fill *err (GILD_ERR_IO) with what libcrypto says, and return -1. */
int fail_crypto(struct gild_error *err, const char *what);

/* libcrypto keeps errors that nobody asked for. */
void crypto_forget_errors(void);

/* "sha256"; NULL, with GILD_ERR_UNSUPPORTED, where libcrypto has none of that
 * name. Free with EVP_MD_free. */
EVP_MD *hash_fetch(const char *name, struct gild_error *err);

/* Beyond this nobody waits: about a minute of a fast processor. */
#define KDF_MAX_ITERATIONS 100000000U

/* A key of key_length bytes from a passphrase, of any length. iterations: 1 to
 * INT_MAX. */
int kdf_derive(const char *hash, const void *secret, size_t secret_length,
	       const unsigned char *salt, size_t salt_length,
	       uint32_t iterations, unsigned char *key, size_t key_length,
	       struct gild_error *err);

/* So many iterations take about that many milliseconds of this processor. */
int kdf_benchmark(const char *hash, size_t key_length, uint32_t milliseconds,
		  uint32_t *iterations, struct gild_error *err);

/* --- stripes.c ------------------------------------------------------------ */

/* Spread a key over stripes, stripes * length bytes, all of which it takes to
 * get it back. */
int stripes_split(const char *hash, const unsigned char *key, size_t length,
		  uint32_t stripes, unsigned char *material,
		  struct gild_error *err);
int stripes_merge(const char *hash, const unsigned char *material,
		  size_t length, uint32_t stripes, unsigned char *key,
		  struct gild_error *err);

#endif
