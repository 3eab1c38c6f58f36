/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many threads on one handle, over real files: each changes clusters or sectors
 * of its own and finds in them what it wrote, while others allocate, free and
 * pack beside it, one flushes, and one reads everywhere. What is read anywhere
 * at any time is zeros or was written for that very place: bytes of another
 * place would mean that a cluster was given to somebody else too early.
 * At the end the image must be clean for us and for qemu-img.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <pthread.h>
#include <sched.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "storage/test-folder.h"
#include "util/bytes.h"

enum {
	WORKERS = 6,
	SEEDS = 12
};

struct row {
	const char *format;
	const char *options; /* as after -o, or "" */
	uint64_t size;
	bool tiny_caches;
	bool backing;
	bool compresses;
};

#define KiB 1024ULL

static const struct row rows[] = {
	{ "qcow2", "cluster_size=512", 200 * KiB, true, false, true },
	{ "qcow2", "cluster_size=512,refcount_bits=64", 1024 * KiB, true, true,
	  true },
	{ "qcow2", "cluster_size=4k,lazy_refcounts=on", 400 * KiB, false, false,
	  true },
	{ "qcow2", "cluster_size=16k,extended_l2=on", 800 * KiB, true, true,
	  true },
	{ "qcow2", "cluster_size=512,compat=0.10", 200 * KiB, false, true,
	  true },
	{ "qcow2", "cluster_size=64k,compression_type=zstd", 3000 * KiB, false,
	  false, true },
	{ "qcow2", "cluster_size=4k,data_file=data", 400 * KiB, true, false,
	  false },
	{ "raw", "", 400 * KiB, false, false, false },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct shared {
	struct image *image;
	const struct row *row;
	uint64_t unit;	  /* what a worker owns: every WORKERS-th */
	bool only_writes; /* units are smaller than clusters */
	unsigned steps;
	_Atomic unsigned working;
};

struct worker {
	struct shared *shared;
	unsigned number;
	uint64_t random;
	unsigned char *expected; /* the whole disk; only its own units count */
	pthread_t thread;
};

/* --- setting up ---------------------------------------------------------- */

static void create(const struct row *row)
{
	char text[200], *save, *name;
	struct gild_option options[8];
	struct gild_error err = { 0 };
	struct gild_create_options options_of = {
		.format = row->format,
		.size = row->size,
		.backing = row->backing ? "base" : NULL,
		.backing_format = row->backing ? "raw" : NULL,
		.options = options,
		.policy = { .follow = GILD_FOLLOW_PATHS },
	};

	/* Below, only zeros: a reader expects nothing else. */
	make_file("base", row->size / 2, 0);
	snprintf(text, sizeof(text), "%s", row->options);
	for (name = strtok_r(text, ",", &save); name;
	     name = strtok_r(NULL, ",", &save)) {
		options[options_of.option_count].name = name;
		name = strchr(name, '=');
		*name++ = 0;
		options[options_of.option_count++].value = name;
	}
	cr_assert_eq(gild_create("disk", &options_of, &err), 0, "%s",
		     err.message);
}

static struct image *open_disk(const struct row *row)
{
	struct gild_open_options options = {
		.format = row->format,
		.flags = GILD_OPEN_WRITE,
		.policy = { .follow = GILD_FOLLOW_PATHS },
	};
	struct gild_error err = { 0 };
	struct gild_image *image = gild_open("disk", &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	if (row->tiny_caches)
		disk_tiny_caches((struct image *)image);
	return (struct image *)image;
}

/* --- one worker ---------------------------------------------------------- */

/* Threads do not use assertions, which are their process's. */
static void give_up(const struct worker *worker, const char *what,
		    const struct gild_error *err)
{
	fprintf(stderr, "%s, worker %u: %s: %s\n", worker->shared->row->options,
		worker->number, what, err ? err->message : "");
	abort();
}

static struct op pick_op(struct worker *worker)
{
	static const enum op_kind kinds[] = {
		OP_WRITE,    OP_WRITE,	  OP_WRITE, OP_ZERO_UNMAP, OP_DISCARD,
		OP_COMPRESS, OP_COMPRESS, OP_ZERO,  OP_ALLOCATE
	};
	struct shared *shared = worker->shared;
	uint64_t units = shared->row->size / shared->unit;
	struct op op = { .kind = kinds[random_next(&worker->random) % 9] };
	uint64_t unit = random_next(&worker->random) % (units / WORKERS);
	uint64_t start;

	op.offset = (unit * WORKERS + worker->number) * shared->unit;
	op.length = shared->unit;
	op.seed = 2 + 2 * (random_next(&worker->random) % SEEDS);
	if (shared->only_writes && op.kind != OP_ZERO)
		op.kind = OP_WRITE;
	if (op.kind == OP_COMPRESS && !shared->row->compresses)
		op.kind = OP_WRITE;
	/* Nobody else may be writing there where there are no clusters. */
	if (op.kind == OP_ALLOCATE && !shared->image->cluster_size)
		op.kind = OP_ZERO;
	if (op.kind != OP_WRITE)
		return op;
	/* Some sectors of the unit. */
	start = random_next(&worker->random) % (shared->unit / SECTOR);
	op.offset += start * SECTOR;
	op.length -= start * SECTOR;
	return op;
}

static void read_unit(struct worker *worker, const struct op *op,
		      unsigned char *now)
{
	struct gild_error err = { 0 };

	if (image_read(worker->shared->image, now, op->length, op->offset,
		       &err) < 0)
		give_up(worker, op_text(op), &err);
}

/* What a discard leaves is what was there, or zeros. */
static void adopt(struct worker *worker, const struct op *op)
{
	unsigned char *now = malloc(op->length), zeros[SECTOR] = { 0 };
	unsigned char *want = worker->expected + op->offset;

	read_unit(worker, op, now);
	for (uint64_t at = 0; at < op->length; at += SECTOR)
		if (memcmp(now + at, want + at, SECTOR) &&
		    memcmp(now + at, zeros, SECTOR))
			give_up(worker, "a discard left other bytes", NULL);
	memcpy(want, now, op->length);
	free(now);
}

static void step(struct worker *worker)
{
	struct op op = pick_op(worker);
	unsigned char *want = worker->expected + op.offset;
	unsigned char *now = malloc(op.length);
	struct gild_error err = { 0 };

	read_unit(worker, &op, now);
	if (memcmp(now, want, op.length))
		give_up(worker, "reads other bytes than it wrote", NULL);
	if (op_run(worker->shared->image, &op, &err) < 0)
		give_up(worker, op_text(&op), &err);
	if (op.kind == OP_WRITE || op.kind == OP_COMPRESS)
		op_fill(want, op.offset, op.length, op.seed);
	else if (op.kind == OP_DISCARD)
		adopt(worker, &op);
	else if (op.kind != OP_ALLOCATE)
		memset(want, 0, op.length);
	free(now);
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < worker->shared->steps; i++)
		step(worker);
	worker->shared->working--;
	return NULL;
}

/* --- beside them --------------------------------------------------------- */

static void *flush_often(void *arg)
{
	struct worker *self = arg;
	struct gild_error err = { 0 };

	while (self->shared->working)
		if (image_flush(self->shared->image, false, &err) < 0)
			give_up(self, "flush", &err);
	return NULL;
}

/* Could this word have been written at this place? */
static bool belongs(uint64_t word, uint64_t offset)
{
	uint64_t possible;

	for (uint32_t seed = 2; word && seed <= 2 * SEEDS; seed += 2) {
		op_fill((unsigned char *)&possible, offset, 8, seed);
		if (word == possible)
			return true;
	}
	return !word;
}

static void *read_often(void *arg)
{
	struct worker *self = arg;
	uint64_t size = self->shared->row->size;
	unsigned char sectors[8 * SECTOR];
	struct op op = { OP_WRITE, 0, sizeof(sectors), 0 };
	uint64_t word;

	while (self->shared->working) {
		op.offset = random_next(&self->random) % (size / SECTOR - 8) *
			    SECTOR;
		read_unit(self, &op, sectors);
		for (size_t at = 0; at < sizeof(sectors); at += 64) {
			memcpy(&word, sectors + at, 8);
			if (!belongs(word, op.offset + at))
				give_up(self, "bytes of another place", NULL);
		}
	}
	return NULL;
}

static void run_all(struct shared *shared, struct worker *workers)
{
	void *(*run)(void *);

	shared->working = WORKERS;
	for (unsigned i = 0; i < WORKERS + 2; i++) {
		workers[i].shared = shared;
		workers[i].number = i;
		workers[i].random = i + 1;
		workers[i].expected = calloc(1, shared->row->size);
		run = i < WORKERS  ? work :
		      i == WORKERS ? flush_often :
				     read_often;
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, run,
					    &workers[i]),
			     0);
	}
	for (unsigned i = 0; i < WORKERS + 2; i++)
		pthread_join(workers[i].thread, NULL);
}

/* --- judging ------------------------------------------------------------- */

static void judge(struct shared *shared, struct worker *workers)
{
	uint64_t size = shared->row->size, unit = shared->unit, n;
	unsigned char *disk = malloc(size), *want = calloc(1, size);
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct image *image = open_disk(shared->row);

	for (uint64_t at = 0; at + unit <= size; at += unit) {
		n = at / unit % WORKERS;
		memcpy(want + at, workers[n].expected + at, unit);
	}
	cr_assert_eq(image_read(image, disk, size, 0, &err), 0, "%s",
		     err.message);
	cr_assert_arr_eq(disk, want, size, "%s", shared->row->options);
	if (image->ops->check)
		result = disk_check(image);
	cr_assert(!result.corruptions && !result.leaks);
	cr_assert_eq(disk_close(image, &err), 0);
	if (!strcmp(shared->row->format, "qcow2"))
		cr_assert_eq(system("qemu-img check -q -f qcow2 disk"), 0);
	free(disk);
	free(want);
}

static void run_row(const struct row *row, uint64_t unit, bool only_writes)
{
	static const unsigned steps[] = { 150, 700, 8000 };
	struct worker workers[WORKERS + 2];
	struct shared shared = {
		.row = row,
		.unit = unit,
		.only_writes = only_writes,
		.steps = steps[test_level()],
	};

	create(row);
	shared.image = open_disk(row);
	if (!unit)
		shared.unit = max_u64(shared.image->cluster_size, SECTOR);
	run_all(&shared, workers);
	cr_assert_eq(disk_close(shared.image, NULL), 0);
	judge(&shared, workers);
	for (unsigned i = 0; i < WORKERS + 2; i++)
		free(workers[i].expected);
}

static unsigned numbers[ROWS];

static struct criterion_test_params all_rows(void)
{
	for (unsigned i = 0; i < ROWS; i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, ROWS);
}

ParameterizedTestParameters(threads, with_clusters_of_their_own)
{
	return all_rows();
}

ParameterizedTest(unsigned *row, threads, with_clusters_of_their_own,
		  .init = folder_enter, .fini = folder_leave, .timeout = 900)
{
	run_row(&rows[*row], 0, false);
}

/* Each cluster is everybody's: no writer may undo what another one did beside
 * it, neither in copying what was there nor in linking. */
ParameterizedTestParameters(threads, within_the_same_clusters)
{
	return all_rows();
}

ParameterizedTest(unsigned *row, threads, within_the_same_clusters,
		  .init = folder_enter, .fini = folder_leave, .timeout = 900)
{
	run_row(&rows[*row], SECTOR, true);
}

/* --- a header that changes ------------------------------------------------ */

struct packer {
	struct image *image;
	pthread_t thread;
	_Atomic bool enough;
};

static void *pack(void *opaque)
{
	struct packer *packer = opaque;
	struct image *image = packer->image;
	unsigned char bytes[SECTOR], stored[SECTOR];

	while (!packer->enough) {
		op_fill(bytes, 0, SECTOR, 2);
		cr_expect_gt(image->ops->compress(image, bytes, SECTOR, stored,
						  SECTOR, NULL),
			     0);
		cr_expect_eq(image_read(image, stored, SECTOR, 0, NULL), 0);
		cr_expect_arr_eq(bytes, stored, SECTOR);
	}
	return NULL;
}

/* The table of reference counts grows, and moves, while others compress. */
Test(threads, compressing_beside_a_new_header, .init = folder_enter,
     .fini = folder_leave, .timeout = 300)
{
	static const struct row row = {
		.format = "qcow2",
		.options = "cluster_size=512,refcount_bits=64",
		.size = 4096 * KiB,
	};
	struct packer packer = { .image = NULL };
	unsigned char bytes[SECTOR * 16];
	struct gild_error err = { 0 };
	uint64_t table;

	create(&row);
	packer.image = open_disk(&row);
	table = qcow2_of(packer.image)->header.reftable_offset;
	op_fill(bytes, 0, SECTOR, 2);
	cr_assert_eq(gild_write_compressed((struct gild_image *)packer.image,
					   bytes, SECTOR, 0, &err),
		     0, "%s", err.message);
	cr_assert_eq(pthread_create(&packer.thread, NULL, pack, &packer), 0);
	for (uint64_t at = SECTOR; at + sizeof(bytes) <= row.size;
	     at += sizeof(bytes)) {
		op_fill(bytes, at, sizeof(bytes), 1);
		cr_assert_eq(image_write(packer.image, bytes, sizeof(bytes), at,
					 &err),
			     0, "%s", err.message);
	}
	packer.enough = true;
	pthread_join(packer.thread, NULL);
	cr_assert_neq(table, qcow2_of(packer.image)->header.reftable_offset);
	cr_assert_eq(disk_close(packer.image, NULL), 0);
	cr_assert_eq(system("qemu-img check -q -f qcow2 disk"), 0);
}

/* --- encrypted sectors ---------------------------------------------------- */

static const struct gild_secret secret = { "key", "word", 4 };

struct pair {
	struct image *image;
	_Atomic bool begun, done;
};

static struct image *open_encrypted(void)
{
	struct gild_policy policy = { .secrets = &secret, .secret_count = 1 };
	struct gild_option options[] = {
		{ "encrypt.format", "luks" },
		{ "encrypt.key-secret", "key" },
		{ "encrypt.iter-time", "1" },
	};
	struct gild_create_options create = {
		.format = "qcow2",
		.size = 64 * KiB,
		.options = options,
		.option_count = 3,
		.policy = policy,
	};
	struct gild_open_options open = {
		.format = "qcow2",
		.flags = GILD_OPEN_WRITE,
		.policy = policy,
		.key_secret = "key",
	};
	struct gild_error err = { 0 };
	struct gild_image *image;

	cr_assert_eq(gild_create("disk", &create, &err), 0, "%s", err.message);
	image = gild_open("disk", &open, &err);
	cr_assert_not_null(image, "%s", err.message);
	return (struct image *)image;
}

static void *write_a_part(void *arg)
{
	struct pair *pair = arg;
	unsigned char part[64] = { 0 };

	while (!pair->done) {
		part[0]++;
		if (image_write(pair->image, part, sizeof(part), 0, NULL) < 0)
			abort();
		pair->begun = true;
	}
	return NULL;
}

/* The cipher takes whole sectors: who writes a part of one writes the rest of
 * it, too, and must not bring back what somebody else has just replaced. */
Test(threads, parts_of_encrypted_sectors, .init = folder_enter,
     .fini = folder_leave, .timeout = 300)
{
	static const unsigned steps[] = { 10000, 40000, 200000 };
	struct pair pair = { .image = open_encrypted() };
	unsigned char now[SECTOR], want[SECTOR];
	bool undone = false;
	pthread_t thread;
	unsigned i;

	cr_assert_eq(pthread_create(&thread, NULL, write_a_part, &pair), 0);
	while (!pair.begun)
		sched_yield();
	for (i = 0; i < steps[test_level()] && !undone; i++) {
		memset(want, i % 7 == 6 ? 0 : (int)i, sizeof(want));
		if (i % 7 == 6)
			image_zero(pair.image, 0, SECTOR, 0, NULL);
		else
			image_write(pair.image, want, SECTOR, 0, NULL);
		image_read(pair.image, now, SECTOR, 0, NULL);
		undone = memcmp(now + 64, want + 64, SECTOR - 64);
	}
	pair.done = true;
	pthread_join(thread, NULL);
	cr_assert_not(undone, "step %u was undone", i);
	cr_assert_eq(disk_close(pair.image, NULL), 0);
}
