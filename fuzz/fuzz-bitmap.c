/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image with bitmaps: these are changed as the input's
 * last bytes say, between writes and other sizes of the disk. Nothing may
 * crash, or use more memory than the caps allow; an image that was sound must
 * be sound afterwards, and what was stored must read back.
 */
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

enum {
	CHANGES = 12,
	KINDS = 10,
	NAMES = 4,
};

/* Names of the image's first bitmaps, and a new one. */
struct names {
	const char *list[NAMES];
	unsigned count;
};

static struct names names_of(const struct gild_info *info)
{
	struct names names = { { "new" }, 1 };

	for (size_t i = 0; i < info->bitmap_count && names.count < NAMES; i++)
		names.list[names.count++] = info->bitmaps[i].name;
	return names;
}

static void write_some(struct image *image, uint64_t at)
{
	static const unsigned char buffer[3000] = { 0x5a };

	if (!image->size)
		return;
	at %= image->size;
	image_write(image, buffer, min_u64(image->size - at, sizeof(buffer)),
		    at, NULL);
}

/* Sizes around what it is. */
static void resize(struct image *image, unsigned choice)
{
	uint64_t size = image->size;

	size = choice & 1 ? size / 2 : size + ((uint64_t)choice << 12);
	image_resize(image, round_up(size, 512), NULL);
}

static void change(struct image *image, const struct names *names,
		   uint8_t choice)
{
	struct gild_image *handle = (struct gild_image *)image;
	const char *name = names->list[choice / KINDS % names->count];
	const char *other = names->list[choice / 3 % names->count];

	switch (choice % KINDS) {
	case 0:
		gild_bitmap_add(handle, name, choice & 64 ? 512 : 0,
				choice & 128, NULL);
		break;
	case 1:
		gild_bitmap_remove(handle, name, NULL);
		break;
	case 2:
		gild_bitmap_clear(handle, name, NULL);
		break;
	case 3:
		gild_bitmap_enable(handle, name, NULL);
		break;
	case 4:
		gild_bitmap_disable(handle, name, NULL);
		break;
	case 5:
	case 6:
		gild_bitmap_merge(handle, name, handle, other, NULL);
		break;
	case 7:
		resize(image, choice);
		break;
	case 8:
		image_flush(image, choice & 64, NULL);
		break;
	default:
		write_some(image, (uint64_t)choice << 11);
	}
}

static void change_all(struct image *image, const uint8_t *data, size_t size)
{
	struct gild_info *info = gild_info((struct gild_image *)image, NULL);
	struct names names;

	if (!info)
		return;
	names = names_of(info);
	for (size_t i = 0; i < CHANGES && i < size; i++)
		change(image, &names, data[size - 1 - i]);
	gild_info_free(info);
}

/* What was stored can be read: all that is not inconsistent can be merged. */
static void read_back(struct storage *storage)
{
	struct image *image = memory_open(storage, GILD_OPEN_WRITE, NULL);
	struct gild_image *handle = (struct gild_image *)image;
	struct gild_info *info = image ? gild_info(handle, NULL) : NULL;

	if (image && !info)
		__builtin_trap();
	for (size_t i = 0; info && i < info->bitmap_count && i < NAMES; i++)
		gild_bitmap_merge(handle, info->bitmaps[0].name, handle,
				  info->bitmaps[i].name, NULL);
	gild_info_free(info);
	image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image *image;
	bool sound;

	fuzz_accepted = false;
	if (size > FUZZ_MAX_INPUT)
		return 0;
	image = memory_open(memory_new(data, size), GILD_OPEN_WRITE, NULL);
	if (!image)
		return 0;
	fuzz_accepted = true;
	sound = memory_is_sound(image, 0, false);
	change_all(image, data, size);
	if (image_flush(image, true, NULL) == 0 && sound) {
		if (!memory_is_sound(image, 0, true))
			__builtin_trap();
		read_back(memory_copy(image->storage));
	}
	image_free(image);
	return 0;
}
