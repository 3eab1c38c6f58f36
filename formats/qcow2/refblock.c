/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * More room for reference counts: a new refcount block, and when the refcount
 * table is full, a longer table.
 *
 * A block is put, where possible, at the first cluster that it counts itself.
 * A longer table goes to clusters that no block counts yet, with the blocks
 * that count them right behind it:
 *
 *     base: | new table ... | block | block ... |   all counted once in these
 *
 * All of that is on the disk before the header is switched to it.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"
#include "util/cleanup.h"

/* All free, but for the block itself where it counts itself. */
static int write_new_block(struct qcow2 *q, uint64_t index, uint64_t place,
			   struct gild_error *err)
{
	AUTO_FREE unsigned char *block = calloc(1, q->cluster_size);

	if (!block)
		return fail_nomem(err);
	if (place / q->refblock_entries == index)
		qcow2_refcount_encode(block, q->header.refcount_order,
				      place % q->refblock_entries, 1);
	return storage_write(q->image.storage, block, q->cluster_size,
			     place << q->cluster_bits, err);
}

struct table_plan {
	uint64_t base; /* first cluster of the new table */
	uint64_t table_clusters, blocks;
	uint64_t entries;
	uint64_t first_block; /* index of the first new block */
};

/* How long must table and blocks be so that they count themselves? */
static int plan_table(const struct qcow2 *q, uint64_t base,
		      struct table_plan *plan, struct gild_error *err)
{
	uint64_t per_cluster = q->cluster_size / 8, end;
	uint64_t wish = min_u64(q->reftable.count + q->reftable.count / 2ULL,
				QCOW2_MAX_REFTABLE_BYTES / 8);

	*plan = (struct table_plan){ .base = base, .blocks = 1 };
	plan->first_block = base / q->refblock_entries;
	plan->table_clusters =
		div_round_up(max_u64(wish, plan->first_block + 1), per_cluster);
	for (;;) {
		end = base + plan->table_clusters + plan->blocks;
		plan->blocks = div_round_up(end, q->refblock_entries) -
			       plan->first_block;
		end = base + plan->table_clusters + plan->blocks;
		plan->entries = plan->table_clusters * per_cluster;
		if (div_round_up(end, q->refblock_entries) >
		    plan->first_block + plan->blocks)
			continue;
		if (plan->entries >= plan->first_block + plan->blocks)
			break;
		plan->table_clusters++;
	}
	if (plan->entries * 8 > QCOW2_MAX_REFTABLE_BYTES)
		return fail(err, GILD_ERR_RANGE, 0,
			    "the image file would become too large for its "
			    "refcount table");
	return 0;
}

/* Blocks whose counts are one for the plan's own clusters. */
static int write_blocks(struct qcow2 *q, const struct table_plan *plan,
			struct gild_error *err)
{
	uint64_t end = plan->base + plan->table_clusters + plan->blocks;
	AUTO_FREE unsigned char *block = malloc(q->cluster_size);
	uint64_t first, place;

	if (!block)
		return fail_nomem(err);
	for (uint64_t i = 0; i < plan->blocks; i++) {
		memset(block, 0, q->cluster_size);
		first = (plan->first_block + i) * q->refblock_entries;
		for (uint64_t c = max_u64(first, plan->base);
		     c < end && c < first + q->refblock_entries; c++)
			qcow2_refcount_encode(block, q->header.refcount_order,
					      c - first, 1);
		place = plan->base + plan->table_clusters + i;
		qcow2_cache_forget(&q->ref_cache, place << q->cluster_bits,
				   q->cluster_size);
		if (storage_write(q->image.storage, block, q->cluster_size,
				  place << q->cluster_bits, err) < 0)
			return -1;
	}
	return 0;
}

/* The new table in memory: old entries, then the new blocks. */
static int build_table(struct qcow2 *q, const struct table_plan *plan,
		       struct qcow2_table *table, struct gild_error *err)
{
	uint64_t place = plan->base + plan->table_clusters;

	*table = (struct qcow2_table){
		.entries = calloc(plan->entries, 8),
		.count = (uint32_t)plan->entries,
		.offset = plan->base << q->cluster_bits,
		.dirty_to = (uint32_t)plan->entries,
	};
	if (!table->entries)
		return fail_nomem(err);
	memcpy(table->entries, q->reftable.entries, q->reftable.count * 8ULL);
	for (uint64_t i = 0; i < plan->blocks; i++)
		table->entries[plan->first_block + i] = (place + i)
							<< q->cluster_bits;
	return 0;
}

/* What the plan takes was counted nowhere. Is it at least no metadata? */
static int check_plan(const struct qcow2 *q, const struct table_plan *plan,
		      struct gild_error *err)
{
	uint64_t offset = plan->base << q->cluster_bits;

	if (!qcow2_guard_hit(q, offset,
			     (plan->table_clusters + plan->blocks)
				     << q->cluster_bits))
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "a cluster of metadata is not counted (behind %#llx)",
	     (unsigned long long)offset);
	return error_hint(err, "gild check -r all puts reference counts right");
}

static int switch_table(struct qcow2 *q, const struct table_plan *plan,
			struct qcow2_table *table, struct gild_error *err)
{
	uint64_t length = (plan->table_clusters + plan->blocks)
			  << q->cluster_bits;
	struct qcow2_header header = q->header;

	header.reftable_offset = table->offset;
	header.reftable_clusters = (uint32_t)plan->table_clusters;
	if (qcow2_guard_add(q, table->offset, length, err) < 0 ||
	    qcow2_table_write(q, table, err) < 0 ||
	    qcow2_switch_header(q, &header, err) < 0) {
		qcow2_guard_remove(q, table->offset, length);
		return -1;
	}
	return 0;
}

/* The refcount table moves to base; block index is among the new ones. */
static int grow_table(struct qcow2 *q, uint64_t base, struct gild_error *err)
{
	uint64_t old_clusters = q->header.reftable_clusters;
	uint64_t old_offset = q->reftable.offset;
	struct qcow2_table table;
	struct table_plan plan;

	if (plan_table(q, base, &plan, err) < 0 ||
	    check_plan(q, &plan, err) < 0 || write_blocks(q, &plan, err) < 0 ||
	    build_table(q, &plan, &table, err) < 0)
		return -1;
	if (switch_table(q, &plan, &table, err) < 0) {
		free(table.entries);
		return -1;
	}
	free(q->reftable.entries);
	q->reftable = table;
	qcow2_guard_remove(q, old_offset, old_clusters << q->cluster_bits);
	return qcow2_refcount_add(q, old_offset >> q->cluster_bits,
				  old_clusters, -1, err);
}

int qcow2_refblock_new(struct qcow2 *q, uint64_t cluster, uint64_t place,
		       struct gild_error *err)
{
	uint64_t index = cluster / q->refblock_entries;
	uint64_t offset = place << q->cluster_bits;
	bool elsewhere = place / q->refblock_entries != index;

	if (index >= q->reftable.count)
		return grow_table(q, cluster, err);
	/* Counted before the table leads to it, and so on the disk, too. */
	if (elsewhere && qcow2_refcount_add(q, place, 1, 1, err) < 0)
		return -1;
	if (write_new_block(q, index, place, err) < 0 ||
	    qcow2_guard_add(q, offset, q->cluster_size, err) < 0) {
		if (elsewhere)
			qcow2_alloc_undo(q, offset, q->cluster_size);
		return -1;
	}
	qcow2_cache_forget(&q->ref_cache, offset, q->cluster_size);
	qcow2_table_set(&q->reftable, (uint32_t)index, offset);
	return 0;
}
