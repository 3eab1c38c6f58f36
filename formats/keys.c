/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key slots of an open image, for every format that has a LUKS header. The
 * master key is that of the image's cipher: whoever opened the image has proved
 * to know a secret, and need not wait for its derivation again.
 *
 * A slot in use that gets another secret is never the only one meanwhile: the
 * new secret has a second slot until the first one is done, where one is free.
 */
#include <string.h>

#include "formats/crypto/secrets.h"
#include "formats/image.h"

/* What a change works on. */
struct slots {
	struct luks_area area;
	struct luks_header header;
	const struct cipher *cipher; /* borrowed */
};

static int find_secret(const struct image *image, const char *id,
		       const struct gild_secret **secret,
		       struct gild_error *err)
{
	size_t count;

	if (!id)
		return fail(err, GILD_ERR_INVALID, 0,
			    "neither a secret nor a key slot is named");
	return secrets_find(&image->policy, id, secret, &count, err);
}

/* --- adding --------------------------------------------------------------- */

static int get_key(const struct slots *slots, struct luks_key *key,
		   struct gild_error *err)
{
	int same;

	key->length = cipher_key(slots->cipher, key->bytes);
	same = luks_is_key(&slots->header, key, err);
	if (!same)
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the LUKS header is no longer that of the image's key");
	if (same != 1)
		luks_key_wipe(key);
	return same == 1 ? 0 : -1;
}

static bool is_active(const struct slots *slots, int slot)
{
	return slot >= 0 && slot < LUKS_SLOTS &&
	       slots->header.slots[slot].active;
}

/* A slot in use gets another secret. */
static int replace(struct slots *slots, const struct luks_key *key,
		   const struct gild_secret *secret, int slot,
		   uint32_t milliseconds, struct gild_error *err)
{
	struct luks_header *header = &slots->header;
	int spare = 0;

	while (spare < LUKS_SLOTS && header->slots[spare].active)
		spare++;
	if (spare < LUKS_SLOTS && luks_add(&slots->area, header, key, secret,
					   spare, milliseconds, err) < 0)
		return -1;
	if (luks_remove(&slots->area, header, (unsigned)slot, false, err) < 0 ||
	    luks_add(&slots->area, header, key, secret, slot, milliseconds,
		     err) < 0)
		return -1;
	if (spare == LUKS_SLOTS)
		return 0;
	return luks_remove(&slots->area, header, (unsigned)spare, false, err);
}

static int add(const struct image *image, struct slots *slots,
	       const struct gild_key_change *change, struct gild_error *err)
{
	uint32_t milliseconds = change->milliseconds ? change->milliseconds :
						       GILD_KEY_TIME;
	const struct gild_secret *secret;
	struct luks_key key;
	int ret;

	if (find_secret(image, change->secret, &secret, err) < 0 ||
	    get_key(slots, &key, err) < 0)
		return -1;
	if (change->force && is_active(slots, change->slot))
		ret = replace(slots, &key, secret, change->slot, milliseconds,
			      err);
	else
		ret = luks_add(&slots->area, &slots->header, &key, secret,
			       change->slot, milliseconds, err);
	luks_key_wipe(&key);
	return ret < 0 ? -1 : 0;
}

/* --- removing ------------------------------------------------------------- */

/* 1: the secret opens the slot, 0: it does not. */
static int opens(const struct slots *slots, unsigned slot,
		 const struct gild_secret *secret, struct gild_error *err)
{
	struct luks_key key;
	int got =
		luks_try(&slots->area, &slots->header, slot, secret, &key, err);

	luks_key_wipe(&key);
	return got;
}

/* Bits of the active slots, and of those that a secret opens. */
static int find_slots(const struct slots *slots,
		      const struct gild_secret *secret, unsigned *active,
		      unsigned *opened, struct gild_error *err)
{
	int got;

	*active = *opened = 0;
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (!slots->header.slots[i].active)
			continue;
		*active |= 1U << i;
		got = opens(slots, i, secret, err);
		if (got < 0)
			return -1;
		*opened |= (unsigned)got << i;
	}
	return 0;
}

static int remove_opened(const struct image *image, struct slots *slots,
			 const struct gild_key_change *change,
			 struct gild_error *err)
{
	const struct gild_secret *secret;
	unsigned active, opened;

	if (find_secret(image, change->secret, &secret, err) < 0 ||
	    find_slots(slots, secret, &active, &opened, err) < 0)
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
		if (opened >> i & 1 && luks_remove(&slots->area, &slots->header,
						   i, change->force, err) < 0)
			return -1;
	return 0;
}

static int remove_slot(const struct image *image, struct slots *slots,
		       const struct gild_key_change *change,
		       struct gild_error *err)
{
	const struct gild_secret *secret;
	int got = 1;

	if (change->secret && is_active(slots, change->slot)) {
		if (find_secret(image, change->secret, &secret, err) < 0)
			return -1;
		got = opens(slots, (unsigned)change->slot, secret, err);
	}
	if (got < 0)
		return -1;
	if (!got)
		return fail(err, GILD_ERR_DENIED, 0,
			    "the secret \"%s\" does not open key slot %d",
			    change->secret, change->slot);
	return luks_remove(&slots->area, &slots->header, (unsigned)change->slot,
			   change->force, err);
}

/* --- both ----------------------------------------------------------------- */

static int change_slots(struct image *image,
			const struct gild_key_change *change,
			struct gild_error *err)
{
	struct slots slots;

	if (image->ops->key_area(image, &slots.area, &slots.cipher, err) < 0 ||
	    luks_read(&slots.area, &slots.header, err) < 0 ||
	    luks_check(&slots.header, slots.area.length, err) < 0)
		return -1;
	if (!slots.cipher || slots.cipher == &cipher_locked) {
		fail(err, GILD_ERR_DENIED, 0,
		     "key slots are changed by who opens one, and no secret "
		     "was given");
		return error_hint(err, "give it with --secret-file FILE");
	}
	if (!change->remove)
		return add(image, &slots, change, err);
	if (change->slot < 0)
		return remove_opened(image, &slots, change, err);
	return remove_slot(image, &slots, change, err);
}

int image_change_key(struct image *image, const struct gild_key_change *change,
		     struct gild_error *err)
{
	if (!image->encryption || strcmp(image->encryption, "luks") != 0)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "has no LUKS key slots");
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "was opened for reading only");
	return change_slots(image, change, err);
}

int gild_change_key(struct gild_image *handle,
		    const struct gild_key_change *change,
		    struct gild_error *err)
{
	struct image *image = image_of(handle);

	if (image_change_key(image, change, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}
