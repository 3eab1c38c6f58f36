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

#include "formats/qcow2/qcow2.h"
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

int qcow2_guard_add(struct qcow2 *q, uint64_t offset, uint64_t length,
		    struct gild_error *err)
{
	uint64_t end = (offset + length + q->cluster_size - 1) >>
		       q->cluster_bits;

	for (uint64_t c = offset >> q->cluster_bits; c < end; c++)
		if (add_cluster(&q->guard, c, err) < 0)
			return -1;
	return 0;
}

void qcow2_guard_remove(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t end = (offset + length + q->cluster_size - 1) >>
		       q->cluster_bits;

	if (!q->guard.clusters)
		return;
	for (uint64_t c = offset >> q->cluster_bits; c < end; c++)
		remove_cluster(&q->guard, c);
}

bool qcow2_guard_hit(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t end = (offset + length + q->cluster_size - 1) >>
		       q->cluster_bits;

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

static int add_entries(struct qcow2 *q, const struct qcow2_table *table,
		       uint64_t mask, struct gild_error *err)
{
	uint64_t offset;

	if (qcow2_guard_add(q, table->offset, table->count * 8ULL, err) < 0)
		return -1;
	for (uint32_t i = 0; i < table->count; i++) {
		offset = table->entries[i] & mask;
		if (offset && qcow2_guard_add(q, offset, q->cluster_size,
					      err) < 0)
			return -1;
	}
	return 0;
}

int qcow2_guard_fill(struct qcow2 *q, struct gild_error *err)
{
	qcow2_guard_free(&q->guard);
	if (qcow2_guard_add(q, 0, q->cluster_size, err) < 0 ||
	    add_entries(q, &q->l1, QCOW2_OFFSET_MASK, err) < 0 ||
	    add_entries(q, &q->reftable, QCOW2_REFTABLE_MASK, err) < 0)
		return -1;
	if (q->header.has_crypto &&
	    qcow2_guard_add(q, q->header.crypto_offset,
			    q->header.crypto_length, err) < 0)
		return -1;
	if (!q->header.snapshot_count)
		return 0;
	return qcow2_guard_add(q, q->header.snapshots_offset, 1, err);
}
