/* SPDX-License-Identifier: BSD-3-Clause */
/* Making, opening and finishing what a conversion writes to; see target.h. */
#include "jobs/target.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "jobs/base.h"
#include "util/cleanup.h"

/* -B and -F, or the same as -o backing_file=,backing_fmt=: one meaning. */
static struct gild_create_options
create_options(uint64_t size, const struct gild_convert_options *options)
{
	return (struct gild_create_options){
		.format = options->format ? options->format : "raw",
		.size = size,
		.backing = options->backing,
		.backing_format = options->backing_format,
		.options = options->options,
		.option_count = options->option_count,
		.flags = options->sync ? GILD_CREATE_SYNC : 0,
		.policy = options->policy,
	};
}

/* Does the data file of the new image hold something that stays? */
static bool keeps_data(const struct gild_convert_options *options)
{
	bool keeps = false;

	option_bool(options->options, options->option_count, "keep_data_file",
		    &keeps, NULL);
	return keeps;
}

/* Create in the storage (which is taken, also on failure) and open it. */
static struct image *create_and_open(struct storage *storage,
				     struct companion *companion,
				     const struct gild_create_options *create,
				     const struct gild_convert_options *options,
				     struct gild_error *err)
{
	struct gild_open_options open_options = {
		.format = create->format,
		.flags = GILD_OPEN_WRITE | GILD_OPEN_NO_BACKING,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = options->policy.secrets,
			    .secret_count = options->policy.secret_count },
		.key_secret = create_key_secret(create),
	};
	const struct format_ops *ops = registry_find(create->format);
	struct image *image;

	if (ops->create(storage, create, companion, err) < 0) {
		error_prefix(err, "%s: ", storage->path);
		storage_close(storage);
		return NULL;
	}
	image = image_open_made(storage, companion, &open_options, err);
	if (image && ops->configure &&
	    ops->configure(image, options->options, options->option_count,
			   err) < 0) {
		image_free(image);
		return NULL;
	}
	return image;
}

/* Before the target is touched: is it what the disk is read from? */
static int check_source(const struct source *source, const char *path,
			struct gild_error *err)
{
	AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 || !source_uses(source, fd))
		return 0;
	fail(err, GILD_ERR_INVALID, 0,
	     "%s: is the source itself, or in its backing chain", path);
	return error_hint(err, "write to another name");
}

/* The data file that is to be made counts, too. */
static int check_sources(const struct source *source,
			 const struct gild_convert_options *options,
			 struct gild_error *err)
{
	const char *name = option_get(options->options, options->option_count,
				      "data_file");
	AUTO_FREE char *path = NULL;

	if (check_source(source, options->target, err) < 0)
		return -1;
	if (!name || options->no_create)
		return 0;
	path = door_resolve(options->target, name, err);
	return path ? check_source(source, path, err) : -1;
}

static int open_base(struct target *target, const struct source *source,
		     const struct gild_convert_options *options,
		     struct gild_error *err)
{
	if (!options->backing)
		return 0;
	target->base = base_open(options, source, err);
	return target->base ? 0 : -1;
}

/* How long a stream is will be seen: until then a raw disk on a device is as
 * large as that. */
static int set_size(struct gild_create_options *create,
		    const struct newfile *file, struct storage *storage,
		    const struct source *source, struct gild_error *err)
{
	if (source->count || !file->is_device || strcmp(create->format, "raw"))
		return 0;
	return storage_size(storage, &create->size, err);
}

static int make(struct target *target, const struct source *source,
		uint64_t size, const struct gild_convert_options *options,
		struct gild_error *err)
{
	struct gild_create_options create = create_options(size, options);
	const struct gild_open_options open_options = {
		.flags = GILD_OPEN_WRITE,
		.cache = options->cache,
	};
	const struct format_ops *ops = registry_find(create.format);
	unsigned flags = options->sync ? NEWFILE_SYNC : 0;
	struct storage *storage;

	if (create_prepare(options->target, ops, &create, err) < 0 ||
	    open_base(target, source, options, err) < 0 ||
	    newfile_begin(&target->file, options->target, flags, err) < 0)
		return -1;
	target->has_file = true;
	storage = create_storage(&target->file, &create,
				 image_storage_flags(&open_options), err);
	if (!storage)
		return -1;
	if (set_size(&create, &target->file, storage, source, err) < 0) {
		storage_close(storage);
		return -1;
	}
	target->image = create_and_open(storage, &target->companion, &create,
					options, err);
	if (!target->image)
		return -1;
	target->image->unpublished = !target->file.in_place;
	/* A device holds what it held, and zeros that are decrypted are none;
	 * but unallocated clusters read as zeros wherever the image lies. */
	target->is_zero =
		!options->backing && !keeps_data(options) &&
		((!target->file.is_device && !target->image->encryption) ||
		 target->image->cluster_size);
	target->keeps_rest = target->file.is_device &&
			     !target->image->cluster_size;
	return 0;
}

static int open_existing(struct target *target, const struct source *source,
			 uint64_t size,
			 const struct gild_convert_options *options,
			 struct gild_error *err)
{
	struct gild_open_options open_options = {
		.format = options->format ? options->format : "raw",
		.flags = GILD_OPEN_WRITE,
		.cache = options->cache,
		.policy = options->policy,
	};
	struct gild_image *image;

	if (options->target_is_spec) {
		open_options.format = NULL;
		open_options.flags |= GILD_OPEN_SPEC;
		if (options->policy.guess_backing)
			open_options.flags |= GILD_OPEN_TRUST_GUESS;
	}
	image = gild_open(options->target, &open_options, err);
	target->image = image_of(image);
	if (!image)
		return -1;
	if (source_uses(source, storage_descriptor(target->image->storage)))
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: is the source itself, or in its backing chain",
			    target->image->path);
	target->is_zero = options->target_is_zero;
	target->keeps_rest = true;
	if (gild_size(image) < size)
		return fail(err, GILD_ERR_RANGE, 0,
			    "%s: is smaller (%llu bytes) than the source "
			    "(%llu)",
			    options->target,
			    (unsigned long long)gild_size(image),
			    (unsigned long long)size);
	return 0;
}

static void warn_weak(const struct target *target,
		      const struct gild_convert_options *options)
{
	const char *encryption = target->image->encryption;

	if (options->warn && encryption && !strcmp(encryption, "aes"))
		options->warn(options->opaque,
			      "the target is encrypted in qcow2's old way "
			      "(aes), which is weak");
}

int target_open(struct target *target, const struct source *source,
		uint64_t size, const struct gild_convert_options *options,
		struct gild_error *err)
{
	int ret;

	*target = (struct target){ 0 };
	if (check_sources(source, options, err) < 0)
		return -1;
	ret = options->no_create ?
		      open_existing(target, source, size, options, err) :
		      make(target, source, size, options, err);
	if (ret < 0)
		target_abandon(target);
	else
		warn_weak(target, options);
	return ret;
}

static int open_unnamed(struct gild_error *err)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	folder = folder && *folder ? folder : "/var/tmp";
	fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(err, GILD_ERR_IO, errno,
			    "making a temporary file in %s", folder);
	return fd;
}

int target_open_layout(struct target *target, const struct source *source,
		       uint64_t size,
		       const struct gild_convert_options *options,
		       struct gild_error *err)
{
	struct gild_create_options create = create_options(size, options);
	int fd = open_unnamed(err);
	struct storage *storage;

	*target = (struct target){ .is_zero = !options->backing };
	if (fd < 0)
		return -1;
	storage =
		storage_file_from_fd(fd, "standard output", STORAGE_WRITE, err);
	if (!storage)
		return -1;
	if (create_prepare(".", registry_find(create.format), &create, err) ||
	    open_base(target, source, options, err) < 0) {
		storage_close(storage);
		return -1;
	}
	target->image = create_and_open(storage, &target->companion, &create,
					options, err);
	if (!target->image) {
		image_free(target->base);
		return -1;
	}
	target->image->unpublished = true;
	target->image->skips_data = true;
	return 0;
}

int target_finish(struct target *target, struct gild_error *err)
{
	if (image_flush(target->image, true, err) < 0) {
		target_abandon(target);
		return -1;
	}
	image_free(target->image);
	image_free(target->base);
	if (!target->has_file)
		return 0;
	return create_publish(&target->file, &target->companion, err);
}

void target_abandon(struct target *target)
{
	image_free(target->image);
	image_free(target->base);
	if (target->has_file)
		create_abandon(&target->file, &target->companion);
	*target = (struct target){ 0 };
}
