/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Amending as the library sees it: given up at any step, refused without a
 * change, done in the same way twice. What other programs say to the result is
 * in tools/test-amend.sh; power failures are in tests/test-crash.c.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "formats/qcow2/amend/amend.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_amend, .timeout = 120);

#define U 512ULL
#define CLUSTERS 200ULL

static const struct disk_kind kind = {
	.name = "amended",
	.version = 3,
	.cluster_size = U,
	.refcount_bits = 8,
	.backing = "base",
};

/* Data, zeros with and without a place, a snapshot that shares some. */
static struct storage *make(const struct disk_kind *how)
{
	const uint64_t u = how->cluster_size;
	const struct op ops[] = {
		{ OP_WRITE, 0, 10 * u, 10 },
		{ OP_ZERO, 3 * u, 4 * u, 0 },
		{ OP_ZERO_UNMAP, 20 * u, 30 * u, 0 },
		{ OP_SNAPSHOT, 0, 0, 0 },
		{ OP_WRITE, 5 * u, 2 * u, 12 },
		{ OP_ZERO, 8 * u, u, 0 },
		{ OP_WRITE, 190 * u, 3 * u, 14 },
	};
	struct storage *storage =
			       disk_create(how, CLUSTERS * how->cluster_size),
		       *copy;
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		cr_assert_eq(op_run(image, &ops[i], NULL), 0);
	cr_assert_eq(image_flush(image, true, NULL), 0);
	copy = disk_copy(storage);
	image_free(image);
	return copy;
}

static void expect_sound(struct image *image)
{
	struct gild_check_result result = disk_check(image);

	cr_expect_eq(result.corruptions, 0);
	cr_expect_eq(result.leaks, 0);
}

/* --- given up ------------------------------------------------------------- */

struct stop {
	unsigned nth, calls;
	uint64_t done;
};

static int stop(void *opaque, uint64_t done, uint64_t total,
		struct gild_error *err)
{
	struct stop *s = opaque;

	cr_expect_leq(s->done, done);
	cr_expect_leq(done, total);
	s->done = done;
	if (++s->calls == s->nth)
		return fail(err, GILD_ERR_CANCELLED, 0, "enough");
	return 0;
}

static const struct gild_option downgrade[] = { { "compat", "0.10" },
						{ "refcount_bits", "16" } };

/* Returns false when nothing was stopped. */
static bool stop_once(struct storage *storage, unsigned nth)
{
	struct stop s = { .nth = nth };
	const struct amend amend = {
		.options = downgrade,
		.option_count = 2,
		.step = stop,
		.opaque = &s,
	};
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);
	struct gild_error err = { 0 };
	int ret = qcow2_amend(image, &amend, &err);

	cr_expect_eq(ret < 0, s.calls == nth, "%s", err.message);
	if (ret < 0)
		cr_expect_eq(err.kind, GILD_ERR_CANCELLED);
	cr_expect_eq(qcow2_of(image)->header.version, ret < 0 ? 3 : 2);
	cr_expect_eq(qcow2_of(image)->refcount_bits, ret < 0 ? 8 : 16);
	expect_sound(image);
	cr_expect_eq(disk_close(image, NULL), 0);
	return ret < 0;
}

Test(qcow2_amend, can_be_given_up_at_every_step)
{
	struct storage *storage = make(&kind);
	unsigned nth = 1;

	while (stop_once(disk_copy(storage), nth))
		nth++;
	/* tables, old blocks, new blocks */
	cr_expect_gt(nth, 6);
	storage_close(storage);
}

Test(qcow2_amend, a_cancelled_job_changes_nothing)
{
	const struct gild_amend_options options = { downgrade, 2, false };
	struct image *image = disk_open(make(&kind), GILD_OPEN_WRITE);
	struct gild_job *job = gild_job_new();
	struct gild_error err = { 0 };
	uint64_t done, total;

	gild_job_cancel(job);
	cr_expect_eq(gild_amend((struct gild_image *)image, &options, job,
				&err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_CANCELLED);
	gild_job_free(job);
	job = gild_job_new();
	cr_expect_eq(gild_amend((struct gild_image *)image, &options, job,
				&err),
		     0, "%s", err.message);
	gild_job_progress(job, &done, &total);
	cr_expect_gt(done, 0);
	cr_expect_eq(done, total);
	gild_job_free(job);
	cr_expect_eq(disk_close(image, NULL), 0);
}

/* --- refused -------------------------------------------------------------- */

static void refused(struct image *image, const char *name, const char *value,
		    enum gild_error_kind why)
{
	const struct gild_option option = { name, value };
	const struct gild_amend_options options = { &option, 1, false };
	struct gild_error err = { 0 };

	cr_expect_eq(gild_amend((struct gild_image *)image, &options, NULL,
				&err),
		     -1, "%s=%s", name, value);
	cr_expect_eq(err.kind, why, "%s", err.message);
}

Test(qcow2_amend, what_cannot_be_is_refused_before_the_first_write)
{
	struct storage *storage = make(&kind);
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);
	size_t events;

	refused(image, "compat", "0.10", GILD_ERR_INVALID);
	refused(image, "compat", "2", GILD_ERR_INVALID);
	refused(image, "refcount_bits", "1", GILD_ERR_RANGE);
	refused(image, "refcount_bits", "12", GILD_ERR_INVALID);
	refused(image, "size", "7", GILD_ERR_INVALID);
	refused(image, "size", "9E", GILD_ERR_RANGE);
	refused(image, "size", "1E", GILD_ERR_RANGE);
	refused(image, "backing_file", "other", GILD_ERR_UNSUPPORTED);
	refused(image, "backing_fmt", "qcow2", GILD_ERR_UNSUPPORTED);
	refused(image, "data_file", "other", GILD_ERR_UNSUPPORTED);
	refused(image, "data_file_raw", "on", GILD_ERR_UNSUPPORTED);
	refused(image, "lazy_refcounts", "maybe", GILD_ERR_INVALID);
	refused(image, "encrypt.state", "active", GILD_ERR_INVALID);
	refused(image, "cluster_size", "4096", GILD_ERR_UNSUPPORTED);
	refused(image, "nothing", "at all", GILD_ERR_INVALID);
	refused(image, "compat", NULL, GILD_ERR_INVALID);
	for (const struct faulty_event *log = faulty_log(storage, &events);
	     events--; log++)
		cr_expect_eq(log->op, FAULTY_FLUSH);
	image_free(image);
}

Test(qcow2_amend, wants_an_image_that_can_be_written)
{
	struct image *image = disk_open(make(&kind), 0);

	refused(image, "compat", "1.1", GILD_ERR_DENIED);
	image_free(image);
}

/* --- done ----------------------------------------------------------------- */

static void amend_ok(struct image *image, const char *name, const char *value)
{
	const struct gild_option option = { name, value };
	const struct gild_amend_options options = { &option, 1, false };
	struct gild_error err = { 0 };

	cr_assert_eq(gild_amend((struct gild_image *)image, &options, NULL,
				&err),
		     0, "%s", err.message);
}

/* Lazy counts are for who writes next, through the same handle, too. */
Test(qcow2_amend, the_handle_goes_on_as_the_header_says)
{
	struct storage *storage = make(&kind);
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);
	struct qcow2 *q = qcow2_of(image);
	const struct op write = { OP_WRITE, 60 * U, 4 * U, 20 };
	const unsigned char *content;
	uint64_t length;

	amend_ok(image, "lazy_refcounts", "on");
	cr_expect_not(q->marked_dirty);
	cr_assert_eq(op_run(image, &write, NULL), 0);
	cr_expect(q->marked_dirty);
	amend_ok(image, "lazy_refcounts", "off");
	content = faulty_content(storage, &length);
	cr_expect_eq(content[79] & 1, 0, "the dirty bit stays");
	cr_assert_eq(op_run(image, &write, NULL), 0);
	cr_expect_not(q->marked_dirty);
	amend_ok(image, "refcount_bits", "64");
	cr_expect_eq(q->refcount_max, UINT64_MAX);
	cr_assert_eq(op_run(image, &write, NULL), 0);
	expect_sound(image);
	cr_expect_eq(disk_close(image, NULL), 0);
}

/* Fields of a header that are not known are version 3's. */
Test(qcow2_amend, a_longer_header_becomes_short)
{
	const struct disk_kind longer = {
		.name = "longer",
		.version = 3,
		.cluster_size = 4096,
	};
	struct storage *storage = make(&longer);
	struct qcow2_header header;
	const unsigned char *content;
	struct image *image;
	uint64_t length;

	cr_assert_eq(qcow2_header_read(storage, &header, NULL), 0);
	header.extra = calloc(1, 16);
	header.extra_length = 16;
	header.compatible |= 1U << 7;
	cr_assert_eq(qcow2_header_write(storage, &header, NULL), 0);
	qcow2_header_free(&header);
	image = disk_open(storage, GILD_OPEN_WRITE);
	cr_expect_eq(qcow2_of(image)->header.extra_length, 16);
	amend_ok(image, "compat", "0.10");
	cr_expect_eq(qcow2_of(image)->header.extra_length, 0);
	amend_ok(image, "compat", "1.1");
	content = faulty_content(storage, &length);
	cr_expect_eq(content[103], 112);
	cr_expect_eq(content[87], 0, "an unknown bit comes back");
	expect_sound(image);
	cr_expect_eq(disk_close(image, NULL), 0);
}
