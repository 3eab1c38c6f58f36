/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What holds for every kind of storage: checks of ranges and of the right to
 * write, the defaults for operations that a kind leaves out, and the size that
 * was last seen.
 *
 * known_size saves asking the host where a table or cluster lies within the
 * file. It may be too small (another process appended), so "no" is asked
 * again; it is too large only if somebody else cut the file short, and then
 * reading finds the end.
 */
#include "storage/head.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

/* Zeros are written in pieces of so many bytes. */
enum {
	ZERO_CHUNK = 1 << 20
};

int storage_init(struct storage *storage, const struct storage_ops *ops,
		 const char *path, unsigned flags, struct gild_error *err)
{
	storage->ops = ops;
	storage->flags = flags;
	atomic_init(&storage->known_size, 0);
	pthread_mutex_init(&storage->found_lock, NULL);
	storage->found_start = storage->found_end = 0;
	storage->may_begin = NULL;
	pthread_mutex_init(&storage->head_lock, NULL);
	storage->path = strdup(path);
	return storage->path ? 0 : fail_nomem(err);
}

void storage_close(struct storage *storage)
{
	if (!storage)
		return;
	storage->ops->close(storage);
	pthread_mutex_destroy(&storage->found_lock);
	pthread_mutex_destroy(&storage->head_lock);
	free(storage->path);
	free(storage);
}

/* The host counts in signed 64 bits. */
static int check_range(struct storage *storage, uint64_t offset,
		       uint64_t length, struct gild_error *err)
{
	if (range_within(offset, length, INT64_MAX))
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "%s: %ju bytes at offset %ju are beyond what a file can hold",
	     storage->path, (uintmax_t)length, (uintmax_t)offset);
	return error_at(err, offset);
}

static int check_write(struct storage *storage, uint64_t offset,
		       uint64_t length, struct gild_error *err)
{
	if (!(storage->flags & STORAGE_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", storage->path);
	return check_range(storage, offset, length, err);
}

static void grow_known_size(struct storage *storage, uint64_t size)
{
	uint64_t seen = atomic_load(&storage->known_size);

	while (seen < size &&
	       !atomic_compare_exchange_weak(&storage->known_size, &seen, size))
		;
}

static int read_some(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, size_t *done, struct gild_error *err)
{
	*done = 0;
	if (check_range(storage, offset, length, err) < 0)
		return -1;
	return storage->ops->read(storage, buffer, length, offset, done, err);
}

int storage_read(struct storage *storage, void *buffer, size_t length,
		 uint64_t offset, struct gild_error *err)
{
	size_t done;

	if (read_some(storage, buffer, length, offset, &done, err) < 0)
		return -1;
	if (done < length)
		memset((char *)buffer + done, 0, length - done);
	return 0;
}

int storage_read_all(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, struct gild_error *err)
{
	size_t done;

	if (read_some(storage, buffer, length, offset, &done, err) < 0)
		return -1;
	if (done == length)
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "%s: file too short: it ends within the %zu bytes at offset %ju",
	     storage->path, length, (uintmax_t)offset);
	return error_at(err, offset + done);
}

int storage_write(struct storage *storage, const void *buffer, size_t length,
		  uint64_t offset, struct gild_error *err)
{
	int ret;

	if (check_write(storage, offset, length, err) < 0)
		return -1;
	if (!length)
		return 0;
	if (head_is_watched(storage, offset))
		ret = head_write(storage, buffer, length, offset, err);
	else
		ret = storage->ops->write(storage, buffer, length, offset, err);
	if (ret < 0)
		return -1;
	grow_known_size(storage, offset + length);
	return 0;
}

int storage_write_zeros(struct storage *storage, uint64_t offset,
			uint64_t length, struct gild_error *err)
{
	size_t chunk = min_u64(length, ZERO_CHUNK);
	AUTO_FREE void *zeros = memory_io_buffer(chunk);

	if (!zeros)
		return fail_nomem(err);
	memset(zeros, 0, chunk);
	while (length) {
		size_t now = min_u64(length, chunk);

		if (storage_write(storage, zeros, now, offset, err) < 0)
			return -1;
		offset += now;
		length -= now;
	}
	return 0;
}

/* After a change that the kind does not make durable by itself. */
static int sync_change(struct storage *storage, struct gild_error *err)
{
	if (!(storage->flags & STORAGE_SYNC_WRITES))
		return 0;
	return storage_flush(storage, err);
}

/* What was data may be a hole from now on. */
static void forget_data(struct storage *storage)
{
	pthread_mutex_lock(&storage->found_lock);
	storage->found_start = storage->found_end = 0;
	pthread_mutex_unlock(&storage->found_lock);
}

int storage_try_zero(struct storage *storage, uint64_t offset, uint64_t length,
		     bool keep, struct gild_error *err)
{
	int done = 1;

	if (check_write(storage, offset, length, err) < 0)
		return -1;
	if (!length)
		return 0;
	if (head_is_split(storage, offset, length))
		return 1;
	forget_data(storage);
	if (storage->ops->zero)
		done = storage->ops->zero(storage, offset, length, keep, err);
	if (done)
		return done;
	grow_known_size(storage, offset + length);
	return sync_change(storage, err);
}

int storage_zero(struct storage *storage, uint64_t offset, uint64_t length,
		 bool keep, struct gild_error *err)
{
	int done = storage_try_zero(storage, offset, length, keep, err);

	if (done == 1)
		return storage_write_zeros(storage, offset, length, err);
	return done;
}

int storage_discard(struct storage *storage, uint64_t offset, uint64_t length,
		    struct gild_error *err)
{
	if (check_write(storage, offset, length, err) < 0)
		return -1;
	if (!length || !storage->ops->discard ||
	    head_is_split(storage, offset, length))
		return 0;
	forget_data(storage);
	return storage->ops->discard(storage, offset, length, err);
}

int storage_flush(struct storage *storage, struct gild_error *err)
{
	if (storage->flags & STORAGE_NO_FLUSH || !storage->ops->flush ||
	    !(storage->flags & STORAGE_WRITE))
		return 0;
	return storage->ops->flush(storage, err);
}

/* The host cannot reserve space without writing to it. */
static int grow_by_writing(struct storage *storage, uint64_t size,
			   struct gild_error *err)
{
	uint64_t old;

	if (storage_size(storage, &old, err) < 0)
		return -1;
	if (size > old)
		return storage_write_zeros(storage, old, size - old, err);
	return storage_truncate(storage, size, false, err);
}

int storage_truncate(struct storage *storage, uint64_t size, bool allocate,
		     struct gild_error *err)
{
	uint64_t now;
	int done;

	if (check_write(storage, size, 0, err) < 0)
		return -1;
	if (!storage->ops->truncate)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: its length cannot be changed", storage->path);
	forget_data(storage);
	done = storage->ops->truncate(storage, size, allocate, err);
	if (done < 0)
		return -1;
	if (done)
		return grow_by_writing(storage, size, err);
	if (storage_size(storage, &now, err) < 0)
		return -1;
	return sync_change(storage, err);
}

int storage_size(struct storage *storage, uint64_t *size,
		 struct gild_error *err)
{
	if (storage->ops->size(storage, size, err) < 0)
		return -1;
	atomic_store(&storage->known_size, *size);
	return 0;
}

int storage_allocated(struct storage *storage, uint64_t *bytes,
		      struct gild_error *err)
{
	if (!storage->ops->allocated)
		return storage_size(storage, bytes, err);
	return storage->ops->allocated(storage, bytes, err);
}

static void remember_data(struct storage *storage, uint64_t start, uint64_t end)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&storage->found_lock);

	(void)held;
	storage->found_start = start;
	storage->found_end = end;
}

static bool is_known_data(struct storage *storage, uint64_t offset,
			  uint64_t *end)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&storage->found_lock);

	(void)held;
	*end = storage->found_end;
	return storage->found_start <= offset && offset < storage->found_end;
}

int storage_extent(struct storage *storage, uint64_t offset, bool *data,
		   uint64_t *end, struct gild_error *err)
{
	int inside;

	*data = true;
	if (is_known_data(storage, offset, end))
		return 0;
	inside = storage_contains(storage, offset, err);
	if (inside < 0)
		return -1;
	*data = inside;
	*end = inside ? atomic_load(&storage->known_size) : UINT64_MAX;
	if (!inside || !storage->ops->extent)
		return 0;
	if (storage->ops->extent(storage, offset, data, end, err) < 0)
		return -1;
	if (*data)
		remember_data(storage, offset, *end);
	return 0;
}

int storage_descriptor(struct storage *storage)
{
	return storage->ops->descriptor ? storage->ops->descriptor(storage) :
					  -1;
}

int storage_contains(struct storage *storage, uint64_t offset,
		     struct gild_error *err)
{
	uint64_t size;

	if (offset < atomic_load(&storage->known_size))
		return 1;
	if (storage_size(storage, &size, err) < 0)
		return -1;
	return offset < size;
}

/* Do these errors of FICLONERANGE mean that the two cannot share? */
static bool cannot_share(int eno)
{
	switch (eno) {
	case EOPNOTSUPP:
	case EXDEV:
	case EINVAL: /* not aligned, or not regular files */
	case ENOTTY:
	case ENOSYS:
	case ETXTBSY: /* a swap file */
	case EPERM:   /* immutable */
		return true;
	}
	return false;
}

int storage_share(struct storage *target, uint64_t target_offset,
		  struct storage *source, uint64_t source_offset,
		  uint64_t length, struct gild_error *err)
{
	struct file_clone_range range = {
		.src_fd = storage_descriptor(source),
		.src_offset = source->origin + source_offset,
		.src_length = length,
		.dest_offset = target->origin + target_offset,
	};
	int fd = storage_descriptor(target);

	if (check_write(target, target_offset, length, err) < 0)
		return -1;
	if (!length) /* would mean: all */
		return 0;
	if (fd < 0 || range.src_fd < 0 ||
	    head_is_watched(target, target_offset))
		return 1;
	if (ioctl(fd, FICLONERANGE, &range)) {
		if (cannot_share(errno))
			return 1;
		fail(err, GILD_ERR_IO, errno,
		     "%s: cannot share %ju bytes of %s at offset %ju",
		     target->path, (uintmax_t)length, source->path,
		     (uintmax_t)target_offset);
		return error_at(err, target_offset);
	}
	grow_known_size(target, target_offset + length);
	return sync_change(target, err);
}
