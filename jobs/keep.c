/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying an image with its snapshots, tree by tree: the snapshots in their
 * order, then the active disk. For each the target's disk, which is as the tree
 * before left it,
 *
 *     gets the tree's size
 *     gets what is not the same as in that tree         copy.c, past.c
 *     is followed by the VM state, at the target's place for that    copy.c
 *     is made a snapshot of, which takes the VM state
 *
 * So what trees share is stored once, and the target is a function of the
 * source alone. Nobody sees the file before all of it is there.
 */
#include "jobs/keep.h"

#include <stdlib.h>

#include "formats/shortcuts.h"
#include "jobs/base.h"
#include "jobs/bitmaps.h"
#include "jobs/past.h"
#include "util/bytes.h"

#define SECTOR 512U

struct keep {
	const struct copy *copy; /* what all copies have in common */
	const struct gild_convert_options *options;
	uint64_t granule;
	struct image *source;
	struct gild_info *info;
	struct image **trees; /* count views, and the source itself */
	struct image **taken; /* views of the target's */
	size_t count;
	struct target target;
};

/* ---------------------------------------------------------------- copies -- */

static int run_copy(const struct keep *keep, struct copy *copy,
		    struct image *from, struct gild_error *err)
{
	struct gild_image *handle = (struct gild_image *)from;

	if (source_init(&copy->source, &handle, 1, err) < 0)
		return -1;
	copy->is_part = true;
	copy_set_target(copy, keep->target.image, keep->options->compress,
			keep->granule);
	return copy_run(copy, copy_workers(keep->options->workers), err);
}

static int copy_disk(const struct keep *keep, size_t index,
		     struct gild_error *err)
{
	const struct past past = {
		.trees = keep->trees,
		.taken = keep->taken,
		.count = index,
	};
	struct copy copy = *keep->copy;

	base_set(&copy, &keep->target);
	if (index) {
		copy.past = &past;
		copy.target_is_zero = false;
	}
	return run_copy(keep, &copy, keep->trees[index], err);
}

/* -------------------------------------------------------------- VM state -- */

static int set_size(struct image *target, uint64_t size, struct gild_error *err)
{
	size = round_up(size, SECTOR);
	if (size == target->size)
		return 0;
	if (target->ops->resize(target, size, err) < 0)
		return error_prefix(err, "%s: ", target->path);
	return 0;
}

/* The disk is longer for a while, so that its place is a part of it. */
static int copy_vm_state(const struct keep *keep, size_t index,
			 struct gild_error *err)
{
	uint64_t size = keep->info->snapshots[index].vm_state_size;
	struct image *target = keep->target.image, *view = keep->trees[index];
	struct copy copy = *keep->copy;
	int ret;

	if (!size)
		return 0;
	copy.shift =
		target->ops->snapshots->vm_state_place(target, target->size);
	copy.target_is_zero = keep->target.is_zero;
	view = view->ops->snapshots->view_vm_state(view, err);
	if (!view)
		return -1;
	ret = set_size(target, copy.shift + size, err);
	if (!ret)
		ret = run_copy(keep, &copy, view, err);
	image_free(view);
	return ret;
}

/* ----------------------------------------------------------------- trees -- */

static int take_snapshot(const struct keep *keep, size_t index, uint64_t size,
			 struct gild_error *err)
{
	struct gild_snapshot wanted = keep->info->snapshots[index];
	struct image *target = keep->target.image;

	wanted.disk_size = size;
	if (target->ops->snapshot(target, SNAPSHOT_CREATE, &wanted, err) < 0)
		return error_prefix(err, "%s: ", target->path);
	keep->taken[index] = target->ops->snapshots->view(target, index, err);
	return keep->taken[index] ? 0 : -1;
}

static int carry_tree(const struct keep *keep, size_t index,
		      struct gild_error *err)
{
	struct image *target = keep->target.image;
	uint64_t size = round_up(keep->trees[index]->size, SECTOR);

	if (set_size(target, size, err) < 0 || copy_disk(keep, index, err) < 0)
		return -1;
	if (index == keep->count)
		return 0;
	if (copy_vm_state(keep, index, err) < 0 ||
	    take_snapshot(keep, index, size, err) < 0)
		return -1;
	return set_size(target, size, err);
}

/* ------------------------------------------------------------------- all -- */

int keep_count(struct image *image, size_t *count, struct gild_error *err)
{
	struct gild_info *info = gild_info((struct gild_image *)image, err);

	if (!info)
		return -1;
	*count = info->snapshot_count;
	gild_info_free(info);
	return 0;
}

static int open_trees(struct keep *keep, struct gild_error *err)
{
	uint64_t total = keep->source->size;

	keep->trees = calloc(keep->count + 1, sizeof(struct image *));
	keep->taken = calloc(keep->count, sizeof(struct image *));
	if (!keep->trees || !keep->taken)
		return fail_nomem(err);
	for (size_t i = 0; i < keep->count; i++) {
		keep->trees[i] = keep->source->ops->snapshots->view(
			keep->source, i, err);
		if (!keep->trees[i])
			return error_prefix(err, "%s: ", keep->source->path);
		total += keep->trees[i]->size +
			 keep->info->snapshots[i].vm_state_size;
	}
	keep->trees[keep->count] = keep->source;
	job_total(keep->copy->job, total);
	return 0;
}

static bool is_resized(const struct keep *keep)
{
	for (size_t i = 0; i < keep->count; i++)
		if (keep->trees[i]->size != keep->source->size)
			return true;
	return false;
}

static int open_target(struct keep *keep, struct gild_error *err)
{
	const struct gild_convert_options *options = keep->options;
	const struct format_ops *ops = registry_find(options->format);

	if (ops->snapshots->check_room(options->options, options->option_count,
				       keep->count, is_resized(keep),
				       err) < 0 ||
	    target_open(&keep->target, &keep->copy->source,
			keep->trees[0]->size, options, err) < 0)
		return -1;
	keep->target.image->coming_snapshots = keep->count;
	return 0;
}

static int carry_all(struct keep *keep, struct gild_error *err)
{
	const struct source *source = &keep->copy->source;
	struct image *target = keep->target.image;

	if (bitmaps_check_target(source, target, keep->options, err) < 0)
		return -1;
	for (size_t i = 0; i <= keep->count; i++) {
		if (carry_tree(keep, i, err) < 0)
			return -1;
		/* From now on only its tables are compared. */
		shortcuts_free(
			atomic_exchange(&keep->trees[i]->shortcuts, NULL));
	}
	return bitmaps_copy(source, target, keep->options, err);
}

static void free_views(struct keep *keep)
{
	for (size_t i = 0; i < keep->count; i++) {
		if (keep->trees)
			image_free(keep->trees[i]);
		if (keep->taken)
			image_free(keep->taken[i]);
	}
	free(keep->trees);
	free(keep->taken);
	gild_info_free(keep->info);
}

int keep_run(const struct copy *copy,
	     const struct gild_convert_options *options, uint64_t granule,
	     struct gild_error *err)
{
	struct keep keep = {
		.copy = copy,
		.options = options,
		.granule = granule,
		.source = image_of(options->sources[0]),
	};
	int ret = -1;

	keep.info = gild_info(options->sources[0], err);
	if (!keep.info)
		return -1;
	keep.count = keep.info->snapshot_count;
	if (!open_trees(&keep, err) && !open_target(&keep, err))
		ret = carry_all(&keep, err);
	free_views(&keep);
	if (ret)
		target_abandon(&keep.target);
	else
		ret = target_finish(&keep.target, err);
	return ret;
}
