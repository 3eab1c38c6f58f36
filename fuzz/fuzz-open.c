/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image: opened, described, mapped and read, first for
 * reading, then each internal snapshot by the id that the image gives it.
 * Nothing may crash, hang, or use more memory than the caps allow.
 */
#include <string.h>

#include "formats/image.h"
#include "fuzz/fuzz.h"
#include "storage/faulty.h"

#define MAX_EXTENTS 512
#define READ_SIZE 5000

static struct gild_image *open_bytes(const uint8_t *data, size_t size,
				     const char *snapshot)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = GILD_OPEN_NO_BACKING,
		.snapshot = snapshot,
	};
	struct storage *storage = faulty_new(data, size, NULL);

	if (!storage)
		return NULL;
	return (struct gild_image *)image_open_storage(storage, &options, NULL);
}

static void read_some(struct gild_image *image, uint64_t offset)
{
	unsigned char buffer[READ_SIZE];
	uint64_t rest = gild_size(image) - offset;

	gild_read(image, buffer, rest < READ_SIZE ? rest : READ_SIZE, offset,
		  NULL);
}

static void walk(struct gild_image *image)
{
	uint64_t at = 0, size = gild_size(image);
	struct gild_extent extent;

	for (int i = 0; i < MAX_EXTENTS && at < size; i++) {
		if (gild_map(image, at, size - at, &extent, NULL) < 0) {
			read_some(image, at);
			return;
		}
		if (!extent.length || extent.length > size - at)
			__builtin_trap();
		read_some(image, at);
		at += extent.length;
	}
}

static void look(const uint8_t *data, size_t size, struct gild_image *image)
{
	struct gild_info *info = gild_info(image, NULL);
	struct gild_image *snapshot;

	walk(image);
	for (size_t i = 0; info && i < info->snapshot_count && i < 4; i++) {
		snapshot = open_bytes(data, size, info->snapshots[i].id);
		if (snapshot)
			walk(snapshot);
		gild_close(snapshot, NULL);
	}
	gild_info_free(info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gild_image *image;

	if (size > FUZZ_MAX_INPUT)
		return 0;
	image = open_bytes(data, size, NULL);
	if (image)
		look(data, size, image);
	gild_close(image, NULL);
	return 0;
}
