/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new header: what the options say, a random key. Laid out as qemu-img does
 * it: the header's block of 4096 bytes, then the key material of each slot from
 * a multiple of 4096 on, then the payload.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>

#include "formats/crypto/crypto-parts.h"
#include "formats/crypto/luks.h"
#include "util/bytes.h"

#define BLOCK 4096U
#define STRIPES 4000U

/* The digest is tried after a slot was, so it takes less time. */
#define DIGEST_SHARE 8

#define MAX_MILLISECONDS 600000U

/* --- options -------------------------------------------------------------- */

/* The options under way. */
struct given {
	const struct gild_option *options;
	size_t count;
	const char *prefix;
	struct gild_error *err;
};

static const char *get(const struct given *given, const char *name,
		       const char *fallback)
{
	char full[64];
	const char *value;

	snprintf(full, sizeof(full), "%s%s", given->prefix, name);
	value = option_get(given->options, given->count, full);
	return value ? value : fallback;
}

static int refuse(const struct given *given, const char *name,
		  const char *value, const char *allowed)
{
	return fail(given->err, GILD_ERR_UNSUPPORTED, 0,
		    "option \"%s%s\": \"%s\" is not supported (%s)",
		    given->prefix, name, value, allowed);
}

/* Keys of 192 bits are read, but not made: their key material ends within a
 * sector, which qemu-img does not survive. */
static int read_key_length(const struct given *given, const char *mode,
			   struct luks_options *parsed)
{
	const char *value = get(given, "cipher-alg", "aes-256");

	if (strcmp(value, "aes-256") == 0)
		parsed->key_length = 32;
	else if (strcmp(value, "aes-128") == 0)
		parsed->key_length = 16;
	else
		return refuse(given, "cipher-alg", value,
			      "aes-128 and aes-256 are");
	if (strcmp(mode, "xts") == 0)
		parsed->key_length *= 2;
	return 0;
}

static int read_mode(const struct given *given, struct luks_options *parsed)
{
	const char *mode = get(given, "cipher-mode", "xts");
	const char *ivgen = get(given, "ivgen-alg", "plain64");
	const char *hash = get(given, "ivgen-hash-alg", NULL);
	bool essiv = strcmp(ivgen, "essiv") == 0;

	if (strcmp(mode, "xts") != 0 && strcmp(mode, "cbc") != 0)
		return refuse(given, "cipher-mode", mode, "xts and cbc are");
	if (!essiv && strcmp(ivgen, "plain") != 0 &&
	    strcmp(ivgen, "plain64") != 0)
		return refuse(given, "ivgen-alg", ivgen,
			      "plain, plain64 and essiv are");
	if (essiv && hash && strcmp(hash, "sha256") != 0)
		return refuse(given, "ivgen-hash-alg", hash, "sha256 is");
	if (!essiv && hash)
		return fail(given->err, GILD_ERR_INVALID, 0,
			    "option \"%sivgen-hash-alg\" goes with "
			    "%sivgen-alg=essiv only",
			    given->prefix, given->prefix);
	snprintf(parsed->mode, sizeof(parsed->mode), "%s-%s%s", mode, ivgen,
		 essiv ? ":sha256" : "");
	return read_key_length(given, mode, parsed);
}

static int read_hash(const struct given *given, struct luks_options *parsed)
{
	EVP_MD *md;

	parsed->hash = get(given, "hash-alg", "sha256");
	md = hash_fetch(parsed->hash, given->err);
	if (!md)
		return error_prefix(given->err,
				    "option \"%shash-alg\": ", given->prefix);
	EVP_MD_free(md);
	return 0;
}

int luks_time_parse(const struct gild_option *options, size_t count,
		    const char *name, uint32_t *value, struct gild_error *err)
{
	uint64_t milliseconds = *value;

	if (option_size(options, count, name, &milliseconds, err) < 0)
		return -1;
	if (milliseconds < 1 || milliseconds > MAX_MILLISECONDS)
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"%s\" is 1 to %u milliseconds, not %ju",
			    name, MAX_MILLISECONDS, (uintmax_t)milliseconds);
	*value = (uint32_t)milliseconds;
	return 0;
}

static int read_time(const struct given *given, struct luks_options *parsed)
{
	char name[64];

	parsed->milliseconds = GILD_KEY_TIME;
	snprintf(name, sizeof(name), "%siter-time", given->prefix);
	return luks_time_parse(given->options, given->count, name,
			       &parsed->milliseconds, given->err);
}

int luks_options_parse(const struct gild_option *options, size_t count,
		       const char *prefix, struct luks_options *parsed,
		       struct gild_error *err)
{
	const struct given given = { options, count, prefix, err };

	memset(parsed, 0, sizeof(*parsed));
	parsed->secret_id = get(&given, "key-secret", NULL);
	if (read_mode(&given, parsed) < 0 || read_hash(&given, parsed) < 0)
		return -1;
	return read_time(&given, parsed);
}

/* --- the header ----------------------------------------------------------- */

static uint64_t slot_room(uint32_t key_length)
{
	return round_up(luks_material_length(key_length, STRIPES), BLOCK);
}

uint64_t luks_fresh_length(const struct luks_options *options)
{
	return BLOCK + LUKS_SLOTS * slot_room(options->key_length);
}

/* A random one: version 4. */
static int make_uuid(char uuid[LUKS_UUID + 1], struct gild_error *err)
{
	unsigned char b[16];

	if (RAND_bytes(b, sizeof(b)) != 1)
		return fail_crypto(err, "making a UUID");
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(uuid, LUKS_UUID + 1,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
		 b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

static int make_key(const struct luks_options *options,
		    struct luks_header *header, struct luks_key *key,
		    struct gild_error *err)
{
	uint32_t milliseconds = options->milliseconds / DIGEST_SHARE;

	key->length = header->key_length;
	if (RAND_priv_bytes(key->bytes, (int)key->length) != 1 ||
	    RAND_bytes(header->digest_salt, LUKS_SALT) != 1)
		return fail_crypto(err, "making a key");
	if (kdf_benchmark(header->hash, LUKS_DIGEST, milliseconds,
			  &header->digest_iterations, err) < 0)
		return -1;
	return kdf_derive(header->hash, key->bytes, key->length,
			  header->digest_salt, LUKS_SALT,
			  header->digest_iterations, header->digest,
			  LUKS_DIGEST, err);
}

int luks_make(const struct luks_options *options, struct luks_header *header,
	      struct luks_key *key, struct gild_error *err)
{
	uint64_t room = slot_room(options->key_length) / LUKS_SECTOR;

	memset(header, 0, sizeof(*header));
	snprintf(header->cipher, sizeof(header->cipher), "aes");
	snprintf(header->mode, sizeof(header->mode), "%s", options->mode);
	snprintf(header->hash, sizeof(header->hash), "%s", options->hash);
	header->key_length = options->key_length;
	header->payload = (uint32_t)(luks_fresh_length(options) / LUKS_SECTOR);
	for (uint32_t i = 0; i < LUKS_SLOTS; i++)
		header->slots[i] = (struct luks_slot){
			.sector = BLOCK / LUKS_SECTOR + i * (uint32_t)room,
			.stripes = STRIPES,
		};
	if (make_uuid(header->uuid, err) == 0 &&
	    make_key(options, header, key, err) == 0)
		return 0;
	luks_key_wipe(key);
	return -1;
}

int luks_create(const struct luks_area *area,
		const struct luks_options *options,
		const struct gild_secret *secret, struct luks_header *header,
		struct gild_error *err)
{
	struct luks_key key;
	int ret;

	if (luks_make(options, header, &key, err) < 0)
		return -1;
	ret = luks_write(area, header, err);
	if (!ret)
		ret = luks_add(area, header, &key, secret, 0,
			       options->milliseconds, err);
	luks_key_wipe(&key);
	return ret < 0 ? -1 : 0;
}
