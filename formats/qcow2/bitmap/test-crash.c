/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps when the power fails, or a call does: a bitmap in the file is right,
 * or says that it is in use; an operation has been done, or not.
 *
 * Of the writes between two flushes any may be missing: tried are all up to a
 * point, all but one, and one alone; the last one whole or torn.
 */
#include "formats/qcow2/bitmap/test-bitmap.h"

#include <errno.h>

#define SIZE (64ULL << 10)
#define OPTIONS "cluster_size=512"

TestSuite(qcow2_bitmap_crash, .timeout = 300);

/* --- what is done -------------------------------------------------------- */

/* Many of these are made to fail. */
typedef int act_fn(struct gild_image *image, struct gild_error *err);

static int write_at(struct gild_image *image, uint64_t offset, size_t length,
		    int fill, struct gild_error *err)
{
	unsigned char data[4096];

	memset(data, fill, sizeof(data));
	return gild_write(image, data, length, offset, err);
}

/* In place, new, zeros, discarded; a flush in between. */
static int act_write(struct gild_image *image, struct gild_error *err)
{
	if (write_at(image, 100, 10, 1, err) < 0 ||
	    write_at(image, 20 << 10, 3000, 2, err) < 0 ||
	    gild_flush(image, err) < 0 ||
	    gild_zero(image, 2048, 1024, 0, err) < 0 ||
	    gild_discard(image, 8 << 10, 2048, err) < 0)
		return -1;
	return write_at(image, 40 << 10, 1, 3, err);
}

/* Where all is marked already. */
static int act_again(struct gild_image *image, struct gild_error *err)
{
	return write_at(image, 9 << 10, 700, 4, err);
}

static int act_add(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_add(image, "new", 512, false, err);
}

static int act_remove(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_remove(image, "fine", err);
}

static int act_clear(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_clear(image, "off", err);
}

static int act_enable(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_enable(image, "off", err);
}

static int act_disable(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_disable(image, "fine", err);
}

static int act_merge(struct gild_image *image, struct gild_error *err)
{
	return gild_bitmap_merge(image, "off", image, "coarse", err);
}

static int act_resize(struct gild_image *image, struct gild_error *err)
{
	return gild_resize(image, 5 * SIZE, err);
}

static int act_shrink(struct gild_image *image, struct gild_error *err)
{
	return gild_resize(image, SIZE / 2 + 512, err);
}

static const struct scenario {
	const char *name;
	act_fn *act;
	bool writes; /* enabled bitmaps may be found in use */
} scenarios[] = {
	{ "write", act_write, true },	   { "again", act_again, true },
	{ "add", act_add, false },	   { "remove", act_remove, false },
	{ "clear", act_clear, false },	   { "enable", act_enable, false },
	{ "disable", act_disable, false }, { "merge", act_merge, false },
	{ "resize", act_resize, true },	   { "shrink", act_shrink, true },
};

/* Data here and there, and three bitmaps that know of it. */
static struct bytes start(const char *options)
{
	struct bytes bytes = new_bytes(options, SIZE);
	struct image *image = open_good(&bytes, GILD_OPEN_WRITE);
	struct gild_image *handle = (struct gild_image *)image;

	free(bytes.data);
	OK(write_at(handle, 0, 4096, 7, &err));
	OK(gild_bitmap_add(handle, "fine", 512, false, &err));
	OK(gild_bitmap_add(handle, "off", 512, false, &err));
	OK(gild_bitmap_add(handle, "coarse", 16384, false, &err));
	OK(write_at(handle, 8 << 10, 4096, 8, &err));
	OK(write_at(handle, SIZE - 1000, 1000, 9, &err));
	OK(gild_bitmap_disable(handle, "off", &err));
	bytes = close_bytes(image);
	expect_sound(&bytes);
	return bytes;
}

/* --- judging ------------------------------------------------------------- */

struct judge {
	const struct scenario *scenario;
	struct bytes before;
	char *text_before, *text_after;
	unsigned char *content; /* before */
	uint64_t size;
	unsigned states;
};

/* Is every granule whose bytes have changed marked? */
static void expect_covered(const struct judge *judge, const struct bytes *state,
			   const struct qcow2_bits *bits, const char *name)
{
	uint64_t size, offset, length;
	unsigned char *content = content_of(state, &size);

	size = min_u64(size, judge->size);
	for (uint64_t at = 0; at < size; at++) {
		if (content[at] == judge->content[at])
			continue;
		offset = at;
		cr_assert(qcow2_bits_next(bits, &offset, &length) &&
				  offset == at,
			  "%s: byte %ju has changed, and bitmap %s does not "
			  "tell",
			  judge->scenario->name, (uintmax_t)at, name);
	}
	free(content);
}

static void judge_bitmap(const struct judge *judge, const struct bytes *state,
			 struct qcow2 *q, const struct qcow2_bitmap *bitmap)
{
	struct qcow2_room room = { 1ULL << 40, 1ULL << 40 };
	struct gild_error err = { 0 };
	struct qcow2_bits *bits;

	if (bitmap->flags & QCOW2_BITMAP_IN_USE)
		return;
	bits = qcow2_bitmap_load(q, bitmap, &room, &err);
	cr_assert_not_null(bits, "%s: %s", judge->scenario->name, err.message);
	if (bitmap->flags & QCOW2_BITMAP_AUTO)
		expect_covered(judge, state, bits, bitmap->name);
	qcow2_bits_free(bits);
}

/* Each is right, or in use. */
static void judge_bitmaps(const struct judge *judge, const struct bytes *state)
{
	struct image *image = open_good(state, 0);
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_bitmaps bitmaps;

	OK(qcow2_bitmaps_read(q, &bitmaps, &err));
	cr_assert(judge->scenario->writes ? bitmaps.count == 3 :
					    bitmaps.count >= 2,
		  "%s: %u bitmaps", judge->scenario->name, bitmaps.count);
	for (uint32_t i = 0; i < bitmaps.count; i++)
		judge_bitmap(judge, state, q, &bitmaps.list[i]);
	qcow2_bitmaps_free(&bitmaps);
	image_free(image);
}

/* With lazy reference counts whoever opens it for writing puts them right. */
static struct bytes repaired(const struct bytes *state)
{
	return close_bytes(open_good(state, GILD_OPEN_WRITE));
}

static void judge_state(struct judge *judge, const struct bytes *found)
{
	struct bytes repair = repaired(found), *state = &repair;
	struct gild_check_result result = check_bytes(state);
	char *text;

	judge->states++;
	cr_assert_eq(result.corruptions + result.check_errors, 0,
		     "%s: %ju corruptions", judge->scenario->name,
		     (uintmax_t)result.corruptions);
	if (judge->scenario->writes) {
		judge_bitmaps(judge, state);
		free(repair.data);
		return;
	}
	text = text_of(state);
	free(repair.data);
	cr_assert(!strcmp(text, judge->text_before) ||
			  !strcmp(text, judge->text_after),
		  "%s:\n%sis neither\n%snor\n%s", judge->scenario->name, text,
		  judge->text_before, judge->text_after);
	free(text);
}

static struct judge judge_new(const struct scenario *scenario,
			      const char *options)
{
	struct judge judge = { .scenario = scenario, .before = start(options) };
	struct image *image = open_good(&judge.before, GILD_OPEN_WRITE);
	struct bytes after;

	OK(scenario->act((struct gild_image *)image, &err));
	after = close_bytes(image);
	expect_sound(&after);
	judge.text_before = text_of(&judge.before);
	judge.text_after = text_of(&after);
	judge.content = content_of(&judge.before, &judge.size);
	free(after.data);
	return judge;
}

static void judge_free(struct judge *judge)
{
	free(judge->before.data);
	free(judge->text_before);
	free(judge->text_after);
	free(judge->content);
}

/* --- power failures ------------------------------------------------------ */

struct crash {
	struct judge *judge;
	const struct faulty_event *log;
	size_t count;
};

/* Events [0, end) but those of [skip_from, skip_to); the last one torn. */
static void crash_state(struct crash *crash, size_t end, size_t skip_from,
			size_t skip_to, size_t limit)
{
	const struct bytes *before = &crash->judge->before;
	struct bytes state = { .length = before->length };

	state.data = malloc(state.length);
	cr_assert_not_null(state.data);
	memcpy(state.data, before->data, state.length);
	for (size_t i = 0; i < end; i++)
		if (i < skip_from || i >= skip_to)
			cr_assert_eq(faulty_apply(&crash->log[i],
						  i + 1 == end ? limit :
								 SIZE_MAX,
						  &state.data, &state.length),
				     0);
	judge_state(crash->judge, &state);
	free(state.data);
}

/* Where the stretch without a flush that ends there begins. */
static size_t pending_from(const struct crash *crash, size_t end)
{
	while (end && crash->log[end - 1].op != FAULTY_FLUSH)
		end--;
	return end;
}

static void crash_everywhere(struct crash *crash)
{
	for (size_t end = 1; end <= crash->count; end++) {
		size_t from = pending_from(crash, end);

		crash_state(crash, end, 0, 0, SIZE_MAX);
		crash_state(crash, end, 0, 0, 3);
		crash_state(crash, end, 0, 0, 512);
		for (size_t i = from; i + 1 < end; i++)
			crash_state(crash, end, i, i + 1, SIZE_MAX);
		if (from + 1 < end)
			crash_state(crash, end, from, end - 1, SIZE_MAX);
	}
}

static void crash_scenario(const struct scenario *scenario, const char *options)
{
	struct judge judge = judge_new(scenario, options);
	struct crash crash = { .judge = &judge };
	struct image *image = open_good(&judge.before, GILD_OPEN_WRITE);

	OK(scenario->act((struct gild_image *)image, &err));
	OK(image_flush(image, true, &err));
	crash.log = faulty_log(image->storage, &crash.count);
	crash_everywhere(&crash);
	cr_assert_gt(judge.states, 10);
	image_free(image);
	judge_free(&judge);
}

Test(qcow2_bitmap_crash, the_power_may_fail_at_any_point)
{
	for (size_t i = 0; i < ARRAY_LENGTH(scenarios); i++) {
		crash_scenario(&scenarios[i], OPTIONS);
		crash_scenario(&scenarios[i], OPTIONS ",lazy_refcounts=on");
	}
}

/* --- failing calls ------------------------------------------------------- */

/* The same handle goes on: with writes. */
static void write_on(struct judge *judge, struct image *image)
{
	struct bytes state;

	act_write((struct gild_image *)image, NULL);
	image_flush(image, true, NULL);
	state = bytes_of(image->storage);
	judge_bitmaps(judge, &state);
	free(state.data);
}

/* With the same again, and then writes. */
static void go_on(struct judge *judge, struct image *image,
		  const struct faulty_plan *plan)
{
	struct gild_image *handle = (struct gild_image *)image;
	struct bytes state;

	judge->scenario->act(handle, NULL);
	image_flush(image, true, NULL);
	state = bytes_of(image->storage);
	judge_state(judge, &state);
	/* What was made in vain has been given back. */
	if (!qcow2_of(image)->broken && !plan->sticky && !plan->torn &&
	    !judge->scenario->writes)
		expect_sound(&state);
	free(state.data);
	write_on(judge, image);
}

/* A call fails; what is there then is judged, and so it is when the handle goes
 * on, after a second try or at once. false: there are not so many calls. */
static bool fail_call(struct judge *judge, const struct faulty_plan *plan,
		      bool again)
{
	const struct faulty_plan none = { 0 };
	struct image *image = open_good(&judge->before, GILD_OPEN_WRITE);
	struct gild_image *handle = (struct gild_image *)image;
	struct gild_error err = { 0 };
	struct bytes state;
	bool failed;
	int ret;

	faulty_set_plan(image->storage, plan);
	ret = judge->scenario->act(handle, &err);
	if (!ret)
		ret = image_flush(image, true, &err);
	failed = faulty_calls(image->storage, plan->ops) >= plan->nth;
	cr_assert_eq(ret < 0, failed, "%s, call %ju: %s", judge->scenario->name,
		     (uintmax_t)plan->nth, err.message);
	state = bytes_of(image->storage);
	judge_state(judge, &state);
	faulty_set_plan(image->storage, &none);
	if (again)
		go_on(judge, image, plan);
	else
		write_on(judge, image);
	free(state.data);
	image_free(image);
	return failed;
}

static void fail_scenario(const struct scenario *scenario, unsigned ops)
{
	struct faulty_plan plans[] = {
		{ .ops = ops, .sys_errno = ENOSPC, .sticky = true },
		{ .ops = ops, .sys_errno = ENOSPC },
		/* it says so, and yet it was done */
		{ .ops = ops, .sys_errno = EIO, .torn = SIZE_MAX },
	};
	struct judge judge = judge_new(scenario, OPTIONS);

	for (size_t i = 0; i < ARRAY_LENGTH(plans); i++)
		do
			plans[i].nth++;
		while (fail_call(&judge, &plans[i], true) &&
		       fail_call(&judge, &plans[i], false));
	judge_free(&judge);
}

Test(qcow2_bitmap_crash, writes_that_fail_are_said_and_do_no_harm)
{
	for (size_t i = 0; i < ARRAY_LENGTH(scenarios); i++)
		fail_scenario(&scenarios[i],
			      1 << FAULTY_WRITE | 1 << FAULTY_FLUSH);
}

Test(qcow2_bitmap_crash, reads_that_fail_are_said_and_do_no_harm)
{
	for (size_t i = 0; i < ARRAY_LENGTH(scenarios); i++)
		fail_scenario(&scenarios[i], 1 << FAULTY_READ);
}

/* Enabling fails, and yet it was done: what is written from then on is marked,
 * or the file says that it is not enabled. */
Test(qcow2_bitmap_crash, one_that_may_be_enabled_is_kept_up_to_date)
{
	const struct faulty_plan plan = { .nth = 1,
					  .ops = 1 << FAULTY_WRITE,
					  .sys_errno = EIO,
					  .torn = SIZE_MAX };
	const struct faulty_plan none = { 0 };
	struct bytes bytes = new_bytes(OPTIONS, SIZE);
	struct image *image = open_good(&bytes, GILD_OPEN_WRITE);
	struct gild_image *handle = (struct gild_image *)image;

	free(bytes.data);
	OK(gild_bitmap_add(handle, "b", 512, true, &err));
	faulty_set_plan(image->storage, &plan);
	REFUSED(GILD_ERR_IO, "", gild_bitmap_enable(handle, "b", &err));
	faulty_set_plan(image->storage, &none);
	OK(write_at(handle, 0, 512, 1, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 512: 0-512\n");
	free(bytes.data);
}
