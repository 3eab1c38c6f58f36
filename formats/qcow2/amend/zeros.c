/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zeros that version 2 cannot say. L2 tables, the snapshots' too, are changed
 * where they are, through the cache: what an entry says stays the same for
 * everybody who reads it, so it does not matter who shares the table. A cluster
 * that an entry gets is counted as often as the table is.
 *
 * writeback.c sees to it that a cluster's zeros and its count are on the disk
 * before the entry.
 */
#include <stdlib.h>

#include "formats/crypto/cipher.h"
#include "formats/qcow2/amend/amend.h"
#include "formats/qcow2/entry.h"
#include "util/cleanup.h"
#include "util/memory.h"

struct walk;

typedef int visit_table(struct walk *walk, uint64_t offset, uint64_t guest,
			struct gild_error *err);

/* All L2 tables, one L1 table after the other. */
struct walk {
	struct qcow2 *q;
	struct qcow2_amendment *wanted;
	visit_table *visit;
	bool active;	/* the table belongs to the active disk */
	bool quick;	/* L2 tables are not looked into */
	uint64_t *last; /* owned: the L1 table before this one */
	uint32_t last_count;
	uint64_t refs;	      /* count of the L2 table under way */
	unsigned char *zeros; /* owned: a cluster, where it is encrypted */
};

/* --- walking -------------------------------------------------------------- */

/* Neighbours in time share most of their tables. */
static bool was_visited(const struct walk *walk, uint32_t index, uint64_t table)
{
	return index < walk->last_count &&
	       (walk->last[index] & QCOW2_OFFSET_MASK) == table;
}

/* Takes l1. */
static int walk_l1(struct walk *walk, uint64_t *l1, uint32_t count,
		   struct gild_error *err)
{
	const struct qcow2 *q = walk->q;
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits, offset;
	int ret = 0;

	for (uint32_t i = 0; i < count && !ret; i++) {
		offset = l1[i] & QCOW2_OFFSET_MASK;
		if (!offset || was_visited(walk, i, offset))
			continue;
		ret = walk->visit(walk, offset, i * reach, err);
		if (!ret && !walk->quick)
			ret = qcow2_amend_step(walk->wanted, q->cluster_size,
					       err);
	}
	free(walk->last);
	walk->last = l1;
	walk->last_count = count;
	return ret;
}

static uint64_t *copy_active(const struct qcow2 *q, struct gild_error *err)
{
	uint64_t *l1 = malloc(q->l1.count * 8ULL + 8);

	if (!l1)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	memcpy(l1, q->l1.entries, q->l1.count * 8ULL);
	return l1;
}

static int walk_all(struct walk *walk, const struct qcow2_snapshots *snapshots,
		    struct gild_error *err)
{
	uint64_t *l1 = copy_active(walk->q, err);
	int ret;

	walk->active = true;
	ret = l1 ? walk_l1(walk, l1, walk->q->l1.count, err) : -1;
	walk->active = false;
	for (uint32_t i = 0; i < snapshots->count && !ret; i++) {
		l1 = qcow2_tree_read_l1(walk->q, snapshots->list[i].l1_offset,
					snapshots->list[i].l1_entries, err);
		ret = l1 ? walk_l1(walk, l1, snapshots->list[i].l1_entries,
				   err) :
			   -1;
	}
	free(walk->last);
	walk->last = NULL;
	walk->last_count = 0;
	return ret;
}

/* --- looking -------------------------------------------------------------- */

static int count_table(struct walk *walk, uint64_t offset, uint64_t guest,
		       struct gild_error *err)
{
	(void)offset;
	(void)guest;
	(void)err;
	walk->wanted->total += walk->q->cluster_size;
	return 0;
}

static int refuse_compressed(struct walk *walk, uint64_t offset, uint64_t guest,
			     struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	struct qcow2_slice *slice = NULL;
	uint32_t at;

	for (uint32_t i = 0; i < q->l2_entries; i++) {
		at = i & (q->l2_slice_entries - 1);
		if (!at)
			slice = qcow2_cache_load(
				q, &q->l2_cache,
				offset + (uint64_t)i * q->entry_size, err);
		if (!slice)
			return -1;
		if (!entry_is_compressed(entry_load(q, slice->data, at)))
			continue;
		fail(err, GILD_ERR_UNSUPPORTED, 0,
		     "version 2 (compat=0.10) cannot have clusters that are "
		     "compressed with zstd, and the image has (at %#llx)",
		     (unsigned long long)(guest +
					  ((uint64_t)i << q->cluster_bits)));
		return error_hint(err, "convert it: gild convert -c -o "
				       "compat=0.10");
	}
	return 0;
}

int qcow2_amend_look(struct qcow2 *q, struct qcow2_amendment *wanted,
		     const struct qcow2_snapshots *snapshots,
		     struct gild_error *err)
{
	struct walk count = {
		.q = q,
		.wanted = wanted,
		.visit = count_table,
		.quick = true,
	};
	struct walk look = {
		.q = q,
		.wanted = wanted,
		.visit = refuse_compressed,
	};

	if (walk_all(&count, snapshots, err) < 0)
		return -1;
	if (q->header.compression == QCOW2_COMPRESSION_ZLIB)
		return 0;
	/* All of them twice. */
	if (walk_all(&count, snapshots, err) < 0)
		return -1;
	return walk_all(&look, snapshots, err);
}

/* --- changing ------------------------------------------------------------- */

static bool says_zero(struct qcow2_entry entry)
{
	return !entry_is_compressed(entry) && entry.word & QCOW2_ZERO;
}

/* An entry lets go of its cluster. */
static void let_go(const struct walk *walk, uint64_t host)
{
	for (uint64_t i = 0; host && i < walk->refs; i++)
		qcow2_free_later(walk->q, host, walk->q->cluster_size, true);
}

static int write_zeros(struct walk *walk, uint64_t host, uint64_t guest,
		       uint64_t clusters, struct gild_error *err)
{
	const struct qcow2 *q = walk->q;
	unsigned char *zeros = walk->zeros;
	uint64_t at;

	if (!q->cipher)
		return storage_zero(q->image.storage, host,
				    clusters << q->cluster_bits, false, err);
	for (uint64_t i = 0; i < clusters; i++) {
		at = i << q->cluster_bits;
		memset(zeros, 0, q->cluster_size);
		if (cipher_encrypt(q->cipher, zeros, zeros, q->cluster_size,
				   qcow2_cipher_offset(q, guest + at,
						       host + at),
				   err) < 0 ||
		    storage_write(q->image.storage, zeros, q->cluster_size,
				  host + at, err) < 0)
			return -1;
	}
	return 0;
}

/* Clusters of zeros, up to want in a row, counted for everybody who shares the
 * table. */
static int make_zeros(struct walk *walk, uint64_t guest, uint64_t want,
		      uint64_t *host, uint64_t *got, struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	uint64_t counted = 1;

	if (qcow2_alloc_run(q, want, host, got, err) < 0)
		return -1;
	while (counted < walk->refs &&
	       qcow2_refcount_add(q, *host >> q->cluster_bits, *got, 1, err) ==
		       0)
		counted++;
	if (counted >= walk->refs &&
	    write_zeros(walk, *host, guest, *got, err) == 0)
		return 0;
	while (counted--)
		qcow2_alloc_undo(q, *host, *got << q->cluster_bits);
	return -1;
}

/* Is the entry's cluster nobody else's? Then there is one reference for each
 * of the table. */
static int is_sole(struct walk *walk, uint64_t host, bool *sole,
		   struct gild_error *err)
{
	uint64_t count = 0;

	*sole = false;
	if (!host)
		return 0;
	if (qcow2_refcount_get(walk->q, host >> walk->q->cluster_bits, &count,
			       err) < 0)
		return -1;
	*sole = count == walk->refs;
	return 0;
}

static void set(struct walk *walk, struct qcow2_slice *slice, uint32_t index,
		uint64_t word)
{
	struct qcow2_entry entry = { .word = word };

	entry_store(walk->q, slice->data, index, entry);
	qcow2_cache_dirty(&walk->q->l2_cache, slice);
}

/* Entries from index on, up to end, that have none of their own get clusters;
 * *n of them did. */
static int fill(struct walk *walk, struct qcow2_slice *slice, uint32_t index,
		uint32_t end, uint64_t guest, uint32_t *n,
		struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	uint64_t flag = walk->active && walk->refs == 1 ? QCOW2_COPIED : 0;
	struct qcow2_entry entry;
	uint64_t host, got;
	uint32_t want = 1;

	while (index + want < end) {
		entry = entry_load(q, slice->data, index + want);
		if (!says_zero(entry) || entry_offset(entry))
			break;
		want++;
	}
	if (make_zeros(walk, guest, want, &host, &got, err) < 0)
		return -1;
	for (uint32_t i = 0; i < got; i++) {
		entry = entry_load(q, slice->data, index + i);
		set(walk, slice, index + i, host | flag);
		let_go(walk, entry_offset(entry));
		host += q->cluster_size;
	}
	*n = (uint32_t)got;
	return 0;
}

/* The entry at index says "zeros": it, and perhaps *n - 1 more, no longer do. */
static int change(struct walk *walk, struct qcow2_slice *slice, uint32_t index,
		  uint32_t end, uint64_t guest, uint32_t *n,
		  struct gild_error *err)
{
	struct qcow2_entry entry = entry_load(walk->q, slice->data, index);
	uint64_t host = entry_offset(entry);
	bool sole;

	*n = 1;
	if (!walk->q->header.backing_name) {
		set(walk, slice, index, 0);
		let_go(walk, host);
		return 0;
	}
	if (is_sole(walk, host, &sole, err) < 0)
		return -1;
	if (!sole)
		return fill(walk, slice, index, end, guest, n, err);
	if (write_zeros(walk, host, guest, 1, err) < 0)
		return -1;
	set(walk, slice, index, entry.word & ~QCOW2_ZERO);
	return 0;
}

static int change_slice(struct walk *walk, uint64_t offset, uint64_t guest,
			struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	uint32_t end = q->l2_slice_entries, n;
	struct qcow2_slice *slice =
		qcow2_cache_load(q, &q->l2_cache, offset, err);

	if (!slice)
		return -1;
	for (uint32_t i = 0; i < end; i += n) {
		n = 1;
		if (says_zero(entry_load(q, slice->data, i)) &&
		    change(walk, slice, i, end,
			   guest + ((uint64_t)i << q->cluster_bits), &n,
			   err) < 0)
			return -1;
	}
	return 0;
}

static int change_table(struct walk *walk, uint64_t offset, uint64_t guest,
			struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	uint64_t reach = (uint64_t)q->l2_slice_entries << q->cluster_bits;

	if (qcow2_refcount_get(q, offset >> q->cluster_bits, &walk->refs, err) <
	    0)
		return -1;
	for (uint64_t at = 0; at < q->cluster_size;
	     at += q->l2_cache.slice_size) {
		if (change_slice(walk, offset + at, guest, err) < 0)
			return -1;
		guest += reach;
	}
	return 0;
}

int qcow2_amend_zeros(struct qcow2 *q, struct qcow2_amendment *wanted,
		      const struct qcow2_snapshots *snapshots,
		      struct gild_error *err)
{
	AUTO_FREE unsigned char *zeros = NULL;
	struct walk walk = {
		.q = q,
		.wanted = wanted,
		.visit = change_table,
	};

	if (q->cipher) {
		walk.zeros = zeros = memory_io_buffer(q->cluster_size);
		if (!zeros)
			return fail_nomem(err);
	}
	if (walk_all(&walk, snapshots, err) < 0)
		return -1;
	return qcow2_writeback(q, false, err);
}
