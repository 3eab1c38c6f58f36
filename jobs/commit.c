/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Committing: what the layers above a base say is written into the base, which
 * then reads as the top does. Until the top is emptied, at the very end, the
 * chain reads the same at every moment, so a stop in between loses nothing.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "jobs/copy.h"
#include "util/cleanup.h"

/* The layer whose backing file is the one at that path; or the top. */
static struct image *parent_of(struct image *top, const char *base,
			       struct gild_error *err)
{
	AUTO_CLOSE int fd = -1;
	struct storage *storage;
	struct image *layer = top;

	if (!top->backing)
		return fail_null(err, GILD_ERR_INVALID, 0,
				 "%s: has no backing file to commit to",
				 top->path);
	if (!base)
		return top;
	storage = storage_file_open(base, 0, err);
	if (!storage)
		return NULL;
	while (layer->backing &&
	       !image_same_file(layer->backing->storage, storage))
		layer = layer->backing;
	storage_close(storage);
	if (!layer->backing)
		return fail_null(err, GILD_ERR_INVALID, 0,
				 "%s: is not in the backing chain of %s", base,
				 top->path);
	return layer;
}

static int fill_base(struct image *top, struct image *base,
		     const struct gild_commit_options *options,
		     struct gild_job *job, struct gild_error *err)
{
	struct gild_image *sources[] = { (struct gild_image *)top };
	struct copy copy = {
		.find_zeros = true,
		.keeps_rest = true,
		.keep_depth = base->depth - top->depth,
		.job = job,
	};

	if (top->size > base->size && image_resize(base, top->size, err) < 0)
		return -1;
	if (source_init(&copy.source, sources, 1, err) < 0)
		return -1;
	copy_set_target(&copy, base, false, COPY_GRANULE);
	if (copy_run(&copy, copy_workers(options->workers), err) < 0)
		return -1;
	return image_flush(base, true, err);
}

int gild_commit(struct gild_image *handle,
		const struct gild_commit_options *options, struct gild_job *job,
		struct gild_error *err)
{
	struct image *top = image_of(handle), *parent, *base;

	if (!(top->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", top->path);
	parent = parent_of(top, options->base, err);
	if (!parent)
		return -1;
	base = image_make_writable(top, parent, err);
	if (!base || fill_base(top, base, options, job, err) < 0)
		return -1;
	/* Layers in between still say what they said: the top must go on
	 * covering them. */
	if (options->keep || parent != top || !top->ops->empty)
		return 0;
	if (top->ops->empty(top, err) < 0)
		return error_prefix(err, "%s: ", top->path);
	return 0;
}
