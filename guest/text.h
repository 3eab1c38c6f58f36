/* SPDX-License-Identifier: BSD-3-Clause */
/* Names as guests store them, as strings. */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <stddef.h>

struct gild_error;

/* Up to a zero unit, little-endian; half surrogate pairs become U+FFFD. Caller
 * frees; NULL: out of memory. */
char *text_from_utf16(const unsigned char *units, size_t count,
		      struct gild_error *err);

/* Up to a zero byte, without blanks at the end. */
char *text_from_bytes(const unsigned char *bytes, size_t count,
		      struct gild_error *err);

#endif
