/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a job reads: one image, or several as one disk, end to end, or a part of
 * that. Immutable while the job runs; any thread may read.
 */
#ifndef JOBS_SOURCE_H
#define JOBS_SOURCE_H

#include "formats/image.h"

struct source {
	struct gild_image *const *images; /* borrowed */
	size_t count;
	uint64_t start; /* left out before offset 0 */
	uint64_t size;	/* from there on */
};

int source_init(struct source *source, struct gild_image *const *images,
		size_t count, struct gild_error *err);

/* Leave [start, start + length) of it. */
int source_cut(struct source *source, uint64_t start, uint64_t length,
	       struct gild_error *err);

/* The image that holds offset, and the offset within it. */
struct image *source_find(const struct source *source, uint64_t offset,
			  uint64_t *inside);

/* As chain_map; *top: the image that was asked. The caller reads nothing by
 * the host address without source_enter. */
int source_map(const struct source *source, uint64_t offset, uint64_t length,
	       struct extent *extent, struct image **layer, struct image **top,
	       struct gild_error *err);

int source_read(const struct source *source, void *buffer, uint64_t length,
		uint64_t offset, struct gild_error *err);

/* Is a file part of any source's chain? */
bool source_uses(const struct source *source, int fd);

#endif
