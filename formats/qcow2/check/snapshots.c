/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The snapshot table: entries of variable length, one after another, of which
 * only the L1 tables matter here. The reader goes from entry to entry and keeps
 * within the file and within a cap, whatever the lengths say. Specification:
 * "Snapshots".
 */
#include "formats/qcow2/check/check.h"

#define FIXED_BYTES 40
#define MAX_TABLE_BYTES (64ULL << 20)
#define MAX_EXTRA_BYTES 1024
#define LEAST_EXTRA_V3 16

struct entry {
	uint64_t l1_offset;
	uint32_t l1_entries, extra;
	uint64_t length; /* of the entry itself */
};

static bool read_entry(struct check *c, uint64_t at, struct entry *entry)
{
	uint64_t offset = c->q->header.snapshots_offset + at;
	unsigned char fixed[FIXED_BYTES];
	struct gild_error err;

	if (storage_read(c->storage, fixed, sizeof(fixed), offset, &err) < 0) {
		check_unread(c, "snapshot table", offset, &err);
		return false;
	}
	entry->l1_offset = load_be64(fixed);
	entry->l1_entries = load_be32(fixed + 8);
	entry->extra = load_be32(fixed + 36);
	entry->length =
		round_up((uint64_t)FIXED_BYTES + entry->extra +
				 load_be16(fixed + 12) + load_be16(fixed + 14),
			 8);
	return true;
}

/* The rest of the table cannot be found any more. */
static void lose_rest(struct check *c, uint32_t index)
{
	check_corrupt(c, 1,
		      "ERROR snapshot table entry %u is beyond the end of "
		      "the file, or of what a snapshot table can be",
		      index);
	c->incomplete = true;
}

static int judge_entry(struct check *c, uint32_t index,
		       const struct entry *entry)
{
	if (c->q->header.version >= 3 && entry->extra < LEAST_EXTRA_V3)
		check_corrupt(c, 1,
			      "ERROR snapshot table entry %u is incomplete",
			      index);
	if (entry->extra > MAX_EXTRA_BYTES)
		check_corrupt(c, 1,
			      "ERROR snapshot table entry %u has too "
			      "much extra metadata",
			      index);
	if (entry->l1_entries * 8ULL > QCOW2_MAX_L1_BYTES) {
		check_corrupt(c, 1,
			      "ERROR snapshot %u l1_size=0x%x: L1 table "
			      "is too large; snapshot table entry corrupted",
			      index, entry->l1_entries);
		c->incomplete = true;
		return 0;
	}
	return check_long_add(c, &c->snapshots, "L1 table of a snapshot",
			      entry->l1_offset, entry->l1_entries);
}

/* *bytes: how long the table is. */
static int parse(struct check *c, uint64_t *bytes)
{
	uint64_t start = c->q->header.snapshots_offset;
	uint64_t end = c->clusters << c->q->cluster_bits;
	struct entry entry;

	*bytes = 0;
	for (uint32_t i = 0; i < c->q->header.snapshot_count; i++) {
		if (!range_within(start, *bytes + FIXED_BYTES, end)) {
			lose_rest(c, i);
			return 0;
		}
		if (!read_entry(c, *bytes, &entry))
			return 0;
		if (!range_within(start, *bytes + entry.length, end) ||
		    *bytes + entry.length > MAX_TABLE_BYTES) {
			lose_rest(c, i);
			return 0;
		}
		if (judge_entry(c, i, &entry) < 0)
			return -1;
		*bytes += entry.length;
	}
	return 0;
}

int check_snapshots(struct check *c)
{
	if (!c->q->header.snapshot_count)
		return 0;
	if (c->first_pass) {
		c->snapshots.count = 0;
		c->snapshots.bytes = 0;
		if (parse(c, &c->snapshot_bytes) < 0)
			return -1;
	} else {
		check_long_recount(c, &c->snapshots);
	}
	check_count(c, c->q->header.snapshots_offset, c->snapshot_bytes, 1);
	return check_inactive(c);
}
