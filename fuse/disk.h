/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk that a mount shows: that of the image, of one of its snapshots, of an
 * image below it. All but the first are opened when somebody looks.
 *
 * Threads: I/O of many at once; a change of the size waits for the I/O under
 * way, and holds the next back.
 */
#ifndef FUSE_DISK_H
#define FUSE_DISK_H

#include <pthread.h>

#include "gild.h"

struct disk {
	struct gild_image *image; /* owned; NULL: not opened yet */
	bool writable, resizable;
	bool below; /* of an image below, which has a mode of its own */
	pthread_rwlock_t size_lock; /* held for reading during I/O */
	struct disk *next;	    /* in the tree's list */
};

/* Takes the image, which may be NULL. NULL: out of memory. */
struct disk *disk_new(struct gild_image *image);

/* Writes what is cached. NULL is allowed. */
int disk_free(struct disk *disk, struct gild_error *err);

uint64_t disk_size(struct disk *disk);

/* Up to length bytes at offset: *done, fewer only at the disk's end. */
int disk_read(struct disk *disk, void *buffer, size_t length, uint64_t offset,
	      size_t *done, struct gild_error *err);

/* Is what is there, within the disk, compressed? */
bool disk_is_compressed(struct disk *disk, uint64_t offset);

/* All of it; beyond the end is an error. */
int disk_write(struct disk *disk, const void *buffer, size_t length,
	       uint64_t offset, struct gild_error *err);

int disk_zero(struct disk *disk, uint64_t offset, uint64_t length, bool punch,
	      struct gild_error *err);
int disk_flush(struct disk *disk, struct gild_error *err);
int disk_resize(struct disk *disk, uint64_t size, struct gild_error *err);

/* Where data (or a hole) begins at or after offset, before end; *found = end
 * where none does. */
int disk_seek(struct disk *disk, uint64_t offset, uint64_t end, bool data,
	      uint64_t *found, struct gild_error *err);

#endif
