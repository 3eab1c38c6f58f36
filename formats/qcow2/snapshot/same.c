/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where two trees of one image have the same: it is told from their tables
 * alone. One L2 table for both says it of all that is below; else entries that
 * lead to one place, or are the same sort of nothing, say it of a cluster. The
 * "copied" flag does not count, it is about the active tree only.
 */
#include "formats/qcow2/entry.h"
#include "formats/qcow2/snapshot/snapshot.h"

struct pair {
	const struct qcow2_root *roots[2];
	uint64_t tables[2];	      /* L2, where we are; 0: none */
	const unsigned char *data[2]; /* their slices; NULL: nothing there */
};

static bool equal(const struct qcow2 *q, const struct pair *pair,
		  uint32_t index)
{
	struct qcow2_entry entries[2] = { { 0 }, { 0 } };

	for (int i = 0; i < 2; i++)
		if (pair->data[i])
			entries[i] = entry_load(q, pair->data[i], index);
	return !((entries[0].word ^ entries[1].word) & ~QCOW2_COPIED) &&
	       entries[0].bitmap == entries[1].bitmap;
}

/* False where something has to be loaded first. */
static bool find_tables(struct qcow2 *q, struct pair *pair, uint32_t index,
			uint64_t *missing)
{
	for (int i = 0; i < 2; i++) {
		pair->tables[i] =
			qcow2_root_table(q, pair->roots[i], index, missing);
		if (*missing)
			return false;
	}
	return true;
}

static bool find_slices(struct qcow2 *q, struct pair *pair,
			struct l2_position at, uint64_t *missing)
{
	struct qcow2_slice *slice;
	uint64_t offset;

	for (int i = 0; i < 2; i++) {
		pair->data[i] = NULL;
		if (!pair->tables[i])
			continue;
		offset = slice_offset(q, pair->tables[i], at);
		slice = qcow2_cache_find(&q->l2_cache, offset);
		if (!slice) {
			*missing = offset;
			return false;
		}
		pair->data[i] = slice->data;
	}
	return true;
}

/* Up to which offset do the trees go on to share their tables? */
static uint64_t same_tables(struct qcow2 *q, struct pair *pair, uint32_t index,
			    uint64_t end)
{
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits, missing;

	do
		index++;
	while (index * reach < end && find_tables(q, pair, index, &missing) &&
	       pair->tables[0] == pair->tables[1]);
	return index * reach;
}

/* From guest up to *end, which is clipped by nobody yet. */
static void compare(struct qcow2 *q, struct pair *pair, uint64_t guest,
		    uint64_t limit, bool *same, uint64_t *end,
		    uint64_t *missing)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits;
	uint32_t index = at.index;

	if (!find_tables(q, pair, at.l1_index, missing))
		return;
	*same = pair->tables[0] == pair->tables[1];
	if (*same) {
		*end = same_tables(q, pair, at.l1_index, limit);
		return;
	}
	/* Who reads there will be told. */
	*end = (at.l1_index + 1) * reach;
	if (!is_aligned(pair->tables[0] | pair->tables[1], q->cluster_size) ||
	    !find_slices(q, pair, at, missing))
		return;
	*same = equal(q, pair, index);
	do
		index++;
	while (index < q->l2_slice_entries && equal(q, pair, index) == *same);
	*end = round_down(guest, q->cluster_size) +
	       (uint64_t)(index - at.index) * q->cluster_size;
}

int qcow2_same(struct image *a, struct image *b, uint64_t offset,
	       uint64_t length, bool *same, uint64_t *run,
	       struct gild_error *err)
{
	uint64_t end = offset + length, missing;
	struct pair pair = { { NULL, NULL }, { 0, 0 }, { NULL, NULL } };
	struct qcow2 *q = qcow2_view_tree(a, &pair.roots[0]);
	int ret = 0;

	qcow2_view_tree(b, &pair.roots[1]);
	do {
		pthread_rwlock_rdlock(&q->lock);
		compare(q, &pair, offset, offset + length, same, &end,
			&missing);
		pthread_rwlock_unlock(&q->lock);
		if (missing)
			ret = qcow2_load_missing(q, offset, missing, err);
	} while (!ret && missing);
	*run = min_u64(end - offset, length);
	return ret;
}
