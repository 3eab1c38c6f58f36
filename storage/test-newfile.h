/* SPDX-License-Identifier: BSD-3-Clause */
/* Steps of the tests of newfile.c: made, looked at, counted. */
#ifndef STORAGE_TEST_NEWFILE_H
#define STORAGE_TEST_NEWFILE_H

#include <criterion/criterion.h>

#include <dirent.h>
#include <sys/wait.h>

#include "storage/newfile.h"
#include "storage/test-disk.h"

#define NOBODY 65534

static inline void begin_ok(struct newfile *file, const char *path,
			    unsigned flags)
{
	struct gild_error err = { 0 };

	cr_assert_eq(newfile_begin(file, path, flags, &err), 0, "%s",
		     err.message);
}

static inline void put(struct newfile *file, const char *text)
{
	ssize_t length = strlen(text);

	cr_assert_eq(write(file->fd, text, length), length);
}

static inline void publish_ok(struct newfile *file)
{
	struct gild_error err = { 0 };

	cr_assert_eq(newfile_publish(file, &err), 0, "%s", err.message);
	cr_assert_eq(file->fd, -1);
}

static inline void make_ok(const char *path, const char *text, unsigned flags)
{
	struct newfile file;

	begin_ok(&file, path, flags);
	put(&file, text);
	publish_ok(&file);
}

static inline void assert_content(const char *path, const char *text)
{
	char content[100] = "";
	AUTO_CLOSE int fd = open(path, O_RDONLY);
	ssize_t length = read(fd, content, sizeof(content) - 1);

	cr_assert_geq(length, 0, "%s", path);
	cr_assert_str_eq(content, text);
}

/* Names in a folder, hidden ones too. */
static inline int count_names(const char *path)
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

static inline mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static inline ino_t inode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_ino;
}

static inline void assert_fails(const char *path, unsigned flags, int eno)
{
	struct gild_error err = { 0 };
	struct newfile file;

	cr_assert_eq(newfile_begin(&file, path, flags, &err), -1);
	cr_assert_eq(err.sys_errno, eno, "%s", err.message);
	cr_assert_eq(strncmp(err.message, path, strlen(path)), 0, "%s",
		     err.message);
}

/* With and without unnamed files, with and without sync. */
static const unsigned ways[] __attribute__((unused)) = {
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

static inline void need_root(void)
{
	if (geteuid())
		cr_skip_test("needs root");
}

#endif
