/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking up: guest offset -> L1 entry -> L2 entry -> extent, and reading what
 * is compressed. Neighbours in one L2 slice that continue each other become
 * one extent; so do L2 tables that do not exist.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/entry.h"
#include "util/cleanup.h"

static int bad_entry(uint64_t guest, const char *what, uint64_t host,
		     struct gild_error *err)
{
	fail(err, GILD_ERR_CORRUPT, 0, "%s (guest offset %#llx, host %#llx)",
	     what, (unsigned long long)guest, (unsigned long long)host);
	error_hint(err, "gild check shows what is wrong with the image");
	return error_at(err, guest);
}

/* The (sub)cluster at guest, up to its end, as an extent. */
static int one_extent(struct qcow2 *q, struct qcow2_entry entry, uint64_t guest,
		      struct extent *extent, struct gild_error *err)
{
	uint64_t in_cluster = guest & (q->cluster_size - 1);
	unsigned sub = (unsigned)(in_cluster / q->subcluster_size);
	uint64_t host = entry_offset(entry);
	enum entry_kind kind = entry_kind(q, entry, sub);

	*extent = (struct extent){
		.kind = EXTENT_BACKING,
		.length =
			q->subcluster_size - (guest & (q->subcluster_size - 1)),
		.storage = q->data,
		.host_offset = host + in_cluster,
	};
	if (kind == ENTRY_COMPRESSED) {
		if (q->data != q->image.storage)
			return bad_entry(guest,
					 "a compressed cluster in an "
					 "image with a data file",
					 0, err);
		extent->kind = EXTENT_COMPRESSED;
		extent->length = q->cluster_size - in_cluster;
		extent->unit_start = guest - in_cluster;
		extent->host_offset = compressed_offset(q, entry);
		extent->stored_length = compressed_length(q, entry);
		return 0;
	}
	if (kind == ENTRY_INVALID)
		return bad_entry(guest, "an L2 entry contradicts itself", host,
				 err);
	if (entry_has_cluster(q, entry) && !is_aligned(host, q->cluster_size))
		return bad_entry(guest, "a data cluster is not aligned", host,
				 err);
	if (kind == ENTRY_DATA) {
		extent->kind = EXTENT_DATA;
		extent->cipher = q->cipher;
		extent->cipher_offset =
			qcow2_cipher_offset(q, guest, extent->host_offset);
	} else if (kind != ENTRY_UNALLOCATED) {
		extent->kind = EXTENT_ZERO;
	}
	extent->allocated = kind == ENTRY_ZERO_ALLOC;
	extent->writable = kind == ENTRY_DATA && entry_is_copied(entry) &&
			   q->prepared;
	return 0;
}

/* Does next continue extent? */
static bool continues(const struct extent *extent, const struct extent *next)
{
	bool has_place = extent->kind == EXTENT_DATA || extent->allocated;

	return extent->kind == next->kind &&
	       extent->kind != EXTENT_COMPRESSED &&
	       extent->writable == next->writable &&
	       extent->allocated == next->allocated &&
	       (!has_place ||
		extent->host_offset + extent->length == next->host_offset);
}

/* Join extents from the slice's entries until one differs. */
static int join(struct qcow2 *q, const unsigned char *slice, uint32_t index,
		uint64_t guest, uint64_t length, struct extent *extent,
		struct gild_error *err)
{
	uint64_t end =
		(guest & ~(uint64_t)(q->cluster_size - 1)) +
		(uint64_t)(q->l2_slice_entries - index) * q->cluster_size;
	uint64_t at, cluster = guest >> q->cluster_bits;
	struct qcow2_entry entry;
	struct extent next;

	end = min_u64(end, guest + length);
	entry = entry_load(q, slice, index);
	if (one_extent(q, entry, guest, extent, err) < 0)
		return -1;
	for (at = guest + extent->length; at < end; at += next.length) {
		entry = entry_load(q, slice,
				   index + ((at >> q->cluster_bits) - cluster));
		/* What is wrong further on is said when it is asked for. */
		if (one_extent(q, entry, at, &next, NULL) < 0 ||
		    !continues(extent, &next))
			break;
		extent->length += next.length;
	}
	extent->length = min_u64(extent->length, end - guest);
	return 0;
}

/* Nothing here: up to the next L1 entry that is there, as far as they are
 * known, or the end asked. */
static void empty_tables(struct qcow2 *q, const struct qcow2_root *root,
			 uint32_t l1_index, uint64_t guest, uint64_t length,
			 struct extent *extent)
{
	uint64_t reach = (uint64_t)q->l2_entries << q->cluster_bits;
	uint32_t next = l1_index + 1, count = qcow2_root_entries(q, root);
	uint64_t end = guest + length, missing;

	while (next < count && next * reach < end &&
	       !qcow2_root_table(q, root, next, &missing) && !missing)
		next++;
	if (next < count)
		end = min_u64(end, next * reach);
	*extent = (struct extent){
		.kind = EXTENT_BACKING,
		.length = end - guest,
	};
}

/* With the lock shared; *missing: the slice that has to be loaded first. */
static int look_up(struct qcow2 *q, const struct qcow2_root *root,
		   uint64_t guest, uint64_t length, struct extent *extent,
		   uint64_t *missing, struct gild_error *err)
{
	struct l2_position at = l2_position(q, guest);
	struct qcow2_slice *slice;
	uint64_t table;

	table = qcow2_root_table(q, root, at.l1_index, missing);
	if (*missing)
		return 0;
	if (!table) {
		empty_tables(q, root, at.l1_index, guest, length, extent);
		return 0;
	}
	if (!is_aligned(table, q->cluster_size))
		return bad_entry(guest, "an L2 table is not aligned", table,
				 err);
	slice = qcow2_cache_find(&q->l2_cache, slice_offset(q, table, at));
	if (!slice) {
		*missing = slice_offset(q, table, at);
		return 0;
	}
	return join(q, slice->data, at.index, guest, length, extent, err);
}

int qcow2_load_missing(struct qcow2 *q, uint64_t guest, uint64_t missing,
		       struct gild_error *err)
{
	struct qcow2_slice *slice = NULL;
	int inside;

	inside = storage_contains(q->image.storage,
				  missing + q->l2_cache.slice_size - 1, err);
	if (inside < 0)
		return -1;
	if (!inside)
		return bad_entry(guest,
				 "an L2 table lies beyond the end of "
				 "the file",
				 missing, err);
	pthread_rwlock_wrlock(&q->lock);
	slice = qcow2_cache_load(q, &q->l2_cache, missing, err);
	pthread_rwlock_unlock(&q->lock);
	return slice ? 0 : -1;
}

/* Of an extent that leaves the file, what is still inside. */
static int cut_extent(struct qcow2 *q, uint64_t guest, struct extent *extent,
		      struct gild_error *err)
{
	uint64_t size;

	if (storage_size(q->data, &size, err) < 0)
		return -1;
	size = round_up(size, q->cluster_size);
	if (extent->kind == EXTENT_DATA && extent->host_offset < size) {
		extent->length =
			min_u64(extent->length, size - extent->host_offset);
		return 0;
	}
	bad_entry(guest,
		  "a cluster lies beyond the end of the file: it was "
		  "cut short",
		  extent->host_offset, err);
	error_hint(err, "gild convert --salvage copies what is left of it");
	return -1;
}

/* A cluster that begins beyond the end of the file was never written: the
 * file was cut. (Its last cluster may be short.) */
static int check_place(struct qcow2 *q, uint64_t guest, struct extent *extent,
		       struct gild_error *err)
{
	uint64_t last = extent->host_offset + extent->length - 1;
	int inside;

	if (extent->kind == EXTENT_COMPRESSED)
		last = extent->host_offset;
	else if (extent->kind == EXTENT_DATA)
		last = round_down(last, q->cluster_size);
	else
		return 0;
	if (q->image.skips_data || q->data != q->image.storage)
		return 0;
	inside = storage_contains(q->data, last, err);
	if (inside)
		return inside < 0 ? -1 : 0;
	return cut_extent(q, guest, extent, err);
}

static int check_guard(struct qcow2 *q, uint64_t guest,
		       const struct extent *extent, struct gild_error *err)
{
	if (!extent->writable || q->data != q->image.storage ||
	    !qcow2_guard_hit(q, extent->host_offset, extent->length))
		return 0;
	return bad_entry(guest, "a data cluster lies over metadata",
			 extent->host_offset, err);
}

int qcow2_map_root(struct qcow2 *q, const struct qcow2_root *root,
		   uint64_t guest, uint64_t length, struct extent *extent,
		   struct gild_error *err)
{
	uint64_t missing;
	int ret;

	do {
		pthread_rwlock_rdlock(&q->lock);
		ret = look_up(q, root, guest, length, extent, &missing, err);
		if (!ret && !missing)
			ret = check_guard(q, guest, extent, err);
		pthread_rwlock_unlock(&q->lock);
		if (!ret && missing)
			ret = qcow2_load_missing(q, guest, missing, err);
	} while (!ret && missing);
	if (ret < 0)
		return -1;
	extent->length = min_u64(extent->length, length);
	return check_place(q, guest, extent, err);
}

int qcow2_map(struct image *image, uint64_t offset, uint64_t length,
	      struct extent *extent, struct gild_error *err)
{
	return qcow2_map_root(qcow2_of(image), NULL, offset, length, extent,
			      err);
}

/* How much of a compressed cluster the file has: its length is counted in
 * sectors, and writers may leave out the rest of the last one. What else is not
 * there must not be made up by zeros: to deflate these are data, too. */
static int length_in_file(const struct extent *extent, size_t *length,
			  struct gild_error *err)
{
	uint64_t end = extent->host_offset + extent->stored_length, size;
	int inside = storage_contains(extent->storage, end - 1, err);

	*length = extent->stored_length;
	if (inside)
		return inside < 0 ? -1 : 0;
	if (storage_size(extent->storage, &size, err) < 0)
		return -1;
	if (size < end)
		*length = size > extent->host_offset ?
				  (size_t)(size - extent->host_offset) :
				  0;
	return 0;
}

int qcow2_read_compressed(struct image *image, const struct extent *extent,
			  uint64_t offset, void *buffer, size_t length,
			  struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	AUTO_FREE unsigned char *stored = malloc(extent->stored_length);
	AUTO_FREE unsigned char *whole = NULL;
	unsigned char *target = buffer;
	size_t within = (size_t)(offset - extent->unit_start), stored_length;

	if (length < q->cluster_size)
		target = whole = malloc(q->cluster_size);
	if (!stored || !target)
		return fail_nomem(err);
	if (length_in_file(extent, &stored_length, err) < 0 ||
	    storage_read(extent->storage, stored, stored_length,
			 extent->host_offset, err) < 0)
		return -1;
	if (qcow2_decompress_first(q->compression, stored, stored_length,
				   target, within + length, q->cluster_size,
				   err) < 0) {
		error_prefix(err, "compressed cluster at %#llx: ",
			     (unsigned long long)extent->host_offset);
		return -1;
	}
	if (whole)
		memcpy(buffer, whole + within, length);
	return 0;
}
