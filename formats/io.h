/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the core's I/O share: io.c, zero.c. */
#ifndef FORMATS_IO_H
#define FORMATS_IO_H

#include "formats/image.h"

/* May the image be written, and does it reach that far? */
int io_check_writable(const struct image *image, uint64_t offset,
		      uint64_t length, struct gild_error *err);

/* Writers of what is encrypted hold the sectors that they touch: a part of one
 * is written with the rest of it, and nobody may have changed that meanwhile.
 * Elsewhere these do nothing. */
void io_hold_sectors(struct image *image, struct range *range, uint64_t offset,
		     uint64_t length);
void io_release_sectors(struct image *image, struct range *range);

/* Around [offset, offset + length), which is written by the caller, a plan gets
 * what the disk reads there now. */
int io_fill_edges(struct image *image, const struct write_plan *plan,
		  uint64_t offset, uint64_t length, struct gild_error *err);

/* Write, in place or to new space; the range was checked, its sectors are
 * held. */
int io_write(struct image *image, const unsigned char *buffer, uint64_t length,
	     uint64_t offset, struct gild_error *err);

/* What every write ends with, also one that failed (result < 0): the driver is
 * told, and cache modes that promise it get it flushed. Returns -1 if anything
 * failed. */
int io_finish_write(struct image *image, uint64_t offset, uint64_t length,
		    int result, struct gild_error *err);

/* The whole clusters that a range touches: what a writer that allocates holds,
 * so that no two give one cluster two places. */
struct range io_whole_clusters(const struct image *image, uint64_t offset,
			       uint64_t length);

#endif
