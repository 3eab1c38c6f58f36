/* SPDX-License-Identifier: BSD-3-Clause */
/* The table "Doors" of doc/design.md, row by row, and what a stored name may
 * be. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/image.h"

TestSuite(doors, .timeout = 10);

enum verdict {
	TAKEN,
	REFUSED
};

struct row {
	char path[32];
	char format[8]; /* "": not named */
	bool magic;
	unsigned flags;
	enum verdict verdict;
	char taken_as[8];
	bool may_lead, may_write, guessed;
	enum gild_error_kind kind;
	char hint[16]; /* must be part of the way out */
};

#define TRUST GILD_OPEN_TRUST_GUESS
#define WRITE GILD_OPEN_WRITE
#define LEADS 1
#define WRITES 2
#define GUESS 4

#define TAKES(path, format, magic, flags, as, may)                           \
	{                                                                    \
		path, format, magic, flags, TAKEN, as, !!((may)&LEADS),      \
			!!((may)&WRITES), !!((may)&GUESS), GILD_ERR_NONE, "" \
	}
#define REFUSES(path, format, magic, flags, kind, hint)                      \
	{                                                                    \
		path, format, magic, flags, REFUSED, "", 0, 0, 0, kind, hint \
	}

/* clang-format off */
static struct row rows[] = {
	/* named: as given, whatever the name and the bytes say */
	TAKES("x.img", "raw", true, WRITE, "raw", LEADS | WRITES),
	TAKES("x.qcow2", "raw", true, WRITE, "raw", LEADS | WRITES),
	TAKES("x.raw", "qcow2", true, WRITE, "qcow2", LEADS | WRITES),
	TAKES("x.img", "qcow2", false, 0, "qcow2", LEADS | WRITES),
	REFUSES("x.img", "nope", true, 0, GILD_ERR_UNSUPPORTED, "qcow2"),
	REFUSES("x.img", "nope", true, TRUST, GILD_ERR_UNSUPPORTED, "qcow2"),
	/* x.qcow2, magic there */
	TAKES("x.qcow2", "", true, WRITE, "qcow2", LEADS | WRITES),
	TAKES("/a.b/x.y.qcow2", "", true, 0, "qcow2", LEADS | WRITES),
	/* x.qcow2, no magic */
	REFUSES("x.qcow2", "", false, 0, GILD_ERR_FORMAT, "-f raw"),
	REFUSES("x.qcow2", "", false, WRITE, GILD_ERR_FORMAT, "-f raw"),
	/* x.raw, whatever it begins with */
	TAKES("x.raw", "", true, WRITE, "raw", WRITES),
	TAKES("x.raw", "", false, WRITE, "raw", WRITES),
	/* another name, magic there */
	TAKES("x.img", "", true, 0, "qcow2", GUESS),
	REFUSES("x.img", "", true, WRITE, GILD_ERR_DENIED, "-f qcow2"),
	TAKES("dir.qcow2/x", "", true, 0, "qcow2", GUESS),
	/* another name, no magic */
	TAKES("x.img", "", false, 0, "raw", GUESS),
	REFUSES("x.img", "", false, WRITE, GILD_ERR_DENIED, "-f raw"),
	TAKES("dir.qcow2/x", "", false, 0, "raw", GUESS),
	TAKES("qcow2", "", false, 0, "raw", GUESS),
	TAKES("x.qcow2.bak", "", false, 0, "raw", GUESS),
	/* the bytes decide, as for qemu-img */
	TAKES("x.img", "", true, TRUST | WRITE, "qcow2",
	      LEADS | WRITES | GUESS),
	TAKES("x.img", "", false, TRUST | WRITE, "raw",
	      LEADS | WRITES | GUESS),
	TAKES("x.qcow2", "", false, TRUST, "raw", LEADS | WRITES | GUESS),
	TAKES("x.raw", "", true, TRUST, "qcow2", LEADS | WRITES | GUESS),
};
/* clang-format on */

ParameterizedTestParameters(doors, table)
{
	return cr_make_param_array(struct row, rows,
				   sizeof(rows) / sizeof(*rows), NULL);
}

ParameterizedTest(struct row *row, doors, table)
{
	unsigned char head[512] = { 0 };
	struct gild_error err = { 0 };
	struct door door = { 0 };
	int result;

	if (row->magic)
		memcpy(head, "QFI\xfb\0\0\0\3", 8);
	result = door_decide(row->path, row->format[0] ? row->format : NULL,
			     head, sizeof(head), row->flags, &door, &err);
	if (row->verdict == REFUSED) {
		cr_assert_eq(result, -1);
		cr_assert_eq(err.kind, row->kind);
		cr_assert(strstr(err.hint, row->hint), "%s", err.hint);
		return;
	}
	cr_assert_eq(result, 0, "%s: %s", row->path, err.message);
	cr_assert_str_eq(door.format->name, row->taken_as);
	cr_assert_eq(door.may_lead, row->may_lead);
	cr_assert_eq(door.may_write, row->may_write);
	cr_assert_eq(door.guessed, row->guessed);
}

Test(doors, refusals_name_the_file)
{
	unsigned char head[512] = { 0 };
	struct gild_error err = { 0 };
	struct door door;

	cr_assert_eq(door_decide("my.qcow2", NULL, head, 512, 0, &door, &err),
		     -1);
	cr_assert(strstr(err.message, "my.qcow2: "));
	cr_assert_eq(door_decide("my.img", NULL, head, 512, WRITE, &door, &err),
		     -1);
	cr_assert(strstr(err.message, "my.img: "));
	cr_assert(strstr(err.message, "raw"));
}

/* Stored names. */

struct stored {
	char path[24], name[24], resolved[32];
};

ParameterizedTestParameters(doors, resolves)
{
	static struct stored names[] = {
		{ "a.qcow2", "base.raw", "base.raw" },
		{ "dir/a.qcow2", "base.raw", "dir/base.raw" },
		{ "/d/e/a.qcow2", "../base", "/d/e/../base" },
		{ "/a.qcow2", "base", "/base" },
		{ "dir/a.qcow2", "/abs/base", "/abs/base" },
		{ "dir/a.qcow2", "./name:with:colon", "dir/./name:with:colon" },
		{ "dir/a.qcow2", "sub/x:y", "dir/sub/x:y" },
		{ "dir/a.qcow2", "/x:y", "/x:y" },
		{ "d:ir/a.qcow2", "base", "d:ir/base" },
		{ "a.qcow2", "with blank %s", "with blank %s" },
	};

	return cr_make_param_array(struct stored, names,
				   sizeof(names) / sizeof(*names), NULL);
}

ParameterizedTest(struct stored *s, doors, resolves)
{
	struct gild_error err = { 0 };
	char *resolved = door_resolve(s->path, s->name, &err);

	cr_assert_not_null(resolved, "%s", err.message);
	cr_assert_str_eq(resolved, s->resolved);
	free(resolved);
}

struct protocol {
	char name[48];
};

ParameterizedTestParameters(doors, protocols)
{
	static struct protocol names[] = {
		{ "json:{\"driver\":\"raw\"}" },
		{ "nbd:localhost:10809" },
		{ "nbd+unix:///x?socket=/s" },
		{ "http://host/file" },
		{ "fd:3" },
		{ "file:base.raw" },
		{ "file:/etc/shadow" },
		{ "fat:rw:/tmp" },
		{ "host_device:/dev/sda" },
		{ "name:with:colon" },
		{ "a b:c" },
		{ ":x" },
	};

	return cr_make_param_array(struct protocol, names,
				   sizeof(names) / sizeof(*names), NULL);
}

ParameterizedTest(struct protocol *p, doors, protocols)
{
	struct gild_error err = { 0 };

	cr_assert_null(door_resolve("dir/a.qcow2", p->name, &err));
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert(strstr(err.message, "dir/a.qcow2: "));
	cr_assert(strstr(err.message, p->name));
	cr_assert(strstr(err.hint, "./NAME"));
}

Test(doors, empty_stored_name_is_corrupt)
{
	struct gild_error err = { 0 };

	cr_assert_null(door_resolve("a.qcow2", "", &err));
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
}

/* Policies. */

static char top[64];

/* top/in/file, top/in/out -> ../other/file, top/in2/file, top/other/file,
 * top/link -> in */
static void make_tree(void)
{
	static const char *const folders[] = { "in", "in2", "other", "in/sub" };
	static const char *const files[] = { "in/file", "in2/file",
					     "other/file", "in/sub/file" };
	const char *base = getenv("TMPDIR");

	snprintf(top, sizeof(top), "%.40s/doors.XXXXXX", base ? base : "/tmp");
	cr_assert_not_null(mkdtemp(top));
	cr_assert_eq(chdir(top), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(mkdir(folders[i], 0700), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(close(creat(files[i], 0600)), 0);
	cr_assert_eq(symlink("../other/file", "in/out"), 0);
	cr_assert_eq(symlink("../in/file", "other/into"), 0);
	cr_assert_eq(symlink("in", "link"), 0);
}

static void remove_tree(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf '%s'", top);
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(system(command), 0);
}

Test(doors, none_is_the_default, .init = make_tree, .fini = remove_tree)
{
	struct gild_policy policy = { 0 };
	struct gild_error err = { 0 };

	cr_assert_eq(door_allows(NULL, "in/file", &err), -1);
	cr_assert_eq(door_allows(&policy, "in/file", &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert(strstr(err.message, "in/file: "));
	cr_assert(strstr(err.hint, "--untrusted"));
}

Test(doors, paths_allow_anything_plain)
{
	struct gild_policy policy = { .follow = GILD_FOLLOW_PATHS };

	cr_assert_eq(door_allows(&policy, "/no/such/file", NULL), 0);
}

static int below(const char *folder, const char *path, struct gild_error *err)
{
	struct gild_policy policy = {
		.follow = GILD_FOLLOW_PATHS,
		.below = folder,
	};

	return door_allows(&policy, path, err);
}

Test(doors, below_allows_what_is_inside, .init = make_tree, .fini = remove_tree)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/in/sub/file", top);
	cr_assert_eq(below("in", "in/file", NULL), 0);
	cr_assert_eq(below("in/", "in/sub/file", NULL), 0);
	cr_assert_eq(below("in", path, NULL), 0);
	cr_assert_eq(below(top, "in/file", NULL), 0);
	cr_assert_eq(below("/", "in/file", NULL), 0);
	cr_assert_eq(below("in", "in2/../in/file", NULL), 0);
	/* links, on either side, count as what they point to */
	cr_assert_eq(below("link", "in/file", NULL), 0);
	cr_assert_eq(below("in", "link/file", NULL), 0);
	cr_assert_eq(below("in", "other/into", NULL), 0);
}

Test(doors, below_refuses_what_is_outside, .init = make_tree,
     .fini = remove_tree)
{
	static const char *const outside[] = {
		"other/file", "in2/file", "in/../other/file",
		"in/out",     "in",	  "/etc/passwd",
	};
	struct gild_error err;

	for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
		memset(&err, 0, sizeof(err));
		cr_assert_eq(below("in", outside[i], &err), -1, "%s",
			     outside[i]);
		cr_assert_eq(err.kind, GILD_ERR_DENIED);
		cr_assert(strstr(err.message, outside[i]));
		cr_assert(strstr(err.hint, "--allow-backing"));
	}
}

Test(doors, below_does_not_override_none, .init = make_tree,
     .fini = remove_tree)
{
	struct gild_policy policy = { .below = "in" };

	cr_assert_eq(door_allows(&policy, "in/file", NULL), -1);
}

Test(doors, missing_files_and_folders_are_said, .init = make_tree,
     .fini = remove_tree)
{
	struct gild_error err = { 0 };

	cr_assert_eq(below("in", "in/nothing", &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert(strstr(err.message, "in/nothing"));
	cr_assert_eq(below("nowhere", "in/file", &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert(strstr(err.message, "nowhere"));
}
