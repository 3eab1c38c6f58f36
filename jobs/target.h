/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a conversion goes: an image that is made for it and appears when it is
 * whole, or one that is there already.
 */
#ifndef JOBS_TARGET_H
#define JOBS_TARGET_H

#include "formats/create.h"
#include "jobs/source.h"

struct target {
	struct image *image;
	struct image *base;	    /* its backing file, for reading, or NULL */
	struct newfile file;	    /* where has_file */
	struct companion companion; /* the data file that it was made with */
	bool has_file;		    /* made here, not published yet */
	bool is_zero;	 /* reads as zeros where nothing was written */
	bool keeps_rest; /* may be larger than the source, and what is
				* there stays */
};

/* Make or open the target. size: of the disk. */
int target_open(struct target *target, const struct source *source,
		uint64_t size, const struct gild_convert_options *options,
		struct gild_error *err);

/* An unnamed image that holds only metadata: what is written to it is laid
 * out, and not stored. */
int target_open_layout(struct target *target, const struct source *source,
		       uint64_t size,
		       const struct gild_convert_options *options,
		       struct gild_error *err);

/* Write the metadata, and let the file appear. Frees all in either case. */
int target_finish(struct target *target, struct gild_error *err);

/* Forget it; a file that was made here is gone. */
void target_abandon(struct target *target);

#endif
