/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that help with one large request: who has it cuts it into pieces,
 * works on them himself, and whoever is idle takes some. For what costs
 * processor time; a request of one piece involves nobody.
 */
#ifndef FUSE_HELPERS_H
#define FUSE_HELPERS_H

#include "gild.h"

struct helpers;

/* One less than there are processors. NULL: there are none, or cannot be. */
struct helpers *helpers_new(void);

/* No request is under way. NULL is allowed. */
void helpers_free(struct helpers *helpers);

typedef int helpers_piece(void *opaque, unsigned index, struct gild_error *err);

/* All pieces, in any order, many at a time; returns when they are done. The
 * first error counts. helpers may be NULL. Any number of threads. */
int helpers_run(struct helpers *helpers, unsigned pieces, helpers_piece *piece,
		void *opaque, struct gild_error *err);

#endif
