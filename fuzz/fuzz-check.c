/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image: checked, repaired, and if the check then finds
 * nothing wrong, written to. What a repair says that it put right is right when
 * one looks again; what a check calls sound is sound after writes. That is what
 * this looks for, beside crashes.
 */
#include <string.h>

#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

#define WRITE_SIZE 3000
#define FIX_ALL (GILD_CHECK_FIX_LEAKS | GILD_CHECK_FIX_ERRORS)

static bool write_at(struct image *image, uint64_t offset)
{
	unsigned char buffer[WRITE_SIZE];
	uint64_t size = image->size, n;

	if (offset >= size)
		return true;
	n = size - offset < WRITE_SIZE ? size - offset : WRITE_SIZE;
	memset(buffer, 0x5a, sizeof(buffer));
	return !image_write(image, buffer, n, offset, NULL);
}

/* A few changes; false: one was refused, and the rest left alone. */
static bool change(struct image *image)
{
	uint64_t size = image->size;

	return write_at(image, 0) && write_at(image, size / 2) &&
	       !image_zero(image, 0, size < 9000 ? size : 9000, GILD_ZERO_UNMAP,
			   NULL) &&
	       !image_discard(image, size / 2,
			      size - size / 2 < 99999 ? size - size / 2 : 99999,
			      NULL) &&
	       !image_flush(image, false, NULL) && write_at(image, size / 3) &&
	       write_at(image, size - (size < 700 ? size : 700));
}

static void write_and_check(struct storage *storage)
{
	struct image *image = memory_open(storage, GILD_OPEN_WRITE, NULL);
	struct storage *after;

	if (!image)
		return;
	change(image);
	/* As closing does: lazy reference counts are written, too. */
	if (image_flush(image, true, NULL) < 0) {
		image_free(image);
		return;
	}
	after = memory_copy(image->storage);
	image_free(image);
	image = memory_open(after, GILD_OPEN_REPAIR, NULL);
	if (image && !memory_is_sound(image, 0, true))
		__builtin_trap();
	image_free(image);
}

static void repair(const uint8_t *data, size_t size, unsigned fix)
{
	struct image *image = memory_open(memory_new(data, size),
					  GILD_OPEN_REPAIR | GILD_OPEN_WRITE,
					  NULL);

	if (!image)
		return;
	if (memory_is_sound(image, fix, false)) {
		if (!memory_is_sound(image, 0, false))
			__builtin_trap();
		write_and_check(memory_copy(image->storage));
	}
	image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image *image;

	fuzz_accepted = false;
	if (size > FUZZ_MAX_INPUT)
		return 0;
	image = memory_open(memory_new(data, size), 0, NULL);
	fuzz_accepted = image != NULL;
	if (image)
		memory_is_sound(image, 0, false);
	image_free(image);
	repair(data, size, GILD_CHECK_FIX_LEAKS);
	repair(data, size, FIX_ALL);
	return 0;
}
