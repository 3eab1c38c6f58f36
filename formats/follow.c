/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image names: resolved, allowed by the caller's policy (doors.c), and
 * opened: an external data file, and the files below in the chain. Where the
 * image was opened by a spec, that may name them itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/create.h"
#include "formats/open.h"
#include "formats/spec.h"
#include "storage/nbd.h"
#include "util/cleanup.h"

#define DEFAULT_MAX_DEPTH 256

static int refuse_to_lead(const struct image *image, const char *name,
			  struct gild_error *err)
{
	if (image->guessed) {
		fail(err, GILD_ERR_DENIED, 0,
		     "%s: names another file (%s), but that it is %s is only "
		     "a guess",
		     image->path, name, image->ops->name);
		return error_hint(err, "if it is, say so with -f %s",
				  image->ops->name);
	}
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: names another file (%s), which may not be opened here",
	     image->path, name);
	return error_hint(err, "this was opened as untrusted; allow it "
			       "if you know where the image comes from");
}

/* The node by which an image was opened; false: by its path. */
static bool node_of(const struct image *image, struct spec_node *node)
{
	if (!image->spec)
		return false;
	*node = spec_root(image->spec);
	snprintf(node->prefix, sizeof(node->prefix), "%s", image->spec_prefix);
	return true;
}

/* A name that QEMU takes for more than a path. */
static bool is_json(const char *name, const struct gild_policy *policy)
{
	return policy->follow == GILD_FOLLOW_NAMES &&
	       !strncmp(name, "json:", 5);
}

/* The path, or the name of a server's disk, where that is what it stands for.
 * A server's is followed if names are, or if the caller gave it. */
static char *path_of(const char *path, const char *name, bool given,
		     const struct gild_policy *policy, struct gild_error *err)
{
	bool names = policy->follow == GILD_FOLLOW_NAMES;
	char *plain;

	if (names && !strncmp(name, "file:", 5))
		plain = strdup(name + 5);
	else if ((names || given) && storage_is_nbd(name))
		plain = strdup(name);
	else
		return door_resolve(path, name, err);
	if (!plain)
		fail_nomem(err);
	return plain;
}

/* The path of a file that an image names, if its policy lets it be opened. */
static char *resolve_named(struct image *image, const char *name,
			   struct gild_error *err)
{
	AUTO_FREE char *path = NULL;

	if (image->policy.follow == GILD_FOLLOW_NONE) {
		refuse_to_lead(image, name, err);
		return NULL;
	}
	path = path_of(image->path, name, false, &image->policy, err);
	if (!path || door_allows(&image->policy, path, err) < 0)
		return NULL;
	return steal_ptr(path);
}

static struct storage *open_json_file(const char *text,
				      const struct gild_open_options *options,
				      struct gild_error *err)
{
	struct spec *spec = spec_parse(text, err);
	struct storage *storage;
	struct spec_node root;

	if (!spec)
		return NULL;
	spec->stored = true;
	root = spec_root(spec);
	storage = spec_open_storage(&root, options, err);
	spec_release(spec);
	return storage;
}

struct storage *image_open_file(struct image *image, const char *name,
				struct gild_error *err)
{
	struct gild_open_options options = {
		.flags = image->flags,
		.cache = image->cache,
		.policy = image->policy,
	};
	struct storage *storage;
	struct spec_node node, child;
	AUTO_FREE char *path = NULL;

	if (node_of(image, &node) && spec_child(&node, "data-file", &child))
		return spec_open_storage(&child, &options, err);
	if (is_json(name, &image->policy)) {
		storage = open_json_file(name, &options, err);
		if (!storage)
			error_prefix(err, "its data file: ");
		return storage;
	}
	path = resolve_named(image, name, err);
	if (!path)
		return NULL;
	if (image->companion && image->companion->made)
		return create_storage(&image->companion->file, NULL,
				      image_storage_flags(&options), err);
	storage = open_file(path, &options, err);
	if (!storage)
		error_prefix(err, "its data file: ");
	return storage;
}

/* *format stays NULL where it may be guessed. */
static int backing_format(const struct image *image, const char **format,
			  struct gild_error *err)
{
	*format = image->backing_format ? image->backing_format :
					  image->policy.backing_format;
	if (*format || image->policy.guess_backing)
		return 0;
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: does not record the format of its backing file %s",
	     image->path, image->backing_name);
	return error_hint(err,
			  "say it with --backing-format FMT (this time) or "
			  "record it with rebase -u -b '%s' -F FMT '%s'",
			  image->backing_name, image->path);
}

/* Has this file been met above in the chain? */
static int check_met(const struct image *top, const struct image *image,
		     const struct file_id *id, const char *path,
		     struct gild_error *err)
{
	for (const struct image *i = top; i; i = i->backing) {
		if (!open_is_same(&i->id, id))
			continue;
		fail(err, GILD_ERR_CORRUPT, 0,
		     "%s: its backing file %s leads back to %s", image->path,
		     path, i->path);
		return error_hint(err,
				  "to give it another one: rebase -u -b NEW -F "
				  "FMT '%s'",
				  image->path);
	}
	return 0;
}

/* Asked before it is opened, since who writes the image would meet his own
 * lock. */
static int check_loop(const struct image *top, const struct image *image,
		      const char *path, struct gild_error *err)
{
	struct file_id id;
	struct stat st;

	if (stat(path, &st))
		return 0;
	id = open_identity(&st);
	return check_met(top, image, &id, path, err);
}

/* Who asked for one file has to learn why another one is opened. */
static void explain_backing(const struct image *image, struct gild_error *err)
{
	error_prefix(err, "%s: its backing file: ", image->path);
	if (err && err->sys_errno == ENOENT && !err->hint[0])
		error_hint(err,
			   "where it was moved: rebase -u -b NEW -F FMT '%s'",
			   image->path);
}

struct gild_image *image_open_named(const char *path, const char *name,
				    const struct gild_open_options *given,
				    struct gild_error *err)
{
	struct gild_open_options options = *given;
	AUTO_FREE char *resolved = NULL;
	struct image *image;

	if (options.policy.guess_backing)
		options.flags |= GILD_OPEN_TRUST_GUESS;
	if (is_json(name, &options.policy)) {
		image = open_spec(name, true, &options, err);
	} else {
		resolved = path_of(path, name, true, &options.policy, err);
		if (!resolved)
			return NULL;
		image = open_path(resolved, &options, err);
	}
	return (struct gild_image *)open_chain(image, err);
}

/* --- the chain ------------------------------------------------------------ */

static struct image *open_below_by_path(const struct image *top,
					struct image *image,
					struct gild_open_options *options,
					struct gild_error *err)
{
	AUTO_FREE char *path = path_of(image->path, image->backing_name, false,
				       &image->policy, err);
	struct image *backing;

	if (!path || door_allows(&image->policy, path, err) < 0 ||
	    check_loop(top, image, path, err) < 0)
		return NULL;
	backing = open_path(path, options, err);
	if (!backing)
		explain_backing(image, err);
	return backing;
}

/* A layer that was opened by a spec: its file is known only now. */
static struct image *judge_below(const struct image *top,
				 const struct image *image,
				 struct image *backing, struct gild_error *err)
{
	if (!backing) {
		explain_backing(image, err);
		return NULL;
	}
	if (check_met(top, image, &backing->id, backing->path, err) == 0)
		return backing;
	image_free(backing);
	return NULL;
}

/* As stored in the image; the driver that a spec names counts. */
static struct image *open_stored(const struct image *top, struct image *image,
				 const char *driver,
				 struct gild_open_options *options,
				 struct gild_error *err)
{
	if (image->policy.follow == GILD_FOLLOW_NONE) {
		refuse_to_lead(image, image->backing_name, err);
		return NULL;
	}
	options->format = driver;
	if (!driver && backing_format(image, &options->format, err) < 0)
		return NULL;
	if (is_json(image->backing_name, &image->policy))
		return judge_below(top, image,
				   open_spec(image->backing_name, true, options,
					     err),
				   err);
	return open_below_by_path(top, image, options, err);
}

static struct image *open_backing(const struct image *top, struct image *image,
				  struct gild_error *err)
{
	struct gild_open_options options = {
		.format = NULL,
		.flags = image->flags &
			 ~(unsigned)(GILD_OPEN_WRITE | GILD_OPEN_REPAIR |
				     GILD_OPEN_SPEC),
		.cache = image->cache,
		.policy = image->policy,
	};
	struct spec_node node, child, file;
	bool has_child = node_of(image, &node) &&
			 spec_child(&node, "backing", &child);

	if (image->policy.guess_backing)
		options.flags |= GILD_OPEN_TRUST_GUESS;
	if (has_child &&
	    (spec_child(&child, "file", &file) || spec_get(&child, "filename")))
		return judge_below(top, image,
				   spec_open_layer(&child, &options, err), err);
	return open_stored(top, image,
			   has_child ? spec_get(&child, "driver") : NULL,
			   &options, err);
}

/* What a spec says of a backing file, where the image says otherwise. */
static int override_backing(struct image *image, struct gild_error *err)
{
	struct spec_node node, child;

	if (!node_of(image, &node))
		return 0;
	if (spec_is_null(&node, "backing")) {
		/* Zeros would be left out that are needed over that file. */
		if (image->backing_name && image->flags & GILD_OPEN_WRITE)
			return fail(err, GILD_ERR_DENIED, 0,
				    "%s: is not written without its backing "
				    "file",
				    image->path);
		free(image->backing_name);
		image->backing_name = NULL;
	} else if (!image->backing_name &&
		   spec_child(&node, "backing", &child)) {
		image->backing_name = strdup(image->spec->text);
		if (!image->backing_name)
			return fail_nomem(err);
	}
	return 0;
}

int image_open_chain(struct image *top, struct gild_error *err)
{
	unsigned max = top->policy.max_depth ? top->policy.max_depth :
					       DEFAULT_MAX_DEPTH;

	for (struct image *i = top; i; i = i->backing) {
		if (override_backing(i, err) < 0)
			return -1;
		if (!i->backing_name)
			return 0;
		if (i->depth >= max)
			return fail(err, GILD_ERR_RANGE, 0,
				    "%s: the backing chain is longer than %u",
				    top->path, max);
		i->backing = open_backing(top, i, err);
		if (!i->backing)
			return error_prefix(
				err,
				i == top ? "" : "%s: in its backing chain: ",
				top->path);
		i->backing->depth = i->depth + 1;
	}
	return 0;
}

struct image *image_open_again(const struct image *image,
			       const struct gild_open_options *options,
			       struct gild_error *err)
{
	struct spec_node node;

	return node_of(image, &node) ? spec_open_layer(&node, options, err) :
				       open_path(image->path, options, err);
}

/* --- what would be below ------------------------------------------------- */

static struct file_id file_at(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return (struct file_id){ .known = false };
	return open_identity(&st);
}

static int fail_self(const char *path, struct gild_error *err)
{
	fail(err, GILD_ERR_INVALID, 0, "%s: would be in its own backing chain",
	     path);
	return error_hint(err, "name another file");
}

int image_check_self(const char *path, const char *backing,
		     struct gild_error *err)
{
	struct file_id id = file_at(path), below = file_at(backing);

	return open_is_same(&id, &below) ? fail_self(path, err) : 0;
}

int image_check_chain(const char *path, const struct image *below,
		      struct gild_error *err)
{
	struct file_id id = file_at(path);

	for (; below; below = below->backing)
		if (open_is_same(&below->id, &id))
			return fail_self(path, err);
	return 0;
}

struct image *image_probe(const char *path, const char *backing,
			  const char *format, const struct gild_policy *policy,
			  struct gild_error *err)
{
	struct gild_open_options options = {
		.format = format,
		.flags = GILD_OPEN_INSPECT,
		.policy = *policy,
	};
	struct image *image =
		image_of(image_open_named(path, backing, &options, err));
	struct gild_error chain_err = { 0 };

	if (!image || !image_open_chain(image, &chain_err) ||
	    chain_err.kind == GILD_ERR_DENIED)
		return image;
	if (err)
		*err = chain_err;
	image_free(image);
	return NULL;
}
