/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be said about an encrypted image without a key. Keys and their order
 * are those of qemu-img's JSON.
 */
#include <stdio.h>
#include <string.h>

#include "formats/crypto/luks.h"

/* "xts-plain64", "cbc-essiv:sha256": split in place. */
struct mode {
	char text[LUKS_NAME + 1];
	const char *chaining, *ivgen, *hash; /* hash: or NULL */
};

static char *cut(char *text, char at)
{
	char *end = strchr(text, at);

	if (!end)
		return NULL;
	*end = '\0';
	return end + 1;
}

static void split(const struct luks_header *header, struct mode *mode)
{
	char *ivgen;

	memcpy(mode->text, header->mode, sizeof(mode->text));
	mode->chaining = mode->text;
	ivgen = cut(mode->text, '-');
	mode->hash = ivgen ? cut(ivgen, ':') : NULL;
	mode->ivgen = ivgen ? ivgen : "";
}

/* "aes" and 64 key bytes of "xts" are aes-256: xts has two keys. */
static int add_cipher(const struct luks_header *header, const struct mode *mode,
		      struct gild_value *to)
{
	uint64_t bits = header->key_length * 8ULL;
	char name[64];

	if (strcmp(mode->chaining, "xts") == 0)
		bits /= 2;
	snprintf(name, sizeof(name), "%s-%ju", header->cipher, (uintmax_t)bits);
	return value_add_string(to, "cipher-alg", name);
}

static int add_slot(const struct luks_slot *slot, struct gild_value *list)
{
	struct gild_value *to = value_add_tree(list, NULL, GILD_VALUE_OBJECT);

	if (!to || value_add_bool(to, "active", slot->active) < 0)
		return -1;
	if (slot->active && value_add_number(to, "iters", slot->iterations) < 0)
		return -1;
	if (value_add_number(to, "key-offset",
			     (uint64_t)LUKS_SECTOR * slot->sector) < 0)
		return -1;
	return slot->active ? value_add_number(to, "stripes", slot->stripes) :
			      0;
}

static int add_slots(const struct luks_header *header, struct gild_value *to)
{
	struct gild_value *list = value_add_tree(to, "slots", GILD_VALUE_LIST);

	if (!list)
		return -1;
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (add_slot(&header->slots[i], list) < 0)
			return -1;
	return 0;
}

int luks_info(const struct luks_header *header, bool format,
	      struct gild_value *to)
{
	struct mode mode;

	split(header, &mode);
	if (value_add_string(to, "ivgen-alg", mode.ivgen) < 0 ||
	    value_add_string(to, "hash-alg", header->hash) < 0 ||
	    add_cipher(header, &mode, to) < 0 ||
	    value_add_string(to, "uuid", header->uuid) < 0)
		return -1;
	if (mode.hash && value_add_string(to, "ivgen-hash-alg", mode.hash) < 0)
		return -1;
	if (format && value_add_string(to, "format", "luks") < 0)
		return -1;
	if (value_add_string(to, "cipher-mode", mode.chaining) < 0 ||
	    add_slots(header, to) < 0 ||
	    value_add_number(to, "payload-offset",
			     (uint64_t)LUKS_SECTOR * header->payload) < 0)
		return -1;
	return value_add_number(to, "master-key-iters",
				header->digest_iterations);
}
