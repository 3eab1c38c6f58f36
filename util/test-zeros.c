/* SPDX-License-Identifier: BSD-3-Clause */
/* One byte that is not zero is found wherever it is, and none beyond. */
#include <criterion/criterion.h>

#include <string.h>

#include "util/cleanup.h"
#include "util/memory.h"
#include "util/zeros.h"

enum {
	SIZE = 1024
};

Test(zeros, every_position_and_length)
{
	AUTO_FREE unsigned char *buffer = memory_io_buffer(SIZE);

	memset(buffer, 0, SIZE);
	for (size_t length = 0; length <= 600; length++)
		for (size_t at = 0; at < 640; at++) {
			buffer[at] = 0x80;
			cr_assert_eq(is_zero(buffer, length), at >= length,
				     "length %zu, byte %zu", length, at);
			buffer[at] = 0;
		}
}

Test(zeros, every_alignment)
{
	AUTO_FREE unsigned char *buffer = memory_io_buffer(SIZE);

	for (size_t start = 1; start <= 64; start++) {
		memset(buffer, 0xff, SIZE);
		memset(buffer + start, 0, 500);
		cr_assert(is_zero(buffer + start, 500));
		cr_assert_not(is_zero(buffer + start - 1, 501));
		cr_assert_not(is_zero(buffer + start, 501));
	}
}

Test(zeros, runs_end_where_blocks_change)
{
	unsigned char buffer[SIZE] = { 0 };
	bool zero;

	cr_assert_eq(zero_run(buffer, SIZE, 64, &zero), SIZE);
	cr_assert(zero);
	buffer[200] = 1;
	cr_assert_eq(zero_run(buffer, SIZE, 64, &zero), 192);
	cr_assert(zero);
	cr_assert_eq(zero_run(buffer + 192, SIZE - 192, 64, &zero), 64);
	cr_assert_not(zero);
	buffer[300] = 1;
	/* 256..319 is not zero either, so the run goes on. */
	cr_assert_eq(zero_run(buffer + 192, SIZE - 192, 64, &zero), 128);
	cr_assert_not(zero);
}

Test(zeros, short_last_block)
{
	unsigned char buffer[100] = { 0 };
	bool zero;

	buffer[99] = 1;
	cr_assert_eq(zero_run(buffer, 100, 64, &zero), 64);
	cr_assert(zero);
	cr_assert_eq(zero_run(buffer + 64, 36, 64, &zero), 36);
	cr_assert_not(zero);
	cr_assert_eq(zero_run(buffer + 64, 35, 64, &zero), 35);
	cr_assert(zero);
}
