/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling a gild_error in one line. The cost of reporting one error is one
 * line: `return fail(err, GILD_ERR_CORRUPT, 0, "L1 table beyond the end");`
 *
 * Thread rule: a gild_error belongs to one thread at a time.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include "gild.h"

/* Set *err (if not NULL) and return -1. eno: an errno value or 0; where it is
 * not 0, ": " and its text are appended to the message. */
#define fail(err, kind, eno, ...) \
	error_set(err, __func__, kind, eno, __VA_ARGS__)

/* The same for functions that return a pointer. */
#define fail_null(err, kind, eno, ...) \
	(error_set(err, __func__, kind, eno, __VA_ARGS__), (void *)0)

#define fail_nomem(err) fail(err, GILD_ERR_NOMEM, 0, "out of memory")

int error_set(struct gild_error *err, const char *operation,
	      enum gild_error_kind kind, int eno, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/*
 * Put "text" before the message, e.g. the file's name and ": ". Parts of it
 * that end in ": " and begin the message already are not repeated. Returns -1.
 */
int error_prefix(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Say where, in bytes of the file or disk that the message names.
 * Returns -1. */
int error_at(struct gild_error *err, uint64_t offset);

/* Say the way out. Returns -1. */
int error_hint(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
