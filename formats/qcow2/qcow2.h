/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The qcow2 driver, inside. Prototypes stand under the name of the file that
 * defines them.
 *
 * What keeps an image whole at any moment, whatever was written last:
 *  1. a cluster's reference count reaches the disk before a table that points
 *     to the cluster, and so do the cluster's bytes;
 *  2. a new table's bytes reach the disk before the entry that points to it;
 *  3. a count is taken back only after the entry that pointed there is gone
 *     from the disk, and no reader can still be on the way to the old place.
 * So a crash leaves, at worst, clusters that are counted and not used.
 * writeback.c is where the order is made: refcount blocks, refcount table, L2,
 * L1, with a flush between; then what was freed becomes free.
 *
 * Host offsets are bytes in the image file (data: in the data file, if any).
 */
#ifndef QCOW2_H
#define QCOW2_H

#include <pthread.h>

#include "formats/crypto/luks.h"
#include "formats/image.h"
#include "formats/qcow2/qcow2-format.h"

/* A host offset, a guest offset: what keeps them apart is their names here;
 * cluster indices are offsets >> cluster_bits. */

/* The header, decoded, with the extensions; plain data. */
struct qcow2_header {
	uint32_t version, cluster_bits, crypt_method;
	uint64_t size;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order;
	uint32_t length;      /* header_length */
	uint8_t compression;  /* QCOW2_COMPRESSION_* */
	char *backing_name;   /* owned, or NULL */
	char *backing_format; /* owned, or NULL */
	char *data_file;      /* owned, or NULL */
	bool has_bitmaps;
	uint32_t bitmap_count;
	uint64_t bitmap_directory_size, bitmap_directory_offset;
	bool has_crypto;
	uint64_t crypto_offset, crypto_length;
	/* The bytes of the header beyond what is known (from 112 on), and
	 * extensions that are not: kept when the header is written again. */
	unsigned char *extra; /* owned */
	uint32_t extra_length;
	unsigned char *unknown; /* owned: whole extensions, padded to 8 */
	uint32_t unknown_length;
	/* The image's own feature name table, for messages; or NULL. */
	unsigned char *feature_names; /* owned */
	uint32_t feature_names_length;
};

struct qcow2_bitmaps; /* bitmap.h */

/* A table held whole in memory (L1, refcount table), in host byte order. */
struct qcow2_table {
	uint64_t *entries;
	uint32_t count;
	uint64_t offset;	       /* host */
	uint32_t dirty_from, dirty_to; /* entries; equal: clean */
};

/* A piece of a table that is read and written at once. */
struct qcow2_slice {
	uint64_t offset;	  /* host; 0: unused */
	unsigned char *data;	  /* as on the disk */
	struct qcow2_slice *next; /* in the hash chain */
	_Atomic bool used;	  /* since the clock hand passed */
	bool dirty;
};

/* L2 tables or refcount blocks, in slices, up to a budget. */
struct qcow2_cache {
	uint32_t slice_size; /* bytes: min(4096, cluster size) */
	struct qcow2_slice *slices;
	unsigned count, limit; /* in use, at most */
	unsigned hand;
	unsigned dirty;
	struct qcow2_slice **buckets;
	unsigned bucket_mask;
};

/* Host clusters to give back once nothing on disk and nobody in flight points
 * there. */
struct qcow2_freed {
	uint64_t offset, length; /* host bytes, whole clusters */
	uint64_t ticket;	 /* of the epoch, once unlinked on disk */
	bool unlinked;
	bool punch; /* give the space back to the host, too */
};

/* Hash set of host clusters that hold metadata: no data may go there. */
struct qcow2_guard {
	uint64_t *clusters; /* cluster index + 1; 0: empty */
	size_t count, mask;
};

struct qcow2 {
	struct image image;	    /* first */
	struct qcow2_header header; /* see lock */
	struct storage *data;	    /* data clusters: image.storage, or the
				     * external data file (then owned) */
	/* Of data clusters; NULL: they are plain. Sectors are numbered by where
	 * they are in data, or (old AES) by where on the disk. Owned. */
	const struct cipher *cipher;
	bool cipher_by_guest;
	/* immutable after open */
	uint32_t cluster_size, cluster_bits;
	uint32_t entry_size;	   /* of an L2 entry: 8, or 16 (extended) */
	uint32_t l2_entries;	   /* per table */
	uint32_t l2_slice_entries; /* per slice */
	uint32_t subcluster_size;  /* cluster_size if not extended */
	uint32_t refcount_bits;
	uint64_t refblock_entries; /* counts per refcount block */
	uint64_t refcount_max;
	bool extended_l2, raw_data;
	uint8_t compression; /* as in the header, but without lock */
	int level;	     /* of compression; 0: the fast default */

	/*
	 * Lock order: flushing, lock. lock is held shared to look things up
	 * and exclusively to change what follows; readers that hit the cache
	 * only share it. A flush holds flushing, and lock shared.
	 */
	pthread_mutex_t flushing;
	pthread_rwlock_t lock;
	struct qcow2_table l1, reftable;
	struct qcow2_cache l2_cache, ref_cache;
	struct qcow2_guard guard;
	uint64_t free_hint;  /* cluster index: none free below */
	uint64_t packed_end; /* host byte after the last compressed
				     * cluster; 0 or aligned: none to share */
	struct qcow2_freed *freed;
	size_t freed_count, freed_room;
	bool releasing;		/* freed is being gone through */
	bool header_fit;	/* for metadata to change (autoclear...) */
	bool prepared;		/* for the disk to change, too */
	_Atomic bool untracked; /* there may be bitmaps to be marked, and
				     * nothing has changed yet */
	_Atomic bool tracking;	/* they are in memory */
	struct qcow2_bitmaps *bitmaps; /* the directory; NULL: not read */
	bool marked_dirty;	       /* dirty bit is on the disk, by us */
	bool broken;		       /* a write of metadata failed: no more */
};

static inline struct qcow2 *qcow2_of(struct image *image)
{
	return (struct qcow2 *)image;
}

/* --- header.c: the header and its extensions ----------------------------- */

/* Decode and validate all that can be judged from the header alone and the
 * file's length: versions, bits (unknown incompatible ones refused by name),
 * sizes against the caps, offsets aligned and tables within the file.
 * On failure nothing is left to free. */
int qcow2_header_read(struct storage *storage, struct qcow2_header *header,
		      struct gild_error *err);

/* The same for a repair: a refcount table that is not there, is too large or
 * lies outside the file is no error; reftable_clusters and reftable_offset are
 * then 0. */
int qcow2_header_read_for_repair(struct storage *storage,
				 struct qcow2_header *header,
				 struct gild_error *err);

/* Write the first cluster's header area: header, extensions in this order:
 * backing format, data file, crypto, bitmaps, feature names (where they fit),
 * unknown ones, end; then the backing name. GILD_ERR_RANGE where it does not
 * fit into a cluster. In place of another one: whatever sectors reach the disk,
 * the header is as before or as after; mostly that is one write, else two or
 * three with a flush between. Whoever fails in the middle cannot tell which of
 * the two is there. */
int qcow2_header_write(struct storage *storage,
		       const struct qcow2_header *header,
		       struct gild_error *err);
/* The first header of a file: one write. */
int qcow2_header_write_new(struct storage *storage,
			   const struct qcow2_header *header,
			   struct gild_error *err);
void qcow2_header_free(struct qcow2_header *header);

/* --- options.c: "-o" and the geometry that follows ----------------------- */

struct qcow2_options {
	uint32_t version, cluster_size, refcount_bits;
	uint8_t compression;
	bool lazy_refcounts, extended_l2, data_file_raw, keep_data_file;
	const char *data_file;	  /* borrowed, or NULL */
	uint32_t crypt_method;	  /* QCOW2_CRYPT_* */
	const char *secret_id;	  /* borrowed, or NULL */
	struct luks_options luks; /* where crypt_method says so */
	enum qcow2_prealloc {
		QCOW2_PREALLOC_OFF,
		QCOW2_PREALLOC_METADATA,
		QCOW2_PREALLOC_FALLOC,
		QCOW2_PREALLOC_FULL,
	} preallocation;
	int level; /* compression_level; 0: default */
};

extern const struct gild_option_help qcow2_option_help[];
int qcow2_options_parse(const struct gild_option *options, size_t count,
			struct qcow2_options *parsed, struct gild_error *err);

/* --- create.c, measure.c, info.c, check.c: see struct format_ops --------- */

int qcow2_create(struct storage *storage,
		 const struct gild_create_options *options,
		 struct companion *companion, struct gild_error *err);
int qcow2_measure(uint64_t size, uint64_t allocated_bytes,
		  const struct gild_option *options, size_t option_count,
		  struct gild_measurement *result, struct gild_error *err);
int qcow2_measure_bitmaps(const struct gild_info *source,
			  const struct gild_option *options,
			  size_t option_count, struct gild_measurement *result,
			  struct gild_error *err);
int qcow2_info(struct image *image, struct gild_info *info,
	       struct gild_error *err);
int qcow2_check(struct image *image, unsigned fix,
		struct gild_check_result *result, struct gild_error *err);

/* An image marked dirty becomes fit for writing: its counts are put right from
 * the tables, and the mark is cleared. check/repair.c */
int qcow2_check_repair_dirty(struct qcow2 *q, struct gild_error *err);

/* --- codec.c: compressed clusters; no state, many threads at once -------- */

/* Compress length bytes into target (room target_size). Deflate with a 4 KiB
 * window, or one zstd frame with a content checksum. level 0: the fast
 * default; deflate 1 to 9 are zlib's, zstd 1 to 19. Returns the compressed
 * length, 0 where it does not fit into target_size, or -1. */
long qcow2_compress(uint8_t compression, int level, const void *source,
		    size_t length, void *target, size_t target_size,
		    struct gild_error *err);

/* Decompress exactly length bytes out of stored bytes that may be followed by
 * others. GILD_ERR_CORRUPT where they hold less or are no stream. */
int qcow2_decompress(uint8_t compression, const void *stored,
		     size_t stored_length, void *target, size_t length,
		     struct gild_error *err);

/* At least the first needed bytes of length, for which target has room; that
 * what follows is sound is not said then. */
int qcow2_decompress_first(uint8_t compression, const void *stored,
			   size_t stored_length, void *target, size_t needed,
			   size_t length, struct gild_error *err);

/* --- open.c -------------------------------------------------------------- */

extern const struct format_ops qcow2_format;
/* What follows from the width of a reference count. */
void qcow2_set_refcount_width(struct qcow2 *q);
/* Forget everything cached and read the tables again (after a repair). The
 * header in memory is what counts. Lock held exclusively. */
int qcow2_reload(struct qcow2 *q, struct gild_error *err);

/* --- encryption.c: data clusters through a cipher ------------------------- */

/* Find the key, where the image is encrypted. */
int qcow2_encryption_open(struct qcow2 *q, struct gild_error *err);

/* The LUKS header that the qcow2 header points to, and where it is. */
int qcow2_luks_read(struct qcow2 *q, struct luks_area *area,
		    struct luks_header *header, struct gild_error *err);

int qcow2_key_area(struct image *image, struct luks_area *area,
		   const struct cipher **cipher, struct gild_error *err);

/* How data at host, which is guest's place, is encrypted. */
static inline uint64_t qcow2_cipher_offset(const struct qcow2 *q,
					   uint64_t guest, uint64_t host)
{
	return q->cipher_by_guest ? guest : host;
}

/* --- cache.c ------------------------------------------------------------- */

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_size,
		     uint64_t budget, struct gild_error *err);
void qcow2_cache_free(struct qcow2_cache *cache);
void qcow2_cache_drop(struct qcow2_cache *cache);
/* The slice, or NULL if it is not there. Lock held, shared at least. */
struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache,
				     uint64_t offset);
/* The slice, read if need be; valid until the next load from this cache. May
 * write everything back to make room. Lock held exclusively. */
struct qcow2_slice *qcow2_cache_load(struct qcow2 *q, struct qcow2_cache *cache,
				     uint64_t offset, struct gild_error *err);
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice);
/* The range is about to become a new table: what was cached of it is stale. */
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset,
			uint64_t length);
/* Hand dirty slices to the storage in order of offset. */
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *cache,
		      struct gild_error *err);

/* --- table.c ------------------------------------------------------------- */

int qcow2_table_read(struct qcow2 *q, struct qcow2_table *table,
		     uint64_t offset, uint32_t count, struct gild_error *err);
void qcow2_table_set(struct qcow2_table *table, uint32_t index, uint64_t value);
int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table,
		      struct gild_error *err);

/* --- root.c: L1 tables; lock held, shared at least ------------------------ */

/* A snapshot's L1 table, on the disk; a pointer that is NULL stands for the
 * active one. It is looked up through the cache of L2 tables. */
struct qcow2_root {
	uint64_t offset;
	uint32_t entries;
};

uint32_t qcow2_root_entries(const struct qcow2 *q,
			    const struct qcow2_root *root);
/* The L2 table that an entry leads to, 0: none, or beyond the table's end.
 * *missing: unless 0, the slice that has to be loaded first. */
uint64_t qcow2_root_table(struct qcow2 *q, const struct qcow2_root *root,
			  uint32_t index, uint64_t *missing);

/* --- refcount.c ---------------------------------------------------------- */

uint64_t qcow2_refcount_decode(const unsigned char *block, uint32_t order,
			       uint64_t index);
void qcow2_refcount_encode(unsigned char *block, uint32_t order, uint64_t index,
			   uint64_t value);
/* Lock held exclusively for all of these. */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count,
		       struct gild_error *err);
/* Add (or take away) one for each of count clusters. */
int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count,
		       int change, struct gild_error *err);

/* The counts of *got clusters, up to want, from cluster on. counts has room for
 * QCOW2_REFCOUNT_SLICE of them. */
#define QCOW2_REFCOUNT_SLICE (4096U * 8) /* in a slice, at most */
int qcow2_refcount_read(struct qcow2 *q, uint64_t cluster, uint64_t want,
			uint64_t *counts, uint64_t *got,
			struct gild_error *err);

/* From cluster on, within what one slice counts: *busy clusters are in use,
 * then up to want are *free. *counted = false where no block counts them. */
int qcow2_refcount_scan(struct qcow2 *q, uint64_t cluster, uint64_t want,
			bool *counted, uint64_t *busy, uint64_t *free,
			struct gild_error *err);

/* --- refblock.c: more room for counts; lock held exclusively -------------- */

/* Make the refcount block that counts cluster, at host cluster place, which
 * is free, and counted by that very block or by another one. May move the
 * refcount table, then place and what follows are used for that. */
int qcow2_refblock_new(struct qcow2 *q, uint64_t cluster, uint64_t place,
		       struct gild_error *err);

/* --- alloc.c: host clusters; lock held exclusively ----------------------- */

/* Up to want clusters in a row, counted once each; *got > 0 of them. */
int qcow2_alloc_run(struct qcow2 *q, uint64_t want, uint64_t *offset,
		    uint64_t *got, struct gild_error *err);
/* Exactly count in a row (for tables). */
int qcow2_alloc_table(struct qcow2 *q, uint64_t count, uint64_t *offset,
		      struct gild_error *err);
/* Room for a compressed cluster. */
int qcow2_alloc_packed(struct qcow2 *q, uint32_t length, uint64_t *offset,
		       struct gild_error *err);
/* Never linked: free at once. */
void qcow2_alloc_undo(struct qcow2 *q, uint64_t offset, uint64_t length);

/* --- freed.c: clusters on their way to be free; lock held exclusively ---- */

/* Whole clusters that the range touches lose one reference. Where memory runs
 * out they leak. */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t length,
		      bool punch);
/* All of them are unlinked on the disk now. */
void qcow2_freed_unlinked(struct qcow2 *q);
/* Free those that nobody can be using any more (closing: nobody can). */
int qcow2_freed_release(struct qcow2 *q, bool closing, struct gild_error *err);

/* --- guard.c ------------------------------------------------------------- */

int qcow2_guard_add(struct qcow2 *q, uint64_t offset, uint64_t length,
		    struct gild_error *err);
void qcow2_guard_remove(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Does a range touch metadata? */
bool qcow2_guard_hit(const struct qcow2 *q, uint64_t offset, uint64_t length);
void qcow2_guard_free(struct qcow2_guard *guard);
/* All metadata that the tables in memory lead to. GILD_ERR_CORRUPT where some
 * lies over other metadata: a change of the one would destroy the other. */
int qcow2_guard_fill(struct qcow2 *q, struct gild_error *err);

/* --- map.c, write.c, zero.c, writeback.c, resize.c, empty.c, backing.c: see
 * struct format_ops -------------------------------------------------------- */

int qcow2_map(struct image *image, uint64_t offset, uint64_t length,
	      struct extent *extent, struct gild_error *err);
/* The same for any tree of the image. */
int qcow2_map_root(struct qcow2 *q, const struct qcow2_root *root,
		   uint64_t guest, uint64_t length, struct extent *extent,
		   struct gild_error *err);
/* Load a slice that a lookup, on the way to guest, did not find. No lock is
 * held. */
int qcow2_load_missing(struct qcow2 *q, uint64_t guest, uint64_t missing,
		       struct gild_error *err);
int qcow2_read_compressed(struct image *image, const struct extent *extent,
			  uint64_t offset, void *buffer, size_t length,
			  struct gild_error *err);
int qcow2_prepare_write(struct image *image, uint64_t offset, uint64_t length,
			struct write_plan *plan, struct gild_error *err);
int qcow2_prepare_compressed(struct image *image, uint64_t offset,
			     uint32_t stored_length, struct write_plan *plan,
			     struct gild_error *err);
int qcow2_commit_write(struct image *image, const struct write_plan *plan,
		       struct gild_error *err);
void qcow2_abort_write(struct image *image, const struct write_plan *plan);
int qcow2_zero(struct image *image, uint64_t offset, uint64_t length,
	       unsigned flags, struct gild_error *err);
int qcow2_discard(struct image *image, uint64_t offset, uint64_t length,
		  struct gild_error *err);
int qcow2_flush(struct image *image, bool closing, struct gild_error *err);
int qcow2_resize(struct image *image, uint64_t size, struct gild_error *err);
/* May the disk get that size, in an image of that version? resize.c */
int qcow2_check_resize(const struct qcow2 *q, uint64_t size, uint32_t version,
		       struct gild_error *err);
int qcow2_empty(struct image *image, struct gild_error *err);
/* amend/ */
int qcow2_amend(struct image *image, const struct amend *amend,
		struct gild_error *err);
extern const struct gild_option_help qcow2_amend_help[];
int qcow2_set_backing(struct image *image, const char *name, const char *format,
		      struct gild_error *err);

/* Clusters beyond the end of the disk lose their places. zero.c */
int qcow2_drop(struct qcow2 *q, uint64_t start, uint64_t end,
	       struct gild_error *err);

/* The L2 slice of a guest offset for changing it: its table exists and is ours
 * alone afterwards. Lock held exclusively. write.c */
struct qcow2_slice *qcow2_l2_for_write(struct qcow2 *q, uint64_t guest,
				       struct gild_error *err);
/* The same for whoever begins to change something; what waits to be freed is
 * settled where it became much. */
struct qcow2_slice *qcow2_l2_begin(struct qcow2 *q, uint64_t guest,
				   struct gild_error *err);

/* Bring everything to the disk in order. Lock held exclusively, or shared
 * with flushing. writeback.c */
int qcow2_writeback(struct qcow2 *q, bool closing, struct gild_error *err);
/* What was handed to the storages is durable, unless nobody can see the file
 * yet. */
int qcow2_barrier(struct qcow2 *q, struct gild_error *err);
/* A header in place of the one in the file, durable. Where it cannot be told
 * which of the two is there then, the image is broken. */
int qcow2_put_header(struct qcow2 *q, const struct qcow2_header *header,
		     struct gild_error *err);
/* The header becomes another one of the same length, which leads to tables that
 * were written before. A failure leaves the image broken. */
int qcow2_switch_header(struct qcow2 *q, const struct qcow2_header *header,
			struct gild_error *err);
/* Before the first change of metadata: autoclear bits, dirty mark. Lock held
 * exclusively. */
int qcow2_begin_metadata(struct qcow2 *q, struct gild_error *err);
/* The same, and before the disk's content changes: bitmaps. */
int qcow2_begin_changes(struct qcow2 *q, struct gild_error *err);

#endif
