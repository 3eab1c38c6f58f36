/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A part of the active disk becomes what a snapshot has there: its L2 entries
 * take over the snapshot's, and what these lead to is counted once more. Counts
 * reach the disk before entries, as ever; what the entries led to before is
 * freed when they are on the disk.
 */
#include <stdlib.h>

#include "formats/qcow2/entry.h"
#include "formats/qcow2/snapshot/snapshot.h"
#include "util/cleanup.h"

/* What entries of one slice are to be. */
struct wish {
	const unsigned char *entries; /* as on the disk */
	uint32_t first, count;	      /* in the slice */
};

static int load_table(struct qcow2 *q, const struct qcow2_root *root,
		      uint32_t index, uint64_t *table, struct gild_error *err)
{
	uint64_t missing;

	*table = qcow2_root_table(q, root, index, &missing);
	while (missing) {
		if (!qcow2_cache_load(q, &q->l2_cache, missing, err))
			return -1;
		*table = qcow2_root_table(q, root, index, &missing);
	}
	if (is_aligned(*table, q->cluster_size))
		return 0;
	return fail(err, GILD_ERR_CORRUPT, 0,
		    "an L2 table of a snapshot is not aligned (at %#llx)",
		    (unsigned long long)*table);
}

/* A copy, since the cache keeps only what it loaded last. Without a root, or
 * without a table: nothing but zeros. */
static int read_slice(struct qcow2 *q, const struct qcow2_root *root,
		      struct l2_position at, unsigned char *entries,
		      struct gild_error *err)
{
	struct qcow2_slice *slice;
	uint64_t table = 0;

	memset(entries, 0, q->l2_cache.slice_size);
	if (root && load_table(q, root, at.l1_index, &table, err) < 0)
		return -1;
	if (!table)
		return 0;
	slice = qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				 err);
	if (!slice)
		return -1;
	memcpy(entries, slice->data, q->l2_cache.slice_size);
	return 0;
}

static bool is_empty(const struct qcow2 *q, const struct wish *wish)
{
	struct qcow2_entry entry;

	for (uint32_t i = 0; i < wish->count; i++) {
		entry = entry_load(q, wish->entries, wish->first + i);
		if (entry.word || entry.bitmap)
			return false;
	}
	return true;
}

static int count_up(struct qcow2 *q, struct qcow2_entry entry,
		    struct gild_error *err)
{
	uint64_t first, count = entry_clusters(q, entry, &first);

	return count ? qcow2_refcount_add(q, first, count, 1, err) : 0;
}

static void free_old(struct qcow2 *q, struct qcow2_entry entry)
{
	uint64_t first, count = entry_clusters(q, entry, &first);

	if (count)
		qcow2_free_later(q, first << q->cluster_bits,
				 count << q->cluster_bits, false);
}

static int change_slice(struct qcow2 *q, struct qcow2_slice *slice,
			const struct wish *wish, struct gild_error *err)
{
	struct qcow2_entry old, new;

	for (uint32_t i = wish->first; i < wish->first + wish->count; i++) {
		old = entry_load(q, slice->data, i);
		new = entry_load(q, wish->entries, i);
		new.word &= ~QCOW2_COPIED;
		if (!((old.word ^ new.word) & ~QCOW2_COPIED) &&
		    old.bitmap == new.bitmap)
			continue;
		if (count_up(q, new, err) < 0)
			return -1;
		entry_store(q, slice->data, i, new);
		qcow2_cache_dirty(&q->l2_cache, slice);
		free_old(q, old);
	}
	return 0;
}

/* From guest to the end of its slice, or up to end; *next: where to go on. */
static int adopt_slice(struct qcow2 *q, const struct qcow2_root *root,
		       uint64_t guest, uint64_t end, unsigned char *entries,
		       uint64_t *next, struct gild_error *err)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t clusters = div_round_up(end - guest, q->cluster_size);
	struct wish wish = {
		.entries = entries,
		.first = at.index,
		.count = (uint32_t)min_u64(clusters,
					   q->l2_slice_entries - at.index),
	};
	struct qcow2_slice *slice;

	*next = min_u64(end, guest + ((uint64_t)wish.count << q->cluster_bits));
	if (read_slice(q, root, at, entries, err) < 0)
		return -1;
	if (at.l1_index < q->l1.count &&
	    !(q->l1.entries[at.l1_index] & QCOW2_OFFSET_MASK) &&
	    is_empty(q, &wish))
		return 0;
	slice = qcow2_l2_begin(q, guest, err);
	return slice ? change_slice(q, slice, &wish, err) : -1;
}

int qcow2_adopt(struct image *image, struct image *from, uint64_t offset,
		uint64_t length, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	AUTO_FREE unsigned char *entries = malloc(q->l2_cache.slice_size);
	const struct qcow2_root *root = NULL;
	uint64_t end = offset + length, next = offset;
	int ret = 0;

	if (!entries)
		return fail_nomem(err);
	if (q->data != image->storage)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an image with a data file has no snapshots");
	if (from)
		qcow2_view_tree(from, &root);
	for (; offset < end && !ret; offset = next) {
		pthread_rwlock_wrlock(&q->lock);
		ret = adopt_slice(q, root, offset, end, entries, &next, err);
		pthread_rwlock_unlock(&q->lock);
	}
	return ret;
}
