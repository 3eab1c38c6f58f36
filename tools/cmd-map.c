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
	bool failed;
};

static void sink_flush(struct sink *sink)
{
	const char *from = sink->text;

	while (sink->used && !sink->failed) {
		ssize_t n = write(STDOUT_FILENO, from, sink->used);

		if (n < 0 && errno == EINTR)
			continue;
		sink->failed = n < 0;
		if (n > 0) {
			from += n;
			sink->used -= (size_t)n;
		}
	}
	sink->used = 0;
}

static void put_bytes(struct sink *sink, const char *text, size_t length)
{
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

#define put_literal(sink, text) put_bytes(sink, text, sizeof(text) - 1)

static void put_number(struct sink *sink, uint64_t number)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	put_bytes(sink, p, (size_t)(digits + sizeof(digits) - p));
}

/* As printf's "%#-16lx" does, which knows no "0x0". */
static void put_hex(struct sink *sink, uint64_t number)
{
	static const char blanks[] = "                ";
	char digits[18], *p = digits + sizeof(digits);
	size_t length;

	do {
		*--p = "0123456789abcdef"[number % 16];
		number /= 16;
	} while (number);
	if (*p != '0') {
		*--p = 'x';
		*--p = '0';
	}
	length = (size_t)(digits + sizeof(digits) - p);
	put_bytes(sink, p, length);
	if (length < 16)
		put_bytes(sink, blanks, 16 - length);
}

static void put_flag(struct sink *sink, bool value)
{
	if (value)
		put_literal(sink, "true");
	else
		put_literal(sink, "false");
}

static void put_json(struct sink *sink, const struct gild_extent *extent)
{
	put_literal(sink, "{ \"start\": ");
	put_number(sink, extent->start);
	put_literal(sink, ", \"length\": ");
	put_number(sink, extent->length);
	put_literal(sink, ", \"depth\": ");
	put_number(sink, extent->depth);
	put_literal(sink, ", \"present\": ");
	put_flag(sink, extent->present);
	put_literal(sink, ", \"zero\": ");
	put_flag(sink, extent->zero);
	put_literal(sink, ", \"data\": ");
	put_flag(sink, extent->data);
	put_literal(sink, ", \"compressed\": ");
	put_flag(sink, extent->compressed);
	if (extent->has_offset) {
		put_literal(sink, ", \"offset\": ");
		put_number(sink, extent->offset);
	}
	put_literal(sink, "}");
}

/* A line for what has data; 1: there are none for such data. */
static int put_human(struct sink *sink, const struct gild_extent *extent)
{
	if (!extent->data || extent->zero)
		return 0;
	if (!extent->has_offset)
		return 1;
	put_hex(sink, extent->start);
	put_hex(sink, extent->length);
	put_hex(sink, extent->offset);
	put_bytes(sink, extent->filename, strlen(extent->filename));
	put_literal(sink, "\n");
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
		tool_fail(err, "the image has compressed, encrypted or "
			       "external clusters, which have no place in a "
			       "file");
		tool_hint(err, "--output=json shows all there is");
		return -1;
	}
	if (printer->any)
		put_literal(sink, ",\n");
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
	struct printer printer = { .json = arguments->json };
	uint64_t size = gild_size(image), start = arguments->start;
	uint64_t left = size > start ? size - start : 0;
	int result;

	if (printer.json)
		put_literal(&printer.sink, "[");
	else
		put_literal(&printer.sink, "Offset          Length          "
					   "Mapped to       File\n");
	if (left > arguments->length)
		left = arguments->length;
	result = print_range(&printer, image, start, start + left, err);
	/* As qemu-img: never an empty list. */
	if (result == 0 && printer.json && !printer.any)
		put_json(&printer.sink,
			 &(struct gild_extent){ .start = start });
	if (printer.json)
		put_literal(&printer.sink, "]\n");
	sink_flush(&printer.sink);
	if (result == 0 && printer.sink.failed)
		return tool_fail(err, "standard output: %s", strerror(errno));
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
	image = open_image(&arguments.open, operands.items[0], 0, err);
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
