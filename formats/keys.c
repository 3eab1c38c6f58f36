/* SPDX-License-Identifier: BSD-3-Clause */
/* Key slots of an open image, for every format that has a LUKS header. */
#include <string.h>

#include "formats/crypto/secrets.h"
#include "formats/image.h"

static const struct gild_secret *find(const struct image *image, const char *id,
				      struct gild_error *err)
{
	const struct gild_secret *secrets;
	size_t count;

	if (!id)
		return fail_null(err, GILD_ERR_INVALID, 0,
				 "neither a secret nor a key slot is named");
	if (secrets_find(&image->policy, id, &secrets, &count, err) < 0)
		return NULL;
	return secrets;
}

static int add(const struct image *image, const struct luks_area *area,
	       struct luks_header *header, const struct gild_key_change *change,
	       struct gild_error *err)
{
	const struct gild_secret *secret = find(image, change->secret, err);
	uint32_t milliseconds = change->milliseconds;
	struct luks_key key;
	int slot;

	if (!secret || secrets_unlock_key(area, header, &image->policy,
					  image->key_secret, &key, err) < 0)
		return -1;
	slot = luks_add(area, header, &key, secret, change->slot,
			milliseconds ? milliseconds : GILD_KEY_TIME, err);
	luks_key_wipe(&key);
	return slot < 0 ? -1 : 0;
}

/* Bits of the active slots, and of those that a secret opens. */
static int find_slots(const struct luks_area *area,
		      const struct luks_header *header,
		      const struct gild_secret *secret, unsigned *active,
		      unsigned *opened, struct gild_error *err)
{
	struct luks_key key;
	int got;

	*active = *opened = 0;
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (!header->slots[i].active)
			continue;
		*active |= 1U << i;
		got = luks_try(area, header, i, secret, &key, err);
		luks_key_wipe(&key);
		if (got < 0)
			return -1;
		*opened |= (unsigned)got << i;
	}
	return 0;
}

static int remove_opened(const struct image *image,
			 const struct luks_area *area,
			 struct luks_header *header,
			 const struct gild_key_change *change,
			 struct gild_error *err)
{
	const struct gild_secret *secret = find(image, change->secret, err);
	unsigned active, opened;

	if (!secret ||
	    find_slots(area, header, secret, &active, &opened, err) < 0)
		return -1;
	if (!opened)
		return fail(err, GILD_ERR_DENIED, 0,
			    "the secret \"%s\" opens no key slot",
			    change->secret);
	if (opened == active && !change->force)
		return fail(err, GILD_ERR_DENIED, 0,
			    "the secret \"%s\" is the last one: without it "
			    "nobody opens the image any more",
			    change->secret);
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (opened >> i & 1 &&
		    luks_remove(area, header, i, change->force, err) < 0)
			return -1;
	return 0;
}

static int change_slots(struct image *image,
			const struct gild_key_change *change,
			struct gild_error *err)
{
	struct luks_header header;
	struct luks_area area;

	if (image->ops->key_area(image, &area, err) < 0 ||
	    luks_read(&area, &header, err) < 0 ||
	    luks_check(&header, area.length, err) < 0)
		return -1;
	if (!change->remove)
		return add(image, &area, &header, change, err);
	if (change->slot < 0)
		return remove_opened(image, &area, &header, change, err);
	return luks_remove(&area, &header, (unsigned)change->slot,
			   change->force, err);
}

int gild_change_key(struct gild_image *handle,
		    const struct gild_key_change *change,
		    struct gild_error *err)
{
	struct image *image = image_of(handle);

	if (!image->encryption || strcmp(image->encryption, "luks") != 0)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: has no LUKS key slots", image->path);
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (change_slots(image, change, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}
