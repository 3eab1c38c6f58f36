/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What codec.c and its two halves share. Compressors are expensive to set up,
 * so each thread keeps its own; they go when the thread ends.
 */
#ifndef QCOW2_CODEC_PARTS_H
#define QCOW2_CODEC_PARTS_H

#include "formats/qcow2/qcow2.h"

struct deflate_state;
struct zstd_state;

/* Each made at first use, by the thread that owns it. */
struct codec_thread {
	struct deflate_state *deflate;
	struct zstd_state *zstd;
};

/* deflate.c; see qcow2_compress and qcow2_decompress. */
long qcow2_deflate_compress(struct codec_thread *thread, int level,
			    const void *source, size_t length, void *target,
			    size_t target_size, struct gild_error *err);
int qcow2_deflate_decompress(struct codec_thread *thread, const void *stored,
			     size_t stored_length, void *target, size_t length,
			     struct gild_error *err);
/* The first needed bytes only; false: the whole has to be decompressed. */
bool qcow2_deflate_begin(struct codec_thread *thread, const void *stored,
			 size_t stored_length, void *target, size_t needed);
void qcow2_deflate_free(struct deflate_state *state);

/* place.c: zeroed memory for a compressor of ISA-L. NULL: out of memory. */
void *qcow2_place_new(size_t size);
void qcow2_place_free(void *place, size_t size);

/* zstd.c */
long qcow2_zstd_compress(struct codec_thread *thread, int level,
			 const void *source, size_t length, void *target,
			 size_t target_size, struct gild_error *err);
int qcow2_zstd_decompress(struct codec_thread *thread, const void *stored,
			  size_t stored_length, void *target, size_t length,
			  struct gild_error *err);
void qcow2_zstd_free(struct zstd_state *state);

#endif
