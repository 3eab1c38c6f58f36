/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image names: resolved, allowed by the caller's policy (doors.c), and
 * opened: an external data file, and the files below in the chain.
 */
#include <errno.h>
#include <sys/stat.h>

#include "formats/create.h"
#include "formats/open.h"
#include "util/cleanup.h"

#define DEFAULT_MAX_DEPTH 256

static int refuse_to_lead(const struct image *image, const char *name,
			  struct gild_error *err)
{
	if (image->guessed) {
		fail(err, GILD_ERR_DENIED, 0,
		     "%s: names another file (%s), but that it is %s is only "
		     "a guess",
		     image->path, name, image->ops->name);
		return error_hint(err, "if it is, say so with -f %s",
				  image->ops->name);
	}
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: names another file (%s), which may not be opened here",
	     image->path, name);
	return error_hint(err, "this was opened as untrusted; allow it "
			       "if you know where the image comes from");
}

/* The path of a file that an image names, if its policy lets it be opened. */
static char *resolve_named(struct image *image, const char *name,
			   struct gild_error *err)
{
	AUTO_FREE char *path = NULL;

	if (image->policy.follow == GILD_FOLLOW_NONE) {
		refuse_to_lead(image, name, err);
		return NULL;
	}
	path = door_resolve(image->path, name, err);
	if (!path || door_allows(&image->policy, path, err) < 0)
		return NULL;
	return steal_ptr(path);
}

struct storage *image_open_file(struct image *image, const char *name,
				struct gild_error *err)
{
	struct gild_open_options options = {
		.flags = image->flags,
		.cache = image->cache,
	};
	AUTO_FREE char *path = resolve_named(image, name, err);
	struct storage *storage;

	if (!path)
		return NULL;
	if (image->companion && image->companion->made)
		return create_storage(&image->companion->file,
				      image_storage_flags(&options), err);
	storage = open_file(path, &options, err);
	if (!storage)
		error_prefix(err, "its data file: ");
	return storage;
}

/* *format stays NULL where it may be guessed. */
static int backing_format(const struct image *image, const char **format,
			  struct gild_error *err)
{
	*format = image->backing_format ? image->backing_format :
					  image->policy.backing_format;
	if (*format || image->flags & GILD_OPEN_TRUST_GUESS)
		return 0;
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: does not record the format of its backing file %s",
	     image->path, image->backing_name);
	return error_hint(err,
			  "say it with --backing-format FMT (this time) or "
			  "record it with rebase -u -b '%s' -F FMT '%s'",
			  image->backing_name, image->path);
}

/* Has a file been met above in this chain? Asked before it is opened, since who
 * writes the image would meet his own lock. */
static int check_loop(const struct image *top, const struct image *image,
		      const char *path, struct gild_error *err)
{
	struct file_id id;
	struct stat st;

	if (stat(path, &st))
		return 0;
	id = open_identity(&st);
	for (const struct image *i = top; i; i = i->backing) {
		if (!open_is_same(&i->id, &id))
			continue;
		fail(err, GILD_ERR_CORRUPT, 0,
		     "%s: its backing file %s leads back to %s", image->path,
		     path, i->path);
		return error_hint(err,
				  "to give it another one: rebase -u -b NEW -F "
				  "FMT '%s'", image->path);
	}
	return 0;
}

/* Who was asked for one file has to learn why another one is opened. */
static void explain_backing(const struct image *image, struct gild_error *err)
{
	error_prefix(err, "%s: its backing file: ", image->path);
	if (err && err->sys_errno == ENOENT && !err->hint[0])
		error_hint(err,
			   "where it was moved: rebase -u -b NEW -F FMT '%s'",
			   image->path);
}

static struct image *open_backing(const struct image *top, struct image *image,
				  struct gild_error *err)
{
	struct gild_open_options options = {
		.format = NULL,
		.flags = image->flags &
			 ~(unsigned)(GILD_OPEN_WRITE | GILD_OPEN_REPAIR),
		.cache = image->cache,
		.policy = image->policy,
	};
	AUTO_FREE char *path = resolve_named(image, image->backing_name, err);
	struct image *backing;

	if (!path || backing_format(image, &options.format, err) < 0 ||
	    check_loop(top, image, path, err) < 0)
		return NULL;
	backing = open_path(path, &options, err);
	if (backing)
		backing->depth = image->depth + 1;
	else
		explain_backing(image, err);
	return backing;
}

int image_open_chain(struct image *top, struct gild_error *err)
{
	unsigned max = top->policy.max_depth ? top->policy.max_depth :
					       DEFAULT_MAX_DEPTH;

	for (struct image *i = top; i->backing_name; i = i->backing) {
		if (i->depth >= max)
			return fail(err, GILD_ERR_RANGE, 0,
				    "%s: the backing chain is longer than %u",
				    top->path, max);
		i->backing = open_backing(top, i, err);
		if (!i->backing)
			return error_prefix(err, i == top ? "" :
					    "%s: in its backing chain: ",
					    top->path);
	}
	return 0;
}
