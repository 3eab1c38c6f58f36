/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repairs that end early: the power fails, or a read or write does. The image
 * is then no worse than before, and a second repair gets as far as one that was
 * not disturbed.
 */
#include "formats/qcow2/check/test-repairs.h"

#include <errno.h>

TestSuite(qcow2_check_crash, .timeout = 200);

/* --- power failures ------------------------------------------------------- */

struct crash {
	const struct repaired *repaired;
	struct tiny t; /* as it was before the repair */
	struct gild_check_result before;
	unsigned too_low; /* clusters that could be given away, then */
	unsigned char *content;
	const struct faulty_event *log;
	size_t events;
};

static void count_too_low(void *opaque, const char *line)
{
	unsigned *count = opaque;

	*count += !strncmp(line, "ERROR cluster", 13);
}

/* Check, counting the clusters whose counts are too low. */
static unsigned look(const struct state *s, struct gild_check_result *result)
{
	unsigned too_low = 0;

	result->report = count_too_low;
	result->opaque = &too_low;
	cr_assert_eq(tiny_look(s->bytes, s->length, result), 0);
	return too_low;
}

/* The image after some of the repair's writes: not worse, and still what the
 * guest had. A second repair gets as far as an undisturbed one. */
static void expect_no_worse(const struct crash *crash, const struct state *s)
{
	const char *name = crash->repaired->name;
	struct gild_check_result now = { 0 };
	struct image *image;

	cr_assert_leq(look(s, &now), crash->too_low, "%s: too low", name);
	cr_assert_leq(now.corruptions,
		      crash->before.corruptions +
			      crash->repaired->corruptions_fixed,
		      "%s: %ju corruptions, %ju before", name,
		      (uintmax_t)now.corruptions,
		      (uintmax_t)crash->before.corruptions);
	expect_content(name, s, crash->t.size, crash->content);
	image = repair(s->bytes, s->length, ALL, &now);
	image_free(image);
	cr_assert_eq(now.corruptions, crash->repaired->corruptions, "%s", name);
	cr_assert_eq(now.leaks, crash->repaired->leaks, "%s: %ju leaks", name,
		     (uintmax_t)now.leaks);
}

static void crash_prepare(struct crash *crash)
{
	struct tiny *t = &crash->t;

	tiny_make(t, &crash->repaired->recipe);
	crash->repaired->harm(t);
	crash->content = tiny_content(t->bytes, t->length, t->size);
	crash->too_low =
		look(&(struct state){ t->bytes, t->length }, &crash->before);
}

/* The first events events, but the one at skip; the last one torn at limit. */
static void crash_after(const struct crash *crash, size_t events, size_t skip,
			size_t limit)
{
	struct state s = { .length = crash->t.length };

	s.bytes = malloc(s.length);
	cr_assert_not_null(s.bytes);
	memcpy(s.bytes, crash->t.bytes, s.length);
	for (size_t i = 0; i < events; i++)
		if (i != skip)
			cr_assert_eq(faulty_apply(&crash->log[i],
						  i + 1 == events ? limit :
								    SIZE_MAX,
						  &s.bytes, &s.length),
				     0);
	expect_no_worse(crash, &s);
	free(s.bytes);
}

/* Writes may reach the disk in any order up to the next flush. */
static bool may_be_late(const struct crash *crash, size_t event, size_t end)
{
	for (size_t i = event; i < end; i++)
		if (crash->log[i].op == FAULTY_FLUSH)
			return false;
	return true;
}

static void crash_everywhere(const struct repaired *r)
{
	struct crash crash = { .repaired = r };
	struct gild_check_result result;
	struct image *image;

	crash_prepare(&crash);
	image = repair(crash.t.bytes, crash.t.length, ALL, &result);
	crash.log = faulty_log(image->storage, &crash.events);
	for (size_t n = 0; n <= crash.events; n++) {
		crash_after(&crash, n, SIZE_MAX, SIZE_MAX);
		crash_after(&crash, n, SIZE_MAX, 3);
		for (size_t late = 0; late < n; late++)
			if (may_be_late(&crash, late, n))
				crash_after(&crash, n, late, SIZE_MAX);
	}
	image_free(image);
	free(crash.content);
	free(crash.t.bytes);
}

Test(qcow2_check_crash, may_be_cut_off_anywhere)
{
	for (size_t i = 0; i < REPAIRS; i++)
		crash_everywhere(&repairs[i]);
}

/* --- failing calls -------------------------------------------------------- */

/* Fails the nth call and all after it; false: there are not so many. */
static bool fail_call(const struct crash *crash, uint64_t nth, unsigned ops)
{
	const struct faulty_plan plan = {
		.nth = nth, .ops = ops, .sys_errno = EIO, .sticky = true
	};
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct image *image =
		tiny_open(crash->t.bytes, crash->t.length, TO_REPAIR, NULL);
	bool failed;
	struct state s;
	int ret;

	faulty_set_plan(image->storage, &plan);
	ret = qcow2_check(image, ALL, &result, &err);
	failed = faulty_calls(image->storage, ops) >= nth;
	s = state_of(image);
	image_free(image);
	cr_assert(!failed || ret < 0 || result.check_errors,
		  "%s: call %ju was not missed", crash->repaired->name,
		  (uintmax_t)nth);
	if (ret < 0)
		cr_assert_eq(err.kind, GILD_ERR_IO);
	expect_no_worse(crash, &s);
	free(s.bytes);
	return failed;
}

static void fail_everywhere(const struct repaired *r, unsigned ops)
{
	struct crash crash = { .repaired = r };
	uint64_t nth = 1;

	crash_prepare(&crash);
	while (fail_call(&crash, nth, ops))
		nth++;
	free(crash.content);
	free(crash.t.bytes);
}

Test(qcow2_check_crash, failing_writes_are_reported_and_do_no_harm)
{
	for (size_t i = 0; i < REPAIRS; i++)
		fail_everywhere(&repairs[i],
				1 << FAULTY_WRITE | 1 << FAULTY_FLUSH);
}

Test(qcow2_check_crash, failing_reads_are_reported_and_do_no_harm)
{
	for (size_t i = 0; i < REPAIRS; i++)
		fail_everywhere(&repairs[i], 1 << FAULTY_READ);
}
