/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory at an address that does not show in what is compressed.
 *
 * ISA-L's x86 code (seen in 2.30) takes the hash of the third byte of a stream
 * not from the data but from a register, which holds bits 16 and up of the
 * stream's address. The output is right, but about one cluster in thirty
 * thousand comes out differently from run to run. All that counts is the lower
 * bits of that hash, a CRC-32C; so streams are put where these are the same.
 */
#include <stdbool.h>
#include <sys/mman.h>

#include "formats/qcow2/codec/parts.h"

#define PLACE_STEP 0x10000ULL /* below this, bits do not count */
#define HASH_MASK 0x1fffU     /* entries of ISA-L's table at level 1 */
#define WANTED_HASH 0x155U    /* any will do */
#define MANY_PLACES (1U << 20)
#define CRC32C_POLYNOMIAL 0x82f63b78U

static bool is_neutral(uint64_t address)
{
	uint32_t crc = (uint32_t)(address / PLACE_STEP);

	for (int i = 0; i < 32; i++)
		crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
	return (crc & HASH_MASK) == WANTED_HASH;
}

static void *map_at(uint64_t address, size_t size, int flags)
{
	void *wanted = (void *)(uintptr_t)address, *got;

	got = mmap(wanted, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (got == MAP_FAILED)
		return NULL;
	/* An old kernel takes the address for a hint. */
	if (wanted && got != wanted) {
		munmap(got, size);
		return NULL;
	}
	return got;
}

void *qcow2_place_new(size_t size)
{
	void *anywhere = map_at(0, size, 0), *place;
	uint64_t address = (uintptr_t)anywhere / PLACE_STEP * PLACE_STEP;

	if (!anywhere)
		return NULL;
	for (unsigned i = 0; i < MANY_PLACES && address > PLACE_STEP; i++) {
		address -= PLACE_STEP;
		if (!is_neutral(address))
			continue;
		place = map_at(address, size, MAP_FIXED_NOREPLACE);
		if (!place)
			continue;
		munmap(anywhere, size);
		return place;
	}
	return anywhere;
}

void qcow2_place_free(void *place, size_t size)
{
	if (place)
		munmap(place, size);
}
