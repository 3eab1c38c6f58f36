/* SPDX-License-Identifier: BSD-3-Clause */
/* A first sector that may not begin with "BAD": whatever way it is changed. */
#include <criterion/criterion.h>

#include "storage/head.h"
#include "storage/test-disk.h"

TestSuite(head, .init = folder_enter, .fini = folder_leave, .timeout = 60);

static bool may_begin(const unsigned char *head, size_t length)
{
	return length != HEAD_SECTOR || memcmp(head, "BAD", 4) != 0;
}

static struct storage *open_watched(void)
{
	struct storage *storage;

	make_file("file", 64 * KiB, 7);
	storage = open_ok("file", STORAGE_WRITE);
	storage->may_begin = may_begin;
	return storage;
}

static int put(struct storage *storage, const char *text, size_t length,
	       uint64_t offset, struct gild_error *err)
{
	return storage_write(storage, text, length, offset, err);
}

Test(head, is_refused_whole)
{
	struct storage *storage = open_watched();
	unsigned char sector[2 * HEAD_SECTOR] = "BAD";
	struct gild_error err = { 0 };

	cr_assert_eq(storage_write(storage, sector, sizeof(sector), 0, &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_eq(err.offset, 0);
	cr_assert(holds(storage, 7, 64 * KiB, 0));
	sector[0] = 'X';
	cr_assert_eq(storage_write(storage, sector, sizeof(sector), 0, &err),
		     0);
	storage_close(storage);
}

Test(head, is_refused_in_parts)
{
	struct storage *storage = open_watched();
	struct gild_error err = { 0 };

	cr_assert_eq(put(storage, "AD", 3, 1, &err), 0);
	cr_assert_eq(put(storage, "B", 1, 0, &err), -1);
	cr_assert_eq(put(storage, "C", 1, 0, &err), 0);
	cr_assert_eq(put(storage, "BA", 2, 0, &err), -1);
	cr_assert_eq(put(storage, "BAC", 3, 0, &err), 0);
	cr_assert_eq(put(storage, "D", 1, 2, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_eq(err.offset, 2);
	storage_close(storage);
}

Test(head, is_refused_by_zeros)
{
	struct storage *storage = open_watched();
	struct gild_error err = { 0 };

	cr_assert_eq(put(storage, "BADX", 4, 0, &err), 0);
	cr_assert_eq(storage_try_zero(storage, 3, 4096, false, &err), 1);
	cr_assert_eq(storage_zero(storage, 3, 4096, false, &err), -1);
	cr_assert_eq(storage_zero(storage, 3, 1, true, &err), -1);
	cr_assert_eq(storage_discard(storage, 3, 8192, &err), 0);
	cr_assert(holds(storage, 'X', 1, 3), "zeros made it");
	cr_assert_eq(storage_zero(storage, 4, 4096, false, &err), 0);
	cr_assert_eq(storage_zero(storage, 0, 4096, false, &err), 0);
	cr_assert(holds(storage, 0, 4100, 0));
	storage_close(storage);
}

Test(head, is_not_shared)
{
	struct storage *storage = open_watched();
	struct storage *source;
	struct gild_error err = { 0 };

	make_file("source", 64 * KiB, 9);
	source = open_ok("source", 0);
	cr_assert_eq(storage_share(storage, 0, source, 0, 64 * KiB, &err), 1);
	cr_assert(holds(storage, 7, 64 * KiB, 0));
	storage_close(source);
	storage_close(storage);
}

Test(head, ends_with_its_sector)
{
	struct storage *storage = open_watched();
	unsigned char sector[HEAD_SECTOR] = "BAD";
	struct gild_error err = { 0 };

	cr_assert_eq(storage_write(storage, sector, sizeof(sector), HEAD_SECTOR,
				   &err),
		     0);
	storage->may_begin = NULL;
	cr_assert_eq(storage_write(storage, sector, sizeof(sector), 0, &err),
		     0);
	storage_close(storage);
}

Test(head, of_a_short_file)
{
	struct storage *storage;
	struct gild_error err = { 0 };

	make_file("file", 0, 0);
	storage = open_ok("file", STORAGE_WRITE);
	storage->may_begin = may_begin;
	/* What lies behind the end will read as zeros. */
	cr_assert_eq(put(storage, "BAD", 3, 0, &err), -1);
	cr_assert_eq(put(storage, "BAR", 3, 0, &err), 0);
	storage_close(storage);
}
