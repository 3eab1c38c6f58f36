/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk that fails: exactly where the plan says, and nothing unrecorded. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/faulty.h"

static struct storage *new_disk(const char *text)
{
	struct storage *disk = faulty_new(text, strlen(text), NULL);

	cr_assert_not_null(disk);
	return disk;
}

static int put(struct storage *disk, const char *text, uint64_t offset)
{
	return storage_write(disk, text, strlen(text), offset, NULL);
}

static void assert_content(struct storage *disk, const char *bytes,
			   uint64_t length)
{
	uint64_t now;
	const void *content = faulty_content(disk, &now);

	cr_assert_eq(now, length);
	cr_assert_arr_eq(content, bytes, length);
}

Test(faulty, holds_what_it_is_given)
{
	struct storage *disk = new_disk("hello");
	char buffer[8];

	assert_content(disk, "hello", 5);
	cr_assert_eq(put(disk, "J", 0), 0);
	cr_assert_eq(put(disk, "xy", 7), 0);
	assert_content(disk, "Jello\0\0xy", 9);
	cr_assert_eq(storage_zero(disk, 1, 2, false, NULL), 0);
	cr_assert_eq(storage_discard(disk, 7, 100, NULL), 0);
	assert_content(disk, "J\0\0lo\0\0\0\0", 9);
	cr_assert_eq(storage_zero(disk, 8, 2, true, NULL), 0);
	cr_assert_eq(storage_truncate(disk, 11, true, NULL), 0);
	cr_assert_eq(storage_truncate(disk, 4, false, NULL), 0);
	assert_content(disk, "J\0\0l", 4);
	cr_assert_eq(storage_read(disk, buffer, 8, 3, NULL), 0);
	cr_assert_arr_eq(buffer, "l\0\0\0\0\0\0\0", 8);
	storage_close(disk);
}

Test(faulty, the_log_replays_to_the_content)
{
	struct storage *disk = faulty_new(NULL, 0, NULL);
	const struct faulty_event *log;
	unsigned char *bytes = NULL;
	uint64_t length = 0;
	size_t count;

	put(disk, "abcdef", 2);
	storage_flush(disk, NULL);
	storage_zero(disk, 3, 2, false, NULL);
	storage_discard(disk, 6, 1, NULL);
	storage_truncate(disk, 20, false, NULL);
	put(disk, "tail", 18);
	log = faulty_log(disk, &count);
	cr_assert_eq(count, 6);
	cr_assert_eq(log[0].op, FAULTY_WRITE);
	cr_assert_eq(log[0].offset, 2);
	cr_assert_eq(log[0].length, 6);
	cr_assert_arr_eq(log[0].data, "abcdef", 6);
	cr_assert_eq(log[1].op, FAULTY_FLUSH);
	cr_assert_eq(log[4].op, FAULTY_TRUNCATE);
	cr_assert_eq(log[4].length, 20);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(faulty_apply(&log[i], SIZE_MAX, &bytes, &length),
			     0);
	assert_content(disk, (char *)bytes, length);
	faulty_clear_log(disk);
	faulty_log(disk, &count);
	cr_assert_eq(count, 0);
	free(bytes);
	storage_close(disk);
}

Test(faulty, reads_are_not_logged)
{
	struct storage *disk = new_disk("hello");
	char buffer[5];
	size_t count;

	storage_read(disk, buffer, 5, 0, NULL);
	faulty_log(disk, &count);
	cr_assert_eq(count, 0);
	cr_assert_eq(faulty_calls(disk, 1 << FAULTY_READ), 1);
	storage_close(disk);
}

Test(faulty, a_torn_replay)
{
	const struct faulty_event write = { FAULTY_WRITE, 1, 4,
					    (unsigned char[]){ "abcd" } };
	unsigned char *bytes = NULL;
	uint64_t length = 0;

	cr_assert_eq(faulty_apply(&write, 0, &bytes, &length), 0);
	cr_assert_eq(length, 0);
	cr_assert_eq(faulty_apply(&write, 2, &bytes, &length), 0);
	cr_assert_eq(length, 3);
	cr_assert_arr_eq(bytes, "\0ab", 3);
	free(bytes);
}

Test(faulty, the_nth_call_fails)
{
	struct faulty_plan plan = {
		.nth = 2,
		.ops = 1 << FAULTY_WRITE | 1 << FAULTY_FLUSH,
		.sys_errno = ENOSPC,
	};
	struct storage *disk = new_disk("");
	struct gild_error err;

	put(disk, "a", 0);
	faulty_set_plan(disk, &plan);
	cr_assert_eq(put(disk, "b", 1), 0);
	/* Others are not counted. */
	cr_assert_eq(storage_zero(disk, 5, 1, false, NULL), 0);
	cr_assert_eq(storage_flush(disk, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_eq(put(disk, "c", 2), 0);
	cr_assert_eq(faulty_calls(disk, plan.ops), 3);
	assert_content(disk, "abc\0\0\0", 6);
	storage_close(disk);
}

Test(faulty, sticky_failures_stay)
{
	struct faulty_plan plan = {
		.nth = 2,
		.ops = 1 << FAULTY_WRITE,
		.sys_errno = EIO,
		.sticky = true,
	};
	struct storage *disk = new_disk("");

	faulty_set_plan(disk, &plan);
	cr_assert_eq(put(disk, "a", 0), 0);
	cr_assert_eq(put(disk, "b", 1), -1);
	cr_assert_eq(put(disk, "c", 2), -1);
	plan.nth = 0;
	faulty_set_plan(disk, &plan);
	cr_assert_eq(put(disk, "d", 1), 0);
	assert_content(disk, "ad", 2);
	storage_close(disk);
}

Test(faulty, a_failing_write_may_tear)
{
	struct faulty_plan plan = {
		.nth = 1,
		.ops = 1 << FAULTY_WRITE,
		.sys_errno = EIO,
		.torn = 3,
	};
	struct storage *disk = new_disk("xxxxx");
	const struct faulty_event *log;
	struct gild_error err;
	size_t count;

	faulty_set_plan(disk, &plan);
	cr_assert_eq(storage_write(disk, "abcde", 5, 0, &err), -1);
	cr_assert_eq(err.offset, 0);
	assert_content(disk, "abcxx", 5);
	log = faulty_log(disk, &count);
	cr_assert_eq(count, 1);
	cr_assert_eq(log[0].length, 3);
	storage_close(disk);
}

Test(faulty, every_kind_of_call_can_fail)
{
	for (int op = 0; op < FAULTY_OPS; op++) {
		struct faulty_plan plan = { 1, 1u << op, EIO, true, 0 };
		struct storage *disk = new_disk("hello");
		char buffer[5];

		faulty_set_plan(disk, &plan);
		cr_assert_eq(storage_read(disk, buffer, 5, 0, NULL),
			     op == FAULTY_READ ? -1 : 0);
		cr_assert_eq(storage_write(disk, "x", 1, 0, NULL),
			     op == FAULTY_WRITE ? -1 : 0);
		cr_assert_eq(storage_zero(disk, 1, 1, false, NULL),
			     op == FAULTY_ZERO ? -1 : 0);
		cr_assert_eq(storage_discard(disk, 2, 1, NULL),
			     op == FAULTY_DISCARD ? -1 : 0);
		cr_assert_eq(storage_truncate(disk, 4, false, NULL),
			     op == FAULTY_TRUNCATE ? -1 : 0);
		cr_assert_eq(storage_flush(disk, NULL),
			     op == FAULTY_FLUSH ? -1 : 0);
		storage_close(disk);
	}
}

Test(faulty, it_is_full_at_some_point)
{
	struct storage *disk = new_disk("");
	struct gild_error err;

	cr_assert_eq(storage_write(disk, "x", 1, UINT64_C(1) << 40, &err), -1);
	cr_assert_eq(err.sys_errno, EFBIG);
	cr_assert_eq(storage_truncate(disk, UINT64_C(1) << 40, false, &err),
		     -1);
	assert_content(disk, "", 0);
	storage_close(disk);
}
