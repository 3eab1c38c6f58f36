/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L1 tables: the active one, which is held whole, and those of snapshots, which
 * stand on the disk and do not change. Of these the slices that are looked at
 * are kept in the cache of L2 tables, so that any number of them can be used.
 */
#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"

uint32_t qcow2_root_entries(const struct qcow2 *q,
			    const struct qcow2_root *root)
{
	return root ? root->entries : q->l1.count;
}

uint64_t qcow2_root_table(struct qcow2 *q, const struct qcow2_root *root,
			  uint32_t index, uint64_t *missing)
{
	struct qcow2_slice *slice;
	uint64_t at, start;

	*missing = 0;
	if (index >= qcow2_root_entries(q, root))
		return 0;
	if (!root)
		return q->l1.entries[index] & QCOW2_OFFSET_MASK;
	at = root->offset + index * 8ULL;
	start = round_down(at, q->l2_cache.slice_size);
	slice = qcow2_cache_find(&q->l2_cache, start);
	if (slice)
		return load_be64(slice->data + (at - start)) &
		       QCOW2_OFFSET_MASK;
	*missing = start;
	return 0;
}
