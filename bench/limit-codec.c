/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits of compressing and decompressing clusters of 64 KiB on all
 * processors, input in the page cache:
 *
 *   limit-codec pack deflate|zstd RAW      read, compress; nothing is written
 *   limit-codec unpack deflate|zstd RAW NEW
 *                                          decompress, write
 *   limit-codec compare deflate|zstd RAW   decompress, read, compare
 *
 * The last two compress the disk into memory first, untimed, as qemu-img does
 * (deflate: zlib's level 6; zstd: level 3). The compressor that is timed is
 * ISA-L's level 1 with a window of 4 KiB, and zstd's level 3; the
 * decompressors are libdeflate and zstd.
 */
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "bench/limit.h"

enum {
	CLUSTER = 1 << 16,
	PER_CHUNK = CHUNK / CLUSTER,
	WINDOW_BITS = 12,
	MEMORY_LEVEL = 9,
};

/* The packed clusters of one chunk. */
struct packed {
	unsigned char *bytes;
	size_t length[PER_CHUNK];
};

static struct chunks chunks;
static struct packed *packed;
static int raw, target;
static bool zstd;

static size_t pack_isal(const unsigned char *cluster, size_t length,
			unsigned char *to)
{
	static _Thread_local struct isal_zstream stream;
	static _Thread_local uint8_t level_buffer[ISAL_DEF_LVL1_DEFAULT];

	isal_deflate_stateless_init(&stream);
	stream.next_in = (uint8_t *)(uintptr_t)cluster;
	stream.avail_in = (uint32_t)length;
	stream.next_out = to;
	stream.avail_out = CLUSTER;
	stream.end_of_stream = 1;
	stream.hist_bits = WINDOW_BITS;
	stream.level = 1;
	stream.level_buf = level_buffer;
	stream.level_buf_size = sizeof(level_buffer);
	return isal_deflate_stateless(&stream) ? 0 : stream.total_out;
}

static size_t pack_zlib(const unsigned char *cluster, size_t length,
			unsigned char *to)
{
	z_stream stream = { .next_in = (Bytef *)(uintptr_t)cluster,
			    .avail_in = (uInt)length,
			    .next_out = to,
			    .avail_out = CLUSTER };
	size_t out;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
			 -WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY))
		limit_die("zlib");
	out = deflate(&stream, Z_FINISH) == Z_STREAM_END ? stream.total_out : 0;
	deflateEnd(&stream);
	return out;
}

static size_t pack_zstd(const unsigned char *cluster, size_t length,
			unsigned char *to)
{
	static _Thread_local ZSTD_CCtx *context;
	size_t out;

	if (!context)
		context = ZSTD_createCCtx();
	out = ZSTD_compressCCtx(context, to, CLUSTER, cluster, length,
				ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(out) ? 0 : out;
}

/* 0: it does not shrink. */
static size_t pack(bool timed, const unsigned char *cluster, size_t length,
		   unsigned char *to)
{
	if (zstd)
		return pack_zstd(cluster, length, to);
	return timed ? pack_isal(cluster, length, to) :
		       pack_zlib(cluster, length, to);
}

static void unpack(const unsigned char *stored, size_t stored_length,
		   unsigned char *to, size_t length)
{
	static _Thread_local struct libdeflate_decompressor *inflater;
	static _Thread_local ZSTD_DCtx *context;

	if (stored_length == length) {
		memcpy(to, stored, length);
	} else if (zstd) {
		if (!context)
			context = ZSTD_createDCtx();
		if (ZSTD_decompressDCtx(context, to, length, stored,
					stored_length) != length)
			limit_die("zstd");
	} else {
		if (!inflater)
			inflater = libdeflate_alloc_decompressor();
		if (libdeflate_deflate_decompress(
			    inflater, stored, stored_length, to, length, NULL))
			limit_die("libdeflate");
	}
}

static size_t cluster_length(const struct chunk *chunk, size_t i)
{
	size_t left = chunk->length - i * CLUSTER;

	return left < CLUSTER ? left : CLUSTER;
}

static size_t clusters(const struct chunk *chunk)
{
	return (chunk->length + CLUSTER - 1) / CLUSTER;
}

static void pack_chunk(size_t n, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[n];

	read_at(raw, buffer, chunk->length, chunk->start);
	for (size_t i = 0; i < clusters(chunk); i++)
		pack(true, buffer + i * CLUSTER, cluster_length(chunk, i),
		     buffer + CHUNK);
}

/* Keep the chunk's clusters, those that do not shrink as they are. */
static void keep_chunk(size_t n, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[n];
	unsigned char *from = buffer, *to = buffer + CHUNK;
	size_t length, out;

	read_at(raw, buffer, chunk->length, chunk->start);
	for (size_t i = 0; i < clusters(chunk); i++, from += length) {
		length = cluster_length(chunk, i);
		out = pack(false, from, length, to);
		if (!out || out >= length)
			memcpy(to, from, out = length);
		packed[n].length[i] = out;
		to += out;
	}
	length = (size_t)(to - (buffer + CHUNK));
	packed[n].bytes = malloc(length ? length : 1);
	if (!packed[n].bytes)
		limit_die("memory");
	memcpy(packed[n].bytes, buffer + CHUNK, length);
}

static void unpack_chunk(size_t n, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[n];
	const unsigned char *from = packed[n].bytes;

	for (size_t i = 0; i < clusters(chunk); i++) {
		unpack(from, packed[n].length[i], buffer + i * CLUSTER,
		       cluster_length(chunk, i));
		from += packed[n].length[i];
	}
}

static void write_chunk(size_t n, unsigned char *buffer)
{
	unpack_chunk(n, buffer);
	write_at(target, buffer, chunks.chunk[n].length, chunks.chunk[n].start);
}

static void compare_chunk(size_t n, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[n];

	unpack_chunk(n, buffer);
	read_at(raw, buffer + CHUNK, chunk->length, chunk->start);
	if (memcmp(buffer, buffer + CHUNK, chunk->length))
		limit_die("comparing");
}

static void keep_all(void)
{
	packed = calloc(chunks.count, sizeof(*packed));
	if (!packed)
		limit_die("memory");
	/* One cluster more: what is being packed may not fit. */
	limit_parallel(chunks.count, (size_t)CHUNK * 2 + CLUSTER, keep_chunk);
}

int main(int argc, char **argv)
{
	void (*work)(size_t i, unsigned char *buffer) = compare_chunk;

	if (argc < 4)
		return 1;
	zstd = !strcmp(argv[2], "zstd");
	raw = limit_open(argv[3]);
	chunks_find(&chunks, raw);
	if (!strcmp(argv[1], "pack"))
		work = pack_chunk;
	else
		keep_all();
	limit_begin();
	if (argc > 4) {
		target = limit_make(argv[4], chunks.size);
		work = write_chunk;
	}
	limit_parallel(chunks.count, (size_t)CHUNK * 2, work);
	limit_end();
	return 0;
}
