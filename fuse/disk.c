/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse/disk.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/fail.h"

struct disk *disk_new(struct gild_image *image)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		return NULL;
	disk->image = image;
	pthread_rwlock_init(&disk->size_lock, NULL);
	return disk;
}

int disk_free(struct disk *disk, struct gild_error *err)
{
	int result = 0;

	if (!disk)
		return 0;
	if (disk->image)
		result = gild_close(disk->image, err);
	pthread_rwlock_destroy(&disk->size_lock);
	free(disk);
	return result;
}

static void hold_size(struct disk *disk)
{
	if (disk->writable)
		pthread_rwlock_rdlock(&disk->size_lock);
}

static void release_size(struct disk *disk)
{
	if (disk->writable)
		pthread_rwlock_unlock(&disk->size_lock);
}

uint64_t disk_size(struct disk *disk)
{
	uint64_t size;

	hold_size(disk);
	size = gild_size(disk->image);
	release_size(disk);
	return size;
}

/* How much of a range there is; 0: none. */
static size_t clip(struct disk *disk, size_t length, uint64_t offset)
{
	uint64_t size = gild_size(disk->image);

	if (offset >= size)
		return 0;
	return length < size - offset ? length : (size_t)(size - offset);
}

int disk_read(struct disk *disk, void *buffer, size_t length, uint64_t offset,
	      size_t *done, struct gild_error *err)
{
	int result = 0;

	hold_size(disk);
	*done = clip(disk, length, offset);
	if (*done)
		result = gild_read(disk->image, buffer, *done, offset, err);
	release_size(disk);
	return result;
}

bool disk_is_compressed(struct disk *disk, uint64_t offset)
{
	struct gild_extent extent;
	bool yes;

	hold_size(disk);
	yes = offset < gild_size(disk->image) &&
	      !gild_map(disk->image, offset, 1, &extent, NULL) &&
	      extent.compressed;
	release_size(disk);
	return yes;
}

/* May it be written, all of it? */
static int check_write(struct disk *disk, uint64_t length, uint64_t offset,
		       struct gild_error *err)
{
	uint64_t size = gild_size(disk->image);

	if (!disk->writable)
		return fuse_fail(err, EROFS, "it is mounted for reading");
	if (length <= size && offset <= size - length)
		return 0;
	return fuse_fail(err, EFBIG, "beyond the end of the disk");
}

int disk_write(struct disk *disk, const void *buffer, size_t length,
	       uint64_t offset, struct gild_error *err)
{
	int result;

	hold_size(disk);
	result = check_write(disk, length, offset, err);
	if (!result)
		result = gild_write(disk->image, buffer, length, offset, err);
	release_size(disk);
	return result;
}

int disk_zero(struct disk *disk, uint64_t offset, uint64_t length, bool punch,
	      struct gild_error *err)
{
	int result;

	hold_size(disk);
	result = check_write(disk, length, offset, err);
	if (!result)
		result = gild_zero(disk->image, offset, length,
				   punch ? GILD_ZERO_UNMAP : 0, err);
	release_size(disk);
	return result;
}

int disk_flush(struct disk *disk, struct gild_error *err)
{
	int result;

	if (!disk->writable)
		return 0;
	hold_size(disk);
	result = gild_flush(disk->image, err);
	release_size(disk);
	return result;
}

/* A disk is not wiped by "echo >disk". */
static int check_resize(struct disk *disk, uint64_t size,
			struct gild_error *err)
{
	if (!disk->writable)
		return fuse_fail(err, EROFS, "it is mounted for reading");
	if (size < gild_size(disk->image) && !disk->resizable)
		return fuse_fail(err, EPERM,
				 "shrinking the disk wants --resizable");
	return 0;
}

int disk_resize(struct disk *disk, uint64_t size, struct gild_error *err)
{
	int result;

	pthread_rwlock_wrlock(&disk->size_lock);
	result = check_resize(disk, size, err);
	if (!result && size != gild_size(disk->image))
		result = gild_resize(disk->image, size, err);
	pthread_rwlock_unlock(&disk->size_lock);
	return result;
}

int disk_seek(struct disk *disk, uint64_t offset, uint64_t end, bool data,
	      uint64_t *found, struct gild_error *err)
{
	struct gild_extent extent;
	int result = 0;

	hold_size(disk);
	if (end > gild_size(disk->image))
		end = gild_size(disk->image);
	for (; offset < end && !result; offset += extent.length) {
		result = gild_map(disk->image, offset, end - offset, &extent,
				  err);
		if (!result && data == !extent.zero)
			break;
	}
	release_size(disk);
	*found = offset;
	return result;
}
