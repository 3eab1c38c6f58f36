/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps: a directory, a table for each, and the clusters that those name.
 * What the extension says holds only while the autoclear bit vouches for it;
 * without the bit its clusters belong to nobody. Specification: "Bitmaps".
 */
#include <stdlib.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "formats/qcow2/check/check.h"
#include "util/cleanup.h"

static int lose(struct check *c, const char *why)
{
	check_corrupt(c, 1, "ERROR bitmap directory at offset 0x%jx %s",
		      (uintmax_t)c->q->header.bitmap_directory_offset, why);
	c->incomplete = true;
	return 0;
}

static void judge_bitmap(struct check *c,
			 const struct qcow2_bitmap_entry *entry, uint32_t index)
{
	if (qcow2_bitmap_fault(entry) ||
	    entry->type != QCOW2_BITMAP_DIRTY_TRACKING)
		check_corrupt(c, 1,
			      "ERROR bitmap directory entry %u is of no "
			      "known kind",
			      index);
}

/* The directory's entries, one after another. */
static int parse(struct check *c, const unsigned char *bytes, uint64_t size)
{
	struct qcow2_bitmap_entry entry;
	uint32_t found = 0;

	for (uint64_t at = 0; at < size; at += entry.length, found++) {
		if (!qcow2_bitmap_decode(bytes + at, size - at, &entry))
			return lose(c, "ends inside an entry");
		judge_bitmap(c, &entry, found);
		if (check_long_add(c, &c->bitmaps, "table of a bitmap",
				   entry.table_offset, entry.table_entries) < 0)
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
	if (h->bitmap_directory_size > QCOW2_MAX_BITMAP_DIRECTORY)
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
	uint64_t reserved = QCOW2_BITMAP_TABLE_RESERVED |
			    (offset ? QCOW2_BITMAP_ALL_ONES : 0);

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
