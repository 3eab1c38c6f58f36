/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * luks: a LUKS version 1 header, and behind it the disk, encrypted; see
 * formats/crypto/luks.h. Sectors are numbered from the payload's beginning.
 *
 * Nothing says of a sector that it was never written: what is there decrypts to
 * something, so all of the disk is data, and a fresh one reads as anything.
 */
#include <string.h>

#include "formats/crypto/secrets.h"
#include "formats/image.h"
#include "util/bytes.h"

struct luks {
	struct image image; /* first */
	/* immutable after open */
	struct luks_header header;
	const struct cipher *cipher; /* owned */
	uint64_t payload;	     /* bytes before it */
};

static struct luks *luks_of(struct image *image)
{
	return (struct luks *)image;
}

/* --- opening -------------------------------------------------------------- */

static int read_header(struct luks *luks, uint64_t file_length,
		       struct gild_error *err)
{
	const struct luks_area area = {
		.storage = luks->image.storage,
		.length = file_length,
	};

	if (luks_read(&area, &luks->header, err) < 0)
		return -1;
	luks->payload = (uint64_t)luks->header.payload * LUKS_SECTOR;
	if (luks->payload == 0)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "a LUKS header whose data is in another file is "
			    "not supported");
	if (luks->payload > file_length)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the file ends at %ju, before the encrypted data, "
			    "which begins at %ju",
			    (uintmax_t)file_length, (uintmax_t)luks->payload);
	luks->image.size = round_down(file_length - luks->payload, LUKS_SECTOR);
	return 0;
}

static int unlock(struct luks *luks, struct gild_error *err)
{
	const struct image *image = &luks->image;
	const struct luks_area area = {
		.storage = image->storage,
		.length = luks->payload,
	};

	if (image->flags & GILD_OPEN_INSPECT)
		return 0;
	if (image->flags & GILD_OPEN_LOCKED && !image->policy.secret_count)
		luks->cipher = &cipher_locked;
	else
		luks->cipher = secrets_unlock(&area, &luks->header,
					      &image->policy, image->key_secret,
					      err);
	return luks->cipher ? 0 : -1;
}

static int luks_open(struct image *image, struct gild_error *err)
{
	struct luks *luks = luks_of(image);
	uint64_t file_length;

	image->unit = LUKS_SECTOR;
	image->encryption = "luks";
	if (storage_size(image->storage, &file_length, err) < 0 ||
	    read_header(luks, file_length, err) < 0)
		return -1;
	return unlock(luks, err);
}

static void luks_close(struct image *image)
{
	cipher_free(luks_of(image)->cipher);
}

static const struct gild_option_help luks_amend_help[] = {
	LUKS_AMEND_ROWS(""),
	{ 0 },
};

static int luks_amend(struct image *image, const struct amend *amend,
		      struct gild_error *err)
{
	struct gild_key_change change;
	bool wanted;

	if (luks_amend_parse(amend->options, amend->option_count, "", &wanted,
			     &change, err) < 0)
		return -1;
	change.force = amend->force;
	return wanted ? image_change_key(image, &change, err) : 0;
}

static int luks_key_area(struct image *image, struct luks_area *area,
			 const struct cipher **cipher, struct gild_error *err)
{
	(void)err;
	*cipher = luks_of(image)->cipher;
	*area = (struct luks_area){
		.storage = image->storage,
		.length = luks_of(image)->payload,
	};
	return 0;
}

/* --- reading and writing -------------------------------------------------- */

static int luks_map(struct image *image, uint64_t offset, uint64_t length,
		    struct extent *extent, struct gild_error *err)
{
	const struct luks *luks = luks_of(image);

	(void)err;
	*extent = (struct extent){
		.kind = EXTENT_DATA,
		.writable = image->flags & GILD_OPEN_WRITE,
		.allocated = true,
		.length = length,
		.storage = image->storage,
		.host_offset = luks->payload + offset,
		.cipher = luks->cipher,
		.cipher_offset = offset,
	};
	return 0;
}

static int luks_prepare_write(struct image *image, uint64_t offset,
			      uint64_t length, struct write_plan *plan,
			      struct gild_error *err)
{
	const struct luks *luks = luks_of(image);

	(void)err;
	*plan = (struct write_plan){
		.start = offset,
		.length = length,
		.storage = image->storage,
		.host_offset = luks->payload + offset,
		.in_place = true,
		.cipher = luks->cipher,
		.cipher_offset = offset,
	};
	return 0;
}

static int check_size(uint64_t size, uint64_t payload, struct gild_error *err)
{
	if (size <= INT64_MAX - payload - LUKS_SECTOR)
		return 0;
	return fail(err, GILD_ERR_RANGE, 0, "image size is too large");
}

static int luks_resize(struct image *image, uint64_t size,
		       struct gild_error *err)
{
	const struct luks *luks = luks_of(image);

	if (check_size(size, luks->payload, err) < 0 ||
	    storage_truncate(image->storage, luks->payload + size, false, err) <
		    0)
		return -1;
	image->size = size;
	return 0;
}

/* --- making, describing --------------------------------------------------- */

static const struct gild_option_help luks_option_help[] = {
	LUKS_OPTION_ROWS(""),
	FILE_HINT_ROWS,
	{ "preallocation", "string", "off",
	  "Preallocation mode (allowed values: off, falloc, full)" },
	{ "size", "size", NULL, "size of the virtual disk" },
	{ 0 },
};

/* length: of the whole file. What is written in full is not the disk: that is
 * whatever the zeros decrypt to. */
static int make_room(struct storage *storage, uint64_t length,
		     const struct gild_create_options *create,
		     struct gild_error *err)
{
	const char *mode = option_get(create->options, create->option_count,
				      "preallocation");

	if (!mode || !strcmp(mode, "off"))
		return storage_truncate(storage, length, false, err);
	if (!strcmp(mode, "falloc"))
		return storage_truncate(storage, length, true, err);
	if (!strcmp(mode, "full"))
		return storage_write_zeros(storage, 0, length, err);
	return fail(err, GILD_ERR_INVALID, 0,
		    "preallocation of a luks image is off, falloc or full, "
		    "not \"%s\"",
		    mode);
}

static int luks_create_image(struct storage *storage,
			     const struct gild_create_options *create,
			     struct companion *companion,
			     struct gild_error *err)
{
	struct luks_area area = { .storage = storage, .unpublished = true };
	const struct gild_secret *secret;
	struct luks_options options;
	struct luks_header header;

	(void)companion;
	if (create->backing)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a luks image cannot have a backing file");
	if (luks_options_parse(create->options, create->option_count, "",
			       &options, err) < 0)
		return -1;
	area.length = luks_fresh_length(&options);
	secret = secrets_find_one(&create->policy, options.secret_id, err);
	if (!secret || check_size(create->size, area.length, err) < 0 ||
	    make_room(storage,
		      area.length + round_up(create->size, LUKS_SECTOR), create,
		      err) < 0)
		return -1;
	return luks_create(&area, &options, secret, &header, err);
}

static int luks_measure(uint64_t size, uint64_t allocated_bytes,
			const struct gild_option *options, size_t option_count,
			struct gild_measurement *result, struct gild_error *err)
{
	struct luks_options parsed;

	(void)allocated_bytes;
	if (option_check(luks_option_help, options, option_count, err) < 0 ||
	    luks_options_parse(options, option_count, "", &parsed, err) < 0 ||
	    check_size(size, luks_fresh_length(&parsed), err) < 0)
		return -1;
	result->required = luks_fresh_length(&parsed) + size;
	result->fully_allocated = result->required;
	return 0;
}

static int luks_describe(struct image *image, struct gild_info *info,
			 struct gild_error *err)
{
	info->encrypted = true;
	info->specific = value_object();
	if (!info->specific ||
	    luks_info(&luks_of(image)->header, false, info->specific) < 0)
		return fail_nomem(err);
	return 0;
}

const struct format_ops luks_format = {
	.name = "luks",
	.create_help = luks_option_help,
	.amend_help = luks_amend_help,
	.probe = luks_probe,
	.struct_size = sizeof(struct luks),
	.open = luks_open,
	.close = luks_close,
	.map = luks_map,
	.prepare_write = luks_prepare_write,
	.resize = luks_resize,
	.create = luks_create_image,
	.measure = luks_measure,
	.amend = luks_amend,
	.key_area = luks_key_area,
	.info = luks_describe,
};
