/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking, applying and deleting snapshots. Each is a change that the header
 * makes at once:
 *
 *   create  count everything once more; no cluster is ours alone any more; copy
 *           the L1 table; VM state leaves the active one | header | -
 *   apply   count the snapshot's once more; copy its L1 table | header |
 *           count what was active once less
 *   delete  - | header | count the snapshot's once less
 *
 * What comes before the header leaves leaks if it is the last thing that
 * happens. While counts go down after it, or flags contradict counts, the dirty
 * bit is set (version 3), so that whoever opens the image next puts them right.
 */
#include "formats/qcow2/snapshot/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

/* ---------------------------------------------------------------- create -- */

static char *new_id(const struct qcow2_snapshots *snapshots)
{
	unsigned long highest = 0, id;

	for (uint32_t i = 0; i < snapshots->count; i++) {
		id = strtoul(snapshots->list[i].about.id, NULL, 10);
		highest = id > highest ? id : highest;
	}
	return memory_printf("%lu", highest + 1);
}

static int append(struct qcow2_snapshots *snapshots,
		  const struct qcow2_snapshot *snapshot, struct gild_error *err)
{
	struct qcow2_snapshot *list;

	if (snapshots->count >= QCOW2_MAX_SNAPSHOTS)
		return fail(err, GILD_ERR_RANGE, 0, "too many snapshots (%u)",
			    snapshots->count);
	list = realloc(snapshots->list,
		       (snapshots->count + 1ULL) * sizeof(*list));
	if (!list)
		return fail_nomem(err);
	snapshots->list = list;
	list[snapshots->count++] = *snapshot;
	return 0;
}

static int describe(struct qcow2 *q, const struct qcow2_snapshots *snapshots,
		    const struct gild_snapshot *wanted,
		    struct qcow2_snapshot *snapshot, struct gild_error *err)
{
	*snapshot = (struct qcow2_snapshot){
		.about = *wanted,
		.l1_entries = q->l1.count,
	};
	if (!wanted->disk_size)
		snapshot->about.disk_size = q->image.size;
	snapshot->about.id = wanted->id ? strdup(wanted->id) :
					  new_id(snapshots);
	snapshot->about.name = strdup(wanted->name);
	if (!snapshot->about.id || !snapshot->about.name) {
		qcow2_snapshot_free(snapshot);
		return fail_nomem(err);
	}
	return 0;
}

/* Which of the active L1 entries the snapshot shares. VM state is its alone. */
static uint32_t shared_entries(const struct qcow2 *q,
			       const struct qcow2_snapshot *snapshot)
{
	uint64_t entries = qcow2_disk_entries(q, snapshot->about.disk_size);

	if (!snapshot->about.vm_state_size)
		return q->l1.count;
	return (uint32_t)min_u64(q->l1.count, entries);
}

/* Counts up, flags off, and a copy of the L1 table: the order matters, since
 * from the flags on nobody may write in place. What the snapshot does not share
 * the active table loses: if the header never leads to the copy, it leaks. */
static int share_active(struct qcow2 *q, struct qcow2_snapshot *snapshot,
			struct gild_error *err)
{
	uint32_t shared = shared_entries(q, snapshot);

	if (qcow2_tree_count(q, q->l1.entries, shared, 1, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0 ||
	    qcow2_tree_set_copied(q, err) < 0 ||
	    qcow2_tree_copy_l1(q, q->l1.entries, q->l1.count,
			       &snapshot->l1_offset, err) < 0)
		return -1;
	for (uint32_t i = shared; i < q->l1.count; i++)
		if (q->l1.entries[i])
			qcow2_table_set(&q->l1, i, 0);
	return 0;
}

/* Counts of two and the flags of one are about to contradict each other. */
static int mark(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_header header = q->header;

	qcow2_tree_mark(q, &header);
	if (header.incompatible == q->header.incompatible)
		return 0;
	return qcow2_switch_header(q, &header, err);
}

/* What is refused leaves no mark. Where the snapshot was expected room was left
 * for it, more exactly than this can tell. */
static int check_room(struct qcow2 *q, const struct qcow2_snapshot *snapshot,
		      struct gild_error *err)
{
	if (q->image.coming_snapshots)
		return 0;
	return qcow2_tree_check_room(q, q->l1.entries,
				     shared_entries(q, snapshot), err);
}

/* Share it, and add it to the list; *snapshot is the list's then. */
static int add(struct qcow2 *q, struct qcow2_snapshots *snapshots,
	       struct qcow2_snapshot *snapshot, struct gild_error *err)
{
	if (check_room(q, snapshot, err) < 0 || mark(q, err) < 0 ||
	    share_active(q, snapshot, err) < 0)
		return -1;
	return append(snapshots, snapshot, err);
}

static int create(struct qcow2 *q, struct qcow2_snapshots *snapshots,
		  const struct gild_snapshot *wanted, struct gild_error *err)
{
	struct qcow2_snapshot snapshot;
	struct qcow2_header header;

	if (qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0 ||
	    describe(q, snapshots, wanted, &snapshot, err) < 0)
		return -1;
	if (add(q, snapshots, &snapshot, err) < 0) {
		qcow2_snapshot_free(&snapshot);
		return -1;
	}
	header = q->header;
	/* Lazy refcounts keep the mark until the image is closed. */
	if (!q->marked_dirty)
		header.incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	return qcow2_snapshots_switch(q, &header, snapshots, err);
}

/* ----------------------------------------------------------------- apply -- */

/* What differs between the two disks is not known. */
static int check_bitmaps(const struct qcow2 *q, struct gild_error *err)
{
	if (!qcow2_bitmaps_exist(q))
		return 0;
	fail(err, GILD_ERR_UNSUPPORTED, 0,
	     "the image has bitmaps, which would not tell what changes");
	return error_hint(err, "remove them before (gild bitmap --remove)");
}

/* The snapshot's L1 table, with room for a disk of that size: some are shorter,
 * and what is beyond them is not allocated. */
static uint64_t *read_l1_for(struct qcow2 *q,
			     const struct qcow2_snapshot *snapshot,
			     uint64_t size, uint32_t *entries,
			     struct gild_error *err)
{
	uint64_t need = qcow2_disk_entries(q, size), *l1, *longer;

	if (need > QCOW2_MAX_L1_BYTES / 8)
		return fail_null(err, GILD_ERR_CORRUPT, 0,
				 "the disk of a snapshot cannot have %ju bytes",
				 (uintmax_t)size);
	l1 = qcow2_tree_read_l1(q, snapshot->l1_offset, snapshot->l1_entries,
				err);
	*entries = snapshot->l1_entries;
	if (!l1 || need <= *entries)
		return l1;
	longer = realloc(l1, need * 8);
	if (!longer) {
		free(l1);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	memset(longer + *entries, 0, (need - *entries) * 8);
	*entries = (uint32_t)need;
	return longer;
}

static int apply(struct qcow2 *q, const struct qcow2_snapshot *snapshot,
		 struct gild_error *err)
{
	uint64_t size = snapshot->about.disk_size ? snapshot->about.disk_size :
						    q->image.size;
	uint32_t entries;
	AUTO_FREE uint64_t *l1 = read_l1_for(q, snapshot, size, &entries, err);

	if (!l1 || qcow2_begin_metadata(q, err) < 0 ||
	    check_bitmaps(q, err) < 0 || qcow2_begin_changes(q, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0 ||
	    qcow2_tree_check_room(q, l1, entries, err) < 0 ||
	    qcow2_tree_count(q, l1, entries, 1, err) < 0)
		return -1;
	return qcow2_tree_switch(q, l1, entries, size, err);
}

/* ---------------------------------------------------------------- delete -- */

static int delete (struct qcow2 *q, struct qcow2_snapshots *snapshots,
		   uint32_t index, struct gild_error *err)
{
	struct qcow2_snapshot gone = snapshots->list[index];
	AUTO_FREE uint64_t *l1 =
		qcow2_tree_read_l1(q, gone.l1_offset, gone.l1_entries, err);
	struct qcow2_header header;
	int ret;

	if (!l1 || qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0)
		return -1;
	header = q->header;
	qcow2_tree_mark(q, &header);
	memmove(&snapshots->list[index], &snapshots->list[index + 1],
		(snapshots->count - index - 1ULL) * sizeof(gone));
	snapshots->count--;
	ret = qcow2_snapshots_switch(q, &header, snapshots, err);
	if (!ret)
		ret = qcow2_tree_drop(q, l1, gone.l1_entries, gone.l1_offset,
				      err);
	qcow2_snapshot_free(&gone);
	return ret;
}

/* ---------------------------------------------------------- the driver's -- */

static int find(const struct qcow2_snapshots *snapshots, const char *name,
		uint32_t *index, struct gild_error *err)
{
	long found = qcow2_snapshots_find(snapshots, name);

	if (found < 0) {
		fail(err, GILD_ERR_INVALID, 0, "there is no snapshot \"%s\"",
		     name);
		return error_hint(err,
				  "snapshot -l lists those that are there");
	}
	*index = (uint32_t)found;
	return 0;
}

static int change(struct qcow2 *q, enum snapshot_change what,
		  const struct gild_snapshot *wanted, struct gild_error *err)
{
	struct qcow2_snapshots snapshots;
	uint32_t index = 0;
	int ret;

	if (q->data != q->image.storage)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an image with a data file has no snapshots");
	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	if (what == SNAPSHOT_CREATE)
		ret = create(q, &snapshots, wanted, err);
	else if (find(&snapshots, wanted->name, &index, err) < 0)
		ret = -1;
	else if (what == SNAPSHOT_APPLY)
		ret = apply(q, &snapshots.list[index], err);
	else
		ret = delete (q, &snapshots, index, err);
	qcow2_snapshots_free(&snapshots);
	return ret;
}

int qcow2_snapshot_change(struct image *image, enum snapshot_change what,
			  const struct gild_snapshot *wanted,
			  struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = change(q, what, wanted, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

int qcow2_snapshot_load(struct qcow2 *q, const char *name,
			struct gild_error *err)
{
	const struct qcow2_snapshot *snapshot;
	struct qcow2_snapshots snapshots;
	uint32_t index = 0;
	int ret;

	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	ret = find(&snapshots, name, &index, err);
	if (!ret)
		ret = qcow2_snapshot_check(q, &snapshots.list[index], err);
	if (!ret) {
		snapshot = &snapshots.list[index];
		ret = qcow2_table_read(q, &q->l1, snapshot->l1_offset,
				       snapshot->l1_entries, err);
		if (!ret && snapshot->about.disk_size)
			q->image.size = snapshot->about.disk_size;
	}
	qcow2_snapshots_free(&snapshots);
	return ret;
}
