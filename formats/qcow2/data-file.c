/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The external data file of a fresh image: its companion, which gets its name
 * when the image does, so that a failure on the way leaves what stood there.
 * It must be neither the image nor its backing file: those would be lost.
 */
#include "formats/qcow2/data-file.h"

#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "formats/create.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

int qcow2_reserve(struct storage *storage, uint64_t offset, uint64_t end,
		  enum qcow2_prealloc how, struct gild_error *err)
{
	uint64_t size;

	if (how == QCOW2_PREALLOC_FULL)
		return storage_write_zeros(storage, offset, end - offset, err);
	if (storage_size(storage, &size, err) < 0)
		return -1;
	/* A device, or a file that was there: its bytes are not zeros. */
	if (offset < size &&
	    storage_zero(storage, offset, min_u64(size, end) - offset,
			 how == QCOW2_PREALLOC_FALLOC, err) < 0)
		return -1;
	if (end <= size)
		return 0;
	return storage_truncate(storage, end, how == QCOW2_PREALLOC_FALLOC,
				err);
}

/* Do two paths lead to one file, or would they, if it were there? */
static bool is_same(const char *a, const char *b)
{
	AUTO_FREE char *copy_a = strdup(a), *copy_b = strdup(b);
	AUTO_FREE char *name_a = strdup(a), *name_b = strdup(b);
	struct stat one, other;
	int found = (stat(a, &one) == 0) + (stat(b, &other) == 0);

	if (found == 1 || !copy_a || !copy_b || !name_a || !name_b)
		return false;
	if (found == 0 && (strcmp(basename(name_a), basename(name_b)) != 0 ||
			   stat(dirname(copy_a), &one) < 0 ||
			   stat(dirname(copy_b), &other) < 0))
		return false;
	return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static int check_names(const char *path, const char *image_path,
		       const struct gild_create_options *create,
		       struct gild_error *err)
{
	AUTO_FREE char *backing = NULL;

	if (is_same(path, image_path))
		return fail(err, GILD_ERR_INVALID, 0,
			    "the image cannot be its own data file");
	if (!create->backing)
		return 0;
	backing = door_resolve(image_path, create->backing, NULL);
	if (backing && is_same(path, backing))
		return fail(
			err, GILD_ERR_INVALID, 0,
			"%s is the backing file, and would be overwritten as data file",
			path);
	return 0;
}

static unsigned newfile_flags(const struct gild_create_options *create,
			      const struct qcow2_options *options)
{
	if (options->keep_data_file)
		return NEWFILE_KEEP |
		       (create->flags & GILD_CREATE_SYNC ? NEWFILE_SYNC : 0);
	return (create->flags & GILD_CREATE_NEW_ONLY ? NEWFILE_NEW_ONLY : 0) |
	       (create->flags & GILD_CREATE_SYNC ? NEWFILE_SYNC : 0);
}

/* What no table entry points to needs no zeros: a device is left as it is. */
static bool may_hold_anything(const struct qcow2_options *options)
{
	return options->preallocation == QCOW2_PREALLOC_OFF &&
	       !options->data_file_raw;
}

/* The bytes stay; where there are less than the disk has, zeros follow. */
static int lengthen(struct storage *storage, uint64_t size,
		    struct gild_error *err)
{
	uint64_t old;

	if (storage_size(storage, &old, err) < 0)
		return -1;
	return old < size ? storage_truncate(storage, size, false, err) : 0;
}

static int fill_storage(struct storage *storage, const struct newfile *file,
			const struct qcow2_options *options, uint64_t size,
			struct gild_error *err)
{
	if (options->keep_data_file)
		return lengthen(storage, size, err);
	if (file->is_device && may_hold_anything(options))
		return storage_truncate(storage, size, false, err);
	if (file->in_place && !file->is_device &&
	    storage_truncate(storage, 0, false, err) < 0)
		return -1;
	return qcow2_reserve(storage, 0, size, options->preallocation, err);
}

static int fill(const struct newfile *file,
		const struct gild_create_options *create,
		const struct qcow2_options *options, uint64_t size,
		struct gild_error *err)
{
	struct storage *storage =
		create_storage(file, create, STORAGE_WRITE, err);
	int result;

	if (!storage)
		return -1;
	result = fill_storage(storage, file, options, size, err);
	storage_close(storage);
	return result;
}

int qcow2_make_data_file(struct companion *companion, const char *image_path,
			 const struct gild_create_options *create,
			 const struct qcow2_options *options, uint64_t size,
			 struct gild_error *err)
{
	AUTO_FREE char *path = NULL;

	path = door_resolve(image_path, options->data_file, err);
	if (!path || check_names(path, image_path, create, err) < 0 ||
	    newfile_begin(&companion->file, path,
			  newfile_flags(create, options), err) < 0)
		return -1;
	companion->made = true;
	return fill(&companion->file, create, options, size, err);
}
