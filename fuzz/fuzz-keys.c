/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A LUKS image, plain or within qcow2, some bytes of whose header are others:
 *
 *     byte 0       which of the two, and what is done with it
 *     byte 1       a key slot
 *     from 2 on    what the LUKS header's bytes (592) are changed by, then what
 *                  those of qcow2's pointer to it are (24); xor, so that an
 *                  input without more bytes means a header as it was made
 *
 * It is described, opened, read and written, and its key slots are changed.
 * Nothing may crash, and a change that is said to have succeeded must have its
 * effect. Where a header wants keys to be derived for long, that is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/crypto/secrets.h"
#include "formats/image.h"
#include "formats/qcow2/qcow2-format.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

#define DISK_SIZE 65536U
#define QUICK 5000 /* iterations */

static const struct gild_secret secrets[] = {
	{ .id = "old", .bytes = "x", .length = 1 },
	{ .id = "new", .bytes = "yy", .length = 2 },
};

/* --- the image ------------------------------------------------------------ */

static const struct gild_option luks_options[] = {
	{ "cipher-alg", "aes-128" }, { "cipher-mode", "cbc" },
	{ "hash-alg", "sha1" },	     { "iter-time", "1" },
	{ "key-secret", "old" },
};
static const struct gild_option qcow2_options[] = {
	{ "encrypt.cipher-alg", "aes-128" }, { "encrypt.cipher-mode", "cbc" },
	{ "encrypt.hash-alg", "sha1" },	     { "encrypt.iter-time", "1" },
	{ "encrypt.key-secret", "old" },     { "encrypt.format", "luks" },
};

/* One as it was made, and where in it the LUKS header is. */
struct sample {
	const char *format, *prefix;
	struct storage *storage;
	uint64_t header, pointer;
};

/* The first cluster's extension of that type; the image is ours. */
static uint64_t find_pointer(struct storage *storage)
{
	unsigned char head[512];

	if (storage_read(storage, head, sizeof(head), 0, NULL) < 0)
		abort();
	for (uint64_t at = 112; at < 400; at += 8)
		if (load_be32(head + at) == QCOW2_EXT_CRYPTO)
			return at;
	abort();
}

static void make(struct sample *sample, const struct gild_option *options,
		 size_t count)
{
	const struct gild_create_options create = {
		.format = sample->format,
		.size = DISK_SIZE,
		.options = options,
		.option_count = count,
		.policy = { .secrets = secrets, .secret_count = 2 },
	};
	const struct format_ops *ops = registry_find(sample->format);
	unsigned char place[8];

	sample->storage = memory_new("", 0);
	if (ops->create(sample->storage, &create, NULL, NULL) < 0)
		abort();
	if (!*sample->prefix)
		return;
	sample->pointer = find_pointer(sample->storage);
	if (storage_read(sample->storage, place, 8, sample->pointer + 8, NULL) <
	    0)
		abort();
	sample->header = load_be64(place);
}

static const struct sample *sample_of(bool qcow2)
{
	static struct sample samples[] = {
		{ .format = "luks", .prefix = "" },
		{ .format = "qcow2", .prefix = "encrypt." },
	};

	if (!samples[0].storage) {
		make(&samples[0], luks_options,
		     sizeof(luks_options) / sizeof(luks_options[0]));
		make(&samples[1], qcow2_options,
		     sizeof(qcow2_options) / sizeof(qcow2_options[0]));
	}
	return &samples[qcow2];
}

static void alter(struct storage *storage, uint64_t offset, size_t length,
		  const uint8_t *data, size_t size)
{
	unsigned char bytes[LUKS_HEADER];

	length = min_u64(length, size);
	if (storage_read(storage, bytes, length, offset, NULL) < 0)
		abort();
	for (size_t i = 0; i < length; i++)
		bytes[i] ^= data[i];
	if (storage_write(storage, bytes, length, offset, NULL) < 0)
		abort();
}

static struct storage *altered(const struct sample *sample, const uint8_t *data,
			       size_t size)
{
	struct storage *storage = memory_copy(sample->storage);

	alter(storage, sample->header, LUKS_HEADER, data, size);
	if (sample->pointer && size > LUKS_HEADER)
		alter(storage, sample->pointer, 24, data + LUKS_HEADER,
		      size - LUKS_HEADER);
	return storage;
}

/* --- what is done with it ------------------------------------------------- */

/* count: of the secrets, from which one on; 0: without. */
static struct image *open_with(const struct sample *sample,
			       struct storage *storage, unsigned from,
			       unsigned count, unsigned flags)
{
	const struct gild_open_options options = {
		.format = sample->format,
		.flags = flags | (count ? 0 : GILD_OPEN_LOCKED),
		.policy = { .secrets = secrets + from, .secret_count = count },
	};

	return image_open_storage(storage, &options, NULL);
}

static bool is_quick(const struct sample *sample, struct storage *storage)
{
	const struct luks_area area = {
		.storage = storage,
		.offset = sample->header,
		.length = LUKS_HEADER,
	};
	struct luks_header header;

	if (luks_read(&area, &header, NULL) < 0)
		return true; /* and so it is not opened */
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (header.slots[i].iterations > QUICK)
			return false;
	return header.digest_iterations <= QUICK;
}

static void look(const struct sample *sample, struct storage *storage)
{
	struct image *image = open_with(sample, storage, 0, 0, 0);
	struct gild_check_result result = { .report = NULL };

	if (!image)
		return;
	gild_info_free(gild_info((struct gild_image *)image, NULL));
	gild_check((struct gild_image *)image, 0, &result, NULL, NULL);
	image_free(image);
}

static void read_and_write(const struct sample *sample, struct image *image)
{
	unsigned char wrote[700], read[700];
	struct storage *copy;

	memset(wrote, 0x5a, sizeof(wrote));
	if (image->size < 5000 ||
	    image_write(image, wrote, sizeof(wrote), 3000, NULL) < 0 ||
	    image_flush(image, true, NULL) < 0)
		return;
	copy = memory_copy(image->storage);
	image = open_with(sample, copy, 0, 1, 0);
	if (!image || image_read(image, read, sizeof(read), 3000, NULL) < 0 ||
	    memcmp(read, wrote, sizeof(read)) != 0)
		__builtin_trap();
	image_free(image);
}

static int amend(struct image *image, const struct sample *sample,
		 const char *const *words, bool force)
{
	struct gild_amend_options how = { .force = force };
	struct gild_option options[4];
	char names[4][32];

	for (; words[0] && how.option_count < 4; words += 2) {
		struct gild_option *option = &options[how.option_count];

		snprintf(names[how.option_count], sizeof(names[0]), "%s%s",
			 sample->prefix, words[0]);
		option->name = names[how.option_count++];
		option->value = words[1];
	}
	how.options = options;
	if (gild_amend((struct gild_image *)image, &how, NULL, NULL) < 0)
		return -1;
	return image_flush(image, true, NULL);
}

static bool opens(const struct sample *sample, struct storage *storage,
		  unsigned which)
{
	struct image *image =
		open_with(sample, memory_copy(storage), which, 1, 0);

	image_free(image);
	return image != NULL;
}

static void add_key(const struct sample *sample, struct image *image,
		    const char *slot, bool force)
{
	const char *words[] = { "state",
				"active",
				"new-secret",
				"new",
				"iter-time",
				"1",
				slot ? "keyslot" : NULL,
				slot,
				NULL };

	if (amend(image, sample, words, force) == 0 &&
	    !opens(sample, image->storage, 1))
		__builtin_trap();
}

static void remove_key(const struct sample *sample, struct image *image,
		       bool force)
{
	static const char *const words[] = { "state", "inactive", "old-secret",
					     "old", NULL };

	if (amend(image, sample, words, force) == 0 &&
	    opens(sample, image->storage, 0))
		__builtin_trap();
}

static void remove_slot(const struct sample *sample, struct image *image,
			const char *slot, bool force)
{
	const char *words[] = { "state", "inactive", "keyslot", slot, NULL };

	amend(image, sample, words, force);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char slot[] = "0";
	const struct sample *sample;
	struct storage *storage;
	struct image *image;

	if (size < 2 || size > FUZZ_MAX_INPUT)
		return 0;
	sample = sample_of(data[0] & 1);
	slot[0] = (char)('0' + data[1] % 10);
	storage = altered(sample, data + 2, size - 2);
	look(sample, memory_copy(storage));
	if (!is_quick(sample, storage)) {
		storage_close(storage);
		return 0;
	}
	image = open_with(sample, storage, 0, 2, GILD_OPEN_WRITE);
	fuzz_accepted = image != NULL;
	if (!image)
		return 0;
	switch (data[0] >> 1 & 7) {
	case 0:
		read_and_write(sample, image);
		break;
	case 1:
	case 2:
		add_key(sample, image, slot, data[0] & 128);
		break;
	case 3:
	case 4:
		add_key(sample, image, NULL, data[0] & 128);
		break;
	case 5:
		remove_key(sample, image, data[0] & 128);
		break;
	default:
		remove_slot(sample, image, slot, data[0] & 128);
	}
	image_free(image);
	return 0;
}
