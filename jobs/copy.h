/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying a whole disk: an ordered pipeline without a conductor. Workers, all
 * alike, take chunks in order, and each carries its chunk through
 *
 *     load    read, find zeros, compress          all at once
 *     place   get host space from the target      one at a time, in order
 *     store   write the bytes, link them          all at once
 *
 * So the target's layout is a function of the content alone, whatever the
 * number of workers, and memory is bounded by a chunk for each of them. Chunks
 * begin at multiples of their size; what needs no work is stepped over when a
 * chunk is taken. The first error stops all, and is the one reported.
 */
#ifndef JOBS_COPY_H
#define JOBS_COPY_H

#include "jobs/job.h"
#include "jobs/source.h"

struct past;

/* What is to be done with a unit of the target; of what is found out bit by
 * bit the later ones count. */
enum unit_state {
	UNIT_KEEP,  /* nothing: the target has the same */
	UNIT_LEAVE, /* to the backing file, which has the same */
	UNIT_ZERO,
	UNIT_DATA,
	UNIT_LINK, /* to what a snapshot of the target has */
};

struct copy {
	/* Set by the caller, immutable while workers run. */
	struct source source;
	int stream_in;	      /* or, without images, from here */
	bool stream_is_raw;   /* whatever it begins with */
	struct image *target; /* or NULL: */
	int stream_out;	      /* raw, to here */
	uint64_t chunk;	      /* bytes; multiple of unit */
	uint64_t unit;	      /* zeros are found, space is given by this */
	bool compress;
	bool find_zeros;	 /* unless -S 0 */
	bool target_is_zero;	 /* where nothing is written */
	bool keeps_rest;	 /* the target held something before: what is
				    * behind the source's end stays */
	unsigned keep_depth;	 /* what layers from this depth on have is
				    * there already; 0: copy all */
	struct image *base;	 /* the target's backing file, to compare
				    * with, or NULL */
	const struct past *past; /* of the disk, which the target has; NULL:
				    * none, it has nothing */
	uint64_t shift;		 /* from offsets of the source to those of
				    * the target; a multiple of its units */
	bool is_part;		 /* of a job, whose total is set */
	bool salvage;
	void (*warn)(void *opaque, const char *message);
	void *opaque;
	struct gild_job *job;

	/* Lock order: taking, lock. */
	pthread_mutex_t taking; /* for the next three; also while it waits
				    * for a stream */
	uint64_t next;		/* where the next chunk begins */
	uint64_t streamed;	/* bytes that came in */
	bool ended;		/* of the stream */
	pthread_mutex_t lock;	/* for all below */
	pthread_cond_t moved;	/* turn, or failed */
	uint64_t turn;		/* whose turn it is to place */
	bool failed;
	struct gild_error error;
};

/* A unit or more with host space for it. */
struct placed {
	struct write_plan plan;
	uint64_t offset; /* of the disk, within the plan */
	const unsigned char *bytes;
	uint64_t length;
};

struct chunk {
	uint64_t from;		 /* its turn comes at */
	uint64_t start, length;	 /* of the disk */
	unsigned char *data;	 /* copy.chunk bytes */
	unsigned char *below;	 /* with a base: what it holds there */
	unsigned char *packed;	 /* compressed units, one behind the other */
	enum unit_state *states; /* of each unit */
	uint32_t *stored;	 /* length in packed; 0: plain */
	uint32_t *links;	 /* with a past: of UNIT_LINK, to which */
	struct placed *placed;
	size_t placed_count;
};

/* The stretch of zeros that counts unless the user says otherwise. */
#define COPY_GRANULE 4096

/* Where to; and from it the units and chunks. granule: the smallest stretch of
 * zeros that counts, a power of two. target may be NULL (stream_out). */
void copy_set_target(struct copy *copy, struct image *target, bool compress,
		     uint64_t granule);

/* As many workers as wanted (0: as there are processors), within reason. */
unsigned copy_workers(unsigned wanted);

/* Copy with so many workers. */
int copy_run(struct copy *copy, unsigned workers, struct gild_error *err);

/* What becomes of a unit that the target's backing file has. */
static inline enum unit_state copy_left(const struct copy *copy)
{
	return copy->past ? UNIT_LEAVE : UNIT_KEEP;
}

/* chunk-load.c: fill data, states, packed. */
int chunk_load(struct copy *copy, struct chunk *chunk, struct gild_error *err);
/* How much of an extent at offset needs no work, from its begin on? */
uint64_t chunk_idle(const struct copy *copy, uint64_t offset,
		    const struct extent *extent, const struct image *layer,
		    const struct image *top);
/* chunk-store.c: host space, in order; bytes and links, in any. */
int chunk_place(struct copy *copy, struct chunk *chunk, struct gild_error *err);
int chunk_store(struct copy *copy, struct chunk *chunk, struct gild_error *err);
void chunk_abort(struct copy *copy, struct chunk *chunk);

/* stream.c: all of length, or up to the end of the stream. */
int stream_read(int fd, void *buffer, size_t length, size_t *done,
		const struct gild_job *job, struct gild_error *err);
int stream_write(int fd, const void *buffer, size_t length,
		 struct gild_error *err);

static inline uint64_t chunk_units(const struct copy *copy,
				   const struct chunk *chunk)
{
	return (chunk->length + copy->unit - 1) / copy->unit;
}

#endif
