/* SPDX-License-Identifier: BSD-3-Clause */
/* See crash.h. A "stretch" is what the log has between two flushes. */
#include "tests/lib/crash.h"

#include <criterion/criterion.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/cleanup.h"

enum {
	MOST_INTERVALS = 40,
	ALL_SUBSETS = 8, /* writes of which all subsets are tried */
	SAMPLE = 96,	 /* of more, so many */
	MOST_TEARS = 4,
};

/* From one durable moment that the caller knows of to the next. */
struct interval {
	size_t from;	     /* index into the log */
	struct model *model; /* all that is possible then */
};

struct exploration {
	struct crash_base *base;
	const struct op *ops;
	unsigned count;
	const struct faulty_event *log;
	size_t log_length;
	struct interval intervals[MOST_INTERVALS];
	unsigned interval_count;
	struct model *model; /* of the current interval */
	/* The state that is being judged, for messages. */
	size_t from, to;    /* the stretch, in the log */
	size_t limit, skip; /* of it only the first ones, and not one */
	uint64_t mask[4];   /* of those, in turn, these */
	size_t torn;
	/* Hashes of states that were judged already. */
	uint64_t *seen;
	size_t seen_count, seen_room;
};

/* --- messages ------------------------------------------------------------ */

static void describe(const struct exploration *x, char *text, size_t room)
{
	size_t used =
		(size_t)snprintf(text, room, "%s:", x->base->setup->kind.name);

	for (unsigned i = 0; i < x->count && used < room; i++)
		used += (size_t)snprintf(text + used, room - used, " %s;",
					 op_text(&x->ops[i]));
	if (used < room)
		snprintf(text + used, room - used,
			 " log %zu to %zu of %zu, first %zu without %zd, "
			 "subset %#jx, torn %zd",
			 x->from, x->to, x->log_length, x->limit,
			 (ssize_t)x->skip, (uintmax_t)x->mask[0],
			 (ssize_t)x->torn);
}

static void keep_state(const unsigned char *content, uint64_t length)
{
	const char *path = getenv("GILD_KEEP_STATE");
	FILE *file = path ? fopen(path, "w") : NULL;

	if (!file)
		return;
	fwrite(content, 1, length, file);
	fclose(file);
}

#define blame(x, content, length, ...)                     \
	do {                                               \
		char text_[2000], why_[1000];              \
		describe(x, text_, sizeof(text_));         \
		snprintf(why_, sizeof(why_), __VA_ARGS__); \
		keep_state(content, length);               \
		cr_assert_fail("%s: %s", text_, why_);     \
	} while (0)

/* --- the start ----------------------------------------------------------- */

static struct image *open_base(struct crash_base *base, struct storage *storage,
			       struct gild_error *err)
{
	const struct crash_setup *setup = base->setup;
	struct image *image = disk_try_open(storage, GILD_OPEN_WRITE, err);

	if (image && setup->below)
		disk_back(image, base->below, setup->below);
	if (image && setup->tiny_caches)
		disk_tiny_caches(image);
	return image;
}

static void run_base_ops(struct crash_base *base, struct image *image,
			 const struct op *ops, unsigned count)
{
	struct gild_error err = { 0 };
	unsigned char *disk = malloc(image->size);

	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq(op_run(image, &ops[i], &err), 0, "%s: %s",
			     op_text(&ops[i]), err.message);
		op_note(base->model, &ops[i], false);
	}
	cr_assert_eq(image_flush(image, true, &err), 0, "%s", err.message);
	cr_assert_eq(image_read(image, disk, image->size, 0, &err), 0, "%s",
		     err.message);
	cr_assert(model_allows(base->model, disk, image->size, false, &err),
		  "%s", err.message);
	model_adopt(base->model, disk);
	model_flushed(base->model);
	base->disk = disk;
	if (base->setup->kind.bitmaps)
		cr_assert_eq(gild_bitmap_clear((struct gild_image *)image, "b",
					       &err),
			     0, "%s", err.message);
}

/* Each state takes large pieces of memory and gives them back: from glibc's
 * own store, not from the kernel, which costs a quarter of the time. */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 128 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
}

struct crash_base *crash_base_new(const struct crash_setup *setup,
				  const struct op *ops, unsigned count)
{
	struct crash_base *base = calloc(1, sizeof(*base));
	struct storage *storage;
	struct image *image;
	const void *content;

	keep_memory();
	base->setup = setup;
	base->random = 1;
	base->below = malloc(setup->below + 1);
	op_fill(base->below, 0, setup->below, 900);
	base->model = model_new(base->below, setup->below, setup->size);
	storage = disk_create(&setup->kind, setup->size);
	image = open_base(base, storage, NULL);
	cr_assert_not_null(image);
	run_base_ops(base, image, ops, count);
	content = faulty_content(storage, &base->length);
	base->content = malloc(base->length);
	memcpy(base->content, content, base->length);
	image_free(image);
	return base;
}

void crash_base_free(struct crash_base *base)
{
	free(base->below);
	free(base->content);
	free(base->disk);
	model_free(base->model);
	free(base);
}

/* --- the run ------------------------------------------------------------- */

/* The index behind the last flush. */
static size_t last_flush(struct storage *storage)
{
	size_t count;
	const struct faulty_event *log = faulty_log(storage, &count);

	while (count && log[count - 1].op != FAULTY_FLUSH)
		count--;
	return count;
}

/* What may be there until now is possible up to the last flush; from there on
 * only what is current, and what comes. */
static void end_interval(struct exploration *x, struct storage *storage)
{
	struct interval *now = &x->intervals[x->interval_count - 1];

	cr_assert_lt(x->interval_count, MOST_INTERVALS);
	now->model = model_dup(x->model);
	model_flushed(x->model);
	now[1] = (struct interval){ .from = last_flush(storage) };
	x->interval_count++;
}

static void run_sequence(struct exploration *x, struct image *image)
{
	struct gild_error err = { 0 };
	char text[2000];

	for (unsigned i = 0; i < x->count; i++) {
		describe(x, text, sizeof(text));
		cr_assert_eq(op_run(image, &x->ops[i], &err), 0, "%s: %s", text,
			     err.message);
		op_note(x->model, &x->ops[i], false);
		if (x->ops[i].kind == OP_FLUSH)
			end_interval(x, image->storage);
	}
	cr_assert_eq(image_flush(image, true, &err), 0, "%s", err.message);
	end_interval(x, image->storage);
	x->intervals[x->interval_count - 1].model = model_dup(x->model);
}

/* --- judging ------------------------------------------------------------- */

static void check_state(struct exploration *x, struct image *image,
			const unsigned char *content, uint64_t length,
			const char *when)
{
	struct gild_check_result result = disk_check(image);

	if (result.corruptions || result.check_errors)
		blame(x, content, length, "%s: %ju corruptions, %ju errors",
		      when, (uintmax_t)result.corruptions,
		      (uintmax_t)result.check_errors);
}

/* Further use: in place, new, compressed, given back. */
static void use_further(struct exploration *x, struct image *image,
			const unsigned char *disk, const unsigned char *content,
			uint64_t length)
{
	uint64_t u = image->cluster_size, size = image->size;
	struct op ops[] = {
		{ OP_WRITE, u / 2, u, 700 },
		{ OP_COMPRESS, 4 * u, u, 702 },
		{ OP_WRITE, size - 700, 700, 704 },
		{ OP_ZERO_UNMAP, 5 * u, u, 0 },
		{ OP_FLUSH, 0, 0, 0 },
		{ OP_WRITE, 9 * u - 300, 2 * u, 706 },
		{ OP_FLUSH, 0, 0, 0 },
	};
	struct model *model = model_new(disk, size, size);
	AUTO_FREE unsigned char *now = malloc(size);
	struct gild_error err = { 0 };

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (ops[i].offset + ops[i].length > size)
			continue;
		if (op_run(image, &ops[i], &err) < 0)
			blame(x, content, length, "further %s: %s",
			      op_text(&ops[i]), err.message);
		op_note(model, &ops[i], false);
	}
	if (image_read(image, now, size, 0, &err) < 0 ||
	    !model_allows(model, now, size, false, &err))
		blame(x, content, length, "further reading: %s", err.message);
	model_free(model);
}

static void save(const char *path, const unsigned char *bytes, uint64_t length)
{
	FILE *file = fopen(path, "w");

	cr_assert(file && fwrite(bytes, 1, length, file) == length &&
			  fclose(file) == 0,
		  "%s", path);
}

/* qemu-img finds at most leaks (after the repair of an image marked dirty),
 * and reads what we read. */
static void ask_oracle(struct exploration *x, const unsigned char *content,
		       uint64_t length, const unsigned char *disk,
		       uint64_t size)
{
	const struct crash_base *base = x->base;
	bool dirty = content[7] >= 3 && content[79] & 1;
	int status;

	save("state.qcow2", content, length);
	save("state.raw", disk, size);
	if (base->setup->below)
		save("base", base->below, base->setup->below);
	if (dirty)
		status = system("qemu-img check -q -r all -f qcow2 "
				"state.qcow2 >log 2>&1");
	status = system("qemu-img check -q -f qcow2 state.qcow2 >log 2>&1");
	status = WEXITSTATUS(status);
	if (status != 0 && status != 3)
		blame(x, content, length, "qemu-img check says %d", status);
	status = system("qemu-img compare -q -f qcow2 -F raw state.qcow2 "
			"state.raw >log 2>&1");
	if (status)
		blame(x, content, length, "qemu-img reads something else");
	x->base->asked++;
}

/* The snapshot, if it is there by now, holds what it was taken of. */
static void check_snapshot(struct exploration *x, const struct model *model,
			   const unsigned char *content, uint64_t length)
{
	struct gild_error err = { 0 };
	struct image *image;
	unsigned char *disk;

	if (!load_be32(content + 60))
		return;
	image = disk_open_snapshot(faulty_new(content, length, NULL), &err);
	if (!image)
		blame(x, content, length, "snapshot: %s", err.message);
	if (x->base->setup->below)
		disk_back(image, x->base->below, x->base->setup->below);
	disk = malloc(image->size);
	if (image_read(image, disk, image->size, 0, &err) < 0 ||
	    !model_allows_saved(model, disk, image->size, &err))
		blame(x, content, length, "snapshot: %s", err.message);
	free(disk);
	image_free(image);
}

static void judge(struct exploration *x, const struct model *model,
		  const unsigned char *content, uint64_t length)
{
	const struct crash_setup *setup = x->base->setup;
	struct storage *storage = faulty_new(content, length, NULL);
	struct gild_error err = { 0 };
	struct image *image = open_base(x->base, storage, &err);
	AUTO_FREE unsigned char *disk = NULL;

	if (!image)
		blame(x, content, length, "does not open: %s", err.message);
	check_state(x, image, content, length, "at once");
	disk = malloc(image->size);
	if (image_read(image, disk, image->size, 0, &err) < 0 ||
	    !model_allows(model, disk, image->size, true, &err))
		blame(x, content, length, "%s", err.message);
	if (setup->kind.bitmaps &&
	    !disk_marks_cover(image, x->base->disk, setup->size, disk))
		blame(x, content, length, "the bitmap does not tell");
	x->base->states++;
	if (setup->oracle && x->base->states % setup->oracle == 0)
		ask_oracle(x, content, length, disk, image->size);
	check_snapshot(x, model, content, length);
	use_further(x, image, disk, content, length);
	check_state(x, image, content, length, "after further writes");
	content = faulty_content(storage, &length);
	check_snapshot(x, model, content, length);
	image_free(image);
}

/* --- states -------------------------------------------------------------- */

static uint64_t hash(const unsigned char *content, uint64_t length)
{
	uint64_t value = length, word, at;

	for (at = 0; at + 8 <= length; at += 8) {
		memcpy(&word, content + at, 8);
		value = (value ^ word) * 0x9e3779b97f4a7c15ULL;
		value ^= value >> 29;
	}
	for (; at < length; at++)
		value = (value ^ content[at]) * 0x9e3779b97f4a7c15ULL;
	return value | 1;
}

static bool was_seen(struct exploration *x, uint64_t value)
{
	size_t old_room = x->seen_room, at;
	uint64_t *old = x->seen;

	if (x->seen_count * 2 >= x->seen_room) {
		x->seen_room = old_room ? old_room * 2 : 256;
		x->seen = calloc(x->seen_room, sizeof(*x->seen));
		x->seen_count = 0;
		for (size_t i = 0; i < old_room; i++)
			if (old[i])
				was_seen(x, old[i]);
		free(old);
	}
	at = value & (x->seen_room - 1);
	while (x->seen[at] && x->seen[at] != value)
		at = (at + 1) & (x->seen_room - 1);
	if (x->seen[at])
		return true;
	x->seen[at] = value;
	x->seen_count++;
	return false;
}

struct bytes {
	unsigned char *content;
	uint64_t length;
};

static bool in_subset(const struct exploration *x, size_t i)
{
	return i < x->limit && i != x->skip &&
	       x->mask[i / 64 % 4] >> i % 64 & 1;
}

/* The last event of the subset, or -1. */
static ssize_t last_in_subset(const struct exploration *x)
{
	ssize_t last = -1;

	for (size_t i = 0; i < x->limit; i++)
		if (in_subset(x, i))
			last = (ssize_t)i;
	return last;
}

/* The state of x->mask over what was there before; limit cuts the last one. */
static void try_state(struct exploration *x, const struct bytes *before,
		      const struct interval *interval, size_t limit)
{
	ssize_t last = last_in_subset(x);
	struct bytes now = { malloc(before->length + 1), before->length };
	size_t cut;

	memcpy(now.content, before->content, before->length);
	x->torn = limit;
	for (ssize_t i = 0; i <= last; i++) {
		cut = i == last ? limit : SIZE_MAX;
		if (in_subset(x, (size_t)i))
			cr_assert_eq(faulty_apply(&x->log[x->from + (size_t)i],
						  cut, &now.content,
						  &now.length),
				     0);
	}
	/* The same bytes at another time may have to mean something else. */
	if (!was_seen(x, hash(now.content, now.length) +
				 (uint64_t)(interval - x->intervals) * 2))
		judge(x, interval->model, now.content, now.length);
	free(now.content);
}

/* The state, and with its last write torn at borders of sectors: the first
 * ones, the last one, and one of 4 KiB. */
static void try_torn_states(struct exploration *x, const struct bytes *before,
			    const struct interval *interval)
{
	ssize_t last = last_in_subset(x);
	const struct faulty_event *event;
	uint64_t first, cuts[MOST_TEARS];

	try_state(x, before, interval, SIZE_MAX);
	if (last < 0)
		return;
	event = &x->log[x->from + (size_t)last];
	if (event->op != FAULTY_WRITE && event->op != FAULTY_ZERO)
		return;
	first = SECTOR - event->offset % SECTOR;
	cuts[0] = first;
	cuts[1] = first + SECTOR;
	cuts[2] = first + (event->length - 1) / SECTOR * SECTOR - SECTOR;
	cuts[3] = 4096 - event->offset % 4096;
	for (unsigned i = 0; i < MOST_TEARS; i++)
		if (cuts[i] < event->length)
			try_state(x, before, interval, cuts[i]);
}

static void try_subsets(struct exploration *x, const struct bytes *before,
			const struct interval *interval)
{
	for (x->mask[0] = 0; x->mask[0] < 1ULL << x->limit; x->mask[0]++)
		try_torn_states(x, before, interval);
}

/* Prefixes, all but one, and any. */
static void try_sample(struct exploration *x, const struct bytes *before,
		       const struct interval *interval, unsigned most)
{
	size_t n = x->to - x->from, step = 1 + 2 * n / most;

	memset(x->mask, 0xff, sizeof(x->mask));
	for (size_t i = 0; i <= n; i += step) {
		x->limit = i;
		try_torn_states(x, before, interval);
		x->limit = n;
		x->skip = i;
		try_state(x, before, interval, SIZE_MAX);
		x->skip = SIZE_MAX;
	}
	for (unsigned i = 0; i < most; i++) {
		for (unsigned j = 0; j < 4; j++)
			x->mask[j] = (uint64_t)random_next(&x->base->random)
					     << 33 ^
				     random_next(&x->base->random);
		try_torn_states(x, before, interval);
	}
}

static void try_stretch(struct exploration *x, const struct bytes *before)
{
	const struct crash_setup *setup = x->base->setup;
	const struct interval *interval = x->intervals;
	size_t n = x->to - x->from;

	while (interval + 1 < x->intervals + x->interval_count &&
	       interval[1].from <= x->from)
		interval++;
	x->limit = n;
	x->skip = SIZE_MAX;
	if (n <= ALL_SUBSETS && !(setup->most && 1U << n > setup->most))
		try_subsets(x, before, interval);
	else
		try_sample(x, before, interval,
			   setup->most ? setup->most : SAMPLE);
}

static void try_all(struct exploration *x)
{
	struct crash_base *base = x->base;
	struct bytes before = { malloc(base->length + 1), base->length };

	memcpy(before.content, base->content, base->length);
	for (x->from = 0; x->from < x->log_length; x->from = x->to + 1) {
		x->to = x->from;
		while (x->to < x->log_length &&
		       x->log[x->to].op != FAULTY_FLUSH)
			x->to++;
		try_stretch(x, &before);
		for (size_t i = x->from; i < x->to; i++)
			cr_assert_eq(faulty_apply(&x->log[i], SIZE_MAX,
						  &before.content,
						  &before.length),
				     0);
	}
	free(before.content);
}

void crash_explore(struct crash_base *base, const struct op *ops,
		   unsigned count)
{
	struct exploration x = {
		.base = base,
		.ops = ops,
		.count = count,
		.model = model_dup(base->model),
		.interval_count = 1,
	};
	struct storage *storage = faulty_new(base->content, base->length, NULL);
	struct image *image = open_base(base, storage, NULL);

	cr_assert_not_null(image);
	run_sequence(&x, image);
	x.log = faulty_log(storage, &x.log_length);
	try_all(&x);
	base->sequences++;
	image_free(image);
	model_free(x.model);
	for (unsigned i = 0; i < x.interval_count; i++)
		model_free(x.intervals[i].model);
	free(x.seen);
}
