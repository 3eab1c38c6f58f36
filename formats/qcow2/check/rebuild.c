/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new refcount structure, for an image whose own is beyond repair. It goes
 * behind everything that is in use, the old structure included:
 *
 *     ... | blocks of what is below | blocks of the new area | table |
 *         ^ start                                                    ^ end
 *
 * Blocks with nothing to count are left out. Nothing that was there is
 * overwritten: until the one write that points the header to the new table the
 * image is what it was, and then the old structure is simply not counted.
 * Specification: "Host cluster management".
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"
#include "util/memory.h"
#include "util/zeros.h"

#define REFTABLE_FIELDS_AT 48 /* offset, then clusters */

struct check_rebuilding {
	uint64_t *table;     /* big-endian */
	uint64_t start;	     /* cluster: the new area begins */
	uint64_t next;	     /* cluster: the next block goes there */
	uint64_t shared;     /* the block that counts the cluster `start` */
	uint16_t *below;     /* its counts of clusters below start */
	unsigned char *data; /* a block being made */
	uint64_t blocks;     /* once finished: entries in use */
	uint64_t table_clusters;
};

/* The first cluster that nothing refers to, nor anything above. */
static uint64_t find_start(const struct check *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t start = max_u64(c->highest, c->top), offset;

	/* Not everything that is in use is known. */
	if (c->incomplete)
		return max_u64(start, c->clusters);
	offset = h->reftable_offset + c->reftable_entries * 8;
	start = max_u64(start, div_round_up(offset, c->q->cluster_size));
	for (uint64_t i = 0; i < c->reftable_entries; i++) {
		offset = c->reftable[i] & QCOW2_REFTABLE_MASK;
		if (c->reftable[i] &&
		    offset >> c->q->cluster_bits < c->clusters)
			start = max_u64(
				start, div_round_up(offset + c->q->cluster_size,
						    c->q->cluster_size));
	}
	return start;
}

static uint64_t table_clusters(const struct check *c, uint64_t blocks)
{
	return div_round_up(blocks * 8, c->q->cluster_size);
}

/* Blocks needed if none is left out. */
static uint64_t most_blocks(const struct check *c, uint64_t start)
{
	uint64_t blocks = 0, need = 1;

	while (blocks < need) {
		blocks = need;
		need = div_round_up(start + blocks + table_clusters(c, blocks),
				    c->q->refblock_entries);
	}
	return blocks;
}

static int refuse(struct check *c, const char *why)
{
	check_say(c, "The refcount structure is not rebuilt: %s", why);
	return 1;
}

/* An entry that pointed outside the file must not come to point there. */
static int find_place(struct check *c, struct check_rebuilding *r,
		      uint64_t *blocks)
{
	uint64_t end;

	r->start = r->next = find_start(c);
	r->shared = r->start / c->q->refblock_entries;
	*blocks = most_blocks(c, r->start);
	end = r->start + *blocks + table_clusters(c, *blocks);
	if (*blocks * 8 > QCOW2_MAX_REFTABLE_BYTES)
		return refuse(c, "it would be larger than it may");
	if (end > c->beyond)
		return refuse(c, "entries that point behind the end of the "
				 "file would lead to it");
	return 0;
}

static int allocate(struct check *c, struct check_rebuilding *r,
		    uint64_t blocks)
{
	r->table = calloc(blocks, sizeof(*r->table));
	r->below = calloc(c->q->refblock_entries, sizeof(*r->below));
	r->data = memory_io_buffer(c->q->cluster_size);
	if (!r->table || !r->below || !r->data)
		return fail_nomem(c->err);
	return 0;
}

static int write_block(struct check *c, uint64_t block)
{
	struct check_rebuilding *r = c->rebuilding;
	uint64_t offset = r->next++ << c->q->cluster_bits;

	r->table[block] = htobe64(offset);
	return check_write(c, r->data, c->q->cluster_size, offset);
}

int check_rebuild_block(struct check *c, uint64_t block, const uint16_t *counts,
			uint64_t n)
{
	struct check_rebuilding *r = c->rebuilding;

	if (is_zero(counts, n * sizeof(*counts)))
		return 0;
	if (block > r->shared)
		return fail(c->err, GILD_ERR_CORRUPT, 0,
			    "was changed during the repair");
	if (block == r->shared) {
		memcpy(r->below, counts, n * sizeof(*counts));
		return 0;
	}
	memset(r->data, 0, c->q->cluster_size);
	for (uint64_t i = 0; i < n; i++)
		qcow2_refcount_encode(r->data, c->q->header.refcount_order, i,
				      counts[i]);
	return write_block(c, block);
}

/* The blocks that count the new area, of which they are part. */
static int write_own_blocks(struct check *c)
{
	struct check_rebuilding *r = c->rebuilding;
	uint64_t per_block = c->q->refblock_entries, cluster, count;
	uint64_t end = r->next + (r->blocks - r->shared) + r->table_clusters;

	for (uint64_t block = r->shared; block < r->blocks; block++) {
		memset(r->data, 0, c->q->cluster_size);
		for (uint64_t i = 0; i < per_block; i++) {
			cluster = block * per_block + i;
			count = cluster < r->start ? r->below[i] :
						     cluster < end;
			qcow2_refcount_encode(
				r->data, c->q->header.refcount_order, i, count);
		}
		if (write_block(c, block) < 0)
			return -1;
	}
	return 0;
}

/* How many blocks there will be in all, and how large the table. */
static void settle(struct check *c)
{
	struct check_rebuilding *r = c->rebuilding;
	uint64_t need = r->shared + 1;

	while (r->blocks < need) {
		r->blocks = need;
		r->table_clusters = table_clusters(c, need);
		need = div_round_up(r->next + (r->blocks - r->shared) +
					    r->table_clusters,
				    c->q->refblock_entries);
	}
}

static int write_table(struct check *c)
{
	struct check_rebuilding *r = c->rebuilding;
	uint64_t bytes = r->table_clusters << c->q->cluster_bits;
	unsigned char *data = memory_io_buffer(bytes);
	int ret;

	if (!data)
		return fail_nomem(c->err);
	memset(data, 0, bytes);
	memcpy(data, r->table, r->blocks * 8);
	ret = check_write(c, data, bytes, r->next << c->q->cluster_bits);
	free(data);
	return ret;
}

static int switch_header(struct check *c)
{
	struct qcow2_header *h = &c->q->header;
	struct check_rebuilding *r = c->rebuilding;
	unsigned char fields[12];

	store_be64(fields, r->next << c->q->cluster_bits);
	store_be32(fields + 8, (uint32_t)r->table_clusters);
	if (check_flush(c) < 0 ||
	    check_write(c, fields, sizeof(fields), REFTABLE_FIELDS_AT) < 0)
		return -1;
	h->reftable_offset = r->next << c->q->cluster_bits;
	h->reftable_clusters = (uint32_t)r->table_clusters;
	return check_flush(c);
}

static int rebuild(struct check *c)
{
	static const struct check_run run = { .action = CHECK_REBUILD };
	uint64_t blocks;
	int ret = find_place(c, c->rebuilding, &blocks);

	if (ret)
		return ret;
	if (allocate(c, c->rebuilding, blocks) < 0 || check_run(c, &run) < 0)
		return -1;
	/* Nothing leads to what was written so far. */
	if (c->unreadable)
		return refuse(c, "parts of the image cannot be read");
	settle(c);
	if (write_own_blocks(c) < 0 || write_table(c) < 0)
		return -1;
	return switch_header(c);
}

int check_rebuild(struct check *c)
{
	struct check_rebuilding r = { 0 };
	int ret;

	c->rebuilding = &r;
	ret = rebuild(c);
	c->rebuilding = NULL;
	free(r.table);
	free(r.below);
	free(r.data);
	return ret;
}
