/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the disks of an image hold, for fuzz targets that compare it with what
 * they hold later: the active one and its first snapshots.
 */
#ifndef FUZZ_DISKS_H
#define FUZZ_DISKS_H

#include "formats/image.h"

enum {
	DISK_MAX = 1 << 20, /* bytes; of larger ones only the size is kept */
	DISKS = 4,	    /* [0]: the active disk; [n]: the nth snapshot */
};

struct disks {
	unsigned char *bytes[DISKS]; /* owned; NULL: too large, unreadable, or
				      * not there */
	uint64_t length[DISKS];
};

/* The image is one of a format that has snapshots. */
void disks_read(struct disks *disks, struct image *image);
void disks_free(struct disks *disks);

/* Does disk n of now hold what disk m of before held? It may be longer. What
 * could not be read before is not compared. */
bool disks_keep(const struct disks *before, unsigned m, const struct disks *now,
		unsigned n);

#endif
