/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judging a decoded header: features that contradict each other, and tables
 * that do not lie where a table can.
 *
 * The specification's text about the raw external data bit says that it goes
 * with "incompatible feature bit 1": bit 2 is meant.
 */
#include "formats/qcow2/header/parts.h"

#include "util/bytes.h"

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

int qcow2_header_check_features(struct qcow2_header *header,
				struct gild_error *err)
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

	if (offset == 0 || !is_aligned(offset, cluster_size)) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the %s stands at 0x%jx, not on a cluster boundary", what,
		     (uintmax_t)offset);
		return error_at(err, offset);
	}
	if (range_within(offset, bytes, end))
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "the %s at 0x%jx, %ju bytes long, ends beyond the file's %ju",
	     what, (uintmax_t)offset, (uintmax_t)bytes, (uintmax_t)file_length);
	error_hint(err, "was the file cut short, by a copy that did not end?");
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

int qcow2_header_check_l1(const struct qcow2_header *header,
			  uint64_t file_length, struct gild_error *err)
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

int qcow2_header_check_snapshots(const struct qcow2_header *header,
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

int qcow2_header_check_reftable(const struct qcow2_header *header,
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
