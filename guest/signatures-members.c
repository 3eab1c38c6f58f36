/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Volumes that others are made of: of LVM2, of Linux's RAID (the format of
 * version 1: the block with the mark at the begin, at 4 KiB, or 8 KiB before
 * the end), encrypted with LUKS, or with BitLocker.
 */
#include <string.h>

#include "guest/signatures.h"
#include "guest/text.h"
#include "util/bytes.h"
#include "util/memory.h"

enum {
	SECTOR = 512,
	LVM_UUID = 32,
	LUKS_UUID_AT = 168,
	LUKS_UUID_SIZE = 40,
	LUKS2_LABEL_AT = 24,
	LUKS2_LABEL_SIZE = 48,
};

/* A label says in which sector it is, and where the header is; there the UUID
 * is the first thing, 32 letters. */
static int refine_lvm(const struct probe *probe,
		      const struct signature *signature,
		      struct gild_content *content, struct gild_error *err)
{
	const unsigned char *label = probe->head + signature->at;
	uint32_t header = load_le32(label + 20);
	const char *u;

	if (memcmp(label + 24, "LVM2 001", 8) != 0 ||
	    load_le64(label + 8) != signature->at / SECTOR ||
	    header > SECTOR - LVM_UUID)
		return 0;
	u = (const char *)label + header;
	if (memchr(u, 0, LVM_UUID))
		return 1;
	return signature_set(&content->uuid,
			     memory_printf("%.6s-%.4s-%.4s-%.4s-%.4s-%.4s-%.6s",
					   u, u + 6, u + 10, u + 14, u + 18,
					   u + 22, u + 26),
			     err) < 0 ?
		       -1 :
		       1;
}

static int refine_raid(const struct probe *probe,
		       const struct signature *signature,
		       struct gild_content *content, struct gild_error *err)
{
	const unsigned char *block = probe->head + signature->at;

	(void)content;
	(void)err;
	return load_le32(block + 4) == 1 &&
	       load_le64(block + 144) == signature->at / SECTOR;
}

static int refine_luks(const struct probe *probe,
		       const struct signature *signature,
		       struct gild_content *content, struct gild_error *err)
{
	unsigned version = load_be16(probe->head + 6);
	const unsigned char *label = probe->head + LUKS2_LABEL_AT;

	(void)signature;
	if (version != 1 && version != 2)
		return 0;
	if (signature_set(&content->uuid,
			  text_from_bytes(probe->head + LUKS_UUID_AT,
					  LUKS_UUID_SIZE, err),
			  err) < 0)
		return -1;
	if (version == 2 && *label &&
	    signature_set(&content->label,
			  text_from_bytes(label, LUKS2_LABEL_SIZE, err),
			  err) < 0)
		return -1;
	return 1;
}

#define LVM(sector)                                                     \
	{                                                               \
		"LVM2_member", (sector)*SECTOR, "LABELONE", 8, 0, 0, 0, \
			refine_lvm                                      \
	}
#define RAID(at)                                                               \
	{                                                                      \
		"linux_raid_member", at, "\xfc\x4e\x2b\xa9", 4, (at) + 32, 32, \
			(at) + 16, refine_raid                                 \
	}

const struct signature signatures_members[] = {
	RAID(0),
	RAID(4096),
	LVM(0),
	LVM(1),
	LVM(2),
	LVM(3),
	{ "crypto_LUKS", 0, "LUKS\xba\xbe", 6, 0, 0, 0, refine_luks },
	{ "BitLocker", 3, "-FVE-FS-", 8, 0, 0, 0, NULL },
	{ .type = NULL },
};
