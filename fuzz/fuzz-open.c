/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image: opened, described, mapped and read, and so each
 * internal snapshot by the id that the image gives it, and as a view with its
 * VM state; then opened for writing, written, zeroed, discarded, compressed,
 * given back what a snapshot had, flushed. An image that was sound must be
 * sound afterwards. Nothing may crash, hang, or use more memory than the caps
 * allow.
 */
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

enum {
	MAX_EXTENTS = 300,
	READ_SIZE = 5000,
	CHANGES = 12
};

/* --- reading ------------------------------------------------------------- */

static void read_some(struct image *image, uint64_t offset)
{
	unsigned char buffer[READ_SIZE];

	image_read(image, buffer, min_u64(image->size - offset, READ_SIZE),
		   offset, NULL);
}

static void walk(struct image *image, uint64_t at)
{
	struct gild_extent extent;

	for (int i = 0; i < MAX_EXTENTS && at < image->size; i++) {
		read_some(image, at);
		if (gild_map((struct gild_image *)image, at, image->size - at,
			     &extent, NULL) < 0) {
			/* What is behind a broken cluster is there all the
			 * same. */
			at = round_down(at, image->cluster_size) +
			     image->cluster_size;
			continue;
		}
		if (!extent.length || extent.length > image->size - at)
			__builtin_trap();
		at += extent.length;
	}
}

/* Where two disks of one image have the same. */
static void compare(struct image *a, struct image *b)
{
	uint64_t size = min_u64(a->size, b->size), at = 0, run;
	bool same;

	for (int i = 0; i < MAX_EXTENTS && at < size; i++, at += run) {
		if (a->ops->snapshots->same(a, b, at, size - at, &same, &run,
					    NULL) < 0)
			return;
		if (!run || run > size - at)
			__builtin_trap();
	}
}

static void look_at_view(struct image *image, size_t index)
{
	const struct snapshot_ops *ops = image->ops->snapshots;
	struct image *view = ops->view(image, index, NULL), *state;

	if (!view)
		return;
	walk(view, 0);
	compare(view, image);
	state = ops->view_vm_state(view, NULL);
	if (state) {
		walk(state, 0);
		walk(state, state->size - min_u64(state->size, 64 << 10));
	}
	image_free(state);
	image_free(view);
}

static void look(const uint8_t *data, size_t size, struct image *image)
{
	struct gild_info *info = gild_info((struct gild_image *)image, NULL);
	struct image *snapshot;

	walk(image, 0);
	walk(image, image->size - min_u64(image->size, 64 << 10));
	for (size_t i = 0; info && i < info->snapshot_count && i < 4; i++) {
		snapshot = memory_open(memory_new(data, size), 0,
				       info->snapshots[i].id);
		if (snapshot)
			walk(snapshot, 0);
		image_free(snapshot);
		look_at_view(image, i);
	}
	gild_info_free(info);
}

/* --- writing ------------------------------------------------------------- */

/* Places that the input's last bytes choose; half of them where there is
 * something in a small image. */
static uint64_t place(const struct image *image, const uint8_t *data,
		      size_t size, unsigned n)
{
	uint64_t word = 0;

	if (size >= 8 * (n + 1ULL))
		word = load_be64(data + size - 8 * (n + 1ULL));
	if (n & 1)
		word %= 64ULL * image->cluster_size;
	return word % image->size;
}

static void adopt(struct image *image, uint64_t at, uint64_t length)
{
	struct image *view = image->ops->snapshots->view(image, 0, NULL);

	at = round_down(at, image->cluster_size);
	length = min_u64(length, image->size - at);
	if (view || image->backing_name)
		image_adopt(image, view, at, length, NULL);
	image_free(view);
}

static void change_once(struct image *image, uint64_t at, unsigned n)
{
	static const unsigned char buffer[READ_SIZE] = { 0x5a };
	uint64_t rest = image->size - at, unit = image->cluster_size;

	switch (n % 6) {
	case 0:
	case 1:
		image_write(image, buffer, min_u64(rest, READ_SIZE), at, NULL);
		break;
	case 2:
		image_zero(image, at, min_u64(rest, 3 * unit), n, NULL);
		break;
	case 3:
		image_discard(image, at, min_u64(rest, 3 * unit), NULL);
		break;
	case 4:
		adopt(image, at, 5 * unit);
		break;
	default:
		at = round_down(at, unit);
		rest = min_u64(image->size - at, unit);
		if (rest <= READ_SIZE)
			gild_write_compressed((struct gild_image *)image,
					      buffer, rest, at, NULL);
	}
}

static void write_to(const uint8_t *data, size_t size)
{
	struct image *image =
		memory_open(memory_new(data, size), GILD_OPEN_WRITE, NULL);
	bool sound;

	if (!image)
		return;
	sound = memory_is_sound(image, 0, false);
	for (unsigned n = 0; n < CHANGES && image->size; n++)
		change_once(image, place(image, data, size, n), n);
	if (image_flush(image, true, NULL) == 0 && sound &&
	    !memory_is_sound(image, 0, true))
		__builtin_trap();
	image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image *image;

	fuzz_accepted = false;
	if (size > FUZZ_MAX_INPUT)
		return 0;
	image = memory_open(memory_new(data, size), 0, NULL);
	if (!image)
		return 0;
	fuzz_accepted = true;
	look(data, size, image);
	image_free(image);
	write_to(data, size);
	return 0;
}
