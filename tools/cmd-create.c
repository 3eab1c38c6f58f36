/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild create: make an empty image, or an overlay over a backing file. Options,
 * and the line that it prints, are qemu-img's.
 */
#include "tools/cli.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

struct arguments {
	struct open_arguments open; /* format: of the new image */
	const char *backing, *backing_format;
	bool unchecked, sync, quiet;
	struct option_list options;
};

static const struct option_row rows[] = {
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "format of the new image: raw (default), qcow2, luks"),
	STRING_ROW('b', "backing", "FILE", struct arguments, backing,
		   "store only what differs from FILE"),
	STRING_ROW('F', "backing-fmt", "FMT", struct arguments, backing_format,
		   "format of that FILE; recorded in the image"),
	FLAG_ROW('u', "unchecked", struct arguments, unchecked,
		 "the backing file need not be there"),
	LIST_ROW(struct arguments, options),
	FLAG_ROW(0, "sync", struct arguments, sync,
		 "return when the image is on stable storage"),
	QUIET_ROW(struct arguments, quiet),
	DOOR_ROWS(struct arguments, open),
	LAST_ROW,
};

/* The order in which qemu-img names a new image's options; "always" are those
 * that it names by their default too. */
struct shown {
	const char *name;
	bool always;
};

static const struct shown shown_qcow2[] = {
	{ "encryption", false },
	{ "encrypt.format", false },
	{ "encrypt.key-secret", false },
	{ "encrypt.cipher-alg", false },
	{ "encrypt.cipher-mode", false },
	{ "encrypt.ivgen-alg", false },
	{ "encrypt.ivgen-hash-alg", false },
	{ "encrypt.hash-alg", false },
	{ "encrypt.iter-time", false },
	{ "cluster_size", true },
	{ "extended_l2", true },
	{ "preallocation", false },
	{ "compression_type", true },
	{ "compression_level", false },
	{ "keep_data_file", false },
	{ "size", true },
	{ "compat", false },
	{ "backing_file", false },
	{ "backing_fmt", false },
	{ "data_file", false },
	{ "data_file_raw", false },
	{ "lazy_refcounts", true },
	{ "refcount_bits", true },
	{ "nocow", false },
	{ "extent_size_hint", false },
	{ NULL, false },
};

static const struct shown shown_others[] = {
	{ "size", true },
	{ "key-secret", false },
	{ "cipher-alg", false },
	{ "cipher-mode", false },
	{ "ivgen-alg", false },
	{ "ivgen-hash-alg", false },
	{ "hash-alg", false },
	{ "iter-time", false },
	{ "nocow", false },
	{ "preallocation", false },
	{ "extent_size_hint", false },
	{ NULL, false },
};

static const struct gild_option_help *
find_help(const struct gild_option_help *help, const char *name)
{
	for (; help && help->name; help++) {
		if (!strcmp(help->name, name))
			return help;
	}
	return NULL;
}

/* A value as qemu-img shows it: sizes in bytes, booleans on or off, commas
 * doubled. */
static void print_value(const char *type, const char *value)
{
	uint64_t bytes;

	if (!strcmp(type, "size") &&
	    gild_parse_size(value, 1, &bytes, NULL) == 0) {
		printf("%" PRIu64, bytes);
		return;
	}
	if (!strcmp(type, "bool")) {
		bool on = strchr("yt", value[0]) || !strcmp(value, "on");

		fputs(on ? "on" : "off", stdout);
		return;
	}
	for (; *value; value++) {
		char piece[3] = { *value, *value == ',' ? ',' : '\0', '\0' };

		print_name(piece);
	}
}

static void print_option(const struct gild_create_options *create,
			 const struct option_list *given, const char *name,
			 bool always)
{
	const struct gild_option_help *help =
		find_help(gild_create_help(create->format), name);
	const char *value = option_list_get(given, name);

	if (!value && always && help)
		value = help->fallback;
	if (!value)
		return;
	printf(" %s=", name);
	print_value(help ? help->type : "string", value);
}

/* "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 ..." */
static void print_made(const char *path,
		       const struct gild_create_options *create,
		       const struct option_list *given)
{
	const struct shown *shown = strcmp(create->format, "qcow2") == 0 ?
					    shown_qcow2 :
					    shown_others;

	printf("Formatting '");
	print_name(path);
	printf("', fmt=%s", create->format);
	for (; shown->name; shown++) {
		if (!strcmp(shown->name, "size"))
			printf(" size=%" PRIu64, create->size);
		else
			print_option(create, given, shown->name, shown->always);
	}
	putchar('\n');
}

/* The size that an image got from its backing file. */
static int made_size(const char *path, const char *format, uint64_t *size,
		     struct gild_error *err)
{
	struct gild_open_options options = {
		.format = format,
		.flags = GILD_OPEN_INSPECT,
	};
	struct gild_image *image = gild_open(path, &options, err);

	if (!image)
		return -1;
	*size = gild_size(image);
	return gild_close(image, err);
}

static int decide_size(const struct operands *operands,
		       struct option_list *options, bool has_backing,
		       uint64_t *size, struct gild_error *err)
{
	const char *text = option_list_take(options, "size");
	const char *path = operands->items[0];

	if (operands->count > 1 && text)
		return tool_misuse(err, "%s: the size is given twice", path);
	if (operands->count > 1)
		text = operands->items[1];
	*size = GILD_SIZE_FROM_BACKING;
	if (text) {
		/* There it means nothing, and is let pass. */
		if (is_qemu_img() && text[0] == '+')
			text++;
		return gild_parse_size(text, 1, size, err);
	}
	if (!has_backing)
		return tool_misuse(err, "%s: a size is needed", path);
	return 0;
}

/* One of -b and -o backing_file, or both if they agree. */
static int merge(const char **field, const char *option,
		 struct option_list *options, const char *name,
		 struct gild_error *err)
{
	const char *value = option_list_take(options, name);

	if (*field && is_qemu_img())
		return 0;
	if (value && *field && strcmp(value, *field) != 0)
		return tool_misuse(err, "%s and -o %s contradict each other",
				   option, name);
	if (value)
		*field = value;
	return 0;
}

/* A name is meant relative to the new image. NULL: cannot be opened. */
static struct gild_image *open_beside(const char *path, const char *name,
				      const struct gild_open_options *options)
{
	const char *slash = strrchr(path, '/');
	char full[PATH_MAX];

	if (*name == '/' || !slash)
		return gild_open(name, options, NULL);
	snprintf(full, sizeof(full), "%.*s/%s", (int)(slash - path), path,
		 name);
	return gild_open(full, options, NULL);
}

/* What to add; under the name qemu-img that is looked for. */
static void hint_format(const struct arguments *arguments, const char *path,
			struct gild_error *err)
{
	struct gild_open_options options = {
		.flags = GILD_OPEN_INSPECT | GILD_OPEN_TRUST_GUESS,
	};
	struct gild_image *backing = NULL;

	tool_hint(err, "add -F qcow2, or -F raw");
	if (!is_qemu_img())
		return;
	if (!arguments->unchecked)
		backing = open_beside(path, arguments->backing, &options);
	err->hint[0] = '\0';
	if (backing)
		tool_hint(err, "Detected format of %s.", gild_format(backing));
	gild_close(backing, NULL);
}

static int decide_backing(struct arguments *arguments, const char *path,
			  struct gild_error *err)
{
	struct option_list *options = &arguments->options;

	if (merge(&arguments->backing, "-b", options, "backing_file", err) <
		    0 ||
	    merge(&arguments->backing_format, "-F", options, "backing_fmt",
		  err) < 0)
		return -1;
	if (!arguments->backing && arguments->backing_format)
		return tool_misuse(err, "-F makes no sense without -b");
	if (arguments->backing && !arguments->backing_format)
		arguments->backing_format = arguments->open.backing_format;
	if (!arguments->backing || arguments->backing_format)
		return 0;
	tool_misuse(err, "backing file %s: its format is not given",
		    arguments->backing);
	hint_format(arguments, path, err);
	return -1;
}

/* Say what was made, as if it had all been given with -o. */
static int tell(const char *name, const char *path,
		struct gild_create_options *create, struct option_list *options,
		struct gild_error *err)
{
	struct option_list all = { .count = 0 };
	struct gild_option items[64];

	if (create->size == GILD_SIZE_FROM_BACKING &&
	    made_size(path, create->format, &create->size, err) < 0)
		return -1;
	all.items = items;
	if (create->backing) {
		items[all.count++] =
			(struct gild_option){ "backing_file", create->backing };
		items[all.count++] =
			(struct gild_option){ "backing_fmt",
					      create->backing_format };
	}
	for (size_t i = 0; i < options->count && all.count < 64; i++)
		items[all.count++] = options->items[i];
	print_made(name, create, &all);
	return 0;
}

static int create_image(struct arguments *arguments,
			const struct operands *operands, struct gild_error *err)
{
	bool is_spec;
	const char *path =
		target_name(operands->items[0], false, false, &is_spec, err);
	struct option_list *options = &arguments->options;
	struct gild_create_options create = {
		.format = target_format(operands->items[0],
					arguments->open.format, "-f", err),
		.policy = open_policy(&arguments->open),
		.flags = (arguments->unchecked ? GILD_CREATE_UNCHECKED : 0) |
			 (arguments->sync ? GILD_CREATE_SYNC : 0),
	};

	if (!path || !create.format ||
	    decide_backing(arguments, path, err) < 0 ||
	    decide_size(operands, options,
			arguments->backing && !arguments->unchecked,
			&create.size, err) < 0)
		return 1;
	create.backing = arguments->backing;
	create.backing_format = arguments->backing_format;
	create.options = options->items;
	create.option_count = options->count;
	if (gild_create(path, &create, err) < 0)
		return 1;
	warn_old_encryption(options);
	if (!arguments->quiet &&
	    tell(operands->items[0], path, &create, options, err) < 0)
		return 1;
	return 0;
}

static int work(struct arguments *arguments, const struct operands *operands,
		struct gild_error *err)
{
	const char *format = arguments->open.format;

	if (arguments->options.help)
		return option_list_help(format ? format : "raw",
					operands->count > 0, err) < 0;
	if (operands->count < 1)
		return tool_misuse(err, "the name of the image is missing"), 1;
	if (operands->count > 2)
		return tool_misuse(err, "unexpected argument '%s'",
				   operands->items[2]),
		       1;
	return create_image(arguments, operands, err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .quiet = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err);
	if (status && parsed == PARSE_GO && operands.count > 0 &&
	    operands.count < 3)
		qemu_prefix(err, "create '%s': ", operands.items[0]);
	option_list_free(&arguments.options);
	return status;
}

const struct verb verb_create = {
	.name = "create",
	.summary = "make an empty image, or an overlay over another one",
	.operands = "FILE [SIZE]",
	.details = "SIZE takes the suffixes k, M, G, T, P and E. With a "
		   "backing file it may be\nleft out. An existing file is "
		   "replaced.\n",
	.example = "  gild create -f qcow2 disk.qcow2 20G\n"
		   "  gild create -f qcow2 -b golden.qcow2 -F qcow2 vm.qcow2\n",
	.rows = rows,
	.run = run,
};
