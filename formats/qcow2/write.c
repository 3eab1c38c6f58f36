/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing: host space for a run of the disk, and the link to it once the data
 * is there. A plan never leaves its L2 slice, so that linking is one change.
 *
 * A cluster that is ours alone (its entry has the "copied" flag) is filled
 * where it is; any other is replaced by a new one, and the old one freed.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/entry.h"
#include "util/cleanup.h"

/* So many runs wait to be freed before a write first settles them. */
#define MANY_FREED 4096

enum plan_cookie {
	PLAN_OWN = 0, /* nothing was allocated */
	PLAN_NEW = 1,
};

/* ----------------------------------------------------------- L2 tables -- */

/* The bytes of a new L2 table: zeros, or what a shared one holds. */
static int write_l2_table(struct qcow2 *q, uint64_t offset, uint64_t old,
			  struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = calloc(1, q->cluster_size);

	if (!bytes)
		return fail_nomem(err);
	if (old && storage_read_all(q->image.storage, bytes, q->cluster_size,
				    old, err) < 0)
		return -1;
	return storage_write(q->image.storage, bytes, q->cluster_size, offset,
			     err);
}

static int new_l2_table(struct qcow2 *q, uint32_t l1_index, uint64_t *table,
			struct gild_error *err)
{
	uint64_t old = q->l1.entries[l1_index] & QCOW2_OFFSET_MASK;

	if (old && !is_aligned(old, q->cluster_size))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "L2 table %u is not aligned", l1_index);
	if (qcow2_alloc_table(q, 1, table, err) < 0)
		return -1;
	qcow2_cache_forget(&q->l2_cache, *table, q->cluster_size);
	if (write_l2_table(q, *table, old, err) < 0 ||
	    qcow2_guard_add(q, *table, q->cluster_size, err) < 0) {
		qcow2_alloc_undo(q, *table, q->cluster_size);
		return -1;
	}
	qcow2_table_set(&q->l1, l1_index, *table | QCOW2_COPIED);
	if (old) {
		qcow2_guard_remove(q, old, q->cluster_size);
		qcow2_free_later(q, old, q->cluster_size, false);
	}
	return 0;
}

struct qcow2_slice *qcow2_l2_for_write(struct qcow2 *q, uint64_t guest,
				       struct gild_error *err)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t entry, table;

	if (at.l1_index >= q->l1.count)
		return fail_null(err, GILD_ERR_CORRUPT, 0,
				 "the L1 table does not reach to the end of "
				 "the disk");
	entry = q->l1.entries[at.l1_index];
	table = entry & QCOW2_OFFSET_MASK;
	if (!(table && entry & QCOW2_COPIED) &&
	    new_l2_table(q, at.l1_index, &table, err) < 0)
		return NULL;
	if (!is_aligned(table, q->cluster_size))
		return fail_null(err, GILD_ERR_CORRUPT, 0,
				 "L2 table %u is not aligned", at.l1_index);
	return qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				err);
}

/* ------------------------------------------------------------- preparing -- */

/* Entries [first, first + count) of one slice. */
struct run {
	struct qcow2_slice *slice;
	uint32_t first, count;
	uint64_t start; /* guest offset of the first one's cluster */
};

static bool is_own(const struct qcow2 *q, struct qcow2_entry entry)
{
	return entry_has_cluster(q, entry) && entry_is_copied(entry);
}

/* Nothing of the old cluster has to be copied but what surrounds the write. */
static bool is_blank(const struct qcow2 *q, struct qcow2_entry entry)
{
	return !entry_has_cluster(q, entry) && !entry_is_compressed(entry);
}

static bool sub_is_data(struct qcow2_entry entry, unsigned sub)
{
	return entry.bitmap >> sub & 1;
}

static int check_own(struct qcow2 *q, uint64_t host, struct gild_error *err)
{
	if (!is_aligned(host, q->cluster_size))
		fail(err, GILD_ERR_CORRUPT, 0,
		     "a data cluster is not aligned (host %#llx)",
		     (unsigned long long)host);
	else if (q->data == q->image.storage &&
		 qcow2_guard_hit(q, host, q->cluster_size))
		fail(err, GILD_ERR_CORRUPT, 0,
		     "a data cluster lies over metadata (host %#llx)",
		     (unsigned long long)host);
	else
		return 0;
	return error_hint(err, "gild check shows what is wrong with the image");
}

/* Subclusters of one cluster: in place where they have data, else a plan for
 * those that have not, up to the next one that has (which other writers may be
 * overwriting in place meanwhile, so it must not be copied over). */
static void plan_subclusters(const struct qcow2 *q, struct qcow2_entry entry,
			     uint64_t start, uint64_t offset, uint64_t length,
			     struct write_plan *plan)
{
	uint64_t in_cluster = offset - start;
	unsigned first = (unsigned)(in_cluster / q->subcluster_size), sub;
	unsigned end = (unsigned)div_round_up(min_u64(in_cluster + length,
						      q->cluster_size),
					      q->subcluster_size);

	plan->in_place = sub_is_data(entry, first);
	for (sub = first + 1; sub < end; sub++)
		if (sub_is_data(entry, sub) != plan->in_place)
			break;
	plan->start = start + first * (uint64_t)q->subcluster_size;
	plan->length = (sub - first) * (uint64_t)q->subcluster_size;
	plan->host_offset = entry_offset(entry) + (plan->start - start);
}

/* The cluster is ours: write into it. */
static int plan_own(struct qcow2 *q, const struct run *run, uint64_t offset,
		    uint64_t length, struct write_plan *plan,
		    struct gild_error *err)
{
	struct qcow2_entry entry = entry_load(q, run->slice->data, run->first);

	if (check_own(q, entry_offset(entry), err) < 0)
		return -1;
	plan->cookie = PLAN_OWN;
	if (q->extended_l2) {
		plan_subclusters(q, entry, run->start, offset, length, plan);
		return 0;
	}
	plan->in_place = entry_kind(q, entry, 0) == ENTRY_DATA;
	plan->start = run->start;
	plan->length = q->cluster_size;
	plan->host_offset = entry_offset(entry);
	return 0;
}

/* How many of the run's entries may be replaced together? */
static uint32_t alike(const struct qcow2 *q, const struct run *run)
{
	struct qcow2_entry entry = entry_load(q, run->slice->data, run->first);
	bool blank = is_blank(q, entry);
	uint32_t n = 1;

	while (n < run->count) {
		entry = entry_load(q, run->slice->data, run->first + n);
		if (is_own(q, entry) || is_blank(q, entry) != blank)
			break;
		n++;
	}
	return n;
}

/* New clusters for the run. Of a blank cluster with subclusters only those are
 * filled that the write touches. */
static int plan_new(struct qcow2 *q, const struct run *run, uint64_t offset,
		    uint64_t length, struct write_plan *plan,
		    struct gild_error *err)
{
	struct qcow2_entry first = entry_load(q, run->slice->data, run->first);
	uint64_t host, got, end, unit = q->cluster_size;

	if (q->data != q->image.storage) {
		host = run->start;
		got = alike(q, run);
		plan->cookie = PLAN_OWN;
	} else {
		if (qcow2_alloc_run(q, alike(q, run), &host, &got, err) < 0)
			return -1;
		plan->cookie = PLAN_NEW;
	}
	if (is_blank(q, first))
		unit = q->subcluster_size;
	end = min_u64(run->start + got * q->cluster_size,
		      round_up(offset + length, unit));
	plan->start = round_down(offset, unit);
	plan->length = end - plan->start;
	plan->host_offset = host + (plan->start - run->start);
	return 0;
}

static struct run run_at(const struct qcow2 *q, struct qcow2_slice *slice,
			 uint64_t offset, uint64_t length)
{
	struct l2_position at = l2_position(q, offset);
	struct run run = {
		.slice = slice,
		.first = at.index,
		.start = round_down(offset, q->cluster_size),
	};
	uint64_t clusters =
		div_round_up(offset + length - run.start, q->cluster_size);

	run.count = (uint32_t)min_u64(clusters, q->l2_slice_entries - at.index);
	return run;
}

struct qcow2_slice *qcow2_l2_begin(struct qcow2 *q, uint64_t offset,
				   struct gild_error *err)
{
	if (qcow2_begin_changes(q, err) < 0)
		return NULL;
	if (q->freed_count > MANY_FREED && qcow2_writeback(q, false, err) < 0)
		return NULL;
	return qcow2_l2_for_write(q, offset, err);
}

static int prepare(struct qcow2 *q, uint64_t offset, uint64_t length,
		   struct write_plan *plan, struct gild_error *err)
{
	struct qcow2_slice *slice = qcow2_l2_begin(q, offset, err);
	struct run run;
	int ret;

	if (!slice)
		return -1;
	run = run_at(q, slice, offset, length);
	*plan = (struct write_plan){ .storage = q->data, .cipher = q->cipher };
	if (is_own(q, entry_load(q, slice->data, run.first)))
		ret = plan_own(q, &run, offset, length, plan, err);
	else
		ret = plan_new(q, &run, offset, length, plan, err);
	plan->cipher_offset =
		qcow2_cipher_offset(q, plan->start, plan->host_offset);
	return ret;
}

int qcow2_prepare_write(struct image *image, uint64_t offset, uint64_t length,
			struct write_plan *plan, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = prepare(q, offset, length, plan, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

static int prepare_compressed(struct qcow2 *q, uint64_t offset,
			      uint32_t stored_length, struct write_plan *plan,
			      struct gild_error *err)
{
	*plan = (struct write_plan){
		.start = offset,
		.length = q->cluster_size,
		.storage = q->data,
		.compressed = true,
		.stored_length = stored_length,
		.cookie = PLAN_NEW,
	};
	if (q->data != q->image.storage)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an image with a data file has no compressed "
			    "clusters");
	if (q->header.crypt_method)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an encrypted image gets no compressed clusters");
	if (!qcow2_l2_begin(q, offset, err))
		return -1;
	return qcow2_alloc_packed(q, stored_length, &plan->host_offset, err);
}

int qcow2_prepare_compressed(struct image *image, uint64_t offset,
			     uint32_t stored_length, struct write_plan *plan,
			     struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = prepare_compressed(q, offset, stored_length, plan, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

/* --------------------------------------------------------------- linking -- */

/* Bits of the subclusters of the cluster at start that the plan covers. */
static uint64_t covered(const struct qcow2 *q, const struct write_plan *plan,
			uint64_t start)
{
	uint64_t from = max_u64(plan->start, start) - start;
	uint64_t to =
		min_u64(plan->start + plan->length, start + q->cluster_size) -
		start;
	unsigned first = (unsigned)(from / q->subcluster_size);
	unsigned end = (unsigned)(to / q->subcluster_size);

	return ((1ULL << end) - 1) & ~((1ULL << first) - 1);
}

static struct qcow2_entry linked(const struct qcow2 *q,
				 const struct write_plan *plan, uint64_t start,
				 struct qcow2_entry old)
{
	struct qcow2_entry new = { 0 };
	uint64_t bits;

	if (plan->compressed)
		return compressed_entry(q, plan->host_offset,
					plan->stored_length);
	/* host_offset belongs to plan->start, which may lie within a cluster;
	 * unsigned arithmetic takes the step back. */
	new.word = (plan->host_offset + (start - plan->start)) | QCOW2_COPIED;
	if (q->extended_l2) {
		bits = covered(q, plan, start);
		new.bitmap = (old.bitmap | bits) & ~(bits << 32);
		if (entry_is_compressed(old))
			new.bitmap = bits;
	}
	return new;
}

/* What an entry pointed to and the new one does not. */
static void free_old(struct qcow2 *q, struct qcow2_entry old,
		     struct qcow2_entry new)
{
	if (entry_is_compressed(old))
		qcow2_free_later(q, compressed_offset(q, old),
				 compressed_length(q, old), false);
	else if (q->data == q->image.storage && entry_offset(old) &&
		 (entry_is_compressed(new) ||
		  entry_offset(old) != entry_offset(new)))
		qcow2_free_later(q, entry_offset(old), q->cluster_size, false);
}

static int commit(struct qcow2 *q, const struct write_plan *plan,
		  struct gild_error *err)
{
	struct qcow2_slice *slice = qcow2_l2_for_write(q, plan->start, err);
	struct qcow2_entry old, new;
	struct run run;

	if (!slice)
		return -1;
	run = run_at(q, slice, plan->start, plan->length);
	for (uint32_t i = 0; i < run.count; i++) {
		old = entry_load(q, slice->data, run.first + i);
		new = linked(q, plan, run.start + (uint64_t)i * q->cluster_size,
			     old);
		entry_store(q, slice->data, run.first + i, new);
		free_old(q, old, new);
	}
	qcow2_cache_dirty(&q->l2_cache, slice);
	return 0;
}

int qcow2_commit_write(struct image *image, const struct write_plan *plan,
		       struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = commit(q, plan, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

void qcow2_abort_write(struct image *image, const struct write_plan *plan)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t length = plan->compressed ? plan->stored_length : plan->length;

	if (plan->cookie != PLAN_NEW || plan->in_place)
		return;
	pthread_rwlock_wrlock(&q->lock);
	qcow2_alloc_undo(q, plan->host_offset, length);
	pthread_rwlock_unlock(&q->lock);
}
