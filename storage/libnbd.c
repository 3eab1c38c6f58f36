/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/libnbd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "util/cleanup.h"

#define LIBRARY "libnbd.so.0"

static struct libnbd table;
static const char *missing; /* a function; NULL: all are there */
static bool loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct {
	const char *name;
	void **to;
} symbols[] = {
#define X(name) { #name, (void **)&table.name },
	LIBNBD_FUNCTIONS(X)
#undef X
};

static void find_symbols(void *library)
{
	missing = NULL;
	for (size_t i = 0; i < sizeof(symbols) / sizeof(*symbols); i++) {
		*symbols[i].to = dlsym(library, symbols[i].name);
		if (!*symbols[i].to)
			missing = symbols[i].name;
	}
}

const struct libnbd *libnbd_load(struct gild_error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&lock);
	void *library;

	if (loaded)
		return &table;
	library = dlopen(LIBRARY, RTLD_NOW);
	if (!library) {
		fail(err, GILD_ERR_UNSUPPORTED, 0, "NBD needs libnbd: %s",
		     dlerror());
		error_hint(err, "it comes with the package libnbd0");
		return NULL;
	}
	find_symbols(library);
	if (missing)
		return fail_null(err, GILD_ERR_UNSUPPORTED, 0,
				 LIBRARY " is too old: it has no %s", missing);
	loaded = true;
	return &table;
}

/* libnbd's own words begin with the name of the function. */
static const char *reason(const char *text)
{
	const char *colon = strncmp(text, "nbd_", 4) ? NULL :
						       strstr(text, ": ");

	return colon ? colon + 2 : text;
}

int libnbd_fail(const struct libnbd *nbd, const char *what,
		struct gild_error *err)
{
	const char *text = nbd->nbd_get_error();
	int number = nbd->nbd_get_errno();

	fail(err, GILD_ERR_IO, 0, "%s: %s", what,
	     text ? reason(text) : strerror(number));
	if (err)
		err->sys_errno = number ? number : EIO;
	return -1;
}
