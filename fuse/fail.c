/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fuse_fail(struct gild_error *err, int eno, const char *format, ...)
{
	va_list arguments;
	size_t used;

	*err = (struct gild_error){
		.kind = eno == ENOMEM ? GILD_ERR_NOMEM : GILD_ERR_IO,
		.sys_errno = eno,
	};
	va_start(arguments, format);
	vsnprintf(err->message, sizeof(err->message), format, arguments);
	va_end(arguments);
	used = strlen(err->message);
	if (eno)
		snprintf(err->message + used, sizeof(err->message) - used,
			 ": %s", strerror(eno));
	return -1;
}
