/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host clusters: the first free ones, from a hint below which none is free.
 * That makes a file without holes, and its layout a function of the order of
 * writes alone.
 *
 * Compressed clusters are packed one behind the other, across the borders of
 * host clusters, each of which is counted once for every compressed cluster
 * that touches it.
 */
#include "formats/qcow2/entry.h"

/* Offsets in L1 and L2 entries end at bit 55. */
static uint64_t cluster_limit(const struct qcow2 *q)
{
	return (QCOW2_OFFSET_MASK >> q->cluster_bits) + 1;
}

static int check_place(struct qcow2 *q, uint64_t cluster, uint64_t count,
		       struct gild_error *err)
{
	if (cluster + count > cluster_limit(q))
		return fail(err, GILD_ERR_RANGE, 0,
			    "the image file would become too large");
	if (!qcow2_guard_hit(q, cluster << q->cluster_bits,
			     count << q->cluster_bits))
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "a cluster of metadata is counted as free (near %#llx)",
	     (unsigned long long)(cluster << q->cluster_bits));
	return error_hint(err, "gild check -r all puts reference counts right");
}

/* How many clusters from cluster on are free, up to want? */
static int free_run(struct qcow2 *q, uint64_t cluster, uint64_t want,
		    uint64_t *run, struct gild_error *err)
{
	uint64_t busy, free;
	bool counted;

	for (*run = 0; *run < want; *run += free) {
		if (qcow2_refcount_scan(q, cluster + *run, want - *run,
					&counted, &busy, &free, err) < 0)
			return -1;
		if (!counted || busy || !free)
			break;
	}
	return 0;
}

/* The first free cluster from *cluster on; blocks are made as needed. */
static int first_free(struct qcow2 *q, uint64_t *cluster,
		      struct gild_error *err)
{
	uint64_t busy, free;
	bool counted;

	for (;;) {
		if (qcow2_refcount_scan(q, *cluster, 1, &counted, &busy, &free,
					err) < 0)
			return -1;
		*cluster += busy;
		if (free)
			return 0;
		if (counted)
			continue;
		if (check_place(q, *cluster, 1, err) < 0 ||
		    qcow2_refblock_new(q, *cluster, *cluster, err) < 0)
			return -1;
	}
}

static int take_run(struct qcow2 *q, uint64_t *cluster, uint64_t want,
		    uint64_t *got, struct gild_error *err)
{
	if (first_free(q, cluster, err) < 0 ||
	    free_run(q, *cluster, want, got, err) < 0 ||
	    check_place(q, *cluster, *got, err) < 0)
		return -1;
	return qcow2_refcount_add(q, *cluster, *got, 1, err);
}

int qcow2_alloc_run(struct qcow2 *q, uint64_t want, uint64_t *offset,
		    uint64_t *got, struct gild_error *err)
{
	uint64_t cluster = q->free_hint;
	int ret;

	/* What becomes free meanwhile (caches may write everything back) lowers
	 * it from here. */
	q->free_hint = UINT64_MAX;
	ret = take_run(q, &cluster, want, got, err);
	q->free_hint =
		min_u64(q->free_hint, ret < 0 ? cluster : cluster + *got);
	*offset = cluster << q->cluster_bits;
	return ret;
}

/* Blocks for all of [cluster, cluster + count), each at the first free
 * cluster. *made: one was made, so what was free may not be any more. */
static int count_range(struct qcow2 *q, uint64_t cluster, uint64_t count,
		       bool *made, struct gild_error *err)
{
	uint64_t place, busy, free;
	bool counted;

	*made = false;
	for (uint64_t c = cluster; c < cluster + count;
	     c += q->refblock_entries) {
		if (qcow2_refcount_scan(q, c, 1, &counted, &busy, &free, err) <
		    0)
			return -1;
		if (counted)
			continue;
		*made = true;
		place = q->free_hint;
		if (first_free(q, &place, err) < 0)
			return -1;
		/* Making room for the place may have made this block, too. */
		if (qcow2_refcount_scan(q, c, 1, &counted, &busy, &free, err) <
			    0 ||
		    (!counted && qcow2_refblock_new(q, c, place, err) < 0))
			return -1;
	}
	return 0;
}

int qcow2_alloc_table(struct qcow2 *q, uint64_t count, uint64_t *offset,
		      struct gild_error *err)
{
	uint64_t cluster = q->free_hint, run;
	bool made;

	for (;;) {
		if (first_free(q, &cluster, err) < 0 ||
		    count_range(q, cluster, count, &made, err) < 0)
			return -1;
		if (made)
			continue;
		if (free_run(q, cluster, count, &run, err) < 0)
			return -1;
		if (run == count)
			break;
		cluster += run + 1;
	}
	if (check_place(q, cluster, count, err) < 0 ||
	    qcow2_refcount_add(q, cluster, count, 1, err) < 0)
		return -1;
	*offset = cluster << q->cluster_bits;
	return 0;
}

/* How many compressed clusters may touch one host cluster? Each snapshot to
 * come will count all of them once more. */
static uint64_t most_packed(const struct qcow2 *q)
{
	return q->refcount_max / (q->image.coming_snapshots + 1ULL);
}

/* The rest of the cluster that packing stopped in, if it may be shared. */
static int shareable_rest(struct qcow2 *q, uint64_t *rest,
			  struct gild_error *err)
{
	uint64_t in_cluster = q->packed_end & (q->cluster_size - 1), count;

	*rest = 0;
	if (!in_cluster)
		return 0;
	if (qcow2_refcount_get(q, q->packed_end >> q->cluster_bits, &count,
			       err) < 0)
		return -1;
	if (count && count < most_packed(q))
		*rest = q->cluster_size - in_cluster;
	return 0;
}

/* Behind the last one, if there is room; *offset = 0 where not. */
static int pack_behind(struct qcow2 *q, uint32_t length, uint64_t rest,
		       uint64_t *offset, struct gild_error *err)
{
	uint64_t last = q->packed_end >> q->cluster_bits, next, got;

	*offset = 0;
	if (!rest)
		return 0;
	if (length > rest) {
		if (qcow2_alloc_run(q, 1, &next, &got, err) < 0)
			return -1;
		if (next >> q->cluster_bits != last + 1) {
			/* No neighbour: begin anew in the one just got. */
			*offset = next;
			return 0;
		}
	}
	if (qcow2_refcount_add(q, last, 1, 1, err) < 0) {
		if (length > rest)
			qcow2_alloc_undo(q, next, q->cluster_size);
		return -1;
	}
	*offset = q->packed_end;
	return 0;
}

int qcow2_alloc_packed(struct qcow2 *q, uint32_t length, uint64_t *offset,
		       struct gild_error *err)
{
	uint64_t rest, got;

	if (shareable_rest(q, &rest, err) < 0 ||
	    pack_behind(q, length, rest, offset, err) < 0)
		return -1;
	if (!*offset && qcow2_alloc_run(q, 1, offset, &got, err) < 0)
		return -1;
	if (*offset + length > 1ULL << compressed_offset_bits(q)) {
		qcow2_alloc_undo(q, *offset, length);
		return fail(err, GILD_ERR_RANGE, 0,
			    "the image file is too large for compressed "
			    "clusters");
	}
	q->packed_end = *offset + length;
	return 0;
}

void qcow2_alloc_undo(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t first = offset >> q->cluster_bits;
	uint64_t end = (offset + length + q->cluster_size - 1) >>
		       q->cluster_bits;

	/* What cannot be counted down leaks: harmless, and check finds it. */
	qcow2_refcount_add(q, first, end - first, -1, NULL);
}
