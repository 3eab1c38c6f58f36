/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The external data file of a fresh image: made beside it, of the disk's size,
 * and never over a file that matters.
 */
#include <criterion/criterion.h>

#include <errno.h>

#include "formats/qcow2/data-file.h"
#include "formats/qcow2/test-order.h"
#include "storage/faulty.h"

TestSuite(qcow2_data_file, .init = folder_enter, .fini = folder_leave,
	  .timeout = 120);

static int create_at(struct storage *storage, const char *options,
		     unsigned flags, struct gild_error *err)
{
	struct gild_option list[8];
	char text[200];
	struct gild_create_options create = {
		.size = MIB,
		.options = list,
		.flags = flags,
	};

	snprintf(text, sizeof(text), "%s", options);
	create.option_count = split(text, list);
	return create_both(storage, &create, err);
}

Test(qcow2_data_file, is_made_beside_the_image)
{
	const struct order order = { MIB, "data_file=a.data", NULL, NULL };

	mkdir("sub", 0755);
	create_good("sub/a.qcow2", &order);
	cr_expect_eq(file_length("sub/a.data"), MIB);
	cr_expect_eq(file_blocks("sub/a.data"), 0);
}

Test(qcow2_data_file, images_are_clean_to_qemu_img)
{
	static const char *const options[] = {
		"data_file=a.data",
		"data_file=a.data,data_file_raw=on",
		"data_file=a.data,preallocation=metadata",
		"data_file=a.data,preallocation=falloc",
		"data_file=a.data,preallocation=full,data_file_raw=on",
		"data_file=a.data,extended_l2=on,data_file_raw=on",
		"data_file=a.data,cluster_size=512,data_file_raw=on",
	};

	need_qemu_img();
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const struct order order = { MIB + 512, options[i], NULL,
					     NULL };

		create_good("a.qcow2", &order);
		assert_clean("a.qcow2", options[i]);
		cr_expect_eq(file_length("a.data"), MIB + 512);
		cr_expect_eq(shell("qemu-img create -q -f raw zeros %llu && "
				   "qemu-img compare -q a.qcow2 zeros",
				   MIB + 512),
			     0, "%s", options[i]);
		unlink("a.data");
	}
}

Test(qcow2_data_file, raw_one_is_seen_through_the_image)
{
	static const char *const options[] = {
		"data_file=a.data,data_file_raw=on",
		"data_file=a.data,data_file_raw=on,extended_l2=on",
	};

	need_qemu_img();
	for (size_t i = 0; i < 2; i++) {
		const struct order order = { MIB, options[i], NULL, NULL };

		create_good("a.qcow2", &order);
		make_file("a.data", MIB, 0x42);
		cr_expect_eq(shell("qemu-img compare -q -f qcow2 -F raw "
				   "a.qcow2 a.data"),
			     0, "%s", options[i]);
	}
}

Test(qcow2_data_file, space_is_reserved_in_it)
{
	struct order order = { MIB, "data_file=a.data,preallocation=falloc",
			       NULL, NULL };

	create_good("a.qcow2", &order);
	cr_expect_geq(file_blocks("a.data") * 512, MIB);
	cr_expect_lt(file_length("a.qcow2"), MIB);
	order.options = "data_file=a.data,preallocation=full";
	create_good("a.qcow2", &order);
	cr_expect_geq(file_blocks("a.data") * 512, MIB);
}

Test(qcow2_data_file, old_content_is_gone)
{
	const struct order order = { MIB, "data_file=a.data,data_file_raw=on",
				     NULL, NULL };

	make_file("a.data", 2 * MIB, 0x42);
	create_good("a.qcow2", &order);
	cr_expect_eq(file_length("a.data"), MIB);
	cr_expect_eq(file_blocks("a.data"), 0);
}

/* A file with a second name is written in place. */
Test(qcow2_data_file, old_content_is_gone_from_a_linked_file)
{
	const struct order order = { MIB, "data_file=a.data,data_file_raw=on",
				     NULL, NULL };

	make_file("a.data", 2 * MIB, 0x42);
	cr_assert_eq(link("a.data", "second"), 0);
	create_good("a.qcow2", &order);
	cr_expect_eq(file_length("second"), MIB);
	cr_expect_eq(file_blocks("second"), 0);
}

Test(qcow2_data_file, names_that_are_refused)
{
	struct order order = { MIB, "data_file=a.qcow2", NULL, NULL };
	struct gild_error err;

	cr_assert_eq(create_file("a.qcow2", &order, &err), -1);
	cr_expect_not_null(strstr(err.message, "its own data file"), "%s",
			   err.message);
	order.options = "data_file=./a.qcow2";
	cr_assert_eq(create_file("a.qcow2", &order, &err), -1);
	cr_expect_not_null(strstr(err.message, "its own data file"));
	order.options = "data_file=nbd:localhost:1";
	cr_assert_eq(create_file("a.qcow2", &order, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	order.options = "data_file=no/such/folder";
	cr_assert_eq(create_file("a.qcow2", &order, &err), -1);
	cr_expect_eq(err.sys_errno, ENOENT);
}

/* The image may have no name yet, too. */
Test(qcow2_data_file, the_image_to_be_is_refused)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct gild_error err = { 0 };
	struct storage *storage;

	if (fd < 0)
		cr_skip_test("no unnamed files here");
	storage = storage_file_from_fd(fd, "a.qcow2", STORAGE_WRITE, &err);
	cr_assert_not_null(storage);
	cr_expect_eq(create_at(storage, "data_file=././a.qcow2", 0, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID, "%s", err.message);
	storage_close(storage);
}

Test(qcow2_data_file, a_base_is_not_overwritten)
{
	const struct order order = { MIB, "data_file=link.raw", "base.raw",
				     "raw" };
	struct gild_error err;

	make_file("base.raw", MIB, 0x42);
	cr_assert_eq(symlink("base.raw", "link.raw"), 0);
	cr_assert_eq(create_file("a.qcow2", &order, &err), -1);
	cr_expect_not_null(strstr(err.message, "is the backing file"), "%s",
			   err.message);
	cr_expect_eq(file_length("base.raw"), MIB);
	cr_expect_geq(file_blocks("base.raw") * 512, MIB);
}

Test(qcow2_data_file, existing_one_is_kept_where_only_new_is_wanted)
{
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(NULL, 0, &err);

	make_file("a.data", 100, 0x42);
	cr_expect_eq(create_at(storage, "data_file=a.data",
			       GILD_CREATE_NEW_ONLY, &err),
		     -1);
	cr_expect_eq(err.sys_errno, EEXIST);
	cr_expect_eq(file_length("a.data"), 100);
	cr_expect_eq(create_at(storage, "data_file=b.data",
			       GILD_CREATE_NEW_ONLY | GILD_CREATE_SYNC, &err),
		     0);
	cr_expect_eq(file_length("b.data"), MIB);
	storage_close(storage);
}

Test(qcow2_data_file, failure_keeps_the_old_one)
{
	const struct faulty_plan plan = { .nth = 2,
					  .ops = 1 << FAULTY_WRITE,
					  .sys_errno = EIO };
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(NULL, 0, &err);

	make_file("a.data", 100, 0x42);
	faulty_set_plan(storage, &plan);
	cr_expect_eq(create_at(storage, "data_file=a.data", 0, &err), -1);
	cr_expect_eq(err.sys_errno, EIO);
	cr_expect_eq(file_length("a.data"), 100);
	cr_expect_eq(shell("test \"$(ls -A)\" = a.data"), 0);
	storage_close(storage);
}
