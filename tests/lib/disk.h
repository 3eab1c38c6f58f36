/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images in memory, for tests that watch or disturb every access: made with
 * the driver itself on storage/faulty.h, opened over it, checked.
 * What a test cannot go on without is asserted here.
 */
#ifndef TESTS_LIB_DISK_H
#define TESTS_LIB_DISK_H

#include "formats/qcow2/qcow2.h"
#include "storage/faulty.h"

/* How an image is made; zeros stand for the driver's defaults. */
struct disk_kind {
	const char *name;
	unsigned version; /* 2 or 3 */
	uint32_t cluster_size, refcount_bits;
	bool extended_l2, lazy_refcounts, zstd;
	const char *backing; /* the name to store, of a raw file */
	/* With bitmaps of 512 bytes: "b", enabled, and "off". */
	bool bitmaps;
};

/* An empty image of size bytes; the caller closes it or opens an image. */
struct storage *disk_create(const struct disk_kind *kind, uint64_t size);

/* Open over a storage, which the image then owns. flags: GILD_OPEN_*; a
 * backing file is not opened, see disk_back. */
struct image *disk_open(struct storage *storage, unsigned flags);
/* The same, NULL where it fails. */
struct image *disk_try_open(struct storage *storage, unsigned flags,
			    struct gild_error *err);
/* Open the internal snapshot "s" for reading. */
struct image *disk_open_snapshot(struct storage *storage,
				 struct gild_error *err);

/* Put content (copied) below an image as its raw backing file. */
void disk_back(struct image *image, const void *content, uint64_t length);

/* Caches as small as they get: 16 slices each. */
void disk_tiny_caches(struct image *image);

/* A copy of what is in the storage of an image or by itself. */
struct storage *disk_copy(struct storage *storage);

/* Check without repair; asserts that the check itself works. With
 * GILD_TEST_REPORT in the environment, what it finds is printed. */
struct gild_check_result disk_check(struct image *image);

/* Does bitmap "b" of the image's file tell all that has changed since the disk
 * held before (size bytes)? If it says that it is in use it may miss some. */
bool disk_marks_cover(struct image *image, const unsigned char *before,
		      uint64_t size, const unsigned char *now);

/* Flush as for a closing, then free. */
int disk_close(struct image *image, struct gild_error *err);

/* Write it to a file, for other programs to look at. */
void disk_save(struct storage *storage, const char *path);

/* Does what a test asks for exceed this level of GILD_TEST_LEVEL? */
enum test_level {
	LEVEL_FAST,
	LEVEL_NORMAL,
	LEVEL_LONG
};
enum test_level test_level(void);

#endif
