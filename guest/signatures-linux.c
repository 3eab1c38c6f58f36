/* SPDX-License-Identifier: BSD-3-Clause */
/* Filesystems of Linux, and its swap space. */
#include <string.h>

#include "guest/signatures.h"
#include "guest/text.h"
#include "util/bytes.h"

enum {
	EXT = 1024, /* the superblock */
	EXT_HAS_JOURNAL = 0x4,
	EXT_IS_JOURNAL = 0x8,
	/* What ext3 knows: filetype, recover, meta_bg; sparse_super,
	 * large_file, btree_dir. */
	EXT3_INCOMPATIBLE = 0x16,
	EXT3_READ_ONLY = 0x7,
	EXT_RECOVER = 0x4,
	SWAP = 1024, /* the header */
	BTRFS = 64 << 10,
	REISER = 64 << 10,
	JFS = 32 << 10,
	F2FS = 1024,
	F2FS_LABEL = 1024 + 0x7c,
	F2FS_LABEL_UNITS = 512,
	EROFS = 1024,
};

static const char *name_ext(const unsigned char *block)
{
	uint32_t compatible = load_le32(block + 0x5c);
	uint32_t incompatible = load_le32(block + 0x60);
	uint32_t read_only = load_le32(block + 0x64);

	if (incompatible & EXT_IS_JOURNAL)
		return "jbd";
	if (incompatible & ~EXT3_INCOMPATIBLE || read_only & ~EXT3_READ_ONLY)
		return "ext4";
	if (compatible & EXT_HAS_JOURNAL)
		return "ext3";
	return incompatible & EXT_RECOVER ? "ext4" : "ext2";
}

static int refine_ext(const struct probe *probe,
		      const struct signature *signature,
		      struct gild_content *content, struct gild_error *err)
{
	const char *name = name_ext(probe->head + EXT);

	(void)signature;
	return signature_set(&content->type, strdup(name), err) < 0 ? -1 : 1;
}

static int refine_swap(const struct probe *probe,
		       const struct signature *signature,
		       struct gild_content *content, struct gild_error *err)
{
	(void)signature;
	(void)content;
	(void)err;
	return load_le32(probe->head + SWAP) == 1;
}

static int refine_f2fs(const struct probe *probe,
		       const struct signature *signature,
		       struct gild_content *content, struct gild_error *err)
{
	const unsigned char *label = probe->head + F2FS_LABEL;

	(void)signature;
	if (!load_le16(label))
		return 1;
	return signature_set(&content->label,
			     text_from_utf16(label, F2FS_LABEL_UNITS, err),
			     err) < 0 ?
		       -1 :
		       1;
}

/* The mark is at the end of the first page, which may be of several sizes. What
 * is suspended there has another mark. */
#define SWAP_PAGE(type, page, mark)                                     \
	{                                                               \
		type, (page)-10, mark, sizeof(mark) - 1, SWAP + 28, 16, \
			SWAP + 12, refine_swap                          \
	}
#define SWAP_PAGES(type, mark)                                          \
	SWAP_PAGE(type, 4 << 10, mark), SWAP_PAGE(type, 8 << 10, mark), \
		SWAP_PAGE(type, 16 << 10, mark),                        \
		SWAP_PAGE(type, 32 << 10, mark),                        \
		SWAP_PAGE(type, 64 << 10, mark)

const struct signature signatures_linux[] = {
	SWAP_PAGES("swap", "SWAPSPACE2"),
	SWAP_PAGES("swsuspend", "S1SUSPEND"),
	SWAP_PAGES("swsuspend", "S2SUSPEND"),
	SWAP_PAGES("swsuspend", "ULSUSPEND"),
	SWAP_PAGES("swsuspend", "LINHIB0001"),
	{ "xfs", 0, "XFSB", 4, 108, 12, 32, NULL },
	{ "ext2", EXT + 56, "\x53\xef", 2, EXT + 120, 16, EXT + 104,
	  refine_ext },
	{ "btrfs", BTRFS + 64, "_BHRfS_M", 8, BTRFS + 0x12b, 256, BTRFS + 32,
	  NULL },
	{ "f2fs", F2FS, "\x10\x20\xf5\xf2", 4, 0, 0, F2FS + 0x6c, refine_f2fs },
	{ "erofs", EROFS, "\xe2\xe1\xf5\xe0", 4, EROFS + 64, 16, EROFS + 48,
	  NULL },
	{ "squashfs", 0, "hsqs", 4, 0, 0, 0, NULL },
	{ "reiserfs", REISER + 52, "ReIsErFs", 8, REISER + 100, 16, REISER + 84,
	  NULL },
	{ "reiserfs", REISER + 52, "ReIsEr2Fs", 9, REISER + 100, 16,
	  REISER + 84, NULL },
	{ "jfs", JFS, "JFS1", 4, JFS + 152, 16, JFS + 136, NULL },
	{ .type = NULL },
};
