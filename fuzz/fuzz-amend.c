/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image that is amended; the last byte says how. Where a
 * check finds nothing wrong before, it finds nothing afterwards, and the disk
 * and its snapshots read as they did.
 */
#include "fuzz/disks.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

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

/* What was closed properly opens, is sound, and holds what it held. */
static void judge(struct storage *storage, const struct disks *before)
{
	struct image *image = memory_open(storage, 0, NULL);
	struct disks now;

	if (!image || !memory_is_sound(image, 0, true))
		__builtin_trap();
	disks_read(&now, image);
	for (unsigned n = 0; n < DISKS; n++)
		if (!disks_keep(before, n, &now, n) ||
		    (n && now.length[n] != before->length[n]))
			__builtin_trap();
	disks_free(&now);
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
	disks_read(&before, image);
	gild_amend((struct gild_image *)image, &how, NULL, NULL);
	if (image_flush(image, true, NULL) == 0)
		judge(memory_copy(image->storage), &before);
	disks_free(&before);
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
