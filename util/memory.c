/* SPDX-License-Identifier: BSD-3-Clause */
/* Aligned buffers for I/O, and strings that are printed into being. */
#include "util/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void *memory_io_buffer(size_t length)
{
	if (length > SIZE_MAX - MEMORY_ALIGNMENT)
		return NULL;
	if (!length)
		length = 1;
	/* aligned_alloc wants a multiple of the alignment. */
	length = (length + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT *
		 MEMORY_ALIGNMENT;
	return aligned_alloc(MEMORY_ALIGNMENT, length);
}

char *memory_printf(const char *format, ...)
{
	va_list args;
	char *text;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	return length < 0 ? NULL : text;
}
