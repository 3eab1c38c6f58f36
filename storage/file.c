/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regular files and block devices: opening, reading, writing, flushing.
 *
 * Only these two kinds are opened: a pipe, socket or terminal would hang or
 * swallow what it is given, and to open some character devices is an act of
 * its own (a tape rewinds, a watchdog starts). So the kind is looked at before
 * the open, and again behind it.
 *
 * With STORAGE_DIRECT there are two descriptors. Requests whose buffer, offset
 * and length are multiples of 4096 bypass the host's cache, the rest (a
 * header, the last bytes of a file) go through it; the kernel keeps the two
 * coherent. STORAGE_SYNC_WRITES is a flag of each write (RWF_DSYNC).
 */
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

/* A host that keeps saying "try again" is asked so often, a millisecond
 * apart, before that is an error. */
enum {
	MAX_TRIES = 1000
};

/* Is it worth to try again? Counts tries. */
static bool is_transient(int eno, unsigned *tries)
{
	static const struct timespec pause = { .tv_nsec = 1000000 };

	if (eno == EINTR)
		return true;
	if (eno != EAGAIN || ++*tries > MAX_TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

/* The descriptor for one request. */
static int pick_fd(const struct file_storage *file, const void *buffer,
		   size_t length, uint64_t offset)
{
	if (file->direct_fd < 0 ||
	    !is_aligned((uintptr_t)buffer | length | offset, MEMORY_ALIGNMENT))
		return file->fd;
	return file->direct_fd;
}

static int io_failed(struct storage *storage, const char *verb, size_t length,
		     uint64_t offset, int eno, struct gild_error *err)
{
	fail(err, GILD_ERR_IO, eno, "%s: cannot %s %zu bytes at offset %ju",
	     storage->path, verb, length, (uintmax_t)offset);
	return error_at(err, offset);
}

static int file_read(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, size_t *done, struct gild_error *err)
{
	struct file_storage *file = file_of(storage);
	bool direct = true;
	unsigned tries = 0;

	for (*done = 0; *done < length;) {
		char *to = (char *)buffer + *done;
		size_t left = length - *done;
		uint64_t at = offset + *done;
		int fd = direct ? pick_fd(file, to, left, at) : file->fd;
		ssize_t n = pread(fd, to, left, at);

		if (n == 0)
			break;
		if (n > 0)
			*done += n;
		else if (errno == EINVAL && fd != file->fd)
			direct = false; /* wants a coarser alignment */
		else if (!is_transient(errno, &tries))
			return io_failed(storage, "read", left, at, errno, err);
	}
	return 0;
}

static ssize_t write_some(const struct file_storage *file, int fd,
			  const void *buffer, size_t length, uint64_t offset)
{
	struct iovec part = { .iov_len = length };

	if (!(file->base.flags & STORAGE_SYNC_WRITES))
		return pwrite(fd, buffer, length, offset);
	/* iovec knows no const. */
	memcpy(&part.iov_base, &buffer, sizeof(buffer));
	return pwritev2(fd, &part, 1, offset, RWF_DSYNC);
}

static int file_write(struct storage *storage, const void *buffer,
		      size_t length, uint64_t offset, struct gild_error *err)
{
	struct file_storage *file = file_of(storage);
	bool direct = true;
	unsigned tries = 0;
	size_t done = 0;

	while (done < length) {
		const char *from = (const char *)buffer + done;
		size_t left = length - done;
		uint64_t at = offset + done;
		int fd = direct ? pick_fd(file, from, left, at) : file->fd;
		ssize_t n = write_some(file, fd, from, left, at);

		if (n > 0)
			done += n;
		else if (n < 0 && errno == EINVAL && fd != file->fd)
			direct = false; /* wants a coarser alignment */
		else if (n == 0 || !is_transient(errno, &tries))
			return io_failed(storage, "write", left, at,
					 n ? errno : ENOSPC, err);
	}
	return 0;
}

static int file_flush(struct storage *storage, struct gild_error *err)
{
	struct file_storage *file = file_of(storage);
	int lost = atomic_load(&file->lost);

	while (!lost && fdatasync(file->fd))
		if (errno != EINTR)
			lost = errno;
	if (!lost)
		return 0;
	atomic_store(&file->lost, lost);
	return fail(err, GILD_ERR_IO, lost,
		    "%s: what was written did not reach the disk",
		    storage->path);
}

static int file_descriptor(struct storage *storage)
{
	return file_of(storage)->fd;
}

static void file_close(struct storage *storage)
{
	struct file_storage *file = file_of(storage);

	if (file->direct_fd >= 0)
		close(file->direct_fd);
	close(file->fd);
}

static const struct storage_ops file_ops = {
	.name = "file",
	.read = file_read,
	.write = file_write,
	.zero = file_zero,
	.discard = file_discard,
	.flush = file_flush,
	.truncate = file_truncate,
	.size = file_size,
	.allocated = file_allocated,
	.extent = file_extent,
	.descriptor = file_descriptor,
	.close = file_close,
};

static const struct storage_ops device_ops = {
	.name = "host_device",
	.read = file_read,
	.write = file_write,
	.zero = device_zero,
	.discard = device_discard,
	.flush = file_flush,
	.truncate = device_truncate,
	.size = device_size,
	.allocated = file_allocated,
	.descriptor = file_descriptor,
	.close = file_close,
};

/* --- opening ------------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a folder";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	default:
		return "of an unknown kind";
	}
}

static int check_kind(const struct stat *st, const char *path,
		      struct gild_error *err)
{
	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "%s: is %s, not a file or block device", path,
		    kind_of(st->st_mode));
}

/* A second descriptor of the same file, whatever its name is by now. */
static int open_direct(int fd, const char *path, unsigned flags,
		       struct gild_error *err)
{
	int mode = flags & STORAGE_WRITE ? O_RDWR : O_RDONLY;
	char link[40];
	int direct;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	direct = open(link, mode | O_DIRECT | O_CLOEXEC | O_NOCTTY);
	if (direct >= 0)
		return direct;
	fail(err, GILD_ERR_IO, errno,
	     "%s: cannot be opened around the host's cache (O_DIRECT)", path);
	return error_hint(err, "use another cache mode");
}

/* Fill all but the descriptors; with one that is wrong, fail. */
static int file_init(struct file_storage *file, int fd, const char *path,
		     unsigned flags, struct gild_error *err)
{
	struct stat st;
	uint64_t size;

	if (fstat(fd, &st))
		return fail(err, GILD_ERR_IO, errno, "%s: cannot look at it",
			    path);
	if (check_kind(&st, path, err) < 0)
		return -1;
	if (flags & STORAGE_DIRECT) {
		file->direct_fd = open_direct(fd, path, flags, err);
		if (file->direct_fd < 0)
			return -1;
	}
	file->fd = fd;
	if (storage_init(&file->base,
			 S_ISBLK(st.st_mode) ? &device_ops : &file_ops, path,
			 flags, err) < 0)
		return -1;
	return storage_size(&file->base, &size, err);
}

struct storage *storage_file_from_fd(int fd, const char *path, unsigned flags,
				     struct gild_error *err)
{
	struct file_storage *file = calloc(1, sizeof(*file));

	if (!file) {
		close(fd);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	file->direct_fd = -1;
	if (file_init(file, fd, path, flags, err) == 0)
		return &file->base;
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	close(fd);
	free(file->base.path);
	free(file);
	return NULL;
}

/* O_NONBLOCK, so that what became a pipe meanwhile cannot hang us. */
static int open_file(const char *path, unsigned flags, struct gild_error *err)
{
	int mode = flags & STORAGE_WRITE ? O_RDWR : O_RDONLY;
	int fd = open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return fail(err, GILD_ERR_IO, errno, "%s: cannot be opened%s",
			    path, flags & STORAGE_WRITE ? " for writing" : "");
	fcntl(fd, F_SETFL, mode);
	return fd;
}

struct storage *storage_file_open(const char *path, unsigned flags,
				  struct gild_error *err)
{
	struct stat st;
	int fd;

	if (stat(path, &st))
		return fail_null(err, GILD_ERR_IO, errno,
				 "%s: cannot be opened", path);
	if (check_kind(&st, path, err) < 0)
		return NULL;
	fd = open_file(path, flags, err);
	if (fd < 0)
		return NULL;
	return storage_file_from_fd(fd, path, flags, err);
}
