/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening what a spec says; see spec.h. */
#include "formats/spec.h"

#include <string.h>

#include "formats/open.h"

/* In this order: what the options say, then what the node says. */
static int storage_flags(const struct spec_node *node,
			 const struct gild_open_options *options,
			 unsigned *flags, struct gild_error *err)
{
	bool direct, no_flush;

	*flags = image_storage_flags(options);
	direct = *flags & STORAGE_DIRECT;
	no_flush = *flags & STORAGE_NO_FLUSH;
	if (spec_bool(node, "cache.direct", &direct, err) < 0 ||
	    spec_bool(node, "cache.no-flush", &no_flush, err) < 0)
		return -1;
	*flags &= ~(unsigned)(STORAGE_DIRECT | STORAGE_NO_FLUSH);
	*flags |= (direct ? STORAGE_DIRECT : 0) |
		  (no_flush ? STORAGE_NO_FLUSH : 0);
	return 0;
}

/* "auto" and "on" are the same where nobody asks for what is not there. */
static int is_locked(const struct spec_node *node, bool *locked,
		     struct gild_error *err)
{
	const char *text = spec_get(node, "locking");

	*locked = true;
	return text && !strcmp(text, "auto") ?
		       0 :
		       spec_bool(node, "locking", locked, err);
}

static struct storage *open_host_file(const struct spec_node *node,
				      const struct gild_open_options *options,
				      struct gild_error *err)
{
	const char *path = spec_get(node, "filename");
	unsigned flags;
	bool locked;

	if (!path || !*path)
		return fail_null(err, GILD_ERR_INVALID, 0,
				 "option \"%sfilename\" is missing",
				 node->prefix);
	if (is_locked(node, &locked, err) < 0 ||
	    storage_flags(node, options, &flags, err) < 0 ||
	    (node->spec->stored &&
	     door_allows(&options->policy, path, err) < 0))
		return NULL;
	return open_file_as(path, flags, options->flags, locked, err);
}

static struct storage *open_null(const struct spec_node *node,
				 struct gild_error *err)
{
	uint64_t size = 1ULL << 30; /* QEMU's */

	if (spec_size(node, "size", &size, err) < 0)
		return NULL;
	return storage_null_new(size, err);
}

/* The node below that is the file. */
static int file_child(const struct spec_node *node, struct spec_node *child,
		      struct gild_error *err)
{
	if (strlen(node->prefix) > SPEC_MAX_DEPTH * strlen("file."))
		return fail(err, GILD_ERR_RANGE, 0,
			    "files within each other are too deep");
	if (spec_child(node, "file", child))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "option \"%sfile\" is missing: an object, or file.filename",
		    node->prefix);
}

/* Of a raw node: the file, or the part of it that has an offset or a size. */
static struct storage *open_part(const struct spec_node *node,
				 const struct gild_open_options *options,
				 struct gild_error *err)
{
	uint64_t offset = 0, size = UINT64_MAX;
	struct storage *storage;
	struct spec_node child;

	if (spec_size(node, "offset", &offset, err) < 0 ||
	    spec_size(node, "size", &size, err) < 0 ||
	    file_child(node, &child, err) < 0)
		return NULL;
	if (size != UINT64_MAX && size % 512)
		return fail_null(err, GILD_ERR_INVALID, 0,
				 "option \"%ssize\" is a multiple of 512",
				 node->prefix);
	storage = spec_open_storage(&child, options, err);
	if (!storage || (!offset && size == UINT64_MAX))
		return storage;
	return storage_window_new(storage, offset, size, err);
}

static bool is_null_driver(const char *driver)
{
	return !strcmp(driver, "null-co") || !strcmp(driver, "null-aio");
}

static bool is_file_driver(const char *driver)
{
	return !strcmp(driver, "file") || !strcmp(driver, "host_device");
}

static struct storage *fail_driver(const char *driver, struct gild_error *err)
{
	if (registry_find(driver))
		return fail_null(err, GILD_ERR_UNSUPPORTED, 0,
				 "driver %s: cannot be the file below another "
				 "format here",
				 driver);
	fail(err, GILD_ERR_UNSUPPORTED, 0, "driver \"%s\" is not known here",
	     driver);
	error_hint(err, "known are raw, qcow2, luks, file, host_device and "
			"null-co");
	return NULL;
}

struct storage *spec_open_storage(const struct spec_node *node,
				  const struct gild_open_options *options,
				  struct gild_error *err)
{
	const char *driver = spec_get(node, "driver");

	driver = driver ? driver : "file";
	if (!is_file_driver(driver) && !is_null_driver(driver) &&
	    strcmp(driver, "raw") != 0)
		return fail_driver(driver, err);
	if (spec_check(node, driver, err) < 0)
		return NULL;
	if (is_file_driver(driver))
		return open_host_file(node, options, err);
	if (is_null_driver(driver))
		return open_null(node, err);
	return open_part(node, options, err);
}

/* An image's node speaks for its files, too, unless their own say otherwise. */
static int apply_cache(const struct spec_node *node, enum gild_cache *cache,
		       struct gild_error *err)
{
	bool was_direct = *cache == GILD_CACHE_NONE ||
			  *cache == GILD_CACHE_DIRECTSYNC;
	bool was_unsafe = *cache == GILD_CACHE_UNSAFE;
	bool direct = was_direct, unsafe = was_unsafe;

	if (spec_bool(node, "cache.direct", &direct, err) < 0 ||
	    spec_bool(node, "cache.no-flush", &unsafe, err) < 0)
		return -1;
	if (direct != was_direct || unsafe != was_unsafe)
		*cache = unsafe ? GILD_CACHE_UNSAFE :
			 direct ? GILD_CACHE_NONE :
				  GILD_CACHE_WRITEBACK;
	return 0;
}

/* What the node says of the image itself. */
static int apply(const struct spec_node *node,
		 struct gild_open_options *options, struct gild_error *err)
{
	bool read_only = false, share = false;
	const char *secret = spec_get(node, "encrypt.key-secret");
	const char *name = spec_get(node, "snapshot.name");

	if (spec_bool(node, "read-only", &read_only, err) < 0 ||
	    spec_bool(node, "force-share", &share, err) < 0 ||
	    apply_cache(node, &options->cache, err) < 0)
		return -1;
	if (options->flags & GILD_OPEN_WRITE && (read_only || share))
		return fail(err, GILD_ERR_DENIED, 0,
			    "is to be written, and \"%s=on\" forbids it",
			    read_only ? "read-only" : "force-share");
	if (share)
		options->flags |= GILD_OPEN_SHARE;
	secret = secret ? secret : spec_get(node, "key-secret");
	options->key_secret = secret ? secret : options->key_secret;
	name = name ? name : spec_get(node, "snapshot.id");
	options->snapshot = name ? name : options->snapshot;
	options->format = spec_get(node, "driver") ? spec_get(node, "driver") :
						     options->format;
	return 0;
}

/* The storage of an image, by its driver. */
static struct storage *storage_of(const struct spec_node *node,
				  const char *driver,
				  const struct gild_open_options *options,
				  struct gild_error *err)
{
	struct spec_node child;

	if (driver && !strcmp(driver, "raw"))
		return open_part(node, options, err);
	if (driver && !registry_find(driver))
		return spec_open_storage(node, options, err);
	if (file_child(node, &child, err) < 0)
		return NULL;
	return spec_open_storage(&child, options, err);
}

struct image *spec_open_layer(const struct spec_node *node,
			      const struct gild_open_options *given,
			      struct gild_error *err)
{
	struct gild_open_options options = *given;
	struct storage *storage;
	const char *driver;

	if (apply(node, &options, err) < 0)
		return NULL;
	driver = options.format;
	if (driver && registry_find(driver) &&
	    spec_check(node, driver, err) < 0)
		return NULL;
	storage = storage_of(node, driver, &options, err);
	if (!storage)
		return NULL;
	/* A file without a format is its bytes. */
	if (driver && !registry_find(driver))
		options.format = "raw";
	return open_probed(storage, storage->path, &options, node, err);
}
