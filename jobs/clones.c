/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who builds on an image? Nobody keeps a list, so the images in its folder are
 * asked for the name of their backing file. Of each only the header is read,
 * without a lock; what cannot be read, or is no image, is passed over. Where
 * those names lead to is compared by device and inode; nothing there is opened.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/open.h"
#include "formats/spec.h"
#include "util/cleanup.h"
#include "util/memory.h"

enum {
	HEAD_LENGTH = 4096,
	MOST_ENTRIES = 100000, /* of a folder */
};

struct search {
	const struct image *top;   /* whose chain does not count */
	const struct image *layer; /* that they build on */
	struct gild_clones *found;
};

/* --- where a stored name leads to ----------------------------------------- */

static bool is_layer(const struct search *search, const char *path)
{
	struct file_id id;
	struct stat st;

	if (stat(path, &st))
		return false;
	id = open_identity(&st);
	return open_is_same(&id, &search->layer->id);
}

static bool path_leads(const struct search *search, const char *clone,
		       const char *name)
{
	AUTO_FREE char *path = door_resolve(clone, name, NULL);

	return path && is_layer(search, path);
}

/* After "file:" or in "json:{...}" it is taken from where a program runs, which
 * is likely to be this folder, or the clone's. */
static bool filename_leads(const struct search *search, const char *clone,
			   const char *name)
{
	if (!strncmp(name, "file:", 5))
		name += 5;
	return is_layer(search, name) || path_leads(search, clone, name);
}

/* "filename", "backing.file.filename" */
static bool is_filename(const char *name)
{
	const char *dot = strrchr(name, '.');

	return !strcmp(dot ? dot + 1 : name, "filename");
}

static bool json_leads(const struct search *search, const char *clone,
		       const char *name)
{
	struct spec *spec = spec_parse(name, NULL);
	bool found = false;

	for (size_t i = 0; spec && i < spec->count && !found; i++)
		found = is_filename(spec->entries[i].name) &&
			spec->entries[i].value &&
			filename_leads(search, clone, spec->entries[i].value);
	spec_release(spec);
	return found;
}

static bool name_leads(const struct search *search, const char *clone,
		       const char *name)
{
	if (!strncmp(name, "json:", 5))
		return json_leads(search, clone, name);
	if (!strncmp(name, "file:", 5))
		return filename_leads(search, clone, name);
	return path_leads(search, clone, name);
}

/* --- one file of the folder ----------------------------------------------- */

static bool is_of_chain(const struct search *search, const struct file_id *id)
{
	for (const struct image *i = search->top; i; i = i->backing)
		if (open_is_same(&i->id, id))
			return true;
	return false;
}

/*
 * The driver of what is at path, if it knows backing files. Where the name says
 * raw, who wrote the first bytes may be a guest: they do not count.
 */
static const struct format_ops *format_of(const struct search *search, int fd,
					  const char *path)
{
	unsigned char head[HEAD_LENGTH] = { 0 };
	struct file_id id;
	struct door door;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return NULL;
	id = open_identity(&st);
	if (is_of_chain(search, &id) || pread(fd, head, sizeof(head), 0) <= 0 ||
	    door_decide(path, NULL, head, sizeof(head), 0, &door, NULL) < 0)
		return NULL;
	return door.format->backing ? door.format : NULL;
}

/* Takes the descriptor. */
static char *read_backing(const struct format_ops *ops, int fd,
			  const char *path)
{
	struct storage *storage = storage_file_from_fd(fd, path, 0, NULL);
	char *name = NULL;

	if (storage && ops->backing(storage, &name, NULL) < 0)
		name = NULL;
	storage_close(storage);
	return name;
}

static bool is_clone(const struct search *search, int folder, const char *path,
		     const char *name)
{
	/* Neither what a link leads to, nor a pipe that would be waited for. */
	AUTO_CLOSE int fd = openat(folder, name,
				   O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
					   O_NOCTTY | O_CLOEXEC);
	const struct format_ops *ops;
	AUTO_FREE char *backing = NULL;

	if (fd < 0)
		return false;
	ops = format_of(search, fd, path);
	if (!ops)
		return false;
	backing = read_backing(ops, steal_fd(&fd), path);
	return backing && name_leads(search, path, backing);
}

/* --- the folder ----------------------------------------------------------- */

static void remember(struct gild_clones *found, const char *name)
{
	size_t i = found->count++;

	if (i < GILD_CLONES_NAMED)
		snprintf(found->names[i], sizeof(found->names[i]), "%s", name);
}

static void look(const struct search *search, DIR *folder, const char *prefix)
{
	const struct dirent *entry;

	for (unsigned i = 0; (entry = readdir(folder)); i++) {
		AUTO_FREE char *path = NULL;

		if (i == MOST_ENTRIES) {
			search->found->partial = true;
			return;
		}
		if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN)
			continue;
		path = memory_printf("%s%s", prefix, entry->d_name);
		if (path &&
		    is_clone(search, dirfd(folder), path, entry->d_name))
			remember(search->found, entry->d_name);
	}
}

/* Cut a file's path down to its folder's: "", or ending in a slash. */
static void cut_name(char *path)
{
	char *slash = strrchr(path, '/');

	path[slash ? slash + 1 - path : 0] = '\0';
}

static void search_folder(const struct search *search, const char *prefix)
{
	DIR *folder = opendir(*prefix ? prefix : ".");

	if (!folder) {
		search->found->partial = true;
		return;
	}
	look(search, folder, prefix);
	closedir(folder);
}

static bool is_one_folder(const char *a, const char *b)
{
	struct stat st_a, st_b;

	return !stat(*a ? a : ".", &st_a) && !stat(*b ? b : ".", &st_b) &&
	       st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

/* Where its file is, and where the link is by which it was opened. */
static void search_layer(const struct search *search)
{
	AUTO_FREE char *real = realpath(search->layer->path, NULL);
	AUTO_FREE char *given = strdup(search->layer->path);

	/* Not a file of the host: then nothing stands beside it. */
	if (!search->layer->id.known || !real || !given)
		return;
	cut_name(real);
	cut_name(given);
	search_folder(search, real);
	if (!is_one_folder(real, given))
		search_folder(search, given);
	if (search->found->count)
		search->found->path = search->layer->path;
}

/* --- what callers use ----------------------------------------------------- */

void gild_find_clones(struct gild_image *image, struct gild_clones *found)
{
	const struct search search = { image_of(image), image_of(image),
				       found };

	*found = (struct gild_clones){ .count = 0 };
	search_layer(&search);
}

/* The layer of the chain that is the file at base. */
static const struct image *layer_at(const struct image *top, const char *base)
{
	const struct image *layer = top->backing;
	struct file_id id;
	struct stat st;

	if (!base)
		return layer;
	if (stat(base, &st))
		return NULL;
	id = open_identity(&st);
	while (layer && !open_is_same(&layer->id, &id))
		layer = layer->backing;
	return layer;
}

void gild_find_clones_below(struct gild_image *image, const char *base,
			    struct gild_clones *found)
{
	const struct image *top = image_of(image);
	const struct image *last = layer_at(top, base);
	struct search search = { .top = top, .found = found };

	*found = (struct gild_clones){ .count = 0 };
	for (const struct image *i = last ? top->backing : NULL;
	     i && i != last->backing && !found->count; i = i->backing) {
		search.layer = i;
		search_layer(&search);
	}
}
