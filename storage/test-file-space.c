/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space of files and block devices: holes, zeros, lengths, and failures
 * made to happen (a full disk, file systems that can do little, a device that
 * loses what it was given). Tests that need root are skipped without it.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <sys/wait.h>

#include "storage/file.h"
#include "storage/test-disk.h"

TestSuite(file_space, .init = folder_enter, .fini = folder_leave,
	  .timeout = 60);

/* --- holes, zeros, lengths ----------------------------------------------- */

Test(file_space, zeros_without_and_with_space)
{
	struct storage *disk;
	uint64_t full;

	make_file("disk", MiB, 6);
	sync();
	disk = open_ok("disk", STORAGE_WRITE);
	cr_assert_eq(storage_allocated(disk, &full, NULL), 0);
	cr_assert_eq(full, file_blocks("disk") * 512);
	cr_assert_geq(full, MiB);
	cr_assert_eq(storage_zero(disk, 64 * KiB, 128 * KiB, true, NULL), 0);
	cr_assert(holds(disk, 0, 128 * KiB, 64 * KiB));
	cr_assert_geq(file_blocks("disk") * 512, MiB);
	cr_assert_eq(storage_zero(disk, 256 * KiB, 128 * KiB, false, NULL), 0);
	cr_assert(holds(disk, 0, 128 * KiB, 256 * KiB));
	cr_assert_leq(file_blocks("disk") * 512, full - 128 * KiB);
	/* Bytes beside it, on the same page, stay. */
	cr_assert_eq(storage_zero(disk, 600 * KiB + 5, 3, false, NULL), 0);
	cr_assert(holds(disk, 6, 5, 600 * KiB));
	cr_assert(holds(disk, 0, 3, 600 * KiB + 5));
	cr_assert(holds(disk, 6, 512, 600 * KiB + 8));
	storage_close(disk);
}

Test(file_space, zeros_beyond_the_end_grow_it)
{
	for (int keep = 0; keep < 2; keep++) {
		struct storage *disk;

		make_file("disk", 100 * KiB, 6);
		disk = open_ok("disk", STORAGE_WRITE);
		cr_assert_eq(storage_zero(disk, 90 * KiB, MiB, keep, NULL), 0);
		cr_assert_eq(file_length("disk"), 90 * KiB + MiB);
		cr_assert(holds(disk, 6, 90 * KiB, 0));
		cr_assert(holds(disk, 0, MiB, 90 * KiB));
		if (keep)
			cr_assert_geq(file_blocks("disk") * 512, MiB);
		else
			cr_assert_leq(file_blocks("disk") * 512, 128 * KiB);
		storage_close(disk);
	}
}

/* What a file system without these calls leaves to do. */
Test(file_space, zeros_are_written_where_the_host_cannot)
{
	struct storage *disk;

	make_file("disk", 3 * MiB, 6);
	disk = open_ok("disk", STORAGE_WRITE);
	atomic_store(&file_of(disk)->no_punch, true);
	atomic_store(&file_of(disk)->no_zero_range, true);
	cr_assert_eq(storage_zero(disk, 100, 2 * MiB + 7, false, NULL), 0);
	cr_assert_eq(storage_zero(disk, 3 * MiB - 5, 10, true, NULL), 0);
	cr_assert(holds(disk, 6, 100, 0));
	cr_assert(holds(disk, 0, 2 * MiB + 7, 100));
	cr_assert(holds(disk, 6, 500, 2 * MiB + 107));
	cr_assert(holds(disk, 0, 10, 3 * MiB - 5));
	cr_assert_eq(file_length("disk"), 3 * MiB + 5);
	cr_assert_eq(storage_discard(disk, 0, MiB, NULL), 0);
	storage_close(disk);
}

Test(file_space, discard_gives_space_back)
{
	struct storage *disk;

	make_file("disk", MiB, 6);
	disk = open_ok("disk", STORAGE_WRITE);
	cr_assert_eq(storage_flush(disk, NULL), 0);
	cr_assert_eq(storage_discard(disk, 0, 512 * KiB, NULL), 0);
	cr_assert_leq(file_blocks("disk") * 512, 600 * KiB);
	cr_assert_eq(file_length("disk"), MiB);
	storage_close(disk);
}

Test(file_space, extents_follow_the_holes)
{
	struct storage *disk;
	uint64_t end;
	bool data;

	make_file("disk", 0, 0);
	disk = open_ok("disk", STORAGE_WRITE);
	write_ok(disk, 1, 64 * KiB, MiB);
	cr_assert_eq(storage_truncate(disk, 4 * MiB, false, NULL), 0);
	cr_assert_eq(storage_extent(disk, 0, &data, &end, NULL), 0);
	cr_assert(!data && end == MiB);
	cr_assert_eq(storage_extent(disk, MiB + 5, &data, &end, NULL), 0);
	cr_assert(data && end == MiB + 64 * KiB);
	cr_assert_eq(storage_extent(disk, 2 * MiB, &data, &end, NULL), 0);
	cr_assert(!data && end == 4 * MiB);
	cr_assert_eq(storage_extent(disk, 4 * MiB, &data, &end, NULL), 0);
	cr_assert(!data && end == UINT64_MAX);
	/* A host that does not say: all is data. */
	atomic_store(&file_of(disk)->no_seek, true);
	cr_assert_eq(storage_extent(disk, 5, &data, &end, NULL), 0);
	cr_assert(data && end == 4 * MiB);
	storage_close(disk);
}

Test(file_space, length_grows_and_shrinks)
{
	struct storage *disk;
	uint64_t size;

	make_file("disk", 10 * KiB, 6);
	disk = open_ok("disk", STORAGE_WRITE);
	cr_assert_eq(storage_truncate(disk, 5 * KiB, false, NULL), 0);
	cr_assert_eq(storage_truncate(disk, MiB, true, NULL), 0);
	cr_assert_eq(storage_size(disk, &size, NULL), 0);
	cr_assert_eq(size, MiB);
	cr_assert_geq(file_blocks("disk") * 512, MiB);
	cr_assert(holds(disk, 6, 5 * KiB, 0));
	cr_assert(holds(disk, 0, MiB - 5 * KiB, 5 * KiB));
	cr_assert_eq(storage_truncate(disk, 512, true, NULL), 0);
	cr_assert_eq(file_length("disk"), 512);
	cr_assert_eq(storage_contains(disk, 512, NULL), 0);
	cr_assert_eq(storage_contains(disk, 511, NULL), 1);
	/* Somebody else appends. */
	make_file("disk", 8 * KiB, 1);
	cr_assert_eq(storage_contains(disk, 8 * KiB - 1, NULL), 1);
	storage_close(disk);
}

Test(file_space, zeros_that_grow_cut_nothing_off)
{
	struct storage *disk;

	make_file("disk", 0, 0);
	disk = open_ok("disk", STORAGE_WRITE);
	for (int i = 1; i <= 200; i++) {
		pid_t writer = fork();

		if (!writer) {
			char c = 7;

			_exit(pwrite(file_of(disk)->fd, &c, 1,
				     (uint64_t)i * 64 * KiB) != 1);
		}
		cr_assert_eq(storage_zero(disk, ((uint64_t)i - 1) * 64 * KiB,
					  32 * KiB, false, NULL),
			     0);
		cr_assert_eq(waitpid(writer, NULL, 0), writer);
		cr_assert_geq(file_length("disk"), (uint64_t)i * 64 * KiB + 1);
	}
	storage_close(disk);
}

/* --- a full disk, other file systems (as root, mounts of our own) -------- */

Test(file_space, a_full_disk)
{
	struct gild_error err;
	struct storage *disk;
	char *buffer;

	private_mounts();
	mkdir("small", 0755);
	if (mount("none", "small", "tmpfs", 0, "size=1m"))
		cr_skip_test("no tmpfs");
	make_file("small/disk", 64 * KiB, 1);
	disk = open_ok("small/disk", STORAGE_WRITE);
	buffer = calloc(1, 2 * MiB);
	cr_assert_eq(storage_write(disk, buffer, 2 * MiB, 0, &err), -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_eq(storage_truncate(disk, 64 * KiB, false, &err), 0);
	cr_assert_eq(storage_truncate(disk, 2 * MiB, true, &err), -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	/* What could not be reserved is not left behind. */
	cr_assert_eq(file_length("small/disk"), 64 * KiB);
	free(buffer);
	storage_close(disk);
	umount("small");
}

/* ramfs knows neither fallocate nor O_DIRECT. */
Test(file_space, a_file_system_that_can_do_little)
{
	struct gild_error err;
	struct storage *disk;

	private_mounts();
	mkdir("poor", 0755);
	if (mount("none", "poor", "ramfs", 0, NULL))
		cr_skip_test("no ramfs");
	make_file("poor/disk", 64 * KiB, 1);
	cr_assert_null(storage_file_open("poor/disk", STORAGE_DIRECT, &err));
	cr_assert_str_eq(err.message,
			 "poor/disk: cannot be opened around the host's cache "
			 "(O_DIRECT): Invalid argument");
	disk = open_ok("poor/disk", STORAGE_WRITE);
	cr_assert_eq(storage_zero(disk, 100, 50 * KiB, false, &err), 0);
	cr_assert(holds(disk, 0, 50 * KiB, 100));
	cr_assert(atomic_load(&file_of(disk)->no_punch));
	cr_assert_eq(storage_zero(disk, 0, 100 * KiB, true, &err), 0);
	cr_assert_eq(file_length("poor/disk"), 100 * KiB);
	cr_assert_eq(storage_discard(disk, 0, 4096, &err), 0);
	cr_assert_eq(storage_truncate(disk, 2 * MiB, true, &err), 0, "%s",
		     err.message);
	cr_assert_eq(file_length("poor/disk"), 2 * MiB);
	cr_assert(holds(disk, 0, 2 * MiB - 100 * KiB, 100 * KiB));
	storage_close(disk);
	umount("poor");
}

/* --- block devices ------------------------------------------------------- */

Test(file_space, block_devices)
{
	struct gild_error err = { 0 };
	struct storage *disk;
	uint64_t size, end;
	bool data;

	make_file("back", 4 * MiB, 6);
	disk = open_loop(STORAGE_WRITE, &err);
	cr_assert_not_null(disk, "%s", err.message);
	cr_assert_str_eq(disk->ops->name, "host_device");
	cr_assert_eq(storage_size(disk, &size, &err), 0);
	cr_assert_eq(size, 4 * MiB);
	write_ok(disk, 1, 512, 1024);
	cr_assert(holds(disk, 1, 512, 1024));
	cr_assert_eq(storage_zero(disk, MiB, 64 * KiB, false, &err), 0);
	cr_assert_eq(storage_zero(disk, 2 * MiB, 64 * KiB, true, &err), 0);
	cr_assert_eq(storage_zero(disk, 3 * MiB + 1, 700, true, &err), 0);
	cr_assert(holds(disk, 0, 64 * KiB, MiB));
	cr_assert(holds(disk, 0, 64 * KiB, 2 * MiB));
	cr_assert(holds(disk, 0, 700, 3 * MiB + 1));
	cr_assert(holds(disk, 6, 512, 2 * MiB + 64 * KiB));
	cr_assert_eq(storage_discard(disk, 0, MiB, &err), 0, "%s", err.message);
	cr_assert_eq(storage_extent(disk, 5, &data, &end, &err), 0);
	cr_assert(data && end == 4 * MiB);
	cr_assert_eq(storage_flush(disk, &err), 0);
	storage_close(disk);
}

Test(file_space, block_devices_have_an_end)
{
	char buffer[1024] = { 1 };
	struct gild_error err = { 0 };
	struct storage *disk;

	make_file("back", MiB, 6);
	disk = open_loop(STORAGE_WRITE, &err);
	cr_assert_not_null(disk, "%s", err.message);
	cr_assert_eq(storage_write(disk, buffer, 1024, MiB - 512, &err), -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_eq(storage_zero(disk, MiB - 4096, 8192, false, &err), -1);
	cr_assert_eq(storage_truncate(disk, 1000, true, &err), 0);
	cr_assert_eq(storage_truncate(disk, MiB + 1, false, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	storage_close(disk);
}

Test(file_space, block_devices_without_the_cache)
{
	struct gild_error err = { 0 };
	struct storage *disk;

	make_file("back", MiB, 6);
	disk = open_loop(STORAGE_WRITE | STORAGE_DIRECT, &err);
	cr_assert_not_null(disk, "%s", err.message);
	write_ok(disk, 1, 8192, 4096);
	write_ok(disk, 2, 100, 20000);
	cr_assert(holds(disk, 1, 8192, 4096));
	cr_assert(holds(disk, 2, 100, 20000));
	storage_close(disk);
}

/* The device's own disk is full, which nobody hears of before the flush. */
Test(file_space, lost_writes_are_never_forgotten)
{
	struct gild_error err = { 0 };
	struct storage *disk;

	private_mounts();
	mkdir("small", 0755);
	if (mount("none", "small", "tmpfs", 0, "size=256k") || chdir("small"))
		cr_skip_test("no tmpfs");
	make_file("back", 0, 0);
	cr_assert_eq(truncate("back", 8 * MiB), 0);
	disk = open_loop(STORAGE_WRITE, &err);
	cr_assert_not_null(disk, "%s", err.message);
	write_ok(disk, 1, 4 * MiB, 0);
	cr_assert_eq(storage_flush(disk, &err), -1);
	cr_assert_eq(err.sys_errno, EIO);
	/* The kernel would say yes now. */
	cr_assert_eq(storage_flush(disk, &err), -1);
	cr_assert_eq(err.sys_errno, EIO);
	disk->flags |= STORAGE_NO_FLUSH;
	cr_assert_eq(storage_flush(disk, &err), 0);
	storage_close(disk);
	cr_assert_eq(chdir(".."), 0);
	umount2("small", MNT_DETACH);
}
