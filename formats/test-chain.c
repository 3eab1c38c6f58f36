/* SPDX-License-Identifier: BSD-3-Clause */
/* An image and what it is backed by, as one disk: whose extent is where, and
 * what there is beyond the end of a shorter layer. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "storage/test-folder.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(chain, .timeout = 60, .init = folder_enter, .fini = folder_leave);

#define U 4096ULL

static const struct gild_policy paths = { .follow = GILD_FOLLOW_PATHS };

static void create(const char *name, const char *backing, const char *format,
		   uint64_t size)
{
	struct gild_option options[] = { { "cluster_size", "4k" } };
	struct gild_create_options create = {
		.format = "qcow2",
		.size = size,
		.backing = backing,
		.backing_format = format,
		.options = options,
		.option_count = 1,
		.policy = paths,
	};
	struct gild_error err;

	cr_assert_eq(gild_create(name, &create, &err), 0, "%s", err.message);
}

static struct gild_image *open_it(const char *name, unsigned flags)
{
	struct gild_open_options options = { .format = "qcow2",
					     .flags = flags,
					     .policy = paths };
	struct gild_error err;
	struct gild_image *image = gild_open(name, &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

/* Fill clusters [first, first + count) of a layer with its own byte. */
static void fill(const char *name, int byte, uint64_t first, uint64_t count)
{
	struct gild_image *image = open_it(name, GILD_OPEN_WRITE);
	char *bytes = malloc(count * U);

	memset(bytes, byte, count * U);
	cr_assert_eq(gild_write(image, bytes, count * U, first * U, NULL), 0);
	cr_assert_eq(gild_close(image, NULL), 0);
	free(bytes);
}

static struct gild_extent map(struct gild_image *image, uint64_t cluster,
			      uint64_t count)
{
	struct gild_extent extent;
	struct gild_error err;

	cr_assert_eq(gild_map(image, cluster * U, count * U, &extent, &err), 0,
		     "%s", err.message);
	cr_assert_eq(extent.start, cluster * U);
	cr_assert_gt(extent.length, 0);
	cr_assert_leq(extent.length, count * U);
	return extent;
}

static int byte_at(struct gild_image *image, uint64_t offset)
{
	unsigned char byte;

	cr_assert_eq(gild_read(image, &byte, 1, offset, NULL), 0);
	return byte;
}

/* raw (6 clusters and a bit) <- middle (10) <- top (20) */
static struct gild_image *three_layers(void)
{
	make_file("base.raw", 6 * U + 1000, 'r');
	create("middle.qcow2", "base.raw", "raw", 10 * U);
	create("top.qcow2", "middle.qcow2", "qcow2", 20 * U);
	fill("middle.qcow2", 'm', 2, 2);
	fill("middle.qcow2", 'm', 9, 1);
	fill("top.qcow2", 't', 3, 2);
	fill("top.qcow2", 't', 15, 1);
	return open_it("top.qcow2", 0);
}

Test(chain, each_layer_has_its_extents)
{
	struct gild_image *image = three_layers();
	struct gild_extent extent = map(image, 0, 20);

	cr_assert_eq(extent.depth, 2);
	cr_assert(extent.present && extent.data && !extent.zero);
	cr_assert_eq(extent.length, 2 * U);
	cr_assert_str_eq(extent.filename, "base.raw");
	cr_assert_eq(extent.offset, 0);

	extent = map(image, 2, 18);
	cr_assert_eq(extent.depth, 1);
	cr_assert_eq(extent.length, U);
	cr_assert_str_eq(extent.filename, "middle.qcow2");

	extent = map(image, 3, 17);
	cr_assert_eq(extent.depth, 0);
	cr_assert_eq(extent.length, 2 * U);
	cr_assert(extent.has_offset);
	gild_close(image, NULL);
}

Test(chain, reading_goes_down_as_far_as_needed)
{
	struct gild_image *image = three_layers();

	cr_assert_eq(byte_at(image, U), 'r');
	cr_assert_eq(byte_at(image, 2 * U), 'm');
	cr_assert_eq(byte_at(image, 3 * U), 't');
	cr_assert_eq(byte_at(image, 5 * U), 'r');
	cr_assert_eq(byte_at(image, 6 * U + 999), 'r');
	cr_assert_eq(byte_at(image, 6 * U + 1000), 0, "behind the file's end");
	cr_assert_eq(byte_at(image, 9 * U), 'm');
	cr_assert_eq(byte_at(image, 10 * U), 0, "behind the middle's end");
	cr_assert_eq(byte_at(image, 15 * U), 't');
	cr_assert_eq(byte_at(image, 20 * U - 1), 0);
	gild_close(image, NULL);
}

Test(chain, beyond_a_shorter_layer_there_are_zeros_of_nobody)
{
	struct gild_image *image = three_layers();
	struct gild_extent extent = map(image, 16, 4);

	cr_assert(extent.zero && !extent.data && !extent.present);
	cr_assert_eq(extent.length, 4 * U);
	gild_close(image, NULL);
}

Test(chain, a_layer_that_was_not_opened_is_not_present)
{
	struct gild_image *image = three_layers();
	struct gild_extent extent;
	struct gild_error err;
	char byte;

	gild_close(image, NULL);
	image = open_it("top.qcow2", GILD_OPEN_NO_BACKING);
	extent = map(image, 0, 20);
	cr_assert(!extent.present && !extent.data);
	cr_assert_eq(gild_read(image, &byte, 1, 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_eq(byte_at(image, 3 * U), 't');
	gild_close(image, NULL);
}

/* A longer one shows no more than the disk has. */
Test(chain, a_longer_layer_is_cut)
{
	struct gild_image *image;

	make_file("base.raw", 20 * U, 'r');
	create("top.qcow2", "base.raw", "raw", 5 * U + 512);
	image = open_it("top.qcow2", 0);
	cr_assert_eq(map(image, 4, 1).length, U);
	cr_assert_eq(byte_at(image, 5 * U + 511), 'r');
	cr_assert_eq(gild_size(image), 5 * U + 512);
	gild_close(image, NULL);
}

Test(chain, mapping_keeps_to_the_disk)
{
	struct gild_image *image = three_layers();
	struct gild_extent extent;
	struct gild_error err;

	cr_assert_eq(gild_map(image, 20 * U, 1, &extent, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(gild_map(image, 0, 0, &extent, &err), -1);
	cr_assert_eq(gild_map(image, 1, UINT64_MAX, &extent, &err), -1);
	gild_close(image, NULL);
}
