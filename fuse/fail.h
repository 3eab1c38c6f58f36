/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors of the mount. */
#ifndef FUSE_FAIL_H
#define FUSE_FAIL_H

#include "gild.h"

/* Fill *err (not NULL) and return -1; eno: an errno, whose text is appended, or
 * 0. */
int fuse_fail(struct gild_error *err, int eno, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
