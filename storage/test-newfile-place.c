/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that have to be written in place, what is no regular file, and file
 * systems that can do less than most.
 */
#include <criterion/criterion.h>

#include <errno.h>

#include "storage/lock.h"
#include "storage/test-newfile.h"

TestSuite(newfile_place, .init = folder_enter, .fini = folder_leave,
	  .timeout = 60);

/* --- in place ------------------------------------------------------------ */

static void assert_in_place(const char *path, unsigned flags)
{
	ino_t old = inode_of(path);
	struct newfile file;

	begin_ok(&file, path, flags);
	cr_assert(file.in_place && !file.is_device && !file.replaces);
	cr_assert_eq(file_length(path), 0);
	put(&file, "new");
	publish_ok(&file);
	assert_content(path, "new");
	cr_assert_eq(inode_of(path), old);
}

Test(newfile_place, several_links)
{
	for_each_way(way)
	{
		if (*way & NEWFILE_NEW_ONLY)
			continue;
		make_file("disk", 3, 'o');
		cr_assert_eq(link("disk", "other"), 0);
		assert_in_place("disk", *way);
		assert_content("other", "new");
		cr_assert_eq(count_names("."), 2);
		unlink("other");
	}
}

Test(newfile_place, a_folder_that_may_not_be_written)
{
	need_root();
	mkdir("closed", 0755);
	make_file("closed/disk", 3, 'o');
	cr_assert_eq(chown("closed/disk", NOBODY, NOBODY), 0);
	chmod(".", 0755);
	cr_assert_eq(seteuid(NOBODY), 0);
	assert_in_place("closed/disk", 0);
	assert_in_place("closed/disk", NEWFILE_NAMED);
	assert_fails("closed/new", 0, EACCES);
	assert_fails("closed/new", NEWFILE_NAMED, EACCES);
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(count_names("closed"), 1);
}

Test(newfile_place, an_owner_that_cannot_be_given)
{
	need_root();
	mkdir("open", 0755);
	chmod("open", 0777);
	make_file("open/disk", 3, 'o');
	chmod("open/disk", 0666);
	make_file("open/fixed", 3, 'o');
	chmod(".", 0755);
	cr_assert_eq(seteuid(NOBODY), 0);
	assert_in_place("open/disk", 0);
	assert_in_place("open/disk", NEWFILE_NAMED);
	assert_fails("open/fixed", 0, EACCES);
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(count_names("open"), 2);
}

Test(newfile_place, something_mounted_on_the_name)
{
	private_mounts();
	make_file("disk", 3, 'o');
	make_file("point", 1, 'p');
	cr_assert_eq(mount("disk", "point", NULL, MS_BIND, NULL), 0);
	assert_in_place("point", 0);
	assert_content("disk", "new");
	umount("point");
	assert_content("point", "p");
}

Test(newfile_place, a_file_that_lost_its_name)
{
	AUTO_CLOSE int fd = -1;
	char path[40], text[4] = "";

	make_file("disk", 3, 'o');
	fd = open("disk", O_RDWR);
	unlink("disk");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	make_ok(path, "new", 0);
	cr_assert_eq(pread(fd, text, 3, 0), 3);
	cr_assert_str_eq(text, "new");
	cr_assert_eq(count_names("."), 0);
}

Test(newfile_place, pipes)
{
	char text[10] = "";
	struct newfile file;
	pid_t writer;
	int fd, status;

	cr_assert_eq(mkfifo("pipe", 0600), 0);
	writer = fork();
	if (!writer) {
		begin_ok(&file, "pipe", NEWFILE_SYNC);
		cr_assert(file.in_place && file.is_device);
		put(&file, "through");
		publish_ok(&file);
		_exit(0);
	}
	fd = open("pipe", O_RDONLY);
	cr_assert_eq(read(fd, text, sizeof(text)), 7);
	cr_assert_str_eq(text, "through");
	cr_assert_eq(waitpid(writer, &status, 0), writer);
	cr_assert_eq(status, 0);
	close(fd);
}

Test(newfile_place, character_devices)
{
	struct newfile file;

	begin_ok(&file, "/dev/null", NEWFILE_SYNC);
	cr_assert(file.in_place && file.is_device);
	put(&file, "gone");
	publish_ok(&file);
}

Test(newfile_place, block_devices)
{
	struct gild_error err = { 0 };
	struct storage *disk;
	struct newfile file;

	make_file("back", 1 << 20, 'o');
	disk = open_loop(STORAGE_WRITE, &err);
	cr_assert_not_null(disk, "%s", err.message);
	begin_ok(&file, disk->path, NEWFILE_SYNC);
	cr_assert(file.in_place && file.is_device);
	cr_assert_eq(pwrite(file.fd, "new", 3, 4096), 3);
	publish_ok(&file);
	cr_assert(holds(disk, 'o', 4096, 0));
	cr_assert(holds(disk, 'e', 1, 4097));
	/* In use. */
	cr_assert_eq(lock_take(storage_descriptor(disk), disk->path,
			       LOCK_READER_USES, LOCK_READER_DENIES, &err),
		     0);
	cr_assert_eq(newfile_begin(&file, disk->path, 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	storage_close(disk);
}

/* --- other file systems -------------------------------------------------- */

/* ramfs and vfat: no unnamed files, and the second has no links either. */
static void try_poor(const char *folder)
{
	char path[40];

	snprintf(path, sizeof(path), "%s/disk", folder);
	make_ok(path, "first", 0);
	assert_content(path, "first");
	make_ok(path, "second", 0);
	assert_content(path, "second");
	assert_fails(path, NEWFILE_NEW_ONLY, EEXIST);
	snprintf(path, sizeof(path), "%s/other", folder);
	make_ok(path, "third", NEWFILE_NEW_ONLY | NEWFILE_SYNC);
	assert_content(path, "third");
	cr_assert_eq(count_names(folder), 2);
}

Test(newfile_place, ramfs)
{
	private_mounts();
	mkdir("poor", 0755);
	if (mount("none", "poor", "ramfs", 0, NULL))
		cr_skip_test("no ramfs");
	try_poor("poor");
	umount("poor");
}

Test(newfile_place, vfat)
{
	private_mounts();
	mkdir("poor", 0755);
	if (system("truncate -s 8M fs && mkfs.vfat fs >/dev/null 2>&1 && "
		   "mount -o loop fs poor 2>/dev/null"))
		cr_skip_test("no vfat (package dosfstools)");
	try_poor("poor");
	umount("poor");
}

Test(newfile_place, a_full_disk)
{
	struct gild_error err;
	struct newfile file;

	private_mounts();
	mkdir("small", 0755);
	if (mount("none", "small", "tmpfs", 0, "nr_inodes=3"))
		cr_skip_test("no tmpfs");
	make_file("small/one", 1, 'x');
	make_file("small/disk", 3, 'o');
	/* No inode for a successor: nothing is emptied instead. */
	cr_assert_eq(newfile_begin(&file, "small/disk", 0, &err), -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	assert_fails("small/new", 0, ENOSPC);
	assert_content("small/disk", "ooo");
	umount("small");
}

/* Without /proc and privileges an unnamed file could not get its name. */
Test(newfile_place, without_proc)
{
	private_mounts();
	chmod(".", 0777);
	if (umount2("/proc", MNT_DETACH))
		cr_skip_test("/proc stays");
	cr_assert_eq(seteuid(NOBODY), 0);
	make_ok("disk", "new", 0);
	make_ok("disk", "newer", 0);
	cr_assert_eq(seteuid(0), 0);
	assert_content("disk", "newer");
	cr_assert_eq(count_names("."), 1);
}
