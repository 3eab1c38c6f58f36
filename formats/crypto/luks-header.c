/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header's bytes. All numbers are big-endian, names end in a zero byte:
 *
 *       0  magic "LUKS" 0xba 0xbe     112  digest of the master key (20)
 *       6  version (16 bits)          132  the digest's salt (32)
 *       8  cipher (32)                164  the digest's iterations
 *      40  mode (32)                  168  UUID (40)
 *      72  hash (32)                  208  slots, 48 bytes each: active, itera-
 *     104  payload, in sectors             tions, salt (32), sector, stripes
 *     108  bytes of the key
 *
 * A slot may lie across two sectors, but only one is ever written at a time.
 */
#include "formats/crypto/luks.h"

#include <string.h>

#include "formats/crypto/crypto-parts.h"
#include "util/bytes.h"

#define SLOT_AT 208
#define SLOT_LENGTH 48
#define SLOT_ACTIVE 0x00ac71f3U
#define SLOT_FREE 0x0000deadU

/* The specification recommends this many; so do all who write headers. */
#define STRIPES 4000U

static const unsigned char magic[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

bool luks_probe(const unsigned char *head, size_t length)
{
	return length >= 8 && memcmp(head, magic, sizeof(magic)) == 0;
}

/* --- bytes to header and back --------------------------------------------- */

static int read_name(const unsigned char *from, size_t length, const char *what,
		     char *to, struct gild_error *err)
{
	if (!memchr(from, 0, length))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the name of the LUKS header's %s has no end",
			    what);
	memcpy(to, from, length);
	to[length] = '\0';
	return 0;
}

static int decode_slot(const unsigned char *bytes, struct luks_slot *slot,
		       struct gild_error *err)
{
	uint32_t active = load_be32(bytes);

	if (active != SLOT_ACTIVE && active != SLOT_FREE)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "a LUKS key slot is neither in use nor free (0x%x)",
			    active);
	slot->active = active == SLOT_ACTIVE;
	slot->iterations = load_be32(bytes + 4);
	memcpy(slot->salt, bytes + 8, LUKS_SALT);
	slot->sector = load_be32(bytes + 40);
	slot->stripes = load_be32(bytes + 44);
	return 0;
}

static void encode_slot(const struct luks_slot *slot, unsigned char *bytes)
{
	store_be32(bytes, slot->active ? SLOT_ACTIVE : SLOT_FREE);
	store_be32(bytes + 4, slot->iterations);
	memcpy(bytes + 8, slot->salt, LUKS_SALT);
	store_be32(bytes + 40, slot->sector);
	store_be32(bytes + 44, slot->stripes);
}

static int check_version(const unsigned char *bytes, struct gild_error *err)
{
	unsigned version = load_be16(bytes + 6);

	if (!luks_probe(bytes, LUKS_HEADER))
		return fail(err, GILD_ERR_FORMAT, 0, "there is no LUKS header");
	if (version == 1)
		return 0;
	fail(err, GILD_ERR_UNSUPPORTED, 0,
	     "LUKS version %u is not supported (version 1 is)", version);
	return error_hint(err, "libguestfs (guestfish --key) and cryptsetup "
			       "open it");
}

static int decode(const unsigned char *bytes, struct luks_header *header,
		  struct gild_error *err)
{
	if (check_version(bytes, err) < 0 ||
	    read_name(bytes + 8, LUKS_NAME, "cipher", header->cipher, err) <
		    0 ||
	    read_name(bytes + 40, LUKS_NAME, "mode", header->mode, err) < 0 ||
	    read_name(bytes + 72, LUKS_NAME, "hash", header->hash, err) < 0 ||
	    read_name(bytes + 168, LUKS_UUID, "UUID", header->uuid, err) < 0)
		return -1;
	header->payload = load_be32(bytes + 104);
	header->key_length = load_be32(bytes + 108);
	memcpy(header->digest, bytes + 112, LUKS_DIGEST);
	memcpy(header->digest_salt, bytes + 132, LUKS_SALT);
	header->digest_iterations = load_be32(bytes + 164);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (decode_slot(bytes + SLOT_AT + i * SLOT_LENGTH,
				&header->slots[i], err) < 0)
			return -1;
	}
	return 0;
}

static void encode(const struct luks_header *header,
		   unsigned char bytes[LUKS_HEADER])
{
	memset(bytes, 0, LUKS_HEADER);
	memcpy(bytes, magic, sizeof(magic));
	store_be16(bytes + 6, 1);
	memcpy(bytes + 8, header->cipher, LUKS_NAME);
	memcpy(bytes + 40, header->mode, LUKS_NAME);
	memcpy(bytes + 72, header->hash, LUKS_NAME);
	store_be32(bytes + 104, header->payload);
	store_be32(bytes + 108, header->key_length);
	memcpy(bytes + 112, header->digest, LUKS_DIGEST);
	memcpy(bytes + 132, header->digest_salt, LUKS_SALT);
	store_be32(bytes + 164, header->digest_iterations);
	memcpy(bytes + 168, header->uuid, LUKS_UUID);
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		encode_slot(&header->slots[i],
			    bytes + SLOT_AT + i * SLOT_LENGTH);
}

int luks_read(const struct luks_area *area, struct luks_header *header,
	      struct gild_error *err)
{
	unsigned char bytes[LUKS_HEADER];

	memset(header, 0, sizeof(*header));
	if (area->length < LUKS_HEADER)
		fail(err, GILD_ERR_CORRUPT, 0,
		     "there is no room for a LUKS header in %ju bytes",
		     (uintmax_t)area->length);
	else if (storage_read_all(area->storage, bytes, sizeof(bytes),
				  area->offset, err) == 0 &&
		 decode(bytes, header, err) == 0)
		return 0;
	return error_at(err, area->offset);
}

int luks_write(const struct luks_area *area, const struct luks_header *header,
	       struct gild_error *err)
{
	unsigned char bytes[LUKS_HEADER];

	encode(header, bytes);
	return storage_write(area->storage, bytes, sizeof(bytes), area->offset,
			     err);
}

int luks_write_slot(const struct luks_area *area,
		    const struct luks_header *header, unsigned slot,
		    struct gild_error *err)
{
	unsigned char bytes[SLOT_LENGTH];

	encode_slot(&header->slots[slot], bytes);
	return storage_write(
		area->storage, bytes, sizeof(bytes),
		area->offset + SLOT_AT + (uint64_t)slot * SLOT_LENGTH, err);
}

/* --- bounds --------------------------------------------------------------- */

uint64_t luks_material_length(uint32_t key_length, uint32_t stripes)
{
	return round_up((uint64_t)key_length * stripes, LUKS_SECTOR);
}

static int check_iterations(uint32_t iterations, struct gild_error *err)
{
	if (iterations >= 1 && iterations <= KDF_MAX_ITERATIONS)
		return 0;
	return fail(err, GILD_ERR_RANGE, 0,
		    "the LUKS header wants %u iterations for a key (1 to %u "
		    "are possible)",
		    iterations, KDF_MAX_ITERATIONS);
}

/* Key material of slot b, as bytes of the area. */
static void place_of(const struct luks_header *header, unsigned slot,
		     uint64_t *start, uint64_t *end)
{
	const struct luks_slot *s = &header->slots[slot];

	*start = (uint64_t)s->sector * LUKS_SECTOR;
	*end = *start + luks_material_length(header->key_length, s->stripes);
}

static int check_apart(const struct luks_header *header, unsigned slot,
		       struct gild_error *err)
{
	uint64_t start, end, other_start, other_end;

	place_of(header, slot, &start, &end);
	for (unsigned i = 0; i < slot; i++) {
		place_of(header, i, &other_start, &other_end);
		if (start < other_end && other_start < end)
			return fail(err, GILD_ERR_CORRUPT, 0,
				    "the key material of LUKS slots %u and %u "
				    "overlaps",
				    i, slot);
	}
	return 0;
}

static int check_slot(const struct luks_header *header, unsigned slot,
		      uint64_t area_length, struct gild_error *err)
{
	const struct luks_slot *s = &header->slots[slot];
	uint64_t start, end;

	if (s->stripes != STRIPES)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "LUKS slot %u has %u stripes, not %u", slot,
			    s->stripes, STRIPES);
	if (s->active && check_iterations(s->iterations, err) < 0)
		return error_prefix(err, "slot %u: ", slot);
	place_of(header, slot, &start, &end);
	if (start < LUKS_HEADER || end > area_length)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the key material of LUKS slot %u lies at %ju, "
			    "outside of its area",
			    slot, (uintmax_t)start);
	return check_apart(header, slot, err);
}

int luks_check(const struct luks_header *header, uint64_t area_length,
	       struct gild_error *err)
{
	if (header->key_length < 1 || header->key_length > CIPHER_MAX_KEY)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "a LUKS key of %u bytes is not supported (up to %u "
			    "are)",
			    header->key_length, CIPHER_MAX_KEY);
	if (check_iterations(header->digest_iterations, err) < 0)
		return -1;
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (check_slot(header, i, area_length, err) < 0)
			return -1;
	}
	return 0;
}
