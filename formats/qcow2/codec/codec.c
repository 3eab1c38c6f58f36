/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compressed clusters: which of the two methods, and the state that each thread
 * keeps for them (a compressor is worth more time to set up than a small
 * cluster takes to compress). A thread's state is freed when the thread ends;
 * the main thread's lives as long as the process.
 */
#include <pthread.h>
#include <stdlib.h>

#include "formats/qcow2/codec/parts.h"

enum {
	WORTH = 4, /* what lacks less than a fourth is done as a whole */
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error = -1;

static void free_thread(void *value)
{
	struct codec_thread *thread = value;

	qcow2_deflate_free(thread->deflate);
	qcow2_zstd_free(thread->zstd);
	free(thread);
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, free_thread);
}

/* Where the library is unloaded, no thread may call into it any more. */
__attribute__((destructor)) static void forget_key(void)
{
	if (key_error == 0)
		pthread_key_delete(key);
}

static struct codec_thread *this_thread(struct gild_error *err)
{
	struct codec_thread *thread;

	pthread_once(&key_once, make_key);
	if (key_error)
		return fail_null(err, GILD_ERR_NOMEM, key_error,
				 "no room for a thread's compressors");
	thread = pthread_getspecific(key);
	if (thread)
		return thread;
	thread = calloc(1, sizeof(*thread));
	if (thread && pthread_setspecific(key, thread) == 0)
		return thread;
	free(thread);
	return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
}

long qcow2_compress(uint8_t compression, int level, const void *source,
		    size_t length, void *target, size_t target_size,
		    struct gild_error *err)
{
	struct codec_thread *thread = this_thread(err);

	if (!thread)
		return -1;
	if (compression == QCOW2_COMPRESSION_ZSTD)
		return qcow2_zstd_compress(thread, level, source, length,
					   target, target_size, err);
	return qcow2_deflate_compress(thread, level, source, length, target,
				      target_size, err);
}

int qcow2_decompress(uint8_t compression, const void *stored,
		     size_t stored_length, void *target, size_t length,
		     struct gild_error *err)
{
	struct codec_thread *thread = this_thread(err);

	if (!thread)
		return -1;
	if (compression == QCOW2_COMPRESSION_ZSTD)
		return qcow2_zstd_decompress(thread, stored, stored_length,
					     target, length, err);
	return qcow2_deflate_decompress(thread, stored, stored_length, target,
					length, err);
}

int qcow2_decompress_first(uint8_t compression, const void *stored,
			   size_t stored_length, void *target, size_t needed,
			   size_t length, struct gild_error *err)
{
	struct codec_thread *thread = this_thread(err);

	if (!thread)
		return -1;
	/* What zstd wrote is one block, which comes whole. */
	if (compression != QCOW2_COMPRESSION_ZSTD &&
	    needed <= length / WORTH * (WORTH - 1) &&
	    qcow2_deflate_begin(thread, stored, stored_length, target, needed))
		return 0;
	return qcow2_decompress(compression, stored, stored_length, target,
				length, err);
}
