/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything below an L1 table: the L2 tables and the host clusters that their
 * entries refer to. L2 tables are read past the cache, each at once: the caller
 * has written everything back before.
 */
#include <stdlib.h>

#include "formats/qcow2/entry.h"
#include "formats/qcow2/snapshot/snapshot.h"
#include "util/cleanup.h"

uint64_t *qcow2_tree_read_l1(struct qcow2 *q, uint64_t offset, uint32_t count,
			     struct gild_error *err)
{
	AUTO_FREE uint64_t *l1 = NULL;

	if (count * 8ULL > QCOW2_MAX_L1_BYTES ||
	    !is_aligned(offset, q->cluster_size))
		return fail_null(err, GILD_ERR_CORRUPT, 0,
				 "the L1 table of a snapshot is too large or "
				 "not aligned");
	l1 = calloc(count ? count : 1, 8);
	if (!l1)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	if (storage_read_all(q->image.storage, l1, count * 8ULL, offset, err) <
	    0)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		l1[i] = be64toh(l1[i]);
	return steal_ptr(l1);
}

/* --------------------------------------------------------------- walking -- */

/* Host clusters in a row, none of them twice. */
struct run {
	uint64_t first, count;
	bool packed; /* compressed clusters lie there, perhaps several in one */
};

typedef int visit_run(struct qcow2 *q, const struct run *run, int change,
		      struct gild_error *err);

struct walk {
	struct qcow2 *q;
	visit_run *visit;
	int change;	      /* for visit */
	struct run run;	      /* gathered, not visited yet */
	unsigned char *table; /* an L2 table */
};

static int settle(struct walk *walk, struct gild_error *err)
{
	struct run run = walk->run;

	walk->run.count = 0;
	if (!run.count)
		return 0;
	return walk->visit(walk->q, &run, walk->change, err);
}

/* Compressed neighbours share a host cluster: a run goes on only where the
 * next clusters begin after its end. */
static int gather(struct walk *walk, struct run next, struct gild_error *err)
{
	struct run *run = &walk->run;

	if (!next.count)
		return 0;
	if (run->count && run->packed == next.packed &&
	    run->first + run->count == next.first) {
		run->count += next.count;
		return 0;
	}
	if (settle(walk, err) < 0)
		return -1;
	*run = next;
	return 0;
}

/* Those of a data file are not counted. */
static bool counts_data(const struct qcow2 *q)
{
	return q->data == q->image.storage;
}

static struct run clusters_of(const struct qcow2 *q, struct qcow2_entry entry)
{
	struct run run = { .packed = entry_is_compressed(entry) };

	run.count = entry_clusters(q, entry, &run.first);
	return run;
}

static int walk_table(struct walk *walk, uint64_t offset,
		      struct gild_error *err)
{
	struct qcow2 *q = walk->q;
	struct run self = { .first = offset >> q->cluster_bits, .count = 1 };

	if (!is_aligned(offset, q->cluster_size))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "an L2 table is not aligned (at %#llx)",
			    (unsigned long long)offset);
	if (storage_read_all(q->image.storage, walk->table, q->cluster_size,
			     offset, err) < 0 ||
	    gather(walk, self, err) < 0)
		return -1;
	for (uint32_t i = 0; counts_data(q) && i < q->l2_entries; i++)
		if (gather(walk, clusters_of(q, entry_load(q, walk->table, i)),
			   err) < 0)
			return -1;
	return 0;
}

static int walk_tree(struct qcow2 *q, const uint64_t *l1, uint32_t count,
		     visit_run *visit, int change, struct gild_error *err)
{
	AUTO_FREE unsigned char *table = malloc(q->cluster_size);
	struct walk walk = {
		.q = q,
		.visit = visit,
		.change = change,
		.table = table,
	};
	uint64_t offset;

	if (!table)
		return fail_nomem(err);
	for (uint32_t i = 0; i < count; i++) {
		offset = l1[i] & QCOW2_OFFSET_MASK;
		if (offset && walk_table(&walk, offset, err) < 0)
			return -1;
	}
	return settle(&walk, err);
}

/* -------------------------------------------------------------- counting -- */

static int fail_room(const struct qcow2 *q, struct gild_error *err)
{
	return fail(err, GILD_ERR_RANGE, 0,
		    "reference counts of %u bits have no room for one more "
		    "snapshot",
		    q->refcount_bits);
}

/* A tree refers to a host cluster once; to one with compressed clusters as
 * often as there are some in it, which is no more often than it is counted. */
static int check_room(struct qcow2 *q, const struct run *run, int change,
		      struct gild_error *err)
{
	uint64_t now, more;

	(void)change;
	for (uint64_t i = run->first; i < run->first + run->count; i++) {
		if (qcow2_refcount_get(q, i, &now, err) < 0)
			return -1;
		if (now == 0)
			return fail(err, GILD_ERR_CORRUPT, 0,
				    "cluster %llu is in use and counted as "
				    "free",
				    (unsigned long long)i);
		more = run->packed ? now : 1;
		if (more > q->refcount_max - now)
			return fail_room(q, err);
	}
	return 0;
}

static int count_run(struct qcow2 *q, const struct run *run, int change,
		     struct gild_error *err)
{
	return qcow2_refcount_add(q, run->first, run->count, change, err);
}

int qcow2_tree_check_room(struct qcow2 *q, const uint64_t *l1, uint32_t count,
			  struct gild_error *err)
{
	return walk_tree(q, l1, count, check_room, 0, err);
}

int qcow2_tree_count(struct qcow2 *q, const uint64_t *l1, uint32_t count,
		     int change, struct gild_error *err)
{
	return walk_tree(q, l1, count, count_run, change, err);
}

/* ---------------------------------------------------------- what is ours -- */

static int is_ours(struct qcow2 *q, uint64_t offset, bool *ours,
		   struct gild_error *err)
{
	uint64_t count;

	if (qcow2_refcount_get(q, offset >> q->cluster_bits, &count, err) < 0)
		return -1;
	*ours = count == 1;
	return 0;
}

static uint64_t with_flag(uint64_t word, bool copied)
{
	return copied ? word | QCOW2_COPIED : word & ~QCOW2_COPIED;
}

/* The flags of one L2 table; *changed: it has to be written. */
static int flag_table(struct qcow2 *q, unsigned char *table, bool *changed,
		      struct gild_error *err)
{
	struct qcow2_entry entry;
	uint64_t word;
	bool ours;

	*changed = false;
	for (uint32_t i = 0; counts_data(q) && i < q->l2_entries; i++) {
		entry = entry_load(q, table, i);
		if (entry_is_compressed(entry) || !entry_offset(entry))
			continue;
		if (is_ours(q, entry_offset(entry), &ours, err) < 0)
			return -1;
		word = with_flag(entry.word, ours);
		if (word == entry.word)
			continue;
		entry.word = word;
		entry_store(q, table, i, entry);
		*changed = true;
	}
	return 0;
}

static int flag_l1_entry(struct qcow2 *q, uint32_t index, unsigned char *table,
			 struct gild_error *err)
{
	uint64_t entry = q->l1.entries[index];
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	bool changed, ours;

	if (storage_read_all(q->image.storage, table, q->cluster_size, offset,
			     err) < 0 ||
	    flag_table(q, table, &changed, err) < 0 ||
	    is_ours(q, offset, &ours, err) < 0)
		return -1;
	if (with_flag(entry, ours) != entry)
		qcow2_table_set(&q->l1, index, with_flag(entry, ours));
	if (!changed)
		return 0;
	return storage_write(q->image.storage, table, q->cluster_size, offset,
			     err);
}

int qcow2_tree_set_copied(struct qcow2 *q, struct gild_error *err)
{
	AUTO_FREE unsigned char *table = malloc(q->cluster_size);

	if (!table)
		return fail_nomem(err);
	qcow2_cache_drop(&q->l2_cache);
	for (uint32_t i = 0; i < q->l1.count; i++)
		if (q->l1.entries[i] & QCOW2_OFFSET_MASK &&
		    flag_l1_entry(q, i, table, err) < 0)
			return -1;
	return qcow2_writeback(q, false, err);
}
