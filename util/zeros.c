/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding zeros. Most buffers that are not zero say so within their first
 * bytes, so those are looked at first; the rest is read in strides of 128
 * bytes, with the vectors of the machine that runs it (AVX2 where the
 * processor has it, else what the compiler's target has).
 */
#include "util/zeros.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

enum {
	STRIDE = 128
};

typedef uint64_t vector __attribute__((vector_size(16)));

static bool tail_is_zero(const unsigned char *p, size_t length)
{
	uint64_t word;

	for (; length >= sizeof(word); length -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		if (word)
			return false;
		p += sizeof(word);
	}
	while (length--)
		if (*p++)
			return false;
	return true;
}

/* length is a multiple of STRIDE. */
static bool strides_are_zero(const unsigned char *p, size_t length)
{
	vector v[STRIDE / sizeof(vector)];

	for (; length; length -= STRIDE, p += STRIDE) {
		memcpy(v, p, sizeof(v));
		v[0] |= v[1] | v[2] | v[3];
		v[0] |= v[4] | v[5] | v[6] | v[7];
		if (v[0][0] | v[0][1])
			return false;
	}
	return true;
}

#if HAVE_AVX2
__attribute__((target("avx2"))) static inline __m256i load(const void *p)
{
	return _mm256_loadu_si256(p);
}

/* length is a multiple of STRIDE. */
__attribute__((target("avx2"))) static bool
strides_are_zero_avx2(const unsigned char *p, size_t length)
{
	for (; length; length -= STRIDE, p += STRIDE) {
		__m256i a = _mm256_or_si256(load(p), load(p + 32));
		__m256i b = _mm256_or_si256(load(p + 64), load(p + 96));

		a = _mm256_or_si256(a, b);
		if (!_mm256_testz_si256(a, a))
			return false;
	}
	return true;
}
#endif

bool is_zero(const void *buffer, size_t length)
{
	const unsigned char *p = buffer;
	size_t strides;

	if (length < STRIDE)
		return tail_is_zero(p, length);
	if (!tail_is_zero(p, 16))
		return false;
	strides = length / STRIDE * STRIDE;
#if HAVE_AVX2
	if (__builtin_cpu_supports("avx2")) {
		if (!strides_are_zero_avx2(p, strides))
			return false;
	} else
#endif
		if (!strides_are_zero(p, strides))
		return false;
	return tail_is_zero(p + strides, length - strides);
}

static size_t block_length(size_t done, size_t length, size_t block)
{
	return length - done < block ? length - done : block;
}

size_t zero_run(const void *buffer, size_t length, size_t block, bool *zero)
{
	const unsigned char *p = buffer;
	size_t done = block_length(0, length, block);

	*zero = is_zero(p, done);
	while (done < length) {
		size_t next = block_length(done, length, block);

		if (is_zero(p + done, next) != *zero)
			break;
		done += next;
	}
	return done;
}
