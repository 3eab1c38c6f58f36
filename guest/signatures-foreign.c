/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filesystems of other systems: FAT, exFAT, NTFS, ISO 9660. Their first sector
 * says where the directory (or file record) with the label is; each number in
 * it is checked before it is used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/signatures.h"
#include "guest/text.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/memory.h"

enum {
	DIRECTORY_MAX = 64 << 10, /* bytes of one that are looked through */
	ENTRY = 32,
	FAT_NAME = 11,
	ISO = 32 << 10,
	ISO_MODIFIED = ISO + 830,
	ISO_CREATED = ISO + 813,
	ISO_DATE = 16,
	NTFS_RECORD_MAX = 4096,
	NTFS_VOLUME_RECORD = 3,
	NTFS_VOLUME_NAME = 0x60,
	NTFS_END = -1,
};

static int set_serial(struct gild_content *content, uint32_t serial,
		      struct gild_error *err)
{
	if (!serial)
		return 0;
	return signature_set(
		&content->uuid,
		memory_printf("%04X-%04X", serial >> 16, serial & 0xffff), err);
}

/* A directory's first bytes; *length of them. */
static unsigned char *read_directory(const struct probe *probe, uint64_t at,
				     uint64_t *length, struct gild_error *err)
{
	unsigned char *bytes;

	*length = min_u64(*length, DIRECTORY_MAX);
	bytes = malloc(*length ? *length : 1);
	if (!bytes)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	if (volume_read(probe->volume, bytes, *length, at, err) < 0) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

/* --- FAT -------------------------------------------------------------- */

struct fat {
	uint64_t sector, cluster; /* bytes */
	uint64_t reserved, table; /* sectors before the tables; of one */
	unsigned tables, entries; /* entries of the root, but of FAT32 */
	bool wide;		  /* FAT32 */
};

static bool parse_fat(const unsigned char *head, struct fat *fat)
{
	uint64_t per_cluster = head[13];
	unsigned media = head[21];

	*fat = (struct fat){
		.sector = load_le16(head + 11),
		.cluster = per_cluster * load_le16(head + 11),
		.reserved = load_le16(head + 14),
		.table = load_le16(head + 22),
		.tables = head[16],
		.entries = load_le16(head + 17),
	};
	fat->wide = !fat->table;
	if (fat->wide)
		fat->table = load_le32(head + 36);
	return is_power_of_2(fat->sector) && fat->sector >= 512 &&
	       fat->sector <= 4096 && is_power_of_2(per_cluster) &&
	       fat->reserved && fat->tables && fat->table &&
	       (media == 0xf0 || media >= 0xf8);
}

/* Where the root directory is, and how long (its first cluster, of FAT32). */
static uint64_t find_root(const struct fat *fat, const unsigned char *head,
			  uint64_t *length)
{
	uint64_t at = (fat->reserved + fat->tables * fat->table) * fat->sector;
	uint64_t cluster = load_le32(head + 44);

	if (!fat->wide) {
		*length = (uint64_t)fat->entries * ENTRY;
		return at;
	}
	*length = cluster < 2 ? 0 : fat->cluster;
	return at + (cluster - 2) * fat->cluster;
}

static bool is_fat_label(const unsigned char *entry)
{
	unsigned attributes = entry[11] & 0x3f;

	return entry[0] != 0xe5 && attributes != 0x0f &&
	       (attributes & 0x18) == 0x08;
}

static int set_fat_label(struct gild_content *content,
			 const unsigned char *entry, struct gild_error *err)
{
	unsigned char name[FAT_NAME];

	memcpy(name, entry, sizeof(name));
	if (name[0] == 0x05)
		name[0] = 0xe5;
	if (!memcmp(name, "NO NAME    ", FAT_NAME))
		return 0;
	return signature_set(&content->label,
			     text_from_bytes(name, sizeof(name), err), err);
}

static int refine_fat(const struct probe *probe,
		      const struct signature *signature,
		      struct gild_content *content, struct gild_error *err)
{
	AUTO_FREE unsigned char *root = NULL;
	uint64_t at, length;
	struct fat fat;

	(void)signature;
	if (!parse_fat(probe->head, &fat))
		return 0;
	if (set_serial(content, load_le32(probe->head + (fat.wide ? 67 : 39)),
		       err) < 0)
		return -1;
	at = find_root(&fat, probe->head, &length);
	root = read_directory(probe, at, &length, err);
	if (!root)
		return -1;
	for (uint64_t i = 0; i + ENTRY <= length && root[i]; i += ENTRY)
		if (is_fat_label(root + i))
			return set_fat_label(content, root + i, err) < 0 ? -1 :
									   1;
	return 1;
}

/* --- exFAT ------------------------------------------------------------ */

/* The label's entry: 0 0x83, 1 units of UTF-16, 2 the name. */
static int set_exfat_label(struct gild_content *content,
			   const unsigned char *entry, struct gild_error *err)
{
	size_t units = entry[1];

	if (!units || units > 11)
		return 0;
	return signature_set(&content->label,
			     text_from_utf16(entry + 2, units, err), err);
}

static int refine_exfat(const struct probe *probe,
			const struct signature *signature,
			struct gild_content *content, struct gild_error *err)
{
	const unsigned char *head = probe->head;
	AUTO_FREE unsigned char *root = NULL;
	uint64_t cluster = load_le32(head + 96), length, at;
	unsigned sector_shift = head[108], cluster_shift = head[109];

	(void)signature;
	if (sector_shift < 9 || sector_shift > 12 || cluster_shift > 16 ||
	    cluster < 2)
		return 0;
	if (set_serial(content, load_le32(head + 100), err) < 0)
		return -1;
	length = 1ULL << (sector_shift + cluster_shift);
	at = ((uint64_t)load_le32(head + 88) << sector_shift) +
	     (cluster - 2) * length;
	root = read_directory(probe, at, &length, err);
	if (!root)
		return -1;
	for (uint64_t i = 0; i + ENTRY <= length && root[i]; i += ENTRY)
		if (root[i] == 0x83)
			return set_exfat_label(content, root + i, err) < 0 ?
				       -1 :
				       1;
	return 1;
}

/* --- NTFS ------------------------------------------------------------- */

/* Bytes of a file record, by the byte that says it: clusters, or, negative, the
 * power of two. 0: senseless. */
static uint64_t ntfs_record_size(int8_t stored, uint64_t cluster)
{
	uint64_t size = 0;

	if (stored > 0)
		size = (uint64_t)stored * cluster;
	else if (stored >= -31)
		size = 1ULL << -stored;
	return size >= 512 && size <= NTFS_RECORD_MAX ? size : 0;
}

/* The name in a record's attribute of that type. */
static int set_ntfs_label(struct gild_content *content,
			  const unsigned char *record, uint64_t size,
			  struct gild_error *err)
{
	uint64_t at = load_le16(record + 20);

	while (at + 24 <= size &&
	       load_le32(record + at) != (uint32_t)NTFS_END) {
		uint64_t length = load_le32(record + at + 4);
		uint64_t value = load_le32(record + at + 16);
		uint64_t place = at + load_le16(record + at + 20);

		if (length < 24 || length > size - at)
			return 0;
		if (load_le32(record + at) == NTFS_VOLUME_NAME) {
			if (!value || !range_within(place, value, size))
				return 0;
			return signature_set(&content->label,
					     text_from_utf16(record + place,
							     value / 2, err),
					     err);
		}
		at += length;
	}
	return 0;
}

static int refine_ntfs(const struct probe *probe,
		       const struct signature *signature,
		       struct gild_content *content, struct gild_error *err)
{
	const unsigned char *head = probe->head;
	uint64_t sector = load_le16(head + 11), cluster = sector * head[13];
	uint64_t size = ntfs_record_size((int8_t)head[64], cluster), at;
	unsigned char record[NTFS_RECORD_MAX];

	(void)signature;
	if (!is_power_of_2(cluster) || sector < 256 || !size)
		return 0;
	if (signature_set(&content->uuid,
			  memory_printf("%016jX",
					(uintmax_t)load_le64(head + 72)),
			  err) < 0)
		return -1;
	/* Nothing on a real disk is so far that this is not the product. */
	if (load_le64(head + 48) > INT64_MAX / cluster)
		return 0;
	at = load_le64(head + 48) * cluster + NTFS_VOLUME_RECORD * size;
	if (volume_read(probe->volume, record, size, at, err) < 0)
		return -1;
	if (memcmp(record, "FILE", 4) != 0)
		return 1;
	return set_ntfs_label(content, record, size, err) < 0 ? -1 : 1;
}

/* --- ISO 9660 --------------------------------------------------------- */

static bool is_date(const unsigned char *date)
{
	for (unsigned i = 0; i < ISO_DATE; i++)
		if (date[i] < '0' || date[i] > '9')
			return false;
	return memcmp(date, "0000000000000000", ISO_DATE) != 0;
}

/* The time of the last change stands for the UUID, else that of the making. */
static int refine_iso(const struct probe *probe,
		      const struct signature *signature,
		      struct gild_content *content, struct gild_error *err)
{
	const unsigned char *date = probe->head + ISO_MODIFIED;
	const char *d;

	(void)signature;
	if (probe->head[ISO] != 1)
		return 0;
	if (!is_date(date))
		date = probe->head + ISO_CREATED;
	if (!is_date(date))
		return 1;
	d = (const char *)date;
	return signature_set(&content->uuid,
			     memory_printf("%.4s-%.2s-%.2s-%.2s-%.2s-%.2s-%.2s",
					   d, d + 4, d + 6, d + 8, d + 10,
					   d + 12, d + 14),
			     err) < 0 ?
		       -1 :
		       1;
}

const struct signature signatures_foreign[] = {
	{ "ntfs", 3, "NTFS    ", 8, 0, 0, 0, refine_ntfs },
	{ "exfat", 3, "EXFAT   ", 8, 0, 0, 0, refine_exfat },
	{ "vfat", 0x52, "FAT32   ", 8, 0, 0, 0, refine_fat },
	{ "vfat", 0x36, "FAT16   ", 8, 0, 0, 0, refine_fat },
	{ "vfat", 0x36, "FAT12   ", 8, 0, 0, 0, refine_fat },
	{ "vfat", 0x36, "FAT     ", 8, 0, 0, 0, refine_fat },
	{ "iso9660", ISO + 1, "CD001", 5, ISO + 40, 32, 0, refine_iso },
	{ .type = NULL },
};
