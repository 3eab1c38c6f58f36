/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where in a long chain a look-up may begin: for each unit of the disk how many
 * of the layers below an image say nothing there. So a read asks the image and
 * the one layer that knows, not all of them.
 *
 * Only what cannot change is kept: the layers below are open for reading. Where
 * one becomes writable the shortcuts of those above it go (reopen.c).
 *
 * Threads: any number may find and add at once, without a lock.
 */
#ifndef FORMATS_SHORTCUTS_H
#define FORMATS_SHORTCUTS_H

#include "formats/image.h"

struct shortcuts;

/* Those of an image; made at the first call. NULL: there are none, because the
 * chain is short, may be written below, or memory is. */
struct shortcuts *shortcuts_of(struct image *image);
void shortcuts_free(struct shortcuts *shortcuts);

/* In bytes, a power of two: no layer that may say nothing changes its mind
 * within a unit, but where it ends. */
uint64_t shortcuts_unit(const struct shortcuts *shortcuts);

/* [offset, offset + length) in whole units, and as much as is worth learning
 * at once: returns where that begins, and its length. */
uint64_t shortcuts_widen(const struct shortcuts *shortcuts, uint64_t offset,
			 uint64_t *length);

/* Is it known where to begin for a first part of [offset, offset + *length),
 * which *length becomes? *first: with that layer; NULL: none of them says
 * anything. */
bool shortcuts_find(const struct shortcuts *shortcuts, uint64_t offset,
		    uint64_t *length, struct image **first);

/* So many layers, from the backing file on, say nothing of these whole
 * units. */
#define SHORTCUTS_ALL UINT32_MAX
void shortcuts_add(struct shortcuts *shortcuts, unsigned skip, uint64_t offset,
		   uint64_t length);

/* The last layer. */
struct image *shortcuts_last(const struct shortcuts *shortcuts);

#endif
