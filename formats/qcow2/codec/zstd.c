/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zstd: one frame a cluster, with its content's size and a checksum (four
 * bytes, so that rot is found by whoever reads the cluster). At the level that
 * others use, 3, the library's tables are a little small for clusters of 64
 * and 128 KiB: larger ones take less time and win the checksum's bytes back.
 *
 * Reading takes any number of frames, and ignores what follows them. Frames are
 * decoded straight into the cluster, so the window that a frame declares costs
 * no memory.
 */
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "formats/qcow2/codec/parts.h"

#define MAX_LEVEL 19 /* those above want more memory than they are worth */

struct zstd_state {
	ZSTD_CCtx *compressor;
	int level; /* that the compressor is set to; 0: none yet */
	size_t length;
	ZSTD_DCtx *decompressor;
};

static struct zstd_state *state_of(struct codec_thread *thread)
{
	if (!thread->zstd)
		thread->zstd = calloc(1, sizeof(*thread->zstd));
	return thread->zstd;
}

void qcow2_zstd_free(struct zstd_state *state)
{
	if (!state)
		return;
	ZSTD_freeCCtx(state->compressor);
	ZSTD_freeDCtx(state->decompressor);
	free(state);
}

/* Tables for clusters of 32 to 128 KiB at level 3. On files of a Debian system
 * they give the same bytes in 10 to 15 % less time than the library's. */
static void tune(ZSTD_CCtx *compressor, size_t length)
{
	/* log2 of the length, rounded up */
	int window = 64 - __builtin_clzll((unsigned long long)length - 1);

	ZSTD_CCtx_setParameter(compressor, ZSTD_c_strategy, ZSTD_dfast);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_windowLog, window);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_hashLog, window + 1);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_chainLog, window);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_minMatch,
			       window > 15 ? 5 : 4);
}

/* All of these are constants within the library's bounds. */
static void set_up(ZSTD_CCtx *compressor, int level, size_t length)
{
	ZSTD_CCtx_reset(compressor, ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1);
	if (level == 3 && length > 16384 && length <= 131072)
		tune(compressor, length);
}

static ZSTD_CCtx *compressor_for(struct codec_thread *thread, int level,
				 size_t length)
{
	struct zstd_state *state = state_of(thread);

	if (state && !state->compressor)
		state->compressor = ZSTD_createCCtx();
	if (!state || !state->compressor)
		return NULL;
	if (state->level != level || state->length != length) {
		set_up(state->compressor, level, length);
		state->level = level;
		state->length = length;
	}
	return state->compressor;
}

long qcow2_zstd_compress(struct codec_thread *thread, int level,
			 const void *source, size_t length, void *target,
			 size_t target_size, struct gild_error *err)
{
	ZSTD_CCtx *compressor;
	size_t result;

	if (level < 0 || level > MAX_LEVEL)
		return fail(err, GILD_ERR_INVALID, 0,
			    "zstd has levels 1 to %d, not %d", MAX_LEVEL,
			    level);
	if (level == 0)
		level = ZSTD_CLEVEL_DEFAULT;
	compressor = compressor_for(thread, level, length);
	if (!compressor)
		return fail_nomem(err);
	result =
		ZSTD_compress2(compressor, target, target_size, source, length);
	if (!ZSTD_isError(result))
		return (long)result;
	if (ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall)
		return 0;
	return fail(err, GILD_ERR_NOMEM, 0, "zstd cannot compress: %s",
		    ZSTD_getErrorName(result));
}

static int fail_zstd(size_t result, struct gild_error *err)
{
	if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
		return fail_nomem(err);
	return fail(err, GILD_ERR_CORRUPT, 0,
		    "compressed cluster cannot be decoded (zstd: %s)",
		    ZSTD_getErrorName(result));
}

int qcow2_zstd_decompress(struct codec_thread *thread, const void *stored,
			  size_t stored_length, void *target, size_t length,
			  struct gild_error *err)
{
	struct zstd_state *state = state_of(thread);
	const char *from = stored;
	char *to = target;
	size_t frame, result;

	if (state && !state->decompressor)
		state->decompressor = ZSTD_createDCtx();
	if (!state || !state->decompressor)
		return fail_nomem(err);
	while (length) {
		frame = ZSTD_findFrameCompressedSize(from, stored_length);
		if (ZSTD_isError(frame))
			return fail_zstd(frame, err);
		result = ZSTD_decompressDCtx(state->decompressor, to, length,
					     from, frame);
		if (ZSTD_isError(result))
			return fail_zstd(result, err);
		from += frame;
		stored_length -= frame;
		to += result;
		length -= result;
	}
	return 0;
}
