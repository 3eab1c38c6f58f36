/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file in memory for fuzz targets: a copy of the input, which may grow by
 * some MiB and is then full, so that no input can eat the host's memory.
 */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "formats/image.h"

struct storage *memory_new(const void *content, size_t length);

/* The same bytes once more. */
struct storage *memory_copy(struct storage *storage);

/* An image over it, of format qcow2, that leads to no other file; NULL where it
 * does not open. snapshot: see gild_open, or NULL. */
struct image *memory_open(struct storage *storage, unsigned flags,
			  const char *snapshot);

/* Is an image sound, as far as the check can tell, after it was repaired as fix
 * says? A cluster that two places of the disk share stops being shared when one
 * of them is written; that its other place lacks the "copied" flag then is
 * harmless (allow_flags). */
bool memory_is_sound(struct image *image, unsigned fix, bool allow_flags);

#endif
