/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening: the file, its locks, its format (doors.c), the driver; and then, as
 * far as the flags ask for it, the files below in the chain (follow.c).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/open.h"
#include "formats/shortcuts.h"
#include "formats/spec.h"
#include "storage/lock.h"
#include "storage/nbd.h"
#include "util/cleanup.h"

#define HEAD_LENGTH 4096

unsigned image_storage_flags(const struct gild_open_options *options)
{
	unsigned flags = options->flags & GILD_OPEN_WRITE ? STORAGE_WRITE : 0;

	if (options->cache == GILD_CACHE_NONE ||
	    options->cache == GILD_CACHE_DIRECTSYNC)
		flags |= STORAGE_DIRECT;
	if (options->cache == GILD_CACHE_UNSAFE)
		flags |= STORAGE_NO_FLUSH;
	if (options->cache == GILD_CACHE_WRITETHROUGH ||
	    options->cache == GILD_CACHE_DIRECTSYNC)
		flags |= STORAGE_SYNC_WRITES;
	return flags;
}

static int take_locks(struct storage *storage, unsigned flags,
		      struct gild_error *err)
{
	int fd = storage_descriptor(storage);
	bool looks = flags & GILD_OPEN_INSPECT &&
		     !(flags & GILD_OPEN_HEED_LOCKS);

	if (fd < 0 || looks || flags & GILD_OPEN_SHARE)
		return 0;
	if (flags & GILD_OPEN_WRITE)
		return lock_take(fd, storage->path, LOCK_WRITER_USES,
				 LOCK_WRITER_DENIES, err);
	return lock_take(fd, storage->path, LOCK_READER_USES,
			 LOCK_READER_DENIES, err);
}

struct storage *open_file_as(const char *path, unsigned storage_flags,
			     unsigned open_flags, bool locked,
			     struct gild_error *err)
{
	struct storage *storage;

	storage = storage_is_nbd(path) ?
			  storage_nbd_open(path, storage_flags, err) :
			  storage_file_open(path, storage_flags, err);
	if (storage && locked && take_locks(storage, open_flags, err) < 0) {
		storage_close(storage);
		return NULL;
	}
	return storage;
}

struct storage *open_file(const char *path,
			  const struct gild_open_options *options,
			  struct gild_error *err)
{
	return open_file_as(path, image_storage_flags(options), options->flags,
			    true, err);
}

struct file_id open_identity(const struct stat *st)
{
	bool is_device = S_ISBLK(st->st_mode);

	return (struct file_id){
		.known = true,
		.is_device = is_device,
		.device = is_device ? st->st_rdev : st->st_dev,
		.inode = is_device ? 0 : st->st_ino,
	};
}

static struct file_id identify(struct storage *storage)
{
	int fd = storage_descriptor(storage);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return (struct file_id){ .known = false };
	return open_identity(&st);
}

bool open_is_same(const struct file_id *a, const struct file_id *b)
{
	return a->known && b->known && a->is_device == b->is_device &&
	       a->device == b->device && a->inode == b->inode;
}

bool image_same_file(struct storage *a, struct storage *b)
{
	struct file_id id_a = identify(a), id_b = identify(b);

	return open_is_same(&id_a, &id_b);
}

static int copy_policy(struct gild_policy *to, const struct gild_policy *from,
		       struct gild_error *err)
{
	*to = *from;
	to->below = from->below ? strdup(from->below) : NULL;
	to->backing_format =
		from->backing_format ? strdup(from->backing_format) : NULL;
	if ((from->below && !to->below) ||
	    (from->backing_format && !to->backing_format))
		return fail_nomem(err);
	return 0;
}

/* What the image keeps of the options, and of its node. */
static int copy_options(struct image *image,
			const struct gild_open_options *options,
			const struct spec_node *node, struct gild_error *err)
{
	image->path = strdup(image->storage->path);
	if (options->snapshot)
		image->snapshot = strdup(options->snapshot);
	if (node) {
		image->spec = spec_hold(node->spec);
		image->spec_prefix = strdup(node->prefix);
	}
	if (!image->path || (options->snapshot && !image->snapshot) ||
	    (node && !image->spec_prefix))
		return fail_nomem(err);
	return copy_policy(&image->policy, &options->policy, err);
}

/* Takes the storage, also on failure. */
static struct image *image_new(const struct format_ops *ops,
			       struct storage *storage,
			       const struct gild_open_options *options,
			       const struct spec_node *node,
			       struct gild_error *err)
{
	struct image *image = calloc(1, ops->struct_size);

	if (!image) {
		storage_close(storage);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	image->ops = ops;
	image->storage = storage;
	image->id = identify(storage);
	image->flags = options->flags;
	image->cache = options->cache;
	image->key_secret = options->key_secret;
	range_lock_init(&image->ranges);
	range_lock_init(&image->sectors);
	if (copy_options(image, options, node, err) < 0) {
		image_free(image);
		return NULL;
	}
	return image;
}

static void layer_free(struct image *image)
{
	if (image->ops->close)
		image->ops->close(image);
	if (!image->is_view)
		storage_close(image->storage);
	shortcuts_free(atomic_load(&image->shortcuts));
	range_lock_destroy(&image->ranges);
	range_lock_destroy(&image->sectors);
	free((void *)(uintptr_t)image->policy.below);
	free((void *)(uintptr_t)image->policy.backing_format);
	spec_release(image->spec);
	free(image->spec_prefix);
	free(image->snapshot);
	free(image->backing_name);
	free(image->backing_format);
	free(image->path);
	free(image);
}

void image_free(struct image *image)
{
	struct image *next;

	for (; image; image = next) {
		next = image->is_view ? NULL : image->backing;
		layer_free(image);
	}
}

static int check_snapshot(const struct image *image, struct gild_error *err)
{
	if (!image->snapshot)
		return 0;
	if (!image->ops->snapshot)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "format %s has no snapshots", image->ops->name);
	if (image->flags & GILD_OPEN_WRITE)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a snapshot can only be read");
	return 0;
}

/* The encryption that a node speaks of is the one that is there. */
static int check_encryption(const struct image *image,
			    const struct spec_node *node,
			    struct gild_error *err)
{
	const char *said = node ? spec_get(node, "encrypt.format") : NULL;
	const char *is = image->encryption ? image->encryption : "none";

	if (!said || !strcmp(said, is))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "its encryption is %s, not \"%s\"", is, said);
}

static bool may_begin(const unsigned char *head, size_t length)
{
	return !begins_like_image(head, length);
}

void open_set_guessed(struct image *image)
{
	image->guessed = true;
	if (!image->ops->probe)
		image->storage->may_begin = may_begin;
}

/* One layer over an open storage, which it takes, also on failure. */
static struct image *open_layer(struct storage *storage,
				const struct door *door,
				const struct gild_open_options *options,
				const struct spec_node *node,
				struct gild_error *err)
{
	struct image *image =
		image_new(door->format, storage, options, node, err);

	if (!image)
		return NULL;
	if (door->guessed)
		open_set_guessed(image);
	image->companion = door->companion;
	if (!door->may_lead)
		image->policy.follow = GILD_FOLLOW_NONE;
	if (check_snapshot(image, err) < 0 || image->ops->open(image, err) ||
	    check_encryption(image, node, err) < 0) {
		error_prefix(err, "%s: ", image->path);
		image_free(image);
		return NULL;
	}
	image->companion = NULL;
	return image;
}

struct image *open_probed(struct storage *storage, const char *name,
			  const struct gild_open_options *options,
			  const struct spec_node *node, struct gild_error *err)
{
	unsigned char head[HEAD_LENGTH];
	struct door door;

	if (storage_read(storage, head, sizeof(head), 0, err) < 0 ||
	    door_decide(name, options->format, head, sizeof(head),
			options->flags, &door, err) < 0 ||
	    (node && spec_check_format(node, door.format->name, err) < 0)) {
		storage_close(storage);
		return NULL;
	}
	return open_layer(storage, &door, options, node, err);
}

struct image *open_path(const char *path,
			const struct gild_open_options *options,
			struct gild_error *err)
{
	struct storage *storage;

	if (!registry_want(options->format, err))
		return NULL;
	storage = open_file(path, options, err);
	if (!storage)
		return NULL;
	return open_probed(storage, path, options, NULL, err);
}

struct image *open_spec(const char *text, bool stored,
			const struct gild_open_options *options,
			struct gild_error *err)
{
	struct spec *spec = spec_parse(text, err);
	struct spec_node root;
	struct image *image;

	if (!spec)
		return NULL;
	spec->stored = stored;
	root = spec_root(spec);
	image = spec_open_layer(&root, options, err);
	spec_release(spec);
	return image;
}

struct image *open_chain(struct image *image, struct gild_error *err)
{
	unsigned alone = GILD_OPEN_NO_BACKING | GILD_OPEN_INSPECT;

	if (!image || image->flags & alone || !image_open_chain(image, err))
		return image;
	image_free(image);
	return NULL;
}

struct gild_image *gild_open(const char *path,
			     const struct gild_open_options *options,
			     struct gild_error *err)
{
	static const struct gild_open_options defaults;
	struct image *image;

	options = options ? options : &defaults;
	image = options->flags & GILD_OPEN_SPEC ?
			open_spec(path, false, options, err) :
			open_path(path, options, err);
	image = open_chain(image, err);
	return (struct gild_image *)image;
}

struct image *image_open_made(struct storage *storage,
			      const struct companion *companion,
			      const struct gild_open_options *options,
			      struct gild_error *err)
{
	struct door door = {
		.may_lead = true,
		.may_write = true,
		.companion = companion,
	};

	door.format = registry_want(options->format, err);
	if (!door.format) {
		storage_close(storage);
		return NULL;
	}
	return open_chain(open_layer(storage, &door, options, NULL, err), err);
}

struct image *image_open_storage(struct storage *storage,
				 const struct gild_open_options *options,
				 struct gild_error *err)
{
	return image_open_made(storage, NULL, options, err);
}

int gild_close(struct gild_image *handle, struct gild_error *err)
{
	struct image *image = image_of(handle);
	int ret = 0;

	if (image && image->flags & GILD_OPEN_WRITE)
		ret = image_flush(image, true, err);
	image_free(image);
	return ret;
}

uint64_t gild_size(const struct gild_image *image)
{
	return image_of_const(image)->size;
}

const char *gild_format(const struct gild_image *image)
{
	return image_of_const(image)->ops->name;
}

bool gild_is_guessed(const struct gild_image *image)
{
	return image_of_const(image)->guessed;
}

const char *gild_encryption(const struct gild_image *image)
{
	return image_of_const(image)->encryption;
}

const char *gild_path(const struct gild_image *image)
{
	return image_of_const(image)->path;
}
