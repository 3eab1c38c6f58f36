/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * storage - bytes on the host: a file, a block device, nothing at all, or a
 * test's simulation of a failing disk. The layer above asks for byte ranges
 * and never sees a descriptor.
 *
 * Threads: every function but close may be called by many threads at once on
 * one storage; overlapping writes are the caller's to order.
 *
 * A new kind of storage embeds struct storage first and ends its file with one
 * const struct storage_ops; entries marked "may be NULL" fall back to the
 * default stated there.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "util/error.h"

struct storage;

enum {
	STORAGE_WRITE = 1 << 0,
	STORAGE_DIRECT = 1 << 1,      /* bypass the host's cache */
	STORAGE_SYNC_WRITES = 1 << 2, /* every write is durable on return */
	STORAGE_NO_FLUSH = 1 << 3,    /* flush does nothing */
};

struct storage_ops {
	const char *name; /* "file", "host_device", "null" ... */

	/* Read up to length bytes at offset; *done < length only at the end of
	 * the storage. */
	int (*read)(struct storage *storage, void *buffer, size_t length,
		    uint64_t offset, size_t *done, struct gild_error *err);

	/* Write all of it; a file grows. */
	int (*write)(struct storage *storage, const void *buffer, size_t length,
		     uint64_t offset, struct gild_error *err);

	/* Make a range read as zeros without writing it, growing the file if
	 * it ends later. keep: the space stays allocated. Returns 1 where the
	 * host cannot (then nothing was done). May be NULL: always 1. */
	int (*zero)(struct storage *storage, uint64_t offset, uint64_t length,
		    bool keep, struct gild_error *err);

	/* The range is not needed any more: give space back. Content becomes
	 * zeros or stays. May be NULL: does nothing. */
	int (*discard)(struct storage *storage, uint64_t offset,
		       uint64_t length, struct gild_error *err);

	/* All completed writes are durable afterwards. May be NULL. */
	int (*flush)(struct storage *storage, struct gild_error *err);

	/* Set the length; new bytes read as zeros. allocate: reserve their
	 * space now; returns 1 where the host cannot (then nothing was done).
	 * May be NULL: GILD_ERR_UNSUPPORTED. */
	int (*truncate)(struct storage *storage, uint64_t size, bool allocate,
			struct gild_error *err);

	/* Length in bytes, asked anew from the host. */
	int (*size)(struct storage *storage, uint64_t *size,
		    struct gild_error *err);

	/* Bytes that the host spends on it. May be NULL: size. */
	int (*allocated)(struct storage *storage, uint64_t *bytes,
			 struct gild_error *err);

	/* Is there data at offset, which lies within the storage? *data and
	 * where that changes (*end > offset). May be NULL: all is data. */
	int (*extent)(struct storage *storage, uint64_t offset, bool *data,
		      uint64_t *end, struct gild_error *err);

	/* The descriptor for work that only the kernel can do (reflink,
	 * copy_file_range, fstat); -1: none. May be NULL: -1. */
	int (*descriptor)(struct storage *storage);

	/* Free everything but the struct's storage part. */
	void (*close)(struct storage *storage);
};

struct storage {
	const struct storage_ops *ops;
	char *path; /* for messages */
	unsigned flags;
	uint64_t origin; /* offset 0 is there behind the descriptor */
	_Atomic uint64_t known_size; /* last seen; grows with our writes */
	/* The stretch of data that storage_extent found last, so that a file
	 * full of data is asked once. Holes are not remembered: a write fills
	 * them. Protected by found_lock. */
	pthread_mutex_t found_lock;
	uint64_t found_start, found_end;
	/* Asked of the first sector as it would be, before any of it is
	 * written: may the storage begin so? NULL: with whatever. Set before
	 * others know the storage. */
	bool (*may_begin)(const unsigned char *head, size_t length);
	pthread_mutex_t head_lock; /* held from asking to having written */
};

/* --- storage.c: what callers use; defaults and checks live here --------- */

/* Exactly length bytes; what lies beyond the end of the storage reads as
 * zeros (an image's last cluster may be cut short). */
int storage_read(struct storage *storage, void *buffer, size_t length,
		 uint64_t offset, struct gild_error *err);

/* Exactly length bytes; ending early is GILD_ERR_CORRUPT ("file too short"). */
int storage_read_all(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, struct gild_error *err);

int storage_write(struct storage *storage, const void *buffer, size_t length,
		  uint64_t offset, struct gild_error *err);

/* Zeros, by the host's means; 1 where it has none (then nothing was done). */
int storage_try_zero(struct storage *storage, uint64_t offset, uint64_t length,
		     bool keep, struct gild_error *err);
/* The same, or by writing them. */
int storage_zero(struct storage *storage, uint64_t offset, uint64_t length,
		 bool keep, struct gild_error *err);
/* Zeros as data, also where the host has other means. */
int storage_write_zeros(struct storage *storage, uint64_t offset,
			uint64_t length, struct gild_error *err);
int storage_discard(struct storage *storage, uint64_t offset, uint64_t length,
		    struct gild_error *err);
int storage_flush(struct storage *storage, struct gild_error *err);

/* Set the length; allocate: space for what is new is there on return, if need
 * be by writing zeros. */
int storage_truncate(struct storage *storage, uint64_t size, bool allocate,
		     struct gild_error *err);
int storage_size(struct storage *storage, uint64_t *size,
		 struct gild_error *err);
int storage_allocated(struct storage *storage, uint64_t *bytes,
		      struct gild_error *err);

/* Is there data at offset, and up to where (*end > offset) is that so? Beyond
 * the end of the storage there is none, up to UINT64_MAX. */
int storage_extent(struct storage *storage, uint64_t offset, bool *data,
		   uint64_t *end, struct gild_error *err);
int storage_descriptor(struct storage *storage);

/* Does offset lie within the storage? Asks the host only when the size that
 * was last seen says no. 1, 0, or -1 on error. */
int storage_contains(struct storage *storage, uint64_t offset,
		     struct gild_error *err);

/* Copy a range by sharing its blocks (FICLONERANGE). Returns 1 where the two
 * cannot share (nothing was done): the caller then copies. */
int storage_share(struct storage *target, uint64_t target_offset,
		  struct storage *source, uint64_t source_offset,
		  uint64_t length, struct gild_error *err);

/* NULL is allowed. A failing last flush is the caller's to ask for first. */
void storage_close(struct storage *storage);

/* For implementations: fill the common part. Takes a copy of path. */
int storage_init(struct storage *storage, const struct storage_ops *ops,
		 const char *path, unsigned flags, struct gild_error *err);

/* --- file.c: regular files and block devices --------------------------- */

/* Open an existing file or block device (a character device or folder is
 * refused). Takes no locks. */
struct storage *storage_file_open(const char *path, unsigned flags,
				  struct gild_error *err);

/* Wrap an open descriptor, which it then owns (also on failure). */
struct storage *storage_file_from_fd(int fd, const char *path, unsigned flags,
				     struct gild_error *err);

/* --- null.c: swallows writes, reads zeros; size bytes long --------------- */

struct storage *storage_null_new(uint64_t size, struct gild_error *err);

/* --- window.c: a part of another one, which it then owns (also on failure) */

/* Both in bytes; length UINT64_MAX: up to the end, which may move. */
struct storage *storage_window_new(struct storage *inner, uint64_t start,
				   uint64_t length, struct gild_error *err);

#endif
