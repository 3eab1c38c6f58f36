/* SPDX-License-Identifier: BSD-3-Clause */
/* What the core does for every format: ranges and rights, reading and writing
 * over extents, cache modes, and that nobody gets between a look-up and the I/O
 * there. */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "storage/test-folder.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(io, .timeout = 60);

#define U 4096ULL
#define SIZE (10 * U + 512)

static const struct disk_kind plain = { .name = "plain",
					.version = 3,
					.cluster_size = U };

static struct image *open_qcow2(unsigned flags)
{
	return disk_open(disk_create(&plain, SIZE), flags);
}

static struct image *open_raw(const void *content, uint64_t length,
			      unsigned flags)
{
	struct gild_open_options options = { .format = "raw", .flags = flags };
	struct storage *storage = faulty_new(content, length, NULL);
	struct image *image = image_open_storage(storage, &options, NULL);

	cr_assert_not_null(image);
	return image;
}

/* --- ranges and rights ---------------------------------------------------- */

static int try_all(struct image *image, uint64_t offset, uint64_t length,
		   enum gild_error_kind kind)
{
	unsigned char *buffer = calloc(1, 64 << 10);
	struct gild_error err;
	int failed = 0;

	for (int op = 0; op < 5; op++) {
		struct op what = { (enum op_kind)op, offset, length, 2 };

		memset(&err, 0, sizeof(err));
		if (op == OP_WRITE)
			failed += image_write(image, buffer, length, offset,
					      &err) < 0 &&
				  err.kind == kind;
		else if (op == OP_COMPRESS)
			failed += gild_write_compressed(
					  (struct gild_image *)image, buffer,
					  length, offset, &err) < 0 &&
				  err.kind == kind;
		else
			failed += op_run(image, &what, &err) < 0 &&
				  err.kind == kind;
	}
	free(buffer);
	return failed;
}

Test(io, nothing_beyond_the_end)
{
	struct image *image = open_qcow2(GILD_OPEN_WRITE);
	struct gild_error err;
	char byte;

	cr_assert_eq(try_all(image, SIZE, 1, GILD_ERR_RANGE), 5);
	cr_assert_eq(try_all(image, SIZE - 1, 2, GILD_ERR_RANGE), 5);
	cr_assert_eq(try_all(image, UINT64_MAX, 2, GILD_ERR_RANGE), 5);
	cr_assert_eq(image_read(image, &byte, 1, SIZE, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(err.offset, SIZE);
	cr_assert_eq(image_read(image, &byte, 0, SIZE, &err), 0);
	cr_assert_eq(image_write(image, &byte, 0, SIZE, &err), 0);
	image_free(image);
}

Test(io, readers_do_not_write)
{
	unsigned changes = 1U << FAULTY_WRITE | 1U << FAULTY_ZERO |
			   1U << FAULTY_DISCARD | 1U << FAULTY_TRUNCATE |
			   1U << FAULTY_FLUSH;
	struct image *image = open_qcow2(0);
	uint64_t before = faulty_calls(image->storage, changes);

	cr_assert_eq(try_all(image, 0, U, GILD_ERR_DENIED), 5);
	cr_assert_eq(image_flush(image, true, NULL), 0);
	cr_assert_eq(faulty_calls(image->storage, changes), before);
	image_free(image);
}

Test(io, inspectors_see_no_data)
{
	struct image *image = open_qcow2(GILD_OPEN_INSPECT);
	struct gild_extent extent;
	struct gild_error err;
	char byte;

	cr_assert_eq(image_read(image, &byte, 1, 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_eq(gild_map((struct gild_image *)image, 0, 1, &extent, &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	image_free(image);
}

Test(io, compressed_writes_take_one_cluster)
{
	struct image *image = open_qcow2(GILD_OPEN_WRITE);
	struct gild_image *handle = (struct gild_image *)image;
	unsigned char *buffer = calloc(1, SIZE);
	struct gild_error err;
	struct {
		uint64_t offset, length;
		int expected;
	} rows[] = {
		{ 0, U, 0 },
		{ 10 * U, 512, 0 },
		{ 0, U - 1, -1 },
		{ 1, U, -1 },
		{ 0, 2 * U, -1 },
		{ 0, SIZE, -1 }, /* ends with the disk, as a last one does */
		{ 9 * U, U + 512, -1 },
		{ 0, 0, -1 },
		{ 10 * U, 100, -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(gild_write_compressed(handle, buffer,
						   rows[i].length,
						   rows[i].offset, &err),
			     rows[i].expected, "row %zu", i);
		if (rows[i].expected)
			cr_assert_eq(err.kind, GILD_ERR_INVALID);
	}
	image_free(image);
	free(buffer);
}

Test(io, raw_has_no_compressed_clusters)
{
	struct image *image = open_raw(NULL, 0, GILD_OPEN_WRITE);
	struct gild_error err;
	char byte = 0;

	cr_assert_eq(gild_write_compressed((struct gild_image *)image, &byte, 0,
					   0, &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	image_free(image);
}

/* --- raw ------------------------------------------------------------------ */

Test(io, raw_is_its_file)
{
	struct image *image = open_raw("abcdef", 6, GILD_OPEN_WRITE);
	char bytes[512];
	uint64_t length;

	cr_assert_eq(image->size, 512, "whole sectors");
	cr_assert_eq(image_read(image, bytes, 512, 0, NULL), 0);
	cr_assert_arr_eq(bytes, "abcdef\0\0", 8);
	cr_assert_eq(image_write(image, "XY", 2, 2, NULL), 0);
	cr_assert_eq(image_write(image, "Z", 1, 500, NULL), 0);
	cr_assert_arr_eq((const char *)faulty_content(image->storage, &length),
			 "abXYef", 6);
	cr_assert_eq(length, 501);
	image_free(image);
}

Test(io, raw_zeros_and_discards)
{
	char bytes[3000];
	struct image *image;

	memset(bytes, 'x', sizeof(bytes));
	image = open_raw(bytes, sizeof(bytes), GILD_OPEN_WRITE);
	cr_assert_eq(image_zero(image, 10, 2000, 0, NULL), 0);
	cr_assert_eq(image_read(image, bytes, 3000, 0, NULL), 0);
	for (int i = 0; i < 3000; i++)
		cr_assert_eq(bytes[i], i < 10 || i >= 2010 ? 'x' : 0, "%d", i);
	cr_assert_eq(image_discard(image, 2100, 600, NULL), 0);
	image_free(image);
}

/* --- cache modes ---------------------------------------------------------- */

static uint64_t flushes_of_a_write(enum gild_cache cache)
{
	struct gild_open_options options = { .format = "qcow2",
					     .flags = GILD_OPEN_WRITE,
					     .cache = cache };
	struct image *image =
		image_open_storage(disk_create(&plain, SIZE), &options, NULL);
	uint64_t before, after;

	cr_assert_not_null(image);
	before = faulty_calls(image->storage, 1U << FAULTY_FLUSH);
	cr_assert_eq(image_write(image, "x", 1, 0, NULL), 0);
	after = faulty_calls(image->storage, 1U << FAULTY_FLUSH);
	image_free(image);
	return after - before;
}

Test(io, writethrough_is_durable_on_return)
{
	cr_assert_eq(flushes_of_a_write(GILD_CACHE_WRITEBACK), 0);
	cr_assert_gt(flushes_of_a_write(GILD_CACHE_WRITETHROUGH), 2);
	cr_assert_gt(flushes_of_a_write(GILD_CACHE_DIRECTSYNC), 2);
}

/* --- errors say where ----------------------------------------------------- */

Test(io, failed_read_names_the_place)
{
	struct faulty_plan plan = { .nth = 1,
				    .ops = 1U << FAULTY_READ,
				    .sys_errno = EIO };
	struct image *image = open_raw(NULL, 0, GILD_OPEN_WRITE);
	struct gild_error err;
	char byte;

	cr_assert_eq(image->ops->resize(image, 8192, NULL), 0);
	faulty_set_plan(image->storage, &plan);
	cr_assert_eq(image_read(image, &byte, 1, 5000, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(err.sys_errno, EIO);
	cr_assert(strstr(err.message, "5000"), "%s", err.message);
	image_free(image);
}

/* --- ranges that are held ------------------------------------------------- */

struct meeting {
	struct range_lock lock;
	struct range range;
	_Atomic bool done;
};

static void *hold(void *arg)
{
	struct meeting *meeting = arg;

	range_hold(&meeting->lock, &meeting->range);
	meeting->done = true;
	range_release(&meeting->lock, &meeting->range);
	return NULL;
}

/* Beside it one may go on at once, on it one waits. */
Test(io, a_held_range_is_waited_for)
{
	struct meeting meeting = { .range = { .start = 100, .end = 200 } };
	struct range beside = { .start = 200, .end = 300 };
	struct range on = { .start = 199, .end = 200 };
	pthread_t thread;

	range_lock_init(&meeting.lock);
	range_hold(&meeting.lock, &beside);
	pthread_create(&thread, NULL, hold, &meeting);
	pthread_join(thread, NULL);
	cr_assert(meeting.done);

	meeting.done = false;
	range_hold(&meeting.lock, &on);
	pthread_create(&thread, NULL, hold, &meeting);
	usleep(20000);
	cr_assert(!meeting.done);
	range_release(&meeting.lock, &on);
	pthread_join(thread, NULL);
	cr_assert(meeting.done);
	range_release(&meeting.lock, &beside);
	range_lock_destroy(&meeting.lock);
}
