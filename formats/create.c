/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making an empty image: the format writes it into a file that nobody can see
 * yet (storage/newfile.h), which then gets its name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/create.h"
#include "storage/file-hints.h"
#include "storage/nbd.h"
#include "util/cleanup.h"

const char *create_key_secret(const struct gild_create_options *options)
{
	const char *id = option_get(options->options, options->option_count,
				    "encrypt.key-secret");

	return id ? id :
		    option_get(options->options, options->option_count,
			       "key-secret");
}

/* What the options wish of the file system. */
static int read_hints(const struct gild_create_options *create,
		      struct file_hints *hints, struct gild_error *err)
{
	const struct gild_option *options = create->options;
	size_t count = create->option_count;
	uint64_t bytes = 0;

	*hints = (struct file_hints){
		.has_extent_size =
			option_get(options, count, "extent_size_hint"),
	};
	if (option_bool(options, count, "nocow", &hints->no_cow, err) < 0 ||
	    option_size(options, count, "extent_size_hint", &bytes, err) < 0)
		return -1;
	if (bytes > UINT32_MAX)
		return fail(err, GILD_ERR_RANGE, 0,
			    "option \"extent_size_hint\" is too large");
	hints->extent_size = (uint32_t)bytes;
	return 0;
}

static int give_hints(const struct newfile *file,
		      const struct gild_create_options *create,
		      struct gild_error *err)
{
	struct file_hints hints;

	if (!create || file->is_device)
		return 0;
	if (read_hints(create, &hints, err) < 0)
		return -1;
	file_hints_give(file->fd, &hints);
	return 0;
}

struct storage *create_storage(const struct newfile *file,
			       const struct gild_create_options *create,
			       unsigned flags, struct gild_error *err)
{
	int fd;

	if (file->served)
		return storage_nbd_open(file->path, flags, err);
	if (give_hints(file, create, err) < 0)
		return NULL;
	fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return fail_null(err, GILD_ERR_IO, errno,
				 "%s: duplicating "
				 "its descriptor",
				 file->path);
	return storage_file_from_fd(fd, file->path, flags, err);
}

static int fail_backing(const char *path, struct gild_error *err)
{
	error_prefix(err, "%s: its backing file: ", path);
	if (err && err->sys_errno == ENOENT && !err->hint[0])
		error_hint(err, "names are relative to the new file; gild "
				"create -u records one that is not there yet");
	return -1;
}

/* Where nothing is opened. */
static int check_unopened(const char *path, const char *backing,
			  struct gild_error *err)
{
	AUTO_FREE char *resolved = door_resolve(path, backing, NULL);

	return resolved ? image_check_self(path, resolved, err) : 0;
}

/* The size, where it is the backing file's to give; and is that there? */
static int ask_backing(const char *path, struct gild_create_options *options,
		       struct gild_error *err)
{
	struct image *backing;
	int ret;

	if (!options->backing)
		return 0;
	if (options->flags & GILD_CREATE_UNCHECKED)
		return check_unopened(path, options->backing, err);
	backing = image_probe(path, options->backing, options->backing_format,
			      &options->policy, err);
	if (!backing)
		return fail_backing(path, err);
	if (options->size == GILD_SIZE_FROM_BACKING)
		options->size = backing->size;
	ret = image_check_chain(path, backing, err);
	image_free(backing);
	return ret;
}

static int check_options(const struct format_ops *ops,
			 const struct gild_create_options *options,
			 struct gild_error *err)
{
	struct file_hints hints;

	if (!ops->create)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "images of format %s cannot be made", ops->name);
	if (options->backing && !options->backing_format) {
		fail(err, GILD_ERR_INVALID, 0,
		     "backing file %s needs its format named",
		     options->backing);
		return error_hint(err, "name it with -F qcow2 or -F raw");
	}
	if (options->backing_format &&
	    !registry_want(options->backing_format, err))
		return error_prefix(err, "backing file: ");
	if (option_check(ops->create_help, options->options,
			 options->option_count, err) < 0)
		return -1;
	return read_hints(options, &hints, err);
}

int create_prepare(const char *path, const struct format_ops *ops,
		   struct gild_create_options *options, struct gild_error *err)
{
	if (check_options(ops, options, err) < 0 ||
	    ask_backing(path, options, err) < 0)
		return -1;
	if (options->size == GILD_SIZE_FROM_BACKING)
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: an image needs a size", path);
	return 0;
}

static int create_in(const struct newfile *file, const struct format_ops *ops,
		     const struct gild_create_options *options,
		     struct companion *companion, struct gild_error *err)
{
	struct storage *storage =
		create_storage(file, options, STORAGE_WRITE, err);
	int ret;

	if (!storage)
		return -1;
	ret = ops->create(storage, options, companion, err);
	if (ret == 0 && file->served)
		ret = storage_flush(storage, err);
	storage_close(storage);
	return ret;
}

void create_abandon(struct newfile *file, struct companion *companion)
{
	if (companion->made)
		newfile_abandon(&companion->file);
	newfile_abandon(file);
}

/* Before the image, which is of no use without it. */
static int publish_companion(struct companion *companion,
			     struct gild_error *err)
{
	return companion->made ? newfile_publish(&companion->file, err) : 0;
}

int create_publish(struct newfile *file, struct companion *companion,
		   struct gild_error *err)
{
	bool fresh = companion->made && !companion->file.replaces &&
		     !companion->file.in_place;
	AUTO_FREE char *path = fresh ? strdup(companion->file.path) : NULL;

	if ((fresh && !path && fail_nomem(err) < 0)) {
		create_abandon(file, companion);
		return -1;
	}
	if (publish_companion(companion, err) < 0) {
		newfile_abandon(file);
		return -1;
	}
	if (newfile_publish(file, err) == 0)
		return 0;
	if (path)
		newfile_unpublish(path);
	return -1;
}

int gild_create(const char *path, const struct gild_create_options *given,
		struct gild_error *err)
{
	struct gild_create_options options = *given;
	struct companion companion = { .made = false };
	const struct format_ops *ops;
	struct newfile file;
	unsigned flags = 0;

	ops = registry_want(options.format, err);
	if (!ops)
		return -1;
	if (options.flags & GILD_CREATE_NEW_ONLY)
		flags |= NEWFILE_NEW_ONLY;
	if (options.flags & GILD_CREATE_SYNC)
		flags |= NEWFILE_SYNC;
	if (create_prepare(path, ops, &options, err) < 0 ||
	    newfile_begin(&file, path, flags, err) < 0)
		return -1;
	if (create_in(&file, ops, &options, &companion, err) < 0) {
		create_abandon(&file, &companion);
		return error_prefix(err, "%s: ", path);
	}
	return create_publish(&file, &companion, err);
}
