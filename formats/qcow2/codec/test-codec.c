/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compressed clusters: what goes in comes out, whoever reads it; what others
 * write is read; damage is found.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/qcow2/qcow2.h"

TestSuite(qcow2_codec, .timeout = 120);

#define CLUSTER 65536
#define ROOM (2 * CLUSTER)

enum {
	ZLIB = QCOW2_COMPRESSION_ZLIB,
	ZSTD = QCOW2_COMPRESSION_ZSTD
};

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static void fill_random(unsigned char *bytes, size_t length, uint32_t seed)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)next_random(&seed);
}

/* Words at random out of 4096, so that matches lie at every distance. */
static void fill_words(unsigned char *bytes, size_t length, uint32_t seed)
{
	for (size_t at = 0; at < length;) {
		uint32_t word = next_random(&seed) % 4096;
		size_t size = 4 + word % 13;

		for (size_t i = 0; i < size && at < length; i++)
			bytes[at++] = (unsigned char)(next_random(&word) & 63);
	}
}

/* 6 KiB of noise over and over: the only matches are far ones. */
static void fill_far(unsigned char *bytes, size_t length)
{
	const size_t period = 6144;

	for (size_t at = 0; at < length; at += period)
		fill_random(bytes + at,
			    length - at < period ? length - at : period, 7);
}

static long compress_good(uint8_t type, int level, const void *source,
			  size_t length, void *target, size_t room)
{
	struct gild_error err = { 0 };
	long stored =
		qcow2_compress(type, level, source, length, target, room, &err);

	cr_assert_geq(stored, 0, "%s", err.message);
	return stored;
}

static void assert_corrupt(uint8_t type, const void *stored, size_t length,
			   const char *message)
{
	static unsigned char target[CLUSTER];
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_decompress(type, stored, length, target, CLUSTER,
				      &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect_not_null(strstr(err.message, message), "%s", err.message);
}

/* A first part, however long, is the same bytes. */
static void assert_begins(uint8_t type, const void *stored, size_t length,
			  const void *expected)
{
	static unsigned char target[CLUSTER];
	struct gild_error err = { 0 };

	for (size_t needed = 1; needed <= CLUSTER; needed += 4093) {
		memset(target, 0xaa, sizeof(target));
		cr_assert_eq(qcow2_decompress_first(type, stored, length,
						    target, needed, CLUSTER,
						    &err),
			     0, "%s", err.message);
		cr_assert_eq(memcmp(target, expected, needed), 0, "%zu",
			     needed);
	}
}

static void assert_good(uint8_t type, const void *stored, size_t length,
			const void *expected)
{
	static unsigned char target[CLUSTER];
	struct gild_error err = { 0 };

	memset(target, 0xaa, sizeof(target));
	cr_assert_eq(qcow2_decompress(type, stored, length, target, CLUSTER,
				      &err),
		     0, "%s", err.message);
	cr_assert_eq(memcmp(target, expected, CLUSTER), 0);
	assert_begins(type, stored, length, expected);
}

/* --- there and back ------------------------------------------------------ */

static void round_trip(uint8_t type, int level, size_t length)
{
	unsigned char *source = malloc(length), *target = malloc(length);
	unsigned char *stored = calloc(1, length + 512);
	struct gild_error err = { 0 };
	long got;

	fill_words(source, length, (uint32_t)length);
	got = compress_good(type, level, source, length, stored, length - 1);
	cr_assert_gt(got, 0, "type %d level %d length %zu", type, level,
		     length);
	/* Sectors are all that a reader knows of the length. */
	got = (got + 511) / 512 * 512;
	cr_assert_eq(qcow2_decompress(type, stored, (size_t)got, target, length,
				      &err),
		     0, "%s", err.message);
	cr_assert_eq(memcmp(source, target, length), 0,
		     "type %d level %d length %zu", type, level, length);
	free(source);
	free(target);
	free(stored);
}

Test(qcow2_codec, every_cluster_size_comes_back)
{
	for (unsigned bits = 9; bits <= 21; bits++) {
		round_trip(ZLIB, 0, 1U << bits);
		round_trip(ZLIB, 1, 1U << bits);
		round_trip(ZSTD, 0, 1U << bits);
	}
}

Test(qcow2_codec, every_level_comes_back)
{
	for (int level = 0; level <= 9; level++)
		round_trip(ZLIB, level, CLUSTER);
	for (int level = 0; level <= 19; level++)
		round_trip(ZSTD, level, CLUSTER);
}

Test(qcow2_codec, zeros_become_tiny)
{
	static const unsigned char zeros[CLUSTER];
	unsigned char stored[ROOM];

	for (uint8_t type = ZLIB; type <= ZSTD; type++) {
		long got = compress_good(type, 0, zeros, CLUSTER, stored, ROOM);

		cr_expect(got > 0 && got < 512, "%ld bytes", got);
		assert_good(type, stored, (size_t)got, zeros);
	}
}

Test(qcow2_codec, what_does_not_shrink_is_not_compressed)
{
	static unsigned char noise[CLUSTER], stored[ROOM];

	fill_random(noise, CLUSTER, 1);
	for (uint8_t type = ZLIB; type <= ZSTD; type++) {
		for (int level = 0; level <= 9; level += 3)
			cr_expect_eq(compress_good(type, level, noise, CLUSTER,
						   stored, CLUSTER - 1),
				     0, "type %d level %d", type, level);
	}
}

Test(qcow2_codec, nothing_is_written_beyond_the_room)
{
	static unsigned char source[CLUSTER], stored[ROOM];

	fill_words(source, CLUSTER, 3);
	for (uint8_t type = ZLIB; type <= ZSTD; type++) {
		for (int level = 0; level <= 6; level += 6) {
			size_t exact = (size_t)compress_good(
				type, level, source, CLUSTER, stored, ROOM);

			memset(stored, 0x5a, ROOM);
			cr_expect_eq(compress_good(type, level, source, CLUSTER,
						   stored, exact - 1),
				     0);
			for (size_t i = exact - 1; i < ROOM; i++)
				cr_assert_eq(stored[i], 0x5a, "at %zu", i);
		}
	}
}

Test(qcow2_codec, same_input_same_output)
{
	static unsigned char a[CLUSTER], b[CLUSTER];
	static unsigned char first[ROOM], other[ROOM], again[ROOM];

	fill_words(a, CLUSTER, 1);
	fill_far(b, CLUSTER);
	for (uint8_t type = ZLIB; type <= ZSTD; type++) {
		for (int level = 0; level <= 4; level++) {
			long one = compress_good(type, level, a, CLUSTER, first,
						 ROOM);
			long two;

			compress_good(type, level, b, CLUSTER, other, ROOM);
			compress_good(type, level ? 0 : 5, b, CLUSTER / 2,
				      other, ROOM);
			two = compress_good(type, level, a, CLUSTER, again,
					    ROOM);
			cr_assert_eq(one, two);
			cr_assert_eq(memcmp(first, again, (size_t)one), 0);
		}
	}
}

Test(qcow2_codec, levels_that_are_not_there)
{
	static unsigned char bytes[CLUSTER], stored[ROOM];
	struct gild_error err;

	cr_expect_eq(qcow2_compress(ZLIB, 10, bytes, CLUSTER, stored, ROOM,
				    &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
	cr_expect_eq(qcow2_compress(ZLIB, -1, bytes, CLUSTER, stored, ROOM,
				    &err),
		     -1);
	cr_expect_eq(qcow2_compress(ZSTD, 20, bytes, CLUSTER, stored, ROOM,
				    &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
}

/* --- the window ---------------------------------------------------------- */

/* Decode as a reader does that remembers 4 KiB and no more: the output goes to
 * a place that it never sees again. */
static int inflate_in_4_kib(const unsigned char *stored, size_t length,
			    unsigned char *target)
{
	z_stream stream = { .avail_in = (uInt)length };
	unsigned char piece[256];
	int result;

	stream.next_in = (Bytef *)(uintptr_t)stored;
	cr_assert_eq(inflateInit2(&stream, -12), Z_OK);
	do {
		stream.next_out = piece;
		stream.avail_out = sizeof(piece);
		result = inflate(&stream, Z_SYNC_FLUSH);
		memcpy(target, piece, sizeof(piece) - stream.avail_out);
		target += sizeof(piece) - stream.avail_out;
	} while (result == Z_OK);
	inflateEnd(&stream);
	return result;
}

Test(qcow2_codec, no_match_reaches_beyond_4_kib)
{
	static unsigned char source[CLUSTER], stored[ROOM], target[ROOM];

	for (int kind = 0; kind < 2; kind++) {
		if (kind)
			fill_words(source, CLUSTER, 5);
		else
			fill_far(source, CLUSTER);
		for (int level = 0; level <= 9; level++) {
			long got = compress_good(ZLIB, level, source, CLUSTER,
						 stored, ROOM);

			cr_assert_gt(got, 0);
			cr_assert_eq(inflate_in_4_kib(stored, (size_t)got,
						      target),
				     Z_STREAM_END, "level %d", level);
			cr_assert_eq(memcmp(source, target, CLUSTER), 0);
		}
	}
}

/* What some other writer made of source, all of it in one deflate stream. */
static size_t deflate_as(const unsigned char *source, size_t length,
			 unsigned char *stored, int window_bits, int flush)
{
	z_stream stream = { .avail_in = (uInt)length, .next_out = stored };

	stream.next_in = (Bytef *)(uintptr_t)source;
	stream.avail_out = 2 * ROOM;
	cr_assert_eq(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 9,
				  Z_DEFAULT_STRATEGY),
		     Z_OK);
	cr_assert_geq(deflate(&stream, flush), 0);
	length = 2 * ROOM - stream.avail_out;
	deflateEnd(&stream);
	return length;
}

Test(qcow2_codec, wider_windows_of_others_are_read)
{
	static unsigned char source[CLUSTER], stored[2 * ROOM], target[ROOM];
	size_t length;

	fill_far(source, CLUSTER);
	length = deflate_as(source, CLUSTER, stored, -15, Z_FINISH);
	/* So the check above can fail. */
	cr_expect_eq(inflate_in_4_kib(stored, length, target), Z_DATA_ERROR);
	assert_good(ZLIB, stored, length, source);
}

/* --- deflate streams of others ------------------------------------------- */

Test(qcow2_codec, deflate_may_lack_its_last_block)
{
	static unsigned char source[CLUSTER], stored[2 * ROOM];
	size_t length;

	fill_words(source, CLUSTER, 9);
	length = deflate_as(source, CLUSTER, stored, -12, Z_SYNC_FLUSH);
	assert_good(ZLIB, stored, length, source);
	/* Followed by what is no deflate at all. */
	memset(stored + length, 0xff, 512);
	assert_good(ZLIB, stored, length + 512, source);
}

Test(qcow2_codec, deflate_may_go_on_beyond_the_cluster)
{
	static unsigned char source[2 * CLUSTER], stored[2 * ROOM];
	size_t length;

	fill_words(source, sizeof(source), 11);
	length = deflate_as(source, sizeof(source), stored, -12, Z_FINISH);
	assert_good(ZLIB, stored, length, source);
}

Test(qcow2_codec, damaged_deflate_is_found)
{
	static unsigned char source[CLUSTER], stored[2 * ROOM];
	size_t length;

	fill_words(source, CLUSTER, 13);
	length = deflate_as(source, CLUSTER - 1, stored, -12, Z_FINISH);
	assert_corrupt(ZLIB, stored, length, "ends too early");
	length = deflate_as(source, CLUSTER, stored, -12, Z_FINISH);
	assert_corrupt(ZLIB, stored, length / 2, "ends too early");
	assert_corrupt(ZLIB, stored, 0, "ends too early");
	memset(stored, 0xff, 512);
	assert_corrupt(ZLIB, stored, 512, "invalid");
	/* A bad stream leaves nothing behind for the next. */
	length = deflate_as(source, CLUSTER, stored, -12, Z_SYNC_FLUSH);
	assert_good(ZLIB, stored, length, source);
}

/* --- zstd ---------------------------------------------------------------- */

Test(qcow2_codec, zstd_frames_have_a_checksum_and_a_size)
{
	static unsigned char source[CLUSTER], stored[ROOM];
	long got;

	fill_words(source, CLUSTER, 15);
	for (int level = 0; level <= 6; level++) {
		got = compress_good(ZSTD, level, source, CLUSTER, stored, ROOM);
		cr_expect(stored[4] & 4, "no checksum at level %d", level);
		cr_expect_eq(ZSTD_getFrameContentSize(stored, (size_t)got),
			     CLUSTER);
		cr_expect_eq(ZSTD_findFrameCompressedSize(stored, (size_t)got),
			     (size_t)got);
	}
}

Test(qcow2_codec, zstd_rot_is_found)
{
	static unsigned char source[CLUSTER], stored[ROOM];
	unsigned found = 0, tried = 0;
	static unsigned char target[CLUSTER];
	size_t length;

	fill_words(source, CLUSTER, 17);
	length = (size_t)compress_good(ZSTD, 0, source, CLUSTER, stored, ROOM);
	for (size_t at = 0; at < length; at += length / 40, tried++) {
		struct gild_error err = { 0 };

		stored[at] ^= 0x10;
		if (qcow2_decompress(ZSTD, stored, length, target, CLUSTER,
				     &err) < 0)
			found++;
		stored[at] ^= 0x10;
	}
	cr_expect_eq(found, tried);
	assert_good(ZSTD, stored, length, source);
}

static size_t zstd_as(const void *source, size_t length, void *stored,
		      size_t room, ZSTD_cParameter name, int value)
{
	ZSTD_CCtx *compressor = ZSTD_createCCtx();
	ZSTD_inBuffer in = { source, length, 0 };
	ZSTD_outBuffer out = { stored, room, 0 };

	ZSTD_CCtx_setParameter(compressor, name, value);
	/* In two steps: the size is not known, the frame does not say it. */
	ZSTD_compressStream2(compressor, &out, &in, ZSTD_e_continue);
	cr_assert_eq(ZSTD_compressStream2(compressor, &out, &in, ZSTD_e_end),
		     0);
	ZSTD_freeCCtx(compressor);
	return out.pos;
}

Test(qcow2_codec, zstd_frames_of_others_are_read)
{
	static const unsigned char skippable[] = {
		0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4
	};
	static unsigned char source[CLUSTER], stored[ROOM];
	size_t length, half = CLUSTER / 2;

	fill_words(source, CLUSTER, 19);
	/* A window of 128 MiB that nobody needs. */
	length = zstd_as(source, CLUSTER, stored, ROOM, ZSTD_c_windowLog, 27);
	memset(stored + length, 0xff, 512);
	assert_good(ZSTD, stored, length + 512, source);
	/* Two frames, with something to skip between them. */
	length = zstd_as(source, half, stored, ROOM, ZSTD_c_checksumFlag, 1);
	memcpy(stored + length, skippable, sizeof(skippable));
	length += sizeof(skippable);
	length += zstd_as(source + half, half, stored + length, ROOM - length,
			  ZSTD_c_checksumFlag, 0);
	assert_good(ZSTD, stored, length, source);
}

Test(qcow2_codec, damaged_zstd_is_found)
{
	static unsigned char source[2 * CLUSTER], stored[ROOM];
	size_t length;

	fill_words(source, sizeof(source), 21);
	length = zstd_as(source, CLUSTER - 1, stored, ROOM, ZSTD_c_checksumFlag,
			 1);
	assert_corrupt(ZSTD, stored, length, "zstd");
	assert_corrupt(ZSTD, stored, length - 1, "zstd");
	assert_corrupt(ZSTD, stored, 0, "zstd");
	assert_corrupt(ZSTD, "not a frame at all", 18, "zstd");
	length = zstd_as(source, CLUSTER + 1, stored, ROOM, ZSTD_c_checksumFlag,
			 1);
	assert_corrupt(ZSTD, stored, length, "zstd");
}

/* --- many threads -------------------------------------------------------- */

struct job {
	pthread_t thread;
	uint32_t seed;
	bool good;
};

static void *work(void *arg)
{
	struct job *job = arg;
	unsigned char *bytes = malloc(3 * ROOM), *stored = bytes + ROOM;
	unsigned char *target = stored + ROOM;

	job->good = true;
	for (unsigned round = 0; round < 12; round++) {
		uint8_t type = round & 1;
		long got;

		fill_words(bytes, CLUSTER, job->seed + round);
		got = qcow2_compress(type, round & 2 ? 5 : 0, bytes, CLUSTER,
				     stored, ROOM, NULL);
		if (got <= 0 ||
		    qcow2_decompress(type, stored, (size_t)got, target, CLUSTER,
				     NULL) < 0 ||
		    memcmp(bytes, target, CLUSTER) != 0)
			job->good = false;
	}
	free(bytes);
	return NULL;
}

Test(qcow2_codec, threads_do_not_meet)
{
	struct job jobs[4];

	for (uint32_t i = 0; i < 4; i++) {
		jobs[i].seed = i * 1000;
		cr_assert_eq(pthread_create(&jobs[i].thread, NULL, work,
					    &jobs[i]),
			     0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(jobs[i].thread, NULL);
		cr_expect(jobs[i].good, "thread %u", i);
	}
}
