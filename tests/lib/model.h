/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a disk may read, sector by sector, after operations that may have been
 * lost or cut short: the versions that each sector of 512 bytes has had since
 * the last flush.
 *
 * A version is "current" if the sector may read so while nothing was lost: one
 * after a write, several after a discard (old or zeros) or a failed write.
 * After a crash any version since the last flush is right; in a sector that was
 * written in part, and so perhaps in several steps, byte by byte.
 */
#ifndef TESTS_LIB_MODEL_H
#define TESTS_LIB_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "gild.h"

enum {
	SECTOR = 512
};

struct model_version {
	unsigned char bytes[SECTOR];
	bool current;
};

struct model_sector {
	struct model_version *versions;
	unsigned count;
	bool mixed; /* written in part since the last flush */
};

struct model {
	struct model_sector *sectors;
	uint64_t count;	    /* of sectors, of the largest size */
	uint64_t sizes[16]; /* of the disk, since the last flush */
	unsigned size_count;
	unsigned size_choice; /* so many of the last ones may be current */
	/* What is below the disk, for when it is emptied. */
	unsigned char *below;
	uint64_t below_length;
	/* What the one internal snapshot holds. */
	struct model_sector *saved;
	uint64_t saved_size;
};

/* An empty disk over content (length bytes); then zeros up to size. */
struct model *model_new(const void *content, uint64_t length, uint64_t size);
struct model *model_dup(const struct model *model);
void model_free(struct model *model);

/* Everything so far is durable. */
void model_flushed(struct model *model);

/* Is what a disk of this size reads possible? crashed: any version is right.
 * Says what is not in err. */
bool model_allows(const struct model *model, const unsigned char *disk,
		  uint64_t size, bool crashed, struct gild_error *err);
/* The same for the snapshot. */
bool model_allows_saved(const struct model *model, const unsigned char *disk,
			uint64_t size, struct gild_error *err);
/* What was read is what is there: of the current versions only those stay. */
void model_adopt(struct model *model, const unsigned char *disk);

/* --- operations ---------------------------------------------------------- */

enum op_kind {
	OP_WRITE,
	OP_COMPRESS, /* one cluster */
	OP_ZERO,
	OP_ZERO_UNMAP,
	OP_DISCARD,
	OP_ALLOCATE, /* space for what has none */
	OP_FLUSH,
	OP_RESIZE,   /* length: the new size */
	OP_SNAPSHOT, /* take the only one, ... */
	OP_APPLY,
	OP_DELETE,
	OP_EMPTY,
	OP_ADOPT,     /* whole clusters from the snapshot */
	OP_AMEND,     /* seed: one of amend_kind */
	OP_MARKS_ADD, /* bitmap "n", ... */
	OP_MARKS_REMOVE,
	OP_MARKS_MERGE, /* "b" into "off" (see disk.h) */
	OP_MARKS_CLEAR, /* "off" */
	OP_KINDS,
};

enum amend_kind {
	AMEND_V2,
	AMEND_LAZY, /* and version 3, as the following ones */
	AMEND_8_BITS,
	AMEND_64_BITS,
};

struct op {
	enum op_kind kind;
	uint64_t offset, length;
	uint32_t seed; /* of the bytes; odd: they do not compress */
};

struct image;

/* The bytes that an operation writes at [offset, offset + length). */
void op_fill(unsigned char *buffer, uint64_t offset, uint64_t length,
	     uint32_t seed);
int op_run(struct image *image, const struct op *op, struct gild_error *err);
/* failed: it may have been done, in part, or not at all. */
void op_note(struct model *model, const struct op *op, bool failed);
/* "write 512+100 (7)", in a static buffer. */
const char *op_text(const struct op *op);

/* A small generator of pseudo-random numbers: the same on every machine. */
static inline uint32_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*state >> 33);
}

#endif
