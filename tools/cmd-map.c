/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild map: where each run of the disk is stored. Neighbours that are stored
 * alike are joined. An image may have millions of extents, so lines are put
 * together by hand in one buffer.
 */
#include "tools/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct arguments {
	struct open_arguments open;
	uint64_t start, length;
	bool json;
};

static const struct option_row rows[] = {
	SNAPSHOT_ROW(0, struct arguments, open),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	{ 's', "start-offset", "OFFSET", OPTION_SIZE,
	  offsetof(struct arguments, start), "begin at OFFSET" },
	{ 'l', "max-length", "LENGTH", OPTION_SIZE,
	  offsetof(struct arguments, length), "end after LENGTH bytes" },
	OUTPUT_ROW(struct arguments, json),
	LAST_ROW,
};

/* What waits to be written to standard output. */
struct sink {
	char text[65536];
	size_t used;
	int failed; /* errno of the write that failed, or 0 */
};

/* A line without a file's name is shorter. */
enum {
	LINE_MAX_LENGTH = 320,
};

static void sink_flush(struct sink *sink)
{
	const char *from = sink->text;

	while (sink->used && !sink->failed) {
		ssize_t n = write(STDOUT_FILENO, from, sink->used);

		if (n < 0 && errno == EINTR)
			continue;
		sink->failed = n < 0 ? errno : 0;
		if (n > 0) {
			from += n;
			sink->used -= (size_t)n;
		}
	}
	sink->used = 0;
}

/* Room for a line: write there, then tell sink_end where it ends. */
static char *sink_begin(struct sink *sink)
{
	if (sizeof(sink->text) - sink->used < LINE_MAX_LENGTH)
		sink_flush(sink);
	return sink->text + sink->used;
}

static void sink_end(struct sink *sink, const char *end)
{
	sink->used = (size_t)(end - sink->text);
}

/* Bytes of any length, as the name of a file. */
static void sink_put(struct sink *sink, const char *text)
{
	size_t length = strlen(text);

	while (length) {
		size_t room = sizeof(sink->text) - sink->used;
		size_t n = length < room ? length : room;

		memcpy(sink->text + sink->used, text, n);
		sink->used += n;
		text += n;
		length -= n;
		if (sink->used == sizeof(sink->text))
			sink_flush(sink);
	}
}

/* These append to a line and return its end. The length of a literal is known
 * to the compiler, which makes it moves. */
#define put_literal(to, text) \
	((char *)memcpy(to, text, sizeof(text) - 1) + sizeof(text) - 1)

static char *put_number(char *to, uint64_t number)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (p < digits + sizeof(digits))
		*to++ = *p++;
	return to;
}

/* As printf's "%#-16lx" does, which knows no "0x0". */
static char *put_hex(char *to, uint64_t number)
{
	int shift = 60;
	char *start = to;

	if (number)
		to = put_literal(to, "0x");
	while (shift && !(number >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*to++ = "0123456789abcdef"[number >> shift & 15];
	while (to < start + 16)
		*to++ = ' ';
	return to;
}

static char *put_flag(char *to, bool value)
{
	return value ? put_literal(to, "true") : put_literal(to, "false");
}

static void put_json(struct sink *sink, const struct gild_extent *extent)
{
	char *to = sink_begin(sink);

	to = put_number(put_literal(to, "{ \"start\": "), extent->start);
	to = put_number(put_literal(to, ", \"length\": "), extent->length);
	to = put_number(put_literal(to, ", \"depth\": "), extent->depth);
	to = put_flag(put_literal(to, ", \"present\": "), extent->present);
	to = put_flag(put_literal(to, ", \"zero\": "), extent->zero);
	to = put_flag(put_literal(to, ", \"data\": "), extent->data);
	to = put_flag(put_literal(to, ", \"compressed\": "),
		      extent->compressed);
	if (extent->has_offset)
		to = put_number(put_literal(to, ", \"offset\": "),
				extent->offset);
	sink_end(sink, put_literal(to, "}"));
}

/* A line for what has data; 1: there are none for such data. */
static int put_human(struct sink *sink, const struct gild_extent *extent)
{
	char *to;

	if (!extent->data || extent->zero)
		return 0;
	if (!extent->has_offset)
		return 1;
	to = put_hex(sink_begin(sink), extent->start);
	to = put_hex(to, extent->length);
	sink_end(sink, put_hex(to, extent->offset));
	sink_put(sink, extent->filename);
	sink_put(sink, "\n");
	return 0;
}

static bool same_name(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Does b go on where a ends, stored in the same way? */
static bool continues(const struct gild_extent *a, const struct gild_extent *b)
{
	if (a->depth != b->depth || a->present != b->present ||
	    a->zero != b->zero || a->data != b->data ||
	    a->compressed != b->compressed || a->has_offset != b->has_offset)
		return false;
	return !a->has_offset || (a->offset + a->length == b->offset &&
				  same_name(a->filename, b->filename));
}

struct printer {
	struct sink sink;
	const char *name; /* of the image */
	bool json;
	bool any; /* something was printed */
};

static int print_extent(struct printer *printer,
			const struct gild_extent *extent,
			struct gild_error *err)
{
	struct sink *sink = &printer->sink;

	if (!printer->json) {
		if (put_human(sink, extent) == 0)
			return 0;
		tool_fail(err,
			  "%s: what is stored at %llu is compressed, encrypted "
			  "or external, and has no place in a file",
			  printer->name, (unsigned long long)extent->start);
		tool_hint(err, "--output=json shows all there is");
		return -1;
	}
	if (printer->any)
		sink_put(sink, ",\n");
	printer->any = true;
	put_json(sink, extent);
	return 0;
}

/* Print [offset, end), joined. */
static int print_range(struct printer *printer, struct gild_image *image,
		       uint64_t offset, uint64_t end, struct gild_error *err)
{
	struct gild_extent joined = { .length = 0 }, next;

	for (; offset < end && !printer->sink.failed; offset += next.length) {
		if (gild_map(image, offset, end - offset, &next, err) < 0)
			return -1;
		if (joined.length && continues(&joined, &next)) {
			joined.length += next.length;
			continue;
		}
		if (joined.length && print_extent(printer, &joined, err) < 0)
			return -1;
		joined = next;
	}
	return joined.length ? print_extent(printer, &joined, err) : 0;
}

static int print_map(const struct arguments *arguments,
		     struct gild_image *image, struct gild_error *err)
{
	struct printer printer = {
		.json = arguments->json,
		.name = gild_path(image),
	};
	uint64_t size = gild_size(image), start = arguments->start;
	uint64_t left = size > start ? size - start : 0;
	int result;

	if (printer.json)
		sink_put(&printer.sink, "[");
	else
		sink_put(&printer.sink, "Offset          Length          "
					"Mapped to       File\n");
	if (left > arguments->length)
		left = arguments->length;
	result = print_range(&printer, image, start, start + left, err);
	/* As qemu-img: never an empty list. */
	if (result == 0 && printer.json && !printer.any)
		put_json(&printer.sink,
			 &(struct gild_extent){ .start = start });
	if (printer.json)
		sink_put(&printer.sink, "]\n");
	sink_flush(&printer.sink);
	if (result == 0 && printer.sink.failed)
		return tool_fail(err, "standard output: %s",
				 strerror(printer.sink.failed));
	return result;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .length = UINT64_MAX };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	struct gild_image *image;

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (operands.count != 1)
		return tool_misuse(err, "the name of one image is needed"), 1;
	image = open_image(&arguments.open, operands.items[0], GILD_OPEN_LOCKED,
			   err);
	if (!image)
		return 1;
	return close_image(image, print_map(&arguments, image, err) < 0, err);
}

const struct verb verb_map = {
	.name = "map",
	.summary = "show where each part of the disk is stored",
	.operands = "FILE",
	.example = "  gild map --output=json disk.qcow2\n",
	.rows = rows,
	.run = run,
};
