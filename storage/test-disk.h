/* SPDX-License-Identifier: BSD-3-Clause */
/* Storages for tests of file.c and file-space.c: opened, filled, compared;
 * and, for root, mounts and loop devices that vanish with the test. */
#ifndef STORAGE_TEST_DISK_H
#define STORAGE_TEST_DISK_H

#include <criterion/criterion.h>

#include <sched.h>
#include <sys/mount.h>

#include "storage/storage.h"
#include "storage/test-folder.h"
#include "util/cleanup.h"
#include "util/memory.h"

enum {
	KiB = 1024,
	MiB = 1024 * 1024
};

static inline struct storage *open_ok(const char *name, unsigned flags)
{
	struct gild_error err = { 0 };
	struct storage *storage = storage_file_open(name, flags, &err);

	cr_assert_not_null(storage, "%s", err.message);
	return storage;
}

static inline void write_ok(struct storage *storage, int fill, size_t length,
			    uint64_t offset)
{
	AUTO_FREE void *buffer = memory_io_buffer(length);
	struct gild_error err = { 0 };

	memset(buffer, fill, length);
	cr_assert_eq(storage_write(storage, buffer, length, offset, &err), 0,
		     "%s", err.message);
}

/* Does a range hold only this byte, read both ways? */
static inline bool holds(struct storage *storage, int fill, size_t length,
			 uint64_t offset)
{
	AUTO_FREE unsigned char *buffer = memory_io_buffer(length);
	struct gild_error err = { 0 };

	memset(buffer, ~fill, length);
	cr_assert_eq(storage_read(storage, buffer, length, offset, &err), 0,
		     "%s", err.message);
	for (size_t i = 0; i < length; i++)
		if (buffer[i] != (unsigned char)fill)
			return false;
	return true;
}

/* Mounts of this test's process are seen by nobody else, and end with it. */
static inline void private_mounts(void)
{
	if (geteuid() || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		cr_skip_test("needs root");
}

/* A loop device that goes away when the last user closes it. */
static inline struct storage *open_loop(unsigned flags, struct gild_error *err)
{
	char command[700], name[64] = "";
	struct storage *storage;
	FILE *losetup;

	if (geteuid())
		cr_skip_test("needs root");
	losetup = popen("losetup -f --show back 2>/dev/null", "r");
	if (!losetup || !fgets(name, sizeof(name), losetup) || pclose(losetup))
		cr_skip_test("no loop devices");
	name[strcspn(name, "\n")] = 0;
	storage = storage_file_open(name, flags, err);
	snprintf(command, sizeof(command), "losetup -d %s", name);
	cr_assert_eq(system(command), 0);
	return storage;
}

#endif
