/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * To be preloaded: a disk with a bad sector. Reading the file FAILING_FILE (one
 * with that inode) ends with EIO where it touches the 512 bytes at FAILING_AT;
 * what lies before them is read.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512

typedef ssize_t read_at(int fd, void *to, size_t length, off_t offset);
typedef ssize_t read_vector(int fd, const struct iovec *to, int count,
			    off_t offset);

static bool is_failing(int fd)
{
	const char *path = getenv("FAILING_FILE");
	struct stat wanted, here;

	return path && !stat(path, &wanted) && !fstat(fd, &here) &&
	       wanted.st_dev == here.st_dev && wanted.st_ino == here.st_ino;
}

/* How much of a read arrives. */
static size_t readable(int fd, size_t length, off_t offset)
{
	const char *text = getenv("FAILING_AT");
	off_t bad = text ? strtoll(text, NULL, 0) : 0;

	if (!is_failing(fd) || offset >= bad + SECTOR ||
	    offset + (off_t)length <= bad)
		return length;
	return offset < bad ? (size_t)(bad - offset) : 0;
}

ssize_t pread64(int fd, void *to, size_t length, off_t offset)
{
	read_at *real = (read_at *)dlsym(RTLD_NEXT, "pread64");
	size_t n = readable(fd, length, offset);

	if (length && !n) {
		errno = EIO;
		return -1;
	}
	return real(fd, to, n, offset);
}

ssize_t pread(int fd, void *to, size_t length, off_t offset)
{
	return pread64(fd, to, length, offset);
}

/* For qemu-img. */
ssize_t preadv64(int fd, const struct iovec *to, int count, off_t offset)
{
	read_vector *real = (read_vector *)dlsym(RTLD_NEXT, "preadv64");
	size_t length = 0;

	for (int i = 0; i < count; i++)
		length += to[i].iov_len;
	if (readable(fd, length, offset) == length)
		return real(fd, to, count, offset);
	errno = EIO;
	return -1;
}

ssize_t preadv(int fd, const struct iovec *to, int count, off_t offset)
{
	return preadv64(fd, to, count, offset);
}
