/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linked clones: empty qcow2 overlays over one base, all of them or none.
 *
 * The first is written by the format; those that record the same name of the
 * base are the same bytes, and are written from memory. Each appears whole
 * under its name (storage/newfile.h). Then one flush makes them all durable:
 * of the file system where there are many, of the files where there are few,
 * since a busy host may have much else to write.
 *
 * While this runs the base is open for reading, so that nobody writes to it;
 * one that is being written is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/create.h"
#include "jobs/relative.h"
#include "jobs/template.h"
#include "storage/nbd.h"
#include "storage/newfile.h"
#include "util/cleanup.h"

enum {
	/* As many files are flushed one by one. */
	FEW = 8,
	/* Where the caller sets no limit, as in gild_open. */
	DEFAULT_MAX_DEPTH = 256,
};

/* One call; the caller's thread only. */
struct cloning {
	const struct gild_clone_options *options;
	const struct format_ops *format; /* of the clones */
	struct gild_create_options create;
	char *base;		  /* absolute, links resolved; owned */
	char *folder;		  /* of the last clone; owned */
	char *recorded;		  /* the base as seen from it; owned */
	struct template template; /* of overlays that record that */
	bool all_alike;		  /* may be written from a template */
	unsigned newfile_flags;
};

/* --- the base ------------------------------------------------------------ */

static int check_guess(const struct image *base, struct gild_error *err)
{
	if (!base->guessed || !base->ops->probe)
		return 0;
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: looks like %s, but a clone must not record a guess",
	     base->path, base->ops->name);
	return error_hint(err, "say it: -f %s (or -f raw)", base->ops->name);
}

/* A clone is one level above its base, and must be openable itself. */
static int check_depth(const struct image *base,
		       const struct gild_policy *policy, struct gild_error *err)
{
	unsigned max = policy->max_depth ? policy->max_depth :
					   DEFAULT_MAX_DEPTH;
	const struct image *last = base;

	while (last->backing)
		last = last->backing;
	if (last->depth - base->depth < max)
		return 0;
	return fail(err, GILD_ERR_RANGE, 0,
		    "%s: a clone's backing chain would be longer than %u",
		    base->path, max);
}

/* A server's disk has one name. */
static int take_served(struct cloning *c, const struct image *base,
		       struct gild_error *err)
{
	if (c->options->relative)
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: is a server's, and has no relative name",
			    base->path);
	c->base = strdup(base->path);
	return c->base ? 0 : fail_nomem(err);
}

static int learn_base(struct cloning *c, const struct image *base,
		      struct gild_error *err)
{
	if (check_guess(base, err) < 0 ||
	    check_depth(base, &c->options->policy, err) < 0)
		return -1;
	c->create.size = base->size;
	c->create.backing_format = base->ops->name;
	if (storage_is_nbd(base->path))
		return take_served(c, base, err);
	c->base = realpath(base->path, NULL);
	if (c->base)
		return 0;
	return fail(err, GILD_ERR_IO, errno, "%s: cannot be resolved",
		    base->path);
}

/* --- one clone ----------------------------------------------------------- */

/* The folder that a name is in, links resolved; NULL with err. */
static char *folder_of(const char *name, struct gild_error *err)
{
	const char *slash = strrchr(name, '/');
	AUTO_FREE char *part = NULL;
	char *folder;

	if (slash == name)
		slash++;
	part = slash ? strndup(name, slash - name) : strdup(".");
	if (!part)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	folder = realpath(part, NULL);
	if (!folder)
		fail(err, GILD_ERR_IO, errno, "%s: its folder", name);
	return folder;
}

/* Fill recorded for this clone; the template goes where that changes. */
static int record_relative(struct cloning *c, const char *name,
			   struct gild_error *err)
{
	AUTO_FREE char *folder = folder_of(name, err);

	if (!folder)
		return -1;
	if (c->folder && !strcmp(c->folder, folder))
		return 0;
	template_drop(&c->template);
	free(c->recorded);
	c->recorded = relative_name(folder, c->base);
	free(c->folder);
	c->folder = steal_ptr(folder);
	return c->recorded ? 0 : fail_nomem(err);
}

static int fill(struct cloning *c, struct storage *storage,
		struct gild_error *err)
{
	if (c->template.bytes)
		return template_write(&c->template, storage, err);
	c->create.backing = c->options->relative ? c->recorded : c->base;
	/* check_options: there is no companion. */
	if (c->format->create(storage, &c->create, NULL, err) < 0)
		return error_prefix(err, "%s: ", storage->path);
	return c->all_alike ? template_read(&c->template, storage, err) : 0;
}

static int fill_file(struct cloning *c, const struct newfile *file,
		     struct gild_error *err)
{
	struct storage *storage =
		create_storage(file, &c->create, STORAGE_WRITE, err);
	int result;

	if (!storage)
		return -1;
	result = fill(c, storage, err);
	storage_close(storage);
	return result;
}

static int clone_one(struct cloning *c, const char *name,
		     struct gild_error *err)
{
	struct newfile file;

	if (c->options->relative && record_relative(c, name, err) < 0)
		return -1;
	if (newfile_begin(&file, name, c->newfile_flags, err) < 0)
		return -1;
	if (fill_file(c, &file, err) < 0) {
		newfile_abandon(&file);
		return -1;
	}
	return newfile_publish(&file, err);
}

/* --- durable ------------------------------------------------------------- */

/* File systems that were flushed; a batch seldom has more than one. */
struct flushed {
	dev_t *devices;
	size_t count;
};

static bool is_flushed(const struct flushed *flushed, dev_t device)
{
	for (size_t i = 0; i < flushed->count; i++)
		if (flushed->devices[i] == device)
			return true;
	return false;
}

static int flush_around(struct flushed *flushed, const char *name,
			struct gild_error *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	dev_t *devices;

	if (stat(name, &st))
		return fail(err, GILD_ERR_IO, errno, "%s", name);
	if (is_flushed(flushed, st.st_dev))
		return 0;
	devices = reallocarray(flushed->devices, flushed->count + 1,
			       sizeof(*devices));
	if (!devices)
		return fail_nomem(err);
	flushed->devices = devices;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd))
		return fail(err, GILD_ERR_IO, errno,
			    "%s: did not reach the disk", name);
	devices[flushed->count++] = st.st_dev;
	return 0;
}

static int flush_all(const char *const *names, size_t count,
		     struct gild_error *err)
{
	struct flushed flushed = { 0 };
	int result = 0;

	for (size_t i = 0; i < count && !result; i++)
		result = flush_around(&flushed, names[i], err);
	free(flushed.devices);
	return result;
}

/* --- all of them --------------------------------------------------------- */

static bool has_option(const struct gild_clone_options *options,
		       const char *name)
{
	return option_get(options->options, options->option_count, name);
}

static int check_options(struct cloning *c, struct gild_error *err)
{
	if (has_option(c->options, "data_file")) {
		fail(err, GILD_ERR_INVALID, 0,
		     "clones cannot share a data file (option \"data_file\")");
		return error_hint(err, "make each with gild create");
	}
	return create_prepare("clone", c->format, &c->create, err);
}

static int clone_all(struct cloning *c, const char *const *names, size_t count,
		     struct gild_error *err)
{
	bool sync = !c->options->no_sync;
	size_t made;

	c->newfile_flags = NEWFILE_NEW_ONLY;
	if (sync && count <= FEW)
		c->newfile_flags |= NEWFILE_SYNC;
	for (made = 0; made < count; made++)
		if (clone_one(c, names[made], err) < 0)
			break;
	if (made == count &&
	    (!sync || count <= FEW || flush_all(names, count, err) == 0))
		return 0;
	while (made)
		newfile_unpublish(names[--made]);
	return -1;
}

static int clone_base(struct cloning *c, const struct image *base,
		      const char *const *names, size_t count,
		      struct gild_error *err)
{
	const struct gild_clone_options *options = c->options;

	c->format = registry_find("qcow2");
	if (learn_base(c, base, err) < 0)
		return -1;
	/* Reserved space is not seen in a file's bytes, and keys differ. */
	c->all_alike = !has_option(options, "preallocation") &&
		       !has_option(options, "encrypt.format") &&
		       !has_option(options, "encryption");
	c->create.format = "qcow2";
	c->create.backing = c->base;
	c->create.options = options->options;
	c->create.option_count = options->option_count;
	c->create.flags = GILD_CREATE_UNCHECKED;
	c->create.policy = options->policy;
	if (check_options(c, err) < 0)
		return -1;
	return clone_all(c, names, count, err);
}

int gild_clone(const char *base, const char *const *names, size_t count,
	       const struct gild_clone_options *options, struct gild_error *err)
{
	static const struct gild_clone_options defaults;
	struct cloning cloning = { .options = options ? options : &defaults };
	struct gild_open_options how = {
		.format = cloning.options->base_format,
		.flags = GILD_OPEN_LOCKED,
		.policy = cloning.options->policy,
	};
	struct gild_image *image = gild_open(base, &how, err);
	int result;

	if (!image)
		return -1;
	result = clone_base(&cloning, image_of(image), names, count, err);
	template_drop(&cloning.template);
	free(cloning.base);
	free(cloning.folder);
	free(cloning.recorded);
	gild_close(image, NULL);
	return result;
}
