/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image: checked, repaired, and if the check then finds
 * nothing wrong, written to. What a check calls sound must still be sound
 * after writes: that is what this looks for, beside crashes.
 */
#include <string.h>

#include "formats/image.h"
#include "fuzz/fuzz.h"
#include "storage/faulty.h"

#define WRITE_SIZE 3000

/* Takes the storage. */
static struct gild_image *open_storage(struct storage *storage, unsigned flags)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags | GILD_OPEN_NO_BACKING,
	};

	if (!storage)
		return NULL;
	return (struct gild_image *)image_open_storage(storage, &options, NULL);
}

static void count_flags(void *opaque, const char *line)
{
	*(uint64_t *)opaque += strstr(line, "OFLAG_COPIED") != NULL;
}

/* Is it sound, as far as the check can tell? A cluster that two places of the
 * disk share stops being shared when one of them is written; that its other
 * place lacks the "copied" flag then is harmless. */
static bool check(struct gild_image *image, unsigned fix, bool allow_flags)
{
	uint64_t flags = 0;
	struct gild_check_result result = {
		.report = count_flags,
		.opaque = &flags,
	};

	if (gild_check(image, fix, &result, NULL, NULL) ||
	    result.check_errors)
		return false;
	return result.corruptions <= (allow_flags ? flags : 0);
}

/* A copy of the disk in memory behind an image, which goes. */
static struct storage *take_over(struct gild_image *image)
{
	struct storage *from = image_of(image)->storage;
	const void *content;
	uint64_t length;
	struct storage *copy;

	content = faulty_content(from, &length);
	copy = faulty_new(content, length, NULL);
	gild_close(image, NULL);
	return copy;
}

static bool write_at(struct gild_image *image, uint64_t offset)
{
	unsigned char buffer[WRITE_SIZE];
	uint64_t size = gild_size(image), n;

	if (offset >= size)
		return true;
	n = size - offset < WRITE_SIZE ? size - offset : WRITE_SIZE;
	memset(buffer, 0x5a, sizeof(buffer));
	return !gild_write(image, buffer, n, offset, NULL);
}

/* A few changes; false: one was refused, and the rest left alone. */
static bool change(struct gild_image *image)
{
	uint64_t size = gild_size(image);

	return write_at(image, 0) && write_at(image, size / 2) &&
	       !gild_zero(image, 0, size < 9000 ? size : 9000,
			  GILD_ZERO_UNMAP, NULL) &&
	       !gild_discard(image, size / 2, size - size / 2 < 99999 ?
			     size - size / 2 : 99999, NULL) &&
	       !gild_flush(image, NULL) && write_at(image, size / 3) &&
	       write_at(image, size - (size < 700 ? size : 700));
}

static void write_and_check(struct storage *storage)
{
	struct gild_image *image = open_storage(storage, GILD_OPEN_WRITE);
	struct storage *after;

	if (!image)
		return;
	change(image);
	/* As closing does: lazy reference counts are written, too. */
	if (image_flush(image_of(image), true, NULL)) {
		gild_close(image, NULL);
		return;
	}
	after = take_over(image);
	image = open_storage(after, GILD_OPEN_REPAIR);
	if (image && !check(image, 0, true))
		__builtin_trap();
	gild_close(image, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gild_image *image;
	bool sound;

	if (size > FUZZ_MAX_INPUT)
		return 0;
	image = open_storage(faulty_new(data, size, NULL), GILD_OPEN_REPAIR);
	if (!image)
		return 0;
	check(image, 0, false);
	gild_close(image, NULL);
	image = open_storage(faulty_new(data, size, NULL),
			     GILD_OPEN_REPAIR | GILD_OPEN_WRITE);
	if (!image)
		return 0;
	sound = check(image, GILD_CHECK_FIX_LEAKS | GILD_CHECK_FIX_ERRORS,
		      false) &&
		check(image, 0, false);
	if (sound)
		write_and_check(take_over(image));
	else
		gild_close(image, NULL);
	return 0;
}
