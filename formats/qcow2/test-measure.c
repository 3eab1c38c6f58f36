/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes of images, against the figures that qemu-img measure gives. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/layout.h"

TestSuite(qcow2_measure, .timeout = 120);

static struct gild_measurement measure(uint64_t size, uint64_t allocated,
				       const char *name, const char *value)
{
	const struct gild_option option = { name, value };
	struct gild_measurement result;
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_measure(size, allocated, &option, name ? 1 : 0,
				   &result, &err),
		     0, "%s", err.message);
	return result;
}

Test(qcow2_measure, known_figures)
{
	struct gild_measurement m;

	m = measure(1ULL << 30, 0, NULL, NULL);
	cr_expect_eq(m.required, 393216);
	cr_expect_eq(m.fully_allocated, 1074135040);
	cr_expect_not(m.has_bitmaps);
	m = measure(0, 0, NULL, NULL);
	cr_expect_eq(m.required, 196608);
	cr_expect_eq(m.fully_allocated, 196608);
	m = measure(1000, 0, NULL, NULL);
	cr_expect_eq(m.required, 327680);
	cr_expect_eq(m.fully_allocated, 393216);
	m = measure(60ULL << 50, 0, "cluster_size", "2M");
	cr_expect_eq(m.required, 322130935808);
	cr_expect_eq(m.fully_allocated, 67554316541493248);
}

Test(qcow2_measure, allocated_bytes_count_in_clusters)
{
	cr_expect_eq(measure(1ULL << 30, 1, NULL, NULL).required, 458752);
	cr_expect_eq(measure(1ULL << 30, 65536, NULL, NULL).required, 458752);
	cr_expect_eq(measure(1ULL << 30, 65537, NULL, NULL).required, 524288);
	/* Never more than a full image. */
	cr_expect_eq(measure(1ULL << 30, 1ULL << 40, NULL, NULL).required,
		     1074135040);
}

Test(qcow2_measure, reserved_space_is_required)
{
	const uint64_t full = 1074135040;

	cr_expect_eq(measure(1 << 30, 0, "preallocation", "falloc").required,
		     full);
	cr_expect_eq(measure(1 << 30, 0, "preallocation", "full").required,
		     full);
	cr_expect_eq(measure(1 << 30, 0, "preallocation", "metadata").required,
		     393216);
}

Test(qcow2_measure, what_is_too_large_is_refused)
{
	const struct gild_option option = { "cluster_size", "512" };
	struct gild_measurement result;
	struct gild_error err;

	cr_assert_eq(qcow2_measure((1ULL << 51) + 1, 0, NULL, 0, &result, &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(qcow2_measure(UINT64_MAX, 0, NULL, 0, &result, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(qcow2_measure((1ULL << 37) + 1, 0, &option, 1, &result,
				   &err),
		     -1);
	cr_expect_not_null(strstr(err.message, "137438953472"), "%s",
			   err.message);
	cr_expect_not_null(strstr(err.hint, "cluster_size"));
}

Test(qcow2_measure, options_are_checked)
{
	const struct gild_option option = { "cluster_size", "3" };
	struct gild_measurement result;
	struct gild_error err;

	cr_assert_eq(qcow2_measure(1, 0, &option, 1, &result, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
}

/* --- qemu-img ------------------------------------------------------------ */

static uint64_t field(const char *json, const char *name)
{
	const char *at = strstr(json, name);

	cr_assert_not_null(at, "no %s in %s", name, json);
	return strtoull(strchr(at, ':') + 1, NULL, 10);
}

static void compare(uint64_t size, const char *cluster_size,
		    const char *refcount_bits, const char *extended_l2)
{
	const struct gild_option options[] = {
		{ "cluster_size", cluster_size },
		{ "refcount_bits", refcount_bits },
		{ "extended_l2", extended_l2 },
	};
	char command[300], json[300] = "";
	struct gild_measurement m;
	struct gild_error err = { 0 };
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "qemu-img measure -O qcow2 --output=json --size %ju -o "
		 "cluster_size=%s,refcount_bits=%s,extended_l2=%s",
		 (uintmax_t)size, cluster_size, refcount_bits, extended_l2);
	pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	cr_assert_gt(fread(json, 1, sizeof(json) - 1, pipe), 0);
	cr_assert_eq(pclose(pipe), 0);
	cr_assert_eq(qcow2_measure(size, 0, options, 3, &m, &err), 0, "%s",
		     err.message);
	cr_expect_eq(m.required, field(json, "required"), "%s", command);
	cr_expect_eq(m.fully_allocated, field(json, "fully-allocated"), "%s",
		     command);
}

Test(qcow2_measure, figures_are_those_of_qemu_img)
{
	static const uint64_t sizes[] = {
		0,	 513,	     1ULL << 20, 65537, (1ULL << 29) + 1,
		1234567, 1ULL << 36, 10000000000
	};
	static const char *const clusters[] = { "512", "4k", "64k", "2M" };
	static const char *const widths[] = { "1", "16", "64" };

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		cr_skip_test("qemu-img is missing");
	for (size_t s = 0; s < 8; s++) {
		for (size_t c = 0; c < 4; c++)
			compare(sizes[s], clusters[c], widths[s % 3], "off");
		compare(sizes[s], "16k", "16", "on");
	}
}
