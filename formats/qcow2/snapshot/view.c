/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A snapshot's disk, or the VM state saved with it, as an image of its own:
 * lookups go through the snapshot's L1 table, all else is the image's.
 *
 * VM state lies behind the disk, from the first L1 entry on that the disk does
 * not need. No backing file has anything to say there. Specification:
 * "Snapshots".
 */
#include <stdlib.h>

#include "formats/qcow2/snapshot/snapshot.h"
#include "util/bytes.h"
#include "util/memory.h"

struct view {
	struct image image; /* first */
	struct qcow2 *of;
	struct qcow2_root root;
	uint64_t start; /* where its first byte is on the disk */
	uint64_t vm_state_size;
};

static struct view *view_of(struct image *image)
{
	return (struct view *)image;
}

static int view_map(struct image *image, uint64_t offset, uint64_t length,
		    struct extent *extent, struct gild_error *err)
{
	struct view *view = view_of(image);

	if (qcow2_map_root(view->of, &view->root, view->start + offset, length,
			   extent, err) < 0)
		return -1;
	/* They begin within the view, as it begins with a table. */
	if (extent->kind == EXTENT_COMPRESSED)
		extent->unit_start -= view->start;
	extent->writable = false;
	return 0;
}

static int view_read_compressed(struct image *image,
				const struct extent *extent, uint64_t offset,
				void *buffer, size_t length,
				struct gild_error *err)
{
	return qcow2_read_compressed(&view_of(image)->of->image, extent, offset,
				     buffer, length, err);
}

static const struct format_ops view_format = {
	.name = "qcow2",
	.struct_size = sizeof(struct view),
	.map = view_map,
	.read_compressed = view_read_compressed,
	.snapshots = &qcow2_snapshot_ops,
};

struct qcow2 *qcow2_view_tree(struct image *image,
			      const struct qcow2_root **root)
{
	*root = NULL;
	if (image->ops != &view_format)
		return qcow2_of(image);
	*root = &view_of(image)->root;
	return view_of(image)->of;
}

struct image *qcow2_view(struct image *image, size_t index,
			 struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_snapshot snapshot;
	struct image *made;
	uint64_t size;
	char *name;

	if (qcow2_snapshot_get(q, index, &snapshot, err) < 0)
		return NULL;
	size = snapshot.about.disk_size;
	name = memory_printf("%s (snapshot %s)", image->path,
			     snapshot.about.name);
	made = image_new_view(image, &view_format, size ? size : image->size,
			      name, err);
	if (made) {
		view_of(made)->of = q;
		view_of(made)->root = (struct qcow2_root){
			.offset = snapshot.l1_offset,
			.entries = snapshot.l1_entries,
		};
		view_of(made)->vm_state_size = snapshot.about.vm_state_size;
	}
	qcow2_snapshot_free(&snapshot);
	return made;
}

uint64_t qcow2_vm_state_place(const struct image *image, uint64_t size)
{
	const struct qcow2 *q = (const struct qcow2 *)image;

	return qcow2_disk_entries(q, size) * q->l2_entries << q->cluster_bits;
}

static int check_reach(const struct view *view, uint64_t start,
		       struct gild_error *err)
{
	const struct qcow2 *q = view->of;
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits;
	uint64_t entries = start / reach;

	if (entries <= view->root.entries &&
	    view->vm_state_size <= (view->root.entries - entries) * reach)
		return 0;
	return fail(err, GILD_ERR_CORRUPT, 0,
		    "%s: the VM state (%llu bytes) does not fit into the L1 "
		    "table",
		    view->image.path, (unsigned long long)view->vm_state_size);
}

struct image *qcow2_view_vm_state(struct image *image, struct gild_error *err)
{
	const struct view *view = view_of(image);
	uint64_t start = qcow2_vm_state_place(&view->of->image, image->size);
	struct image *made;

	if (check_reach(view, start, err) < 0)
		return NULL;
	made = image_new_view(image, &view_format, view->vm_state_size,
			      memory_printf("%s, its VM state", image->path),
			      err);
	if (!made)
		return NULL;
	free(made->backing_name);
	made->backing_name = NULL;
	made->backing = NULL;
	view_of(made)->of = view->of;
	view_of(made)->root = view->root;
	view_of(made)->start = start;
	view_of(made)->vm_state_size = view->vm_state_size;
	return made;
}
