/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The active L1 table becomes another one, by one switch of the header; and
 * what an L1 table that is gone led to is given back. While counts go down the
 * dirty bit is set (version 3): they are too high until that is done.
 */
#include <stdlib.h>

#include "formats/qcow2/snapshot/snapshot.h"
#include "util/bytes.h"
#include "util/cleanup.h"

/* A copy of an L1 table at a new place, without "copied" flags. That of an empty
 * disk has no entries, and no place: 0. */
int qcow2_tree_copy_l1(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		       uint64_t *offset, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = calloc(entries + 1ULL, 8);

	*offset = 0;
	if (!bytes)
		return fail_nomem(err);
	if (!entries)
		return 0;
	for (uint32_t i = 0; i < entries; i++)
		store_be64(bytes + i * 8ULL, l1[i] & ~QCOW2_COPIED);
	if (qcow2_alloc_table(q, div_round_up(entries * 8ULL, q->cluster_size),
			      offset, err) < 0)
		return -1;
	return storage_write(q->image.storage, bytes, entries * 8ULL, *offset,
			     err);
}

/* Counts are about to be too high for a while: with a mark that says so. */
void qcow2_tree_mark(const struct qcow2 *q, struct qcow2_header *header)
{
	if (q->header.version >= 3)
		header->incompatible |= QCOW2_INCOMPAT_DIRTY;
}

static int unmark(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_header header = q->header;

	header.incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	/* Lazy refcounts keep the mark until the image is closed. */
	if (q->marked_dirty || header.incompatible == q->header.incompatible)
		return 0;
	if (qcow2_put_header(q, &header, err) < 0)
		return -1;
	q->header = header;
	return 0;
}

/* Everything below an L1 table, and the table's own clusters, once less. */
int qcow2_tree_drop(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		    uint64_t offset, struct gild_error *err)
{
	if (qcow2_tree_count(q, l1, entries, -1, err) < 0)
		return -1;
	qcow2_alloc_undo(q, offset, entries * 8ULL);
	if (qcow2_writeback(q, false, err) < 0 ||
	    qcow2_tree_set_copied(q, err) < 0)
		return -1;
	return unmark(q, err);
}

/* The header leads to a copy of l1; *old is what it led to before. */
static int switch_l1(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		     uint64_t size, struct qcow2_table *old,
		     struct gild_error *err)
{
	struct qcow2_table table = { 0 };
	struct qcow2_header header;
	uint64_t offset;

	if (qcow2_tree_copy_l1(q, l1, entries, &offset, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0 ||
	    qcow2_table_read(q, &table, offset, entries, err) < 0)
		return -1;
	header = q->header;
	qcow2_tree_mark(q, &header);
	header.l1_offset = offset;
	header.l1_entries = entries;
	header.size = size;
	if (qcow2_put_header(q, &header, err) < 0) {
		free(table.entries);
		return -1;
	}
	*old = q->l1;
	q->l1 = table;
	q->header = header;
	q->image.size = size;
	return 0;
}

int qcow2_tree_switch(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		      uint64_t size, struct gild_error *err)
{
	struct qcow2_table old;
	int ret;

	if (qcow2_writeback(q, false, err) < 0 ||
	    switch_l1(q, l1, entries, size, &old, err) < 0)
		return -1;
	qcow2_cache_drop(&q->l2_cache);
	ret = qcow2_tree_drop(q, old.entries, old.count, old.offset, err);
	free(old.entries);
	/* Not to be changed, should its tables lie over others. */
	q->header_fit = q->prepared = !ret && !qcow2_guard_fill(q, err);
	return q->prepared ? 0 : -1;
}
