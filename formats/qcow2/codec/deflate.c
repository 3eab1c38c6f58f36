/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * deflate (RFC 1951, no zlib header). No match reaches further back than 4 KiB,
 * since there are readers that keep no larger window. ISA-L is the fast
 * default; levels 1 to 9 are zlib's, for a better ratio.
 *
 * Reading: libdeflate wants a whole stream. What others accept, too, is a
 * stream without its last block, or one that goes on when the cluster is full:
 * zlib decides about whatever libdeflate does not like. Of a cluster of which
 * only the beginning is wanted ISA-L gives that, and stops: a little slower by
 * the byte, but of fewer bytes.
 */
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <zlib.h>

#include "formats/qcow2/codec/parts.h"

#define WINDOW_BITS 12	   /* written: 4 KiB */
#define MAX_WINDOW_BITS 15 /* read: whatever deflate can say */
#define MEMORY_LEVEL 9

struct deflate_state {
	struct isal_zstream *fast;
	unsigned char *fast_buffer;
	z_stream best;
	int level; /* that best is set to; 0: none yet */
	struct libdeflate_decompressor *decompressor;
	struct inflate_state *partial;
	z_stream tolerant;
	bool has_tolerant;
};

static struct deflate_state *state_of(struct codec_thread *thread)
{
	if (!thread->deflate)
		thread->deflate = calloc(1, sizeof(*thread->deflate));
	return thread->deflate;
}

void qcow2_deflate_free(struct deflate_state *state)
{
	if (!state)
		return;
	qcow2_place_free(state->fast, sizeof(*state->fast));
	free(state->fast_buffer);
	if (state->level)
		deflateEnd(&state->best);
	libdeflate_free_decompressor(state->decompressor);
	free(state->partial);
	if (state->has_tolerant)
		inflateEnd(&state->tolerant);
	free(state);
}

/* --- writing ------------------------------------------------------------- */

static int fast_set_up(struct deflate_state *state)
{
	if (!state->fast)
		state->fast = qcow2_place_new(sizeof(*state->fast));
	if (!state->fast_buffer)
		state->fast_buffer = malloc(ISAL_DEF_LVL1_DEFAULT);
	return state->fast && state->fast_buffer ? 0 : -1;
}

static long fast_compress(struct deflate_state *state, const void *source,
			  size_t length, void *target, size_t target_size,
			  struct gild_error *err)
{
	struct isal_zstream *fast;
	int result;

	if (fast_set_up(state) < 0)
		return fail_nomem(err);
	fast = state->fast;
	isal_deflate_stateless_init(fast);
	fast->next_in = (uint8_t *)(uintptr_t)source; /* only read */
	fast->avail_in = (uint32_t)length;
	fast->next_out = target;
	fast->avail_out = (uint32_t)target_size;
	fast->end_of_stream = 1;
	fast->flush = NO_FLUSH;
	fast->gzip_flag = IGZIP_DEFLATE;
	fast->hist_bits = WINDOW_BITS;
	fast->level = 1;
	fast->level_buf = state->fast_buffer;
	fast->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
	result = isal_deflate_stateless(fast);
	if (result == STATELESS_OVERFLOW)
		return 0;
	if (result != COMP_OK)
		return fail(err, GILD_ERR_INVALID, 0,
			    "deflate failed (ISA-L: %d)", result);
	return (long)fast->total_out;
}

static int best_set_up(struct deflate_state *state, int level)
{
	if (state->level == level)
		return deflateReset(&state->best);
	if (state->level)
		deflateEnd(&state->best);
	state->level = 0;
	state->best = (z_stream){ .next_in = NULL };
	if (deflateInit2(&state->best, level, Z_DEFLATED, -WINDOW_BITS,
			 MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -1;
	state->level = level;
	return 0;
}

static long best_compress(struct deflate_state *state, int level,
			  const void *source, size_t length, void *target,
			  size_t target_size, struct gild_error *err)
{
	z_stream *best = &state->best;

	if (best_set_up(state, level) != Z_OK)
		return fail_nomem(err);
	best->next_in = (Bytef *)(uintptr_t)source; /* only read */
	best->avail_in = (uInt)length;
	best->next_out = target;
	best->avail_out = (uInt)target_size;
	if (deflate(best, Z_FINISH) != Z_STREAM_END)
		return 0;
	return (long)(target_size - best->avail_out);
}

long qcow2_deflate_compress(struct codec_thread *thread, int level,
			    const void *source, size_t length, void *target,
			    size_t target_size, struct gild_error *err)
{
	struct deflate_state *state = state_of(thread);

	if (!state)
		return fail_nomem(err);
	if (level < 0 || level > 9)
		return fail(err, GILD_ERR_INVALID, 0,
			    "deflate has levels 1 to 9, not %d", level);
	if (level == 0)
		return fast_compress(state, source, length, target, target_size,
				     err);
	return best_compress(state, level, source, length, target, target_size,
			     err);
}

/* --- reading ------------------------------------------------------------- */

static int tolerant_set_up(struct deflate_state *state)
{
	if (state->has_tolerant)
		return inflateReset(&state->tolerant);
	state->tolerant = (z_stream){ .next_in = NULL };
	if (inflateInit2(&state->tolerant, -MAX_WINDOW_BITS) != Z_OK)
		return -1;
	state->has_tolerant = true;
	return 0;
}

/* A full cluster is enough, however the stream goes on. */
static int tolerant_decompress(struct deflate_state *state, const void *stored,
			       size_t stored_length, void *target,
			       size_t length, struct gild_error *err)
{
	z_stream *tolerant = &state->tolerant;
	int result;

	if (tolerant_set_up(state) != Z_OK)
		return fail_nomem(err);
	tolerant->next_in = (Bytef *)(uintptr_t)stored; /* only read */
	tolerant->avail_in = (uInt)stored_length;
	tolerant->next_out = target;
	tolerant->avail_out = (uInt)length;
	result = inflate(tolerant, Z_SYNC_FLUSH);
	if (tolerant->avail_out == 0)
		return 0;
	if (result == Z_MEM_ERROR)
		return fail_nomem(err);
	return fail(err, GILD_ERR_CORRUPT, 0,
		    "compressed cluster cannot be decoded (deflate: %s)",
		    tolerant->msg ? tolerant->msg : "it ends too early");
}

int qcow2_deflate_decompress(struct codec_thread *thread, const void *stored,
			     size_t stored_length, void *target, size_t length,
			     struct gild_error *err)
{
	struct deflate_state *state = state_of(thread);
	size_t got;

	if (state && !state->decompressor)
		state->decompressor = libdeflate_alloc_decompressor();
	if (!state || !state->decompressor)
		return fail_nomem(err);
	if (libdeflate_deflate_decompress(state->decompressor, stored,
					  stored_length, target, length,
					  &got) == LIBDEFLATE_SUCCESS &&
	    got == length)
		return 0;
	return tolerant_decompress(state, stored, stored_length, target, length,
				   err);
}

bool qcow2_deflate_begin(struct codec_thread *thread, const void *stored,
			 size_t stored_length, void *target, size_t needed)
{
	struct deflate_state *state = state_of(thread);
	struct inflate_state *partial;
	int result;

	if (state && !state->partial)
		state->partial = malloc(sizeof(*state->partial));
	if (!state || !state->partial)
		return false;
	partial = state->partial;
	isal_inflate_init(partial);
	partial->next_in = (uint8_t *)(uintptr_t)stored; /* only read */
	partial->avail_in = (uint32_t)stored_length;
	partial->next_out = target;
	partial->avail_out = (uint32_t)needed;
	result = isal_inflate_stateless(partial);
	return (result == ISAL_DECOMP_OK || result == ISAL_OUT_OVERFLOW) &&
	       partial->avail_out == 0;
}
