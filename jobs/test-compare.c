/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparisons whose answer is known, the same for every number of workers;
 * failures made to happen; and qemu-img's verdict beside ours.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <sys/wait.h>

#include "formats/image.h"
#include "storage/faulty.h"
#include "storage/test-folder.h"
#include "util/cleanup.h"

TestSuite(compare, .init = folder_enter, .fini = folder_leave, .timeout = 120);

enum {
	KiB = 1024,
	MiB = 1024 * 1024
};

/* A raw disk in memory of length bytes, 0x11 but for some bytes. */
struct disk {
	struct storage *storage;
	struct gild_image *image;
};

static struct disk make_disk(size_t length, const uint64_t *changed,
			     size_t count)
{
	struct gild_open_options options = { .format = "raw" };
	AUTO_FREE unsigned char *content = malloc(length + 1);
	struct disk disk;

	memset(content, 0x11, length);
	for (size_t i = 0; i < count; i++)
		content[changed[i]] ^= 0xff;
	disk.storage = faulty_new(content, length, NULL);
	disk.image = (struct gild_image *)image_open_storage(disk.storage,
							     &options, NULL);
	cr_assert_not_null(disk.image);
	return disk;
}

static void drop(struct disk *disk)
{
	cr_assert_eq(gild_close(disk->image, NULL), 0);
}

static struct gild_comparison compare_ok(struct gild_image *a,
					 struct gild_image *b, bool strict,
					 unsigned workers)
{
	struct gild_error err = { 0 };
	struct gild_comparison result;

	cr_assert_eq(gild_compare(a, b, strict, workers, &result, NULL, &err),
		     0, "%s", err.message);
	return result;
}

/* --- content ------------------------------------------------------------- */

Test(compare, the_first_difference_wins)
{
	static const uint64_t places[] = { 0,
					   511,
					   512,
					   256 * KiB - 1,
					   MiB - 1,
					   MiB,
					   5 * MiB + 4097,
					   9 * MiB - 1 };
	const size_t count = sizeof(places) / sizeof(*places);
	struct disk same = make_disk(9 * MiB, NULL, 0);

	for (size_t first = 0; first < count; first++) {
		struct disk other =
			make_disk(9 * MiB, places + first, count - first);

		for (unsigned workers = 0; workers <= 5; workers++) {
			struct gild_comparison r = compare_ok(
				same.image, other.image, false, workers);

			cr_assert_eq(r.difference, GILD_DIFFERENT_CONTENT);
			cr_assert_eq(r.offset, places[first] / 512 * 512);
			cr_assert_not(r.size_mismatch);
		}
		drop(&other);
	}
	drop(&same);
}

Test(compare, equal_disks)
{
	static const size_t lengths[] = { 0,   512,	1024,
					  MiB, 3 * MiB, 3 * MiB + 512 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		for (int strict = 0; strict < 2; strict++) {
			struct disk a = make_disk(lengths[i], NULL, 0);
			struct disk b = make_disk(lengths[i], NULL, 0);
			struct gild_comparison r =
				compare_ok(a.image, b.image, strict, 2);

			cr_assert_eq(r.difference, GILD_SAME);
			cr_assert_not(r.size_mismatch);
			drop(&a);
			drop(&b);
		}
}

/* --- size ---------------------------------------------------------------- */

Test(compare, a_longer_disk_whose_rest_is_not_zero)
{
	struct disk shorter = make_disk(3 * MiB + 512, NULL, 0);
	struct disk longer = make_disk(5 * MiB, NULL, 0);

	for (unsigned workers = 1; workers <= 4; workers++)
		for (int swap = 0; swap < 2; swap++) {
			struct gild_comparison r =
				compare_ok(swap ? longer.image : shorter.image,
					   swap ? shorter.image : longer.image,
					   false, workers);

			cr_assert_eq(r.difference, GILD_DIFFERENT_SIZE);
			cr_assert_eq(r.offset, 3 * MiB + 512);
			cr_assert(r.size_mismatch);
		}
	drop(&shorter);
	drop(&longer);
}

Test(compare, a_longer_disk_whose_rest_is_zero)
{
	struct disk shorter = make_disk(3 * MiB, NULL, 0);
	struct disk longer = make_disk(3 * MiB, NULL, 0);
	struct gild_open_options options = { .format = "raw" };
	struct gild_comparison r;
	struct storage *grown;
	uint64_t length;

	grown = faulty_new(faulty_content(longer.storage, &length), 3 * MiB,
			   NULL);
	cr_assert_eq(storage_truncate(grown, 9 * MiB, false, NULL), 0);
	drop(&longer);
	longer.image =
		(struct gild_image *)image_open_storage(grown, &options, NULL);
	r = compare_ok(shorter.image, longer.image, false, 3);
	cr_assert_eq(r.difference, GILD_SAME);
	cr_assert(r.size_mismatch);
	r = compare_ok(longer.image, shorter.image, true, 3);
	cr_assert_eq(r.difference, GILD_DIFFERENT_SIZE);
	cr_assert_eq(r.offset, 3 * MiB);
	drop(&shorter);
	drop(&longer);
}

/* --- failures ------------------------------------------------------------ */

static void fail_reads(struct disk *disk, uint64_t nth)
{
	struct faulty_plan plan = {
		.nth = nth,
		.ops = 1 << FAULTY_READ,
		.sys_errno = EIO,
		.sticky = true,
	};

	faulty_set_plan(disk->storage, &plan);
}

Test(compare, a_read_error_names_its_image)
{
	for (unsigned which = 0; which < 2; which++)
		for (unsigned workers = 1; workers <= 4; workers++) {
			struct disk disks[2] = { make_disk(4 * MiB, NULL, 0),
						 make_disk(4 * MiB, NULL, 0) };
			struct gild_comparison result;
			struct gild_error err;

			fail_reads(&disks[which], 1);
			cr_assert_eq(gild_compare(disks[0].image,
						  disks[1].image, false,
						  workers, &result, NULL, &err),
				     -1);
			cr_assert_eq(err.kind, GILD_ERR_IO);
			cr_assert_eq(err.sys_errno, EIO);
			cr_assert_eq(err.offset, 0);
			cr_assert_eq(result.failed_step, GILD_COMPARE_READ);
			cr_assert_eq(result.failed_image, which);
			drop(&disks[0]);
			drop(&disks[1]);
		}
}

/* One worker reads in order, so that which read fails is known. */
Test(compare, what_comes_first_is_reported)
{
	uint64_t place = 2 * MiB;
	struct disk a = make_disk(4 * MiB, NULL, 0);
	struct disk b = make_disk(4 * MiB, &place, 1);
	struct gild_comparison result;
	struct gild_error err;

	fail_reads(&a, 9 + 1); /* a read behind the difference */
	result = compare_ok(a.image, b.image, false, 1);
	cr_assert_eq(result.offset, place);
	fail_reads(&a, 7); /* one before it */
	cr_assert_eq(gild_compare(a.image, b.image, false, 1, &result, NULL,
				  &err),
		     -1);
	cr_assert_lt(err.offset, place);
	drop(&a);
	drop(&b);
}

Test(compare, cancelled)
{
	struct disk a = make_disk(4 * MiB, NULL, 0);
	struct gild_job *job = gild_job_new();
	struct gild_comparison result;
	struct gild_error err;

	gild_job_cancel(job);
	cr_assert_eq(gild_compare(a.image, a.image, false, 2, &result, job,
				  &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_CANCELLED);
	gild_job_free(job);
	drop(&a);
}

Test(compare, progress_reaches_the_end)
{
	struct disk a = make_disk(4 * MiB + 512, NULL, 0);
	struct gild_job *job = gild_job_new();
	struct gild_comparison result;
	uint64_t done, total;

	cr_assert_eq(gild_compare(a.image, a.image, false, 3, &result, job,
				  NULL),
		     0);
	gild_job_progress(job, &done, &total);
	cr_assert_eq(total, 4 * MiB + 512);
	cr_assert_eq(done, total);
	gild_job_free(job);
	drop(&a);
}

/* --- qemu-img's verdict -------------------------------------------------- */

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void make_images(void)
{
	if (system("qemu-img --version >/dev/null 2>&1"))
		cr_skip_test("qemu-img is not there (package qemu-utils)");
	run("exec >/dev/null; Q='qemu-img create -q -f'; $Q raw hole.raw 8M;"
	    "$Q qcow2 empty.qcow2 8M; $Q qcow2 zero.qcow2 8M; "
	    "qemu-io -c 'write -z 1M 64k' zero.qcow2;"
	    "$Q qcow2 kept.qcow2 8M; qemu-io -c 'write -P 1 1M 64k' "
	    "-c 'write -z 1M 64k' kept.qcow2;"
	    "$Q qcow2 data.qcow2 8M; qemu-io -c 'write -P 1 1M 2M' data.qcow2;"
	    "$Q qcow2 -b data.qcow2 -F qcow2 over.qcow2;"
	    "$Q qcow2 -b data.qcow2 -F qcow2 more.qcow2;"
	    "qemu-io -c 'write -P 7 6000000 3' more.qcow2;"
	    "$Q qcow2 -b data.qcow2 -F qcow2 longer.qcow2 12M;"
	    "qemu-img convert -c -O qcow2 data.qcow2 packed.qcow2;"
	    "qemu-img convert -O raw data.qcow2 data.raw;"
	    "qemu-img convert -O qcow2 data.raw plain.qcow2;"
	    "head -c 4096 /dev/zero | tr '\\0' 'e' >tiny.raw");
}

static struct gild_image *open_image(const char *name)
{
	struct gild_open_options options = {
		.policy.follow = GILD_FOLLOW_PATHS,
	};
	struct gild_error err = { 0 };
	struct gild_image *image = gild_open(name, &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

/* Exit status, and the offset of its message where that is about content. */
static int ask_qemu(const char *a, const char *b, bool strict,
		    unsigned long long *offset)
{
	char command[200], line[200] = "";
	FILE *qemu;
	int status;

	snprintf(command, sizeof(command),
		 "qemu-img compare %s %s %s | tail -n 1; "
		 "exit ${PIPESTATUS[0]}",
		 strict ? "-s" : "", a, b);
	setenv("COMPARE", command, 1);
	qemu = popen("bash -c \"$COMPARE\"", "r");
	cr_assert_not_null(fgets(line, sizeof(line), qemu));
	status = pclose(qemu);
	*offset = UINT64_MAX;
	sscanf(line, "Content mismatch at offset %llu!", offset);
	return WEXITSTATUS(status);
}

static void assert_agreement(const char *a, const char *b, bool strict)
{
	struct gild_image *left = open_image(a), *right = open_image(b);
	struct gild_comparison r = compare_ok(left, right, strict, 2);
	unsigned long long offset;
	int status = ask_qemu(a, b, strict, &offset);

	cr_assert_eq(status, r.difference != GILD_SAME, "%s %s, strict %d: %d",
		     a, b, strict, r.difference);
	if (offset != UINT64_MAX)
		cr_assert_eq(r.offset, offset, "%s %s: %ju", a, b,
			     (uintmax_t)r.offset);
	gild_close(left, NULL);
	gild_close(right, NULL);
}

Test(compare, agrees_with_qemu_img)
{
	static const char *const names[] = {
		"hole.raw",    "empty.qcow2",  "zero.qcow2", "kept.qcow2",
		"data.qcow2",  "over.qcow2",   "more.qcow2", "longer.qcow2",
		"plain.qcow2", "packed.qcow2", "data.raw",   "tiny.raw",
	};
	const size_t count = sizeof(names) / sizeof(*names);

	make_images();
	for (size_t a = 0; a < count; a++)
		for (size_t b = 0; b < count; b++)
			for (int strict = 0; strict < 2; strict++)
				assert_agreement(names[a], names[b], strict);
}

/* An L1 entry that leads out of the file. */
Test(compare, an_image_that_cannot_say_where)
{
	static const unsigned char entry[8] = { 0x80, 0x7f, 0, 0, 0, 0, 0, 0 };
	struct gild_image *good, *bad;
	struct gild_comparison result;
	struct gild_error err = { 0 };
	AUTO_CLOSE int fd = -1;

	make_images();
	fd = open("packed.qcow2", O_RDWR);
	cr_assert_eq(pwrite(fd, entry, 8, 0x30000), 8);
	good = open_image("data.qcow2");
	bad = open_image("packed.qcow2");
	cr_assert_eq(gild_compare(good, bad, false, 2, &result, NULL, &err),
		     -1);
	cr_assert_eq(result.failed_step, GILD_COMPARE_STATUS, "%s",
		     err.message);
	cr_assert_eq(result.failed_image, 1);
	gild_close(good, NULL);
	gild_close(bad, NULL);
}
