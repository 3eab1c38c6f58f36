/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening: what an image leads to as far as the policy goes, chains that are
 * too long or lead back, files that are not there. Formats by name and magic
 * are in test-doors.c. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/test-folder.h"
#include "tests/lib/disk.h"

TestSuite(open, .timeout = 60, .init = folder_enter, .fini = folder_leave);

static const struct gild_policy none = { .follow = GILD_FOLLOW_NONE };
static const struct gild_policy paths = { .follow = GILD_FOLLOW_PATHS };

static void create(const char *name, const char *backing, const char *format)
{
	struct gild_create_options create = {
		.format = "qcow2",
		.size = 1 << 20,
		.backing = backing,
		.backing_format = format,
		.flags = GILD_CREATE_UNCHECKED,
	};
	struct gild_error err;

	cr_assert_eq(gild_create(name, &create, &err), 0, "%s", err.message);
}

static struct gild_image *try_open(const char *name, unsigned flags,
				   struct gild_policy policy,
				   struct gild_error *err)
{
	struct gild_open_options options = { .format = "qcow2",
					     .flags = flags,
					     .policy = policy };

	memset(err, 0, sizeof(*err));
	return gild_open(name, &options, err);
}

static void expect(const char *name, struct gild_policy policy,
		   enum gild_error_kind kind, const char *what)
{
	struct gild_error err;

	cr_assert_null(try_open(name, 0, policy, &err));
	cr_assert_eq(err.kind, kind, "%d: %s", err.kind, err.message);
	cr_assert(strstr(err.message, what), "%s", err.message);
}

static void opens(const char *name, unsigned flags, struct gild_policy policy)
{
	struct gild_error err;
	struct gild_image *image = try_open(name, flags, policy, &err);

	cr_assert_not_null(image, "%s", err.message);
	cr_assert_eq(gild_close(image, &err), 0);
}

Test(open, tells_what_it_opened)
{
	struct gild_error err;
	struct gild_image *image;

	create("a.qcow2", NULL, NULL);
	image = try_open("a.qcow2", 0, none, &err);
	cr_assert_eq(gild_size(image), 1 << 20);
	cr_assert_str_eq(gild_format(image), "qcow2");
	cr_assert_str_eq(gild_path(image), "a.qcow2");
	gild_close(image, NULL);
}

Test(open, without_options_it_reads_and_follows_nothing)
{
	struct gild_image *image;
	struct gild_error err;

	create("a.qcow2", NULL, NULL);
	image = gild_open("a.qcow2", NULL, &err);
	cr_assert_not_null(image);
	cr_assert_eq(gild_write(image, "x", 1, 0, &err), -1);
	gild_close(image, NULL);
	create("b.qcow2", "a.qcow2", "qcow2");
	cr_assert_null(gild_open("b.qcow2", NULL, &err));
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
}

Test(open, unknown_formats)
{
	struct gild_open_options options = { .format = "vmdk" };
	struct gild_error err;

	make_file("a", 512, 0);
	cr_assert_null(gild_open("a", &options, &err));
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	create("b.qcow2", "a", "raw");
	/* As another tool may have recorded it. */
	cr_assert_eq(system("qemu-img rebase -q -u -b a -F vmdk b.qcow2"), 0);
	expect("b.qcow2", paths, GILD_ERR_UNSUPPORTED, "vmdk");
	cr_assert_null(try_open("b.qcow2", 0, paths, &err));
	cr_assert(strstr(err.hint, "raw, qcow2"));
}

Test(open, policy_of_none_leads_nowhere)
{
	make_file("base", 1 << 20, 'b');
	create("top.qcow2", "base", "raw");
	expect("top.qcow2", none, GILD_ERR_DENIED, "base");
	opens("top.qcow2", GILD_OPEN_NO_BACKING, none);
	opens("top.qcow2", GILD_OPEN_INSPECT, none);
	opens("top.qcow2", 0, paths);
}

Test(open, only_below_a_folder)
{
	struct gild_policy below = paths;

	below.below = "in";
	cr_assert_eq(mkdir("in", 0755), 0);
	make_file("in/base", 1 << 20, 'b');
	make_file("out", 1 << 20, 'b');
	cr_assert_eq(symlink("../out", "in/link"), 0);
	create("good.qcow2", "in/base", "raw");
	create("bad.qcow2", "out", "raw");
	create("sly.qcow2", "in/link", "raw");
	opens("good.qcow2", 0, below);
	expect("bad.qcow2", below, GILD_ERR_DENIED, "out");
	expect("sly.qcow2", below, GILD_ERR_DENIED, "link");
}

Test(open, a_missing_backing_file)
{
	create("top.qcow2", "not-there", "raw");
	expect("top.qcow2", paths, GILD_ERR_IO, "not-there");
}

Test(open, names_are_relative_to_the_image)
{
	cr_assert_eq(mkdir("in", 0755), 0);
	make_file("in/base", 1 << 20, 'b');
	create("in/top.qcow2", "base", "raw");
	opens("in/top.qcow2", 0, paths);
}

Test(open, chains_that_lead_back)
{
	create("a.qcow2", "b.qcow2", "qcow2");
	create("b.qcow2", "c.qcow2", "qcow2");
	create("c.qcow2", "a.qcow2", "qcow2");
	expect("a.qcow2", paths, GILD_ERR_CORRUPT, "back");
	create("self.qcow2", "self.qcow2", "qcow2");
	expect("self.qcow2", paths, GILD_ERR_CORRUPT, "back");
	/* By another name. */
	create("x.qcow2", "link", "qcow2");
	cr_assert_eq(symlink("x.qcow2", "link"), 0);
	expect("x.qcow2", paths, GILD_ERR_CORRUPT, "back");
}

Test(open, chains_that_are_too_long)
{
	struct gild_policy limited = paths;
	char name[30], below[30];

	create("0", NULL, NULL);
	for (int i = 1; i <= 6; i++) {
		snprintf(name, sizeof(name), "%d", i);
		snprintf(below, sizeof(below), "%d", i - 1);
		create(name, below, "qcow2");
	}
	opens("6", 0, paths);
	limited.max_depth = 5;
	opens("5", 0, limited);
	expect("6", limited, GILD_ERR_RANGE, "longer than 5");
}

Test(open, a_backing_format_that_is_not_recorded)
{
	struct gild_policy told = paths;
	static const char zeros[16];
	int fd;

	make_file("base", 1 << 20, 'b');
	create("top.qcow2", "base", "raw");
	/* The extension's type becomes "end". */
	fd = open("top.qcow2", O_WRONLY);
	cr_assert_eq(pwrite(fd, zeros, 16, 112), 16);
	close(fd);
	expect("top.qcow2", paths, GILD_ERR_DENIED, "format");
	told.backing_format = "raw";
	opens("top.qcow2", 0, told);
}

Test(open, a_backing_file_that_is_gone)
{
	struct gild_error err;

	make_file("base", 1 << 20, 'b');
	create("middle.qcow2", "base", "raw");
	create("top.qcow2", "middle.qcow2", "qcow2");
	cr_assert_eq(unlink("base"), 0);
	cr_assert_null(try_open("middle.qcow2", 0, paths, &err));
	cr_assert_eq(err.sys_errno, ENOENT);
	cr_assert_eq(strncmp(err.message,
			     "middle.qcow2: its backing file: base: ", 38),
		     0, "%s", err.message);
	cr_assert(strstr(err.hint, "rebase -u"));
	cr_assert(strstr(err.hint, "'middle.qcow2'"));
	cr_assert_null(try_open("top.qcow2", 0, paths, &err));
	cr_assert_eq(
		strncmp(err.message,
			"top.qcow2: in its backing chain: middle.qcow2: ", 47),
		0, "%s", err.message);
}

Test(open, what_is_no_file)
{
	struct gild_error err;

	expect("not-there", paths, GILD_ERR_IO, "not-there");
	cr_assert_null(try_open("not-there", 0, paths, &err));
	cr_assert_eq(err.sys_errno, ENOENT);
	cr_assert_eq(mkdir("folder", 0755), 0);
	cr_assert_null(try_open("folder", 0, paths, &err));
	make_file("empty", 0, 0);
	expect("empty", paths, GILD_ERR_FORMAT, "empty");
}

Test(open, a_backing_file_is_not_opened_for_writing)
{
	struct gild_error err;
	struct gild_image *top, *other;

	create("base.qcow2", NULL, NULL);
	create("top.qcow2", "base.qcow2", "qcow2");
	top = try_open("top.qcow2", GILD_OPEN_WRITE, paths, &err);
	cr_assert_not_null(top, "%s", err.message);
	/* Others may read it; and nobody may write it meanwhile. */
	other = try_open("base.qcow2", 0, paths, &err);
	cr_assert_not_null(other, "%s", err.message);
	gild_close(other, NULL);
	cr_assert_null(try_open("base.qcow2", GILD_OPEN_WRITE, paths, &err));
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	cr_assert_null(try_open("top.qcow2", 0, paths, &err));
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	opens("top.qcow2", GILD_OPEN_SHARE, paths);
	opens("top.qcow2", GILD_OPEN_INSPECT, paths);
	gild_close(top, NULL);
	opens("base.qcow2", GILD_OPEN_WRITE, paths);
}

Test(open, a_data_file_needs_the_policy_too)
{
	struct gild_option options[] = { { "data_file", "data" } };
	struct gild_create_options create_options = {
		.format = "qcow2",
		.size = 1 << 20,
		.options = options,
		.option_count = 1,
	};

	cr_assert_eq(gild_create("a.qcow2", &create_options, NULL), 0);
	expect("a.qcow2", none, GILD_ERR_DENIED, "data");
	opens("a.qcow2", GILD_OPEN_WRITE, paths);
	opens("a.qcow2", GILD_OPEN_INSPECT, none);
	cr_assert_eq(unlink("data"), 0);
	expect("a.qcow2", paths, GILD_ERR_IO, "data");
}

/* Marked dirty: put right by the first who writes, left alone by readers. */
Test(open, an_image_marked_dirty)
{
	static const unsigned char dirty = 1;
	struct gild_error err;
	struct gild_image *image;
	int fd;

	create("a.qcow2", NULL, NULL);
	fd = open("a.qcow2", O_WRONLY);
	cr_assert_eq(pwrite(fd, &dirty, 1, 79), 1);
	opens("a.qcow2", 0, none);
	image = try_open("a.qcow2", GILD_OPEN_WRITE, none, &err);
	cr_assert_not_null(image, "%s", err.message);
	cr_assert_eq(gild_close(image, NULL), 0);
	cr_assert_eq(system("qemu-img info a.qcow2 | grep -q 'dirty'"), 256);
	close(fd);
}

Test(open, an_image_marked_corrupt_is_not_written)
{
	static const unsigned char corrupt = 2;
	struct gild_error err;
	int fd;

	create("a.qcow2", NULL, NULL);
	fd = open("a.qcow2", O_WRONLY);
	cr_assert_eq(pwrite(fd, &corrupt, 1, 79), 1);
	close(fd);
	opens("a.qcow2", 0, none);
	cr_assert_null(try_open("a.qcow2", GILD_OPEN_WRITE, none, &err));
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert_neq(err.hint[0], 0);
	opens("a.qcow2", GILD_OPEN_WRITE | GILD_OPEN_REPAIR, none);
}
