/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data to and from storages, through a cipher where there is one: read and
 * decrypted in the reader's buffer; encrypted into a buffer of our own, since
 * the writer's is not ours to change.
 */
#include "formats/extent-io.h"

#include <stdlib.h>
#include <string.h>

#include "formats/crypto/cipher.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

/* Encrypted at a time. */
#define PIECE (256U << 10)

/* A stretch of a storage, and how it is encrypted. */
struct place {
	struct storage *storage;
	uint64_t offset;
	const struct cipher *cipher;
	uint64_t cipher_offset;
};

/* --- reading -------------------------------------------------------------- */

static int read_sectors(const struct place *place, void *buffer,
			uint64_t length, struct gild_error *err)
{
	if (storage_read(place->storage, buffer, length, place->offset, err) <
	    0)
		return -1;
	return cipher_decrypt(place->cipher, buffer, buffer, length,
			      place->cipher_offset, err);
}

/* Bytes of one sector, which is read whole. */
static int read_part(const struct place *place, void *buffer, uint64_t length,
		     struct gild_error *err)
{
	uint64_t before = place->cipher_offset & (CIPHER_SECTOR - 1);
	unsigned char sector[CIPHER_SECTOR];
	const struct place whole = {
		.storage = place->storage,
		.offset = place->offset - before,
		.cipher = place->cipher,
		.cipher_offset = place->cipher_offset - before,
	};

	if (read_sectors(&whole, sector, CIPHER_SECTOR, err) < 0)
		return -1;
	memcpy(buffer, sector + before, length);
	return 0;
}

static void advance(struct place *place, uint64_t length)
{
	place->offset += length;
	place->cipher_offset += length;
}

/* Up to a sector's beginning, whole sectors, and what is left. */
static int read_encrypted(struct place place, unsigned char *buffer,
			  uint64_t length, struct gild_error *err)
{
	uint64_t head = -place.cipher_offset & (CIPHER_SECTOR - 1), middle;

	head = min_u64(head, length);
	middle = round_down(length - head, CIPHER_SECTOR);
	if (head && read_part(&place, buffer, head, err) < 0)
		return -1;
	advance(&place, head);
	if (middle && read_sectors(&place, buffer + head, middle, err) < 0)
		return -1;
	advance(&place, middle);
	length -= head + middle;
	if (!length)
		return 0;
	return read_part(&place, buffer + head + middle, length, err);
}

int extent_read(const struct extent *extent, void *buffer,
		struct gild_error *err)
{
	const struct place place = {
		.storage = extent->storage,
		.offset = extent->host_offset,
		.cipher = extent->cipher,
		.cipher_offset = extent->cipher_offset,
	};

	if (extent->cipher)
		return read_encrypted(place, buffer, extent->length, err);
	return storage_read(extent->storage, buffer, extent->length,
			    extent->host_offset, err);
}

/* --- writing -------------------------------------------------------------- */

static int write_encrypted(struct place place, const unsigned char *buffer,
			   uint64_t length, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes =
		memory_io_buffer(min_u64(length, PIECE));
	uint64_t n;

	if (!bytes)
		return fail_nomem(err);
	for (; length; length -= n) {
		n = min_u64(length, PIECE);
		if (cipher_encrypt(place.cipher, buffer, bytes, n,
				   place.cipher_offset, err) < 0 ||
		    storage_write(place.storage, bytes, n, place.offset, err) <
			    0)
			return -1;
		buffer += n;
		advance(&place, n);
	}
	return 0;
}

static int write_place(const struct place *place, const void *buffer,
		       uint64_t length, struct gild_error *err)
{
	if (place->cipher)
		return write_encrypted(*place, buffer, length, err);
	return storage_write(place->storage, buffer, length, place->offset,
			     err);
}

int extent_write(const struct extent *extent, const void *buffer,
		 struct gild_error *err)
{
	const struct place place = {
		.storage = extent->storage,
		.offset = extent->host_offset,
		.cipher = extent->cipher,
		.cipher_offset = extent->cipher_offset,
	};

	return write_place(&place, buffer, extent->length, err);
}

int plan_write(const struct write_plan *plan, uint64_t offset,
	       const void *buffer, uint64_t length, struct gild_error *err)
{
	const struct place place = {
		.storage = plan->storage,
		.offset = plan->host_offset + (offset - plan->start),
		.cipher = plan->cipher,
		.cipher_offset = plan->cipher_offset + (offset - plan->start),
	};

	return write_place(&place, buffer, length, err);
}
