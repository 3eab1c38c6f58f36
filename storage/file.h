/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What file.c (opening, reading, writing) and file-space.c (holes, zeros,
 * length) share: a regular file or a block device behind a descriptor.
 *
 * Threads: immutable after open but for the atomics, each of which is set once
 * and only spares a call that is known to fail, or repeats a failure.
 */
#ifndef STORAGE_FILE_H
#define STORAGE_FILE_H

#include "storage/storage.h"

struct file_storage {
	struct storage base;
	int fd;
	int direct_fd; /* STORAGE_DIRECT: the same file, O_DIRECT; else -1 */
	atomic_bool no_punch, no_zero_range, no_seek; /* host cannot */
	/* errno of the first flush that failed, or 0. The kernel reports lost
	 * writes once; from then on nothing here may claim to be durable. */
	atomic_int lost;
};

static inline struct file_storage *file_of(struct storage *storage)
{
	return (struct file_storage *)storage;
}

/* Entries of storage_ops. */
int file_zero(struct storage *storage, uint64_t offset, uint64_t length,
	      bool keep, struct gild_error *err);
int file_discard(struct storage *storage, uint64_t offset, uint64_t length,
		 struct gild_error *err);
int file_truncate(struct storage *storage, uint64_t size, bool allocate,
		  struct gild_error *err);
int file_size(struct storage *storage, uint64_t *size, struct gild_error *err);
int file_allocated(struct storage *storage, uint64_t *bytes,
		   struct gild_error *err);
int file_extent(struct storage *storage, uint64_t offset, bool *data,
		uint64_t *end, struct gild_error *err);

int device_zero(struct storage *storage, uint64_t offset, uint64_t length,
		bool keep, struct gild_error *err);
int device_discard(struct storage *storage, uint64_t offset, uint64_t length,
		   struct gild_error *err);
int device_truncate(struct storage *storage, uint64_t size, bool allocate,
		    struct gild_error *err);
int device_size(struct storage *storage, uint64_t *size,
		struct gild_error *err);

#endif
