/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power failures. A sequence of operations runs over a disk in memory that
 * records every write, discard, truncate and flush. From the record every
 * state is built that a power failure may have left on a real disk: all that
 * was flushed, and of what came after the last flush any part, the last write
 * of it perhaps torn at a sector. Each state must
 *  - open for writing (an image marked dirty is repaired by that),
 *  - have no corruption, at most leaked clusters,
 *  - hold what had been flushed by the caller, sector by sector (model.h),
 *  - take further writes and still have no corruption;
 *  - where it has bitmaps: tell what has changed, or that it does not know.
 */
#ifndef TESTS_LIB_CRASH_H
#define TESTS_LIB_CRASH_H

#include "tests/lib/disk.h"
#include "tests/lib/model.h"

struct crash_setup {
	struct disk_kind kind;
	uint64_t size;
	/* A raw backing file of so many bytes; 0: none. */
	uint64_t below;
	bool tiny_caches;
	/* States of one stretch between flushes, at most; 0: all subsets of up
	 * to 8 writes, else a sample. */
	unsigned most;
	/* Of how many states one is shown to qemu-img; 0: of none. */
	unsigned oracle;
};

/* What all sequences start from. */
struct crash_base {
	const struct crash_setup *setup;
	unsigned char *below;	/* content of the backing file */
	unsigned char *content; /* of the image */
	uint64_t length;
	unsigned char *disk; /* what it reads as */
	struct model *model; /* all durable */
	uint64_t sequences, states, asked;
	uint64_t random;
};

/* An image on which ops have been done; asserts that they succeed. */
struct crash_base *crash_base_new(const struct crash_setup *setup,
				  const struct op *ops, unsigned count);
void crash_base_free(struct crash_base *base);

/* Run a sequence, closed at its end, and judge every state. A current folder
 * for files is needed where the oracle is asked. */
void crash_explore(struct crash_base *base, const struct op *ops,
		   unsigned count);

#endif
