/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L2 tables and refcount blocks, kept in slices as they stand on the disk.
 *
 * A slice is found by its host offset through a hash table. To make room a
 * clock hand goes round: a slice that was used since the last round gets
 * another one; a dirty slice stays until it has been written. When nearly all
 * are dirty everything is written back, in the order that writeback.c gives.
 *
 * Finding needs the image's lock shared, all else exclusively; `used` is the
 * only field that readers set, hence atomic.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define MIN_SLICES 16

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_size,
		     uint64_t budget, struct gild_error *err)
{
	unsigned buckets = 64;

	*cache = (struct qcow2_cache){
		.slice_size = slice_size,
		.limit = (unsigned)max_u64(budget / slice_size, MIN_SLICES),
	};
	while (buckets < cache->limit)
		buckets *= 2;
	cache->bucket_mask = buckets - 1;
	cache->slices = calloc(cache->limit, sizeof(*cache->slices));
	cache->buckets = calloc(buckets, sizeof(struct qcow2_slice *));
	if (!cache->slices || !cache->buckets)
		return fail_nomem(err);
	return 0;
}

void qcow2_cache_drop(struct qcow2_cache *cache)
{
	for (unsigned i = 0; i < cache->count; i++) {
		free(cache->slices[i].data);
		cache->slices[i] = (struct qcow2_slice){ 0 };
	}
	if (cache->buckets)
		memset(cache->buckets, 0,
		       (cache->bucket_mask + 1ULL) *
			       sizeof(struct qcow2_slice *));
	cache->count = cache->hand = cache->dirty = 0;
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
	qcow2_cache_drop(cache);
	free(cache->slices);
	free(cache->buckets);
	*cache = (struct qcow2_cache){ 0 };
}

static struct qcow2_slice **bucket_of(const struct qcow2_cache *cache,
				      uint64_t offset)
{
	uint64_t hash = offset / cache->slice_size * 0x9e3779b97f4a7c15ULL;

	return &cache->buckets[hash >> 32 & cache->bucket_mask];
}

struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_slice *slice = *bucket_of(cache, offset);

	while (slice && slice->offset != offset)
		slice = slice->next;
	/* Written only when it changes: readers on all cores share the line. */
	if (slice && !atomic_load_explicit(&slice->used, memory_order_relaxed))
		atomic_store_explicit(&slice->used, true, memory_order_relaxed);
	return slice;
}

static void unlink_slice(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	struct qcow2_slice **link;

	if (!slice->offset)
		return;
	link = bucket_of(cache, slice->offset);
	while (*link != slice)
		link = &(*link)->next;
	*link = slice->next;
	slice->offset = 0;
}

static void link_slice(struct qcow2_cache *cache, struct qcow2_slice *slice,
		       uint64_t offset)
{
	struct qcow2_slice **bucket = bucket_of(cache, offset);

	slice->offset = offset;
	slice->next = *bucket;
	*bucket = slice;
	atomic_store(&slice->used, true);
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset,
			uint64_t length)
{
	struct qcow2_slice *slice;

	for (uint64_t at = offset; at < offset + length;
	     at += cache->slice_size) {
		slice = qcow2_cache_find(cache, at);
		if (!slice)
			continue;
		cache->dirty -= slice->dirty;
		slice->dirty = false;
		unlink_slice(cache, slice);
	}
}

/* A clean slice that was not used lately; there is one, see make_room(). */
static struct qcow2_slice *evict(struct qcow2_cache *cache)
{
	for (;;) {
		struct qcow2_slice *slice = &cache->slices[cache->hand];

		cache->hand = (cache->hand + 1) % cache->limit;
		if (slice->dirty)
			continue;
		if (!slice->offset || !atomic_exchange(&slice->used, false)) {
			unlink_slice(cache, slice);
			return slice;
		}
	}
}

static struct qcow2_slice *take_unused(struct qcow2_cache *cache,
				       struct gild_error *err)
{
	struct qcow2_slice *slice = &cache->slices[cache->count];

	slice->data = malloc(cache->slice_size);
	if (!slice->data)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	cache->count++;
	return slice;
}

static struct qcow2_slice *make_room(struct qcow2 *q, struct qcow2_cache *cache,
				     struct gild_error *err)
{
	if (cache->count < cache->limit)
		return take_unused(cache, err);
	if (cache->dirty < cache->limit - cache->limit / 8)
		return evict(cache);
	if (qcow2_writeback(q, false, err) < 0)
		return NULL;
	/* Counts may be written at any time; those that are lazy were not. */
	if (cache == &q->ref_cache && qcow2_cache_write(q, cache, err) < 0)
		return NULL;
	return evict(cache);
}

/* What a table has lost with the end of its file would read as zeros: as a disk
 * that was never written, or clusters that nobody uses. (No writer leaves out
 * the end of a table, as they do with that of the last cluster of data.) */
static int check_place(struct qcow2 *q, const struct qcow2_cache *cache,
		       uint64_t offset, struct gild_error *err)
{
	int inside = storage_contains(q->image.storage,
				      offset + cache->slice_size - 1, err);

	if (inside)
		return inside < 0 ? -1 : 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "%s lies beyond the end of the file (at %#llx)",
	     cache == &q->l2_cache ? "an L2 table" : "a refcount block",
	     (unsigned long long)offset);
	error_hint(err, "gild check shows what is wrong with the image");
	return error_at(err, offset);
}

struct qcow2_slice *qcow2_cache_load(struct qcow2 *q, struct qcow2_cache *cache,
				     uint64_t offset, struct gild_error *err)
{
	struct qcow2_slice *slice = qcow2_cache_find(cache, offset);

	if (slice)
		return slice;
	if (check_place(q, cache, offset, err) < 0)
		return NULL;
	slice = make_room(q, cache, err);
	if (!slice)
		return NULL;
	if (storage_read(q->image.storage, slice->data, cache->slice_size,
			 offset, err) < 0)
		return NULL;
	link_slice(cache, slice, offset);
	return slice;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	cache->dirty += !slice->dirty;
	slice->dirty = true;
}

static int by_offset(const void *a, const void *b)
{
	const struct qcow2_slice *x = *(struct qcow2_slice *const *)a;
	const struct qcow2_slice *y = *(struct qcow2_slice *const *)b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static unsigned collect_dirty(struct qcow2_cache *cache,
			      struct qcow2_slice **found)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cache->count; i++)
		if (cache->slices[i].dirty)
			found[n++] = &cache->slices[i];
	return n;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *cache,
		      struct gild_error *err)
{
	AUTO_FREE struct qcow2_slice **dirty = NULL;
	unsigned n;

	if (!cache->dirty)
		return 0;
	dirty = calloc(cache->dirty, sizeof(struct qcow2_slice *));
	if (!dirty)
		return fail_nomem(err);
	n = collect_dirty(cache, dirty);
	qsort(dirty, n, sizeof(struct qcow2_slice *), by_offset);
	for (unsigned i = 0; i < n; i++) {
		if (storage_write(q->image.storage, dirty[i]->data,
				  cache->slice_size, dirty[i]->offset, err) < 0)
			return -1;
		dirty[i]->dirty = false;
		cache->dirty--;
	}
	return 0;
}
