/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space of regular files and block devices: zeros and holes made by the
 * host, length, and where there is data.
 *
 * A file may be growing in another thread at the same time, so nothing here
 * sets a length that was computed from an older one: growing is done by
 * allocating the last byte, which cannot cut anything off.
 */
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"

enum {
	SECTOR = 512
};

static bool is_unsupported(int eno)
{
	return eno == EOPNOTSUPP || eno == ENOSYS || eno == ENOTTY ||
	       eno == EINVAL || eno == ENODEV;
}

static int space_failed(struct storage *storage, const char *verb,
			uint64_t offset, uint64_t length,
			struct gild_error *err)
{
	fail(err, GILD_ERR_IO, errno, "%s: cannot %s %ju bytes at offset %ju",
	     storage->path, verb, (uintmax_t)length, (uintmax_t)offset);
	return error_at(err, offset);
}

/* fallocate; 1: the host cannot, which *never remembers. */
static int try_fallocate(struct storage *storage, atomic_bool *never, int mode,
			 uint64_t offset, uint64_t length, const char *verb,
			 struct gild_error *err)
{
	int fd = file_of(storage)->fd;
	int failed;

	if (atomic_load(never))
		return 1;
	do
		failed = fallocate(fd, mode, offset, length);
	while (failed && errno == EINTR);
	if (!failed)
		return 0;
	if (!is_unsupported(errno))
		return space_failed(storage, verb, offset, length, err);
	/* EINVAL may be about this range only. */
	if (errno != EINVAL)
		atomic_store(never, true);
	return 1;
}

static int punch(struct storage *storage, uint64_t offset, uint64_t length,
		 struct gild_error *err)
{
	return try_fallocate(storage, &file_of(storage)->no_punch,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			     length, "punch a hole of", err);
}

/* --- zeros --------------------------------------------------------------- */

/* Make the file end at or behind end. */
static int grow_to(struct storage *storage, uint64_t end,
		   struct gild_error *err)
{
	uint64_t size;

	if (end <= atomic_load(&storage->known_size))
		return 0;
	if (file_size(storage, &size, err) < 0)
		return -1;
	if (end <= size)
		return 0;
	/* The punch that follows gives the byte's space back. */
	return try_fallocate(storage, &file_of(storage)->no_punch, 0, end - 1,
			     1, "grow by", err);
}

int file_zero(struct storage *storage, uint64_t offset, uint64_t length,
	      bool keep, struct gild_error *err)
{
	int done;

	if (keep)
		return try_fallocate(storage, &file_of(storage)->no_zero_range,
				     FALLOC_FL_ZERO_RANGE, offset, length,
				     "zero", err);
	done = grow_to(storage, offset + length, err);
	return done ? done : punch(storage, offset, length, err);
}

int file_discard(struct storage *storage, uint64_t offset, uint64_t length,
		 struct gild_error *err)
{
	return punch(storage, offset, length, err) < 0 ? -1 : 0;
}

/* Zeros without fallocate: the kernel writes them, sector by sector. */
static int zero_out(struct storage *storage, uint64_t offset, uint64_t length,
		    struct gild_error *err)
{
	uint64_t range[2] = { offset, length };

	if (!is_aligned(offset | length, SECTOR))
		return 1;
	if (!ioctl(file_of(storage)->fd, BLKZEROOUT, range))
		return 0;
	if (is_unsupported(errno))
		return 1;
	return space_failed(storage, "zero", offset, length, err);
}

int device_zero(struct storage *storage, uint64_t offset, uint64_t length,
		bool keep, struct gild_error *err)
{
	uint64_t size = atomic_load(&storage->known_size);
	int done = 1;

	/* The kernel would cut a hole beyond the end short and say nothing. */
	if (!keep && range_within(offset, length, size))
		done = punch(storage, offset, length, err);
	return done > 0 ? zero_out(storage, offset, length, err) : done;
}

int device_discard(struct storage *storage, uint64_t offset, uint64_t length,
		   struct gild_error *err)
{
	uint64_t range[2] = { offset, length };

	if (!ioctl(file_of(storage)->fd, BLKDISCARD, range) ||
	    is_unsupported(errno))
		return 0;
	return space_failed(storage, "discard", offset, length, err);
}

/* --- length -------------------------------------------------------------- */

int file_size(struct storage *storage, uint64_t *size, struct gild_error *err)
{
	struct stat st;

	if (fstat(file_of(storage)->fd, &st))
		return fail(err, GILD_ERR_IO, errno,
			    "%s: cannot read its length", storage->path);
	*size = st.st_size;
	return 0;
}

int device_size(struct storage *storage, uint64_t *size, struct gild_error *err)
{
	if (ioctl(file_of(storage)->fd, BLKGETSIZE64, size))
		return fail(err, GILD_ERR_IO, errno,
			    "%s: cannot read its length", storage->path);
	return 0;
}

int file_allocated(struct storage *storage, uint64_t *bytes,
		   struct gild_error *err)
{
	struct stat st;

	if (fstat(file_of(storage)->fd, &st))
		return fail(err, GILD_ERR_IO, errno, "%s: cannot read its size",
			    storage->path);
	*bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

static int set_length(struct storage *storage, uint64_t size,
		      struct gild_error *err)
{
	while (ftruncate(file_of(storage)->fd, size))
		if (errno != EINTR)
			return fail(err, GILD_ERR_IO, errno,
				    "%s: cannot set its length to %ju bytes",
				    storage->path, (uintmax_t)size);
	return 0;
}

/* Space for [old, size), by fallocate itself: glibc's posix_fallocate writes
 * a byte to each block where the host has none. 1: it has none. */
static int reserve(struct storage *storage, uint64_t old, uint64_t size,
		   struct gild_error *err)
{
	atomic_bool never = false;
	int done = try_fallocate(storage, &never, 0, old, size - old, "reserve",
				 err);

	/* A full disk may leave a part reserved. */
	if (done < 0)
		set_length(storage, old, NULL);
	return done;
}

int file_truncate(struct storage *storage, uint64_t size, bool allocate,
		  struct gild_error *err)
{
	uint64_t old;

	if (!allocate)
		return set_length(storage, size, err);
	if (file_size(storage, &old, err) < 0)
		return -1;
	if (size <= old)
		return set_length(storage, size, err);
	return reserve(storage, old, size, err);
}

int device_truncate(struct storage *storage, uint64_t size, bool allocate,
		    struct gild_error *err)
{
	uint64_t now;

	(void)allocate;
	if (device_size(storage, &now, err) < 0)
		return -1;
	if (size <= now)
		return 0;
	return fail(err, GILD_ERR_RANGE, 0,
		    "%s: a device of %ju bytes cannot hold %ju", storage->path,
		    (uintmax_t)now, (uintmax_t)size);
}

/* --- where there is data ------------------------------------------------- */

enum seek_result {
	SEEK_FAILED = -1,
	SEEK_NONE,
	SEEK_FOUND,
	SEEK_UNKNOWN
};

/* lseek for data or holes; NONE: not before the end. */
static enum seek_result seek(struct storage *storage, uint64_t offset,
			     int whence, uint64_t *found,
			     struct gild_error *err)
{
	off_t at = lseek(file_of(storage)->fd, offset, whence);

	if (at >= 0) {
		*found = at;
		return SEEK_FOUND;
	}
	if (errno == ENXIO)
		return SEEK_NONE;
	if (is_unsupported(errno)) {
		atomic_store(&file_of(storage)->no_seek, true);
		return SEEK_UNKNOWN;
	}
	fail(err, GILD_ERR_IO, errno, "%s: cannot look for holes at offset %ju",
	     storage->path, (uintmax_t)offset);
	error_at(err, offset);
	return SEEK_FAILED;
}

/* *end comes in as the end of the file. */
int file_extent(struct storage *storage, uint64_t offset, bool *data,
		uint64_t *end, struct gild_error *err)
{
	enum seek_result result = SEEK_UNKNOWN;
	uint64_t next = 0;

	*data = true;
	if (!atomic_load(&file_of(storage)->no_seek))
		result = seek(storage, offset, SEEK_DATA, &next, err);
	if (result == SEEK_FOUND && next == offset)
		result = seek(storage, offset, SEEK_HOLE, &next, err);
	else if (result != SEEK_UNKNOWN)
		*data = false;
	/* A file that was cut short meanwhile ends before offset. */
	if (result == SEEK_FOUND && next > offset)
		*end = next;
	return result == SEEK_FAILED ? -1 : 0;
}
