/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reference counts of another width. New blocks and a new table are allocated
 * as anything else is, so the old counts know of them; then the blocks are
 * written with what the old counts say, the old structure's own clusters
 * included. Once the header leads to the new table, those are given back:
 * stopped before, the new structure leaks, stopped after, the old one.
 *
 * Allocating changes what has to be counted. Blocks are made until each cluster
 * in use has one, then the table, and again, until nothing is missing.
 */
#include <stdlib.h>

#include "formats/qcow2/amend/amend.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

#define BLOCK_WANTED 1 /* in the table: a block that has no place yet */
#define MOST_ENTRIES (QCOW2_MAX_REFTABLE_BYTES / 8)

/* --- which blocks there must be ------------------------------------------- */

static int fail_size(struct gild_error *err)
{
	fail(err, GILD_ERR_RANGE, 0,
	     "reference counts of that width need a table of more than 8 MiB");
	return error_hint(err, "a smaller refcount_bits will do");
}

static int make_room(struct qcow2_counts *counts, uint64_t entries,
		     struct gild_error *err)
{
	uint64_t room = max_u64(entries, counts->room * 2), *table;

	if (entries > MOST_ENTRIES)
		return fail_size(err);
	if (entries <= counts->room)
		return 0;
	table = realloc(counts->table, room * 8);
	if (!table)
		return fail_nomem(err);
	memset(table + counts->room, 0, (room - counts->room) * 8);
	counts->table = table;
	counts->room = room;
	return 0;
}

static int fail_count(uint64_t cluster, uint64_t count, uint32_t order,
		      const struct qcow2 *q, struct gild_error *err)
{
	fail(err, GILD_ERR_RANGE, 0,
	     "the cluster at %#llx is counted %llu times, which %u bits cannot "
	     "hold",
	     (unsigned long long)(cluster << q->cluster_bits),
	     (unsigned long long)count, 1U << order);
	return error_hint(err, q->header.snapshot_count ?
				       "each snapshot counts once: choose a "
				       "larger refcount_bits" :
				       "choose a larger refcount_bits");
}

/* A cluster that is in use: its count fits, and has a block. */
static int want_block(const struct qcow2 *q, struct qcow2_counts *counts,
		      uint64_t cluster, uint64_t count, struct gild_error *err)
{
	uint64_t index = cluster / counts->per_block;

	if (count > UINT64_MAX >> (64 - (1U << counts->order)))
		return fail_count(cluster, count, counts->order, q, err);
	if (index >= counts->used) {
		if (make_room(counts, index + 1, err) < 0)
			return -1;
		counts->used = index + 1;
	}
	if (!counts->table[index])
		counts->table[index] = BLOCK_WANTED;
	return 0;
}

/* What one old block counts. */
static int scan_block(struct qcow2 *q, struct qcow2_counts *counts,
		      uint64_t first, uint64_t *read, struct gild_error *err)
{
	uint64_t n, now;

	for (uint64_t at = 0; at < q->refblock_entries; at += n) {
		if (qcow2_refcount_read(q, first + at, q->refblock_entries - at,
					read, &n, err) < 0)
			return -1;
		for (uint64_t i = 0; i < n; i++) {
			now = first + at + i;
			if (read[i] &&
			    want_block(q, counts, now, read[i], err) < 0)
				return -1;
		}
	}
	return 0;
}

/* A block beyond the end of the file counts nothing. 1, 0, or -1. */
static int has_block(struct qcow2 *q, uint32_t index, struct gild_error *err)
{
	uint64_t block = q->reftable.entries[index] & QCOW2_REFTABLE_MASK;

	return block ? storage_contains(q->image.storage, block, err) : 0;
}

/* Every cluster in use gets a block, or the wish for one. */
static int scan(struct qcow2 *q, struct qcow2_counts *counts,
		struct qcow2_amendment *wanted, struct gild_error *err)
{
	AUTO_FREE uint64_t *read = calloc(QCOW2_REFCOUNT_SLICE, 8);
	int has;

	if (!read)
		return fail_nomem(err);
	for (uint32_t i = 0; i < q->reftable.count; i++) {
		has = has_block(q, i, err);
		if (has < 0)
			return -1;
		if (!has)
			continue;
		if (scan_block(q, counts, i * q->refblock_entries, read, err) <
			    0 ||
		    (wanted &&
		     qcow2_amend_step(wanted, q->cluster_size, err) < 0))
			return -1;
	}
	return 0;
}

/* --- where they go -------------------------------------------------------- */

/* *made: at least one block got a place. */
static int place_blocks(struct qcow2 *q, struct qcow2_counts *counts,
			bool *made, struct gild_error *err)
{
	uint64_t offset, got;

	*made = false;
	for (uint64_t i = 0; i < counts->used; i++) {
		if (counts->table[i] != BLOCK_WANTED)
			continue;
		if (qcow2_alloc_run(q, 1, &offset, &got, err) < 0)
			return -1;
		counts->table[i] = offset;
		*made = true;
	}
	return 0;
}

static void drop_table(struct qcow2 *q, struct qcow2_counts *counts)
{
	if (counts->clusters)
		qcow2_alloc_undo(q, counts->offset,
				 counts->clusters << q->cluster_bits);
	counts->clusters = 0;
}

static uint64_t table_clusters(const struct qcow2 *q,
			       const struct qcow2_counts *counts)
{
	return div_round_up(counts->used * 8, q->cluster_size);
}

static int place_table(struct qcow2 *q, struct qcow2_counts *counts, bool *made,
		       struct gild_error *err)
{
	uint64_t clusters = table_clusters(q, counts);

	if (counts->clusters >= clusters)
		return 0;
	drop_table(q, counts);
	if (clusters * q->cluster_size > QCOW2_MAX_REFTABLE_BYTES)
		return fail_size(err);
	if (qcow2_alloc_table(q, clusters, &counts->offset, err) < 0)
		return -1;
	counts->clusters = clusters;
	*made = true;
	return 0;
}

static int place_all(struct qcow2 *q, struct qcow2_counts *counts,
		     struct qcow2_amendment *wanted, struct gild_error *err)
{
	bool made, more;

	do {
		if (scan(q, counts, wanted, err) < 0 ||
		    place_blocks(q, counts, &made, err) < 0)
			return -1;
		more = made;
		if (!more && place_table(q, counts, &more, err) < 0)
			return -1;
		wanted = NULL; /* the first time is the long one */
	} while (more);
	return 0;
}

/* --- writing -------------------------------------------------------------- */

static int fill_block(struct qcow2 *q, const struct qcow2_counts *counts,
		      uint64_t index, unsigned char *block, uint64_t *read,
		      struct gild_error *err)
{
	uint64_t first = index * counts->per_block, n;

	memset(block, 0, q->cluster_size);
	for (uint64_t at = 0; at < counts->per_block; at += n) {
		if (qcow2_refcount_read(q, first + at, counts->per_block - at,
					read, &n, err) < 0)
			return -1;
		for (uint64_t i = 0; i < n; i++)
			if (read[i])
				qcow2_refcount_encode(block, counts->order,
						      at + i, read[i]);
	}
	return 0;
}

static int write_blocks(struct qcow2 *q, struct qcow2_amendment *wanted,
			const struct qcow2_counts *counts,
			struct gild_error *err)
{
	AUTO_FREE unsigned char *block = memory_io_buffer(q->cluster_size);
	AUTO_FREE uint64_t *read = calloc(QCOW2_REFCOUNT_SLICE, 8);

	if (!block || !read)
		return fail_nomem(err);
	for (uint64_t i = 0; i < counts->used; i++) {
		if (!counts->table[i])
			continue;
		if (fill_block(q, counts, i, block, read, err) < 0 ||
		    storage_write(q->image.storage, block, q->cluster_size,
				  counts->table[i], err) < 0 ||
		    qcow2_amend_step(wanted, q->cluster_size, err) < 0)
			return -1;
	}
	return 0;
}

static int write_table(struct qcow2 *q, const struct qcow2_counts *counts,
		       struct gild_error *err)
{
	uint64_t length = counts->clusters << q->cluster_bits;
	AUTO_FREE unsigned char *bytes = memory_io_buffer(length);

	if (!bytes)
		return fail_nomem(err);
	memset(bytes, 0, length);
	for (uint64_t i = 0; i < counts->used; i++)
		store_be64(bytes + i * 8, counts->table[i]);
	return storage_write(q->image.storage, bytes, length, counts->offset,
			     err);
}

/* --- all of it ------------------------------------------------------------ */

static void start(const struct qcow2 *q, const struct qcow2_amendment *wanted,
		  struct qcow2_counts *counts)
{
	*counts = (struct qcow2_counts){
		.order = wanted->refcount_order,
		.per_block = q->cluster_size * 8ULL >> wanted->refcount_order,
	};
}

int qcow2_counts_look(struct qcow2 *q, struct qcow2_amendment *wanted,
		      struct gild_error *err)
{
	struct qcow2_counts counts;
	uint64_t blocks = 0;
	int ret;

	start(q, wanted, &counts);
	ret = scan(q, &counts, NULL, err);
	for (uint64_t i = 0; i < counts.used; i++)
		blocks += counts.table[i] != 0;
	for (uint32_t i = 0; i < q->reftable.count; i++)
		blocks += q->reftable.entries[i] != 0;
	wanted->total += blocks << q->cluster_bits;
	free(counts.table);
	return ret;
}

int qcow2_counts_write(struct qcow2 *q, struct qcow2_amendment *wanted,
		       struct qcow2_counts *counts, struct gild_error *err)
{
	start(q, wanted, counts);
	/* Room in memory for the whole table: nothing fails once the header
	 * leads there. */
	if (place_all(q, counts, wanted, err) == 0 &&
	    make_room(counts, counts->clusters * q->cluster_size / 8, err) ==
		    0 &&
	    write_blocks(q, wanted, counts, err) == 0 &&
	    write_table(q, counts, err) == 0)
		return 0;
	qcow2_counts_undo(q, counts);
	return -1;
}

void qcow2_counts_undo(struct qcow2 *q, struct qcow2_counts *counts)
{
	drop_table(q, counts);
	for (uint64_t i = 0; i < counts->used; i++)
		if (counts->table[i] > BLOCK_WANTED)
			qcow2_alloc_undo(q, counts->table[i], q->cluster_size);
	free(counts->table);
	*counts = (struct qcow2_counts){ 0 };
}

void qcow2_counts_install(struct qcow2 *q, struct qcow2_counts *counts)
{
	const struct qcow2_table old = q->reftable;
	uint64_t block;

	qcow2_cache_drop(&q->ref_cache);
	qcow2_set_refcount_width(q);
	q->reftable = (struct qcow2_table){
		.entries = steal_ptr(counts->table),
		.count = (uint32_t)(counts->clusters * q->cluster_size / 8),
		.offset = counts->offset,
	};
	/* What cannot be counted down leaks. */
	for (uint32_t i = 0; i < old.count; i++) {
		block = old.entries[i] & QCOW2_REFTABLE_MASK;
		if (block)
			qcow2_alloc_undo(q, block, q->cluster_size);
	}
	qcow2_alloc_undo(q, old.offset, old.count * 8ULL);
	free(old.entries);
}
