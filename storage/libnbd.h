/* SPDX-License-Identifier: BSD-3-Clause */
/* What is used of libnbd, which is loaded when a first name wants it. */
#ifndef STORAGE_LIBNBD_H
#define STORAGE_LIBNBD_H

#include <libnbd.h>

#include "util/error.h"

#define LIBNBD_FUNCTIONS(X)     \
	X(nbd_add_meta_context) \
	X(nbd_block_status)     \
	X(nbd_can_flush)        \
	X(nbd_can_meta_context) \
	X(nbd_can_multi_conn)   \
	X(nbd_can_trim)         \
	X(nbd_can_zero)         \
	X(nbd_close)            \
	X(nbd_connect_tcp)      \
	X(nbd_connect_unix)     \
	X(nbd_connect_uri)      \
	X(nbd_create)           \
	X(nbd_flush)            \
	X(nbd_get_block_size)   \
	X(nbd_get_errno)        \
	X(nbd_get_error)        \
	X(nbd_get_size)         \
	X(nbd_is_read_only)     \
	X(nbd_pread)            \
	X(nbd_pwrite)           \
	X(nbd_set_export_name)  \
	X(nbd_shutdown)         \
	X(nbd_trim)             \
	X(nbd_zero)

struct libnbd {
#define X(name) __typeof__(name) *name;
	LIBNBD_FUNCTIONS(X)
#undef X
};

/* The library, loaded once and kept; NULL and an error that names the package.
 * Any number of threads. */
const struct libnbd *libnbd_load(struct gild_error *err);

/* The thread's last failure in the library as an error: "what: reason". -1. */
int libnbd_fail(const struct libnbd *nbd, const char *what,
		struct gild_error *err);

#endif
