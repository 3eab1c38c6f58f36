/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild convert: copy disks from one file and format to another. "-" is
 * standard input (raw) or standard output; where the disk goes to standard
 * output, nothing else is printed there.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SPARSE_UNIT = 512,
	SPARSE_MAX = 16 << 20,
};

struct arguments {
	struct open_arguments open; /* of the sources */
	const char *format;	    /* -O */
	const char *backing, *backing_format;
	struct option_list options;
	enum gild_cache cache; /* -t */
	uint64_t sparse_size;
	uint64_t rate; /* -r; 0: no limit */
	unsigned workers;
	enum progress_mode progress;
	bool compress, no_create, target_is_zero, salvage, no_reflink, sync;
	bool bitmaps, skip_broken_bitmaps, keep_snapshots;
	bool quiet, out_of_order, copy_range, target_spec;
};

static const struct option_row rows[] = {
	STRING_ROW('O', "target-format", "FMT", struct arguments, format,
		   "format of the target: raw (default), qcow2, luks"),
	LIST_ROW(struct arguments, options),
	FLAG_ROW('c', "compress", struct arguments, compress,
		 "compress the target (qcow2)"),
	STRING_ROW('B', "backing", "FILE", struct arguments, backing,
		   "store only what differs from FILE"),
	STRING_ROW('b', NULL, "FILE", struct arguments, backing,
		   "the same as -B"),
	STRING_ROW('F', "backing-fmt", "FMT", struct arguments, backing_format,
		   "format of that FILE; recorded in the target"),
	FLAG_ROW(0, "keep-snapshots", struct arguments, keep_snapshots,
		 "copy the source's internal snapshots, too (qcow2)"),
	FLAG_ROW('n', "no-create", struct arguments, no_create,
		 "write into the target that is there already"),
	FLAG_ROW(0, "target-is-zero", struct arguments, target_is_zero,
		 "with -n: the target reads as zeros"),
	{ 'S', "sparse-size", "SIZE", OPTION_SIZE,
	  offsetof(struct arguments, sparse_size),
	  "zeros that are worth a hole (4k); 0: no holes" },
	FLAG_ROW(0, "bitmaps", struct arguments, bitmaps,
		 "copy the source's persistent bitmaps (qcow2)"),
	FLAG_ROW(0, "skip-broken-bitmaps", struct arguments,
		 skip_broken_bitmaps, "with --bitmaps: but inconsistent ones"),
	WORKERS_ROW(struct arguments, workers),
	FLAG_ROW('W', "out-of-order", struct arguments, out_of_order,
		 "accepted for qemu-img's sake, without effect"),
	FLAG_ROW('C', "copy-range-offloading", struct arguments, copy_range,
		 "the same: extents are shared where that is possible"),
	RATE_ROW(struct arguments, rate),
	FLAG_ROW(0, "no-reflink", struct arguments, no_reflink,
		 "copy also where files could share their extents"),
	FLAG_ROW(0, "salvage", struct arguments, salvage,
		 "what cannot be read becomes zeros"),
	FLAG_ROW(0, "sync", struct arguments, sync,
		 "return when the target is on stable storage"),
	CACHE_ROW('t', "cache", struct arguments, cache,
		  "cache mode of the target: unsafe, writeback ..."),
	CACHE_ROW('T', "source-cache", struct arguments, open.cache,
		  "cache mode of the sources: writeback, none ..."),
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "of the sources (otherwise the names decide)"),
	SNAPSHOT_ROW('l', struct arguments, open),
	SPEC_ROW(struct arguments, open),
	FLAG_ROW(0, "target-image-opts", struct arguments, target_spec,
		 "with -n: the same for the target"),
	DOOR_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	PROGRESS_ROW(struct arguments, progress),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static bool is_dash(const char *name)
{
	/* For qemu-img that is a file like any other. */
	return !is_qemu_img() && !strcmp(name, "-");
}

static int check_target(const struct arguments *arguments, const char *target,
			struct gild_error *err)
{
	if (arguments->target_is_zero && !arguments->no_create)
		return tool_misuse(err, "--target-is-zero needs -n");
	if (arguments->copy_range && arguments->compress)
		return tool_misuse(err, "-C and -c exclude each other");
	if (arguments->copy_range &&
	    arguments->sparse_size != GILD_SPARSE_DEFAULT)
		return tool_misuse(err, "-C and -S exclude each other");
	if (arguments->target_spec && !arguments->no_create)
		return tool_misuse(err, "--target-image-opts needs -n");
	if (arguments->target_spec && arguments->format)
		return tool_fail(err, "--image-opts and --format are mutually "
				      "exclusive");
	if (arguments->no_create && arguments->options.count)
		return tool_misuse(err, "-o has no effect with -n");
	if (!is_dash(target) && !stream_is_pipe(target))
		return 0;
	if (arguments->no_create)
		return tool_misuse(err, "-n needs a target that is no pipe");
	if (is_dash(target) && isatty(STDOUT_FILENO))
		return tool_misuse(err, "standard output is a terminal");
	return 0;
}

static int check_sparse(const struct arguments *arguments,
			struct gild_error *err)
{
	uint64_t size = arguments->sparse_size;

	if (size == GILD_SPARSE_DEFAULT ||
	    (size <= SPARSE_MAX && size % SPARSE_UNIT == 0))
		return 0;
	return tool_misuse(err, "-S takes multiples of %d up to %d",
			   SPARSE_UNIT, SPARSE_MAX);
}

/* One of -B and -o backing_file, as in gild create. */
static int take_option(const char **field, const char *option,
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

static int check_backing(struct arguments *arguments, struct gild_error *err)
{
	struct option_list *options = &arguments->options;

	/* There it may be said, and means nothing: the sources' counts. */
	if (is_qemu_img())
		option_list_take(options, "size");
	if (take_option(&arguments->backing, "-B", options, "backing_file",
			err) < 0 ||
	    take_option(&arguments->backing_format, "-F", options,
			"backing_fmt", err) < 0)
		return -1;
	if (!arguments->backing && arguments->backing_format)
		return tool_misuse(err, "-F makes no sense without -B");
	if (!arguments->backing)
		return 0;
	if (arguments->target_is_zero)
		return tool_misuse(err, "--target-is-zero and -B exclude each "
					"other");
	if (!arguments->backing_format)
		arguments->backing_format = arguments->open.backing_format;
	if (arguments->backing_format)
		return 0;
	tool_misuse(err, "backing file %s: its format is not given",
		    arguments->backing);
	tool_hint(err, "add -F qcow2, or -F raw");
	return -1;
}

/* ------------------------------------------------------------- sources -- */

struct sources {
	struct gild_image **images;
	size_t count;
	bool stream; /* a pipe, read as it comes */
	int stream_fd;
};

static int close_sources(struct sources *sources, int status,
			 struct gild_error *err)
{
	while (sources->count)
		status = close_image(sources->images[--sources->count], status,
				     err);
	free(sources->images);
	return status;
}

/* A name for standard input if it is a file at its beginning, which is better
 * opened than streamed. */
static const char *stdin_path(void)
{
	static const char path[] = "/dev/stdin";
	struct stat st;

	if (fstat(STDIN_FILENO, &st) < 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
		return NULL;
	if (lseek(STDIN_FILENO, 0, SEEK_CUR) != 0 || access(path, R_OK) < 0)
		return NULL;
	return path;
}

/* Standard input is raw; one that begins like an image is not taken for that
 * unless -f says it. */
static int check_stdin(const struct open_arguments *open, const char *path,
		       struct gild_error *err)
{
	struct gild_image *image =
		open_image(open, path, GILD_OPEN_INSPECT, err);
	const char *format;
	int ret = 0;

	if (!image)
		return -1;
	format = gild_format(image);
	if (strcmp(format, "raw") != 0) {
		ret = tool_fail(err, "standard input begins like %s", format);
		tool_hint(err, "say which format it has: -f %s or -f raw",
			  format);
	}
	return close_image(image, ret, err) ? -1 : 0;
}

static int open_stdin(struct sources *sources, struct open_arguments *open,
		      const char **path, struct gild_error *err)
{
	if (isatty(STDIN_FILENO))
		return tool_misuse(err, "standard input is a terminal");
	*path = stdin_path();
	if (*path && !open->format && check_stdin(open, *path, err) < 0)
		return -1;
	if (!open->format)
		open->format = "raw";
	if (*path)
		return 0;
	if (strcmp(open->format, "raw") != 0)
		return tool_misuse(err, "standard input must be raw, or a file "
					"at its beginning");
	sources->stream = true;
	sources->stream_fd = STDIN_FILENO;
	return 0;
}

/* A named pipe, or what the shell makes of <(...). */
static int open_pipe(struct sources *sources, const struct open_arguments *open,
		     const char *path, struct gild_error *err)
{
	if (open->format && strcmp(open->format, "raw") != 0)
		return tool_misuse(err,
				   "%s: what comes from a pipe must be "
				   "raw",
				   path);
	sources->stream_fd = stream_open(path, O_RDONLY, err);
	sources->stream = true;
	return sources->stream_fd < 0 ? -1 : 0;
}

static int open_source(struct sources *sources,
		       const struct arguments *arguments, const char *path,
		       struct gild_error *err)
{
	struct open_arguments open = arguments->open;
	struct gild_image *image;

	if (is_dash(path) && open_stdin(sources, &open, &path, err) < 0)
		return -1;
	if (!sources->stream && stream_is_pipe(path) &&
	    open_pipe(sources, &open, path, err) < 0)
		return -1;
	if (sources->stream)
		return 0;
	image = open_image(&open, path, 0, err);
	if (!image)
		return -1;
	sources->images[sources->count++] = image;
	return 0;
}

static int open_sources(struct sources *sources,
			const struct arguments *arguments, char **names,
			int count, struct gild_error *err)
{
	sources->images = calloc((size_t)count, sizeof(*sources->images));
	if (!sources->images)
		return tool_fail(err, "out of memory");
	for (int i = 0; i < count; i++) {
		if (open_source(sources, arguments, names[i], err) < 0)
			return -1;
	}
	if (sources->stream && count > 1)
		return tool_misuse(err, "a pipe cannot be joined with other "
					"sources");
	return 0;
}

/* ----------------------------------------------------------------- copy -- */

static void warn(void *opaque, const char *message)
{
	(void)opaque;
	report_warning(message);
}

static void fill_options(struct gild_convert_options *options,
			 const struct arguments *arguments,
			 const struct sources *sources)
{
	options->sources = sources->images;
	options->source_count = sources->count;
	options->stream_in = sources->stream_fd;
	options->stream_is_raw = arguments->open.format != NULL;
	options->options = arguments->options.items;
	options->option_count = arguments->options.count;
	options->backing = arguments->backing;
	options->backing_format = arguments->backing_format;
	options->compress = arguments->compress;
	options->no_create = arguments->no_create;
	options->target_is_zero = arguments->target_is_zero;
	options->salvage = arguments->salvage;
	options->bitmaps = arguments->bitmaps;
	options->skip_broken_bitmaps = arguments->skip_broken_bitmaps;
	options->keep_snapshots = arguments->keep_snapshots;
	options->no_reflink = arguments->no_reflink;
	options->sync = arguments->sync;
	options->sparse_size = arguments->sparse_size;
	options->workers = arguments->workers;
	options->cache = arguments->cache;
	options->policy = open_policy(&arguments->open);
	options->warn = arguments->quiet ? NULL : warn;
}

static int copy(const struct gild_convert_options *options,
		const struct arguments *arguments, struct gild_error *err)
{
	unsigned flags =
		options->target ? 0 : PROGRESS_KEEP_STDOUT | PROGRESS_MAY_DIE;
	struct progress *progress = progress_start(
		arguments->quiet ? PROGRESS_NONE : arguments->progress, flags,
		"converting", err);
	int status;

	if (!progress)
		return 1;
	gild_job_limit(progress_job(progress), arguments->rate);
	status = gild_convert(options, progress_job(progress), err) < 0;
	if (status && options->no_create && err->kind == GILD_ERR_BUSY)
		qemu_prefix(err, "Could not open '%s': ", options->target);
	else if (status && options->target)
		qemu_prefix(err, "convert '%s' '%s': ", options->target,
			    options->format);
	return progress_finish(progress, status);
}

static int convert(const struct arguments *arguments, char **names, int count,
		   const char *target, struct gild_error *err)
{
	struct gild_convert_options options = {
		.format = target_format(target, arguments->format, "-O", err),
	};
	struct sources sources = { .count = 0 };
	int status = 1;

	if (!options.format)
		return 1;
	options.target = target_name(target, arguments->no_create,
				     arguments->target_spec,
				     &options.target_is_spec, err);
	if (!options.target ||
	    stream_target(&options, is_dash(target), err) < 0)
		return 1;
	if (open_sources(&sources, arguments, names, count, err) == 0) {
		fill_options(&options, arguments, &sources);
		if (options.target_is_spec)
			warn_target(options.target);
		status = copy(&options, arguments, err);
	}
	return close_sources(&sources, status, err);
}

static int work(struct arguments *arguments, const struct operands *operands,
		struct gild_error *err)
{
	const char *target;

	if (arguments->options.help)
		return option_list_help(arguments->format ? arguments->format :
							    "raw",
					operands->count > 0, err) < 0;
	if (operands->count < 2)
		return tool_misuse(err, "the names of a source and of a target "
					"are needed"),
		       1;
	target = operands->items[operands->count - 1];
	if (check_target(arguments, target, err) < 0 ||
	    check_sparse(arguments, err) < 0 ||
	    check_backing(arguments, err) < 0)
		return 1;
	return convert(arguments, operands->items, operands->count - 1, target,
		       err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = {
		.cache = GILD_CACHE_UNSAFE,
		.sparse_size = GILD_SPARSE_DEFAULT,
	};
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err);
	option_list_free(&arguments.options);
	return status;
}

const struct verb verb_convert = {
	.name = "convert",
	.summary = "copy a disk to another file or format",
	.operands = "SOURCE... TARGET",
	.details = "Several sources are joined. The name - stands for standard "
		   "input (raw), or as\nthe target for standard output. "
		   "Without -O the target is raw.\n",
	.example = "  gild convert -c -O qcow2 disk.raw golden.qcow2\n"
		   "  zcat disk.raw.gz | gild convert -p -O qcow2 - "
		   "disk.qcow2\n",
	.rows = rows,
	.run = run,
};
