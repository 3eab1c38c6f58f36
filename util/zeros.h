/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding zeros, at memory speed (SIMD where the compiler targets it). */
#ifndef UTIL_ZEROS_H
#define UTIL_ZEROS_H

#include <stdbool.h>
#include <stddef.h>

/* Are all length bytes zero? length may be 0 (true); any alignment. */
bool is_zero(const void *buffer, size_t length);

/*
 * Of a buffer seen in blocks of block bytes (the last may be shorter), how
 * many bytes at the start are alike, all-zero blocks or not? *zero tells which.
 * length > 0.
 */
size_t zero_run(const void *buffer, size_t length, size_t block, bool *zero);

#endif
