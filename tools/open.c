/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening images as the options of the command line say. The policy of the
 * tools is to follow plain paths whose format is recorded; GILD_UNTRUSTED=1
 * in the environment stands for --untrusted, GILD_ALLOW_STORED_NAMES=1 for
 * --allow-stored-names. --allow-backing is the narrower permission and so holds
 * beside each.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <errno.h>
#include <string.h>

static bool is_set(const char *variable)
{
	const char *set = getenv(variable);

	return set && *set && strcmp(set, "0") != 0;
}

static bool is_untrusted(const struct open_arguments *arguments)
{
	return arguments->untrusted || is_set("GILD_UNTRUSTED");
}

static bool follows_names(const struct open_arguments *arguments)
{
	return arguments->stored_names || is_set("GILD_ALLOW_STORED_NAMES");
}

struct gild_policy open_policy(const struct open_arguments *arguments)
{
	struct gild_policy policy = {
		.follow = GILD_FOLLOW_PATHS,
		.below = arguments->below,
		.backing_format = arguments->backing_format,
		.guess_backing = is_qemu_img(),
	};

	if (follows_names(arguments))
		policy.follow = GILD_FOLLOW_NAMES;
	if (is_untrusted(arguments) && !arguments->below)
		policy.follow = GILD_FOLLOW_NONE;
	secrets_give(&policy);
	return policy;
}

static void warn_weak(const char *name)
{
	char line[600];

	snprintf(line, sizeof(line),
		 "%s: encrypted in qcow2's old way (aes), which is weak: "
		 "encrypt.format=luks is not",
		 name);
	report_warning(line);
}

void warn_old_encryption(const struct option_list *options)
{
	const char *format = option_list_get(options, "encrypt.format");
	const char *old = option_list_get(options, "encryption");

	if ((format && !strcmp(format, "aes")) ||
	    (old && strchr("yt", old[0])) || (old && !strcmp(old, "on")))
		warn_weak("the new image");
}

static void warn_guessed(const struct gild_image *image, unsigned flags)
{
	if (!gild_is_guessed(image) || !(flags & GILD_OPEN_WRITE) ||
	    strcmp(gild_format(image), "raw") != 0)
		return;
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing "
		"guessed raw.\n"
		"         Automatically detecting the format is dangerous for "
		"raw images, write operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the "
		"restrictions.\n",
		gild_path(image));
}

void warn_target(const char *spec)
{
	const struct gild_open_options options = {
		.flags = GILD_OPEN_SPEC | GILD_OPEN_INSPECT |
			 GILD_OPEN_TRUST_GUESS,
	};
	struct gild_image *image =
		is_qemu_img() ? gild_open(spec, &options, NULL) : NULL;

	if (image)
		warn_guessed(image, GILD_OPEN_WRITE);
	gild_close(image, NULL);
}

/* qemu-img would take such a name for that of a protocol. */
static void explain_protocol(const char *path, struct gild_error *err)
{
	if (err->sys_errno == ENOENT && !err->hint[0] &&
	    path[strcspn(path, ":/")] == ':')
		tool_hint(err, "only files, block devices and nbd:// are "
			       "opened; qemu-nbd -c makes a device of what "
			       "another protocol leads to");
}

/* Who only reads need not wait for the other process. */
static void offer_sharing(const struct gild_open_options *options,
			  struct gild_error *err)
{
	size_t used = strlen(err->hint);

	if (err->kind == GILD_ERR_BUSY && used &&
	    !(options->flags & (GILD_OPEN_WRITE | GILD_OPEN_SHARE)))
		snprintf(err->hint + used, sizeof(err->hint) - used,
			 ", or read beside it (-U)");
}

/* A colon before the first slash. */
static bool is_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

/* "nbd:", "nbd+unix:" and their like, which the library opens. */
static bool is_nbd(const char *name)
{
	size_t length = strcspn(name, ":/");

	return name[length] == ':' && !strncmp(name, "nbd", 3) &&
	       (name[3] == ':' || name[3] == '+' || name[3] == 's');
}

/* What a name on the command line stands for: a path, or how to open
 * (*is_spec). Protocols are qemu-img's idea, and so are refused by its name. */
static const char *read_name(const char *name, bool *is_spec,
			     struct gild_error *err)
{
	if (*is_spec || !strncmp(name, "json:", 5)) {
		*is_spec = true;
		return name;
	}
	if (!is_qemu_img() || !is_protocol(name) || is_nbd(name))
		return name;
	if (!strncmp(name, "file:", 5))
		return name + 5;
	if (!strcmp(name, "null-co://") || !strcmp(name, "null-aio://")) {
		*is_spec = true;
		return "driver=raw,file.driver=null-co";
	}
	tool_fail(err, "Could not open '%s': Unknown protocol '%.*s'", name,
		  (int)strcspn(name, ":"), name);
	return NULL;
}

static const char *read_source(const struct open_arguments *arguments,
			       const char *name, bool *is_spec,
			       struct gild_error *err)
{
	if (!arguments->spec || !arguments->format)
		return read_name(name, is_spec, err);
	tool_fail(err, "--image-opts and --format are mutually exclusive");
	return NULL;
}

const char *target_name(const char *name, bool is_there, bool spec,
			bool *is_spec, struct gild_error *err)
{
	const char *read;

	*is_spec = spec;
	if (!is_there && !is_qemu_img())
		return name;
	read = read_name(name, is_spec, err);
	if (!read || is_there || !*is_spec)
		return read;
	tool_fail(err, "%s: is nothing that can be made", name);
	return NULL;
}

/* snapshot: its id; NULL: what the arguments say. */
static struct gild_image *open_at(const struct open_arguments *arguments,
				  const char *path, const char *snapshot,
				  unsigned flags, struct gild_error *err)
{
	bool is_spec = arguments->spec;
	const char *name = read_source(arguments, path, &is_spec, err);
	struct gild_open_options options = {
		.format = arguments->format,
		.flags = flags | (arguments->share ? GILD_OPEN_SHARE : 0),
		.cache = arguments->cache,
		.policy = open_policy(arguments),
		.snapshot = snapshot ? snapshot : arguments->snapshot,
	};
	struct gild_image *image;
	const char *encryption;

	/* Guesses are taken at their word, and what only looks wants the locks,
	 * too. */
	if (is_qemu_img())
		options.flags |= GILD_OPEN_TRUST_GUESS | GILD_OPEN_HEED_LOCKS;
	if (is_spec)
		options.flags |= GILD_OPEN_SPEC;
	if (!name)
		return NULL;
	image = gild_open(name, &options, err);
	if (!image) {
		offer_sharing(&options, err);
		explain_protocol(path, err);
		qemu_prefix(err, "Could not open '%s': ", path);
		return NULL;
	}
	encryption = gild_encryption(image);
	if (is_qemu_img())
		warn_guessed(image, flags);
	if (encryption && !strcmp(encryption, "aes") &&
	    !(flags & GILD_OPEN_INSPECT))
		warn_weak(path);
	return image;
}

struct gild_image *open_image(const struct open_arguments *arguments,
			      const char *path, unsigned flags,
			      struct gild_error *err)
{
	struct gild_image *image;
	char *id;

	if (!snapshot_is_choice(arguments->snapshot))
		return open_at(arguments, path, NULL, flags, err);
	id = snapshot_choose(arguments, path, err);
	if (!id)
		return NULL;
	image = open_at(arguments, path, id, flags, err);
	free(id);
	return image;
}

int close_image(struct gild_image *image, int status, struct gild_error *err)
{
	struct gild_error late = { .kind = GILD_ERR_NONE };

	if (gild_close(image, &late) == 0 || err->kind != GILD_ERR_NONE)
		return status;
	*err = late;
	return status ? status : 1;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

const char *target_format(const char *path, const char *format,
			  const char *option, struct gild_error *err)
{
	if (format)
		return format;
	if (is_qemu_img() ||
	    (!ends_with(path, ".qcow2") && !ends_with(path, ".luks")))
		return "raw";
	tool_fail(err,
		  "%s: the format was not named, and the default (raw) "
		  "contradicts the name",
		  path);
	tool_hint(err, "add %s %s, or %s raw if that is meant", option,
		  strrchr(path, '.') + 1, option);
	return NULL;
}
