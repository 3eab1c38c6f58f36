/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compressed clusters. The first byte chooses: compression type, level, and
 * whether the rest is a stored cluster to be read, or a cluster to be stored
 * and read back.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "fuzz/fuzz.h"

#define CLUSTER 65536

static void round_trip(uint8_t type, int level, const uint8_t *data,
		       size_t size)
{
	static unsigned char packed[CLUSTER], back[CLUSTER];
	long length =
		qcow2_compress(type, level, data, size, packed, size, NULL);

	if (length <= 0)
		return;
	if (qcow2_decompress(type, packed, (size_t)length, back, size, NULL) ||
	    memcmp(back, data, size) != 0)
		__builtin_trap();
}

/* A first part is what the whole begins with. */
static void begin(uint8_t type, const uint8_t *data, size_t size,
		  const unsigned char *whole, size_t length)
{
	static unsigned char target[CLUSTER];
	size_t needed = size % length + 1;

	if (qcow2_decompress_first(type, data, size, target, needed, length,
				   NULL) == 0 &&
	    fuzz_accepted && memcmp(target, whole, needed) != 0)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char target[CLUSTER];
	uint8_t choice, type;
	size_t length;

	fuzz_accepted = false;
	if (size < 2 || size > CLUSTER)
		return 0;
	choice = *data++;
	size--;
	type = choice & 1 ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
	length = choice & 4 ? CLUSTER : 512;
	if (choice & 2) {
		round_trip(type, choice >> 2 & 7, data, size);
		return 0;
	}
	fuzz_accepted =
		qcow2_decompress(type, data, size, target, length, NULL) == 0;
	begin(type, data, size, target, length);
	return 0;
}
