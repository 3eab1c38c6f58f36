/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fresh images: qemu-img finds nothing to say about them, and where both can be
 * compared they are the same bytes; what contradicts itself and what fails on
 * the way leaves nothing behind.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/test-order.h"
#include "storage/faulty.h"
#include "util/bytes.h"
#include "util/zeros.h"

TestSuite(qcow2_create, .init = folder_enter, .fini = folder_leave,
	  .timeout = 240);

/* --- against qemu-img ---------------------------------------------------- */

/* What info says of both, but for names and space used. */
static void assert_same_info(const char *a, const char *b, const char *what)
{
	cr_assert_eq(shell("for i in %s %s; do qemu-img info --output=json "
			   "$i | grep -v -e filename -e actual-size "
			   "-e '\"data-file\"' >$i.info || exit 1; done; "
			   "cmp %s.info %s.info",
			   a, b, a, b),
		     0, "%s", what);
}

Test(qcow2_create, empty_images_are_the_bytes_of_qemu_img)
{
	static const struct order orders[] = {
		{ 0, NULL, NULL, NULL },
		{ 1000, NULL, NULL, NULL },
		{ 1ULL << 30, NULL, NULL, NULL },
		{ 1ULL << 40, NULL, NULL, NULL },
		{ MIB, "compat=0.10", NULL, NULL },
		{ MIB, "compat=0.10,cluster_size=512", NULL, NULL },
		{ MIB, "cluster_size=8k,lazy_refcounts=on", NULL, NULL },
		{ MIB, "cluster_size=2M,refcount_bits=1", NULL, NULL },
		{ MIB, "extended_l2=on,compression_type=zstd", NULL, NULL },
		{ 5 * MIB, NULL, "base.raw", "raw" },
		{ 5 * MIB, "compat=0.10", "base.raw", "raw" },
		{ MIB, "preallocation=metadata", NULL, NULL },
		{ MIB, "preallocation=metadata,extended_l2=on", NULL, NULL },
	};

	need_qemu_img();
	make_file("base.raw", 5 * MIB, 0);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		create_good("a.qcow2", &orders[i]);
		qemu_create("b.qcow2", &orders[i]);
		cr_expect_eq(shell("cmp a.qcow2 b.qcow2"), 0, "%zu: %s", i,
			     orders[i].options);
		unlink("b.qcow2");
	}
}

static void check_one(const struct order *order)
{
	create_good("a.qcow2", order);
	qemu_create("b.qcow2", order);
	assert_clean("a.qcow2", order->options);
	assert_same_info("a.qcow2", "b.qcow2", order->options);
	cr_assert_eq(shell("qemu-img compare -q a.qcow2 b.qcow2"), 0, "%s",
		     order->options);
	unlink("b.qcow2");
}

Test(qcow2_create, matrix_is_clean_to_qemu_img)
{
	static const char *const clusters[] = { "512", "4k", "64k", "2M" };
	static const char *const widths[] = { "1", "2", "4", "8", "16", "64" };
	static const char *const modes[] = { "off", "metadata", "falloc" };
	char options[200];
	unsigned turn = 0;

	need_qemu_img();
	for (unsigned c = 0; c < 4; c++) {
		for (unsigned w = 0; w < 6; w++, turn++) {
			const struct order order = {
				.size = turn % 2 ? 3 * MIB : 777777,
				.options = options,
			};

			snprintf(options, sizeof(options),
				 "cluster_size=%s,refcount_bits=%s,"
				 "preallocation=%s,extended_l2=%s",
				 clusters[c], widths[w], modes[turn % 3],
				 c > 1 && turn % 2 ? "on" : "off");
			check_one(&order);
		}
	}
}

Test(qcow2_create, many_refcount_blocks_and_tables)
{
	static const struct order orders[] = {
		{ 1ULL << 37, "cluster_size=512,refcount_bits=64", NULL, NULL },
		{ 1ULL << 30, "cluster_size=4k,preallocation=metadata", NULL,
		  NULL },
	};

	need_qemu_img();
	for (size_t i = 0; i < 2; i++) {
		create_good("a.qcow2", &orders[i]);
		assert_clean("a.qcow2", orders[i].options);
	}
}

Test(qcow2_create, preallocated_overlay_shows_its_base)
{
	const struct order order = { 3 * MIB,
				     "extended_l2=on,preallocation=metadata",
				     "base.raw", "raw" };

	need_qemu_img();
	make_file("base.raw", 3 * MIB, 0x77);
	create_good("a.qcow2", &order);
	assert_clean("a.qcow2", order.options);
	cr_expect_eq(shell("qemu-img compare -q a.qcow2 base.raw"), 0);
}

/* --- what is written ----------------------------------------------------- */

Test(qcow2_create, overlay_costs_three_small_writes)
{
	const struct order order = { 1ULL << 34, NULL, "base", "qcow2" };
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(NULL, 0, &err);
	const struct faulty_event *events;
	size_t count, writes = 0, bytes = 0;

	cr_assert_eq(create_in(storage, &order, &err), 0, "%s", err.message);
	events = faulty_log(storage, &count);
	for (size_t i = 0; i < count; i++) {
		cr_expect(events[i].op == FAULTY_WRITE ||
			  events[i].op == FAULTY_TRUNCATE);
		if (events[i].op != FAULTY_WRITE)
			continue;
		writes++;
		bytes += events[i].length;
	}
	cr_expect_eq(count, 4);
	cr_expect_eq(writes, 3);
	cr_expect_leq(bytes, 4096 + 16);
	storage_close(storage);
}

Test(qcow2_create, old_content_of_a_device_does_not_show)
{
	const struct order orders[] = {
		{ 2 * MIB, "cluster_size=4k", NULL, NULL },
		{ 2 * MIB, "cluster_size=4k,preallocation=metadata", NULL,
		  NULL },
		{ 2 * MIB, "cluster_size=4k,preallocation=full", NULL, NULL },
	};
	const size_t room = 4 * MIB;
	unsigned char *dirt = malloc(room);

	memset(dirt, 0xee, room);
	for (size_t i = 0; i < 3; i++) {
		struct gild_error err = { 0 };
		struct storage *device = faulty_new(dirt, room, &err);
		struct storage *fresh = faulty_new(NULL, 0, &err);
		const void *a, *b;
		uint64_t length;

		cr_assert_eq(create_in(device, &orders[i], &err), 0, "%s",
			     err.message);
		cr_assert_eq(create_in(fresh, &orders[i], &err), 0);
		a = faulty_content(device, &length);
		b = faulty_content(fresh, &length);
		cr_expect_eq(memcmp(a, b, length), 0, "%s", orders[i].options);
		storage_close(device);
		storage_close(fresh);
	}
	free(dirt);
}

Test(qcow2_create, space_is_reserved_as_asked)
{
	struct order order = { 8 * MIB, "preallocation=metadata", NULL, NULL };

	create_good("a.qcow2", &order);
	cr_expect_eq(file_length("a.qcow2"), 8 * MIB + 5 * 65536);
	cr_expect_lt(file_blocks("a.qcow2") * 512, MIB);
	order.options = "preallocation=falloc";
	create_good("a.qcow2", &order);
	cr_expect_geq(file_blocks("a.qcow2") * 512, 8 * MIB);
	order.options = "preallocation=full";
	create_good("a.qcow2", &order);
	cr_expect_geq(file_blocks("a.qcow2") * 512, 8 * MIB);
}

/* --- refusals ------------------------------------------------------------ */

Test(qcow2_create, orders_that_make_no_sense)
{
	static const struct {
		struct order order;
		enum gild_error_kind kind;
		const char *message;
	} rows[] = {
		{ { MIB, "cluster_size=3", NULL, NULL },
		  GILD_ERR_INVALID,
		  "power of two" },
		{ { MIB, NULL, NULL, "raw" },
		  GILD_ERR_INVALID,
		  "without a backing file" },
		{ { MIB, NULL, "", "raw" }, GILD_ERR_INVALID, "name is empty" },
		{ { MIB, NULL, "base", NULL },
		  GILD_ERR_INVALID,
		  "format of the backing file base is missing" },
		{ { MIB, NULL, "base", "" },
		  GILD_ERR_INVALID,
		  "format of the backing file base is missing" },
		{ { MIB, "preallocation=metadata", "base", "raw" },
		  GILD_ERR_INVALID,
		  "would hide the backing file" },
		{ { MIB, "data_file=d,data_file_raw=on", "base", "raw" },
		  GILD_ERR_INVALID,
		  "exclude each other" },
		{ { MIB, "backing_file=other", "base", "raw" },
		  GILD_ERR_INVALID,
		  "contradicts \"base\"" },
		{ { MIB, "backing_file=other", NULL, NULL },
		  GILD_ERR_INVALID,
		  "contradicts \"\"" },
		{ { MIB, "backing_fmt=qcow2", "base", "raw" },
		  GILD_ERR_INVALID,
		  "contradicts \"raw\"" },
		{ { MIB, "size=2M", NULL, NULL },
		  GILD_ERR_INVALID,
		  "given twice" },
		{ { MIB, "size=much", NULL, NULL }, GILD_ERR_INVALID, "size" },
		{ { (1ULL << 51) + 1, NULL, NULL, NULL },
		  GILD_ERR_RANGE,
		  "it can have 2251799813685248" },
		{ { (1ULL << 37) + 1, "cluster_size=512", NULL, NULL },
		  GILD_ERR_RANGE,
		  "it can have 137438953472" },
		{ { UINT64_MAX, NULL, NULL, NULL },
		  GILD_ERR_RANGE,
		  "too large" },
		{ { 1ULL << 36,
		    "cluster_size=512,refcount_bits=64,preallocation=falloc",
		    NULL, NULL },
		  GILD_ERR_RANGE,
		  "more than 8 MiB" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_refused(&rows[i].order, rows[i].kind, rows[i].message);
}

Test(qcow2_create, options_may_repeat_the_fields)
{
	const struct order order = {
		MIB, "backing_file=base,backing_fmt=raw,size=1M", "base", "raw"
	};

	create_good("a.qcow2", &order);
}

Test(qcow2_create, names_that_do_not_fit)
{
	char name[1100];
	const struct order large = { MIB, NULL, name, "raw" };
	const struct order small = { MIB, "cluster_size=512", name, "raw" };
	struct gild_error err;

	memset(name, 'n', sizeof(name));
	name[1024] = 0;
	cr_assert_eq(create_file("a.qcow2", &large, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	name[1023] = 0;
	create_good("a.qcow2", &large);
	cr_assert_eq(create_file("a.qcow2", &small, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	cr_expect_not_null(strstr(err.message, "larger cluster size"));
}

Test(qcow2_create, every_failing_call_is_reported)
{
	const struct order order = { MIB, "cluster_size=512,preallocation=full",
				     NULL, NULL };
	const unsigned ops = 1 << FAULTY_WRITE | 1 << FAULTY_TRUNCATE;
	uint64_t nth = 1;
	int result;

	do {
		const struct faulty_plan plan = { .nth = nth,
						  .ops = ops,
						  .sys_errno = ENOSPC };
		struct gild_error err = { 0 };
		struct storage *storage = faulty_new(NULL, 0, &err);

		faulty_set_plan(storage, &plan);
		result = create_in(storage, &order, &err);
		cr_expect_eq(result, faulty_calls(storage, ops) < nth ? 0 : -1);
		if (result < 0) {
			cr_expect_eq(err.kind, GILD_ERR_IO);
			cr_expect_eq(err.sys_errno, ENOSPC);
		}
		storage_close(storage);
	} while (result < 0 && nth++ < 1000);
	cr_expect_gt(nth, 5);
	cr_expect_lt(nth, 1000);
}
