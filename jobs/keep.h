/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying an image with its internal snapshots. */
#ifndef JOBS_KEEP_H
#define JOBS_KEEP_H

#include "jobs/copy.h"
#include "jobs/target.h"

/* How many snapshots has an image? */
int keep_count(struct image *image, size_t *count, struct gild_error *err);

/*
 * Make the target of it. copy holds what every tree's copy has in common; its
 * source is the image. Whether the target can take the snapshots is looked at
 * before it is made.
 */
int keep_run(const struct copy *copy,
	     const struct gild_convert_options *options, uint64_t granule,
	     struct gild_error *err);

#endif
