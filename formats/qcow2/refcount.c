/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reference counts of host clusters: 1 to 64 bits each, in refcount blocks of
 * one cluster, which the refcount table lists. A block that does not exist
 * stands for counts of zero. Specification: "Reference counting".
 */
#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"

uint64_t qcow2_refcount_decode(const unsigned char *block, uint32_t order,
			       uint64_t index)
{
	switch (order) {
	case 3:
		return block[index];
	case 4:
		return load_be16(block + index * 2);
	case 5:
		return load_be32(block + index * 4);
	case 6:
		return load_be64(block + index * 8);
	default: { /* several in a byte, the first in the lowest bits */
		unsigned shift = (unsigned)(index << order & 7);

		return block[index << order >> 3] >> shift &
		       ((1U << (1U << order)) - 1);
	}
	}
}

static void encode_bits(unsigned char *block, uint32_t order, uint64_t index,
			uint64_t value)
{
	unsigned char *byte = block + (index << order >> 3);
	unsigned shift = (unsigned)(index << order & 7);
	unsigned mask = ((1U << (1U << order)) - 1) << shift;

	*byte = (unsigned char)((*byte & ~mask) | (value << shift & mask));
}

void qcow2_refcount_encode(unsigned char *block, uint32_t order, uint64_t index,
			   uint64_t value)
{
	switch (order) {
	case 3:
		block[index] = (unsigned char)value;
		break;
	case 4:
		store_be16(block + index * 2, (uint16_t)value);
		break;
	case 5:
		store_be32(block + index * 4, (uint32_t)value);
		break;
	case 6:
		store_be64(block + index * 8, value);
		break;
	default:
		encode_bits(block, order, index, value);
	}
}

/* Counts in one slice of a refcount block. */
static uint64_t slice_counts(const struct qcow2 *q)
{
	return q->ref_cache.slice_size * 8ULL / q->refcount_bits;
}

/* The slice that counts a cluster; *slice = NULL where no block does. */
static int load_slice(struct qcow2 *q, uint64_t cluster,
		      struct qcow2_slice **slice, struct gild_error *err)
{
	uint64_t index = cluster / q->refblock_entries;
	uint64_t block, in_block;

	*slice = NULL;
	if (index >= q->reftable.count)
		return 0;
	block = q->reftable.entries[index] & QCOW2_REFTABLE_MASK;
	if (!block)
		return 0;
	if (!is_aligned(block, q->cluster_size))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "refcount block %llu is not aligned (at %#llx)",
			    (unsigned long long)index,
			    (unsigned long long)block);
	in_block = cluster % q->refblock_entries / slice_counts(q);
	*slice = qcow2_cache_load(q, &q->ref_cache,
				  block + in_block * q->ref_cache.slice_size,
				  err);
	return *slice ? 0 : -1;
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count,
		       struct gild_error *err)
{
	struct qcow2_slice *slice;

	if (load_slice(q, cluster, &slice, err) < 0)
		return -1;
	*count = slice ? qcow2_refcount_decode(slice->data,
					       q->header.refcount_order,
					       cluster % slice_counts(q)) :
			 0;
	return 0;
}

int qcow2_refcount_read(struct qcow2 *q, uint64_t cluster, uint64_t want,
			uint64_t *counts, uint64_t *got, struct gild_error *err)
{
	uint64_t first = cluster % slice_counts(q);
	uint32_t order = q->header.refcount_order;
	struct qcow2_slice *slice;

	*got = min_u64(want, slice_counts(q) - first);
	if (load_slice(q, cluster, &slice, err) < 0)
		return -1;
	for (uint64_t i = 0; i < *got; i++)
		counts[i] = slice ? qcow2_refcount_decode(slice->data, order,
							  first + i) :
				    0;
	return 0;
}

int qcow2_refcount_scan(struct qcow2 *q, uint64_t cluster, uint64_t want,
			bool *counted, uint64_t *busy, uint64_t *free,
			struct gild_error *err)
{
	uint64_t first = cluster % slice_counts(q), i = first;
	uint32_t order = q->header.refcount_order;
	struct qcow2_slice *slice;

	*busy = *free = 0;
	if (load_slice(q, cluster, &slice, err) < 0)
		return -1;
	*counted = slice;
	if (!slice)
		return 0;
	while (i < slice_counts(q) &&
	       qcow2_refcount_decode(slice->data, order, i))
		i++;
	*busy = i - first;
	while (i < slice_counts(q) && *free < want &&
	       !qcow2_refcount_decode(slice->data, order, i)) {
		i++;
		*free += 1;
	}
	return 0;
}

static int bad_change(uint64_t cluster, uint64_t count, int change,
		      struct gild_error *err)
{
	fail(err, change > 0 ? GILD_ERR_RANGE : GILD_ERR_CORRUPT, 0,
	     "reference count of cluster %llu cannot go %s from %llu",
	     (unsigned long long)cluster, change > 0 ? "up" : "down",
	     (unsigned long long)count);
	return error_hint(err, "gild check -r all puts reference counts right");
}

static void became_free(struct qcow2 *q, uint64_t cluster)
{
	if (cluster < q->free_hint)
		q->free_hint = cluster;
	/* Nothing more may be packed behind what was the last compressed
	 * cluster's end. */
	if (q->packed_end && (q->packed_end - 1) >> q->cluster_bits == cluster)
		q->packed_end = 0;
}

/* Change the counts of one slice; *n of them lie in it, or were changed before
 * it failed. */
static int change_slice(struct qcow2 *q, uint64_t cluster, uint64_t *n,
			int change, struct gild_error *err)
{
	uint64_t first = cluster % slice_counts(q), count;
	uint64_t want = min_u64(*n, slice_counts(q) - first);
	uint32_t order = q->header.refcount_order;
	struct qcow2_slice *slice;

	*n = 0;
	if (load_slice(q, cluster, &slice, err) < 0)
		return -1;
	if (!slice)
		return bad_change(cluster, 0, change, err);
	for (uint64_t i = 0; i < want; i++) {
		count = qcow2_refcount_decode(slice->data, order, first + i);
		if (change > 0 ? count == q->refcount_max : count == 0)
			return bad_change(cluster + i, count, change, err);
		qcow2_refcount_encode(slice->data, order, first + i,
				      change > 0 ? count + 1 : count - 1);
		qcow2_cache_dirty(&q->ref_cache, slice);
		*n = i + 1;
		if (change < 0 && count == 1)
			became_free(q, cluster + i);
	}
	return 0;
}

int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count,
		       int change, struct gild_error *err)
{
	uint64_t n;

	for (uint64_t done = 0; done < count; done += n) {
		n = count - done;
		if (change_slice(q, cluster + done, &n, change, err) < 0) {
			if (change > 0 && done + n)
				qcow2_refcount_add(q, cluster, done + n, -1,
						   NULL);
			return -1;
		}
	}
	return 0;
}
