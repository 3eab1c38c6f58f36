/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps: a directory, a table for each, and the clusters that those name.
 * What the extension says holds only while the autoclear bit vouches for it;
 * without the bit its clusters belong to nobody. Specification: "Bitmaps".
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"
#include "util/cleanup.h"

#define FIXED_BYTES 24
#define MAX_DIRECTORY (64ULL << 20)
#define RESERVED 0xff000000000001feULL
#define ALL_ONES 1ULL /* allowed without an offset */
#define KNOWN_FLAGS 7U
#define DIRTY_TRACKING 1 /* the only type */

static int lose(struct check *c, const char *why)
{
	check_corrupt(c, 1, "ERROR bitmap directory at offset 0x%jx %s",
		      (uintmax_t)c->q->header.bitmap_directory_offset, why);
	c->incomplete = true;
	return 0;
}

static void judge_bitmap(struct check *c, const unsigned char *entry,
			 uint32_t index)
{
	if (load_be32(entry + 12) & ~KNOWN_FLAGS ||
	    entry[16] != DIRTY_TRACKING || entry[17] > 63 ||
	    !load_be16(entry + 18))
		check_corrupt(c, 1,
			      "ERROR bitmap directory entry %u is of no "
			      "known kind",
			      index);
}

/* The directory's entries, one after another. */
static int parse(struct check *c, const unsigned char *bytes, uint64_t size)
{
	uint64_t length;
	uint32_t found = 0;

	for (uint64_t at = 0; at < size; at += length, found++) {
		const unsigned char *entry = bytes + at;

		if (size - at < FIXED_BYTES)
			return lose(c, "ends inside an entry");
		length =
			round_up((uint64_t)FIXED_BYTES + load_be16(entry + 18) +
					 load_be32(entry + 20),
				 8);
		if (length > size - at)
			return lose(c, "ends inside an entry");
		judge_bitmap(c, entry, found);
		if (check_long_add(c, &c->bitmaps, "table of a bitmap",
				   load_be64(entry), load_be32(entry + 8)) < 0)
			return -1;
	}
	if (found != c->q->header.bitmap_count)
		return lose(c, "does not hold as many bitmaps as the header "
			       "says");
	return 0;
}

static int read_directory(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;
	AUTO_FREE unsigned char *bytes = NULL;
	struct gild_error err;

	c->bitmaps.count = 0;
	c->bitmaps.bytes = 0;
	if (h->bitmap_directory_size > MAX_DIRECTORY)
		return lose(c, "is too large");
	if (!check_count(c, h->bitmap_directory_offset,
			 h->bitmap_directory_size, 1)) {
		c->incomplete = true;
		return 0;
	}
	bytes = malloc(h->bitmap_directory_size + 1);
	if (!bytes)
		return fail_nomem(c->err);
	if (storage_read(c->storage, bytes, h->bitmap_directory_size,
			 h->bitmap_directory_offset, &err) < 0) {
		check_unread(c, "bitmap directory", h->bitmap_directory_offset,
			     &err);
		return 0;
	}
	return parse(c, bytes, h->bitmap_directory_size);
}

static void judge_entry(struct check *c, uint64_t entry)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	uint64_t reserved = offset ? RESERVED | ALL_ONES : RESERVED;

	if (entry & reserved)
		check_corrupt(c, 1,
			      "ERROR found bitmap table entry with "
			      "reserved bits set: %jx",
			      (uintmax_t)entry);
	if (!is_aligned(offset, c->q->cluster_size))
		check_corrupt(c, 1,
			      "ERROR offset=%jx: cluster of a bitmap is "
			      "not properly aligned",
			      (uintmax_t)offset);
	if (offset && check_count(c, offset, c->q->cluster_size, 1) &&
	    c->data_map)
		check_mark_data(c, offset, c->q->cluster_size);
}

static int use_entries(struct check *c, const uint64_t *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		judge_entry(c, entries[i]);
	return 0;
}

int check_bitmaps(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;

	if (!h->has_bitmaps || !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (!c->first_pass) {
		check_count(c, h->bitmap_directory_offset,
			    h->bitmap_directory_size, 1);
		check_long_recount(c, &c->bitmaps);
	} else if (read_directory(c) < 0) {
		return -1;
	}
	for (size_t i = 0; i < c->bitmaps.count; i++)
		if (check_long_read(c, "table of a bitmap", &c->bitmaps.list[i],
				    use_entries) < 0)
			return -1;
	return 0;
}
