/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be said about an encrypted image without a key: the LUKS header, of
 * which the qcow2 header says where it is. Keys and their order are those of
 * "encrypt" in qemu-img's JSON.
 *
 * Layout ("LUKS On-Disk Format Specification", version 1): magic, version,
 * cipher at 8, mode at 40, hash at 72, payload at 104 (sectors), key bytes at
 * 108, iterations at 164, UUID at 168; from 208 on eight key slots of 48 bytes:
 * active, iterations, salt, offset at 40 (sectors), stripes at 44.
 */
#include <stdio.h>

#include "formats/qcow2/info-parts.h"
#include "util/bytes.h"

#define LUKS_HEADER 592
#define LUKS_SLOTS 8
#define LUKS_SLOT_ACTIVE 0x00ac71f3U
#define SECTOR 512

/* A string of at most length - 1 bytes, closed where it is not. */
static void read_string(char *to, const unsigned char *from, size_t length)
{
	memcpy(to, from, length - 1);
	to[length - 1] = 0;
}

/* "aes" and 64 key bytes of "xts-plain64" are aes-256: xts has two keys. */
static int add_cipher(struct gild_value *to, const unsigned char *luks,
		      const char *mode)
{
	uint32_t bits = load_be32(luks + 108) * 8;
	char cipher[32], name[64];

	read_string(cipher, luks + 8, 32);
	if (strcmp(mode, "xts") == 0)
		bits /= 2;
	snprintf(name, sizeof(name), "%s-%u", cipher, bits);
	return value_add_string(to, "cipher-alg", name);
}

static int add_slot(struct gild_value *list, const unsigned char *slot)
{
	bool active = load_be32(slot) == LUKS_SLOT_ACTIVE;
	struct gild_value *to = value_add_tree(list, NULL, GILD_VALUE_OBJECT);

	if (!to || value_add_bool(to, "active", active) < 0)
		return -1;
	if (active && value_add_number(to, "iters", load_be32(slot + 4)) < 0)
		return -1;
	if (value_add_number(to, "key-offset",
			     (uint64_t)SECTOR * load_be32(slot + 40)) < 0)
		return -1;
	return active ? value_add_number(to, "stripes", load_be32(slot + 44)) :
			0;
}

static int add_slots(struct gild_value *to, const unsigned char *luks)
{
	struct gild_value *list = value_add_tree(to, "slots", GILD_VALUE_LIST);

	if (!list)
		return -1;
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (add_slot(list, luks + 208 + i * 48ULL) < 0)
			return -1;
	}
	return 0;
}

static int add_luks(struct gild_value *to, const unsigned char *luks)
{
	char mode[32], hash[32], uuid[40];
	char *dash;

	read_string(mode, luks + 40, 32);
	read_string(hash, luks + 72, 32);
	read_string(uuid, luks + 168, 40);
	dash = strchr(mode, '-');
	if (dash)
		*dash++ = 0;
	if (value_add_string(to, "ivgen-alg", dash ? dash : "") < 0 ||
	    value_add_string(to, "hash-alg", hash) < 0 ||
	    add_cipher(to, luks, mode) < 0 ||
	    value_add_string(to, "uuid", uuid) < 0 ||
	    value_add_string(to, "format", "luks") < 0 ||
	    value_add_string(to, "cipher-mode", mode) < 0 ||
	    add_slots(to, luks) < 0 ||
	    value_add_number(to, "payload-offset",
			     (uint64_t)SECTOR * load_be32(luks + 104)) < 0)
		return -1;
	return value_add_number(to, "master-key-iters", load_be32(luks + 164));
}

int qcow2_info_encryption(struct qcow2 *q, struct gild_value *specific,
			  struct gild_error *err)
{
	static const unsigned char magic[] = { 'L',  'U',  'K', 'S',
					       0xba, 0xbe, 0,	1 };
	unsigned char luks[LUKS_HEADER];
	struct gild_value *to;

	if (q->header.crypt_method == 0)
		return 0;
	to = value_add_tree(specific, "encrypt", GILD_VALUE_OBJECT);
	if (!to)
		return fail_nomem(err);
	if (q->header.crypt_method == 1)
		return value_add_string(to, "format", "aes") < 0 ?
			       fail_nomem(err) :
			       0;
	if (storage_read_all(q->image.storage, luks, sizeof(luks),
			     q->header.crypto_offset, err) < 0)
		return -1;
	if (memcmp(luks, magic, sizeof(magic)) != 0) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the encryption header is not LUKS version 1");
		return error_at(err, q->header.crypto_offset);
	}
	return add_luks(to, luks) < 0 ? fail_nomem(err) : 0;
}
