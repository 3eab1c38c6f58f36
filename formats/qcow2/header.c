/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header, read and judged: 72 bytes in version 2; at least 104 in version
 * 3, in which the length stands. Whatever is reached through the header later
 * relies on what is checked here: every offset on a cluster boundary, every
 * table within the file and within the caps of qcow2-format.h, no feature in
 * use that is not known. A file may end inside its last cluster.
 *
 * Specification: "Header", "Additional fields". It says that the raw external
 * data bit goes with "incompatible feature bit 1": bit 2 is meant.
 */
#include "formats/qcow2/header-parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

#define FIRST_READ 4096 /* nearly every header, with all that follows it */

unsigned char *qcow2_header_copy(const void *bytes, size_t length)
{
	unsigned char *copy = malloc(length + 1);

	if (copy) {
		memcpy(copy, bytes, length);
		copy[length] = 0;
	}
	return copy;
}

void qcow2_header_free(struct qcow2_header *header)
{
	free(header->backing_name);
	free(header->backing_format);
	free(header->data_file);
	free(header->extra);
	free(header->unknown);
	free(header->feature_names);
	memset(header, 0, sizeof(*header));
}

/* --- the fixed fields ----------------------------------------------------- */

static int read_version(const struct qcow2_disk_header *disk,
			struct qcow2_header *header, struct gild_error *err)
{
	if (be32toh(disk->magic) != QCOW2_MAGIC)
		return fail(err, GILD_ERR_FORMAT, 0, "not a qcow2 image");
	header->version = be32toh(disk->version);
	if (header->version != 2 && header->version != 3)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "qcow2 version %u is not supported (2 and 3 are)",
			    header->version);
	return 0;
}

static void decode_common(const struct qcow2_disk_header *disk,
			  struct qcow2_header *header)
{
	header->cluster_bits = be32toh(disk->cluster_bits);
	header->size = be64toh(disk->size);
	header->crypt_method = be32toh(disk->crypt_method);
	header->l1_entries = be32toh(disk->l1_size);
	header->l1_offset = be64toh(disk->l1_table_offset);
	header->reftable_offset = be64toh(disk->refcount_table_offset);
	header->reftable_clusters = be32toh(disk->refcount_table_clusters);
	header->snapshot_count = be32toh(disk->nb_snapshots);
	header->snapshots_offset = be64toh(disk->snapshots_offset);
	header->length = QCOW2_V2_HEADER;
	header->refcount_order = 4;
}

static void decode_v3(const struct qcow2_disk_header *disk,
		      struct qcow2_header *header)
{
	header->incompatible = be64toh(disk->incompatible_features);
	header->compatible = be64toh(disk->compatible_features);
	header->autoclear = be64toh(disk->autoclear_features);
	header->refcount_order = be32toh(disk->refcount_order);
	header->length = be32toh(disk->header_length);
	if (header->length > QCOW2_V3_HEADER_MIN)
		header->compression = disk->compression_type;
}

static int check_cluster_bits(const struct qcow2_header *header,
			      struct gild_error *err)
{
	uint32_t least = QCOW2_MIN_CLUSTER_BITS;

	if (header->incompatible & QCOW2_INCOMPAT_EXTENDED_L2)
		least = QCOW2_EXT_L2_MIN_CLUSTER_BITS;
	if (header->cluster_bits < least ||
	    header->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return fail(
			err, GILD_ERR_UNSUPPORTED, 0,
			"cluster size 2^%u is not supported (2^%u to 2^%u bytes are)",
			header->cluster_bits, least, QCOW2_MAX_CLUSTER_BITS);
	return 0;
}

static int check_length(const struct qcow2_header *header, uint64_t file_length,
			struct gild_error *err)
{
	uint32_t least = header->version == 2 ? QCOW2_V2_HEADER :
						QCOW2_V3_HEADER_MIN;

	if (header->length < least || header->length % 8 ||
	    header->length > 1U << header->cluster_bits)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"the qcow2 header's length, %u bytes, is impossible",
			header->length);
	if (header->length > file_length)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the file ends inside the qcow2 header, at %ju",
			    (uintmax_t)file_length);
	return 0;
}

static int decode(const struct qcow2_disk_header *disk, uint64_t file_length,
		  struct qcow2_header *header, struct gild_error *err)
{
	if (read_version(disk, header, err) < 0)
		return -1;
	decode_common(disk, header);
	if (header->version >= 3)
		decode_v3(disk, header);
	/* What an unknown feature makes of the cluster size is unknown, too:
	 * only what is needed to find the feature's name. */
	if (check_cluster_bits(header, err) < 0)
		return -1;
	return check_length(header, file_length, err);
}

/* --- features ------------------------------------------------------------ */

static int refuse_unknown(const struct header_area *area,
			  struct qcow2_header *header, struct gild_error *err)
{
	uint64_t unknown = header->incompatible &
			   ~(uint64_t)QCOW2_INCOMPAT_KNOWN;
	char name[QCOW2_FEATURE_NAME_ENTRY], list[320];
	size_t used = 0;

	if (qcow2_extensions_find_names(area, header, err) < 0)
		return -1;
	list[0] = 0;
	for (unsigned bit = 0; bit < 64 && used < sizeof(list); bit++) {
		const char *comma = used ? ", " : "";

		if (!(unknown >> bit & 1))
			continue;
		if (qcow2_feature_name(header, 0, bit, name))
			used += (size_t)snprintf(list + used,
						 sizeof(list) - used, "%s'%s'",
						 comma, name);
		else
			used += (size_t)snprintf(list + used,
						 sizeof(list) - used,
						 "%sincompatible bit %u", comma,
						 bit);
	}
	return fail(err, GILD_ERR_UNSUPPORTED, 0,
		    "unsupported qcow2 feature %s", list);
}

static int check_compression(const struct qcow2_header *header,
			     struct gild_error *err)
{
	bool bit = header->incompatible & QCOW2_INCOMPAT_COMPRESSION;

	if (header->compression > QCOW2_COMPRESSION_ZSTD)
		return fail(
			err, GILD_ERR_UNSUPPORTED, 0,
			"compression type %u is not supported (0 zlib and 1 zstd are)",
			header->compression);
	if (bit != (header->compression != QCOW2_COMPRESSION_ZLIB))
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"compression type %u contradicts the header's feature bit",
			header->compression);
	return 0;
}

static int check_crypt(const struct qcow2_header *header,
		       struct gild_error *err)
{
	if (header->crypt_method > 2)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "encryption method %u is not known",
			    header->crypt_method);
	if (header->crypt_method == 2 && !header->has_crypto)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"the image is encrypted with LUKS, but the header does not say where its keys are");
	return 0;
}

int qcow2_header_check_crypt(const struct qcow2_header *header,
			     struct gild_error *err)
{
	if (header->crypt_method == 0)
		return 0;
	return fail(
		err, GILD_ERR_UNSUPPORTED, 0,
		"the image is encrypted (%s): reading and writing it is not supported",
		header->crypt_method == 1 ? "AES" : "LUKS");
}

static int check_features(struct qcow2_header *header, struct gild_error *err)
{
	if (check_compression(header, err) < 0 || check_crypt(header, err) < 0)
		return -1;
	if (header->refcount_order > 6)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"refcounts of 2^%u bits are impossible (1 to 64 are)",
			header->refcount_order);
	if (header->autoclear & QCOW2_AUTOCLEAR_BITMAPS && !header->has_bitmaps)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"the header says that there are bitmaps, but not where");
	/* Set by something that did not know about data files: it means
	 * nothing, and is gone when the header is written again. */
	if (!(header->incompatible & QCOW2_INCOMPAT_DATA_FILE))
		header->autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_RAW_DATA;
	if (header->autoclear & QCOW2_AUTOCLEAR_RAW_DATA &&
	    header->backing_name)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"a raw external data file and a backing file exclude each other");
	return 0;
}

/* --- tables -------------------------------------------------------------- */

int qcow2_header_check_table(const struct qcow2_header *header,
			     uint64_t file_length, const char *what,
			     uint64_t offset, uint64_t bytes,
			     struct gild_error *err)
{
	uint64_t cluster_size = 1ULL << header->cluster_bits;
	uint64_t end = round_up(file_length, cluster_size);

	if (offset == 0 || !is_aligned(offset, cluster_size))
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the %s stands at 0x%jx, not on a cluster boundary", what,
		     (uintmax_t)offset);
	else if (!range_within(offset, bytes, end))
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the %s at 0x%jx, %ju bytes long, ends beyond the file's %ju",
		     what, (uintmax_t)offset, (uintmax_t)bytes,
		     (uintmax_t)file_length);
	else
		return 0;
	return error_at(err, offset);
}

/* L1 entries that a disk of this size needs; the size is within its cap. */
static uint64_t l1_entries_for(const struct qcow2_header *header)
{
	unsigned entry_bits = 3;

	if (header->incompatible & QCOW2_INCOMPAT_EXTENDED_L2)
		entry_bits = 4;
	return div_round_up(header->size,
			    1ULL << (2 * header->cluster_bits - entry_bits));
}

static int check_l1(const struct qcow2_header *header, uint64_t file_length,
		    struct gild_error *err)
{
	uint64_t bytes = 8ULL * header->l1_entries;

	if (header->size > QCOW2_MAX_SIZE)
		return fail(err, GILD_ERR_RANGE, 0,
			    "a disk of %ju bytes is larger than qcow2 can hold",
			    (uintmax_t)header->size);
	if (bytes > QCOW2_MAX_L1_BYTES)
		return fail(err, GILD_ERR_RANGE, 0,
			    "an L1 table of %u entries is larger than 32 MiB",
			    header->l1_entries);
	if (header->l1_entries < l1_entries_for(header))
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"an L1 table of %u entries is too small for a disk of %ju bytes",
			header->l1_entries, (uintmax_t)header->size);
	if (bytes == 0)
		return 0;
	return qcow2_header_check_table(header, file_length, "L1 table",
					header->l1_offset, bytes, err);
}

static int check_snapshots(const struct qcow2_header *header,
			   uint64_t file_length, struct gild_error *err)
{
	if (header->snapshot_count == 0)
		return 0;
	if (header->snapshot_count > QCOW2_MAX_SNAPSHOTS)
		return fail(err, GILD_ERR_RANGE, 0,
			    "%u internal snapshots are more than %u",
			    header->snapshot_count, QCOW2_MAX_SNAPSHOTS);
	return qcow2_header_check_table(header, file_length, "snapshot table",
					header->snapshots_offset,
					40ULL * header->snapshot_count, err);
}

static int check_reftable(const struct qcow2_header *header,
			  uint64_t file_length, struct gild_error *err)
{
	uint64_t bytes = (uint64_t)header->reftable_clusters
			 << header->cluster_bits;

	if (header->reftable_clusters == 0)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the image has no refcount table");
	if (bytes > QCOW2_MAX_REFTABLE_BYTES)
		return fail(
			err, GILD_ERR_RANGE, 0,
			"a refcount table of %u clusters is larger than 8 MiB",
			header->reftable_clusters);
	return qcow2_header_check_table(header, file_length, "refcount table",
					header->reftable_offset, bytes, err);
}

/* --- all of it ----------------------------------------------------------- */

/* Where the backing file's name is, which bounds the extensions; 0: none. */
static int check_backing(const struct qcow2_disk_header *disk,
			 const struct qcow2_header *header,
			 struct header_area *area, struct gild_error *err)
{
	uint64_t offset = be64toh(disk->backing_file_offset);
	uint32_t length = be32toh(disk->backing_file_size);

	area->limit = 1U << header->cluster_bits;
	if (offset == 0)
		return 0;
	if (length == 0 || length > QCOW2_MAX_BACKING_NAME)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"a backing file name of %u bytes is impossible (1 to %u are)",
			length, QCOW2_MAX_BACKING_NAME);
	if (offset < header->length ||
	    !range_within(offset, length, area->limit)) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the backing file's name, at 0x%jx, is not within the header's cluster",
		     (uintmax_t)offset);
		return error_at(err, 8);
	}
	area->limit = (uint32_t)offset;
	return 0;
}

static int load(struct storage *storage, uint32_t length, unsigned char **data,
		struct gild_error *err)
{
	free(*data);
	*data = memory_io_buffer(length);
	if (!*data)
		return fail_nomem(err);
	return storage_read(storage, *data, length, 0, err);
}

static int read_backing(const struct qcow2_disk_header *disk,
			const unsigned char *data, struct qcow2_header *header,
			struct gild_error *err)
{
	uint64_t offset = be64toh(disk->backing_file_offset);
	uint32_t length = be32toh(disk->backing_file_size);

	if (offset == 0)
		return 0;
	if (memchr(data + offset, 0, length)) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the backing file's name holds a zero byte");
		return error_at(err, offset);
	}
	header->backing_name = (char *)qcow2_header_copy(data + offset, length);
	return header->backing_name ? 0 : fail_nomem(err);
}

/* Bytes from the start of the file that hold all there is to know. */
static uint32_t area_needed(const struct qcow2_disk_header *disk,
			    const struct qcow2_header *header,
			    const struct header_area *area)
{
	uint64_t need = max_u64(header->length, qcow2_extensions_end(area));

	if (disk->backing_file_offset)
		need = max_u64(need, be64toh(disk->backing_file_offset) +
					     be32toh(disk->backing_file_size));
	return (uint32_t)need;
}

static int read_variable(const struct qcow2_disk_header *disk,
			 const struct header_area *area,
			 struct qcow2_header *header, struct gild_error *err)
{
	if (header->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN)
		return refuse_unknown(area, header, err);
	if (header->length > sizeof(*disk)) {
		header->extra_length = header->length - sizeof(*disk);
		header->extra = qcow2_header_copy(area->data + sizeof(*disk),
						  header->extra_length);
		if (!header->extra)
			return fail_nomem(err);
	}
	if (qcow2_extensions_read(area, header, err) < 0)
		return -1;
	return read_backing(disk, area->data, header, err);
}

static int read_all(struct storage *storage, struct qcow2_header *header,
		    uint64_t file_length, struct gild_error *err)
{
	AUTO_FREE unsigned char *data = NULL;
	struct qcow2_disk_header disk;
	struct header_area area = { .file_length = file_length };

	if (load(storage, FIRST_READ, &data, err) < 0)
		return -1;
	memcpy(&disk, data, sizeof(disk));
	if (decode(&disk, file_length, header, err) < 0 ||
	    check_backing(&disk, header, &area, err) < 0)
		return -1;
	area.data = data;
	area.start = header->length;
	area.length = FIRST_READ;
	if (area_needed(&disk, header, &area) > FIRST_READ) {
		area.length = 1U << header->cluster_bits;
		if (load(storage, area.length, &data, err) < 0)
			return -1;
		area.data = data;
	}
	if (read_variable(&disk, &area, header, err) < 0)
		return -1;
	if (check_features(header, err) < 0 ||
	    check_l1(header, file_length, err) < 0)
		return -1;
	return check_snapshots(header, file_length, err);
}

int qcow2_header_read_for_repair(struct storage *storage,
				 struct qcow2_header *header,
				 struct gild_error *err)
{
	uint64_t file_length;

	memset(header, 0, sizeof(*header));
	if (storage_size(storage, &file_length, err) < 0)
		return -1;
	if (read_all(storage, header, file_length, err) < 0) {
		qcow2_header_free(header);
		return -1;
	}
	if (check_reftable(header, file_length, NULL) < 0) {
		header->reftable_offset = 0;
		header->reftable_clusters = 0;
	}
	return 0;
}

int qcow2_header_read(struct storage *storage, struct qcow2_header *header,
		      struct gild_error *err)
{
	uint64_t file_length;

	memset(header, 0, sizeof(*header));
	if (storage_size(storage, &file_length, err) < 0)
		return -1;
	if (read_all(storage, header, file_length, err) == 0 &&
	    check_reftable(header, file_length, err) == 0)
		return 0;
	qcow2_header_free(header);
	return -1;
}
