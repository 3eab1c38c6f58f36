/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that appear whole: new ones and replaced ones. After each test the
 * folder holds what it should and nothing else.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <sys/xattr.h>

#include "storage/lock.h"
#include "storage/test-newfile.h"

TestSuite(newfile, .init = folder_enter, .fini = folder_leave, .timeout = 60);

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

/* --- failing at the end -------------------------------------------------- */

/* What cannot be synced, under the descriptor's number. */
static void break_descriptor(struct newfile *file)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(dup2(ends[0], file->fd), file->fd);
	close(ends[0]);
	close(ends[1]);
}

Test(newfile, without_sync_nothing_is_replaced)
{
	for (unsigned flags = 0; flags <= NEWFILE_NAMED;
	     flags += NEWFILE_NAMED) {
		struct gild_error err;
		struct newfile file;

		make_file("disk", 3, 'o');
		begin_ok(&file, "disk", flags);
		break_descriptor(&file);
		cr_assert_eq(newfile_publish(&file, &err), -1);
		cr_assert_eq(strncmp(err.message,
				     "disk: did not reach the disk: ", 30),
			     0, "%s", err.message);
		assert_content("disk", "ooo");
		begin_ok(&file, "new", flags | NEWFILE_SYNC);
		break_descriptor(&file);
		cr_assert_eq(newfile_publish(&file, &err), -1);
		cr_assert_eq(count_names("."), 1);
	}
}

Test(newfile, a_folder_that_goes_away)
{
	struct gild_error err;
	struct newfile file;

	mkdir("folder", 0755);
	begin_ok(&file, "folder/disk", 0);
	rmdir("folder");
	cr_assert_eq(newfile_publish(&file, &err), -1);
	cr_assert_eq(strncmp(err.message,
			     "folder/disk: cannot be given its name: ", 39),
		     0, "%s", err.message);
}

/* What may be written but not read cannot be synced by itself. */
Test(newfile, a_folder_that_may_not_be_read)
{
	need_root();
	mkdir("drop", 0755);
	cr_assert_eq(chown("drop", NOBODY, NOBODY), 0);
	chmod("drop", 0333);
	chmod(".", 0755);
	cr_assert_eq(seteuid(NOBODY), 0);
	make_ok("drop/disk", "new", NEWFILE_SYNC);
	make_ok("drop/disk", "newer", NEWFILE_SYNC | NEWFILE_NAMED);
	cr_assert_eq(seteuid(0), 0);
	assert_content("drop/disk", "newer");
	cr_assert_eq(count_names("drop"), 1);
}
