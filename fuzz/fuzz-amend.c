/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image that is amended; the last byte says how. If a check
 * finds nothing wrong before, it finds nothing afterwards, and the disk and its
 * snapshots read as they did.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

enum {
	MAX_DISK = 1 << 20, /* of which the content is compared */
	DISKS = 4,	    /* the active one, and the first snapshots' */
};

static const struct gild_option ways[][3] = {
	{ { "compat", "0.10" } },
	{ { "compat", "0.10" }, { "refcount_bits", "16" } },
	{ { "compat", "1.1" }, { "lazy_refcounts", "on" } },
	{ { "compat", "1.1" }, { "refcount_bits", "64" } },
	{ { "compat", "1.1" }, { "refcount_bits", "8" } },
	{ { "refcount_bits", "1" }, { "lazy_refcounts", "off" } },
	{ { "size", "1M" }, { "compat", "1.1" } },
	{ { "size", "500k" }, { "refcount_bits", "32" } },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static size_t count_of(const struct gild_option *options)
{
	size_t count = 0;

	while (count < 3 && options[count].name)
		count++;
	return count;
}

/* --- what disks hold ------------------------------------------------------ */

struct disks {
	unsigned char *bytes[DISKS]; /* owned; NULL: cannot be read, too large */
	uint64_t length[DISKS];
};

static void read_disk(struct disks *disks, unsigned n, struct image *image)
{
	disks->length[n] = image->size;
	if (image->size > MAX_DISK)
		return;
	disks->bytes[n] = malloc(image->size + 1);
	if (!disks->bytes[n])
		abort();
	if (image_read(image, disks->bytes[n], image->size, 0, NULL) == 0)
		return;
	free(disks->bytes[n]);
	disks->bytes[n] = NULL;
}

static void read_disks(struct disks *disks, struct image *image)
{
	struct image *view;

	*disks = (struct disks){ { NULL }, { 0 } };
	read_disk(disks, 0, image);
	for (unsigned n = 1; n < DISKS; n++) {
		view = image->ops->snapshots->view(image, n - 1, NULL);
		if (!view)
			return;
		read_disk(disks, n, view);
		image_free(view);
	}
}

static void free_disks(struct disks *disks)
{
	for (unsigned n = 0; n < DISKS; n++)
		free(disks->bytes[n]);
}

/* The active disk may have grown. */
static bool is_kept(const struct disks *before, const struct disks *now)
{
	for (unsigned n = 0; n < DISKS; n++) {
		if (n ? now->length[n] != before->length[n] :
			now->length[n] < before->length[n])
			return false;
		if (before->bytes[n] && now->length[n] <= MAX_DISK &&
		    (!now->bytes[n] || memcmp(now->bytes[n], before->bytes[n],
					      before->length[n])))
			return false;
	}
	return true;
}

/* --- amending ------------------------------------------------------------- */

/* What was closed properly opens, is sound, and holds what it held. */
static void judge(struct storage *storage, const struct disks *before)
{
	struct image *image = memory_open(storage, 0, NULL);
	struct disks now;

	if (!image || !memory_is_sound(image, 0, true))
		__builtin_trap();
	read_disks(&now, image);
	if (!is_kept(before, &now))
		__builtin_trap();
	free_disks(&now);
	image_free(image);
}

static void amend(struct storage *storage, const struct gild_option *options)
{
	const struct gild_amend_options how = {
		.options = options,
		.option_count = count_of(options),
	};
	struct image *image = memory_open(storage, GILD_OPEN_WRITE, NULL);
	struct disks before;

	if (!image)
		return;
	read_disks(&before, image);
	gild_amend((struct gild_image *)image, &how, NULL, NULL);
	if (image_flush(image, true, NULL) == 0)
		judge(memory_copy(image->storage), &before);
	free_disks(&before);
	image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image *image;

	fuzz_accepted = false;
	if (!size || size > FUZZ_MAX_INPUT)
		return 0;
	image = memory_open(memory_new(data, size), 0, NULL);
	fuzz_accepted = image && memory_is_sound(image, 0, false);
	image_free(image);
	if (fuzz_accepted)
		amend(memory_new(data, size), ways[data[size - 1] % WAYS]);
	return 0;
}
