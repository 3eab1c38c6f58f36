/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doors: which format a file has, what it may lead to, and whether it may be
 * written. An image's first bytes and the names stored in it may come from an
 * attacker (a guest owns every byte of its raw disk), so only what the caller
 * said or the file's name confirms is taken at its word:
 *
 *	what is known			format	leads on	written
 *	the caller names the format	that	yes		yes
 *	x.qcow2, magic there		qcow2	yes		yes
 *	x.qcow2, no magic		error
 *	x.raw				raw	-		yes
 *	another name, magic there	qcow2	no		no
 *	another name, no magic		raw	-		no
 *
 * The rule behind rows 2 to 4: a suffix that is the name of a format confirms
 * it, if the format's magic (where it has one) agrees.
 *
 * No state: any number of threads. The answers hold for the moment; who may
 * rename files in the folders in question is trusted.
 */
#include "formats/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/nbd.h"
#include "util/cleanup.h"
#include "util/memory.h"

static int decide_named(const char *format, struct door *door,
			struct gild_error *err)
{
	*door = (struct door){
		.format = registry_want(format, err),
		.may_lead = true,
		.may_write = true,
	};
	return door->format ? 0 : -1;
}

/* The format that the name's suffix stands for, or NULL. */
static const struct format_ops *format_of_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');

	/* What a server calls its disk says nothing of that. */
	if (storage_is_nbd(path))
		return NULL;
	return dot ? registry_find(dot + 1) : NULL;
}

static int fail_contradiction(const char *path, const struct format_ops *format,
			      struct gild_error *err)
{
	fail(err, GILD_ERR_FORMAT, 0,
	     "%s: the name says %s, but the file does not begin like one", path,
	     format->name);
	return error_hint(
		err, "name the format that it has, e.g. -f raw, or rename it");
}

static int decide_confirmed(const char *path, const struct format_ops *format,
			    const struct format_ops *magic, struct door *door,
			    struct gild_error *err)
{
	if (format->probe && format != magic)
		return fail_contradiction(path, format, err);
	*door = (struct door){
		.format = format,
		.may_lead = format->probe != NULL,
		.may_write = true,
	};
	return 0;
}

static int fail_guessed_write(const char *path, const char *format,
			      struct gild_error *err)
{
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: is not opened for writing, since its format is only guessed to be %s",
	     path, format);
	return error_hint(err, "say it: -f %s", format);
}

static int decide_guessed(const char *path, const struct format_ops *magic,
			  unsigned flags, struct door *door,
			  struct gild_error *err)
{
	bool trust = flags & GILD_OPEN_TRUST_GUESS;

	*door = (struct door){
		.format = magic ? magic : registry_find("raw"),
		.may_lead = trust,
		.may_write = trust,
		.guessed = true,
	};
	if ((flags & GILD_OPEN_WRITE) && !door->may_write)
		return fail_guessed_write(path, door->format->name, err);
	return 0;
}

/*
 * A format that may not be written is an error right here when flags ask for
 * writing. GILD_OPEN_TRUST_GUESS: the bytes decide and the name does not
 * matter, as for qemu-img.
 */
int door_decide(const char *path, const char *format, const unsigned char *head,
		size_t length, unsigned flags, struct door *door,
		struct gild_error *err)
{
	const struct format_ops *magic, *named;

	if (format)
		return decide_named(format, door, err);
	magic = registry_probe(head, length);
	named = format_of_name(path);
	if (named && !(flags & GILD_OPEN_TRUST_GUESS))
		return decide_confirmed(path, named, magic, door, err);
	return decide_guessed(path, magic, flags, door, err);
}

/*
 * A colon before the first slash. That is where other tools see a protocol
 * ("nbd:...", "json:..."), so no such name is taken for a plain one: one
 * stored name must not mean two files.
 */
static bool is_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

static char *fail_protocol(const char *path, const char *stored,
			   struct gild_error *err)
{
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: names \"%s\", which is not a plain path but a protocol", path,
	     stored);
	error_hint(
		err,
		"only plain paths are followed; a local name with a colon is stored as ./NAME or absolute; --allow-stored-names (or GILD_ALLOW_STORED_NAMES=1) follows json:, file: and nbd: names of images that are trusted");
	return NULL;
}

char *door_resolve(const char *path, const char *stored, struct gild_error *err)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path) + 1 : 0;
	char *resolved;

	if (!stored[0])
		return fail_null(err, GILD_ERR_CORRUPT, 0,
				 "%s: names a file whose name is empty", path);
	if (is_protocol(stored))
		return fail_protocol(path, stored, err);
	if (stored[0] == '/')
		folder = 0;
	resolved = memory_printf("%.*s%s", folder, path, stored);
	if (!resolved)
		fail_nomem(err);
	return resolved;
}

static int fail_closed(const char *path, struct gild_error *err)
{
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: is not opened: nothing that an image names is followed",
	     path);
	return error_hint(
		err,
		"where the image is trusted: leave out --untrusted (GILD_UNTRUSTED), or allow paths in the policy");
}

static int fail_outside(const char *path, const char *below,
			struct gild_error *err)
{
	fail(err, GILD_ERR_DENIED, 0,
	     "%s: is not opened: it is not below \"%s\"", path, below);
	return error_hint(err,
			  "name a folder that holds it: --allow-backing=DIR");
}

/* Both without links, "." and "..". */
static bool is_inside(const char *file, const char *folder)
{
	size_t length = strlen(folder);

	/* "/" alone ends in its slash already */
	while (length && folder[length - 1] == '/')
		length--;
	return !strncmp(file, folder, length) && file[length] == '/' &&
	       file[length + 1];
}

static int check_below(const char *path, const char *below,
		       struct gild_error *err)
{
	AUTO_FREE char *folder = realpath(below, NULL);
	AUTO_FREE char *file = NULL;

	if (!folder)
		return fail(err, GILD_ERR_IO, errno,
			    "the folder that files are allowed from, \"%s\"",
			    below);
	file = realpath(path, NULL);
	if (!file)
		return fail(err, GILD_ERR_IO, errno, "%s: cannot be opened",
			    path);
	return is_inside(file, folder) ? 0 : fail_outside(path, below, err);
}

int door_allows(const struct gild_policy *policy, const char *path,
		struct gild_error *err)
{
	if (!policy || policy->follow == GILD_FOLLOW_NONE)
		return fail_closed(path, err);
	return policy->below ? check_below(path, policy->below, err) : 0;
}
