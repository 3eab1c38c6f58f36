/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume is a run of a disk that may hold something: all of the disk, or one
 * partition. What reads guests reads volumes.
 */
#ifndef GUEST_VOLUME_H
#define GUEST_VOLUME_H

#include "gild.h"

struct volume {
	struct gild_image *image; /* borrowed */
	uint64_t start, length;	  /* bytes; within the disk */
};

/* Exactly length bytes; what lies beyond the end reads as zeros. */
int volume_read(const struct volume *volume, void *buffer, size_t length,
		uint64_t offset, struct gild_error *err);

#endif
