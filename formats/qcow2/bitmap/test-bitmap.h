/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images with bitmaps in tests: in memory (storage/faulty.h), and told apart by
 * a line of text for each bitmap:
 *
 *     NAME FLAGS GRANULARITY: FIRST-END FIRST-END ...
 *
 * with flags "a" (enabled), "-" (disabled); an inconsistent one ends in "in
 * use".
 */
#ifndef QCOW2_TEST_BITMAP_H
#define QCOW2_TEST_BITMAP_H

#include "formats/qcow2/bitmap/bitmap.h"
#include "formats/qcow2/test-order.h"
#include "storage/faulty.h"
#include "util/bytes.h"

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* The bytes of an image's file. */
struct bytes {
	unsigned char *data;
	uint64_t length;
};

static inline struct bytes bytes_of(struct storage *storage)
{
	struct bytes bytes = { 0 };
	const void *content = faulty_content(storage, &bytes.length);

	bytes.data = malloc(bytes.length + 1);
	cr_assert_not_null(bytes.data);
	memcpy(bytes.data, content, bytes.length);
	return bytes;
}

static inline struct image *open_bytes(const struct bytes *bytes,
				       unsigned flags, struct gild_error *err)
{
	const struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags,
	};
	struct storage *storage = faulty_new(bytes->data, bytes->length, err);

	cr_assert_not_null(storage);
	return image_open_storage(storage, &options, err);
}

static inline struct image *open_good(const struct bytes *bytes, unsigned flags)
{
	struct gild_error err = { 0 };
	struct image *image = open_bytes(bytes, flags, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

static inline struct gild_image *handle_of(struct image *image)
{
	return (struct gild_image *)image;
}

/* What the file holds when the image was closed. */
static inline struct bytes close_bytes(struct image *image)
{
	struct gild_error err = { 0 };
	struct bytes bytes;

	cr_assert_eq(image_flush(image, true, &err), 0, "%s", err.message);
	bytes = bytes_of(image->storage);
	image_free(image);
	return bytes;
}

static inline struct bytes new_bytes(const char *options, uint64_t size)
{
	const struct order order = { .size = size, .options = options };
	struct storage *storage = faulty_new(NULL, 0, NULL);
	struct gild_error err = { 0 };
	struct bytes bytes;

	cr_assert_eq(create_in(storage, &order, &err), 0, "%s", err.message);
	bytes = bytes_of(storage);
	storage_close(storage);
	return bytes;
}

/* ------------------------------------------------------------------ text -- */

static inline void print_bits(FILE *out, const struct qcow2_bits *bits)
{
	uint64_t offset = 0, length;

	for (; qcow2_bits_next(bits, &offset, &length); offset += length)
		fprintf(out, " %ju-%ju", (uintmax_t)offset,
			(uintmax_t)(offset + length));
	fprintf(out, "\n");
}

static inline void print_bitmap(FILE *out, struct qcow2 *q,
				const struct qcow2_bitmap *bitmap)
{
	struct qcow2_room room = { 1ULL << 40, 1ULL << 40 };
	struct gild_error err = { 0 };
	struct qcow2_bits *bits;

	fprintf(out, "%s %c %ju:", bitmap->name,
		bitmap->flags & QCOW2_BITMAP_AUTO ? 'a' : '-',
		(uintmax_t)1 << bitmap->granularity_bits);
	if (bitmap->flags & QCOW2_BITMAP_IN_USE) {
		fprintf(out, " in use\n");
		return;
	}
	bits = qcow2_bitmap_load(q, bitmap, &room, &err);
	cr_assert_not_null(bits, "%s", err.message);
	print_bits(out, bits);
	qcow2_bits_free(bits);
}

/* The bitmaps as the file has them; caller frees. */
static inline char *text_of_image(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_bitmaps bitmaps;
	struct gild_error err = { 0 };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert_not_null(out);
	cr_assert_eq(qcow2_bitmaps_read(q, &bitmaps, &err), 0, "%s",
		     err.message);
	for (uint32_t i = 0; i < bitmaps.count; i++)
		print_bitmap(out, q, &bitmaps.list[i]);
	qcow2_bitmaps_free(&bitmaps);
	fclose(out);
	return text;
}

static inline char *text_of(const struct bytes *bytes)
{
	struct image *image = open_good(bytes, 0);
	char *text = text_of_image(image);

	image_free(image);
	return text;
}

static inline void expect_text(const struct bytes *bytes, const char *wanted)
{
	char *text = text_of(bytes);

	cr_assert_str_eq(text, wanted, "\n%s instead of\n%s", text, wanted);
	free(text);
}

/* ----------------------------------------------------------------- check -- */

static inline struct gild_check_result check_bytes(const struct bytes *bytes)
{
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct image *image = open_good(bytes, 0);

	cr_assert_eq(qcow2_check(image, 0, &result, &err), 0, "%s",
		     err.message);
	image_free(image);
	return result;
}

/* Nothing wrong, and nothing leaked. */
static inline void expect_sound(const struct bytes *bytes)
{
	struct gild_check_result result = check_bytes(bytes);

	cr_assert_eq(result.corruptions + result.check_errors, 0);
	cr_assert_eq(result.leaks, 0, "%ju leaks", (uintmax_t)result.leaks);
}

static inline unsigned char *content_of(const struct bytes *bytes,
					uint64_t *size)
{
	struct gild_error err = { 0 };
	struct image *image = open_good(bytes, 0);
	unsigned char *content;

	*size = image->size;
	content = malloc(*size + 1);
	cr_assert_not_null(content);
	cr_assert_eq(image_read(image, content, *size, 0, &err), 0, "%s",
		     err.message);
	image_free(image);
	return content;
}

#define OK(call)                                            \
	do {                                                \
		struct gild_error err = { 0 };              \
		cr_assert_eq((call), 0, "%s", err.message); \
	} while (0)

#define REFUSED(kind_, part, call)                                  \
	do {                                                        \
		struct gild_error err = { 0 };                      \
		cr_assert_eq((call), -1, "not refused: %s", part);  \
		cr_expect_eq(err.kind, kind_, "%s", err.message);   \
		cr_expect_not_null(strstr(err.message, part), "%s", \
				   err.message);                    \
	} while (0)

#endif
