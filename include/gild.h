/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild.h - the public interface of libgild, a library for virtual disk images.
 *
 * Words: an *image* is a virtual disk; an *extent* is a run of it that is
 * stored in one way; a *chain* is an image and what it is backed by; a *job*
 * is work over a whole image.
 *
 * Conventions, unless a function says otherwise:
 *  - offsets, lengths and sizes are bytes of the virtual disk;
 *  - functions return 0, or -1 with *err filled; constructors return NULL;
 *  - err may be NULL; it belongs to the caller and needs no cleaning;
 *  - image handles may be used by many threads at once, other structs are
 *    the caller's to serialise;
 *  - strings are UTF-8 or whatever bytes the file system gave, and are copied.
 *
 * The library prints nothing, installs no signal handlers, keeps no globals.
 */
#ifndef GILD_H
#define GILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GILD_VERSION "0.1.0"

#if defined(__GNUC__)
#define GILD_PUBLIC __attribute__((visibility("default")))
#else
#define GILD_PUBLIC
#endif

/* The version of the library that is linked, e.g. "0.1.0". */
GILD_PUBLIC const char *gild_version(void);

/* ------------------------------------------------------------- errors -- */

enum gild_error_kind {
	GILD_ERR_NONE,
	GILD_ERR_IO,	      /* the host refused: see sys_errno */
	GILD_ERR_FORMAT,      /* not an image of the format that was named */
	GILD_ERR_UNSUPPORTED, /* valid, but not known here */
	GILD_ERR_CORRUPT,     /* the image contradicts itself */
	GILD_ERR_RANGE,	      /* beyond the disk, or beyond a limit */
	GILD_ERR_DENIED,      /* the caller's policy does not allow it */
	GILD_ERR_BUSY,	      /* another process holds a lock */
	GILD_ERR_INVALID,     /* the call itself makes no sense */
	GILD_ERR_NOMEM,
	GILD_ERR_CANCELLED,
};

/* What went wrong; plain data, valid as long as the caller keeps it. */
struct gild_error {
	enum gild_error_kind kind;
	int sys_errno;	 /* errno of the host call, or 0 */
	uint64_t offset; /* bytes, where has_offset */
	bool has_offset;
	char operation[32]; /* the internal step that failed */
	char message[640];  /* one line, names the file; no final newline */
	char hint[320];	    /* the way out, or "" */
};

/* The errno that says it best, for those who can only hand one on; never 0. */
GILD_PUBLIC int gild_error_number(const struct gild_error *err);

/* ------------------------------------------------------------ opening -- */

/* Which files an image may lead to. All-zero: none. */
enum gild_follow {
	GILD_FOLLOW_NONE,  /* open nothing that an image names */
	GILD_FOLLOW_PATHS, /* plain paths whose format is recorded */
	/* What QEMU follows, too: file:PATH, NBD, json:{...} as far as gild has
	 * what it asks for (see GILD_OPEN_SPEC). */
	GILD_FOLLOW_NAMES,
};

/* A passphrase. It stays the caller's: the library keeps no copy of it. */
struct gild_secret {
	const char *id; /* by which an option names it, or NULL */
	const void *bytes;
	size_t length;
};

struct gild_policy {
	enum gild_follow follow;
	/* Only files below this folder (links resolved); NULL: anywhere. */
	const char *below;
	/* Format of a backing file for which none is recorded; NULL: refuse,
	 * or, with guess_backing, look at its first bytes. */
	const char *backing_format;
	bool guess_backing;
	/* Longest chain; 0 stands for 256. */
	unsigned max_depth;
	/* What opens encrypted images, each of which tries them in order. They
	 * must be there as long as the handle is. */
	const struct gild_secret *secrets;
	size_t secret_count;
};

/* How the host caches; names and meaning are qemu-img's cache modes. */
enum gild_cache {
	GILD_CACHE_WRITEBACK,
	GILD_CACHE_NONE,	 /* O_DIRECT */
	GILD_CACHE_WRITETHROUGH, /* flush after each write */
	GILD_CACHE_DIRECTSYNC,	 /* both */
	GILD_CACHE_UNSAFE,	 /* flushes are ignored */
};

enum {
	GILD_OPEN_WRITE = 1 << 0,
	/* Do not open the backing file: what it holds maps as not present. */
	GILD_OPEN_NO_BACKING = 1 << 1,
	/* Read without locks beside a writer (qemu-img's -U). */
	GILD_OPEN_SHARE = 1 << 2,
	/* Metadata only: works beside a writer, data reads are refused, no
	 * other file is opened. */
	GILD_OPEN_INSPECT = 1 << 3,
	/* For gild_check with repair: accept an image marked dirty/corrupt. */
	GILD_OPEN_REPAIR = 1 << 4,
	/* Take a guessed format at its word (the name qemu-img's rule). What is
	 * guessed to be raw is not written so that the next guess would be
	 * another format: GILD_ERR_DENIED. */
	GILD_OPEN_TRUST_GUESS = 1 << 5,
	/* An encrypted image for which no secret was given stays locked: its
	 * structure can be looked at and changed, its data is denied. */
	GILD_OPEN_LOCKED = 1 << 6,
	/* With GILD_OPEN_INSPECT: an image that is being written is refused all
	 * the same, as qemu-img does. */
	GILD_OPEN_HEED_LOCKS = 1 << 7,
	/* The path is none, but says how to open: "json:{...}", or
	 * "NAME=VALUE,..." as after qemu-img's --image-opts. Known are
	 *   driver  qcow2, luks, raw, file, host_device, null-co
	 *   file.*, backing.*, data-file.*  another of these, or backing=null
	 *   offset, size (raw); filename, locking (file); size (null-co)
	 *   key-secret, encrypt.key-secret, snapshot.name, snapshot.id
	 *   cache.direct, cache.no-flush, read-only, force-share
	 * and what has no effect here but on speed. All else is refused by
	 * name. Files that it names are opened; the policy is for those that
	 * these name. */
	GILD_OPEN_SPEC = 1 << 8,
};

struct gild_open_options {
	const char *format; /* "raw", "qcow2"; NULL: by the name */
	unsigned flags;	    /* GILD_OPEN_* */
	enum gild_cache cache;
	struct gild_policy policy;
	/* Read this internal snapshot (id, else name) instead of the active
	 * disk; not with GILD_OPEN_WRITE. NULL: the active disk. */
	const char *snapshot;
	/* Id of the one of the policy's secrets that opens this image (not its
	 * backing files). NULL: whichever does. Stays as the secrets do. */
	const char *key_secret;
};

struct gild_image;

/*
 * Open an image and, as far as the policy allows, the files it names.
 * options may be NULL (read only, policy: open nothing else). Without a
 * format the name decides, and what was merely guessed may neither lead to
 * other files nor be written.
 */
GILD_PUBLIC struct gild_image *
gild_open(const char *path, const struct gild_open_options *options,
	  struct gild_error *err);

/*
 * Write what is cached, then free the handle, which is gone in either case.
 * No other thread may use it any more. NULL is allowed.
 */
GILD_PUBLIC int gild_close(struct gild_image *image, struct gild_error *err);

/* Bytes of the virtual disk. */
GILD_PUBLIC uint64_t gild_size(const struct gild_image *image);

/* Name of the format ("raw", "qcow2"); lives as long as the handle. */
GILD_PUBLIC const char *gild_format(const struct gild_image *image);

/* Is that a guess, which only GILD_OPEN_TRUST_GUESS makes more than one? */
GILD_PUBLIC bool gild_is_guessed(const struct gild_image *image);

/* How the image's data is encrypted: "luks"; "aes", which is qcow2's old way,
 * and weak; or NULL: not at all. */
GILD_PUBLIC const char *gild_encryption(const struct gild_image *image);

/* The path as it was opened; lives as long as the handle. */
GILD_PUBLIC const char *gild_path(const struct gild_image *image);

/* ---------------------------------------------------- reading, writing -- */

/* Read exactly length bytes; beyond the end of the disk is an error. */
GILD_PUBLIC int gild_read(struct gild_image *image, void *buffer,
			  uint64_t length, uint64_t offset,
			  struct gild_error *err);

/*
 * Write exactly length bytes. They are durable after gild_flush. Two writes
 * that overlap in time and place leave either's bytes, in unspecified order.
 */
GILD_PUBLIC int gild_write(struct gild_image *image, const void *buffer,
			   uint64_t length, uint64_t offset,
			   struct gild_error *err);

/*
 * Write one cluster compressed, or the shorter rest at the end of the disk.
 * offset is a multiple of the cluster size. What does not shrink is stored
 * plain. GILD_ERR_UNSUPPORTED where the format has no compression.
 */
GILD_PUBLIC int gild_write_compressed(struct gild_image *image,
				      const void *buffer, uint64_t length,
				      uint64_t offset, struct gild_error *err);

enum {
	GILD_ZERO_UNMAP = 1 << 0, /* give the space back where possible */
	/* Where most of it would have to be written: GILD_ERR_UNSUPPORTED, and
	 * what is there stays, but for zeros at the edges. */
	GILD_ZERO_FAST = 1 << 1,
};

/* Make a range read as zeros. */
GILD_PUBLIC int gild_zero(struct gild_image *image, uint64_t offset,
			  uint64_t length, unsigned flags,
			  struct gild_error *err);

/* The content of a range is no longer needed; a hint, whole clusters only. */
GILD_PUBLIC int gild_discard(struct gild_image *image, uint64_t offset,
			     uint64_t length, struct gild_error *err);

/* Everything that was written is on stable storage afterwards. */
GILD_PUBLIC int gild_flush(struct gild_image *image, struct gild_error *err);

/* ------------------------------------------------------------- extents -- */

/* One run of the disk; fields as in qemu-img map's JSON. */
struct gild_extent {
	uint64_t start, length;
	unsigned depth; /* 0: the image itself, 1: its backing file ... */
	bool present;	/* some file of the chain says what is here */
	bool zero;	/* reads as zeros */
	bool data;	/* allocated in a file */
	bool compressed;
	bool has_offset;
	uint64_t offset;      /* in the file, where has_offset */
	const char *filename; /* of that file; lives as long as the handle */
};

/*
 * The extent at offset, at most length bytes long. Neighbours may be alike:
 * the caller joins them.
 */
GILD_PUBLIC int gild_map(struct gild_image *image, uint64_t offset,
			 uint64_t length, struct gild_extent *extent,
			 struct gild_error *err);

/* ---------------------------------------------------------------- info -- */

/* A named value, possibly a tree: what is specific to a format. */
enum gild_value_type {
	GILD_VALUE_BOOL,
	GILD_VALUE_NUMBER,
	GILD_VALUE_STRING,
	GILD_VALUE_OBJECT,
	GILD_VALUE_LIST,
};

struct gild_value {
	const char *name; /* JSON key; NULL inside a list */
	enum gild_value_type type;
	bool boolean;
	uint64_t number;
	char *string;		  /* owned */
	struct gild_value *items; /* owned, count of them */
	size_t count;
};

struct gild_snapshot {
	char *id, *name;	/* owned by the gild_info */
	uint64_t vm_state_size; /* bytes */
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	uint64_t disk_size; /* bytes; 0: not recorded */
	uint64_t icount;
	bool has_icount;
};

/* A persistent dirty bitmap: which granules of the disk were written to while
 * it was enabled. */
struct gild_bitmap {
	char *name;	      /* owned by the gild_info */
	uint64_t granularity; /* bytes, a power of two */
	bool enabled;	      /* writes are recorded */
	bool inconsistent;    /* a writer was stopped before it could
					* store it */
};

struct gild_info {
	char *filename;
	char *format;
	uint64_t virtual_size;
	uint64_t actual_size;  /* bytes used on the host */
	uint64_t file_length;  /* bytes, holes included */
	uint64_t cluster_size; /* 0: the format has none */
	bool encrypted, dirty;
	bool in_use, being_written;  /* by another process, now */
	char *backing_filename;	     /* as stored, or NULL */
	char *full_backing_filename; /* relative names resolved, or NULL */
	char *backing_format;	     /* as stored, or NULL */
	struct gild_snapshot *snapshots;
	size_t snapshot_count;
	bool has_bitmaps; /* the image could have some */
	struct gild_bitmap *bitmaps;
	size_t bitmap_count;
	struct gild_value *specific; /* an object, or NULL */
};

/* Describe an image; free with gild_info_free. Opens nothing further. */
GILD_PUBLIC struct gild_info *gild_info(struct gild_image *image,
					struct gild_error *err);
GILD_PUBLIC void gild_info_free(struct gild_info *info);

/* ----------------------------------------------------------- snapshots -- */

/*
 * Internal snapshots of an image that is open for writing; none of its data may
 * be on the way meanwhile. Listing: gild_info. Reading one: gild_open with its
 * name in the options. id_or_name: an id goes before a name.
 *
 * Stopped at any moment, the image is as before or as after.
 */
GILD_PUBLIC int gild_snapshot_create(struct gild_image *image, const char *name,
				     struct gild_error *err);
/* The active disk becomes what it was when the snapshot was taken. */
GILD_PUBLIC int gild_snapshot_apply(struct gild_image *image,
				    const char *id_or_name,
				    struct gild_error *err);
GILD_PUBLIC int gild_snapshot_delete(struct gild_image *image,
				     const char *id_or_name,
				     struct gild_error *err);

/* ---------------------------------------------------------------- keys -- */

/* The default of milliseconds, and of a new image's iter-time. */
#define GILD_KEY_TIME 2000

struct gild_key_change {
	const char *secret; /* id of one of the policy's secrets */
	int slot;	    /* a key slot, or -1 */
	bool remove;
	bool force;	       /* what cannot be undone, too */
	unsigned milliseconds; /* that the secret takes to try; 0:
					* GILD_KEY_TIME */
};

/*
 * Key slots of an image that is encrypted with LUKS, was opened for writing,
 * and by one of its secrets.
 *
 * Add: the secret opens the image, too, by the slot that is given (-1: the
 * first free one). One that is in use gets it only with force, and what it had
 * opens no more. Remove: the slot that is given, where a secret is named, too,
 * if it opens that; without a slot every one that the secret opens. Without any
 * slot nobody opens the image again, so the last one goes only with force.
 *
 * Stopped at any moment, each slot is as before or as after; where one in use
 * gets another secret, another slot has that meanwhile.
 */
GILD_PUBLIC int gild_change_key(struct gild_image *image,
				const struct gild_key_change *change,
				struct gild_error *err);

/* ------------------------------------------------------------- bitmaps -- */

/*
 * Persistent dirty bitmaps of an image that is open for writing (qcow2 of
 * version 3; GILD_ERR_UNSUPPORTED elsewhere). Listing: gild_info. What is
 * written to the disk from the first write to gild_close is recorded in all
 * enabled bitmaps, and stored by gild_close; if that is not reached, they are
 * inconsistent. Such a bitmap can only be removed: GILD_ERR_INVALID, as for a
 * name that is not there.
 *
 * Stopped at any moment, a bitmap is as before or as after. Specification of
 * qcow2: "Bitmaps".
 */

/* Make one without marks. name: 1 to 1023 bytes, not there yet; granularity: a
 * power of two from 512 bytes to 2 GiB, or 0: as large as a cluster, within 4
 * KiB to 64 KiB; disabled: do not record writes. GILD_ERR_RANGE where it would
 * take more than 512 MiB. */
GILD_PUBLIC int gild_bitmap_add(struct gild_image *image, const char *name,
				uint64_t granularity, bool disabled,
				struct gild_error *err);
GILD_PUBLIC int gild_bitmap_remove(struct gild_image *image, const char *name,
				   struct gild_error *err);
/* Take all marks away. */
GILD_PUBLIC int gild_bitmap_clear(struct gild_image *image, const char *name,
				  struct gild_error *err);
/* Record what is written from now on; or no more. */
GILD_PUBLIC int gild_bitmap_enable(struct gild_image *image, const char *name,
				   struct gild_error *err);
GILD_PUBLIC int gild_bitmap_disable(struct gild_image *image, const char *name,
				    struct gild_error *err);
/* Mark what is marked in a bitmap of source, which may be the same image, and
 * need not be open for writing; its disk has the same size. Granularities may
 * differ: every granule that a mark touches is marked. */
GILD_PUBLIC int gild_bitmap_merge(struct gild_image *image, const char *name,
				  struct gild_image *source,
				  const char *source_name,
				  struct gild_error *err);

/* -------------------------------------------------------------- create -- */

/* An option in a format's own words, as after qemu-img's -o. */
struct gild_option {
	const char *name, *value;
};

/* What a format offers; a table that ends with name == NULL. */
struct gild_option_help {
	const char *name;
	const char *type;     /* "size", "bool", "string", "number" */
	const char *fallback; /* default, as text, or NULL */
	const char *help;
};

/* NULL where there is no such format. */
GILD_PUBLIC const struct gild_option_help *gild_create_help(const char *format);

/* Names of the formats, NULL at the end. */
GILD_PUBLIC const char *const *gild_formats(void);

enum {
	GILD_CREATE_NEW_ONLY = 1 << 0,	/* an existing file is an error */
	GILD_CREATE_SYNC = 1 << 1,	/* on stable storage on return */
	GILD_CREATE_UNCHECKED = 1 << 2, /* backing file need not exist (-u) */
};

#define GILD_SIZE_FROM_BACKING UINT64_MAX

struct gild_create_options {
	const char *format;	    /* NULL: raw */
	uint64_t size;		    /* or GILD_SIZE_FROM_BACKING */
	const char *backing;	    /* stored as given, or NULL */
	const char *backing_format; /* required with backing */
	const struct gild_option *options;
	size_t option_count;
	unsigned flags;		   /* GILD_CREATE_* */
	struct gild_policy policy; /* for opening the backing file */
};

/*
 * Make an empty image. The name appears only when the image is whole; an
 * existing regular file is replaced and keeps owner, mode and attributes.
 */
GILD_PUBLIC int gild_create(const char *path,
			    const struct gild_create_options *options,
			    struct gild_error *err);

/* --------------------------------------------------------------- clone -- */

struct gild_clone_options {
	const char *base_format; /* as in gild_open */
	const struct gild_option *options;
	size_t option_count;
	bool relative;		   /* record the base relative to a clone */
	bool no_sync;		   /* skip the one flush at the end */
	struct gild_policy policy; /* for the base's own chain */
};

/*
 * Make count linked clones of base, all or none: on failure the ones already
 * made are removed. No existing file is replaced.
 */
GILD_PUBLIC int gild_clone(const char *base, const char *const *names,
			   size_t count,
			   const struct gild_clone_options *options,
			   struct gild_error *err);

#define GILD_CLONES_NAMED 3

struct gild_clones {
	size_t count;
	char names[GILD_CLONES_NAMED][256]; /* the first ones, without folder */
	const char *path; /* on which they build; the image's as long as open */
	bool partial;	  /* a folder could not be read, or not to its end */
};

/*
 * The images in the folder of an image's file that name it as their backing
 * file: they may show something else once it changes. Members of its own chain
 * do not count, nor files whose name says that they are raw. Reads the headers
 * of the images there, takes no locks; what cannot be read is passed over.
 */
GILD_PUBLIC void gild_find_clones(struct gild_image *image,
				  struct gild_clones *found);

/* The same for what a commit of the image to base changes (NULL: to the next
 * layer): for each layer below the image, down to base, up to the first that
 * has clones. None where base is not in its chain. */
GILD_PUBLIC void gild_find_clones_below(struct gild_image *image,
					const char *base,
					struct gild_clones *found);

/* ---------------------------------------------------------------- jobs -- */

/*
 * A job's progress and cancellation. Made by the caller and handed to one
 * call at a time; where a function takes a job, NULL is allowed.
 */
struct gild_job;

GILD_PUBLIC struct gild_job *gild_job_new(void);
GILD_PUBLIC void gild_job_free(struct gild_job *job);

/* Safe in a signal handler and from any thread. The call that runs the job
 * returns GILD_ERR_CANCELLED soon, having undone what it can. */
GILD_PUBLIC void gild_job_cancel(struct gild_job *job);

/* Move at most so many bytes a second from now on; 0: no limit. What takes no
 * copying (holes, shared extents) does not count. From any thread. */
GILD_PUBLIC void gild_job_limit(struct gild_job *job, uint64_t rate);

/* Bytes done and bytes in all (0: not known yet), from any thread. */
GILD_PUBLIC void gild_job_progress(const struct gild_job *job, uint64_t *done,
				   uint64_t *total);

struct gild_convert_options {
	/* Sources, joined in order; opened and closed by the caller. */
	struct gild_image *const *sources;
	size_t source_count;
	int stream_in;	    /* raw bytes from here if no sources */
	bool stream_is_raw; /* even if it begins like an image;
					* otherwise that is an error */
	/* Copy [start, start + length) of the sources only. */
	bool part;
	uint64_t start, length;
	const char *target; /* path, or NULL: to stream_out */
	int stream_out;
	const char *format; /* of the target; NULL: raw */
	const struct gild_option *options;
	size_t option_count;
	const char *backing;	    /* -B: the target's backing file */
	const char *backing_format; /* -F */
	bool compress;		    /* -c */
	bool no_create;		    /* -n: the target is there already */
	bool target_is_spec;	    /* with no_create: GILD_OPEN_SPEC */
	bool target_is_zero;	    /* with no_create: it reads as zeros */
	bool salvage;		    /* unreadable parts become zeros */
	bool no_reflink;
	bool keep_snapshots;	   /* of the one source, which has more than
					* its active disk to be copied */
	bool sync;		   /* new file on stable storage on return */
	uint64_t sparse_size;	   /* -S, bytes; GILD_SPARSE_DEFAULT: 4096 */
	unsigned workers;	   /* -m; 0: by the machine */
	enum gild_cache cache;	   /* -t */
	struct gild_policy policy; /* for the target's backing file */
	bool bitmaps;		   /* copy the (one) source's bitmaps */
	bool skip_broken_bitmaps;  /* but inconsistent ones, with a warning
					* each; otherwise they are an error */
	/* Called for each unreadable part with salvage, for a target that is
	 * weakly encrypted, and for each bitmap that is left out; may be
	 * NULL. */
	void (*warn)(void *opaque, const char *message);
	void *opaque;
};

#define GILD_SPARSE_DEFAULT UINT64_MAX

/* Copy sources to a target; see the manual of gild convert. */
GILD_PUBLIC int gild_convert(const struct gild_convert_options *options,
			     struct gild_job *job, struct gild_error *err);

struct gild_commit_options {
	const char *base; /* into this layer; NULL: the next one */
	bool keep;	  /* leave the top as it is */
	unsigned workers; /* 0: by the machine */
};

/*
 * Write what an image (open for writing, with its chain) says into its backing
 * file, or one further down, which grows if it is shorter. Afterwards the image
 * is empty, unless it is to be kept, or the base is not the next layer.
 * Stopped at any moment, the image reads as before.
 */
GILD_PUBLIC int gild_commit(struct gild_image *image,
			    const struct gild_commit_options *options,
			    struct gild_job *job, struct gild_error *err);

struct gild_rebase_options {
	const char *backing; /* stored as given; NULL: none */
	const char *backing_format;
	bool unchecked;		   /* change the name only (-u) */
	bool compress;		   /* what has to be copied (-c) */
	bool share;		   /* read it also while it is written (-U) */
	enum gild_cache cache;	   /* of the new backing file (-T) */
	struct gild_policy policy; /* for the new backing file's chain */
};

/*
 * Another backing file for an image (open for writing; with its chain, or, if
 * unchecked, with GILD_OPEN_NO_BACKING), and the same disk: what the two
 * backing files differ in is copied into it first.
 */
GILD_PUBLIC int gild_rebase(struct gild_image *image,
			    const struct gild_rebase_options *options,
			    struct gild_job *job, struct gild_error *err);

/* What of an image of that format can be changed; NULL: there is no such
 * format, or nothing. */
GILD_PUBLIC const struct gild_option_help *gild_amend_help(const char *format);

struct gild_amend_options {
	const struct gild_option *options; /* of those in gild_amend_help */
	size_t option_count;
	bool force; /* what cannot be undone, too */
};

/*
 * Change properties of an image that is open for writing: what a qcow2 image's
 * header says, the key slots of an encrypted image (secrets are named by their
 * ids in the policy that it was opened with). No other I/O may be under way.
 *
 * What cannot be done is refused before anything is changed. Stopped at any
 * moment, by a signal or by the job, the disk and its snapshots are what they
 * were, and each property is as before or as after; those that the header says
 * change all at once. Clusters that nothing uses may be left (gild_check).
 */
GILD_PUBLIC int gild_amend(struct gild_image *image,
			   const struct gild_amend_options *options,
			   struct gild_job *job, struct gild_error *err);

/* A new size for an image that is open for writing; what is gained reads as
 * zeros. Shrinking refuses nothing: what lies beyond the new end is gone. No
 * other I/O may be under way. */
GILD_PUBLIC int gild_resize(struct gild_image *image, uint64_t size,
			    struct gild_error *err);

/* Whether space is set aside, and how. */
enum gild_preallocation {
	GILD_PREALLOCATION_OFF,
	GILD_PREALLOCATION_METADATA, /* tables lead to places that are holes */
	GILD_PREALLOCATION_FALLOC,   /* reserved in the file system */
	GILD_PREALLOCATION_FULL,     /* written */
};

/* The same, and what is gained has its space on return; a smaller size is
 * refused then. Where that fails, or is cancelled, the size is as before. */
GILD_PUBLIC int gild_grow(struct gild_image *image, uint64_t size,
			  enum gild_preallocation how, struct gild_job *job,
			  struct gild_error *err);

enum gild_difference {
	GILD_SAME,
	GILD_DIFFERENT_CONTENT,
	GILD_DIFFERENT_ALLOCATION, /* strict only */
	GILD_DIFFERENT_SIZE,	   /* strict, or content beyond the end */
};

enum gild_compare_step {     /* which step failed, for exit codes */
	GILD_COMPARE_STATUS, /* asking for extents */
	GILD_COMPARE_READ,
};

struct gild_comparison {
	enum gild_difference difference;
	uint64_t offset;    /* the first difference */
	bool size_mismatch; /* but the longer one's rest is zero */
	enum gild_compare_step failed_step;
	unsigned failed_image; /* 0 or 1 */
};

/* Compare two disks' content; strict: sizes and allocation too. workers as
 * in convert. On -1 failed_step and failed_image say where. */
GILD_PUBLIC int gild_compare(struct gild_image *a, struct gild_image *b,
			     bool strict, unsigned workers,
			     struct gild_comparison *result,
			     struct gild_job *job, struct gild_error *err);

struct gild_measurement {
	uint64_t required;	  /* bytes of the file for this content */
	uint64_t fully_allocated; /* bytes if every cluster is in use */
	uint64_t bitmaps;	  /* bytes for the source's bitmaps */
	bool has_bitmaps;	  /* source and target could have some */
};

/* How large would an image be: of a source (size ignored), or of a size. */
GILD_PUBLIC int
gild_measure(struct gild_image *source, uint64_t size, const char *format,
	     const struct gild_option *options, size_t option_count,
	     struct gild_measurement *result, struct gild_error *err);

enum {
	GILD_CHECK_FIX_LEAKS = 1 << 0,
	GILD_CHECK_FIX_ERRORS = 1 << 1,
};

struct gild_check_result {
	uint64_t check_errors;	     /* parts that could not be checked */
	uint64_t corruptions, leaks; /* found, and not repaired */
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t image_end_offset;
	uint64_t total_clusters, allocated_clusters;
	uint64_t fragmented_clusters, compressed_clusters;
	/* One line for each problem, in order; may be NULL. Set by caller. */
	void (*report)(void *opaque, const char *line);
	void *opaque;
};

/* Check metadata, and repair as fix (GILD_CHECK_*) says. UNSUPPORTED where
 * the format has nothing to check. Zeroes the counters first. */
GILD_PUBLIC int gild_check(struct gild_image *image, unsigned fix,
			   struct gild_check_result *result,
			   struct gild_job *job, struct gild_error *err);

/* ---------------------------------------------------------- partitions -- */

/* What a disk, or a part of one, holds, as far as its first bytes tell. Names
 * of types are blkid's: "ext4", "xfs", "vfat", "swap", "LVM2_member",
 * "crypto_LUKS" ... */
struct gild_content {
	char *type;  /* NULL: nothing that is known */
	char *label; /* UTF-8, or what bytes are there; NULL */
	char *uuid;  /* as blkid writes it, or NULL */
};

struct gild_partition {
	unsigned number;	/* as the kernel counts, from 1 on */
	uint64_t start, length; /* bytes; within the disk */
	bool extended;		/* holds the logical partitions */
	char *type;		/* GUID, or "0x83" */
	char *uuid;		/* GUID, or "<disk's id>-01"; or NULL */
	char *name;		/* GPT only, UTF-8; or NULL */
	struct gild_content content;
};

struct gild_partition_table {
	/* "gpt"; "dos", an MBR; "PMBR", one that protects a GPT of which no copy
	 * is valid; NULL: none, and content is what the whole disk holds. */
	const char *type;
	char *uuid;	      /* the disk's; or NULL */
	uint32_t sector_size; /* bytes, as the table counts: 512, 4096 */
	bool from_backup;     /* the GPT at the disk's end */
	struct gild_partition *items; /* ascending numbers */
	size_t count;
	struct gild_content content;
};

/*
 * The partitions of a disk, and what they hold. What contradicts itself in a
 * table is left out, as the kernel does: a damaged table is no error. Free with
 * gild_partitions_free.
 */
GILD_PUBLIC struct gild_partition_table *
gild_partitions(struct gild_image *image, struct gild_error *err);
GILD_PUBLIC void gild_partitions_free(struct gild_partition_table *table);

/* ---------------------------------------------------------------- help -- */

/*
 * Parse "10G", "1.5M", "512": suffixes b k K M G T P E are powers of 1024,
 * none means the unit given (1 for bytes). At most INT64_MAX.
 */
GILD_PUBLIC int gild_parse_size(const char *text, uint64_t unit, uint64_t *size,
				struct gild_error *err);

#ifdef __cplusplus
}
#endif
#endif
