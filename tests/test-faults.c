/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk that fails: sequences of operations, from opening to closing, over and
 * over, where the Nth read, write, discard or flush fails, for every N until
 * none is left to fail; once, or from then on, or tearing a write. Errors are
 * expected, and success where the failure did no harm. Never may an image come
 * out of it with more than leaked clusters, lose what had been flushed, or lose
 * what was reported as written when the closing succeeded.
 * Memory that leaks on the way shows under the address sanitizer.
 *
 * The same with memory: the Nth allocation is refused. For that this program
 * has a malloc of its own, where no sanitizer has.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

#define U 512ULL
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum {
	MOST_OPS = 16
};

struct scenario {
	struct disk_kind kind;
	uint64_t clusters; /* of the disk */
	uint64_t below;	   /* bytes of a backing file */
	bool tiny_caches;
	struct op before[MOST_OPS]; /* what is there already */
	struct op ops[MOST_OPS];
};

/* Offsets and lengths in sectors here; in bytes after expand(). */
#define SOME_OF_EACH                                                  \
	{ OP_WRITE, 0, 3, 10 }, { OP_ZERO, 2, 1, 0 },                 \
		{ OP_COMPRESS, 4, 1, 12 }, { OP_COMPRESS, 5, 1, 14 }, \
		{ OP_COMPRESS, 6, 1, 16 },                            \
	{                                                             \
		OP_WRITE, 7, 1, 17                                    \
	}

#define V3 .version = 3, .cluster_size = U

static const struct scenario scenarios[] = {
	{ .kind = { .name = "writes", V3 },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_WRITE, 0, 1, 20 },
		   { OP_WRITE, 7, 4, 22 },
		   { OP_WRITE, 5, 1, 24 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 70, 3, 26 },
		   { OP_WRITE, 1, 2, 28 } } },
	{ .kind = { .name = "compressed", V3 },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_COMPRESS, 8, 1, 20 },
		   { OP_COMPRESS, 5, 1, 22 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_COMPRESS, 0, 1, 24 },
		   { OP_COMPRESS, 9, 1, 26 } } },
	{ .kind = { .name = "zeros", V3, .backing = "base" },
	  .clusters = 80,
	  .below = 50 * U,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_ZERO, 0, 1, 0 },
		   { OP_ZERO_UNMAP, 1, 5, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_DISCARD, 6, 2, 0 },
		   { OP_ZERO_UNMAP, 20, 60, 0 },
		   { OP_ALLOCATE, 0, 80, 0 },
		   { OP_WRITE, 1, 3, 20 } } },
	{ .kind = { .name = "version 2",
		    .version = 2,
		    .cluster_size = U,
		    .backing = "base" },
	  .clusters = 80,
	  .below = 80 * U,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_ZERO_UNMAP, 0, 9, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_COMPRESS, 8, 1, 20 },
		   { OP_WRITE, 70, 3, 22 } } },
	{ .kind = { .name = "lazy", V3, .lazy_refcounts = true },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_WRITE, 8, 2, 20 },
		   { OP_DISCARD, 0, 1, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 70, 1, 22 } } },
	{ .kind = { .name = "subclusters",
		    .version = 3,
		    .cluster_size = 16384,
		    .extended_l2 = true,
		    .backing = "base" },
	  .clusters = 12,
	  .below = 100 * U,
	  .before = { { OP_WRITE, 0, 60, 10 }, { OP_ZERO, 33, 5, 0 } },
	  .ops = { { OP_WRITE, 34, 1, 20 },
		   { OP_ZERO, 3, 2, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 63, 3, 22 },
		   { OP_ZERO_UNMAP, 32, 100, 0 } } },
	{ .kind = { .name = "sizes", V3 },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_RESIZE, 0, 200, 0 },
		   { OP_ALLOCATE, 80, 120, 2 },
		   { OP_WRITE, 190, 3, 20 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_RESIZE, 0, 9, 0 },
		   { OP_WRITE, 3, 2, 22 } } },
	{ .kind = { .name = "snapshots", V3 },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_SNAPSHOT, 0, 0, 0 },
		   { OP_WRITE, 1, 3, 20 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_APPLY, 0, 0, 0 },
		   { OP_WRITE, 7, 3, 22 },
		   { OP_ADOPT, 0, 9, 0 },
		   { OP_DELETE, 0, 0, 0 },
		   { OP_EMPTY, 0, 0, 0 } } },
	{ .kind = { .name = "bitmaps", V3, .bitmaps = true },
	  .clusters = 80,
	  .before = { SOME_OF_EACH, { OP_MARKS_MERGE, 0, 0, 0 } },
	  .ops = { { OP_WRITE, 0, 1, 20 },
		   { OP_MARKS_ADD, 0, 0, 0 },
		   { OP_ZERO_UNMAP, 5, 3, 0 },
		   { OP_MARKS_MERGE, 0, 0, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 40, 9, 22 },
		   { OP_RESIZE, 0, 5000, 0 },
		   { OP_MARKS_REMOVE, 0, 0, 0 },
		   { OP_WRITE, 4990, 1, 24 } } },
	{ .kind = { .name = "a header of two sectors",
		    .version = 3,
		    .cluster_size = 2 * U,
		    .backing = "base",
		    .bitmaps = true },
	  .clusters = 80,
	  .below = 90 * U,
	  .before = { { OP_WRITE, 0, 30, 10 } },
	  .ops = { { OP_MARKS_ADD, 0, 0, 0 },
		   { OP_SNAPSHOT, 0, 0, 0 },
		   { OP_WRITE, 1, 3, 20 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_MARKS_REMOVE, 0, 0, 0 },
		   { OP_WRITE, 40, 9, 22 },
		   { OP_APPLY, 0, 0, 0 },
		   { OP_DELETE, 0, 0, 0 },
		   { OP_WRITE, 7, 3, 24 } } },
	{ .kind = { .name = "bitmaps alone", V3, .bitmaps = true },
	  .clusters = 80,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_MARKS_ADD, 0, 0, 0 },
		   { OP_MARKS_MERGE, 0, 0, 0 },
		   { OP_MARKS_REMOVE, 0, 0, 0 },
		   { OP_MARKS_CLEAR, 0, 0, 0 },
		   { OP_SNAPSHOT, 0, 0, 0 },
		   { OP_DISCARD, 0, 2, 0 } } },
	{ .kind = { .name = "amended", V3, .backing = "base" },
	  .clusters = 80,
	  .below = 80 * U,
	  .before = { SOME_OF_EACH },
	  .ops = { { OP_AMEND, 0, 0, AMEND_V2 },
		   { OP_WRITE, 8, 2, 20 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_AMEND, 0, 0, AMEND_64_BITS },
		   { OP_WRITE, 70, 3, 22 } } },
	{ .kind = { .name = "amended, snapshot", V3, .lazy_refcounts = true },
	  .clusters = 80,
	  .before = { SOME_OF_EACH,
		      { OP_SNAPSHOT, 0, 0, 0 },
		      { OP_ZERO, 0, 2, 0 },
		      { OP_WRITE, 2, 1, 18 } },
	  .ops = { { OP_AMEND, 0, 0, AMEND_8_BITS },
		   { OP_WRITE, 1, 3, 20 },
		   { OP_AMEND, 0, 0, AMEND_V2 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 7, 3, 22 },
		   { OP_AMEND, 0, 0, AMEND_LAZY },
		   { OP_WRITE, 9, 3, 24 } } },
	{ .kind = { .name = "full refcount block", V3, .refcount_bits = 64 },
	  .clusters = 160,
	  .before = { SOME_OF_EACH, { OP_WRITE, 16, 47, 30 } },
	  .ops = { { OP_WRITE, 70, 3, 20 },
		   { OP_COMPRESS, 80, 1, 22 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_RESIZE, 0, 9000, 0 },
		   { OP_WRITE, 130, 20, 24 } } },
	{ .kind = { .name = "full refcount table", V3, .refcount_bits = 64 },
	  .clusters = 4200,
	  .before = { { OP_WRITE, 0, 3950, 30 } },
	  .ops = { { OP_WRITE, 3950, 40, 20 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 3990, 100, 22 } } },
	{ .kind = { .name = "tiny caches", V3, .refcount_bits = 64 },
	  .clusters = 2000,
	  .tiny_caches = true,
	  .before = { { OP_WRITE, 0, 1500, 30 } },
	  .ops = { { OP_ZERO_UNMAP, 20, 1400, 0 },
		   { OP_FLUSH, 0, 0, 0 },
		   { OP_WRITE, 100, 1800, 20 } } },
};

/* --- memory -------------------------------------------------------------- */

/* One thread. While refuse is not 0 allocations are counted, and that one (if
 * sticky, all from there on) fails. */
static struct {
	uint64_t refuse, allocations;
	bool sticky;
	int64_t held; /* pieces */
} memory;

#if OWN_MALLOC

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static bool is_refused(void)
{
	if (!memory.refuse)
		return false;
	memory.allocations++;
	return memory.sticky ? memory.allocations >= memory.refuse :
			       memory.allocations == memory.refuse;
}

static void *hold(void *piece)
{
	memory.held += piece != NULL;
	return piece;
}

#define OVERRIDES __attribute__((visibility("default")))

OVERRIDES void *malloc(size_t size)
{
	return is_refused() ? NULL : hold(__libc_malloc(size));
}

OVERRIDES void *calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : hold(__libc_calloc(count, size));
}

OVERRIDES void *realloc(void *old, size_t size)
{
	void *piece = is_refused() ? NULL : __libc_realloc(old, size);

	memory.held += piece && !old;
	return piece;
}

OVERRIDES int posix_memalign(void **piece, size_t alignment, size_t size)
{
	*piece = is_refused() ? NULL : hold(__libc_memalign(alignment, size));
	return *piece ? 0 : ENOMEM;
}

OVERRIDES void *aligned_alloc(size_t alignment, size_t size)
{
	return is_refused() ? NULL : hold(__libc_memalign(alignment, size));
}

OVERRIDES void free(void *piece)
{
	memory.held -= piece != NULL;
	__libc_free(piece);
}

#endif

/* --- one run ------------------------------------------------------------- */

struct run {
	const struct scenario *scenario;
	struct faulty_plan plan;
	const unsigned char *below;
	struct model *model;
	unsigned char *start; /* what the disk holds at first; owned */
	bool memory;	      /* the plan's nth allocation fails, and no call */
	char trouble[700];    /* the last error, for messages */
};

#define blame(run, ...)                                                     \
	do {                                                                \
		char why_[1000];                                            \
		snprintf(why_, sizeof(why_), __VA_ARGS__);                  \
		cr_assert_fail("%s: call %ju of %#x fails (%d, torn %zu):"  \
			       " %s; last error: %s",                       \
			       (run)->scenario->kind.name,                  \
			       (uintmax_t)(run)->plan.nth, (run)->plan.ops, \
			       (run)->plan.sticky, (run)->plan.torn, why_,  \
			       (run)->trouble);                             \
	} while (0)

static struct op in_bytes(struct op op, const struct scenario *scenario)
{
	op.offset *= SECTOR;
	op.length *= SECTOR;
	if (op.kind == OP_COMPRESS)
		op.length = scenario->kind.cluster_size;
	return op;
}

static bool is_op(const struct op *op)
{
	return op->length || op->kind == OP_FLUSH || op->kind > OP_RESIZE;
}

static void set_up(struct run *run, struct image *image)
{
	if (run->scenario->below)
		disk_back(image, run->below, run->scenario->below);
	if (run->scenario->tiny_caches)
		disk_tiny_caches(image);
}

static struct image *open_run(struct run *run, struct storage *storage,
			      struct gild_error *err)
{
	struct image *image = disk_try_open(storage, GILD_OPEN_WRITE, err);

	if (image)
		set_up(run, image);
	return image;
}

/* Is it a part of the disk as it is? A resize may have failed before. */
static bool is_within(const struct op *op, const struct image *image)
{
	return op->kind >= OP_FLUSH ||
	       range_within(op->offset, op->length, image->size);
}

static void run_ops(struct run *run, struct image *image)
{
	const struct scenario *scenario = run->scenario;
	struct gild_error err;
	struct op op;
	bool failed;

	for (unsigned i = 0; i < MOST_OPS && is_op(&scenario->ops[i]); i++) {
		op = in_bytes(scenario->ops[i], scenario);
		if (!is_within(&op, image))
			continue;
		if ((op.kind == OP_APPLY || op.kind == OP_ADOPT) &&
		    !run->model->saved)
			continue;
		memory.refuse = run->memory ? run->plan.nth : 0;
		failed = op_run(image, &op, &err) < 0;
		memory.refuse = 0;
		if (failed)
			snprintf(run->trouble, sizeof(run->trouble), "%s",
				 err.message);
		op_note(run->model, &op, failed);
		if (op.kind == OP_FLUSH && !failed)
			model_flushed(run->model);
	}
}

static uint64_t size_of(const struct scenario *scenario)
{
	return scenario->clusters * scenario->kind.cluster_size;
}

/* As the disk is now, and works again. */
static void judge(struct run *run, struct storage *copy, bool closed)
{
	struct gild_check_result result;
	struct gild_error err = { 0 };
	struct image *image = open_run(run, copy, &err);
	AUTO_FREE unsigned char *disk = NULL;

	if (!image)
		blame(run, "does not open: %s", err.message);
	result = disk_check(image);
	if (result.corruptions || result.check_errors)
		blame(run, "%ju corruptions", (uintmax_t)result.corruptions);
	disk = malloc(image->size + 1);
	if (image_read(image, disk, image->size, 0, &err) < 0 ||
	    !model_allows(run->model, disk, image->size, !closed, &err))
		blame(run, "closed %d, %s", closed, err.message);
	if (run->scenario->kind.bitmaps &&
	    !disk_marks_cover(image, run->start, size_of(run->scenario), disk))
		blame(run, "closed %d: the bitmap does not tell", closed);
	image_free(image);
}

static void start_counting(struct run *run, struct storage *storage)
{
	if (!run->memory)
		faulty_set_plan(storage, &run->plan);
	memory.allocations = 0;
	memory.sticky = run->plan.sticky;
}

static uint64_t calls_made(struct run *run, struct storage *storage)
{
	return run->memory ? memory.allocations :
			     faulty_calls(storage, run->plan.ops);
}

/* Returns false when there was nothing left to fail. */
static bool run_once(struct run *run, struct storage *base,
		     const struct model *model)
{
	struct storage *storage = disk_copy(base), *copy;
	struct gild_error err = { 0 };
	struct image *image;
	bool closed = true;
	uint64_t calls;

	run->model = model_dup(model);
	run->trouble[0] = 0;
	start_counting(run, storage);
	memory.refuse = run->memory ? run->plan.nth : 0;
	image = disk_try_open(storage, GILD_OPEN_WRITE, &err);
	memory.refuse = 0;
	if (!image) {
		judge(run, disk_copy(base), true);
		model_free(run->model);
		return true;
	}
	set_up(run, image);
	run_ops(run, image);
	memory.refuse = run->memory ? run->plan.nth : 0;
	closed = image_flush(image, true, &err) == 0;
	memory.refuse = 0;
	calls = calls_made(run, storage);
	copy = disk_copy(storage);
	image_free(image);
	judge(run, copy, closed);
	model_free(run->model);
	return calls >= run->plan.nth;
}

/* --- all of them ---------------------------------------------------------- */

static struct storage *make_base(struct run *run, struct model **model)
{
	const struct scenario *scenario = run->scenario;
	uint64_t size = size_of(scenario);
	struct storage *storage = disk_create(&scenario->kind, size), *copy;
	struct image *image = open_run(run, storage, NULL);
	struct op op;

	*model = model_new(run->below, scenario->below, size);
	for (unsigned i = 0; i < MOST_OPS && is_op(&scenario->before[i]); i++) {
		op = in_bytes(scenario->before[i], scenario);
		cr_assert_eq(op_run(image, &op, NULL), 0, "%s", op_text(&op));
		op_note(*model, &op, false);
	}
	cr_assert_eq(image_flush(image, true, NULL), 0);
	model_flushed(*model);
	run->start = malloc(size);
	cr_assert_eq(image_read(image, run->start, size, 0, NULL), 0);
	if (scenario->kind.bitmaps)
		cr_assert_eq(gild_bitmap_clear((struct gild_image *)image, "b",
					       NULL),
			     0);
	copy = disk_copy(storage);
	image_free(image);
	return copy;
}

static uint64_t run_plans(struct run *run, struct storage *base,
			  const struct model *model, uint64_t step)
{
	uint64_t runs = 0;

	do {
		run->plan.nth = 1 + runs * step;
		runs++;
	} while (run_once(run, base, model));
	return runs;
}

static unsigned numbers[ARRAY_LENGTH(scenarios)];

static struct criterion_test_params all_scenarios(void)
{
	for (unsigned i = 0; i < ARRAY_LENGTH(scenarios); i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, ARRAY_LENGTH(scenarios));
}

static void run_all_plans(unsigned number, const struct faulty_plan *plans,
			  size_t count, bool of_memory)
{
	struct run run = { .scenario = &scenarios[number],
			   .memory = of_memory };
	unsigned char *below = malloc(run.scenario->below + 1);
	/* Where there are very many calls, not each of them. */
	uint64_t step = run.scenario->clusters < 1000 ? 1 : 7, runs = 0;
	struct storage *base;
	struct model *model;

	if (step > 1 && test_level() == LEVEL_FAST)
		step = 97;
	op_fill(below, 0, run.scenario->below, 900);
	run.below = below;
	base = make_base(&run, &model);
	for (size_t i = 0; i < count; i++) {
		run.plan = plans[i];
		runs += run_plans(&run, base, model, step);
	}
	fprintf(stderr, "%-24s %6ju runs%s\n", run.scenario->kind.name,
		(uintmax_t)runs, of_memory ? " without memory" : "");
	/* Fewer where calls are left out. */
	cr_assert_gt(runs, step > 1 ? 3 : 15);
	storage_close(base);
	model_free(model);
	free(run.start);
	free(below);
}

ParameterizedTestParameters(faults, every_call_of_a_sequence)
{
	return all_scenarios();
}

ParameterizedTest(unsigned *number, faults, every_call_of_a_sequence,
		  .timeout = 900)
{
	static const struct faulty_plan plans[] = {
		{ .ops = 1U << FAULTY_READ, .sys_errno = EIO },
		{ .ops = 1U << FAULTY_READ, .sys_errno = EIO, .sticky = true },
		{ .ops = 1U << FAULTY_WRITE, .sys_errno = ENOSPC },
		{ .ops = 1U << FAULTY_WRITE, .sys_errno = EIO, .sticky = true },
		{ .ops = 1U << FAULTY_WRITE, .sys_errno = EIO, .torn = 512 },
		{ .ops = 1U << FAULTY_WRITE,
		  .sys_errno = EIO,
		  .torn = SIZE_MAX },
		{ .ops = 1U << FAULTY_ZERO | 1U << FAULTY_DISCARD |
			 1U << FAULTY_TRUNCATE,
		  .sys_errno = EIO },
		{ .ops = 1U << FAULTY_FLUSH, .sys_errno = EIO },
		{ .ops = 1U << FAULTY_FLUSH, .sys_errno = EIO, .sticky = true },
		{ .ops = 1U << FAULTY_WRITE | 1U << FAULTY_FLUSH |
			 1U << FAULTY_READ,
		  .sys_errno = EIO,
		  .sticky = true },
	};

	run_all_plans(*number, plans, ARRAY_LENGTH(plans), false);
}

#if OWN_MALLOC

ParameterizedTestParameters(faults, every_allocation_of_a_sequence)
{
	return all_scenarios();
}

ParameterizedTest(unsigned *number, faults, every_allocation_of_a_sequence,
		  .timeout = 900)
{
	static const struct faulty_plan plans[] = { { .sticky = false },
						    { .sticky = true } };
	int64_t held = memory.held;

	run_all_plans(*number, plans, ARRAY_LENGTH(plans), true);
	/* Compressors are kept for the thread, stderr has its buffer. */
	cr_assert_leq(memory.held - held, 8, "%jd pieces of memory leaked",
		      (intmax_t)(memory.held - held));
}

#endif

/* --- making an image ----------------------------------------------------- */

static int create(struct storage *storage, const char *prealloc,
		  struct gild_error *err)
{
	struct gild_option options[] = { { "cluster_size", "512" },
					 { "preallocation", prealloc } };
	struct gild_create_options create = {
		.format = "qcow2",
		.size = 100 << 10,
		.options = options,
		.option_count = 2,
	};

	return qcow2_create(storage, &create, NULL, err);
}

/* An image that was made is whole; else there is an error. */
static bool create_once(const struct faulty_plan *plan, const char *prealloc)
{
	struct storage *storage = faulty_new(NULL, 0, NULL);
	struct gild_error err = { 0 };
	struct gild_check_result result;
	struct image *image;
	uint64_t calls;
	int ret;

	faulty_set_plan(storage, plan);
	ret = create(storage, prealloc, &err);
	calls = faulty_calls(storage, plan->ops);
	cr_assert_eq(ret < 0, calls >= plan->nth);
	faulty_set_plan(storage, &(struct faulty_plan){ 0 });
	if (ret < 0) {
		cr_assert_eq(err.sys_errno, plan->sys_errno);
		storage_close(storage);
		return true;
	}
	image = disk_open(storage, 0);
	result = disk_check(image);
	cr_assert(!result.corruptions && !result.leaks);
	image_free(image);
	return false;
}

Test(faults, every_call_of_a_creation, .timeout = 60)
{
	static const char *const modes[] = { "off", "metadata", "full" };
	struct faulty_plan plan = { .sys_errno = ENOSPC };

	for (unsigned i = 0; i < ARRAY_LENGTH(modes); i++) {
		plan.ops = 1U << FAULTY_WRITE;
		for (plan.nth = 1; create_once(&plan, modes[i]); plan.nth++)
			;
		cr_assert_gt(plan.nth, 3);
		plan.ops = 1U << FAULTY_TRUNCATE | 1U << FAULTY_ZERO;
		for (plan.nth = 1; create_once(&plan, modes[i]); plan.nth++)
			;
	}
}
