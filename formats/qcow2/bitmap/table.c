/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmap directory: entries of variable length, one after the other, each
 * padded to 8 bytes.
 *
 *     24 bytes | extra data | name | padding
 *
 * Without the autoclear bit that vouches for it, the directory is not looked
 * at. Extra data is kept as it stands. Specification: "Bitmap directory".
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define ENTRY_HEAD 24

/* --------------------------------------------------------------- reading -- */

uint64_t qcow2_bitmap_entry_bytes(uint64_t name_length, uint64_t extra_length)
{
	return round_up(ENTRY_HEAD + extra_length + name_length, 8);
}

bool qcow2_bitmap_decode(const unsigned char *bytes, uint64_t left,
			 struct qcow2_bitmap_entry *entry)
{
	if (left < ENTRY_HEAD)
		return false;
	*entry = (struct qcow2_bitmap_entry){
		.table_offset = load_be64(bytes),
		.table_entries = load_be32(bytes + 8),
		.flags = load_be32(bytes + 12),
		.type = bytes[16],
		.granularity_bits = bytes[17],
		.name_length = load_be16(bytes + 18),
		.extra_length = load_be32(bytes + 20),
		.extra = bytes + ENTRY_HEAD,
	};
	entry->length = qcow2_bitmap_entry_bytes(entry->name_length,
						 entry->extra_length);
	if (entry->length <= left)
		entry->name = entry->extra + entry->extra_length;
	return entry->name;
}

const char *qcow2_bitmap_fault(const struct qcow2_bitmap_entry *entry)
{
	if (entry->flags & ~(uint32_t)QCOW2_BITMAP_FLAGS)
		return "has unknown flags";
	if (entry->granularity_bits > 63)
		return "has an impossible granularity";
	if (!entry->name_length || entry->name_length > QCOW2_MAX_BITMAP_NAME)
		return "has an impossible name";
	if (!entry->name)
		return "is cut short";
	if (memchr(entry->name, 0, entry->name_length))
		return "has a zero byte in its name";
	return NULL;
}

void qcow2_bitmap_free(struct qcow2_bitmap *bitmap)
{
	free(bitmap->name);
	free(bitmap->extra);
	qcow2_bits_free(bitmap->bits);
	*bitmap = (struct qcow2_bitmap){ 0 };
}

void qcow2_bitmaps_free(struct qcow2_bitmaps *bitmaps)
{
	for (uint32_t i = 0; i < bitmaps->count; i++)
		qcow2_bitmap_free(&bitmaps->list[i]);
	free(bitmaps->list);
	*bitmaps = (struct qcow2_bitmaps){ 0 };
}

/* A copy, and a zero byte after it. */
static void *copy_bytes(const void *bytes, size_t length)
{
	char *copy = malloc(length + 1);

	if (!copy)
		return NULL;
	memcpy(copy, bytes, length);
	copy[length] = 0;
	return copy;
}

static int copy_entry(const struct qcow2_bitmap_entry *entry,
		      struct qcow2_bitmap *bitmap, struct gild_error *err)
{
	*bitmap = (struct qcow2_bitmap){
		.name = copy_bytes(entry->name, entry->name_length),
		.name_length = entry->name_length,
		.extra = copy_bytes(entry->extra, entry->extra_length),
		.extra_length = entry->extra_length,
		.flags = entry->flags,
		.type = entry->type,
		.granularity_bits = entry->granularity_bits,
		.table_offset = entry->table_offset,
		.table_entries = entry->table_entries,
	};
	return bitmap->name && bitmap->extra ? 0 : fail_nomem(err);
}

/* The entry at *used, which moves on. */
static int parse_entry(const unsigned char *bytes, uint64_t length,
		       uint64_t *used, struct qcow2_bitmap *bitmap,
		       struct gild_error *err)
{
	uint64_t left = length - *used;
	const char *fault = "is cut short";
	struct qcow2_bitmap_entry entry;

	if (qcow2_bitmap_decode(bytes + *used, left, &entry) ||
	    left >= ENTRY_HEAD)
		fault = qcow2_bitmap_fault(&entry);
	if (fault)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "an entry of the bitmap directory %s", fault);
	*used += entry.length;
	return copy_entry(&entry, bitmap, err);
}

static int parse(struct qcow2 *q, const unsigned char *bytes,
		 struct qcow2_bitmaps *bitmaps, struct gild_error *err)
{
	uint64_t length = q->header.bitmap_directory_size, used = 0;

	for (; bitmaps->count < q->header.bitmap_count; bitmaps->count++)
		if (parse_entry(bytes, length, &used,
				&bitmaps->list[bitmaps->count], err) < 0) {
			qcow2_bitmap_free(&bitmaps->list[bitmaps->count]);
			return error_at(err, q->header.bitmap_directory_offset +
						     used);
		}
	if (used == length)
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "the bitmap directory holds more than its %u entries",
	     bitmaps->count);
	return error_at(err, q->header.bitmap_directory_offset + used);
}

int qcow2_bitmaps_read(struct qcow2 *q, struct qcow2_bitmaps *bitmaps,
		       struct gild_error *err)
{
	const struct qcow2_header *header = &q->header;
	AUTO_FREE unsigned char *bytes = NULL;

	*bitmaps = (struct qcow2_bitmaps){ 0 };
	if (!header->has_bitmaps ||
	    !(header->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	/* Within the file and its cap: the header was checked. */
	bytes = malloc(header->bitmap_directory_size);
	bitmaps->list = calloc(header->bitmap_count, sizeof(*bitmaps->list));
	if (!bytes || !bitmaps->list) {
		free(bitmaps->list);
		return fail_nomem(err);
	}
	if (storage_read_all(q->image.storage, bytes,
			     header->bitmap_directory_size,
			     header->bitmap_directory_offset, err) < 0 ||
	    parse(q, bytes, bitmaps, err) < 0) {
		qcow2_bitmaps_free(bitmaps);
		return -1;
	}
	return 0;
}

struct qcow2_bitmap *qcow2_bitmaps_find(const struct qcow2_bitmaps *bitmaps,
					const char *name,
					struct gild_error *err)
{
	for (uint32_t i = 0; i < bitmaps->count; i++)
		if (!strcmp(bitmaps->list[i].name, name))
			return &bitmaps->list[i];
	return fail_null(err, GILD_ERR_INVALID, 0, "there is no bitmap \"%s\"",
			 name);
}

/* --------------------------------------------------------------- writing -- */

static uint64_t entry_bytes(const struct qcow2_bitmap *bitmap)
{
	return qcow2_bitmap_entry_bytes(bitmap->name_length,
					bitmap->extra_length);
}

static void encode(const struct qcow2_bitmap *bitmap, unsigned char *to)
{
	uint32_t flags = bitmap->flags;

	if (bitmap->ours)
		flags |= QCOW2_BITMAP_IN_USE;
	store_be64(to, bitmap->table_offset);
	store_be32(to + 8, bitmap->table_entries);
	store_be32(to + 12, flags);
	to[16] = bitmap->type;
	to[17] = bitmap->granularity_bits;
	store_be16(to + 18, bitmap->name_length);
	store_be32(to + 20, bitmap->extra_length);
	if (bitmap->extra_length)
		memcpy(to + ENTRY_HEAD, bitmap->extra, bitmap->extra_length);
	memcpy(to + ENTRY_HEAD + bitmap->extra_length, bitmap->name,
	       bitmap->name_length);
}

unsigned char *qcow2_bitmaps_encode(const struct qcow2_bitmaps *bitmaps,
				    uint64_t *length, struct gild_error *err)
{
	unsigned char *bytes;
	uint64_t at = 0;

	*length = 0;
	for (uint32_t i = 0; i < bitmaps->count; i++)
		*length += entry_bytes(&bitmaps->list[i]);
	if (*length > QCOW2_MAX_BITMAP_DIRECTORY)
		return fail_null(err, GILD_ERR_RANGE, 0,
				 "the bitmap directory would exceed 64 MiB");
	bytes = calloc(1, *length ? *length : 1);
	if (!bytes)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	for (uint32_t i = 0; i < bitmaps->count; i++) {
		encode(&bitmaps->list[i], bytes + at);
		at += entry_bytes(&bitmaps->list[i]);
	}
	return bytes;
}

int qcow2_bitmaps_write_flags(struct qcow2 *q, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = NULL;
	uint64_t length;

	bytes = qcow2_bitmaps_encode(q->bitmaps, &length, err);
	if (!bytes)
		return -1;
	if (storage_write(q->image.storage, bytes, length,
			  q->header.bitmap_directory_offset, err) < 0)
		return -1;
	return qcow2_barrier(q, err);
}
