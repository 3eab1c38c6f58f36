/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same cluster becomes the same bytes, whichever thread compresses it and
 * whatever that thread did before.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"

TestSuite(qcow2_codec_same, .timeout = 120);

enum {
	CLUSTER = 512,
	CLUSTERS = 20000,
	THREADS = 4
};

static uint64_t digests[THREADS][CLUSTERS];

struct task {
	unsigned thread;
	uint8_t type;
};

static uint64_t digest(const unsigned char *bytes, long length)
{
	uint64_t value = (uint64_t)length;

	for (long i = 0; i < length; i++)
		value = (value ^ bytes[i]) * 0x100000001b3;
	return value;
}

/* Begins with bytes that come again, so that where the compressor looks for
 * the very first ones makes a difference. */
static void fill(unsigned char *bytes, uint32_t seed)
{
	for (size_t i = 0; i < CLUSTER; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(seed >> 24);
	}
	for (size_t at = 64; at + 16 < CLUSTER; at += 64)
		memcpy(bytes + at, bytes, 12);
}

static void *compress_all(void *arg)
{
	unsigned char bytes[CLUSTER], stored[2 * CLUSTER];
	const struct task *task = arg;
	long length;

	for (unsigned n = 0; n < CLUSTERS; n++) {
		/* Each thread begins elsewhere, and so has another past. */
		unsigned i = (n + task->thread * 1111) % CLUSTERS;

		fill(bytes, i);
		length = qcow2_compress(task->type, 0, bytes, CLUSTER, stored,
					sizeof(stored), NULL);
		digests[task->thread][i] = digest(stored, length);
	}
	return NULL;
}

static void compare_threads(uint8_t type)
{
	pthread_t threads[THREADS];
	struct task tasks[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		tasks[i] = (struct task){ i, type };
		cr_assert_eq(pthread_create(&threads[i], NULL, compress_all,
					    &tasks[i]),
			     0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 1; i < THREADS; i++)
		for (unsigned n = 0; n < CLUSTERS; n++)
			cr_assert_eq(digests[i][n], digests[0][n],
				     "thread %u, cluster %u", i, n);
}

Test(qcow2_codec_same, deflate_in_every_thread)
{
	compare_threads(QCOW2_COMPRESSION_ZLIB);
}

Test(qcow2_codec_same, zstd_in_every_thread)
{
	compare_threads(QCOW2_COMPRESSION_ZSTD);
}
