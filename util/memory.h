/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers for I/O: aligned so that O_DIRECT takes them. Free with free(). */
#ifndef UTIL_MEMORY_H
#define UTIL_MEMORY_H

#include <stddef.h>

#define MEMORY_ALIGNMENT 4096

/* length bytes (rounded up), content undefined; NULL when out of memory. */
void *memory_io_buffer(size_t length);

/* strdup of a printf; NULL when out of memory. */
char *memory_printf(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

#endif
