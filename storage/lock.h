/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The byte locks that QEMU takes on image files, so that a running VM and
 * gild never write one image.
 *
 * Open-file-description locks, all shared, one byte each: byte 100 + i says
 * "I use permission i", byte 200 + i says "I do not share permission i". A
 * holder first locks its own bytes, then tests whether anybody holds a byte
 * that contradicts them (for each permission it uses, 200 + i; for each that
 * it does not share, 100 + i).
 */
#ifndef STORAGE_LOCK_H
#define STORAGE_LOCK_H

#include "util/error.h"

enum lock_permission {
	LOCK_CONSISTENT_READ = 1 << 0,
	LOCK_PERM_WRITE = 1 << 1,
	LOCK_WRITE_UNCHANGED = 1 << 2,
	LOCK_RESIZE = 1 << 3,
};

/* The two ways in which gild opens an image. */
#define LOCK_READER_USES LOCK_CONSISTENT_READ
#define LOCK_READER_DENIES (LOCK_PERM_WRITE | LOCK_RESIZE)
#define LOCK_WRITER_USES (LOCK_CONSISTENT_READ | LOCK_PERM_WRITE | LOCK_RESIZE)
#define LOCK_WRITER_DENIES (LOCK_PERM_WRITE | LOCK_RESIZE)

/*
 * Take the locks for the life of the descriptor. GILD_ERR_BUSY, with a hint
 * that names the holder where /proc tells, if somebody contradicts. Where the
 * file system has no such locks, succeeds without.
 */
int lock_take(int fd, const char *path, unsigned uses, unsigned denies,
	      struct gild_error *err);

/* Give up all that this descriptor holds, before its end. */
void lock_release(int fd);

/* Look without taking: is anybody using it, is anybody writing to it? */
int lock_look(int fd, bool *in_use, bool *being_written,
	      struct gild_error *err);

#endif
