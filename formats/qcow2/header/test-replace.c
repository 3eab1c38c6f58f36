/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One header in place of another, where the disk writes any of the sectors and
 * not the others: what is there then is read as the one or as the other.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/header/parts.h"
#include "storage/faulty.h"
#include "util/bytes.h"

TestSuite(qcow2_header_replacing, .timeout = 60);

#define CLUSTER 4096U
#define SECTORS 8U
#define FILE_LENGTH (8 * CLUSTER)

#define COMMON                                                   \
	.cluster_bits = 12, .size = 4096, .l1_entries = 1,       \
	.l1_offset = CLUSTER, .reftable_offset = 2ULL * CLUSTER, \
	.reftable_clusters = 1, .refcount_order = 4

static char base[] = "base", raw[] = "raw", qcow2[] = "qcow2";
static char long_name[] =
	"a/folder/with/a/name/that/is/rather/long/and/in/it/another/one/of/"
	"which/the/same/can/be/said/as/of/the/file/that/lies/there/base.img";
static char longer[260];
/* With the feature names this takes the first sector whole: what ends the
 * extensions stands in the second one, and is zeros. */
static unsigned char unknown[8] = { 0x12, 0x34, 0x56, 0x78 };

static const struct qcow2_header headers[] = {
	{ .version = 2, COMMON, .backing_name = base, .backing_format = raw },
	{ .version = 2, COMMON },
	{ .version = 2, COMMON, .backing_name = longer, .backing_format = raw },
	{ .version = 3, COMMON },
	{ .version = 3, COMMON, .backing_name = base, .backing_format = raw },
	{ .version = 3, COMMON, .backing_name = base, .backing_format = qcow2 },
	{ .version = 3,
	  COMMON,
	  .backing_name = long_name,
	  .backing_format = raw },
	{ .version = 3,
	  COMMON,
	  .backing_name = base,
	  .backing_format = raw,
	  .autoclear = QCOW2_AUTOCLEAR_BITMAPS,
	  .has_bitmaps = true,
	  .bitmap_count = 1,
	  .bitmap_directory_size = 24,
	  .bitmap_directory_offset = 3ULL * CLUSTER },
	{ .version = 3, COMMON, .backing_name = longer, .backing_format = raw },
	{ .version = 3, COMMON, .unknown = unknown, .unknown_length = 8 },
};

#define HEADERS (sizeof(headers) / sizeof(headers[0]))

static bool same_text(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

static bool is_same(const struct qcow2_header *a, const struct qcow2_header *b)
{
	return a->version == b->version && a->autoclear == b->autoclear &&
	       a->incompatible == b->incompatible &&
	       a->has_bitmaps == b->has_bitmaps &&
	       a->bitmap_directory_offset == b->bitmap_directory_offset &&
	       a->unknown_length == b->unknown_length &&
	       same_text(a->backing_name, b->backing_name) &&
	       same_text(a->backing_format, b->backing_format);
}

static void judge(const unsigned char *content, const struct qcow2_header *old,
		  const struct qcow2_header *new, unsigned mask)
{
	struct storage *storage = faulty_new(content, FILE_LENGTH, NULL);
	struct gild_error err = { 0 };
	struct qcow2_header header;

	cr_assert_eq(qcow2_header_read(storage, &header, &err), 0,
		     "%zu to %zu, sectors %#x: %s", old - headers,
		     new - headers, mask, err.message);
	cr_assert(is_same(&header, old) || is_same(&header, new),
		  "%zu to %zu, sectors %#x: neither", old - headers,
		  new - headers, mask);
	qcow2_header_free(&header);
	storage_close(storage);
}

/* Every subset of a write's sectors. */
static void judge_write(unsigned char *content,
			const struct faulty_event *event,
			const struct qcow2_header *old,
			const struct qcow2_header *new)
{
	unsigned char now[FILE_LENGTH];

	cr_assert_eq(event->offset, 0);
	cr_assert_leq(event->length, SECTORS * 512);
	for (unsigned mask = 0; mask < 1U << SECTORS; mask++) {
		memcpy(now, content, FILE_LENGTH);
		for (unsigned i = 0; i < SECTORS; i++)
			if (mask >> i & 1 && i * 512 < event->length)
				memcpy(now + i * 512ULL,
				       event->data + i * 512ULL, 512);
		judge(now, old, new, mask);
	}
	memcpy(content, event->data, event->length);
}

static struct storage *with_header(const struct qcow2_header *header)
{
	struct storage *storage = faulty_new(NULL, 0, NULL);

	cr_assert_eq(storage_truncate(storage, FILE_LENGTH, false, NULL), 0);
	cr_assert_eq(qcow2_header_write_new(storage, header, NULL), 0);
	return storage;
}

/* Returns the number of writes. */
static unsigned replace(const struct qcow2_header *old,
			const struct qcow2_header *new)
{
	struct storage *storage = with_header(old);
	unsigned char content[FILE_LENGTH];
	const struct faulty_event *log;
	bool flushed = true;
	unsigned writes = 0;
	uint64_t length;
	size_t events;

	memcpy(content, faulty_content(storage, &length), FILE_LENGTH);
	faulty_clear_log(storage);
	cr_assert_eq(qcow2_header_write(storage, new, NULL), 0);
	log = faulty_log(storage, &events);
	for (size_t i = 0; i < events; i++) {
		if (log[i].op == FAULTY_FLUSH) {
			flushed = true;
			continue;
		}
		cr_assert(flushed, "two writes at once");
		flushed = false;
		judge_write(content, &log[i], old, new);
		writes++;
	}
	judge(content, new, new, 0);
	storage_close(storage);
	return writes;
}

Test(qcow2_header_replacing, is_as_before_or_as_after)
{
	unsigned writes;

	memset(longer, 'n', sizeof(longer) - 1);
	for (size_t old = 0; old < HEADERS; old++) {
		for (size_t new = 0; new < HEADERS; new ++) {
			writes = replace(&headers[old], &headers[new]);
			cr_expect_leq(writes, 3);
			if (old == new)
				cr_expect_eq(writes, 1);
		}
	}
}

/* What opening and closing change: the bits, and where the bitmaps are. */
Test(qcow2_header_replacing, is_one_write_while_names_stay)
{
	struct qcow2_header changed;

	memset(longer, 'n', sizeof(longer) - 1);
	for (size_t i = 0; i < HEADERS; i++) {
		changed = headers[i];
		changed.l1_offset += CLUSTER;
		if (changed.version > 2)
			changed.incompatible |= QCOW2_INCOMPAT_DIRTY;
		if (changed.has_bitmaps)
			changed.bitmap_directory_offset += CLUSTER;
		cr_expect_eq(replace(&headers[i], &changed), 1, "%zu", i);
	}
}

/* Each call that fails leaves one of the two. */
Test(qcow2_header_replacing, fails_with_either)
{
	struct faulty_plan plan = { .ops = 1 << FAULTY_WRITE |
					   1 << FAULTY_FLUSH | 1 << FAULTY_READ,
				    .sys_errno = EIO,
				    .torn = 512 };
	struct gild_error err = { 0 };
	struct storage *storage;
	uint64_t length;
	int ret = -1;

	for (plan.nth = 1; ret < 0; plan.nth++) {
		storage = with_header(&headers[4]);
		faulty_set_plan(storage, &plan);
		ret = qcow2_header_write(storage, &headers[7], &err);
		if (ret < 0)
			cr_expect_eq(err.sys_errno, EIO);
		judge(faulty_content(storage, &length), &headers[4],
		      &headers[7], 0);
		storage_close(storage);
	}
	/* a read, three writes, two flushes */
	cr_expect_eq(plan.nth, 8);
}
