/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header, written: laid out as qemu-img does it, so that tools and scripts
 * that look at fixed places find what they expect.
 *
 *     header (72 or 112 bytes and what was beyond) | backing format | data file
 *     | crypto | bitmaps | feature names | unknown ones | end | backing name
 *
 * (qemu-img has the bitmaps, which change each time that a disk was written,
 * behind the names.) The feature names are what is left out where a small
 * cluster has no room. A version 3 header that was shorter grows to 112 bytes.
 *
 * Specification: "Header", "Header extensions".
 */
#include "formats/qcow2/header/parts.h"

#include <stdlib.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

/* Rewriting this much wipes out what a longer header left behind. */
#define LEAST_WRITTEN 4096

/* The header area being built; what is beyond room is counted only. */
struct builder {
	unsigned char *data; /* zeros where nothing was put */
	uint64_t used, room;
};

static void put(struct builder *b, const void *bytes, uint64_t length)
{
	if (b->used <= b->room && length && length <= b->room - b->used)
		memcpy(b->data + b->used, bytes, length);
	b->used += length;
}

static void put_extension(struct builder *b, uint32_t type, const void *bytes,
			  uint64_t length)
{
	unsigned char head[QCOW2_EXT_HEAD];

	store_be32(head, type);
	store_be32(head + 4, (uint32_t)length);
	put(b, head, sizeof(head));
	put(b, bytes, length);
	b->used = round_up(b->used, 8);
}

static void put_string(struct builder *b, uint32_t type, const char *string)
{
	if (string)
		put_extension(b, type, string, strlen(string));
}

static const struct {
	uint8_t type, bit;
	const char *name;
} feature_names[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

#define FEATURE_NAMES (sizeof(feature_names) / sizeof(feature_names[0]))

static void put_feature_names(struct builder *b)
{
	unsigned char table[FEATURE_NAMES * QCOW2_FEATURE_NAME_ENTRY] = { 0 };
	unsigned char *entry = table;

	for (size_t i = 0; i < FEATURE_NAMES; i++) {
		entry[0] = feature_names[i].type;
		entry[1] = feature_names[i].bit;
		memcpy(entry + 2, feature_names[i].name,
		       strlen(feature_names[i].name));
		entry += QCOW2_FEATURE_NAME_ENTRY;
	}
	put_extension(b, QCOW2_EXT_FEATURE_NAMES, table, sizeof(table));
}

static void put_crypto(struct builder *b, const struct qcow2_header *header)
{
	unsigned char data[16];

	if (!header->has_crypto)
		return;
	store_be64(data, header->crypto_offset);
	store_be64(data + 8, header->crypto_length);
	put_extension(b, QCOW2_EXT_CRYPTO, data, sizeof(data));
}

static void put_bitmaps(struct builder *b, const struct qcow2_header *header)
{
	unsigned char data[24] = { 0 };

	if (!header->has_bitmaps)
		return;
	store_be32(data, header->bitmap_count);
	store_be64(data + 8, header->bitmap_directory_size);
	store_be64(data + 16, header->bitmap_directory_offset);
	put_extension(b, QCOW2_EXT_BITMAPS, data, sizeof(data));
}

static uint32_t length_of(const struct qcow2_header *header)
{
	if (header->version == 2)
		return QCOW2_V2_HEADER;
	return (uint32_t)sizeof(struct qcow2_disk_header) +
	       header->extra_length;
}

static void encode(const struct qcow2_header *header, uint64_t backing_offset,
		   struct qcow2_disk_header *disk)
{
	*disk = (struct qcow2_disk_header){
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(header->version),
		.cluster_bits = htobe32(header->cluster_bits),
		.size = htobe64(header->size),
		.crypt_method = htobe32(header->crypt_method),
		.l1_size = htobe32(header->l1_entries),
		.l1_table_offset = htobe64(header->l1_offset),
		.refcount_table_offset = htobe64(header->reftable_offset),
		.refcount_table_clusters = htobe32(header->reftable_clusters),
		.nb_snapshots = htobe32(header->snapshot_count),
		.snapshots_offset = htobe64(header->snapshots_offset),
		.incompatible_features = htobe64(header->incompatible),
		.compatible_features = htobe64(header->compatible),
		.autoclear_features = htobe64(header->autoclear),
		.refcount_order = htobe32(header->refcount_order),
		.header_length = htobe32(length_of(header)),
		.compression_type = header->compression,
	};
	if (!header->backing_name)
		return;
	disk->backing_file_offset = htobe64(backing_offset);
	disk->backing_file_size =
		htobe32((uint32_t)strlen(header->backing_name));
}

/* Everything; the fixed part last, when it is known where the name went. */
static void build(struct builder *b, const struct qcow2_header *header,
		  bool with_names)
{
	struct qcow2_disk_header disk;
	uint32_t fixed = header->version == 2 ? QCOW2_V2_HEADER : sizeof(disk);

	b->used = fixed;
	if (header->version > 2)
		put(b, header->extra, header->extra_length);
	put_string(b, QCOW2_EXT_BACKING_FORMAT, header->backing_format);
	put_string(b, QCOW2_EXT_DATA_FILE, header->data_file);
	put_crypto(b, header);
	put_bitmaps(b, header);
	if (with_names)
		put_feature_names(b);
	put(b, header->unknown, header->unknown_length);
	put_extension(b, QCOW2_EXT_END, NULL, 0);
	encode(header, b->used, &disk);
	if (header->backing_name)
		put(b, header->backing_name, strlen(header->backing_name));
	if (fixed <= b->room)
		memcpy(b->data, &disk, fixed);
}

static uint64_t size_of(const struct qcow2_header *header, bool with_names)
{
	struct builder b = { .room = 0 };

	build(&b, header, with_names);
	return b.used;
}

static int check_fits(const struct qcow2_header *header, uint64_t length,
		      struct gild_error *err)
{
	if (header->backing_name &&
	    strlen(header->backing_name) > QCOW2_MAX_BACKING_NAME)
		return fail(err, GILD_ERR_RANGE, 0,
			    "the backing file's name is longer than %u bytes",
			    QCOW2_MAX_BACKING_NAME);
	if (length > 1ULL << header->cluster_bits)
		return fail(
			err, GILD_ERR_RANGE, 0,
			"the header with its names needs %ju bytes, a cluster has %ju (choose a larger cluster size)",
			(uintmax_t)length,
			(uintmax_t)1 << header->cluster_bits);
	return 0;
}

static unsigned char *encode_area(const struct qcow2_header *header,
				  bool with_names, uint64_t length,
				  struct gild_error *err)
{
	struct builder b = { .room = length };

	b.data = memory_io_buffer(length);
	if (!b.data) {
		fail_nomem(err);
		return NULL;
	}
	memset(b.data, 0, length);
	build(&b, header, with_names);
	return b.data;
}

unsigned char *qcow2_header_encode(const struct qcow2_header *header,
				   uint64_t *length, struct gild_error *err)
{
	uint64_t cluster_size = 1ULL << header->cluster_bits, size;
	bool with_names = header->version > 2 &&
			  size_of(header, true) <= cluster_size;

	size = size_of(header, with_names);
	if (check_fits(header, size, err) < 0)
		return NULL;
	*length = min_u64(cluster_size, round_up(size, LEAST_WRITTEN));
	return encode_area(header, with_names, *length, err);
}

int qcow2_header_write_new(struct storage *storage,
			   const struct qcow2_header *header,
			   struct gild_error *err)
{
	AUTO_FREE unsigned char *data = NULL;
	uint64_t length;

	data = qcow2_header_encode(header, &length, err);
	if (!data)
		return -1;
	return storage_write(storage, data, length, 0, err);
}

/* --- replacing ------------------------------------------------------------ */

/*
 * A disk may write some sectors of a header area and not others. Nothing in the
 * first sector must then lead to bytes of another header in the rest:
 *
 *     the old one ends in the first sector   rest, then first sector
 *     the new one does                       first sector, then rest
 *     neither does                           the new one without its feature
 *                                            names, which does, in between
 *
 * A name of another file that alone takes most of a sector leaves no such way:
 * that is one write, as safe as the disk makes it. What changes often (bits,
 * places of tables and bitmaps) stands in the first sector: one write, too.
 */
#define SECTOR 512U

struct replacing {
	struct storage *storage;
	unsigned char *old, *new, *now; /* owned; now: what is written */
	uint64_t length;		/* of each */
	uint32_t cluster_size;
};

/* Told by what leads there: zeros can be the end of the extensions. */
static bool has_rest(const struct replacing *r, const unsigned char *bytes)
{
	uint64_t name = load_be64(bytes + 8), name_end = 0;
	struct header_area area = {
		.data = bytes,
		.length = (uint32_t)r->length,
		.start = QCOW2_V2_HEADER,
		.limit = r->cluster_size,
	};

	if (load_be32(bytes + 4) > 2)
		area.start = load_be32(bytes + 100);
	if (name && name < r->cluster_size) {
		area.limit = (uint32_t)name;
		name_end = name + load_be32(bytes + 16);
	}
	return max_u64(qcow2_extensions_end(&area), name_end) > SECTOR;
}

static int write_parts(struct replacing *r, const unsigned char *first,
		       const unsigned char *rest, struct gild_error *err)
{
	memcpy(r->now, first, SECTOR);
	memcpy(r->now + SECTOR, rest + SECTOR, r->length - SECTOR);
	if (storage_write(r->storage, r->now, r->length, 0, err) < 0)
		return -1;
	return storage_flush(r->storage, err);
}

static int replace_both(struct replacing *r, const struct qcow2_header *header,
			struct gild_error *err)
{
	AUTO_FREE unsigned char *small = NULL;

	if (size_of(header, false) > SECTOR)
		return 0;
	small = encode_area(header, false, r->length, err);
	if (!small || write_parts(r, small, r->old, err) < 0)
		return -1;
	return write_parts(r, small, r->new, err);
}

/* All but the last write. */
static int approach(struct replacing *r, const struct qcow2_header *header,
		    struct gild_error *err)
{
	if (r->length <= SECTOR ||
	    !memcmp(r->old + SECTOR, r->new + SECTOR, r->length - SECTOR))
		return 0;
	if (!has_rest(r, r->old))
		return write_parts(r, r->old, r->new, err);
	if (!has_rest(r, r->new))
		return write_parts(r, r->new, r->old, err);
	return replace_both(r, header, err);
}

int qcow2_header_write(struct storage *storage,
		       const struct qcow2_header *header,
		       struct gild_error *err)
{
	struct replacing r = {
		.storage = storage,
		.cluster_size = 1U << header->cluster_bits,
	};
	int ret = -1;

	r.new = qcow2_header_encode(header, &r.length, err);
	if (!r.new)
		return -1;
	r.old = memory_io_buffer(r.length);
	r.now = memory_io_buffer(r.length);
	if (!r.old || !r.now)
		fail_nomem(err);
	else if (storage_read(storage, r.old, r.length, 0, err) == 0 &&
		 approach(&r, header, err) == 0)
		ret = storage_write(storage, r.new, r.length, 0, err);
	free(r.new);
	free(r.old);
	free(r.now);
	return ret;
}
