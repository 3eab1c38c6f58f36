/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which host clusters hold metadata, as a hash set: an image whose tables
 * point a guest's data at its own metadata is found out before the write that
 * would destroy it. Filled at the first change, kept as tables come and go.
 *
 * Open addressing; an entry is a cluster index + 1. Lock: as the image's
 * tables (exclusively to change, shared to ask).
 */
#include <stdlib.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

#define FIRST_SIZE 1024

static size_t slot_of(const struct qcow2_guard *guard, uint64_t key)
{
	size_t slot = (key * 0x9e3779b97f4a7c15ULL >> 20) & guard->mask;

	while (guard->clusters[slot] && guard->clusters[slot] != key)
		slot = (slot + 1) & guard->mask;
	return slot;
}

static int grow(struct qcow2_guard *guard, struct gild_error *err)
{
	size_t old_size = guard->clusters ? guard->mask + 1 : 0;
	size_t size = old_size ? old_size * 2 : FIRST_SIZE;
	uint64_t *old = guard->clusters;
	uint64_t *clusters = calloc(size, sizeof(*clusters));

	if (!clusters)
		return fail_nomem(err);
	guard->clusters = clusters;
	guard->mask = size - 1;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			clusters[slot_of(guard, old[i])] = old[i];
	free(old);
	return 0;
}

static int add_cluster(struct qcow2_guard *guard, uint64_t cluster,
		       struct gild_error *err)
{
	size_t slot;

	if (!guard->clusters || guard->count * 2 >= guard->mask)
		if (grow(guard, err) < 0)
			return -1;
	slot = slot_of(guard, cluster + 1);
	guard->count += !guard->clusters[slot];
	guard->clusters[slot] = cluster + 1;
	return 0;
}

/* Close the gap, so that no search ends before what lies behind it. */
static void remove_cluster(struct qcow2_guard *guard, uint64_t cluster)
{
	size_t slot = slot_of(guard, cluster + 1), next;
	uint64_t key;

	if (!guard->clusters[slot])
		return;
	guard->clusters[slot] = 0;
	guard->count--;
	for (next = (slot + 1) & guard->mask; guard->clusters[next];
	     next = (next + 1) & guard->mask) {
		key = guard->clusters[next];
		guard->clusters[next] = 0;
		guard->clusters[slot_of(guard, key)] = key;
	}
}

static uint64_t end_of(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return (offset + length + q->cluster_size - 1) >> q->cluster_bits;
}

int qcow2_guard_add(struct qcow2 *q, uint64_t offset, uint64_t length,
		    struct gild_error *err)
{
	uint64_t end = end_of(q, offset, length);

	for (uint64_t c = offset >> q->cluster_bits; c < end; c++)
		if (add_cluster(&q->guard, c, err) < 0)
			return -1;
	return 0;
}

void qcow2_guard_remove(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t end = end_of(q, offset, length);

	if (!q->guard.clusters)
		return;
	for (uint64_t c = offset >> q->cluster_bits; c < end; c++)
		remove_cluster(&q->guard, c);
}

bool qcow2_guard_hit(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t end = end_of(q, offset, length);

	if (!q->guard.clusters)
		return false;
	for (uint64_t c = offset >> q->cluster_bits; c < end; c++)
		if (q->guard.clusters[slot_of(&q->guard, c + 1)])
			return true;
	return false;
}

void qcow2_guard_free(struct qcow2_guard *guard)
{
	free(guard->clusters);
	*guard = (struct qcow2_guard){ 0 };
}

/* --- what the tables lead to --------------------------------------------- */

static int fail_overlap(uint64_t offset, struct gild_error *err)
{
	fail(err, GILD_ERR_CORRUPT, 0,
	     "metadata lies over other metadata (host %#llx)",
	     (unsigned long long)offset);
	error_at(err, offset);
	return error_hint(err, "gild check tells more; gild check -r all "
			       "repairs what can be repaired");
}

/* Metadata that is changed where it is lies over no other. */
static int claim(struct qcow2 *q, uint64_t offset, uint64_t length,
		 struct gild_error *err)
{
	uint64_t all = end_of(q, offset, length) - (offset >> q->cluster_bits);
	size_t before = q->guard.count;

	if (qcow2_guard_add(q, offset, length, err) < 0)
		return -1;
	return q->guard.count - before == all ? 0 : fail_overlap(offset, err);
}

/* What is not aligned, or beyond any file, is never written: it is not taken
 * for a table. */
static int claim_table(struct qcow2 *q, uint64_t offset, struct gild_error *err)
{
	if (!offset || offset > INT64_MAX)
		return 0;
	if (!is_aligned(offset, q->cluster_size))
		return qcow2_guard_add(q, offset, q->cluster_size, err);
	return claim(q, offset, q->cluster_size, err);
}

static int claim_refcounts(struct qcow2 *q, struct gild_error *err)
{
	const struct qcow2_table *table = &q->reftable;

	if (claim(q, table->offset, table->count * 8ULL, err) < 0)
		return -1;
	for (uint32_t i = 0; i < table->count; i++)
		if (claim_table(q, table->entries[i] & QCOW2_REFTABLE_MASK,
				err) < 0)
			return -1;
	return 0;
}

/* What the header leads to. */
static int claim_first(struct qcow2 *q, struct gild_error *err)
{
	const struct qcow2_header *h = &q->header;

	if (claim(q, 0, q->cluster_size, err) < 0 ||
	    claim(q, q->l1.offset, q->l1.count * 8ULL, err) < 0 ||
	    claim_refcounts(q, err) < 0)
		return -1;
	if (h->has_crypto &&
	    claim(q, h->crypto_offset, h->crypto_length, err) < 0)
		return -1;
	return h->snapshot_count ? claim(q, h->snapshots_offset, 1, err) : 0;
}

/* L2 tables that are changed where they are. */
static int claim_own(struct qcow2 *q, struct gild_error *err)
{
	uint64_t entry;

	for (uint32_t i = 0; i < q->l1.count; i++) {
		entry = q->l1.entries[i];
		if (entry & QCOW2_COPIED &&
		    claim_table(q, entry & QCOW2_OFFSET_MASK, err) < 0)
			return -1;
	}
	return 0;
}

/* Shared L2 tables are replaced before they are changed, so the same one may be
 * there twice; but nothing else may change them. */
static int add_shared(struct qcow2 *q, bool look, struct gild_error *err)
{
	uint64_t entry, offset;

	for (uint32_t i = 0; i < q->l1.count; i++) {
		entry = q->l1.entries[i];
		offset = entry & QCOW2_OFFSET_MASK;
		if (entry & QCOW2_COPIED || !offset)
			continue;
		if (!look &&
		    qcow2_guard_add(q, offset, q->cluster_size, err) < 0)
			return -1;
		if (look && qcow2_guard_hit(q, offset, q->cluster_size))
			return fail_overlap(offset, err);
	}
	return 0;
}

int qcow2_guard_fill(struct qcow2 *q, struct gild_error *err)
{
	qcow2_guard_free(&q->guard);
	if (claim_first(q, err) < 0 || claim_own(q, err) < 0 ||
	    add_shared(q, true, err) < 0)
		return -1;
	if (add_shared(q, false, err) < 0)
		return -1;
	return qcow2_bitmaps_guard(q, err);
}
