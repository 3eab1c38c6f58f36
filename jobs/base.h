/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the target of a copy shows where nothing is written to it: the disk of
 * its backing file. Only what differs from that has to be stored.
 */
#ifndef JOBS_BASE_H
#define JOBS_BASE_H

#include "jobs/copy.h"
#include "jobs/target.h"

/* Open the backing file that a new target is to have, with the sources' way of
 * locking. NULL on failure. */
struct image *base_open(const struct gild_convert_options *options,
			const struct source *source, struct gild_error *err);

/* From where the target of a copy gets what is not written. */
void base_set(struct copy *copy, const struct target *target);

/* Does what the source has from its own backing file come from the base, too?
 * Then it need not even be read. */
bool base_is_shared(const struct image *base, const struct source *source);

/* How much of [offset, offset + length) are zeros in the base, from the first
 * byte on, as far as its metadata tell? */
uint64_t base_zeros(struct image *base, uint64_t offset, uint64_t length);

/* Mark the units of the chunk that the base holds already. */
int base_compare(const struct copy *copy, struct chunk *chunk,
		 struct gild_error *err);

#endif
