/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling a gild_error. Nothing is allocated: what does not fit is cut at the
 * end of the array. errno is left as it was, so that a failing function may
 * report first and clean up afterwards.
 */
#include "util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append_errno(char *message, size_t size, int eno)
{
	size_t used = strlen(message);
	char scratch[128];

	snprintf(message + used, size - used, ": %s",
		 strerror_r(eno, scratch, sizeof(scratch)));
}

int error_set(struct gild_error *err, const char *operation,
	      enum gild_error_kind kind, int eno, const char *format, ...)
{
	int saved = errno;
	va_list args;

	if (!err)
		return -1;
	memset(err, 0, sizeof(*err));
	err->kind = kind;
	err->sys_errno = eno;
	snprintf(err->operation, sizeof(err->operation), "%s", operation);
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	if (eno)
		append_errno(err->message, sizeof(err->message), eno);
	errno = saved;
	return -1;
}

/*
 * How much of the message repeats the beginning of the prefix: whole parts
 * that end in ": ". Whoever failed may have named the file already.
 */
static size_t repeated(const char *message, const char *prefix)
{
	size_t length = 0;
	const char *end = prefix;

	while ((end = strstr(end, ": "))) {
		end += 2;
		if (strncmp(message, prefix, (size_t)(end - prefix)) != 0)
			break;
		length = (size_t)(end - prefix);
	}
	return length;
}

int error_prefix(struct gild_error *err, const char *format, ...)
{
	char old[sizeof(err->message)];
	int saved = errno;
	va_list args;
	size_t used;

	if (!err)
		return -1;
	memcpy(old, err->message, sizeof(old));
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, "%s",
		 old + repeated(old, err->message));
	errno = saved;
	return -1;
}

int error_at(struct gild_error *err, uint64_t offset)
{
	if (err) {
		err->offset = offset;
		err->has_offset = true;
	}
	return -1;
}

int error_hint(struct gild_error *err, const char *format, ...)
{
	int saved = errno;
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
	errno = saved;
	return -1;
}

int gild_error_number(const struct gild_error *err)
{
	if (err->sys_errno)
		return err->sys_errno;
	switch (err->kind) {
	case GILD_ERR_NOMEM:
		return ENOMEM;
	case GILD_ERR_RANGE:
	case GILD_ERR_INVALID:
		return EINVAL;
	case GILD_ERR_DENIED:
		return EPERM;
	case GILD_ERR_BUSY:
		return EBUSY;
	case GILD_ERR_UNSUPPORTED:
		return EOPNOTSUPP;
	case GILD_ERR_CANCELLED:
		return ECANCELED;
	default:
		return EIO;
	}
}
