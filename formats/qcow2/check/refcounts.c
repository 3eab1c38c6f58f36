/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reference counts as they stand on the disk, read without the caches.
 *
 * A block whose entry is not aligned, or that cannot be read, is "not known":
 * its clusters are not compared, and each counts as a part that could not be
 * checked. A block outside the file reads as zeros, as if it were not there.
 * Specification: "Host cluster management".
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

/* Not a value that an entry can have on the disk: see check_reftable_load. */
#define UNREADABLE UINT64_MAX

static int load_entries(struct check *c, uint64_t bytes)
{
	c->reftable_entries = bytes / 8;
	c->reftable = malloc(bytes);
	if (!c->reftable)
		return fail_nomem(c->err);
	if (storage_read(c->storage, c->reftable, bytes,
			 c->q->header.reftable_offset, c->err) < 0)
		return error_prefix(c->err, "refcount table: ");
	for (uint64_t i = 0; i < c->reftable_entries; i++) {
		c->reftable[i] = be64toh(c->reftable[i]);
		if (c->reftable[i] == UNREADABLE)
			c->reftable[i]--; /* as wrong as before */
	}
	return 0;
}

int check_reftable_load(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

	free(c->reftable);
	c->reftable = NULL;
	c->reftable_entries = 0;
	if (!bytes || !h->reftable_offset || bytes > QCOW2_MAX_REFTABLE_BYTES)
		return 0;
	return load_entries(c, bytes);
}

uint64_t check_block_offset(const struct check *c, uint64_t block, bool *known)
{
	uint64_t offset;

	*known = true;
	if (block >= c->reftable_entries)
		return 0;
	offset = c->reftable[block] & QCOW2_REFTABLE_MASK;
	*known = c->reftable[block] != UNREADABLE &&
		 is_aligned(offset, c->q->cluster_size);
	if (!*known || offset >> c->q->cluster_bits >= c->clusters)
		return 0;
	return offset;
}

void check_block_lost(struct check *c, uint64_t block,
		      const struct gild_error *err)
{
	c->counts.errors++;
	if (c->run.speak)
		check_say(c, "ERROR refcount block %ju cannot be read: %s",
			  (uintmax_t)block, err->message);
	c->reftable[block] = UNREADABLE;
	c->need_rebuild = c->unreadable = true;
}

static void judge_entry(struct check *c, uint64_t block)
{
	uint64_t entry = c->reftable[block];
	uint64_t offset = entry & QCOW2_REFTABLE_MASK;

	if (!entry || entry == UNREADABLE)
		return;
	if (entry & QCOW2_REFTABLE_RESERVED)
		check_corrupt(c, 1,
			      "ERROR refcount table entry %ju has reserved "
			      "bits set",
			      (uintmax_t)block);
	else if (!is_aligned(offset, c->q->cluster_size))
		check_corrupt(c, 1,
			      "ERROR refcount block %ju is not cluster "
			      "aligned; refcount table entry corrupted",
			      (uintmax_t)block);
	else if (offset >> c->q->cluster_bits >= c->clusters)
		check_corrupt(c, 1, "ERROR refcount block %ju is outside image",
			      (uintmax_t)block);
	else
		return;
	c->need_rebuild = true;
}

static bool is_sound(const struct check *c, uint64_t block)
{
	bool known;

	return check_block_offset(c, block, &known) &&
	       !(c->reftable[block] & QCOW2_REFTABLE_RESERVED);
}

/* Everything else has been counted: is somebody else there? */
static void count_block(struct check *c, uint64_t block)
{
	uint64_t cluster = c->reftable[block] >> c->q->cluster_bits;

	check_count_one(c, cluster, 1);
	if (cluster < c->first || cluster >= c->end ||
	    c->found[cluster - c->first] == 1)
		return;
	c->counts.corruptions++;
	c->need_rebuild = true;
	if (c->run.speak)
		check_say(c, "ERROR refcount block %ju refcount=%u",
			  (uintmax_t)block, c->found[cluster - c->first]);
}

/* Shared with something else, the table had better move; its blocks, though,
 * can be written to. */
static void judge_table_clusters(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t cluster = h->reftable_offset >> h->cluster_bits;

	if (!(c->fix & GILD_CHECK_FIX_ERRORS))
		return;
	for (uint64_t i = 0; i < h->reftable_clusters; i++, cluster++)
		if (cluster >= c->first && cluster < c->end &&
		    c->found[cluster - c->first] != 1)
			c->need_rebuild = true;
}

void check_count_refcounts(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;

	if (!c->reftable_entries) {
		check_corrupt(c, 1, "ERROR the refcount table is not there");
		c->need_rebuild = true;
		return;
	}
	if (!check_count(c, h->reftable_offset, c->reftable_entries * 8, 1))
		c->need_rebuild = true;
	for (uint64_t i = 0; i < c->reftable_entries; i++) {
		judge_entry(c, i);
		if (c->reftable[i] && is_sound(c, i))
			count_block(c, i);
	}
	judge_table_clusters(c);
}

/* --- which counts are 1 --------------------------------------------------- */

/* 64 counts of 16 bits, the usual width. */
static uint64_t singles_16(const unsigned char *counts)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 64; i++)
		bits |= (uint64_t)(load_be16(counts + i * 2) == 1) << i;
	return bits;
}

static uint64_t singles_any(const unsigned char *block, uint32_t order,
			    uint64_t from)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 64; i++)
		bits |= (uint64_t)(qcow2_refcount_decode(block, order,
							 from + i) == 1)
			<< i;
	return bits;
}

/* A block has 64 counts at least, and windows start where a block does. */
static void load_singles(struct check *c, const unsigned char *data,
			 uint64_t block)
{
	uint64_t first = block * c->q->refblock_entries - c->first;
	uint64_t n = min_u64(c->q->refblock_entries, c->end - c->first - first);
	uint32_t order = c->q->header.refcount_order;

	for (uint64_t i = 0; i < n; i += 64)
		c->single[(first + i) / 64] =
			order == 4 ? singles_16(data + i * 2) :
				     singles_any(data, order, i);
}

void check_single_load(struct check *c)
{
	uint64_t block = c->first / c->q->refblock_entries;
	uint64_t end = min_u64(div_round_up(c->end, c->q->refblock_entries),
			       c->reftable_entries),
		 got;
	unsigned char *bytes;

	for (; block < end; block += got) {
		check_read_blocks(c, block, end, &got, &bytes);
		for (uint64_t i = 0; bytes && i < got; i++)
			load_singles(c, bytes + (i << c->q->cluster_bits),
				     block + i);
	}
}

/* Just the bytes that hold it: hostile tables ask for these at random. */
uint64_t check_disk_count(struct check *c, uint64_t cluster, bool *known)
{
	uint64_t block = cluster / c->q->refblock_entries;
	uint64_t index = cluster % c->q->refblock_entries;
	uint64_t offset = check_block_offset(c, block, known);
	uint32_t order = c->q->header.refcount_order;
	unsigned char bytes[8];
	struct gild_error err;

	if (!offset)
		return 0;
	offset += index << order >> 3;
	if (storage_read(c->storage, bytes, order > 3 ? 1U << order >> 3 : 1,
			 offset, &err) < 0) {
		check_block_lost(c, block, &err);
		*known = false;
		return 0;
	}
	return qcow2_refcount_decode(
		bytes, order, order < 3 ? index & ((8U >> order) - 1) : 0);
}

uint64_t check_next_counted(const struct check *c, uint64_t from)
{
	uint64_t per_block = c->q->refblock_entries;

	if (from >= c->clusters)
		return UINT64_MAX;
	for (uint64_t i = from / per_block;
	     i < c->reftable_entries && i * per_block < c->clusters; i++)
		if (c->reftable[i])
			return max_u64(from, i * per_block);
	return UINT64_MAX;
}
