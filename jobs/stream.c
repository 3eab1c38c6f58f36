/* SPDX-License-Identifier: BSD-3-Clause */
/* Pipes: bytes in order, all of them. */
#include <errno.h>
#include <unistd.h>

#include "jobs/copy.h"

int stream_read(int fd, void *buffer, size_t length, size_t *done,
		struct gild_error *err)
{
	unsigned char *at = buffer;
	ssize_t n;

	for (*done = 0; *done < length; *done += (size_t)n) {
		n = read(fd, at + *done, length - *done);
		if (n < 0 && errno == EINTR) {
			n = 0;
			continue;
		}
		if (n < 0)
			return fail(err, GILD_ERR_IO, errno,
				    "reading the input");
		if (n == 0)
			break;
	}
	return 0;
}

int stream_write(int fd, const void *buffer, size_t length,
		 struct gild_error *err)
{
	const unsigned char *at = buffer;
	ssize_t n;

	while (length) {
		n = write(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, GILD_ERR_IO, errno,
				    "writing the output");
		at += n;
		length -= (size_t)n;
	}
	return 0;
}
