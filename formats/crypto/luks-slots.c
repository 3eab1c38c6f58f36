/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key slots. A slot's key material is the master key over 4000 stripes,
 * encrypted like the payload, with a key made from the passphrase; its sectors
 * count from 0. Whether a passphrase was right is seen from the digest of what
 * comes out.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "formats/crypto/crypto-parts.h"
#include "formats/crypto/luks.h"
#include "util/bytes.h"

void luks_key_wipe(struct luks_key *key)
{
	OPENSSL_cleanse(key, sizeof(*key));
}

struct cipher *luks_cipher(const struct luks_header *header,
			   const struct luks_key *key, struct gild_error *err)
{
	return cipher_new(header->cipher, header->mode, key->bytes, key->length,
			  err);
}

/* Key material under way: both parts are secrets. */
struct material {
	uint64_t length;       /* on the disk */
	unsigned char *bytes;  /* owned */
	struct cipher *cipher; /* owned */
};

static void material_free(struct material *material)
{
	cipher_free(material->cipher);
	if (material->bytes)
		OPENSSL_cleanse(material->bytes, material->length);
	free(material->bytes);
}

/* Room, and the key that a passphrase gives. */
static int material_begin(struct material *material,
			  const struct luks_header *header,
			  const struct luks_slot *slot,
			  const struct gild_secret *secret,
			  struct gild_error *err)
{
	struct luks_key key = { .length = header->key_length };

	*material = (struct material){
		.length =
			luks_material_length(header->key_length, slot->stripes),
	};
	material->bytes = calloc(1, material->length);
	if (!material->bytes)
		return fail_nomem(err);
	if (kdf_derive(header->hash, secret->bytes, secret->length, slot->salt,
		       LUKS_SALT, slot->iterations, key.bytes, key.length,
		       err) == 0)
		material->cipher = luks_cipher(header, &key, err);
	luks_key_wipe(&key);
	if (material->cipher)
		return 0;
	material_free(material);
	return -1;
}

static uint64_t material_offset(const struct luks_area *area,
				const struct luks_slot *slot)
{
	return area->offset + (uint64_t)slot->sector * LUKS_SECTOR;
}

/* --- unlocking ------------------------------------------------------------ */

static int read_material(const struct luks_area *area,
			 const struct luks_slot *slot,
			 struct material *material, struct gild_error *err)
{
	if (storage_read_all(area->storage, material->bytes, material->length,
			     material_offset(area, slot), err) < 0)
		return -1;
	return cipher_decrypt(material->cipher, material->bytes,
			      material->bytes, material->length, 0, err);
}

/* 1: it is the master key, 0: it is not. */
static int is_master(const struct luks_header *header,
		     const struct luks_key *key, struct gild_error *err)
{
	unsigned char digest[LUKS_DIGEST];

	if (kdf_derive(header->hash, key->bytes, key->length,
		       header->digest_salt, LUKS_SALT,
		       header->digest_iterations, digest, sizeof(digest),
		       err) < 0)
		return -1;
	return CRYPTO_memcmp(digest, header->digest, sizeof(digest)) == 0;
}

int luks_try(const struct luks_area *area, const struct luks_header *header,
	     unsigned number, const struct gild_secret *secret,
	     struct luks_key *key, struct gild_error *err)
{
	const struct luks_slot *slot = &header->slots[number];
	struct material material;
	int ret = -1;

	if (material_begin(&material, header, slot, secret, err) < 0)
		return -1;
	key->length = header->key_length;
	if (read_material(area, slot, &material, err) == 0 &&
	    stripes_merge(header->hash, material.bytes, key->length,
			  slot->stripes, key->bytes, err) == 0)
		ret = is_master(header, key, err);
	material_free(&material);
	if (ret < 0)
		error_prefix(err, "LUKS key slot %u: ", number);
	if (ret != 1)
		luks_key_wipe(key);
	return ret;
}

/* A slot that cannot be read does not keep the others from opening. */
int luks_unlock(const struct luks_area *area, const struct luks_header *header,
		const struct gild_secret *secret, struct luks_key *key,
		struct gild_error *err)
{
	struct gild_error trouble = { .kind = GILD_ERR_NONE };
	int got;

	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (!header->slots[i].active)
			continue;
		got = luks_try(area, header, i, secret, key, &trouble);
		if (got > 0)
			return (int)i;
	}
	if (trouble.kind == GILD_ERR_NONE)
		return fail(err, GILD_ERR_DENIED, 0,
			    "wrong passphrase: it opens no key slot");
	if (err)
		*err = trouble;
	return -1;
}

int luks_is_key(const struct luks_header *header, const struct luks_key *key,
		struct gild_error *err)
{
	return key->length == header->key_length ? is_master(header, key, err) :
						   0;
}

/* --- changing ------------------------------------------------------------- */

static int flush(const struct luks_area *area, struct gild_error *err)
{
	return area->unpublished ? 0 : storage_flush(area->storage, err);
}

static int fail_slot_number(int slot, struct gild_error *err)
{
	return fail(err, GILD_ERR_INVALID, 0,
		    "there is no LUKS key slot %d (0 to %d are)", slot,
		    LUKS_SLOTS - 1);
}

static int find_free(const struct luks_header *header, int wanted,
		     struct gild_error *err)
{
	if (wanted >= LUKS_SLOTS)
		return fail_slot_number(wanted, err);
	if (wanted >= 0 && header->slots[wanted].active)
		return fail(err, GILD_ERR_DENIED, 0,
			    "LUKS key slot %d is in use: erase it first",
			    wanted);
	if (wanted >= 0)
		return wanted;
	for (int i = 0; i < LUKS_SLOTS; i++)
		if (!header->slots[i].active)
			return i;
	return fail(err, GILD_ERR_RANGE, 0, "all %d LUKS key slots are in use",
		    LUKS_SLOTS);
}

static int write_material(const struct luks_area *area,
			  const struct luks_header *header,
			  const struct luks_slot *slot,
			  const struct luks_key *key, struct material *material,
			  struct gild_error *err)
{
	if (stripes_split(header->hash, key->bytes, key->length, slot->stripes,
			  material->bytes, err) < 0 ||
	    cipher_encrypt(material->cipher, material->bytes, material->bytes,
			   material->length, 0, err) < 0 ||
	    storage_write(area->storage, material->bytes, material->length,
			  material_offset(area, slot), err) < 0)
		return -1;
	return flush(area, err);
}

static int fill_slot(const struct luks_area *area,
		     const struct luks_header *header, struct luks_slot *slot,
		     const struct luks_key *key,
		     const struct gild_secret *secret, uint32_t milliseconds,
		     struct gild_error *err)
{
	struct material material;
	int ret;

	if (RAND_bytes(slot->salt, LUKS_SALT) != 1)
		return fail_crypto(err, "making a salt");
	if (kdf_benchmark(header->hash, header->key_length, milliseconds,
			  &slot->iterations, err) < 0 ||
	    material_begin(&material, header, slot, secret, err) < 0)
		return -1;
	ret = write_material(area, header, slot, key, &material, err);
	material_free(&material);
	return ret;
}

/* A slot's bytes are written twice, and differ only in the mark that it is in
 * use: however the disk tears the second write, the slot is one or the
 * other. */
static int switch_slot(const struct luks_area *area, struct luks_header *header,
		       unsigned slot, bool active, struct gild_error *err)
{
	header->slots[slot].active = active;
	if (luks_write_slot(area, header, slot, err) < 0)
		return -1;
	return flush(area, err);
}

int luks_add(const struct luks_area *area, struct luks_header *header,
	     const struct luks_key *key, const struct gild_secret *secret,
	     int slot, uint32_t milliseconds, struct gild_error *err)
{
	struct luks_slot *place, old;

	slot = find_free(header, slot, err);
	if (slot < 0)
		return -1;
	place = &header->slots[slot];
	old = *place;
	if (fill_slot(area, header, place, key, secret, milliseconds, err) ==
		    0 &&
	    switch_slot(area, header, (unsigned)slot, false, err) == 0 &&
	    switch_slot(area, header, (unsigned)slot, true, err) == 0)
		return slot;
	*place = old;
	return -1;
}

/* What was there cannot be read any more, as far as the disk overwrites. */
static int wipe_material(const struct luks_area *area,
			 const struct luks_header *header, unsigned slot,
			 struct gild_error *err)
{
	const struct luks_slot *s = &header->slots[slot];
	uint64_t length = luks_material_length(header->key_length, s->stripes);
	unsigned char *bytes = malloc(length);
	int ret;

	if (!bytes)
		return fail_nomem(err);
	if (RAND_bytes(bytes, (int)length) != 1)
		ret = fail_crypto(err, "wiping key material");
	else
		ret = storage_write(area->storage, bytes, length,
				    material_offset(area, s), err);
	free(bytes);
	return ret < 0 ? -1 : flush(area, err);
}

/* Key material and salt of a slot that is not in use any more. */
static int wipe_slot(const struct luks_area *area, struct luks_header *header,
		     unsigned slot, struct gild_error *err)
{
	struct luks_slot *place = &header->slots[slot];

	if (wipe_material(area, header, slot, err) < 0)
		return -1;
	place->iterations = 0;
	memset(place->salt, 0, LUKS_SALT);
	return switch_slot(area, header, slot, false, err);
}

static bool has_salt(const struct luks_slot *slot)
{
	static const unsigned char none[LUKS_SALT];

	return memcmp(slot->salt, none, LUKS_SALT) != 0;
}

int luks_remove(const struct luks_area *area, struct luks_header *header,
		unsigned slot, bool force, struct gild_error *err)
{
	unsigned active = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		active += header->slots[i].active;
	if (slot >= LUKS_SLOTS)
		return fail_slot_number((int)slot, err);
	if (!header->slots[slot].active) {
		/* A removal that was stopped half way is finished. */
		if (has_salt(&header->slots[slot]))
			return wipe_slot(area, header, slot, err);
		return fail(err, GILD_ERR_INVALID, 0,
			    "LUKS key slot %u is not in use", slot);
	}
	if (active == 1 && !force)
		return fail(err, GILD_ERR_DENIED, 0,
			    "LUKS key slot %u is the last one: without it "
			    "nobody opens the image any more",
			    slot);
	if (switch_slot(area, header, slot, false, err) < 0)
		return -1;
	return wipe_slot(area, header, slot, err);
}
