/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Internal snapshots: a snapshot is a copy of the L1 table; the L2 tables and
 * clusters below it are shared, and counted once for each table that leads to
 * them. Specification: "Snapshots".
 */
#ifndef QCOW2_SNAPSHOT_H
#define QCOW2_SNAPSHOT_H

#include "formats/qcow2/qcow2.h"

/* An entry of the snapshot table, decoded. */
struct qcow2_snapshot {
	struct gild_snapshot about; /* strings owned */
	uint64_t l1_offset;
	uint32_t l1_entries;
	unsigned char *extra; /* owned: all extra data as it stands */
	uint32_t extra_length;
};

struct qcow2_snapshots {
	struct qcow2_snapshot *list; /* owned */
	uint32_t count;
	uint64_t bytes; /* of the table on the disk */
};

/* --- table.c -------------------------------------------------------------- */

/* Read the table. On failure nothing is left to free. */
int qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *snapshots,
			 struct gild_error *err);
void qcow2_snapshots_free(struct qcow2_snapshots *snapshots);
void qcow2_snapshot_free(struct qcow2_snapshot *snapshot);

/* The one of that id, else of that name; its index, or -1. */
long qcow2_snapshots_find(const struct qcow2_snapshots *snapshots,
			  const char *id_or_name);

/* The one at this place, which the caller frees: its L1 table is of a possible
 * size, aligned and within the file, its disk not too large. */
int qcow2_snapshot_get(struct qcow2 *q, size_t index,
		       struct qcow2_snapshot *snapshot, struct gild_error *err);
int qcow2_snapshot_check(struct qcow2 *q, const struct qcow2_snapshot *snapshot,
			 struct gild_error *err);

/* Write a table for these at a new place, and switch the header, which may
 * carry other changes, to it. The old table is given back. Lock held
 * exclusively, everything written back before. */
int qcow2_snapshots_switch(struct qcow2 *q, struct qcow2_header *header,
			   struct qcow2_snapshots *snapshots,
			   struct gild_error *err);

/* --- snapshot.c: see struct format_ops ------------------------------------ */

int qcow2_snapshot_change(struct image *image, enum snapshot_change what,
			  const struct gild_snapshot *wanted,
			  struct gild_error *err);

/* For opening: the snapshot's L1 table and size take the active ones' place. */
int qcow2_snapshot_load(struct qcow2 *q, const char *name,
			struct gild_error *err);

/* --- view.c, same.c, adopt.c, carry.c: see struct snapshot_ops ------------ */

extern const struct snapshot_ops qcow2_snapshot_ops;

struct image *qcow2_view(struct image *image, size_t index,
			 struct gild_error *err);
struct image *qcow2_view_vm_state(struct image *view, struct gild_error *err);
uint64_t qcow2_vm_state_place(const struct image *image, uint64_t size);
/* Of a view or an image: the image, and the L1 table (NULL: the active). */
struct qcow2 *qcow2_view_tree(struct image *image,
			      const struct qcow2_root **root);
int qcow2_same(struct image *a, struct image *b, uint64_t offset,
	       uint64_t length, bool *same, uint64_t *run,
	       struct gild_error *err);
int qcow2_adopt(struct image *image, struct image *from, uint64_t offset,
		uint64_t length, struct gild_error *err);

/* L1 entries that the disk of that size has; VM state is behind them. */
static inline uint64_t qcow2_disk_entries(const struct qcow2 *q, uint64_t size)
{
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits;

	return size / reach + (size % reach != 0);
}

/* --- tree.c: everything below an L1 table; lock held exclusively ---------- */

/* Is there room to count all below these L1 entries once more? */
int qcow2_tree_check_room(struct qcow2 *q, const uint64_t *l1, uint32_t count,
			  struct gild_error *err);

/* Count each L2 table and cluster below these L1 entries once more (change 1)
 * or less (-1). What fails leaks. */
int qcow2_tree_count(struct qcow2 *q, const uint64_t *l1, uint32_t count,
		     int change, struct gild_error *err);

/* Set every "copied" flag of the active tables as the counts say. */
int qcow2_tree_set_copied(struct qcow2 *q, struct gild_error *err);

/* Read an L1 table into memory in host order; caller frees. */
uint64_t *qcow2_tree_read_l1(struct qcow2 *q, uint64_t offset, uint32_t count,
			     struct gild_error *err);

/* --- tree-switch.c; lock held exclusively, everything written back before - */

/* A copy of an L1 table at a new place, without "copied" flags. */
int qcow2_tree_copy_l1(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		       uint64_t *offset, struct gild_error *err);

/* Set the mark for the time in which counts are too high. */
void qcow2_tree_mark(const struct qcow2 *q, struct qcow2_header *header);

/* Everything below an L1 table that nothing leads to any more, and the table's
 * own clusters, once less; then the mark goes. */
int qcow2_tree_drop(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		    uint64_t offset, struct gild_error *err);

/* A copy of l1, whose clusters are counted for it already, becomes the active
 * table of a disk of size bytes; what was active is given back. */
int qcow2_tree_switch(struct qcow2 *q, const uint64_t *l1, uint32_t entries,
		      uint64_t size, struct gild_error *err);

#endif
