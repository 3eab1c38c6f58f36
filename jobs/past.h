/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The past of a disk that is copied: earlier trees of its image, snapshots that
 * is, which the target has already. Before a copy the target's disk is that of
 * the latest of them. So a unit that is the same there needs nothing; one that
 * is the same in an earlier one is linked to what the target's snapshot has;
 * all others are copied.
 *
 * "The same" is what the source's tables say (struct snapshot_ops), not the
 * bytes. Units that reach beyond the end of either disk are not the same,
 * unless both end at one place.
 */
#ifndef JOBS_PAST_H
#define JOBS_PAST_H

#include "jobs/copy.h"

struct past {
	struct image *const *trees; /* of the source: count earlier ones, and
				     * the one that is copied */
	struct image *const *taken; /* views of the target's snapshots: of the
				     * count earlier ones */
	size_t count;		    /* at least 1 */
};

/* How much of the source, from offset on, is in the target already? */
uint64_t past_same(const struct copy *copy, uint64_t offset);

/* From offset on, has the target nothing, and reads as zeros? */
bool past_is_over(const struct copy *copy, uint64_t offset);

/* Units of a chunk that have state other and are there get UNIT_KEEP, those
 * that can be linked UNIT_LINK. */
void past_mark(const struct copy *copy, struct chunk *chunk,
	       enum unit_state other);

/* Units [first, end), all to be linked; lets them be so. */
int past_link(const struct copy *copy, const struct chunk *chunk,
	      uint64_t first, uint64_t end, struct gild_error *err);

#endif
