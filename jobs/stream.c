/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pipes: bytes in order, all of them. Who feeds one may take forever, so a job
 * that is cancelled does not wait for the next byte.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "jobs/copy.h"

/* Milliseconds after which a waiting reader looks whether it is cancelled. */
enum {
	LOOK_UP = 100
};

/* Is it worth another try? Who else has the pipe open may have made it one that
 * does not block. */
static bool is_passing(int error)
{
	return error == EINTR || error == EAGAIN;
}

/* Wait until a read would not. What cannot be polled does not block either. */
static int wait_readable(int fd, const struct gild_job *job,
			 struct gild_error *err)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	do {
		if (job_check(job, err) < 0)
			return -1;
	} while (poll(&pollfd, 1, LOOK_UP) == 0);
	return 0;
}

int stream_read(int fd, void *buffer, size_t length, size_t *done,
		const struct gild_job *job, struct gild_error *err)
{
	unsigned char *at = buffer;
	ssize_t n;

	for (*done = 0; *done < length; *done += (size_t)n) {
		if (wait_readable(fd, job, err) < 0)
			return -1;
		n = read(fd, at + *done, length - *done);
		if (n < 0 && is_passing(errno)) {
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
	struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
	const unsigned char *at = buffer;
	ssize_t n;

	while (length) {
		n = write(fd, at, length);
		if (n < 0 && is_passing(errno)) {
			poll(&pollfd, 1, LOOK_UP);
			continue;
		}
		if (n < 0)
			return fail(err, GILD_ERR_IO, errno,
				    "writing the output");
		at += n;
		length -= (size_t)n;
	}
	return 0;
}
