/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * To be preloaded (LD_PRELOAD): the call with number FAIL_CALL (from 1 on)
 * among those that read, write, cut, reserve, sync or link files fails, with
 * ENOSPC where it would take space and EIO elsewhere; with FAIL_STICKY=1 all
 * later ones do, too. Writes to standard output and error are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

static _Atomic long calls;

static bool fails(int error)
{
	const char *number = getenv("FAIL_CALL"), *sticky;
	long wanted = number ? atol(number) : 0, now;

	if (!wanted)
		return false;
	now = atomic_fetch_add(&calls, 1) + 1;
	sticky = getenv("FAIL_STICKY");
	if (now != wanted && !(sticky && now > wanted))
		return false;
	errno = error;
	return true;
}

/* The function that this one stands before. */
static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

#define STAND_BEFORE(type, name, error, parameters, arguments) \
	type name parameters;                                  \
	type name parameters                                   \
	{                                                      \
		type(*real) parameters;                        \
                                                               \
		*(void **)&real = next(#name);                 \
		return fails(error) ? -1 : real arguments;     \
	}

STAND_BEFORE(ssize_t, pread64, EIO,
	     (int fd, void *buffer, size_t length, int64_t offset),
	     (fd, buffer, length, offset))
STAND_BEFORE(ssize_t, pwrite64, ENOSPC,
	     (int fd, const void *buffer, size_t length, int64_t offset),
	     (fd, buffer, length, offset))
STAND_BEFORE(int, ftruncate64, ENOSPC, (int fd, int64_t length), (fd, length))
STAND_BEFORE(int, fallocate64, ENOSPC,
	     (int fd, int mode, int64_t offset, int64_t length),
	     (fd, mode, offset, length))
STAND_BEFORE(int, fsync, EIO, (int fd), (fd))
STAND_BEFORE(int, fdatasync, EIO, (int fd), (fd))
STAND_BEFORE(int, linkat, ENOSPC,
	     (int from_fd, const char *from, int to_fd, const char *to,
	      int flags),
	     (from_fd, from, to_fd, to, flags))
