/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The locks beside those of a running qemu-io, in both directions, and beside
 * our own. Without qemu-io those tests are skipped.
 */
#include <criterion/criterion.h>

#include <errno.h>

#include "storage/lock.h"
#include "storage/test-folder.h"
#include "util/cleanup.h"

TestSuite(lock, .init = folder_enter, .fini = folder_leave, .timeout = 60);

#define WRITER LOCK_WRITER_USES, LOCK_WRITER_DENIES
#define READER LOCK_READER_USES, LOCK_READER_DENIES

static int open_disk(const char *name)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static void need_qemu(void)
{
	if (system("qemu-io --version >/dev/null 2>&1"))
		cr_skip_test("qemu-io is not there (package qemu-utils)");
}

/* Keep a qemu-io with the image open until its standard input ends. */
static FILE *start_qemu(const char *arguments)
{
	char command[300];
	FILE *qemu;
	int ready;

	/* Its answer to the first command says that the image is open. */
	cr_assert_eq(mkfifo("ready", 0600), 0);
	snprintf(command, sizeof(command), "exec qemu-io %s >ready 2>&1",
		 arguments);
	qemu = popen(command, "w");
	cr_assert_not_null(qemu);
	fputs("length\n", qemu);
	fflush(qemu);
	ready = open("ready", O_RDONLY);
	cr_assert_geq(ready, 0);
	for (char c = 0; c != '\n';)
		cr_assert_eq(read(ready, &c, 1), 1, "qemu-io ended early");
	unlink("ready");
	/* Stays open: qemu-io goes on to write into it. */
	return qemu;
}

static bool qemu_can_open(const char *arguments)
{
	char command[300];
	bool refused;

	snprintf(command, sizeof(command),
		 "qemu-io %s -c length >out 2>&1 </dev/null", arguments);
	if (system(command) == 0)
		return true;
	refused = !system("grep -q 'Failed to get.*lock' out");
	cr_assert(refused, "failed for another reason");
	return false;
}

static void assert_busy(const char *name, unsigned uses, unsigned denies,
			const char *message, const char *hint)
{
	AUTO_CLOSE int fd = open_disk(name);
	struct gild_error err = { 0 };

	cr_assert_eq(lock_take(fd, name, uses, denies, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	cr_assert_str_eq(err.message, message);
	cr_assert_not_null(strstr(err.hint, hint), "%s", err.hint);
}

static void assert_free(const char *name, unsigned uses, unsigned denies)
{
	AUTO_CLOSE int fd = open_disk(name);
	struct gild_error err = { 0 };

	cr_assert_eq(lock_take(fd, name, uses, denies, &err), 0, "%s",
		     err.message);
}

static void assert_look(const char *name, bool used, bool written)
{
	AUTO_CLOSE int fd = open_disk(name);
	bool in_use, being_written;

	cr_assert_eq(lock_look(fd, &in_use, &being_written, NULL), 0);
	cr_assert_eq(in_use, used);
	cr_assert_eq(being_written, written);
}

/* --- ours beside ours ---------------------------------------------------- */

Test(lock, readers_share)
{
	AUTO_CLOSE int fd = -1;

	make_file("disk", 512, 0);
	assert_look("disk", false, false);
	fd = open_disk("disk");
	cr_assert_eq(lock_take(fd, "disk", READER, NULL), 0);
	assert_free("disk", READER);
	assert_look("disk", true, false);
	assert_busy("disk", WRITER,
		    "disk: is in use: cannot get \"write\" lock",
		    "open already in this process");
}

Test(lock, a_writer_is_alone)
{
	AUTO_CLOSE int fd = -1;

	make_file("disk", 512, 0);
	fd = open_disk("disk");
	cr_assert_eq(lock_take(fd, "disk", WRITER, NULL), 0);
	assert_look("disk", true, true);
	assert_busy("disk", WRITER,
		    "disk: is in use: cannot get \"write\" lock", "open");
	assert_busy("disk", READER,
		    "disk: is being written: cannot get shared \"write\" lock",
		    "open");
}

/* A duplicate belongs to the same opening, and the last one to close ends the
 * locks. */
Test(lock, duplicates_share_locks)
{
	AUTO_CLOSE int copy = -1;

	make_file("disk", 512, 0);
	{
		AUTO_CLOSE int fd = open_disk("disk");

		cr_assert_eq(lock_take(fd, "disk", WRITER, NULL), 0);
		copy = dup(fd);
	}
	cr_assert_eq(lock_take(copy, "disk", WRITER, NULL), 0);
	assert_look("disk", true, true);
	close(steal_fd(&copy));
	assert_look("disk", false, false);
}

Test(lock, a_refused_one_holds_nothing)
{
	AUTO_CLOSE int first = -1, second = -1;

	make_file("disk", 512, 0);
	first = open_disk("disk");
	second = open_disk("disk");
	cr_assert_eq(lock_take(first, "disk", READER, NULL), 0);
	cr_assert_eq(lock_take(second, "disk", WRITER, NULL), -1);
	close(steal_fd(&first));
	assert_look("disk", false, false);
}

Test(lock, exclusive_locks_of_others_are_respected)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	AUTO_CLOSE int fd = -1, other = -1;
	struct gild_error err;

	make_file("disk", 512, 0);
	other = open_disk("disk");
	cr_assert_eq(fcntl(other, F_OFD_SETLK, &all), 0);
	fd = open_disk("disk");
	cr_assert_eq(lock_take(fd, "disk", READER, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	cr_assert_str_eq(err.message, "disk: is locked by another process");
}

Test(lock, bad_descriptor)
{
	bool in_use, being_written;
	struct gild_error err;

	cr_assert_eq(lock_take(-1, "disk", READER, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(err.sys_errno, EBADF);
	cr_assert_eq(lock_look(-1, &in_use, &being_written, &err), -1);
	cr_assert_eq(err.sys_errno, EBADF);
}

/* --- ours beside QEMU's (which denies nothing to others of a raw file) ---- */

static void make_images(void)
{
	need_qemu();
	cr_assert_eq(
		system("qemu-img create -q -f qcow2 base 1M &&"
		       "qemu-img create -q -f qcow2 -b base -F qcow2 disk"),
		0);
}

Test(lock, qemu_writes)
{
	FILE *qemu;

	make_images();
	qemu = start_qemu("-f qcow2 disk");
	assert_look("disk", true, true);
	assert_busy("disk", READER,
		    "disk: is being written: cannot get shared \"write\" lock",
		    "(qemu-io) holds it; stop it first");
	assert_busy("disk", WRITER,
		    "disk: is in use: cannot get \"write\" lock",
		    "(qemu-io) holds it; stop it first");
	/* The base of a clone that is in use. */
	assert_look("base", true, false);
	assert_free("base", READER);
	assert_busy("base", WRITER,
		    "base: is in use: cannot get \"write\" lock", "(qemu-io)");
	pclose(qemu);
	assert_look("disk", false, false);
	assert_free("disk", WRITER);
	assert_free("base", WRITER);
}

Test(lock, qemu_reads)
{
	FILE *qemu;

	make_images();
	qemu = start_qemu("-r -f qcow2 disk");
	assert_look("disk", true, false);
	assert_free("disk", READER);
	assert_busy("disk", WRITER,
		    "disk: is in use: cannot get \"write\" lock", "(qemu-io)");
	pclose(qemu);
}

Test(lock, qemu_meets_a_reader)
{
	AUTO_CLOSE int fd = -1;

	make_images();
	fd = open_disk("disk");
	cr_assert_eq(lock_take(fd, "disk", READER, NULL), 0);
	cr_assert(qemu_can_open("-r -f qcow2 disk"));
	cr_assert_not(qemu_can_open("-f qcow2 disk"));
	close(steal_fd(&fd));
	cr_assert(qemu_can_open("-f qcow2 disk"));
}

Test(lock, qemu_meets_a_writer)
{
	AUTO_CLOSE int fd = -1;

	make_images();
	fd = open_disk("disk");
	cr_assert_eq(lock_take(fd, "disk", WRITER, NULL), 0);
	cr_assert_not(qemu_can_open("-r -f qcow2 disk"));
	cr_assert_not(qemu_can_open("-f qcow2 disk"));
	/* -U asks nobody. */
	cr_assert(qemu_can_open("-r -U -f qcow2 disk"));
}

Test(lock, qemu_meets_a_writer_of_its_base)
{
	AUTO_CLOSE int fd = -1;

	make_images();
	fd = open_disk("base");
	cr_assert_eq(lock_take(fd, "base", WRITER, NULL), 0);
	cr_assert_not(qemu_can_open("-f qcow2 disk"));
}
