/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L1 tables, and the L2 tables that they lead to. The active ones are walked
 * in the order of the disk, which is what tells how fragmented it is. Those of
 * snapshots are gathered, sorted and walked once each, however many snapshots
 * share one; so are the active ones where there are more entries than the file
 * has clusters, which no sound image has. Neighbours in the file are read
 * together. Specification: "Cluster mapping".
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

#define ROOM 65536 /* L2 tables gathered at once */

int check_l1_load(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;

	free(c->l1);
	c->l1 = malloc(h->l1_entries ? h->l1_entries * 8ULL : 8);
	if (!c->l1)
		return fail_nomem(c->err);
	if (storage_read(c->storage, c->l1, h->l1_entries * 8ULL, h->l1_offset,
			 c->err) < 0)
		return error_prefix(c->err, "L1 table: ");
	for (uint32_t i = 0; i < h->l1_entries; i++)
		c->l1[i] = be64toh(c->l1[i]);
	return 0;
}

/* --- one L1 entry --------------------------------------------------------- */

/* Of a table that goes on behind the end of the file nobody knows the rest; of
 * one that begins there check_count has told. */
static void judge_end(struct check *c, uint64_t offset)
{
	if (storage_contains(c->storage, offset + c->q->cluster_size - 1,
			     NULL) != 0)
		return;
	check_corrupt(c, 1,
		      "ERROR l2_offset=%jx: Table is cut short by the end of "
		      "the file",
		      (uintmax_t)offset);
	c->incomplete = true;
}

/* The L2 table that an entry leads to, counted; 0 where there is none, or none
 * that could be read. */
static uint64_t judge_entry(struct check *c, uint64_t entry)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	bool inside;

	if (!entry)
		return 0;
	if (entry & QCOW2_L1_RESERVED)
		check_corrupt(
			c, 1,
			"ERROR found L1 entry with reserved bits set: %jx",
			(uintmax_t)entry);
	if (!offset) {
		if (entry == QCOW2_COPIED)
			check_corrupt(c, 1,
				      "ERROR found L1 entry that leads "
				      "nowhere: %jx",
				      (uintmax_t)entry);
		return 0;
	}
	inside = check_count(c, offset, c->q->cluster_size, 1);
	if (!is_aligned(offset, c->q->cluster_size)) {
		check_corrupt(c, 1,
			      "ERROR l2_offset=%jx: Table is not cluster "
			      "aligned; L1 entry corrupted",
			      (uintmax_t)offset);
		inside = false;
	}
	if (inside)
		judge_end(c, offset);
	else
		c->incomplete = true;
	return inside ? offset : 0;
}

static void flip_copied(struct check *c, uint32_t index)
{
	c->l1[index] ^= QCOW2_COPIED;
	if (!c->l1_dirty_to)
		c->l1_dirty_from = index;
	c->l1_dirty_to = index + 1;
	c->counts.fixed++;
}

static void judge_copied(struct check *c, uint32_t index)
{
	uint64_t entry = c->l1[index], offset = entry & QCOW2_OFFSET_MASK;
	bool fix = c->run.copied == CHECK_COPIED_FIX, known;

	if (!offset || !check_sees_copied(c) ||
	    !check_copied_is_wrong(c, offset, entry & QCOW2_COPIED))
		return;
	if (c->run.speak_copied)
		check_say(c,
			  "%s OFLAG_COPIED L2 cluster: l1_index=%u "
			  "l1_entry=%jx refcount=%ju",
			  fix ? "Repairing" : "ERROR", index, (uintmax_t)entry,
			  !check_is_heard(c) ?
				  0 :
				  (uintmax_t)check_disk_count(
					  c, offset >> c->q->cluster_bits,
					  &known));
	if (fix)
		flip_copied(c, index);
	else
		c->counts.copied++;
}

/* --- L2 tables ------------------------------------------------------------ */

static int walk_table(struct check *c, const struct check_table *table,
		      unsigned char *data, bool active)
{
	struct check_walk walk = {
		.data = data,
		.offset = table->offset,
		.weight = table->weight,
		.active = active,
	};

	check_entries(c, &walk);
	if (!walk.dirty_to)
		return 0;
	return check_write_table(c, data, table->offset, walk.dirty_from,
				 walk.dirty_to);
}

/* How many of these tables lie side by side? */
static size_t run_length(const struct check *c, const struct check_table *table,
			 size_t count)
{
	size_t most = (size_t)(CHECK_READ >> c->q->cluster_bits), n = 1;

	while (n < count && n < most &&
	       table[n].offset == table[n - 1].offset + c->q->cluster_size)
		n++;
	return n;
}

/* Read the first n; fewer where the disk fails. 0: none. */
static size_t read_tables(struct check *c, const struct check_table *table,
			  size_t n)
{
	struct gild_error err;

	if (!storage_read(c->storage, c->bytes, n << c->q->cluster_bits,
			  table->offset, &err))
		return n;
	if (n > 1)
		return read_tables(c, table, 1);
	check_unread(c, "L2 table", table->offset, &err);
	return 0;
}

static int walk_tables(struct check *c, bool active)
{
	size_t n, got;

	for (size_t i = 0; i < c->table_count; i += got ? got : 1) {
		n = run_length(c, c->tables + i, c->table_count - i);
		got = read_tables(c, c->tables + i, n);
		for (size_t k = 0; k < got; k++)
			if (walk_table(c, c->tables + i + k,
				       c->bytes + (k << c->q->cluster_bits),
				       active) < 0)
				return -1;
	}
	c->table_count = 0;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct check_table *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static void merge_tables(struct check *c)
{
	size_t kept = 0;

	if (!c->table_count)
		return;
	qsort(c->tables, c->table_count, sizeof(*c->tables), by_offset);
	for (size_t i = 0; i < c->table_count; i++) {
		if (kept && c->tables[kept - 1].offset == c->tables[i].offset)
			c->tables[kept - 1].weight += c->tables[i].weight;
		else
			c->tables[kept++] = c->tables[i];
	}
	c->table_count = kept;
}

/* in_order: walk them as they come. Else equal ones are merged, and walked
 * when no room is left. */
static int add_table(struct check *c, uint64_t offset, bool active,
		     bool in_order)
{
	if (!c->tables) {
		c->tables = malloc(ROOM * sizeof(*c->tables));
		if (!c->tables)
			return fail_nomem(c->err);
	}
	if (c->table_count == ROOM && !in_order)
		merge_tables(c);
	if (c->table_count > (in_order ? ROOM - 1 : ROOM / 2) &&
	    walk_tables(c, active) < 0)
		return -1;
	c->tables[c->table_count++] = (struct check_table){ offset, 1 };
	return 0;
}

/* --- whole L1 tables ------------------------------------------------------ */

static uint64_t count_entries(const struct check *c)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < c->q->header.l1_entries; i++)
		used += c->l1[i] != 0;
	return used;
}

static int write_l1(struct check *c)
{
	uint32_t from = c->l1_dirty_from, n = c->l1_dirty_to - from;
	int ret;

	if (!c->l1_dirty_to)
		return 0;
	for (uint32_t i = from; i < from + n; i++)
		c->l1[i] = htobe64(c->l1[i]);
	ret = check_write(c, c->l1 + from, n * 8ULL,
			  c->q->header.l1_offset + from * 8ULL);
	for (uint32_t i = from; i < from + n; i++)
		c->l1[i] = be64toh(c->l1[i]);
	c->l1_dirty_from = c->l1_dirty_to = 0;
	return ret;
}

int check_active(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;
	bool in_order = count_entries(c) <= c->clusters;
	uint64_t offset;

	check_count(c, h->l1_offset, h->l1_entries * 8ULL, 1);
	for (uint32_t i = 0; i < h->l1_entries; i++) {
		offset = judge_entry(c, c->l1[i]);
		judge_copied(c, i);
		if (offset && add_table(c, offset, true, in_order) < 0)
			return -1;
	}
	if (!in_order)
		merge_tables(c);
	if (walk_tables(c, true) < 0)
		return -1;
	return write_l1(c);
}

static int gather(struct check *c, const uint64_t *entries, size_t count)
{
	uint64_t offset;

	for (size_t i = 0; i < count; i++) {
		offset = judge_entry(c, entries[i]);
		if (offset && add_table(c, offset, false, false) < 0)
			return -1;
	}
	return 0;
}

int check_inactive(struct check *c)
{
	for (size_t i = 0; i < c->snapshots.count; i++)
		if (check_long_read(c, "L1 table of a snapshot",
				    &c->snapshots.list[i], gather) < 0)
			return -1;
	merge_tables(c);
	return walk_tables(c, false);
}
