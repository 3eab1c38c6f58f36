/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images that were cut short, at every place where one structure of the file
 * ends and the next begins, around these, and in between: opening, describing,
 * mapping, measuring and reading each give an error that says something, or
 * what is right; what a repair calls sound is sound, to qemu-img too.
 *
 * Where a cut falls into the file's last cluster, the rest of that reads as
 * zeros, since there are writers that leave zeros out there.
 *
 * (The command on such files: test-hostile-truncated.sh.)
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "storage/test-folder.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum {
	DISK = 1 << 20,
	BLOCK = 64 << 10,
	HEADER = 192, /* bytes from the start, each of which is cut at */
	CHANGED = 5000,
	CHANGED_AT = (800 << 10) + 100, /* where the disk is empty */
};

struct row {
	const char *options; /* of qemu-img create */
	uint32_t cluster;
	const char *convert; /* more options of qemu-img convert */
	const char *between; /* a command on image.qcow2, before its data */
};

static const struct row rows[] = {
	{ "cluster_size=64k", 65536, "", "true" },
	{ "compat=0.10,cluster_size=4k", 4096, "", "true" },
	{ "cluster_size=64k", 65536, "-c", "true" },
	{ "compression_type=zstd,cluster_size=4k", 4096, "-c", "true" },
	{ "extended_l2=on,cluster_size=16k", 16384, "", "true" },
	{ "cluster_size=512", 512, "", "true" },
	{ "cluster_size=2k,refcount_bits=1", 2048, "", "true" },
	{ "cluster_size=4k", 4096, "", "qemu-img snapshot -c s image.qcow2" },
	/* The blocks of reference counts behind the data. */
	{ "cluster_size=4k", 4096, "",
	  "qemu-img convert -n -f raw -O qcow2 x.raw image.qcow2 &&"
	  " qemu-img amend -f qcow2 -o refcount_bits=64 image.qcow2" },
	{ "cluster_size=4k", 4096, "",
	  "qemu-img bitmap --add -g 512 image.qcow2 b" },
};

/* One image, of which pieces are tried. */
struct whole {
	const struct row *row;
	unsigned char *disk; /* DISK bytes: what it reads as */
	unsigned char *file;
	uint64_t length;
	uint64_t cut;		  /* of this piece */
	bool there[DISK / BLOCK]; /* of its disk, what is right */
	unsigned opened, right, written, repaired;
};

#define claim(whole, condition, ...)                                   \
	cr_assert(condition, "%s %s, cut at %ju of %ju: %s",           \
		  (whole)->row->options, (whole)->row->between,        \
		  (uintmax_t)(whole)->cut, (uintmax_t)(whole)->length, \
		  __VA_ARGS__)

static void fill(unsigned char *disk)
{
	op_fill(disk, 0, 64 << 10, 2);
	op_fill(disk + (128 << 10), 128 << 10, 1 << 10, 3);
	op_fill(disk + (200 << 10), 200 << 10, 170 << 10, 4);
	op_fill(disk + (500 << 10), 500 << 10, 60 << 10, 5);
	op_fill(disk + (980 << 10), 980 << 10, 44 << 10, 7);
}

static unsigned char *load(const char *path, uint64_t *length)
{
	FILE *file = fopen(path, "r");
	unsigned char *bytes;

	cr_assert_not_null(file);
	*length = file_length(path);
	bytes = malloc(*length);
	cr_assert_eq(fread(bytes, 1, *length, file), *length);
	fclose(file);
	return bytes;
}

static void make(struct whole *whole)
{
	char command[500];
	FILE *file = fopen("x.raw", "w");

	whole->disk = calloc(1, DISK);
	fill(whole->disk);
	cr_assert_eq(fwrite(whole->disk, 1, DISK, file), DISK);
	cr_assert_eq(fclose(file), 0);
	snprintf(command, sizeof(command),
		 "qemu-img create -q -f qcow2 -o %s image.qcow2 %d && %s &&"
		 " qemu-img convert -n -f raw -O qcow2 %s x.raw image.qcow2",
		 whole->row->options, DISK, whole->row->between,
		 whole->row->convert);
	cr_assert_eq(system(command), 0, "%s", command);
	whole->file = load("image.qcow2", &whole->length);
}

static struct storage *piece(const struct whole *whole)
{
	struct storage *storage = faulty_new(whole->file, whole->cut, NULL);

	cr_assert_not_null(storage);
	return storage;
}

/* An error that a user can do something with. */
static void explained(const struct whole *whole, const struct gild_error *err)
{
	claim(whole, err->kind != GILD_ERR_NONE, "no kind of error");
	claim(whole, err->kind != GILD_ERR_NOMEM, "memory");
	claim(whole,
	      err->message[0] && !strchr(err->message, '\n') &&
		      !strstr(err->message, "(null)"),
	      err->message);
}

/* --- reading ------------------------------------------------------------- */

/* Wrong bytes are right where they are zeros that stand for the rest of one
 * cluster, the last of the file. */
static void judge_bytes(struct whole *whole, const unsigned char *got,
			const unsigned char *wanted, uint64_t *lost)
{
	for (size_t i = memcmp(got, wanted, BLOCK) ? 0 : BLOCK; i < BLOCK;
	     i++) {
		if (got[i] == wanted[i])
			continue;
		claim(whole, !got[i], "wrong bytes");
		++*lost;
	}
	claim(whole, *lost <= -whole->cut % whole->row->cluster,
	      "zeros in place of data");
}

static void read_all(struct whole *whole, struct image *image)
{
	static unsigned char buffer[BLOCK];
	struct gild_error err;
	uint64_t lost = 0, before;
	bool right = true;

	for (uint64_t at = 0; at < image->size; at += BLOCK) {
		err = (struct gild_error){ 0 };
		whole->there[at / BLOCK] = false;
		if (image_read(image, buffer, BLOCK, at, &err) < 0) {
			explained(whole, &err);
			right = false;
			continue;
		}
		before = lost;
		judge_bytes(whole, buffer, whole->disk + at, &lost);
		whole->there[at / BLOCK] = lost == before;
	}
	whole->right += right && !lost;
}

static void map_all(const struct whole *whole, struct image *image)
{
	struct gild_extent extent;
	struct gild_error err = { 0 };

	for (uint64_t at = 0; at < image->size; at += extent.length) {
		if (gild_map((struct gild_image *)image, at, image->size - at,
			     &extent, &err) < 0) {
			explained(whole, &err);
			return;
		}
		claim(whole, extent.length && extent.length <= image->size - at,
		      "an extent of no length, or beyond the end");
	}
}

static void describe(const struct whole *whole, struct image *image)
{
	struct gild_image *handle = (struct gild_image *)image;
	struct gild_measurement measured;
	struct gild_error err = { 0 };
	struct gild_info *info = gild_info(handle, &err);

	if (!info)
		explained(whole, &err);
	gild_info_free(info);
	if (gild_measure(handle, 0, "qcow2", NULL, 0, &measured, &err) < 0)
		explained(whole, &err);
}

static void look(struct whole *whole, unsigned flags)
{
	struct gild_error err = { 0 };
	struct image *image = disk_try_open(piece(whole), flags, &err);

	if (!image) {
		explained(whole, &err);
		return;
	}
	claim(whole, image->size == DISK, "another size");
	describe(whole, image);
	if (!(flags & GILD_OPEN_INSPECT)) {
		whole->opened++;
		map_all(whole, image);
		read_all(whole, image);
	}
	image_free(image);
}

/* --- writing, repair ------------------------------------------------------ */

/* Where there was nothing before; a new L2 table where clusters are small. */
static int change(struct image *image, struct gild_error *err)
{
	static const unsigned char bytes[CHANGED] = { 1, 2, 3 };

	return image_write(image, bytes, CHANGED, CHANGED_AT, err) < 0 ||
			       image_flush(image, true, err) < 0 ?
		       -1 :
		       0;
}

/* All that was there is there, but what was written over. */
static void is_kept(const struct whole *whole, struct image *image)
{
	static unsigned char buffer[BLOCK];
	struct gild_error err = { 0 };

	for (uint64_t at = 0; at < image->size; at += BLOCK) {
		if (!whole->there[at / BLOCK] ||
		    at / BLOCK == CHANGED_AT / BLOCK)
			continue;
		claim(whole, image_read(image, buffer, BLOCK, at, &err) == 0,
		      err.message);
		claim(whole, !memcmp(buffer, whole->disk + at, BLOCK),
		      "a write has changed what lies elsewhere");
	}
}

/* A write works, or it is refused; it hurts nothing. */
static void write_to(struct whole *whole)
{
	struct storage *storage = piece(whole), *copy;
	struct gild_error err = { 0 };
	struct image *image = disk_try_open(storage, GILD_OPEN_WRITE, &err);

	if (!image) {
		explained(whole, &err);
		return;
	}
	if (change(image, &err) < 0)
		explained(whole, &err);
	else
		whole->written++;
	copy = disk_copy(storage);
	image_free(image);
	image = disk_open(copy, 0);
	is_kept(whole, image);
	image_free(image);
}

/* leaks: some are allowed. */
static void is_sound(struct whole *whole, struct image *image, bool leaks)
{
	struct gild_check_result result = disk_check(image);

	claim(whole, !result.corruptions, "corrupt, says the next check");
	claim(whole, leaks || !result.leaks, "leaks, says the next check");
	claim(whole, !result.check_errors, "cannot be checked");
}

static void judge(struct whole *whole, struct storage *storage)
{
	/* Asking takes longer than all the rest. */
	static const unsigned steps[] = { 50, 20, 1 };
	struct gild_error err = { 0 };
	struct image *image;

	if (whole->repaired++ % steps[test_level()] == 0) {
		disk_save(storage, "fixed.qcow2");
		claim(whole,
		      system("qemu-img check -q -f qcow2 fixed.qcow2") == 0,
		      "not repaired, says qemu-img");
	}
	image = disk_open(storage, GILD_OPEN_WRITE);
	is_sound(whole, image, false);
	is_kept(whole, image);
	claim(whole, change(image, &err) == 0, err.message);
	storage = disk_copy(image->storage);
	image_free(image);
	image = disk_open(storage, 0);
	/* Bitmaps that cannot be read are given up when the disk changes. */
	is_sound(whole, image, true);
	is_kept(whole, image);
	image_free(image);
}

static void repair(struct whole *whole)
{
	struct storage *storage = piece(whole), *copy = NULL;
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct image *image = disk_try_open(
		storage, GILD_OPEN_WRITE | GILD_OPEN_REPAIR, &err);

	if (!image) {
		explained(whole, &err);
		return;
	}
	if (gild_check((struct gild_image *)image,
		       GILD_CHECK_FIX_LEAKS | GILD_CHECK_FIX_ERRORS, &result,
		       NULL, &err) < 0)
		explained(whole, &err);
	else if (!result.corruptions && !result.leaks && !result.check_errors)
		copy = disk_copy(storage);
	image_free(image);
	if (copy)
		judge(whole, copy);
}

/* --- the cuts ------------------------------------------------------------ */

static void try_at(struct whole *whole, uint64_t cut)
{
	if (cut > whole->length)
		return;
	whole->cut = cut;
	memset(whole->there, 0, sizeof(whole->there));
	look(whole, GILD_OPEN_INSPECT);
	look(whole, 0);
	write_to(whole);
	repair(whole);
}

/* Around a place where a structure begins, ends, or half of it is there. */
static void try_around(struct whole *whole, uint64_t place)
{
	try_at(whole, place - 1);
	try_at(whole, place);
	try_at(whole, place + 1);
}

static unsigned numbers[ARRAY_LENGTH(rows)];

ParameterizedTestParameters(truncated, images)
{
	for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, ARRAY_LENGTH(rows));
}

ParameterizedTest(unsigned *row, truncated, images, .init = folder_enter,
		  .fini = folder_leave, .timeout = 1500)
{
	/* Images of small clusters have more of them than there is time for. */
	static const unsigned most[] = { 20, 80, 100000 };
	struct whole whole = { .row = &rows[*row] };
	uint64_t clusters, step;

	make(&whole);
	for (uint64_t cut = 0; cut <= HEADER; cut++)
		try_at(&whole, cut);
	clusters = div_round_up(whole.length, whole.row->cluster);
	step = clusters / most[test_level()] + 1;
	for (uint64_t i = 1; i <= clusters; i += i < 10 ? 1 : step)
		try_around(&whole, i * whole.row->cluster);
	for (uint64_t i = 0; i < clusters; i += i < 10 ? 1 : step)
		try_around(&whole,
			   i * whole.row->cluster + whole.row->cluster / 2);
	for (uint64_t i = 0; i <= 4; i++)
		try_around(&whole, whole.length - i * SECTOR);
	fprintf(stderr, "%-40s %u opened, %u right, %u written, %u repaired\n",
		whole.row->options, whole.opened, whole.right, whole.written,
		whole.repaired);
	cr_assert_gt(whole.right, 0); /* the whole one, at least */
	cr_assert_gt(whole.repaired, 0);
	free(whole.file);
	free(whole.disk);
}

/* Counts that nobody can know are not taken for zeros: what they stand for
 * would be handed out once more. */
Test(truncated, a_write_does_not_guess_counts, .init = folder_enter,
     .fini = folder_leave)
{
	static const struct row row = { "cluster_size=4k", 4096, "", "true" };
	struct whole whole = { .row = &row };
	struct gild_error err = { 0 };
	struct image *image;
	uint64_t table, block, end;

	/* The block of counts moves to the end, where all but a byte of it is
	 * cut off. */
	make(&whole);
	table = load_be64(whole.file + 48);
	block = load_be64(whole.file + table);
	end = round_up(whole.length, 4096);
	whole.file = realloc(whole.file, end + 4096);
	memcpy(whole.file + end, whole.file + block, 4096);
	store_be64(whole.file + table, end);
	whole.cut = end + 1;
	look(&whole, 0);
	cr_assert_eq(whole.right, 1);
	image = disk_open(piece(&whole), GILD_OPEN_WRITE);
	cr_assert_lt(change(image, &err), 0);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert(strstr(err.message,
			 "a refcount block lies beyond the end of the file"),
		  "%s", err.message);
	is_kept(&whole, image);
	image_free(image);
	free(whole.file);
	free(whole.disk);
}
