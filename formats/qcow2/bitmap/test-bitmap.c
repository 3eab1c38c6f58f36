/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps: what each operation leaves in the file, what writes mark (beside
 * qemu-io), and what happens to bitmaps when the disk is resized, when
 * snapshots come and go, and when nobody stored them.
 */
#include "formats/qcow2/bitmap/test-bitmap.h"

#include <errno.h>

#include "util/workers.h"

#define KiB 1024ULL

TestSuite(qcow2_bitmap, .init = folder_enter, .fini = folder_leave,
	  .timeout = 120);

/* ---- operations ---------------------------------------------------------- */

static void add(struct image *image, const char *name, uint64_t granularity,
		bool disabled)
{
	OK(gild_bitmap_add(handle_of(image), name, granularity, disabled,
			   &err));
}

static void put(struct image *image, uint64_t offset, uint64_t length)
{
	unsigned char *data = malloc(length);

	cr_assert_not_null(data);
	memset(data, 0x55, length);
	OK(gild_write(handle_of(image), data, length, offset, &err));
	free(data);
}

static struct image *open_write(struct bytes *bytes)
{
	struct image *image = open_good(bytes, GILD_OPEN_WRITE);

	free(bytes->data);
	*bytes = (struct bytes){ 0 };
	return image;
}

Test(qcow2_bitmap, every_operation)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	struct gild_image *handle = handle_of(image);

	add(image, "one", 0, false);
	add(image, "two", 512, true);
	put(image, 100, 1);
	put(image, 300 * KiB, 100 * KiB);
	OK(gild_bitmap_merge(handle, "two", handle, "one", &err));
	OK(gild_bitmap_enable(handle, "two", &err));
	put(image, 700 * KiB, 1);
	OK(gild_bitmap_disable(handle, "one", &err));
	put(image, 900 * KiB, 1);
	add(image, "three", 4096, false);
	put(image, 999 * KiB, 1);
	bytes = close_bytes(image);
	expect_text(&bytes, "one - 65536: 0-65536 262144-458752 655360-720896\n"
			    "two a 512: 0-65536 262144-458752 716800-717312 "
			    "921600-922112 1022976-1023488\n"
			    "three a 4096: 1019904-1024000\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	handle = handle_of(image);
	OK(gild_bitmap_clear(handle, "two", &err));
	OK(gild_bitmap_merge(handle, "one", handle, "three", &err));
	OK(gild_bitmap_enable(handle, "one", &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "one a 65536: 0-65536 262144-458752 "
			    "655360-720896 983040-1048576\n"
			    "two a 512:\n"
			    "three a 4096: 1019904-1024000\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	OK(gild_bitmap_remove(handle_of(image), "one", &err));
	put(image, 0, MIB);
	OK(gild_bitmap_remove(handle_of(image), "three", &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "two a 512: 0-1048576\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	OK(gild_bitmap_remove(handle_of(image), "two", &err));
	cr_expect_not(qcow2_of(image)->header.has_bitmaps);
	bytes = close_bytes(image);
	expect_text(&bytes, "");
	expect_sound(&bytes);
	free(bytes.data);
}

Test(qcow2_bitmap, what_cannot_be_is_refused)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	struct gild_image *handle = handle_of(image);
	char name[1100];

	add(image, "b", 0, false);
	REFUSED(GILD_ERR_INVALID, "already",
		gild_bitmap_add(handle, "b", 0, false, &err));
	REFUSED(GILD_ERR_INVALID, "1 to 1023",
		gild_bitmap_add(handle, "", 0, false, &err));
	memset(name, 'n', sizeof(name));
	name[1024] = 0;
	REFUSED(GILD_ERR_INVALID, "1 to 1023",
		gild_bitmap_add(handle, name, 0, false, &err));
	name[1023] = 0;
	add(image, name, 0, true);
	REFUSED(GILD_ERR_INVALID, "power of two",
		gild_bitmap_add(handle, "c", 1000, false, &err));
	REFUSED(GILD_ERR_INVALID, "power of two",
		gild_bitmap_add(handle, "c", 256, false, &err));
	REFUSED(GILD_ERR_INVALID, "power of two",
		gild_bitmap_add(handle, "c", 4ULL << 30, false, &err));
	REFUSED(GILD_ERR_INVALID, "no bitmap \"x\"",
		gild_bitmap_remove(handle, "x", &err));
	REFUSED(GILD_ERR_INVALID, "no bitmap \"x\"",
		gild_bitmap_merge(handle, "b", handle, "x", &err));
	REFUSED(GILD_ERR_INVALID, "no bitmap \"x\"",
		gild_bitmap_merge(handle, "x", handle, "b", &err));
	bytes = close_bytes(image);
	expect_sound(&bytes);
	image = open_good(&bytes, 0);
	REFUSED(GILD_ERR_DENIED, "reading only",
		gild_bitmap_clear(handle_of(image), "b", &err));
	image_free(image);
	free(bytes.data);
}

static void refuse_add(const char *options, uint64_t size,
		       enum gild_error_kind kind, const char *part)
{
	struct bytes bytes = new_bytes(options, size);
	struct image *image = open_write(&bytes);

	REFUSED(kind, part,
		gild_bitmap_add(handle_of(image), "b", 0, false, &err));
	bytes = close_bytes(image);
	expect_sound(&bytes);
	free(bytes.data);
}

Test(qcow2_bitmap, images_that_have_none)
{
	refuse_add("compat=0.10", MIB, GILD_ERR_UNSUPPORTED, "version 2");
	refuse_add(NULL, 0, GILD_ERR_UNSUPPORTED, "0 bytes");
	refuse_add("cluster_size=2M", 1ULL << 50, GILD_ERR_RANGE, "512 MiB");
}

/* The header of an image with small clusters is full. */
Test(qcow2_bitmap, a_header_without_room)
{
	struct bytes bytes = new_bytes("cluster_size=512", 100 * KiB);
	struct image *image = open_write(&bytes);
	char name[361];

	memset(name, 'n', sizeof(name));
	name[360] = 0;
	OK(image->ops->set_backing(image, name, "raw", &err));
	REFUSED(GILD_ERR_RANGE, "larger cluster size",
		gild_bitmap_add(handle_of(image), "b", 0, false, &err));
	OK(image->ops->set_backing(image, NULL, NULL, &err));
	add(image, "b", 0, false);
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 4096:\n");
	expect_sound(&bytes);
	free(bytes.data);
}

Test(qcow2_bitmap, default_granularity_follows_the_cluster)
{
	static const struct {
		const char *options;
		const char *text;
	} rows[] = {
		{ "cluster_size=512", "b a 4096:\n" },
		{ "cluster_size=4k", "b a 4096:\n" },
		{ "cluster_size=32k", "b a 32768:\n" },
		{ "cluster_size=64k", "b a 65536:\n" },
		{ "cluster_size=2M", "b a 65536:\n" },
	};

	for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
		struct bytes bytes = new_bytes(rows[i].options, MIB);
		struct image *image = open_write(&bytes);

		add(image, "b", 0, false);
		bytes = close_bytes(image);
		expect_text(&bytes, rows[i].text);
		free(bytes.data);
	}
}

Test(qcow2_bitmap, merging_from_another_image)
{
	struct bytes bytes = new_bytes(NULL, MIB), other, longer;
	struct image *from = open_write(&bytes), *to;

	add(from, "s", 512, false);
	put(from, 70 * KiB, 5);
	/* Also what is not stored yet. */
	other = new_bytes("cluster_size=512", MIB);
	to = open_write(&other);
	add(to, "t", 0, true);
	OK(gild_bitmap_merge(handle_of(to), "t", handle_of(from), "s", &err));
	bytes = close_bytes(from);
	other = close_bytes(to);
	expect_text(&other, "t - 4096: 69632-73728\n");
	expect_sound(&other);
	from = open_good(&bytes, GILD_OPEN_INSPECT);
	to = open_write(&other);
	OK(gild_bitmap_clear(handle_of(to), "t", &err));
	OK(gild_bitmap_merge(handle_of(to), "t", handle_of(from), "s", &err));
	other = close_bytes(to);
	expect_text(&other, "t - 4096: 69632-73728\n");
	longer = new_bytes(NULL, 2 * MIB);
	to = open_write(&longer);
	add(to, "t", 0, true);
	REFUSED(GILD_ERR_INVALID, "different sizes",
		gild_bitmap_merge(handle_of(to), "t", handle_of(from), "s",
				  &err));
	longer = close_bytes(to);
	expect_text(&longer, "t - 65536:\n");
	expect_sound(&longer);
	image_free(from);
	free(bytes.data);
	free(other.data);
	free(longer.data);
}

/* --- beside qemu-io ------------------------------------------------------ */

enum kind {
	WRITE,
	ZERO,
	UNMAP,
	DISCARD,
	COMPRESSED,
};

static const char *const commands[] = { "write -P 85", "write -z",
					"write -z -u", "discard", "write -c" };

struct step {
	enum kind kind;
	uint64_t offset, length;
};

/* qemu-io writes compressed only what is not there yet, so this comes first. */
static struct step random_step(unsigned index, uint64_t size, uint64_t cluster)
{
	static const uint64_t lengths[] = { 1, 511, 4096, 70000, 200000 };
	struct step step = { .kind = (enum kind)(rand() % COMPRESSED) };
	unsigned pick = (unsigned)rand() % ARRAY_LENGTH(lengths);

	step.offset = (uint64_t)rand() % size;
	step.length = 1 + (uint64_t)rand() % lengths[pick];
	if (!index) {
		step.kind = COMPRESSED;
		step.offset = round_down(step.offset, cluster);
		step.length = cluster;
	}
	step.length = min_u64(step.length, size - step.offset);
	return step;
}

static void take_step(struct gild_image *image, const struct step *step)
{
	unsigned char *data = malloc(step->length);

	cr_assert_not_null(data);
	memset(data, 85, step->length);
	switch (step->kind) {
	case WRITE:
		OK(gild_write(image, data, step->length, step->offset, &err));
		break;
	case COMPRESSED:
		OK(gild_write_compressed(image, data, step->length,
					 step->offset, &err));
		break;
	case DISCARD:
		OK(gild_discard(image, step->offset, step->length, &err));
		break;
	default:
		OK(gild_zero(image, step->offset, step->length,
			     step->kind == UNMAP ? GILD_ZERO_UNMAP : 0, &err));
	}
	free(data);
}

static struct gild_image *open_path(const char *name, unsigned flags)
{
	const struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags,
		.policy = { .follow = GILD_FOLLOW_PATHS },
	};
	struct gild_error err = { 0 };
	struct gild_image *image = gild_open(name, &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

/* The same steps by qemu-io and by us leave the same bitmaps. */
static void expect_same_marks(const char *options, const char *more,
			      unsigned seed, uint64_t size, uint64_t cluster)
{
	struct gild_image *image;
	char command[4000] = "";
	char *ours, *theirs;
	size_t used = 0;

	cr_assert_eq(
		shell("qemu-img create -q -f qcow2 -o %s %s a.qcow2 %ju && "
		      "qemu-img bitmap --add -g 512 a.qcow2 fine && "
		      "qemu-img bitmap --add -g 128k a.qcow2 coarse && "
		      "qemu-img bitmap --add --disable a.qcow2 off && "
		      "cp a.qcow2 b.qcow2 && (cp ext exb || :) 2>err",
		      options, more, (uintmax_t)size),
		0);
	image = open_path("a.qcow2", GILD_OPEN_WRITE);
	for (unsigned i = 0; i < 12; i++) {
		struct step step = random_step(i, size, cluster);

		if (step.kind == COMPRESSED && strstr(options, "data_file"))
			continue;
		take_step(image, &step);
		used += (size_t)snprintf(command + used, sizeof(command) - used,
					 " -c '%s %ju %ju'",
					 commands[step.kind],
					 (uintmax_t)step.offset,
					 (uintmax_t)step.length);
	}
	OK(gild_close(image, &err));
	cr_assert_eq(
		shell("qemu-io -d unmap -f qcow2 %s b.qcow2 >out", command), 0);
	image = open_path("a.qcow2", 0);
	ours = text_of_image(image_of(image));
	OK(gild_close(image, &err));
	image = open_path("b.qcow2", 0);
	theirs = text_of_image(image_of(image));
	OK(gild_close(image, &err));
	cr_assert_str_eq(ours, theirs, "seed %u:%s\nqemu-io:\n%sours:\n%s",
			 seed, command, theirs, ours);
	assert_clean("a.qcow2", options);
	free(ours);
	free(theirs);
}

Test(qcow2_bitmap, writes_mark_what_qemu_io_marks)
{
	static const struct {
		const char *options, *more;
		uint64_t size, cluster;
	} rows[] = {
		{ "cluster_size=64k", "", 3 * MIB + 512, 65536 },
		{ "cluster_size=512", "", 300 * KiB, 512 },
		{ "cluster_size=2M", "", 5 * MIB, 2 * MIB },
		{ "cluster_size=16k,extended_l2=on", "", MIB, 16384 },
		{ "cluster_size=4k", "-F raw -b base", 2 * MIB, 4096 },
		{ "lazy_refcounts=on", "", MIB, 65536 },
		{ "data_file=ext", "", MIB, 65536 },
		{ "data_file=ext,data_file_raw=on", "", MIB, 65536 },
	};

	need_qemu_img();
	cr_assert_eq(shell("truncate -s 1M base && "
			   "qemu-io -f raw -c 'write 0 1M' base >out"),
		     0);
	for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
		for (unsigned seed = 1; seed <= 3; seed++) {
			srand(seed + 100 * (unsigned)i);
			expect_same_marks(rows[i].options, rows[i].more, seed,
					  rows[i].size, rows[i].cluster);
		}
}

/* What changes nothing is marked all the same, also as the first thing. */
Test(qcow2_bitmap, idle_discards_and_zeros_are_marked)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);

	add(image, "b", 512, false);
	bytes = close_bytes(image);
	image = open_write(&bytes);
	OK(gild_discard(handle_of(image), 5000, 10, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 512: 4608-5120\n");
	image = open_write(&bytes);
	OK(gild_zero(handle_of(image), 9000, 10, 0, &err));
	OK(gild_write(handle_of(image), NULL, 0, 20000, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 512: 4608-5120 8704-9216\n");
	free(bytes.data);
}

/* Storing bitmaps comes last, and where nothing is new moves nothing. */
Test(qcow2_bitmap, compressed_data_ends_with_a_sector)
{
	static char data[65536] = "data";
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);

	add(image, "b", 0, false);
	put(image, 128 * KiB, 1);
	bytes = close_bytes(image);
	image = open_write(&bytes);
	OK(gild_write_compressed(handle_of(image), data, sizeof(data),
				 128 * KiB, &err));
	bytes = close_bytes(image);
	cr_expect_eq(bytes.length % 512, 0);
	expect_text(&bytes, "b a 65536: 131072-196608\n");
	free(bytes.data);
}

/* What failed may have been written. */
Test(qcow2_bitmap, failed_writes_are_marked)
{
	const struct faulty_plan plan = { .nth = 2,
					  .ops = 1 << FAULTY_WRITE,
					  .sys_errno = EIO };
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	char data[512] = "data";

	add(image, "b", 512, false);
	put(image, 0, 1);
	/* In place the first write goes through; the next needs space. */
	faulty_set_plan(image->storage, &plan);
	put(image, 1024, 1);
	REFUSED(GILD_ERR_IO, "writing the disk at 2048",
		gild_write(handle_of(image), data, 512, 2048, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 512: 0-512 1024-1536 2048-2560\n");
	free(bytes.data);
}

/* --- in use -------------------------------------------------------------- */

static struct bytes with_lost_bitmap(void)
{
	struct bytes bytes = new_bytes(NULL, MIB), lost;
	struct image *image = open_write(&bytes);

	add(image, "on", 0, false);
	add(image, "off", 0, true);
	put(image, 0, MIB / 2);
	lost = bytes_of(image->storage);
	image_free(image);
	return lost;
}

Test(qcow2_bitmap, one_that_was_not_stored_is_inconsistent)
{
	struct bytes bytes = with_lost_bitmap();
	struct image *image = open_write(&bytes);
	struct gild_image *handle = handle_of(image);
	struct gild_info *info = gild_info(handle, NULL);

	cr_assert_eq(info->bitmap_count, 2);
	cr_expect(info->has_bitmaps);
	cr_expect(info->bitmaps[0].inconsistent && info->bitmaps[0].enabled);
	cr_expect_not(info->bitmaps[1].inconsistent ||
		      info->bitmaps[1].enabled);
	cr_expect_eq(info->bitmaps[1].granularity, 65536);
	gild_info_free(info);
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_bitmap_clear(handle, "on", &err));
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_bitmap_enable(handle, "on", &err));
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_bitmap_disable(handle, "on", &err));
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_bitmap_merge(handle, "on", handle, "off", &err));
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_bitmap_merge(handle, "off", handle, "on", &err));
	REFUSED(GILD_ERR_INVALID, "inconsistent",
		gild_resize(handle, 2 * MIB, &err));
	add(image, "new", 0, false);
	put(image, MIB / 2, 1);
	bytes = close_bytes(image);
	expect_text(&bytes, "on a 65536: in use\noff - 65536:\n"
			    "new a 65536: 524288-589824\n");
	image = open_write(&bytes);
	OK(gild_bitmap_remove(handle_of(image), "on", &err));
	OK(gild_resize(handle_of(image), 2 * MIB, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "off - 65536:\nnew a 65536: 524288-589824\n");
	cr_expect_eq(check_bytes(&bytes).corruptions, 0);
	free(bytes.data);
}

/* As the handle knows them, though the file says "in use". */
Test(qcow2_bitmap, info_while_writing)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	struct gild_info *info;

	add(image, "b", 0, false);
	put(image, 0, 1);
	info = gild_info(handle_of(image), NULL);
	cr_assert_eq(info->bitmap_count, 1);
	cr_expect_not(info->bitmaps[0].inconsistent);
	gild_info_free(info);
	image_free(image);
}

/* Memory ran out for marks. */
Test(qcow2_bitmap, lost_marks_are_said)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	struct gild_error err = { 0 };

	add(image, "b", 0, false);
	add(image, "c", 0, false);
	put(image, 0, 1);
	qcow2_of(image)->bitmaps->list[0].bits->lost = true;
	cr_expect_eq(image_flush(image, true, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_NOMEM);
	cr_expect_not_null(strstr(err.message, "bitmap \"b\""));
	bytes = bytes_of(image->storage);
	image_free(image);
	expect_text(&bytes, "b a 65536: in use\nc a 65536: 0-65536\n");
	expect_sound(&bytes);
	free(bytes.data);
}

/* --- resizing, snapshots, raw flags -------------------------------------- */

Test(qcow2_bitmap, resizing_takes_bitmaps_along)
{
	struct bytes bytes = new_bytes("cluster_size=512", MIB);
	struct image *image = open_write(&bytes);

	add(image, "fine", 512, false);
	add(image, "off", 512, true);
	put(image, 0, MIB);
	OK(gild_bitmap_merge(handle_of(image), "off", handle_of(image), "fine",
			     &err));
	bytes = close_bytes(image);
	image = open_write(&bytes);
	OK(gild_resize(handle_of(image), 3 * MIB, &err));
	put(image, 3 * MIB - 1, 1);
	bytes = close_bytes(image);
	expect_text(&bytes, "fine a 512: 0-1048576 3145216-3145728\n"
			    "off - 512: 0-1048576\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	OK(gild_resize(handle_of(image), MIB - 1000, &err));
	OK(gild_resize(handle_of(image), MIB, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "fine a 512: 0-1048064\noff - 512: 0-1048064\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	REFUSED(GILD_ERR_RANGE, "cannot be of a disk of 0 bytes",
		gild_resize(handle_of(image), 0, &err));
	REFUSED(GILD_ERR_RANGE, "too large",
		gild_resize(handle_of(image), 1ULL << 50, &err));
	bytes = close_bytes(image);
	expect_text(&bytes, "fine a 512: 0-1048064\noff - 512: 0-1048064\n");
	expect_sound(&bytes);
	free(bytes.data);
}

Test(qcow2_bitmap, snapshots_leave_bitmaps_alone)
{
	struct bytes bytes = new_bytes(NULL, MIB);
	struct image *image = open_write(&bytes);
	struct gild_image *handle = handle_of(image);

	add(image, "b", 0, false);
	put(image, 0, 1);
	OK(gild_snapshot_create(handle, "s", &err));
	put(image, 100 * KiB, 1);
	bytes = close_bytes(image);
	expect_text(&bytes, "b a 65536: 0-131072\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	handle = handle_of(image);
	REFUSED(GILD_ERR_UNSUPPORTED, "has bitmaps",
		gild_snapshot_apply(handle, "s", &err));
	OK(gild_snapshot_create(handle, "t", &err));
	OK(gild_snapshot_delete(handle, "s", &err));
	bytes = bytes_of(image->storage);
	/* Nothing was written to the disk: no mark, even if it ends here. */
	image_free(image);
	expect_text(&bytes, "b a 65536: 0-131072\n");
	expect_sound(&bytes);
	image = open_write(&bytes);
	handle = handle_of(image);
	OK(gild_bitmap_remove(handle, "b", &err));
	OK(gild_snapshot_apply(handle, "t", &err));
	bytes = close_bytes(image);
	expect_sound(&bytes);
	free(bytes.data);
}

/* --- many threads -------------------------------------------------------- */

struct crowd {
	struct gild_image *image;
	_Atomic unsigned next, started;
};

static void write_some(void *arg)
{
	struct crowd *crowd = arg;
	unsigned char data[2048];
	unsigned i;

	memset(data, 3, sizeof(data));
	while ((i = crowd->next++) < 400)
		OK(gild_write(crowd->image, data, sizeof(data), i * 4096ULL,
			      &err));
}

Test(qcow2_bitmap, many_threads_mark)
{
	struct bytes bytes = new_bytes(NULL, 400 * 4096);
	struct image *image = open_write(&bytes);
	struct crowd crowd = { .image = handle_of(image) };
	char *text, *at;
	unsigned ranges = 0;

	add(image, "b", 2048, false);
	bytes = close_bytes(image);
	image = open_write(&bytes);
	crowd.image = handle_of(image);
	OK(workers_run(4, write_some, &crowd, &err));
	bytes = close_bytes(image);
	text = text_of(&bytes);
	for (at = text; *at; at++)
		ranges += *at == '-';
	cr_expect_eq(ranges, 400, "%u ranges", ranges);
	expect_sound(&bytes);
	free(text);
	free(bytes.data);
}

/* One changes bitmaps while the others write. */
static void write_or_change(void *arg)
{
	struct crowd *crowd = arg;
	struct gild_image *image = crowd->image;

	if (crowd->started++) {
		write_some(crowd);
		return;
	}
	for (unsigned i = 0; i < 100 && crowd->next < 400; i++) {
		OK(gild_bitmap_add(image, "other", 512, false, &err));
		OK(gild_bitmap_merge(image, "off", image, "other", &err));
		OK(gild_bitmap_disable(image, "other", &err));
		OK(gild_bitmap_merge(image, "other", image, "b", &err));
		OK(gild_bitmap_clear(image, "off", &err));
		OK(gild_bitmap_enable(image, "off", &err));
		OK(gild_bitmap_disable(image, "off", &err));
		OK(gild_bitmap_enable(image, "other", &err));
		OK(gild_bitmap_remove(image, "other", &err));
		gild_info_free(gild_info(image, NULL));
		OK(gild_flush(image, &err));
	}
	write_some(crowd);
}

Test(qcow2_bitmap, bitmaps_change_while_threads_write)
{
	struct bytes bytes = new_bytes(NULL, 400 * 4096);
	struct image *image = open_write(&bytes);
	struct crowd crowd = { .image = handle_of(image) };
	char *text;

	add(image, "b", 4096, false);
	add(image, "off", 4096, true);
	OK(workers_run(4, write_or_change, &crowd, &err));
	bytes = close_bytes(image);
	expect_sound(&bytes);
	text = text_of(&bytes);
	cr_expect_eq(strncmp(text, "b a 4096: 0-1638400\noff -", 25), 0, "%s",
		     text);
	free(text);
	free(bytes.data);
}
