/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header, read and judged: 72 bytes in version 2; at least 104 in version
 * 3, in which the length stands. Whatever is reached through the header later
 * relies on what is checked here: every offset on a cluster boundary, every
 * table within the file and within the caps of qcow2-format.h, no feature in
 * use that is not known. A file may end inside its last cluster.
 *
 * Specification: "Header", "Additional fields".
 */
#include "formats/qcow2/header/parts.h"

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

static int fail_short(uint64_t file_length, struct gild_error *err)
{
	fail(err, GILD_ERR_CORRUPT, 0,
	     "the file ends inside the qcow2 header, at %ju",
	     (uintmax_t)file_length);
	return error_hint(err, "was the file cut short, by a copy that did not "
			       "end?");
}

static int check_length(const struct qcow2_header *header, uint64_t file_length,
			struct gild_error *err)
{
	uint32_t least = header->version == 2 ? QCOW2_V2_HEADER :
						QCOW2_V3_HEADER_MIN;

	if (file_length < least)
		return fail_short(file_length, err);
	if (header->length < least || header->length % 8 ||
	    header->length > 1U << header->cluster_bits)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"the qcow2 header's length, %u bytes, is impossible",
			header->length);
	if (header->length > file_length)
		return fail_short(file_length, err);
	return 0;
}

static int decode(const struct qcow2_disk_header *disk, uint64_t file_length,
		  struct qcow2_header *header, struct gild_error *err)
{
	if (read_version(disk, header, err) < 0)
		return -1;
	if (file_length < QCOW2_V2_HEADER)
		return fail_short(file_length, err);
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
	if (qcow2_header_check_features(header, err) < 0 ||
	    qcow2_header_check_l1(header, file_length, err) < 0)
		return -1;
	return qcow2_header_check_snapshots(header, file_length, err);
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
	if (qcow2_header_check_reftable(header, file_length, NULL) < 0) {
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
	    qcow2_header_check_reftable(header, file_length, err) == 0)
		return 0;
	qcow2_header_free(header);
	return -1;
}
