/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtual disk as the layers above and the drivers see it. See format.h
 * for the walk of a read and a write.
 */
#ifndef FORMATS_IMAGE_H
#define FORMATS_IMAGE_H

#include "formats/format.h"

/* A public handle is an image; the type is opaque outside. */
static inline struct image *image_of(struct gild_image *handle)
{
	return (struct image *)handle;
}

static inline const struct image *
image_of_const(const struct gild_image *handle)
{
	return (const struct image *)handle;
}

/* --- open.c -------------------------------------------------------------- */

/* Open over a storage that is there already, which the image then owns (also
 * on failure). format is required. */
struct image *image_open_storage(struct storage *storage,
				 const struct gild_open_options *options,
				 struct gild_error *err);

/* The same for an image that was just made, with its companion. */
struct image *image_open_made(struct storage *storage,
			      const struct companion *companion,
			      const struct gild_open_options *options,
			      struct gild_error *err);

/* What a name stands for that is stored, or to be stored, as the backing file
 * of the image at path; with its chain, unless the flags say otherwise. */
struct gild_image *image_open_named(const char *path, const char *name,
				    const struct gild_open_options *options,
				    struct gild_error *err);

/* A second image over the same file, without the chain. */
struct image *image_open_again(const struct image *image,
			       const struct gild_open_options *options,
			       struct gild_error *err);

/* STORAGE_* for an image that is opened with these options. */
unsigned image_storage_flags(const struct gild_open_options *options);

/* Free without flushing. NULL is allowed. The chain below goes, too. */
void image_free(struct image *image);

/* --- view.c -------------------------------------------------------------- */

/* For drivers: an image that shows another side of one, for reading; what it
 * shows is ops' affair. name (for messages) is taken, also on failure. */
struct image *image_new_view(struct image *of, const struct format_ops *ops,
			     uint64_t size, char *name, struct gild_error *err);

/* A part of a disk becomes what a view of it has there (or nothing, NULL): see
 * struct snapshot_ops. */
int image_adopt(struct image *image, struct image *from, uint64_t offset,
		uint64_t length, struct gild_error *err);

/* --- reopen.c ------------------------------------------------------------- */

/* A new size; what is gained reads as zeros. No I/O is under way. */
int image_resize(struct image *image, uint64_t size, struct gild_error *err);

/* The layer right below parent, which is top or a layer below it, opened again
 * for writing, in its place. No I/O is under way. What is written to it is the
 * caller's to flush. */
struct image *image_make_writable(struct image *top, struct image *parent,
				  struct gild_error *err);

/* Do two storages stand for one file (device and inode)? */
bool image_same_file(struct storage *a, struct storage *b);

/* --- follow.c ------------------------------------------------------------- */

/* For drivers: open another file that an image names (an external data file),
 * as far as its policy allows. The name is resolved against the image. */
struct storage *image_open_file(struct image *image, const char *name,
				struct gild_error *err);

/* The files below in the chain, each as top was opened, but for reading. */
int image_open_chain(struct image *top, struct gild_error *err);

/* What is to be the backing file of an image at path, opened without locks to
 * be looked at: with its chain, as far as that may be followed. NULL where some
 * of it is missing or bad. */
struct image *image_probe(const char *path, const char *backing,
			  const char *format, const struct gild_policy *policy,
			  struct gild_error *err);

/* An image at path, which need not be there, must not be below itself: not
 * among these, not the one file that is to be its backing file. */
int image_check_chain(const char *path, const struct image *below,
		      struct gild_error *err);
int image_check_self(const char *path, const char *backing,
		     struct gild_error *err);

/* --- keys.c: see gild_change_key; the caller names the image in errors ---- */

int image_change_key(struct image *image, const struct gild_key_change *change,
		     struct gild_error *err);

/* --- io.c ---------------------------------------------------------------- */

int image_read(struct image *image, void *buffer, uint64_t length,
	       uint64_t offset, struct gild_error *err);
int image_write(struct image *image, const void *buffer, uint64_t length,
		uint64_t offset, struct gild_error *err);
/* Say to the driver that the range may have changed: for who writes past
 * image_write and image_zero, by prepare_write. */
static inline int image_wrote(struct image *image, uint64_t offset,
			      uint64_t length, struct gild_error *err)
{
	if (!image->ops->wrote || !length)
		return 0;
	return image->ops->wrote(image, offset, length, err);
}

/* With this flag the range has just become part of the disk: nobody need be
 * told. */
#define IMAGE_ZERO_NEW (1U << 17)
/* With this flag zeros that only the backing file gives do not do: the image
 * itself must say them. */
#define IMAGE_ZERO_OWN (1U << 16)

int image_zero(struct image *image, uint64_t offset, uint64_t length,
	       unsigned flags, struct gild_error *err);
int image_discard(struct image *image, uint64_t offset, uint64_t length,
		  struct gild_error *err);
int image_flush(struct image *image, bool closing, struct gild_error *err);

/* --- allocate.c ---------------------------------------------------------- */

/* Host space for a first part of the range, *done > 0 bytes of it, as far as it
 * has none and reads as zeros; it goes on doing so. The rest stays as it is.
 * Where the format has no clusters nobody may be writing there meanwhile. */
int image_allocate(struct image *image, uint64_t offset, uint64_t length,
		   enum gild_preallocation how, uint64_t *done,
		   struct gild_error *err);

/* --- range.c ------------------------------------------------------------- */

void range_lock_init(struct range_lock *lock);
void range_lock_destroy(struct range_lock *lock);
/* Hold a range against others who want it; waits. */
void range_hold(struct range_lock *lock, struct range *range);
void range_release(struct range_lock *lock, struct range *range);

/* --- chain.c ------------------------------------------------------------- */

/*
 * The extent at offset as the whole chain gives it: never EXTENT_BACKING,
 * unless the backing file was not opened. *layer is whose extent it is. What
 * no layer has is EXTENT_ZERO with *layer the last image asked.
 * The caller is inside image->epoch while it uses host addresses.
 */
int chain_map(struct image *image, uint64_t offset, uint64_t length,
	      struct extent *extent, struct image **layer,
	      struct gild_error *err);

/* The same, and where the file of a data extent that is not encrypted has a
 * hole, that is zeros. For work over a whole disk: it asks the host. */
int chain_map_deep(struct image *image, uint64_t offset, uint64_t length,
		   struct extent *extent, struct image **layer,
		   struct gild_error *err);

/* --- doors.c: which format a file has, and what it may lead to ----------- */

struct door {
	const struct format_ops *format;
	bool may_lead; /* to other files */
	bool may_write;
	bool guessed;
	/* The file that the image names, if that has no name yet. */
	const struct companion *companion;
};

/* Apply the table of doc/design.md, "Doors". format may be NULL. */
int door_decide(const char *path, const char *format, const unsigned char *head,
		size_t length, unsigned flags, struct door *door,
		struct gild_error *err);

/* A path from a name that is stored in the image at path: relative names are
 * relative to that image's folder. Protocol names ("json:", "nbd:") are
 * refused. Caller frees. */
char *door_resolve(const char *path, const char *stored,
		   struct gild_error *err);

/* Does the policy allow to open this resolved path? */
int door_allows(const struct gild_policy *policy, const char *path,
		struct gild_error *err);

#endif
