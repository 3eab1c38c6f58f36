/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps that a conversion takes along. Asked for step by step, so that what
 * cannot be is said before anything is copied.
 */
#ifndef JOBS_BITMAPS_H
#define JOBS_BITMAPS_H

#include "jobs/source.h"

/* Is what the options ask for possible with these sources? */
int bitmaps_check(const struct source *source,
		  const struct gild_convert_options *options,
		  struct gild_error *err);

/* Can the target take them? */
int bitmaps_check_target(const struct source *source, struct image *target,
			 const struct gild_convert_options *options,
			 struct gild_error *err);

/* Copy those that are consistent; the disk is copied already. */
int bitmaps_copy(const struct source *source, struct image *target,
		 const struct gild_convert_options *options,
		 struct gild_error *err);

#endif
