/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that appear whole: new ones, replaced ones, and those that have to be
 * written in place. After each test the folder holds what it should and
 * nothing else.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "storage/lock.h"
#include "storage/newfile.h"
#include "storage/test-disk.h"

TestSuite(newfile, .init = folder_enter, .fini = folder_leave, .timeout = 60);

static const uid_t nobody = 65534;

static void begin_ok(struct newfile *file, const char *path, unsigned flags)
{
	struct gild_error err = { 0 };

	cr_assert_eq(newfile_begin(file, path, flags, &err), 0, "%s",
		     err.message);
}

static void put(struct newfile *file, const char *text)
{
	ssize_t length = strlen(text);

	cr_assert_eq(write(file->fd, text, length), length);
}

static void publish_ok(struct newfile *file)
{
	struct gild_error err = { 0 };

	cr_assert_eq(newfile_publish(file, &err), 0, "%s", err.message);
	cr_assert_eq(file->fd, -1);
}

static void make_ok(const char *path, const char *text, unsigned flags)
{
	struct newfile file;

	begin_ok(&file, path, flags);
	put(&file, text);
	publish_ok(&file);
}

static void assert_content(const char *path, const char *text)
{
	char content[100] = "";
	AUTO_CLOSE int fd = open(path, O_RDONLY);
	ssize_t length = read(fd, content, sizeof(content) - 1);

	cr_assert_geq(length, 0, "%s", path);
	cr_assert_str_eq(content, text);
}

/* Names in a folder, hidden ones too. */
static int count_names(const char *path)
{
	const struct dirent *entry;
	DIR *folder = opendir(path);
	int count = -2;

	cr_assert_not_null(folder);
	while ((entry = readdir(folder)))
		count++;
	closedir(folder);
	return count;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_ino;
}

static void assert_fails(const char *path, unsigned flags, int eno)
{
	struct gild_error err = { 0 };
	struct newfile file;

	cr_assert_eq(newfile_begin(&file, path, flags, &err), -1);
	cr_assert_eq(err.sys_errno, eno, "%s", err.message);
	cr_assert_eq(strncmp(err.message, path, strlen(path)), 0, "%s",
		     err.message);
}

/* With and without unnamed files, with and without sync. */
static const unsigned ways[] = {
	0,
	NEWFILE_NAMED,
	NEWFILE_SYNC,
	NEWFILE_NAMED | NEWFILE_SYNC,
	NEWFILE_NEW_ONLY,
	NEWFILE_NEW_ONLY | NEWFILE_NAMED,
};

#define for_each_way(way)                \
	for (const unsigned *way = ways; \
	     way < ways + sizeof(ways) / sizeof(*ways); way++)

/* --- new names ----------------------------------------------------------- */

Test(newfile, appears_at_the_end)
{
	for_each_way(way)
	{
		struct newfile file;

		begin_ok(&file, "disk", *way);
		put(&file, "hello");
		cr_assert_eq(access("disk", F_OK), -1);
		cr_assert_eq(count_names("."), *way & NEWFILE_NAMED ? 1 : 0);
		cr_assert_not(file.in_place || file.replaces);
		publish_ok(&file);
		assert_content("disk", "hello");
		cr_assert_eq(count_names("."), 1);
		newfile_unpublish("disk");
		cr_assert_eq(count_names("."), 0);
	}
}

Test(newfile, abandoned_ones_leave_nothing)
{
	for_each_way(way)
	{
		struct newfile file;

		begin_ok(&file, "disk", *way);
		put(&file, "hello");
		newfile_abandon(&file);
		cr_assert_eq(count_names("."), 0);
	}
}

Test(newfile, honours_the_umask)
{
	for_each_way(way)
	{
		umask(027);
		make_ok("disk", "", *way);
		make_ok("secret", "", *way | NEWFILE_PRIVATE);
		cr_assert_eq(mode_of("disk"), 0640);
		cr_assert_eq(mode_of("secret"), 0600);
		unlink("disk");
		unlink("secret");
	}
}

Test(newfile, odd_names)
{
	static const char *const names[] = {
		"with space", "line\nbreak", "-x",    "%s%n", "\xff\xfe",
		"a:b",	      "./dot",	     "$(rm)", ";x",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		make_ok(names[i], names[i], NEWFILE_NEW_ONLY);
		assert_content(names[i], names[i]);
		make_ok(names[i], "again", 0);
		assert_content(names[i], "again");
	}
	cr_assert_eq(count_names("."), sizeof(names) / sizeof(*names));
}

Test(newfile, longest_names)
{
	char name[257];

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	for_each_way(way)
	{
		make_ok(name, "x", *way);
		unlink(name);
	}
	name[255] = 'n';
	name[256] = 0;
	assert_fails(name, NEWFILE_NEW_ONLY, ENAMETOOLONG);
	assert_fails(name, 0, ENAMETOOLONG);
}

Test(newfile, names_that_cannot_be)
{
	mkdir("folder", 0755);
	assert_fails("", 0, ENOENT);
	assert_fails("none/disk", 0, ENOENT);
	assert_fails("none/disk", NEWFILE_NEW_ONLY, ENOENT);
	assert_fails("folder", 0, EISDIR);
	assert_fails("folder/", NEWFILE_NEW_ONLY, EISDIR);
	assert_fails("folder/..", NEWFILE_NEW_ONLY, EISDIR);
	make_file("plain", 1, 'x');
	assert_fails("plain/disk", 0, ENOTDIR);
	cr_assert_eq(symlink("loop", "loop"), 0);
	assert_fails("loop", 0, ELOOP);
}

Test(newfile, new_only_refuses_what_is_there)
{
	make_file("disk", 1, 'x');
	cr_assert_eq(symlink("nothing", "link"), 0);
	assert_fails("disk", NEWFILE_NEW_ONLY, EEXIST);
	assert_fails("link", NEWFILE_NEW_ONLY, EEXIST);
	assert_content("disk", "x");
}

/* The name was free when we began. */
Test(newfile, does_not_replace_what_came_meanwhile)
{
	for_each_way(way)
	{
		struct gild_error err;
		struct newfile file;

		begin_ok(&file, "disk", *way);
		put(&file, "ours");
		make_file("disk", 1, 'x');
		cr_assert_eq(newfile_publish(&file, &err), -1);
		cr_assert_eq(err.sys_errno, EEXIST);
		assert_content("disk", "x");
		cr_assert_eq(count_names("."), 1);
		unlink("disk");
	}
}

/* --- links --------------------------------------------------------------- */

Test(newfile, links_are_followed)
{
	mkdir("a", 0755);
	mkdir("b", 0755);
	make_file("b/disk", 1, 'x');
	cr_assert_eq(symlink("../b/disk", "a/link"), 0);
	cr_assert_eq(symlink("a/link", "first"), 0);
	for_each_way(way)
	{
		if (*way & NEWFILE_NEW_ONLY)
			continue;
		make_ok("first", "new", *way);
		assert_content("b/disk", "new");
		cr_assert_eq(count_names("a"), 1);
		cr_assert_eq(count_names("b"), 1);
	}
}

Test(newfile, links_to_nothing_are_followed)
{
	char absolute[600];

	mkdir("b", 0755);
	snprintf(absolute, sizeof(absolute), "%s/b/two", folder_path);
	cr_assert_eq(symlink("b/one", "first"), 0);
	cr_assert_eq(symlink(absolute, "second"), 0);
	make_ok("first", "1", 0);
	make_ok("second", "2", NEWFILE_NAMED);
	assert_content("b/one", "1");
	assert_content("b/two", "2");
	cr_assert_eq(count_names("."), 3);
}

/* --- replacing ----------------------------------------------------------- */

Test(newfile, the_old_file_stays_until_the_end)
{
	for_each_way(way)
	{
		struct newfile file;
		ino_t old;

		if (*way & NEWFILE_NEW_ONLY)
			continue;
		make_file("disk", 3, 'o');
		old = inode_of("disk");
		begin_ok(&file, "disk", *way);
		cr_assert(file.replaces && !file.in_place);
		put(&file, "new");
		assert_content("disk", "ooo");
		newfile_abandon(&file);
		assert_content("disk", "ooo");
		cr_assert_eq(count_names("."), 1);
		make_ok("disk", "new", *way);
		assert_content("disk", "new");
		cr_assert_neq(inode_of("disk"), old);
		cr_assert_eq(count_names("."), 1);
	}
}

Test(newfile, mode_and_attributes_stay)
{
	char value[10] = "";

	make_file("disk", 3, 'o');
	chmod("disk", 0604);
	if (setxattr("disk", "user.note", "golden", 6, 0))
		cr_skip_test("no extended attributes here");
	umask(077);
	for_each_way(way)
	{
		if (*way & NEWFILE_NEW_ONLY)
			continue;
		make_ok("disk", "new", *way);
		cr_assert_eq(mode_of("disk"), 0604);
		memset(value, 0, sizeof(value));
		cr_assert_eq(getxattr("disk", "user.note", value, 10), 6);
		cr_assert_str_eq(value, "golden");
	}
	make_ok("disk", "new", NEWFILE_PRIVATE);
	cr_assert_eq(mode_of("disk"), 0600);
}

/* A list in the folder would be inherited by new files. */
Test(newfile, access_lists_are_the_old_files_own)
{
	static const char list[] = "\x02\0\0\0"
				   "\x01\0\x06\0\xff\xff\xff\xff"
				   "\x02\0\x04\0\x01\0\0\0"
				   "\x04\0\x04\0\xff\xff\xff\xff"
				   "\x10\0\x06\0\xff\xff\xff\xff"
				   "\x20\0\0\0\xff\xff\xff\xff";
	const char *access = "system.posix_acl_access";
	char value[100];

	make_file("plain", 1, 'x');
	make_file("listed", 1, 'x');
	chmod("plain", 0640);
	if (setxattr("listed", access, list, sizeof(list) - 1, 0) ||
	    setxattr(".", "system.posix_acl_default", list, sizeof(list) - 1,
		     0))
		cr_skip_test("no access lists here");
	make_ok("plain", "new", 0);
	cr_assert_eq(getxattr("plain", access, value, sizeof(value)), -1);
	cr_assert_eq(mode_of("plain"), 0640);
	make_ok("listed", "new", 0);
	cr_assert_eq(getxattr("listed", access, value, sizeof(value)),
		     sizeof(list) - 1);
	make_ok("listed", "new", NEWFILE_PRIVATE);
	cr_assert_eq(getxattr("listed", access, value, sizeof(value)), -1);
	cr_assert_eq(mode_of("listed"), 0600);
}

static void need_root(void)
{
	if (geteuid())
		cr_skip_test("needs root");
}

Test(newfile, owner_stays)
{
	struct stat st;

	need_root();
	make_file("disk", 3, 'o');
	cr_assert_eq(chown("disk", 1234, 5678), 0);
	chmod("disk", 04755);
	make_ok("disk", "new", 0);
	cr_assert_eq(stat("disk", &st), 0);
	cr_assert_eq(st.st_uid, 1234);
	cr_assert_eq(st.st_gid, 5678);
	cr_assert_eq(st.st_mode & 07777, 04755);
}

Test(newfile, a_file_in_use_is_left_alone)
{
	struct gild_error err;
	struct newfile file;
	AUTO_CLOSE int fd = -1;

	make_file("disk", 3, 'o');
	fd = open("disk", O_RDWR);
	cr_assert_eq(lock_take(fd, "disk", LOCK_READER_USES, LOCK_READER_DENIES,
			       NULL),
		     0);
	cr_assert_eq(newfile_begin(&file, "disk", 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	/* Not even by its other name. */
	cr_assert_eq(link("disk", "other"), 0);
	cr_assert_eq(newfile_begin(&file, "other", 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	assert_content("disk", "ooo");
}

Test(newfile, the_old_file_is_locked_meanwhile)
{
	struct newfile file;
	AUTO_CLOSE int fd = -1;

	make_file("disk", 3, 'o');
	begin_ok(&file, "disk", 0);
	fd = open("disk", O_RDWR);
	cr_assert_eq(lock_take(fd, "disk", LOCK_WRITER_USES, LOCK_WRITER_DENIES,
			       NULL),
		     -1);
	publish_ok(&file);
	cr_assert_eq(lock_take(fd, "disk", LOCK_WRITER_USES, LOCK_WRITER_DENIES,
			       NULL),
		     0);
}

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

Test(newfile, several_links)
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

Test(newfile, a_folder_that_may_not_be_written)
{
	need_root();
	mkdir("closed", 0755);
	make_file("closed/disk", 3, 'o');
	cr_assert_eq(chown("closed/disk", nobody, nobody), 0);
	chmod(".", 0755);
	cr_assert_eq(seteuid(nobody), 0);
	assert_in_place("closed/disk", 0);
	assert_in_place("closed/disk", NEWFILE_NAMED);
	assert_fails("closed/new", 0, EACCES);
	assert_fails("closed/new", NEWFILE_NAMED, EACCES);
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(count_names("closed"), 1);
}

Test(newfile, an_owner_that_cannot_be_given)
{
	need_root();
	mkdir("open", 0755);
	chmod("open", 0777);
	make_file("open/disk", 3, 'o');
	chmod("open/disk", 0666);
	make_file("open/fixed", 3, 'o');
	chmod(".", 0755);
	cr_assert_eq(seteuid(nobody), 0);
	assert_in_place("open/disk", 0);
	assert_in_place("open/disk", NEWFILE_NAMED);
	assert_fails("open/fixed", 0, EACCES);
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(count_names("open"), 2);
}

Test(newfile, something_mounted_on_the_name)
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

Test(newfile, a_file_that_lost_its_name)
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

Test(newfile, pipes)
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

Test(newfile, character_devices)
{
	struct newfile file;

	begin_ok(&file, "/dev/null", NEWFILE_SYNC);
	cr_assert(file.in_place && file.is_device);
	put(&file, "gone");
	publish_ok(&file);
}

Test(newfile, block_devices)
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

Test(newfile, ramfs)
{
	private_mounts();
	mkdir("poor", 0755);
	if (mount("none", "poor", "ramfs", 0, NULL))
		cr_skip_test("no ramfs");
	try_poor("poor");
	umount("poor");
}

Test(newfile, vfat)
{
	private_mounts();
	mkdir("poor", 0755);
	if (system("truncate -s 8M fs && mkfs.vfat fs >/dev/null 2>&1 && "
		   "mount -o loop fs poor 2>/dev/null"))
		cr_skip_test("no vfat (package dosfstools)");
	try_poor("poor");
	umount("poor");
}

Test(newfile, a_full_disk)
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
Test(newfile, without_proc)
{
	private_mounts();
	chmod(".", 0777);
	if (umount2("/proc", MNT_DETACH))
		cr_skip_test("/proc stays");
	cr_assert_eq(seteuid(nobody), 0);
	make_ok("disk", "new", 0);
	make_ok("disk", "newer", 0);
	cr_assert_eq(seteuid(0), 0);
	assert_content("disk", "newer");
	cr_assert_eq(count_names("."), 1);
}
