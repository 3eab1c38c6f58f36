/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random sequences of operations over images of every kind, beside a plain
 * model in memory (tests/lib/model.h). At the end of each sequence qemu-img
 * must find the image clean and its content that of the model, and so must
 * our own check.
 *
 * A failure names the row and the seed; GILD_RANDOM_SEED=N runs that seed only.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/lib/disk.h"
#include "storage/test-folder.h"
#include "tests/lib/model.h"
#include "util/bytes.h"
#include "util/cleanup.h"

enum below {
	NONE,
	RAW_SHORTER,
	RAW_LONGER,
	QCOW2_SHORTER,
	QCOW2_LONGER
};
enum data_file {
	INSIDE,
	BESIDE,
	BESIDE_RAW
};

struct row {
	const char *options; /* as after -o */
	uint64_t size;
	enum below below;
	enum data_file data_file;
	bool snapshots; /* made by qemu-img between reopenings */
};

#define KiB 1024ULL
#define MiB (1024 * KiB)
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const struct row rows[] = {
	/* cluster sizes */
	{ "cluster_size=512", 300 * KiB, NONE, INSIDE, true },
	{ "cluster_size=1k", 300 * KiB + 512, RAW_SHORTER, INSIDE, false },
	{ "cluster_size=2k", MiB, NONE, INSIDE, false },
	{ "cluster_size=4k", MiB, QCOW2_SHORTER, INSIDE, true },
	{ "cluster_size=8k", MiB + 1536, RAW_LONGER, INSIDE, false },
	{ "cluster_size=16k", 2 * MiB, NONE, INSIDE, false },
	{ "cluster_size=32k", 3 * MiB, QCOW2_LONGER, INSIDE, false },
	{ "cluster_size=64k", 5 * MiB + 512, NONE, INSIDE, true },
	{ "cluster_size=128k", 5 * MiB, NONE, INSIDE, false },
	{ "cluster_size=256k", 5 * MiB, RAW_SHORTER, INSIDE, false },
	{ "cluster_size=512k", 9 * MiB, NONE, INSIDE, false },
	{ "cluster_size=1M", 9 * MiB + 512, NONE, INSIDE, false },
	{ "cluster_size=2M", 20 * MiB, QCOW2_SHORTER, INSIDE, false },
	/* reference counts */
	{ "refcount_bits=1,cluster_size=512", 300 * KiB, NONE, INSIDE, false },
	{ "refcount_bits=2,cluster_size=512", 300 * KiB, RAW_LONGER, INSIDE,
	  false },
	{ "refcount_bits=4,cluster_size=1k", 600 * KiB, NONE, INSIDE, false },
	{ "refcount_bits=8,cluster_size=512", 300 * KiB, NONE, INSIDE, false },
	{ "refcount_bits=32,cluster_size=512", 300 * KiB, NONE, INSIDE, true },
	{ "refcount_bits=64,cluster_size=512", 400 * KiB, RAW_SHORTER, INSIDE,
	  true },
	{ "refcount_bits=64", 5 * MiB, NONE, INSIDE, false },
	{ "refcount_bits=1", 5 * MiB, NONE, INSIDE, false },
	/* version 2 */
	{ "compat=0.10,cluster_size=512", 300 * KiB, NONE, INSIDE, true },
	{ "compat=0.10,cluster_size=512", 300 * KiB + 512, RAW_SHORTER, INSIDE,
	  false },
	{ "compat=0.10,cluster_size=4k", MiB, QCOW2_LONGER, INSIDE, true },
	{ "compat=0.10", 5 * MiB, NONE, INSIDE, false },
	/* subclusters */
	{ "extended_l2=on,cluster_size=16k", 2 * MiB, NONE, INSIDE, true },
	{ "extended_l2=on,cluster_size=16k", 2 * MiB + 512, RAW_SHORTER, INSIDE,
	  false },
	{ "extended_l2=on,cluster_size=32k", 2 * MiB, QCOW2_LONGER, INSIDE,
	  true },
	{ "extended_l2=on,cluster_size=128k", 5 * MiB, RAW_LONGER, INSIDE,
	  false },
	{ "extended_l2=on,cluster_size=2M", 17 * MiB, NONE, INSIDE, false },
	/* lazy reference counts */
	{ "lazy_refcounts=on,cluster_size=512", 300 * KiB, NONE, INSIDE, true },
	{ "lazy_refcounts=on", 5 * MiB, QCOW2_SHORTER, INSIDE, false },
	{ "lazy_refcounts=on,extended_l2=on,cluster_size=16k", 2 * MiB, NONE,
	  INSIDE, false },
	/* zstd */
	{ "compression_type=zstd,cluster_size=4k", MiB, NONE, INSIDE, false },
	{ "compression_type=zstd,extended_l2=on,cluster_size=16k", MiB,
	  RAW_SHORTER, INSIDE, false },
	/* the data in a file of its own */
	{ "cluster_size=512", 300 * KiB, NONE, BESIDE, false },
	{ "cluster_size=64k", 5 * MiB, RAW_SHORTER, BESIDE, false },
	{ "extended_l2=on,cluster_size=16k", 2 * MiB, QCOW2_LONGER, BESIDE,
	  false },
	{ "cluster_size=512", 300 * KiB, NONE, BESIDE_RAW, false },
	{ "extended_l2=on,cluster_size=16k", 2 * MiB, NONE, BESIDE_RAW, false },
	{ "cluster_size=512,preallocation=metadata", 300 * KiB, NONE, INSIDE,
	  true },
	{ "cluster_size=64k,preallocation=falloc", 2 * MiB, NONE, INSIDE,
	  false },
	{ "cluster_size=16k,extended_l2=on,preallocation=metadata", 2 * MiB,
	  NONE, INSIDE, false },
};

/* One sequence. */
struct run {
	const struct row *row;
	uint64_t seed, random;
	struct model *model;
	struct image *image;
	uint32_t cluster;
	bool compresses;
	unsigned step, snapshots;
	unsigned char *disk; /* room for all of it */
};

#define ok(run, ret, err)                                               \
	cr_assert_eq(ret, 0, "row %s, below %d, seed %ju, step %u: %s", \
		     (run)->row->options, (run)->row->below,            \
		     (uintmax_t)(run)->seed, (run)->step, (err).message)

static void shell(struct run *run, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void shell(struct run *run, const char *format, ...)
{
	char command[600];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "row %s, below %d, seed %ju: %s",
		     run->row->options, run->row->below, (uintmax_t)run->seed,
		     command);
}

/* --- setting up ---------------------------------------------------------- */

static uint64_t below_size(const struct row *row)
{
	switch (row->below) {
	case RAW_SHORTER:
	case QCOW2_SHORTER:
		return row->size * 5 / 8 / 512 * 512;
	case RAW_LONGER:
	case QCOW2_LONGER:
		return row->size + 128 * KiB;
	default:
		return 0;
	}
}

/* Stretches of data and of nothing. */
static void make_below(struct run *run)
{
	uint64_t size = below_size(run->row), n;
	FILE *file = fopen("base.raw", "w");
	unsigned char *bytes = calloc(1, size + 1);

	for (uint64_t at = 0; at < size; at += n) {
		n = min_u64(size - at,
			    512 + random_next(&run->random) % (size / 6 + 1));
		if (random_next(&run->random) % 3)
			op_fill(bytes + at, at, n, 1000);
	}
	cr_assert_eq(fwrite(bytes, 1, size, file), size);
	fclose(file);
	run->model = model_new(bytes, size, run->row->size);
	free(bytes);
	if (run->row->below == QCOW2_SHORTER || run->row->below == QCOW2_LONGER)
		shell(run,
		      "qemu-img convert %s -f raw -O qcow2 -o "
		      "cluster_size=4k base.raw base.qcow2",
		      run->seed & 1 ? "-c" : "");
}

static void make_image(struct run *run)
{
	const struct row *row = run->row;
	bool raw = row->below == RAW_SHORTER || row->below == RAW_LONGER;
	const char *file = raw ? "base.raw" : "base.qcow2";
	char text[300], *save, *name;
	struct gild_option options[12];
	struct gild_error err = { 0 };
	struct gild_create_options create = {
		.format = "qcow2",
		.size = row->size,
		.backing = row->below ? file : NULL,
		.backing_format = row->below ? (raw ? "raw" : "qcow2") : NULL,
		.options = options,
		.policy = { .follow = GILD_FOLLOW_PATHS },
	};

	snprintf(text, sizeof(text), "%s%s%s", row->options,
		 row->data_file ? ",data_file=data" : "",
		 row->data_file == BESIDE_RAW ? ",data_file_raw=on" : "");
	for (name = strtok_r(text, ",", &save); name;
	     name = strtok_r(NULL, ",", &save)) {
		options[create.option_count].name = name;
		name = strchr(name, '=');
		*name++ = 0;
		options[create.option_count++].value = name;
	}
	ok(run, gild_create("disk.qcow2", &create, &err), err);
}

static void open_image(struct run *run)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = GILD_OPEN_WRITE,
		.policy = { .follow = GILD_FOLLOW_PATHS },
	};
	struct gild_error err = { 0 };

	run->image = (struct image *)gild_open("disk.qcow2", &options, &err);
	ok(run, run->image ? 0 : -1, err);
	run->cluster = run->image->cluster_size;
	if (random_next(&run->random) % 2)
		disk_tiny_caches(run->image);
}

static void close_image(struct run *run)
{
	struct gild_error err = { 0 };

	ok(run, disk_close(run->image, &err), err);
	run->image = NULL;
}

/* --- operations ---------------------------------------------------------- */

static uint64_t pick(struct run *run, uint64_t below)
{
	uint64_t high = random_next(&run->random);

	return (high << 31 | random_next(&run->random)) % below;
}

/* Some bytes, or some clusters; often at their borders. */
static void pick_range(struct run *run, struct op *op)
{
	uint64_t size = run->row->size, unit = run->cluster;
	bool on_border = pick(run, 2);

	op->offset = pick(run, size);
	switch (pick(run, 4)) {
	case 0:
		op->length = 1 + pick(run, 2000);
		break;
	case 1:
		op->length = 1 + pick(run, unit);
		break;
	case 2:
		op->length = 1 + pick(run, 6 * unit);
		break;
	default:
		op->length = 1 + pick(run, size / 3);
		if (pick(run, 3))
			op->length = unit;
	}
	if (on_border) {
		op->offset = round_down(op->offset, unit);
		op->length = round_up(op->length, unit);
	}
	op->length = min_u64(op->length, size - op->offset);
}

static struct op pick_op(struct run *run)
{
	static const enum op_kind kinds[] = {
		OP_WRITE,      OP_WRITE,   OP_WRITE,	OP_ZERO,
		OP_ZERO_UNMAP, OP_DISCARD, OP_COMPRESS, OP_COMPRESS,
		OP_COMPRESS,   OP_FLUSH,   OP_ALLOCATE,
	};
	struct op op = { .kind = kinds[pick(run, 11)] };

	op.seed = (uint32_t)pick(run, 200);
	pick_range(run, &op);
	if (op.kind == OP_COMPRESS) {
		op.offset = round_down(op.offset, run->cluster);
		op.length = min_u64(run->cluster, run->row->size - op.offset);
		if (!run->compresses)
			op.kind = OP_WRITE;
	}
	return op;
}

static void verify(struct run *run)
{
	uint64_t size = run->row->size;
	struct gild_error err = { 0 };
	struct op part = { 0 };
	AUTO_FREE unsigned char *again = malloc(size);

	ok(run, image_read(run->image, run->disk, size, 0, &err), err);
	ok(run, model_allows(run->model, run->disk, size, false, &err) ? 0 : -1,
	   err);
	model_adopt(run->model, run->disk);
	pick_range(run, &part);
	ok(run, image_read(run->image, again, part.length, part.offset, &err),
	   err);
	cr_assert_arr_eq(again, run->disk + part.offset, part.length);
}

static void take_snapshot(struct run *run)
{
	FILE *file;
	char name[20];

	verify(run);
	close_image(run);
	if (run->row->snapshots && run->snapshots < 2) {
		snprintf(name, sizeof(name), "snap%u", ++run->snapshots);
		shell(run, "qemu-img snapshot -c %s disk.qcow2", name);
		file = fopen(name, "w");
		cr_assert_eq(fwrite(run->disk, 1, run->row->size, file),
			     run->row->size);
		fclose(file);
	}
	open_image(run);
}

static void one_step(struct run *run)
{
	struct gild_error err = { 0 };
	struct op op;

	switch (pick(run, 24)) {
	case 0:
		verify(run);
		break;
	case 1:
		take_snapshot(run);
		break;
	default:
		op = pick_op(run);
		cr_assert_eq(op_run(run->image, &op, &err), 0,
			     "row %s, below %d, seed %ju, step %u: %s: %s",
			     run->row->options, run->row->below,
			     (uintmax_t)run->seed, run->step, op_text(&op),
			     err.message);
		op_note(run->model, &op, false);
		model_flushed(run->model);
	}
}

/* --- judging ------------------------------------------------------------- */

static void check_ourselves(struct run *run)
{
	struct gild_check_result result;

	open_image(run);
	result = disk_check(run->image);
	cr_assert(!result.corruptions && !result.leaks && !result.check_errors,
		  "row %s, below %d, seed %ju: %ju corruptions, %ju leaks",
		  run->row->options, run->row->below, (uintmax_t)run->seed,
		  (uintmax_t)result.corruptions, (uintmax_t)result.leaks);
	close_image(run);
}

static void ask_oracle(struct run *run)
{
	uint64_t size = run->row->size;
	FILE *file = fopen("model.raw", "w");

	cr_assert_eq(fwrite(run->disk, 1, size, file), size);
	fclose(file);
	shell(run, "qemu-img check -q -f qcow2 disk.qcow2 >log 2>&1 || "
		   "{ cat log >&2; exit 1; }");
	shell(run, "qemu-img compare -q -f qcow2 -F raw disk.qcow2 model.raw");
	if (run->row->data_file == BESIDE_RAW)
		shell(run, "cmp -n %ju data model.raw", (uintmax_t)size);
	for (unsigned i = 1; i <= run->snapshots; i++)
		shell(run,
		      "qemu-img convert -l snap%u -O raw disk.qcow2 old &&"
		      " cmp -n %ju old snap%u",
		      i, (uintmax_t)size, i);
}

static void one_sequence(const struct row *row, uint64_t seed, unsigned steps)
{
	struct run run = {
		.row = row,
		.seed = seed,
		.random = seed * 1000003 + (uint64_t)(row - rows),
		.disk = malloc(row->size),
		.compresses = !row->data_file,
	};

	make_below(&run);
	make_image(&run);
	open_image(&run);
	for (; run.step < steps; run.step++)
		one_step(&run);
	verify(&run);
	close_image(&run);
	check_ourselves(&run);
	ask_oracle(&run);
	model_free(run.model);
	free(run.disk);
	shell(&run, "rm -f base.* disk.qcow2 data snap* old model.raw");
}

/* Criterion copies parameters into another process: no pointers in them. */
static unsigned numbers[ARRAY_LENGTH(rows)];

ParameterizedTestParameters(random, sequences)
{
	for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, ARRAY_LENGTH(rows));
}

ParameterizedTest(unsigned *row, random, sequences, .init = folder_enter,
		  .fini = folder_leave, .timeout = 1500)
{
	static const unsigned seeds[] = { 1, 4, 15 };
	const char *only = getenv("GILD_RANDOM_SEED");

	if (only) {
		one_sequence(&rows[*row], strtoull(only, NULL, 10), 150);
		return;
	}
	for (unsigned seed = 1; seed <= seeds[test_level()]; seed++)
		one_sequence(&rows[*row], seed, 150);
}
