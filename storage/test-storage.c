/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What holds for every kind of storage: the defaults for operations that a
 * kind leaves out, durable changes, sharing blocks; and the null storage.
 */
#include <criterion/criterion.h>

#include <errno.h>

#include "storage/faulty.h"
#include "storage/test-disk.h"
#include "util/zeros.h"

TestSuite(storage, .init = folder_enter, .fini = folder_leave, .timeout = 60);

/* --- a kind that can do next to nothing ---------------------------------- */

static unsigned char bare_bytes[100];
static unsigned flushes;

static int bare_read(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, size_t *done, struct gild_error *err)
{
	(void)storage, (void)err;
	*done = offset >= 100 ? 0 : 100 - offset;
	*done = *done < length ? *done : length;
	memcpy(buffer, bare_bytes + offset, *done);
	return 0;
}

static int bare_write(struct storage *storage, const void *buffer,
		      size_t length, uint64_t offset, struct gild_error *err)
{
	if (offset + length > 100)
		return fail(err, GILD_ERR_IO, ENOSPC, "%s", storage->path);
	memcpy(bare_bytes + offset, buffer, length);
	return 0;
}

static int bare_size(struct storage *storage, uint64_t *size,
		     struct gild_error *err)
{
	(void)storage, (void)err;
	*size = 100;
	return 0;
}

static int counting_flush(struct storage *storage, struct gild_error *err)
{
	(void)storage, (void)err;
	flushes++;
	return 0;
}

static int easy_zero(struct storage *storage, uint64_t offset, uint64_t length,
		     bool keep, struct gild_error *err)
{
	(void)storage, (void)keep, (void)err;
	memset(bare_bytes + offset, 0, length);
	return 0;
}

static void bare_close(struct storage *storage)
{
	(void)storage;
}

static const struct storage_ops bare_ops = {
	.name = "bare",
	.read = bare_read,
	.write = bare_write,
	.size = bare_size,
	.close = bare_close,
};

static const struct storage_ops flushing_ops = {
	.name = "flushing",
	.read = bare_read,
	.write = bare_write,
	.zero = easy_zero,
	.flush = counting_flush,
	.size = bare_size,
	.close = bare_close,
};

static struct storage *new_storage(const struct storage_ops *ops,
				   unsigned flags)
{
	struct storage *storage = calloc(1, sizeof(*storage));

	cr_assert_eq(storage_init(storage, ops, "bare", flags, NULL), 0);
	memset(bare_bytes, 'x', sizeof(bare_bytes));
	return storage;
}

Test(storage, defaults)
{
	struct storage *bare = new_storage(&bare_ops, STORAGE_WRITE);
	struct gild_error err;
	uint64_t value;
	bool data;

	cr_assert_eq(storage_zero(bare, 10, 20, true, &err), 0);
	cr_assert(is_zero(bare_bytes + 10, 20));
	cr_assert_eq(bare_bytes[9], 'x');
	cr_assert_eq(bare_bytes[30], 'x');
	cr_assert_eq(storage_zero(bare, 95, 10, true, &err), -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_eq(storage_discard(bare, 40, 10, &err), 0);
	cr_assert_eq(bare_bytes[40], 'x');
	cr_assert_eq(storage_flush(bare, &err), 0);
	cr_assert_eq(storage_truncate(bare, 10, false, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	cr_assert_eq(storage_allocated(bare, &value, &err), 0);
	cr_assert_eq(value, 100);
	cr_assert_eq(storage_extent(bare, 99, &data, &value, &err), 0);
	cr_assert(data && value == 100);
	cr_assert_eq(storage_extent(bare, 100, &data, &value, &err), 0);
	cr_assert(!data && value == UINT64_MAX);
	cr_assert_eq(storage_descriptor(bare), -1);
	cr_assert_eq(storage_share(bare, 0, bare, 50, 10, &err), 1);
	storage_close(bare);
	storage_close(NULL);
}

Test(storage, nothing_is_done_for_no_bytes)
{
	struct storage *bare = new_storage(&bare_ops, STORAGE_WRITE);

	cr_assert_eq(storage_write(bare, NULL, 0, 200, NULL), 0);
	cr_assert_eq(storage_zero(bare, 200, 0, false, NULL), 0);
	cr_assert_eq(storage_discard(bare, 200, 0, NULL), 0);
	cr_assert_eq(storage_share(bare, 0, bare, 0, 0, NULL), 0);
	cr_assert_eq(storage_contains(bare, 150, NULL), 0);
	storage_close(bare);
}

Test(storage, flushes_follow_the_flags)
{
	struct storage *disk = new_storage(&flushing_ops, STORAGE_WRITE);

	storage_zero(disk, 0, 10, false, NULL);
	cr_assert_eq(flushes, 0);
	storage_flush(disk, NULL);
	cr_assert_eq(flushes, 1);
	/* Changes that are not writes are made durable, too. */
	disk->flags |= STORAGE_SYNC_WRITES;
	storage_zero(disk, 0, 10, false, NULL);
	cr_assert_eq(flushes, 2);
	disk->flags = STORAGE_WRITE | STORAGE_NO_FLUSH;
	storage_flush(disk, NULL);
	cr_assert_eq(flushes, 2);
	disk->flags = 0;
	storage_flush(disk, NULL);
	cr_assert_eq(flushes, 2);
	storage_close(disk);
}

Test(storage, read_errors_are_passed_on)
{
	struct faulty_plan plan = { 1, 1 << FAULTY_READ, EIO, true, 0 };
	struct storage *disk = faulty_new("hello", 5, NULL);
	struct gild_error err;
	char buffer[5];

	faulty_set_plan(disk, &plan);
	cr_assert_eq(storage_read(disk, buffer, 5, 0, &err), -1);
	cr_assert_eq(err.sys_errno, EIO);
	cr_assert_eq(storage_read_all(disk, buffer, 5, 0, &err), -1);
	cr_assert_eq(err.sys_errno, EIO);
	storage_close(disk);
}

/* --- sharing blocks ------------------------------------------------------ */

Test(storage, files_that_cannot_share)
{
	struct storage *one, *two;
	struct gild_error err = { 0 };

	private_mounts();
	mkdir("poor", 0755);
	if (mount("none", "poor", "tmpfs", 0, NULL))
		cr_skip_test("no tmpfs");
	make_file("poor/one", 8192, 1);
	make_file("poor/two", 8192, 2);
	make_file("three", 8192, 3);
	one = open_ok("poor/one", 0);
	two = open_ok("poor/two", STORAGE_WRITE);
	cr_assert_eq(storage_share(two, 0, one, 0, 4096, &err), 1);
	cr_assert_eq(storage_share(one, 0, two, 0, 4096, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	storage_close(one);
	one = open_ok("three", 0);
	cr_assert_eq(storage_share(two, 0, one, 0, 4096, &err), 1);
	cr_assert(holds(two, 2, 8192, 0));
	storage_close(one);
	storage_close(two);
	umount("poor");
}

Test(storage, files_that_share)
{
	struct gild_error err = { 0 };
	struct storage *one, *two;
	uint64_t size;

	private_mounts();
	mkdir("rich", 0755);
	if (system("truncate -s 400M fs && mkfs.xfs -q fs 2>/dev/null && "
		   "mount -o loop fs rich 2>/dev/null"))
		cr_skip_test("no XFS (package xfsprogs)");
	make_file("rich/one", 10000, 1);
	make_file("rich/two", 0, 0);
	one = open_ok("rich/one", 0);
	two = open_ok("rich/two", STORAGE_WRITE);
	cr_assert_eq(storage_share(two, 4096, one, 4096, 4096, &err), 0, "%s",
		     err.message);
	cr_assert_eq(storage_contains(two, 8191, &err), 1);
	cr_assert_eq(storage_size(two, &size, &err), 0);
	cr_assert_eq(size, 8192);
	cr_assert(holds(two, 0, 4096, 0));
	cr_assert(holds(two, 1, 4096, 4096));
	/* Not aligned: the caller copies. */
	cr_assert_eq(storage_share(two, 100, one, 100, 4096, &err), 1);
	cr_assert(holds(two, 0, 4096, 0));
	/* The last, short block goes too. */
	cr_assert_eq(storage_share(two, 8192, one, 8192, 1808, &err), 0);
	cr_assert(holds(two, 1, 1808, 8192));
	storage_close(one);
	storage_close(two);
	umount("rich");
}

/* --- null ---------------------------------------------------------------- */

Test(storage, null_keeps_nothing_but_its_length)
{
	struct gild_error err = { 0 };
	struct storage *null = storage_null_new(1000, &err);
	char buffer[10] = "something";
	uint64_t value, end;
	bool data;

	cr_assert_eq(storage_write(null, buffer, 10, 500, &err), 0);
	cr_assert_eq(storage_read_all(null, buffer, 10, 500, &err), 0);
	cr_assert(is_zero(buffer, 10));
	cr_assert_eq(storage_read_all(null, buffer, 10, 995, &err), -1);
	cr_assert_eq(storage_write(null, buffer, 10, 2000, &err), 0);
	cr_assert_eq(storage_zero(null, 2500, 10, false, &err), 0);
	cr_assert_eq(storage_size(null, &value, &err), 0);
	cr_assert_eq(value, 2510);
	cr_assert_eq(storage_truncate(null, 100, true, &err), 0);
	cr_assert_eq(storage_contains(null, 100, &err), 0);
	cr_assert_eq(storage_allocated(null, &value, &err), 0);
	cr_assert_eq(value, 0);
	cr_assert_eq(storage_extent(null, 5, &data, &end, &err), 0);
	cr_assert(!data && end == 100);
	cr_assert_eq(storage_flush(null, &err), 0);
	storage_close(null);
}
