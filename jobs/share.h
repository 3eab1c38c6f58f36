/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying by sharing blocks, where the host's file system can (reflink). */
#ifndef JOBS_SHARE_H
#define JOBS_SHARE_H

#include "jobs/copy.h"

/*
 * Copy all of the source into a target that reads as zeros. What lies plainly
 * in a file of the same file system is shared, the rest is copied; holes stay
 * holes, and data is not searched for zeros.
 * Returns 1 where nothing can be shared, before anything was done.
 */
int share_run(struct copy *copy, struct gild_error *err);

#endif
