/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract between the core (image.c and its neighbours) and a format
 * driver. A driver answers "where?"; the core moves the bytes.
 *
 * One read:  image_read -> chain_map -> driver.map, layer by layer until one
 *            says something other than "ask my backing file" (shortcuts.c
 *            knows where that was last time) -> storage_read, memset, or
 *            driver.read_compressed.
 * One write: image_write -> driver.map: already there and ours alone? then
 *            storage_write. Else, with the range held against other writers:
 *            driver.prepare_write gives host space; the core writes data, and
 *            around it what the disk reads now (copy on write); then
 *            driver.commit_write links it. A failure in between:
 *            driver.abort_write.
 *
 * A driver embeds struct image first and ends its file with one const struct
 * format_ops; registry.c is the only file that names it.
 */
#ifndef FORMATS_FORMAT_H
#define FORMATS_FORMAT_H

#include <pthread.h>

#include "storage/newfile.h"
#include "storage/storage.h"
#include "util/epoch.h"

struct image;
struct cipher;

/* A file that is made together with an image, which names it: its external
 * data file. It gets its name when the image gets its own. */
struct companion {
	struct newfile file; /* where made */
	bool made;
};
struct shortcuts;
struct spec;
struct luks_area;

enum extent_kind {
	EXTENT_DATA,	   /* plain bytes in storage at host_offset */
	EXTENT_ZERO,	   /* reads as zeros */
	EXTENT_BACKING,	   /* this layer says nothing: ask the backing file */
	EXTENT_COMPRESSED, /* only the driver can read it */
};

/* A run of the virtual disk that one layer stores in one way. */
struct extent {
	enum extent_kind kind;
	bool writable;	 /* DATA: may be overwritten in place */
	bool allocated;	 /* ZERO: host space is reserved at host_offset */
	bool hole;	 /* ZERO: the place itself reads as zeros, too */
	bool unwritten;	 /* ZERO: in use, but the file has a hole there
			     * (chain_map_deep) */
	bool absent;	 /* ZERO: since no layer says anything (chain_map) */
	uint64_t length; /* > 0 */
	struct storage *storage; /* DATA, COMPRESSED: borrowed from the image */
	uint64_t host_offset;
	/* DATA: what stands there is encrypted; NULL: it is not. Borrowed. */
	const struct cipher *cipher;
	uint64_t cipher_offset; /* numbers the sectors, in bytes */
	/* COMPRESSED: the whole of the unit that the extent is part of. */
	uint64_t unit_start;	/* offset in the virtual disk */
	uint32_t stored_length; /* upper bound of the stored bytes */
};

/* Rows of a driver's create_help: options of the file, whatever is in it. */
#define FILE_HINT_ROWS                                                    \
	{ "extent_size_hint", "size", NULL,                               \
	  "unit in which the file is to grow (XFS); 0: its own choice" }, \
	{                                                                 \
		"nocow", "bool", NULL,                                    \
			"write the file in place, without copies (btrfs)" \
	}

/* Host space for a run of the virtual disk, not yet linked. */
struct write_plan {
	uint64_t start, length;	 /* the run; covers the first byte asked for */
	struct storage *storage; /* borrowed */
	uint64_t host_offset;	 /* where start goes */
	bool in_place;		 /* linked already: no commit, no copy */
	bool compressed;
	uint32_t stored_length; /* compressed: bytes to write */
	/* How the run is encrypted, from start on; as in struct extent. */
	const struct cipher *cipher;
	uint64_t cipher_offset;
	uint64_t cookie; /* the driver's own */
};

/* What is to be changed of an image; see gild_amend. */
struct amend {
	const struct gild_option *options; /* of the driver's amend_help */
	size_t option_count;
	bool force;
	/* Called now and then with the bytes looked through, as long as it may
	 * be given up: -1, with *err, to do so. */
	int (*step)(void *opaque, uint64_t done, uint64_t total,
		    struct gild_error *err);
	void *opaque;
};

enum snapshot_change {
	SNAPSHOT_CREATE,
	SNAPSHOT_APPLY,
	SNAPSHOT_DELETE,
};

enum bitmap_action {
	BITMAP_ADD,
	BITMAP_REMOVE,
	BITMAP_CLEAR,
	BITMAP_ENABLE,
	BITMAP_DISABLE,
	BITMAP_MERGE,
};

struct bitmap_change {
	enum bitmap_action what;
	const char *name;
	uint64_t granularity; /* ADD: bytes; 0: by the image */
	bool disabled;	      /* ADD */
	struct image *source; /* MERGE, ADD (or NULL): of its bitmap */
	const char *source_name;
};

/*
 * What a job needs to carry snapshots from one image to another. A view is a
 * snapshot's disk as an image of its own, for reading; it borrows the image's
 * storage and chain and is freed before it (image_free).
 */
struct snapshot_ops {
	/* May an image that is made with these options take so many? resized:
	 * their disks are not all as large as the active one. */
	int (*check_room)(const struct gild_option *options,
			  size_t option_count, size_t snapshots, bool resized,
			  struct gild_error *err);

	/* The snapshot at this place of the list in gild_info. */
	struct image *(*view)(struct image *image, size_t index,
			      struct gild_error *err);

	/* The VM state that was saved with a view; from offset 0 on. */
	struct image *(*view_vm_state)(struct image *view,
				       struct gild_error *err);

	/* Where the VM state of a disk of that size begins, as an offset of
	 * the disk. */
	uint64_t (*vm_state_place)(const struct image *image, uint64_t size);

	/* Do two disks of one image (views, or the image itself) have the same
	 * stored at offset, at the same place? For *run bytes, at most length,
	 * the answer is *same. Many threads at once. */
	int (*same)(struct image *a, struct image *b, uint64_t offset,
		    uint64_t length, bool *same, uint64_t *run,
		    struct gild_error *err);

	/* Whole units (the end of the disk counts as a unit's) become what a
	 * view has there, sharing its clusters; or, from NULL, the backing
	 * file's. The core holds the range. */
	int (*adopt)(struct image *image, struct image *from, uint64_t offset,
		     uint64_t length, struct gild_error *err);
};

struct format_ops {
	const char *name;
	const struct gild_option_help *create_help;
	const struct gild_option_help *amend_help; /* NULL: see amend */

	/* Do these first bytes of a file (zero-filled to length >= 512) look
	 * like mine? Never reads on. May be NULL: never. */
	bool (*probe)(const unsigned char *head, size_t length);

	/* The name of the backing file, as the header alone tells it, which
	 * need not be sound otherwise; the caller frees it. NULL: none. May be
	 * NULL: there are no backing files. */
	int (*backing)(struct storage *storage, char **name,
		       struct gild_error *err);

	/* Bytes of the struct that embeds struct image. */
	size_t struct_size;

	/* Read and check the metadata; image->storage, path, flags and policy
	 * are set. Fills size, unit, backing_name, backing_format. Opens no
	 * other file but through image_open_file(). On failure the core calls
	 * close. */
	int (*open)(struct image *image, struct gild_error *err);

	/* Free; all was flushed before, or is lost. Runs on half-open images.
	 * May be NULL: nothing to free. */
	void (*close)(struct image *image);

	/* Write all metadata so that what was written can be found after a
	 * crash; data has been handed to the storage before. closing: the image
	 * is closed next (a dirty mark may be cleared). May be NULL: the
	 * storages are flushed. */
	int (*flush)(struct image *image, bool closing, struct gild_error *err);

	/* The extent at offset; length bounds it. Many threads at once. */
	int (*map)(struct image *image, uint64_t offset, uint64_t length,
		   struct extent *extent, struct gild_error *err);

	/* Host space for [offset, offset + length), or a first part of it,
	 * widened to whole units. The core holds the range against other
	 * writers. */
	int (*prepare_write)(struct image *image, uint64_t offset,
			     uint64_t length, struct write_plan *plan,
			     struct gild_error *err);

	/* The same for one compressed unit of stored_length bytes.
	 * May be NULL. */
	int (*prepare_compressed)(struct image *image, uint64_t offset,
				  uint32_t stored_length,
				  struct write_plan *plan,
				  struct gild_error *err);

	/* Link a plan whose data is written. */
	int (*commit_write)(struct image *image, const struct write_plan *plan,
			    struct gild_error *err);

	/* Give the space of a plan back. Cannot fail: at worst it leaks. */
	void (*abort_write)(struct image *image, const struct write_plan *plan);

	/* Compress one unit (length bytes, the image's unit or the rest of the
	 * disk) into target. Returns the stored length, 0 where it would not
	 * shrink, or -1. Takes no locks: many threads at once. May be NULL. */
	long (*compress)(struct image *image, const void *source, size_t length,
			 void *target, size_t target_size,
			 struct gild_error *err);

	/* Read [offset, offset + length) of a COMPRESSED extent. */
	int (*read_compressed)(struct image *image, const struct extent *extent,
			       uint64_t offset, void *buffer, size_t length,
			       struct gild_error *err);

	/* Whole units become zeros (or, discard, whatever reads the same
	 * without space). Returns 1 where the format cannot say so: the core
	 * then writes zeros, or, discard, does nothing. Core holds the
	 * range. */
	int (*zero)(struct image *image, uint64_t offset, uint64_t length,
		    unsigned flags, struct gild_error *err);
	int (*discard)(struct image *image, uint64_t offset, uint64_t length,
		       struct gild_error *err);

	/* Options that shape what is written from now on (a compression level);
	 * those that shaped the image are ignored. May be NULL: there are
	 * none. */
	int (*configure)(struct image *image, const struct gild_option *options,
			 size_t option_count, struct gild_error *err);

	/* The storage of a data file of its own; borrowed. May be NULL. */
	struct storage *(*data_storage)(struct image *image);

	/* New virtual size. May be NULL. */
	int (*resize)(struct image *image, uint64_t size,
		      struct gild_error *err);

	/* Take, apply or delete an internal snapshot: wanted->name, and for a
	 * new one all else that wanted says; its id may be NULL (the next one),
	 * its disk_size 0 (as it is now). Where there is VM state, it is what
	 * lies behind disk_size, at vm_state_place, and the disk loses it. No
	 * I/O is under way. May be NULL: there are none. */
	int (*snapshot)(struct image *image, enum snapshot_change what,
			const struct gild_snapshot *wanted,
			struct gild_error *err);

	/* What the disk holds at [offset, + length) may have changed. Called
	 * when the bytes are written and linked, when that failed half way, and
	 * when there was nothing to do. Many threads at once. May be NULL. */
	int (*wrote)(struct image *image, uint64_t offset, uint64_t length,
		     struct gild_error *err);

	/* Change a persistent dirty bitmap; the source is an image of the same
	 * format, perhaps the same one. May be NULL: there are none. */
	int (*bitmap)(struct image *image, const struct bitmap_change *change,
		      struct gild_error *err);
	/* For copying an image with its snapshots. NULL: that cannot be. */
	const struct snapshot_ops *snapshots;

	/* Allocate nothing any more: all of the disk is the backing file's, or
	 * zeros. Snapshots stay. May be NULL. */
	int (*empty)(struct image *image, struct gild_error *err);

	/* Record another backing file, or none (both NULL); says nothing about
	 * the content. May be NULL. */
	int (*set_backing)(struct image *image, const char *name,
			   const char *format, struct gild_error *err);

	/* Change what options say; nothing of it where one of them is
	 * impossible. No I/O is under way. May be NULL: nothing can be. */
	int (*amend)(struct image *image, const struct amend *amend,
		     struct gild_error *err);

	/* Where the image's LUKS header is, whose key slots are about to
	 * change, and what encrypts the data; both borrowed. The image is open
	 * for writing, and encrypted so. May be NULL: it never is. */
	int (*key_area)(struct image *image, struct luks_area *area,
			const struct cipher **cipher, struct gild_error *err);

	/* Add what is specific to the format. May be NULL. */
	int (*info)(struct image *image, struct gild_info *info,
		    struct gild_error *err);

	int (*check)(struct image *image, unsigned fix,
		     struct gild_check_result *result, struct gild_error *err);

	/* Write an empty image into an empty storage. What it needs beside it
	 * becomes its companion (zeroed before, the caller's afterwards, also
	 * on failure; NULL: the options are known to want none). */
	int (*create)(struct storage *storage,
		      const struct gild_create_options *options,
		      struct companion *companion, struct gild_error *err);

	/* Sizes for an image of that virtual size of which allocated units are
	 * in use (only their number matters for size). */
	int (*measure)(uint64_t size, uint64_t allocated_bytes,
		       const struct gild_option *options, size_t option_count,
		       struct gild_measurement *result, struct gild_error *err);

	/* Add to the result what copies of a source's bitmaps would take, if
	 * the image could have any. May be NULL: it could not. */
	int (*measure_bitmaps)(const struct gild_info *source,
			       const struct gild_option *options,
			       size_t option_count,
			       struct gild_measurement *result,
			       struct gild_error *err);
};

/* Which file of the host; unknown: none. */
struct file_id {
	bool known, is_device;
	uint64_t device, inode;
};

/* What is held of the virtual disk by writers that allocate. */
struct range {
	uint64_t start, end;
	struct range *next;
};

struct range_lock {
	pthread_mutex_t lock; /* protects held */
	pthread_cond_t freed;
	struct range *held;
};

/*
 * Immutable after open, except size (resize: no I/O under way), and the epoch,
 * the shortcuts and the range locks, which guard themselves. Lock order:
 * sectors, ranges, the driver's.
 */
struct image {
	const struct format_ops *ops;
	struct storage *storage; /* the file; owned */
	struct image *backing;	 /* owned; NULL: none, or not opened */
	char *path;
	char *backing_name;    /* as stored, or NULL */
	char *backing_format;  /* as stored, or NULL */
	uint64_t size;	       /* bytes of the virtual disk */
	uint32_t unit;	       /* allocation unit in bytes: cluster or
				   * subcluster; 512 where there is none */
	uint32_t cluster_size; /* 0: the format has none */
	unsigned flags;	       /* GILD_OPEN_* */
	enum gild_cache cache;
	struct gild_policy policy; /* below and backing_format owned */
	struct spec *spec;	   /* by which it was opened, or NULL */
	char *spec_prefix;	   /* of its node; NULL without a spec */
	char *snapshot;	   /* to read instead of the active disk, or NULL */
	unsigned depth;	   /* 0: opened by the caller, 1: its backing */
	struct file_id id; /* of storage */
	const struct companion *companion; /* while it is opened; or NULL */
	bool guessed;			   /* the format is a guess (doors.c) */
	bool unpublished; /* nobody can see the file yet: no ordering
				   * flushes are needed */
	bool skips_data;  /* data of prepared writes is not stored */
	bool is_view;	  /* storage and backing are another image's */
	/* So many snapshots are about to be taken that may share each cluster:
	 * room in reference counts is left for them. */
	size_t coming_snapshots;
	/* "luks", "aes"; NULL: not encrypted. What is encrypted is read and
	 * written in whole sectors, so its size is a multiple of 512. */
	const char *encryption;
	const char *key_secret; /* id of what opens it, or NULL; the caller's */
	/* Through the layers below; owned. NULL: not yet, or none. */
	_Atomic(struct shortcuts *) shortcuts;
	struct epoch epoch; /* users of host addresses */
	struct range_lock ranges;
	struct range_lock sectors; /* writers of parts of encrypted sectors */
};

/* --- registry.c ---------------------------------------------------------- */

const struct format_ops *registry_find(const char *name);
/* The same, with an error that tells the formats; a name of NULL is raw. */
const struct format_ops *registry_want(const char *name,
				       struct gild_error *err);
/* The driver whose magic is there, or NULL. */
const struct format_ops *registry_probe(const unsigned char *head,
					size_t length);

/* --- option.c: "-o" options as a driver reads them ----------------------- */

/* Refuse names that help does not list, and doubles. */
int option_check(const struct gild_option_help *help,
		 const struct gild_option *options, size_t count,
		 struct gild_error *err);
/* The value or NULL. */
const char *option_get(const struct gild_option *options, size_t count,
		       const char *name);
/* on/off/yes/no/true/false; absent: *value stays. */
int option_bool(const struct gild_option *options, size_t count,
		const char *name, bool *value, struct gild_error *err);
int option_size(const struct gild_option *options, size_t count,
		const char *name, uint64_t *value, struct gild_error *err);

/* --- value.c: building the tree of gild_info ----------------------------- */

struct gild_value *value_object(void);
/* Append to an object or list (name NULL); -1: out of memory. */
int value_add_bool(struct gild_value *to, const char *name, bool value);
int value_add_number(struct gild_value *to, const char *name, uint64_t value);
int value_add_string(struct gild_value *to, const char *name,
		     const char *value);
/* Append an empty object or list and return it; valid until the next append
 * to the same parent. NULL: out of memory. */
struct gild_value *value_add_tree(struct gild_value *to, const char *name,
				  enum gild_value_type type);
void value_free(struct gild_value *value);

#endif
