/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a LUKS header, of a file and of an area within one: read,
 * described, judged, and, where the header does not want it to take long,
 * unlocked.
 */
#include "formats/crypto/secrets.h"
#include "formats/image.h"
#include "fuzz/fuzz.h"
#include "storage/faulty.h"

#define FILE_LENGTH (300U << 10) /* room for the key material of one slot */
#define QUICK 20

static bool is_quick(const struct luks_header *header)
{
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (header->slots[i].active &&
		    header->slots[i].iterations > QUICK)
			return false;
	return header->digest_iterations <= QUICK;
}

static void unlock(const struct luks_area *area,
		   const struct luks_header *header)
{
	const struct gild_secret secret = { .bytes = "x", .length = 1 };
	const struct gild_policy policy = {
		.secrets = &secret,
		.secret_count = 1,
	};

	if (is_quick(header))
		cipher_free(secrets_unlock(area, header, &policy, NULL, NULL));
}

static void look(const struct luks_area *area)
{
	struct gild_value *value = value_object();
	struct luks_header header;

	if (luks_read(area, &header, NULL) == 0) {
		if (value)
			luks_info(&header, true, value);
		if (luks_check(&header, area->length, NULL) == 0)
			unlock(area, &header);
	}
	value_free(value);
}

/* Takes the storage. */
static void look_as_file(struct storage *storage)
{
	const struct gild_open_options options = {
		.format = "luks",
		.flags = GILD_OPEN_LOCKED,
	};
	struct gild_image *image = (struct gild_image *)image_open_storage(
		storage, &options, NULL);
	struct gild_extent extent;

	if (!image)
		return;
	gild_info_free(gild_info(image, NULL));
	if (gild_size(image))
		gild_map(image, 0, gild_size(image), &extent, NULL);
	gild_close(image, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct luks_area area = { .length = FILE_LENGTH };

	if (size > FILE_LENGTH)
		return 0;
	area.storage = faulty_new(data, size, NULL);
	if (!area.storage)
		return 0;
	if (storage_truncate(area.storage, FILE_LENGTH, false, NULL) == 0)
		look(&area);
	look_as_file(area.storage);
	return 0;
}
