/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bits of a bitmap in memory, in chunks of what a cluster of the file
 * holds. A chunk without bytes is zeros, so a large disk costs little until it
 * is written to; one that was marked as a whole costs nothing, either. Bit n is
 * bit n % 8 of byte n / 8. Bits beyond the end of the disk are zero.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define WORD 8 /* bytes that are looked at together */

unsigned char qcow2_bits_full[1];

static uint64_t bit_count(uint64_t size, uint32_t granularity_bits)
{
	return div_round_up(size, 1ULL << granularity_bits);
}

static uint64_t bits_of(const struct qcow2_bits *bits)
{
	return bit_count(bits->size, bits->granularity_bits);
}

static uint64_t chunk_bits(const struct qcow2_bits *bits)
{
	return bits->chunk_size * 8ULL;
}

uint64_t qcow2_bits_bytes(uint64_t size, uint32_t granularity_bits)
{
	return div_round_up(bit_count(size, granularity_bits), 8);
}

/* Bits that a chunk has. */
static uint64_t limit_of(const struct qcow2_bits *bits, uint32_t index)
{
	return min_u64(chunk_bits(bits),
		       bits_of(bits) - index * chunk_bits(bits));
}

uint32_t qcow2_bits_chunk_bytes(const struct qcow2_bits *bits, uint32_t index)
{
	return (uint32_t)round_up(div_round_up(limit_of(bits, index), 8), WORD);
}

static uint32_t chunks_for(uint64_t size, uint32_t granularity_bits,
			   uint32_t chunk_size)
{
	return (uint32_t)div_round_up(qcow2_bits_bytes(size, granularity_bits),
				      chunk_size);
}

struct qcow2_bits *qcow2_bits_new(uint64_t size, uint32_t granularity_bits,
				  uint32_t chunk_size, struct gild_error *err)
{
	struct qcow2_bits *bits = calloc(1, sizeof(*bits));

	if (!bits)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	bits->size = size;
	bits->granularity_bits = granularity_bits;
	bits->chunk_size = chunk_size;
	bits->count = chunks_for(size, granularity_bits, chunk_size);
	bits->chunks =
		calloc(bits->count ? bits->count : 1, sizeof(*bits->chunks));
	if (!bits->chunks) {
		free(bits);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	pthread_mutex_init(&bits->lock, NULL);
	return bits;
}

static void drop_bytes(struct qcow2_chunk *chunk)
{
	if (chunk->bytes != qcow2_bits_full)
		free(chunk->bytes);
	chunk->bytes = NULL;
}

void qcow2_bits_free(struct qcow2_bits *bits)
{
	if (!bits)
		return;
	for (uint32_t i = 0; i < bits->count; i++)
		drop_bytes(&bits->chunks[i]);
	free(bits->chunks);
	pthread_mutex_destroy(&bits->lock);
	free(bits);
}

/* --------------------------------------------------------------- marking -- */

/* The chunk has bytes of its own afterwards; false: no memory. */
static bool own_bytes(struct qcow2_bits *bits, uint32_t index)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];
	uint32_t length = qcow2_bits_chunk_bytes(bits, index);
	bool full = chunk->bytes == qcow2_bits_full;

	if (chunk->bytes && !full)
		return true;
	chunk->bytes = calloc(1, length);
	if (!chunk->bytes) {
		bits->lost = true;
		return false;
	}
	if (full)
		memset(chunk->bytes, 0xff, length);
	return true;
}

static bool set_byte(unsigned char *byte, unsigned mask)
{
	unsigned before = *byte;

	*byte = (unsigned char)(before | mask);
	return *byte != before;
}

/* Set [from, to); was one of them not set before? */
static bool set_range(unsigned char *bytes, uint64_t from, uint64_t to)
{
	unsigned first = 0xff << (from & 7) & 0xff;
	unsigned last = 0xff >> (7 - ((to - 1) & 7));
	uint64_t at = from / 8, end = (to - 1) / 8;
	bool changed;

	if (at == end)
		return set_byte(&bytes[at], first & last);
	changed = set_byte(&bytes[at], first);
	while (++at < end)
		changed |= set_byte(&bytes[at], 0xff);
	return set_byte(&bytes[end], last) || changed;
}

static void set_in_chunk(struct qcow2_bits *bits, uint32_t index, uint64_t from,
			 uint64_t to)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];

	if (chunk->bytes == qcow2_bits_full)
		return;
	if (!chunk->bytes && to - from == chunk_bits(bits)) {
		chunk->bytes = qcow2_bits_full;
		chunk->changed = true;
	} else if (own_bytes(bits, index) &&
		   set_range(chunk->bytes, from, to)) {
		chunk->changed = true;
	}
}

static void set(struct qcow2_bits *bits, uint64_t offset, uint64_t length)
{
	uint64_t at, end, next;

	if (offset >= bits->size || !length)
		return;
	length = min_u64(length, bits->size - offset);
	at = offset >> bits->granularity_bits;
	end = ((offset + length - 1) >> bits->granularity_bits) + 1;
	for (; at < end; at = next) {
		uint64_t start = at / chunk_bits(bits) * chunk_bits(bits);

		next = min_u64(end, start + chunk_bits(bits));
		set_in_chunk(bits, (uint32_t)(at / chunk_bits(bits)),
			     at - start, next - start);
	}
}

void qcow2_bits_set(struct qcow2_bits *bits, uint64_t offset, uint64_t length)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&bits->lock);

	set(bits, offset, length);
}

void qcow2_bits_clear(struct qcow2_bits *bits)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&bits->lock);

	for (uint32_t i = 0; i < bits->count; i++) {
		struct qcow2_chunk *chunk = &bits->chunks[i];

		chunk->changed = chunk->changed || chunk->bytes || chunk->entry;
		drop_bytes(chunk);
	}
	/* Nothing is missing among zeros. */
	bits->lost = false;
}

/* --------------------------------------------------------------- looking -- */

/* The first bit in [at, end) that is value, or end. */
static uint64_t find_in(const unsigned char *bytes, uint64_t at, uint64_t end,
			bool value)
{
	uint64_t word;

	for (; at < end; at = round_down(at, 64) + 64) {
		memcpy(&word, bytes + at / 64 * WORD, WORD);
		word = (le64toh(word) ^ (value ? 0 : UINT64_MAX)) >> (at & 63);
		if (word)
			return min_u64(at + (uint64_t)__builtin_ctzll(word),
				       end);
	}
	return end;
}

/* The first bit from at on that is value, or the number of bits. */
static uint64_t find(const struct qcow2_bits *bits, uint64_t at, bool value)
{
	uint64_t end = bits_of(bits), start, found;
	const unsigned char *bytes;
	uint32_t index;

	for (; at < end; at = start + chunk_bits(bits)) {
		index = (uint32_t)(at / chunk_bits(bits));
		start = index * chunk_bits(bits);
		bytes = bits->chunks[index].bytes;
		if (bytes && bytes != qcow2_bits_full) {
			found = find_in(bytes, at - start,
					limit_of(bits, index), value);
			if (found < limit_of(bits, index))
				return start + found;
		} else if ((bytes != NULL) == value) {
			return at;
		}
	}
	return end;
}

bool qcow2_bits_next(const struct qcow2_bits *bits, uint64_t *offset,
		     uint64_t *length)
{
	uint64_t start, end;

	if (*offset >= bits->size)
		return false;
	start = find(bits, *offset >> bits->granularity_bits, true);
	end = find(bits, start, false);
	if (start == end)
		return false;
	*offset = max_u64(*offset, start << bits->granularity_bits);
	*length = min_u64(end << bits->granularity_bits, bits->size) - *offset;
	return true;
}

static void merge_words(unsigned char *bytes, const unsigned char *from,
			uint32_t length, bool *changed)
{
	uint64_t word, more;

	for (uint32_t i = 0; i < length; i += WORD) {
		memcpy(&word, bytes + i, WORD);
		memcpy(&more, from + i, WORD);
		*changed = *changed || more & ~word;
		word |= more;
		memcpy(bytes + i, &word, WORD);
	}
}

/* Of bitmaps alike in everything. */
static void merge_chunk(struct qcow2_bits *bits, uint32_t index,
			const struct qcow2_chunk *from)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];

	if (!from->bytes || chunk->bytes == qcow2_bits_full)
		return;
	if (from->bytes == qcow2_bits_full)
		set_in_chunk(bits, index, 0, limit_of(bits, index));
	else if (own_bytes(bits, index))
		merge_words(chunk->bytes, from->bytes,
			    qcow2_bits_chunk_bytes(bits, index),
			    &chunk->changed);
}

static void merge_runs(struct qcow2_bits *bits, const struct qcow2_bits *from)
{
	uint64_t offset = 0, length;

	for (; qcow2_bits_next(from, &offset, &length); offset += length)
		set(bits, offset, length);
}

void qcow2_bits_merge(struct qcow2_bits *bits, struct qcow2_bits *from)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&from->lock);

	if (bits->size != from->size ||
	    bits->granularity_bits != from->granularity_bits ||
	    bits->chunk_size != from->chunk_size)
		merge_runs(bits, from);
	else
		for (uint32_t i = 0; i < bits->count; i++)
			merge_chunk(bits, i, &from->chunks[i]);
	bits->lost = bits->lost || from->lost;
}

uint64_t qcow2_bits_memory(const struct qcow2_bits *bits)
{
	uint64_t bytes = bits->count * sizeof(*bits->chunks);

	for (uint32_t i = 0; i < bits->count; i++)
		if (bits->chunks[i].bytes &&
		    bits->chunks[i].bytes != qcow2_bits_full)
			bytes += qcow2_bits_chunk_bytes(bits, i);
	return bytes;
}

bool qcow2_bits_changed(const struct qcow2_bits *bits)
{
	if (bits->stored != bits->count)
		return true;
	for (uint32_t i = 0; i < bits->count; i++)
		if (bits->chunks[i].changed)
			return true;
	return false;
}

/* -------------------------------------------------------------- resizing -- */

void qcow2_bits_clear_tail(struct qcow2_bits *bits)
{
	struct qcow2_chunk *chunk;
	uint64_t limit;
	uint32_t last;

	if (!bits->count)
		return;
	last = bits->count - 1;
	chunk = &bits->chunks[last];
	limit = limit_of(bits, last);
	if (!chunk->bytes)
		return;
	if (limit == chunk_bits(bits) || !own_bytes(bits, last))
		return;
	for (uint64_t at = limit;
	     at < qcow2_bits_chunk_bytes(bits, last) * 8ULL; at++) {
		if (!(chunk->bytes[at / 8] >> (at & 7) & 1))
			continue;
		chunk->bytes[at / 8] &= (unsigned char)~(1U << (at & 7));
		chunk->changed = true;
	}
}

/* Bytes of the last chunk for another size of the disk. */
static bool resize_last(struct qcow2_bits *bits, uint32_t index,
			uint32_t before)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];
	uint32_t now = qcow2_bits_chunk_bytes(bits, index);
	unsigned char *bytes;

	if (!chunk->bytes || chunk->bytes == qcow2_bits_full || now == before)
		return true;
	bytes = realloc(chunk->bytes, now);
	if (!bytes)
		return false;
	if (now > before)
		memset(bytes + before, 0, now - before);
	chunk->bytes = bytes;
	return true;
}

static bool resize_chunks(struct qcow2_bits *bits, uint32_t count)
{
	uint32_t room = count > bits->stored ? count : bits->stored;
	uint32_t had = bits->count > bits->stored ? bits->count : bits->stored;
	struct qcow2_chunk *chunks;

	for (uint32_t i = count; i < bits->count; i++)
		drop_bytes(&bits->chunks[i]);
	if (count < bits->count)
		bits->count = count;
	chunks = realloc(bits->chunks, (room ? room : 1) * sizeof(*chunks));
	if (!chunks)
		return false;
	if (room > had)
		memset(chunks + had, 0, (room - had) * sizeof(*chunks));
	bits->chunks = chunks;
	return true;
}

void qcow2_bits_resize(struct qcow2_bits *bits, uint64_t size)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&bits->lock);
	uint32_t count =
		chunks_for(size, bits->granularity_bits, bits->chunk_size);
	uint32_t last = (count < bits->count ? count : bits->count) - 1;
	uint32_t before = 0;

	if (last != UINT32_MAX)
		before = qcow2_bits_chunk_bytes(bits, last);
	if (!resize_chunks(bits, count)) {
		bits->lost = true;
		return;
	}
	bits->count = count;
	bits->size = size;
	if (last != UINT32_MAX && !resize_last(bits, last, before))
		bits->lost = true;
	/* What the file has of it may go on beyond the end. */
	if (last != UINT32_MAX && qcow2_bits_chunk_bytes(bits, last) < before)
		bits->chunks[last].changed = true;
	qcow2_bits_clear_tail(bits);
}
