/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linked clones: what they record, that all or none appear, and what is
 * refused. qemu-img looks at the result.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>

#include "gild.h"
#include "storage/lock.h"
#include "storage/test-disk.h"

TestSuite(clone, .init = folder_enter, .fini = folder_leave, .timeout = 120);

enum {
	MANY = 100
};

static const struct gild_clone_options follow = {
	.policy.follow = GILD_FOLLOW_PATHS,
};

static void make_image(const char *path, const char *format, uint64_t size,
		       const char *backing)
{
	struct gild_create_options options = {
		.format = format,
		.size = backing ? GILD_SIZE_FROM_BACKING : size,
		.backing = backing,
		.backing_format = backing ? "qcow2" : NULL,
		.policy.follow = GILD_FOLLOW_PATHS,
	};
	struct gild_error err = { 0 };

	cr_assert_eq(gild_create(path, &options, &err), 0, "%s", err.message);
}

/* Names of a folder. */
static int count_names(const char *path)
{
	const struct dirent *entry;
	DIR *folder = opendir(path);
	int count = -2;

	while ((entry = readdir(folder)))
		count++;
	closedir(folder);
	return count;
}

static void clone_ok(const char *base, const char *const *names, size_t count,
		     const struct gild_clone_options *options)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_clone(base, names, count, options, &err), 0, "%s",
		     err.message);
}

static struct gild_error clone_fails(const char *base, const char *const *names,
				     size_t count,
				     const struct gild_clone_options *options)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_clone(base, names, count, options, &err), -1);
	return err;
}

/* Opens it, as a user would. */
static void assert_clone(const char *path, const char *backing,
			 const char *format, uint64_t size)
{
	struct gild_open_options options = {
		.policy.follow = GILD_FOLLOW_PATHS,
	};
	struct gild_error err = { 0 };
	struct gild_image *image = gild_open(path, &options, &err);
	struct gild_info *info;

	cr_assert_not_null(image, "%s", err.message);
	info = gild_info(image, &err);
	cr_assert_not_null(info, "%s", err.message);
	cr_assert_str_eq(info->format, "qcow2");
	cr_assert_str_eq(info->backing_filename, backing);
	cr_assert_str_eq(info->backing_format, format);
	cr_assert_eq(info->virtual_size, size);
	gild_info_free(info);
	cr_assert_eq(gild_close(image, &err), 0);
}

static char *absolute(const char *name)
{
	return memory_printf("%s/%s", folder_path, name);
}

static void assert_qemu(const char *command)
{
	if (system("qemu-img --version >/dev/null 2>&1") == 0)
		cr_assert_eq(system(command), 0, "%s", command);
}

/* --- what they record ---------------------------------------------------- */

Test(clone, many_are_all_alike)
{
	AUTO_FREE char *base = absolute("base.qcow2");
	const char *names[MANY];

	make_image("base.qcow2", "qcow2", UINT64_C(3) << 30, NULL);
	for (int i = 0; i < MANY; i++)
		names[i] = memory_printf("clone-%d.qcow2", i);
	clone_ok("base.qcow2", names, MANY, &follow);
	for (int i = 0; i < MANY; i++)
		assert_clone(names[i], base, "qcow2", UINT64_C(3) << 30);
	assert_qemu("cmp clone-0.qcow2 clone-1.qcow2 && "
		    "cmp clone-0.qcow2 clone-99.qcow2");
	assert_qemu("for f in clone-0.qcow2 clone-99.qcow2; do "
		    "qemu-img check -q $f && qemu-img compare -q $f base.qcow2 "
		    "|| exit 1; done");
	/* One is as good as the other, and each its own. */
	assert_qemu(
		"qemu-io -c 'write -P 9 1M 64k' clone-7.qcow2 >/dev/null && "
		"! qemu-img compare -q clone-7.qcow2 clone-8.qcow2 && "
		"qemu-img compare -q clone-8.qcow2 base.qcow2");
	cr_assert_eq(count_names("."), MANY + 1);
	for (int i = 0; i < MANY; i++)
		free((char *)(uintptr_t)names[i]);
}

/* A template must not differ from what the format writes itself. */
Test(clone, is_what_create_makes)
{
	static const char *const names[] = { "one.qcow2", "two.qcow2" };
	struct gild_create_options create = {
		.format = "qcow2",
		.size = 5 << 20,
		.backing_format = "qcow2",
	};
	AUTO_FREE char *base = absolute("base.qcow2");

	make_image("base.qcow2", "qcow2", 5 << 20, NULL);
	clone_ok("base.qcow2", names, 2, &follow);
	create.backing = base;
	create.flags = GILD_CREATE_UNCHECKED;
	cr_assert_eq(gild_create("made.qcow2", &create, NULL), 0);
	cr_assert_eq(system("cmp one.qcow2 made.qcow2 && "
			    "cmp two.qcow2 made.qcow2"),
		     0);
	cr_assert_eq(file_blocks("two.qcow2"), file_blocks("made.qcow2"));
}

Test(clone, relative_names)
{
	static const char *const names[] = {
		"vms/a.qcow2",	    "vms/b.qcow2",  "c.qcow2",
		"vms/deep/d.qcow2", "base/e.qcow2", "vms/f.qcow2",
	};
	static const char *const recorded[] = {
		"../base/golden.qcow2", "../base/golden.qcow2",
		"base/golden.qcow2",	"../../base/golden.qcow2",
		"golden.qcow2",		"../base/golden.qcow2",
	};
	struct gild_clone_options options = follow;

	options.relative = true;
	cr_assert_eq(system("mkdir -p vms/deep base"), 0);
	make_image("base/golden.qcow2", "qcow2", 1 << 20, NULL);
	clone_ok("base/golden.qcow2", names, 6, &options);
	for (int i = 0; i < 6; i++)
		assert_clone(names[i], recorded[i], "qcow2", 1 << 20);
	/* They move together. */
	cr_assert_eq(system("mkdir moved && mv vms base moved"), 0);
	assert_clone("moved/vms/a.qcow2", recorded[0], "qcow2", 1 << 20);
}

Test(clone, relative_names_through_links)
{
	static const char *const names[] = { "link/a.qcow2" };
	struct gild_clone_options options = follow;

	options.relative = true;
	cr_assert_eq(system("mkdir -p far/away && ln -s far/away link"), 0);
	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	clone_ok("base.qcow2", names, 1, &options);
	assert_clone("link/a.qcow2", "../../base.qcow2", "qcow2", 1 << 20);
	assert_clone("far/away/a.qcow2", "../../base.qcow2", "qcow2", 1 << 20);
}

Test(clone, odd_base_names)
{
	static const char *const bases[] = { "a:b.qcow2", "with space.qcow2",
					     "json:{}.qcow2", "a\nb.qcow2" };
	struct gild_clone_options options = follow;

	options.relative = true;
	for (int i = 0; i < 4; i++) {
		const char *name = "clone.qcow2";
		AUTO_FREE char *recorded =
			memory_printf("%s%s", i % 2 ? "" : "./", bases[i]);

		make_image(bases[i], "qcow2", 1 << 20, NULL);
		clone_ok(bases[i], &name, 1, &options);
		assert_clone(name, recorded, "qcow2", 1 << 20);
		unlink(name);
		clone_ok(bases[i], &name, 1, &follow);
		unlink(name);
	}
}

/* The file, not the link to it: a link can be turned elsewhere. */
Test(clone, records_what_a_link_leads_to)
{
	static const char *const names[] = { "clone.qcow2" };
	AUTO_FREE char *base = absolute("base.qcow2");

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	cr_assert_eq(symlink("base.qcow2", "latest.qcow2"), 0);
	clone_ok("latest.qcow2", names, 1, &follow);
	assert_clone("clone.qcow2", base, "qcow2", 1 << 20);
}

Test(clone, raw_bases_and_options)
{
	static const char *const names[] = { "a.qcow2", "b.qcow2" };
	static const struct gild_option small = { "cluster_size", "4k" };
	static const struct gild_option more[] = {
		{ "extended_l2", "on" },
		{ "preallocation", "falloc" },
	};
	struct gild_clone_options options = follow;
	AUTO_FREE char *base = absolute("disk.raw");

	make_image("disk.raw", "raw", 2 << 20, NULL);
	options.options = &small;
	options.option_count = 1;
	clone_ok("disk.raw", names, 2, &options);
	assert_clone("b.qcow2", base, "raw", 2 << 20);
	assert_qemu("qemu-img info b.qcow2 | grep -q 'cluster_size: 4096'");
	unlink("a.qcow2");
	unlink("b.qcow2");
	/* Reserved space is reserved for each. */
	options.options = more;
	options.option_count = 2;
	clone_ok("disk.raw", names, 2, &options);
	assert_clone("b.qcow2", base, "raw", 2 << 20);
	cr_assert_geq(file_blocks("a.qcow2") * 512, 2 << 20);
	cr_assert_geq(file_blocks("b.qcow2") * 512, 2 << 20);
	assert_qemu("qemu-img check -q b.qcow2 && "
		    "qemu-img compare -q b.qcow2 disk.raw");
}

Test(clone, without_sync)
{
	static const char *const names[] = { "a.qcow2", "b.qcow2" };
	struct gild_clone_options options = follow;

	options.no_sync = true;
	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	clone_ok("base.qcow2", names, 2, &options);
	clone_ok("base.qcow2", NULL, 0, &options);
	cr_assert_eq(count_names("."), 3);
}

/* --- all or none --------------------------------------------------------- */

Test(clone, an_existing_name_undoes_all)
{
	static const char *const names[] = { "a.qcow2", "b.qcow2", "c.qcow2" };
	struct gild_error err;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	make_file("b.qcow2", 5, 'x');
	err = clone_fails("base.qcow2", names, 3, &follow);
	cr_assert_eq(err.sys_errno, EEXIST);
	cr_assert_eq(strncmp(err.message, "b.qcow2: ", 9), 0);
	cr_assert_eq(file_length("b.qcow2"), 5);
	cr_assert_eq(count_names("."), 2);
}

Test(clone, a_name_given_twice_undoes_all)
{
	static const char *const names[] = { "a.qcow2", "b.qcow2", "a.qcow2" };
	struct gild_error err;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	err = clone_fails("base.qcow2", names, 3, &follow);
	cr_assert_eq(err.sys_errno, EEXIST);
	cr_assert_eq(count_names("."), 1);
}

Test(clone, the_base_is_no_clone_of_itself)
{
	static const char *const names[] = { "base.qcow2" };
	struct gild_error err;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	err = clone_fails("base.qcow2", names, 1, &follow);
	cr_assert_eq(err.sys_errno, EEXIST);
	assert_qemu("qemu-img check -q base.qcow2");
}

Test(clone, a_missing_folder_undoes_all)
{
	static const char *const names[] = { "a.qcow2", "none/b.qcow2" };
	struct gild_clone_options options = follow;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	for (int relative = 0; relative < 2; relative++) {
		struct gild_error err;

		options.relative = relative;
		err = clone_fails("base.qcow2", names, 2, &options);
		cr_assert_eq(err.sys_errno, ENOENT);
		cr_assert_eq(strncmp(err.message, "none/b.qcow2: ", 14), 0,
			     "%s", err.message);
		cr_assert_eq(count_names("."), 1);
	}
}

Test(clone, a_full_disk_undoes_all)
{
	const char *names[40];
	struct gild_error err;

	private_mounts();
	mkdir("small", 0755);
	if (mount("none", "small", "tmpfs", 0, "size=256k"))
		cr_skip_test("no tmpfs");
	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	for (int i = 0; i < 40; i++)
		names[i] = memory_printf("small/%d.qcow2", i);
	err = clone_fails("base.qcow2", names, 40, &follow);
	cr_assert_eq(err.sys_errno, ENOSPC, "%s", err.message);
	cr_assert_eq(count_names("small"), 0);
	for (int i = 0; i < 40; i++)
		free((char *)(uintptr_t)names[i]);
	umount("small");
}

/* --- what is refused ----------------------------------------------------- */

Test(clone, a_guess_is_not_recorded)
{
	static const char *const names[] = { "a.qcow2" };
	struct gild_clone_options options = follow;
	AUTO_FREE char *base = absolute("base.img");
	struct gild_error err;

	make_image("base.img", "qcow2", 1 << 20, NULL);
	err = clone_fails("base.img", names, 1, &follow);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_not_null(strstr(err.hint, "-f qcow2"));
	cr_assert_eq(count_names("."), 1);
	options.base_format = "raw";
	clone_ok("base.img", names, 1, &options);
	assert_clone("a.qcow2", base, "raw",
		     (file_length("base.img") + 511) / 512 * 512);
	unlink("a.qcow2");
	options.base_format = "qcow2";
	clone_ok("base.img", names, 1, &options);
	assert_clone("a.qcow2", base, "qcow2", 1 << 20);
}

Test(clone, the_policy_holds_for_the_bases_chain)
{
	static const char *const names[] = { "a.qcow2" };
	struct gild_error err;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	make_image("over.qcow2", "qcow2", 0, "base.qcow2");
	err = clone_fails("over.qcow2", names, 1, NULL);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	/* The base itself is the caller's choice. */
	clone_ok("base.qcow2", names, 1, NULL);
	cr_assert_eq(count_names("."), 3);
}

Test(clone, chains_end_somewhere)
{
	static const char *const names[] = { "a.qcow2" };
	struct gild_clone_options options = follow;
	struct gild_open_options open = {
		.policy = { .follow = GILD_FOLLOW_PATHS, .max_depth = 3 },
	};
	struct gild_error err;
	struct gild_image *image;

	make_image("0.qcow2", "qcow2", 1 << 20, NULL);
	make_image("1.qcow2", "qcow2", 0, "0.qcow2");
	make_image("2.qcow2", "qcow2", 0, "1.qcow2");
	make_image("3.qcow2", "qcow2", 0, "2.qcow2");
	options.policy.max_depth = 3;
	err = clone_fails("3.qcow2", names, 1, &options);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	clone_ok("2.qcow2", names, 1, &options);
	/* Exactly what the same policy opens. */
	image = gild_open("a.qcow2", &open, &err);
	cr_assert_not_null(image, "%s", err.message);
	gild_close(image, NULL);
	open.policy.max_depth = 2;
	cr_assert_null(gild_open("a.qcow2", &open, &err));
}

Test(clone, a_base_that_is_being_written)
{
	static const char *const names[] = { "a.qcow2" };
	struct gild_open_options options = { .flags = GILD_OPEN_WRITE };
	struct gild_image *writer;
	struct gild_error err;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	writer = gild_open("base.qcow2", &options, NULL);
	cr_assert_not_null(writer);
	err = clone_fails("base.qcow2", names, 1, &follow);
	cr_assert_eq(err.kind, GILD_ERR_BUSY);
	gild_close(writer, NULL);
	cr_assert_eq(count_names("."), 1);
}

Test(clone, bad_options)
{
	static const char *const names[] = { "a.qcow2" };
	static const struct gild_option bad[] = {
		{ "data_file", "x" },
		{ "cluster_size", "3" },
		{ "no_such_option", "1" },
	};
	struct gild_clone_options options = follow;

	make_image("base.qcow2", "qcow2", 1 << 20, NULL);
	options.option_count = 1;
	for (int i = 0; i < 3; i++) {
		options.options = &bad[i];
		clone_fails("base.qcow2", names, 1, &options);
		cr_assert_eq(count_names("."), 1);
	}
	clone_fails("none.qcow2", names, 1, &follow);
}
