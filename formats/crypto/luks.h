/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LUKS version 1: a header that says how data is encrypted, and up to eight key
 * slots, each of which holds the master key under a passphrase of its own.
 *
 *     header (592 bytes) | key material of slot 0 | ... | of slot 7 | payload
 *
 * The header and the key material may be the beginning of a file, or lie
 * somewhere within one; the payload is the format's business.
 *
 * "LUKS On-Disk Format Specification", version 1.2.3.
 */
#ifndef CRYPTO_LUKS_H
#define CRYPTO_LUKS_H

#include "formats/crypto/cipher.h"
#include "formats/format.h"

#define LUKS_HEADER 592
#define LUKS_SLOTS 8
#define LUKS_SECTOR 512U
#define LUKS_NAME 32 /* bytes of a cipher's, mode's, hash's name */
#define LUKS_UUID 40
#define LUKS_DIGEST 20
#define LUKS_SALT 32

/* Where header and key material lie; borrowed. */
struct luks_area {
	struct storage *storage;
	uint64_t offset, length; /* bytes */
	bool unpublished;	 /* nobody can see it yet: no flushes */
};

struct luks_slot {
	bool active;
	uint32_t iterations;
	unsigned char salt[LUKS_SALT];
	uint32_t sector; /* of its key material, within the area */
	uint32_t stripes;
};

/* Plain data; no secrets. */
struct luks_header {
	char cipher[LUKS_NAME + 1]; /* "aes" */
	char mode[LUKS_NAME + 1];   /* "xts-plain64" */
	char hash[LUKS_NAME + 1];   /* "sha256" */
	char uuid[LUKS_UUID + 1];
	uint32_t payload; /* sector */
	uint32_t key_length;
	unsigned char digest[LUKS_DIGEST], digest_salt[LUKS_SALT];
	uint32_t digest_iterations;
	struct luks_slot slots[LUKS_SLOTS];
};

/* The master key. The owner wipes it as soon as a cipher has it. */
struct luks_key {
	unsigned char bytes[CIPHER_MAX_KEY];
	size_t length;
};

/* --- luks-header.c -------------------------------------------------------- */

/* Does a file begin like LUKS, of any version? */
bool luks_probe(const unsigned char *head, size_t length);

/* Read the header, and nothing else: what is there to be described. Another
 * version is GILD_ERR_UNSUPPORTED. */
int luks_read(const struct luks_area *area, struct luks_header *header,
	      struct gild_error *err);

/* Before it is used: is every number within its bounds, and the key material
 * within the area, apart from the header and from each other? */
int luks_check(const struct luks_header *header, uint64_t area_length,
	       struct gild_error *err);

int luks_write(const struct luks_area *area, const struct luks_header *header,
	       struct gild_error *err);

/* Write what the header has of one slot. */
int luks_write_slot(const struct luks_area *area,
		    const struct luks_header *header, unsigned slot,
		    struct gild_error *err);

/* Bytes on the disk that a slot's key material takes, whole sectors. */
uint64_t luks_material_length(uint32_t key_length, uint32_t stripes);

/* --- luks-slots.c --------------------------------------------------------- */

/* 1: the secret opens the slot, which is active; 0: it does not. */
int luks_try(const struct luks_area *area, const struct luks_header *header,
	     unsigned slot, const struct gild_secret *secret,
	     struct luks_key *key, struct gild_error *err);

/*
 * Find the slot that a secret opens: its number, and the key. GILD_ERR_DENIED
 * where there is none; another error where none does, and one could not be
 * tried. Takes as long as the header wants it to, for each active slot. The
 * header was checked.
 */
int luks_unlock(const struct luks_area *area, const struct luks_header *header,
		const struct gild_secret *secret, struct luks_key *key,
		struct gild_error *err);

/* 1: it is the master key that the header tells of, 0: it is not. */
int luks_is_key(const struct luks_header *header, const struct luks_key *key,
		struct gild_error *err);

/*
 * Let another secret open the image, too: slot (-1: the first that is free), in
 * about so many milliseconds. Returns the slot. Key material first, then the
 * slot, its mark last: stopped in between, nothing has changed.
 */
int luks_add(const struct luks_area *area, struct luks_header *header,
	     const struct luks_key *key, const struct gild_secret *secret,
	     int slot, uint32_t milliseconds, struct gild_error *err);

/* A slot opens no more: its mark first, then its key material is wiped. The
 * last one goes only if force. Of a slot that a stopped removal left the rest
 * is done; one that is free already is GILD_ERR_INVALID. */
int luks_remove(const struct luks_area *area, struct luks_header *header,
		unsigned slot, bool force, struct gild_error *err);

struct cipher *luks_cipher(const struct luks_header *header,
			   const struct luks_key *key, struct gild_error *err);

void luks_key_wipe(struct luks_key *key);

/* --- luks-new.c ----------------------------------------------------------- */

/* Options of a new header, by qemu-img's names, with a prefix. */
struct luks_options {
	char mode[LUKS_NAME + 1];
	const char *hash;      /* borrowed */
	const char *secret_id; /* borrowed, or NULL */
	uint32_t key_length;
	uint32_t milliseconds; /* iter-time */
};

/* Rows of a table of options. */
#define LUKS_OPTION_ROWS(prefix)                                         \
	{ prefix "cipher-alg", "string", "aes-256",                      \
	  "cipher: aes-128 or aes-256" },                                \
		{ prefix "cipher-mode", "string", "xts", "xts or cbc" }, \
		{ prefix "hash-alg", "string", "sha256",                 \
		  "hash that makes keys from passphrases" },             \
		{ prefix "iter-time", "number", "2000",                  \
		  "milliseconds that a passphrase takes to try" },       \
		{ prefix "ivgen-alg", "string", "plain64",               \
		  "initialization vectors: plain, plain64 or essiv" },   \
		{ prefix "ivgen-hash-alg", "string", NULL,               \
		  "hash of essiv: sha256" },                             \
	{                                                                \
		prefix "key-secret", "string", NULL,                     \
			"id of the secret that opens the image"          \
	}

int luks_options_parse(const struct gild_option *options, size_t count,
		       const char *prefix, struct luks_options *parsed,
		       struct gild_error *err);

/* An option of that full name, in milliseconds; absent: *value stays. */
int luks_time_parse(const struct gild_option *options, size_t count,
		    const char *name, uint32_t *value, struct gild_error *err);

/* Bytes before the payload of a fresh header. */
uint64_t luks_fresh_length(const struct luks_options *options);

/* A new key and a header for it, with no slot in use. */
int luks_make(const struct luks_options *options, struct luks_header *header,
	      struct luks_key *key, struct gild_error *err);

/* The same, written to the area, with the secret in slot 0. */
int luks_create(const struct luks_area *area,
		const struct luks_options *options,
		const struct gild_secret *secret, struct luks_header *header,
		struct gild_error *err);

/* --- luks-amend.c --------------------------------------------------------- */

/* Rows of a table of what can be changed. */
#define LUKS_AMEND_ROWS(prefix)                                           \
	{ prefix "iter-time", "number", "2000",                           \
	  "milliseconds that the new passphrase takes to try" },          \
		{ prefix "keyslot", "number", NULL,                       \
		  "the key slot to change, 0 to 7" },                     \
		{ prefix "new-secret", "string", NULL,                    \
		  "id of the secret that a slot becomes active with" },   \
		{ prefix "old-secret", "string", NULL,                    \
		  "id of the secret whose slots become inactive" },       \
	{                                                                 \
		prefix "state", "string", NULL,                           \
			"active: add a passphrase; inactive: erase slots" \
	}

/* What options ask for; *wanted: whether they ask for anything. The strings
 * stay the options'. */
int luks_amend_parse(const struct gild_option *options, size_t count,
		     const char *prefix, bool *wanted,
		     struct gild_key_change *change, struct gild_error *err);

/* --- luks-info.c ---------------------------------------------------------- */

/* Describe a header as qemu-img does. format: the key "format" goes with it.
 * -1: out of memory. */
int luks_info(const struct luks_header *header, bool format,
	      struct gild_value *to);

#endif
