/* SPDX-License-Identifier: BSD-3-Clause */
/* Alignment of I/O buffers, and what happens when there is no memory. */
#include <criterion/criterion.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/memory.h"

Test(memory, io_buffers_are_aligned)
{
	static const size_t lengths[] = { 0, 1, 512, 4095, 4096, 4097, 65536 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		AUTO_FREE unsigned char *buffer = memory_io_buffer(lengths[i]);

		cr_assert_not_null(buffer);
		cr_assert_eq((uintptr_t)buffer % MEMORY_ALIGNMENT, 0);
		memset(buffer, 1, lengths[i]);
	}
}

Test(memory, absurd_lengths_are_refused)
{
	/* Rounding up must not wrap around to a small buffer. */
	cr_assert_null(memory_io_buffer(SIZE_MAX));
	cr_assert_null(memory_io_buffer(SIZE_MAX - MEMORY_ALIGNMENT + 1));
}

Test(memory, printf)
{
	AUTO_FREE char *text = memory_printf("%s-%d", "disk", 7);

	cr_assert_str_eq(text, "disk-7");
}
