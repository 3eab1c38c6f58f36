/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse/libfuse.h"

#include <dlfcn.h>
#include <stdio.h>

#include "fuse/fail.h"

#define LIBRARY "libfuse3.so.3"

struct libfuse libfuse;

static const struct {
	const char *name;
	void **to;
} symbols[] = {
#define X(name) { #name, (void **)&libfuse.name },
	LIBFUSE_FUNCTIONS(X) X(fuse_session_loop_mt_312)
#undef X
};

int libfuse_load(struct gild_error *err)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);

	if (!library) {
		fuse_fail(err, 0, "mounting needs libfuse: %s", dlerror());
		snprintf(err->hint, sizeof(err->hint),
			 "it comes with the packages libfuse3-3 and fuse3");
		return -1;
	}
	for (size_t i = 0; i < sizeof(symbols) / sizeof(*symbols); i++) {
		*symbols[i].to = dlsym(library, symbols[i].name);
		if (!*symbols[i].to)
			return fuse_fail(err, 0,
					 LIBRARY " is too old: it has "
						 "no %s (3.12 is wanted)",
					 symbols[i].name);
	}
	return 0;
}
