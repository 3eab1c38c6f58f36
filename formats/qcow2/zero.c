/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zeros without writing them, and discards: both change L2 entries only. A
 * cluster that loses its place is freed; its space goes back to the host.
 */
#include "formats/qcow2/entry.h"

#define ALL_ZERO_BITS (0xffffffffULL << 32)

/* What a range of clusters is to become. */
struct wish {
	bool discard;
	bool drop;  /* beyond the end of the disk: nothing at all */
	bool unmap; /* zeros need no place of their own */
	bool own;   /* said here, also if no backing file is there yet */
	uint64_t start, end; /* guest */
};

static bool reads_backing(const struct qcow2 *q)
{
	return q->image.backing_name;
}

/* Must zeros be said by an entry? */
static bool must_say(const struct qcow2 *q, const struct wish *wish)
{
	return wish->own || reads_backing(q);
}

static struct qcow2_entry zero_entry(const struct qcow2 *q)
{
	return (struct qcow2_entry){
		.word = q->extended_l2 ? 0 : QCOW2_ZERO,
		.bitmap = q->extended_l2 ? ALL_ZERO_BITS : 0,
	};
}

static bool is_own(const struct qcow2 *q, struct qcow2_entry entry)
{
	return entry_has_cluster(q, entry) && entry_is_copied(entry);
}

/* A whole cluster: the entry it gets. */
static struct qcow2_entry whole(const struct qcow2 *q, struct qcow2_entry old,
				const struct wish *wish)
{
	struct qcow2_entry empty = { 0 }, zero = zero_entry(q);

	if (wish->drop)
		return empty;
	if (!old.word && !old.bitmap && (wish->discard || !must_say(q, wish)))
		return old;
	if (!wish->discard && !wish->unmap && is_own(q, old) &&
	    q->header.version >= 3) {
		zero.word |= old.word & (QCOW2_OFFSET_MASK | QCOW2_COPIED);
		return zero;
	}
	return must_say(q, wish) ? zero : empty;
}

/* Some of a cluster's subclusters; its place stays. */
static struct qcow2_entry partly(const struct qcow2 *q, struct qcow2_entry old,
				 uint64_t from, uint64_t to)
{
	unsigned first = (unsigned)(from / q->subcluster_size);
	unsigned end = (unsigned)div_round_up(to, q->subcluster_size);
	uint64_t bits = ((1ULL << end) - 1) & ~((1ULL << first) - 1);

	old.bitmap = (old.bitmap | bits << 32) & ~bits;
	return old;
}

static void free_old(struct qcow2 *q, struct qcow2_entry old,
		     struct qcow2_entry new)
{
	if (entry_is_compressed(old))
		qcow2_free_later(q, compressed_offset(q, old),
				 compressed_length(q, old), true);
	else if (q->data == q->image.storage &&
		 entry_offset(old) != entry_offset(new))
		qcow2_free_later(q, entry_offset(old), q->cluster_size, true);
}

/* What the entry of one cluster, at guest, is to be. Returns 1 where an entry
 * cannot say so. */
static int wanted(const struct qcow2 *q, struct qcow2_entry old, uint64_t guest,
		  const struct wish *wish, struct qcow2_entry *new)
{
	uint64_t from = max_u64(wish->start, guest) - guest;
	uint64_t to = min_u64(wish->end, guest + q->cluster_size) - guest;

	*new = old;
	if (from || (to < q->cluster_size && wish->end < q->image.size)) {
		if (!q->extended_l2 || entry_is_compressed(old))
			return 1;
		*new = partly(q, old, from, to);
	} else {
		*new = whole(q, old, wish);
	}
	return 0;
}

static bool is_same(struct qcow2_entry a, struct qcow2_entry b)
{
	return a.word == b.word && a.bitmap == b.bitmap;
}

static int change(struct qcow2 *q, struct qcow2_slice *slice, uint32_t index,
		  uint64_t guest, const struct wish *wish)
{
	struct qcow2_entry old = entry_load(q, slice->data, index), new;
	int ret = wanted(q, old, guest, wish, &new);

	if (is_same(old, new))
		return ret;
	entry_store(q, slice->data, index, new);
	qcow2_cache_dirty(&q->l2_cache, slice);
	free_old(q, old, new);
	return ret;
}

/* A table that snapshots share is not copied for nothing: would any entry from
 * guest on change? Adds to *ret what cannot be said. -1: cannot be told. */
static int would_change(struct qcow2 *q, uint64_t guest,
			const struct wish *wish, uint64_t *next, int *ret,
			struct gild_error *err)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t table = q->l1.entries[at.l1_index] & QCOW2_OFFSET_MASK;
	struct qcow2_slice *slice;
	struct qcow2_entry old, new;

	slice = qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				 err);
	if (!slice)
		return -1;
	guest = round_down(guest, q->cluster_size);
	for (; at.index < q->l2_slice_entries && guest < wish->end;
	     at.index++) {
		old = entry_load(q, slice->data, at.index);
		*ret |= wanted(q, old, guest, wish, &new);
		if (!is_same(old, new))
			return 1;
		guest += q->cluster_size;
	}
	*next = guest;
	return 0;
}

/* Is there nothing to do up to *end, since no table is there? */
static bool is_empty(const struct qcow2 *q, const struct wish *wish,
		     uint64_t guest, uint64_t *end)
{
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits;
	uint32_t index = l2_position(q, guest).l1_index;

	*end = (uint64_t)(index + 1) * reach;
	return index < q->l1.count &&
	       !(q->l1.entries[index] & QCOW2_OFFSET_MASK) &&
	       (wish->discard || wish->drop || !must_say(q, wish));
}

static bool is_shared(const struct qcow2 *q, uint64_t guest)
{
	uint32_t index = l2_position(q, guest).l1_index;
	uint64_t entry = index < q->l1.count ? q->l1.entries[index] : 0;

	return entry & QCOW2_OFFSET_MASK && !(entry & QCOW2_COPIED) &&
	       is_aligned(entry & QCOW2_OFFSET_MASK, q->cluster_size);
}

/* From guest to the end of its slice, at most; *next is where to go on. */
static int change_slice(struct qcow2 *q, uint64_t guest,
			const struct wish *wish, uint64_t *next,
			struct gild_error *err)
{
	uint32_t index = l2_position(q, guest).index;
	struct qcow2_slice *slice;
	int ret = 0, would;

	if (is_empty(q, wish, guest, next))
		return 0;
	if (is_shared(q, guest)) {
		would = would_change(q, guest, wish, next, &ret, err);
		if (would <= 0)
			return would < 0 ? -1 : ret;
	}
	slice = qcow2_l2_for_write(q, guest, err);
	if (!slice)
		return -1;
	guest = round_down(guest, q->cluster_size);
	for (; index < q->l2_slice_entries && guest < wish->end; index++) {
		ret |= change(q, slice, index, guest, wish);
		guest += q->cluster_size;
	}
	*next = guest;
	return ret;
}

static int change_all(struct qcow2 *q, const struct wish *wish,
		      struct gild_error *err)
{
	uint64_t next = wish->end;
	int ret = 0, step;

	for (uint64_t at = wish->start; at < wish->end; at = next) {
		pthread_rwlock_wrlock(&q->lock);
		step = qcow2_begin_changes(q, err);
		if (!step)
			step = change_slice(q, at, wish, &next, err);
		pthread_rwlock_unlock(&q->lock);
		if (step < 0)
			return -1;
		ret |= step;
	}
	return ret;
}

int qcow2_zero(struct image *image, uint64_t offset, uint64_t length,
	       unsigned flags, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct wish wish = {
		.unmap = flags & GILD_ZERO_UNMAP,
		.own = flags & IMAGE_ZERO_OWN,
		.start = offset,
		.end = offset + length,
	};

	/* Version 2 has no zero flag; a raw data file must hold the zeros. */
	if (q->raw_data || (q->header.version < 3 && must_say(q, &wish)))
		return 1;
	return change_all(q, &wish, err);
}

int qcow2_discard(struct image *image, uint64_t offset, uint64_t length,
		  struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct wish wish = {
		.discard = true,
		.start = offset,
		.end = offset + length,
	};
	int ret;

	/* Zeros that are decrypted would be anything. */
	if (q->raw_data)
		return q->cipher ?
			       0 :
			       storage_discard(q->data, offset, length, err);
	if (q->header.version < 3 && reads_backing(q))
		return 0;
	ret = change_all(q, &wish, err);
	return ret < 0 ? -1 : 0;
}

int qcow2_drop(struct qcow2 *q, uint64_t start, uint64_t end,
	       struct gild_error *err)
{
	struct wish wish = {
		.drop = true,
		.start = round_up(start, q->cluster_size),
		.end = round_up(end, q->cluster_size),
	};

	return change_all(q, &wish, err);
}
