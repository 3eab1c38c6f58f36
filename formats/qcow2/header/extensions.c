/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header extensions, read: {type, length, data, padding to 8} one after the
 * other, from the header's end to the type 0, or to the backing file's name,
 * or to the end of the first cluster. Types that are not known are kept as they
 * are, in order. Every length is checked against the area before it is used.
 *
 * Specification: "Header extensions" and the sections after it.
 */
#include "formats/qcow2/header/parts.h"

#include <stdlib.h>

#include "util/bytes.h"

/* One extension; data lies in the area. */
struct extension {
	uint32_t type, length;
	const unsigned char *data;
	uint32_t offset; /* of its head, in the file */
	uint32_t next;
};

static uint32_t padded(uint32_t length)
{
	return (uint32_t)round_up(length, 8);
}

uint32_t qcow2_extensions_end(const struct header_area *area)
{
	uint64_t at = area->start;

	while (at + QCOW2_EXT_HEAD <= area->limit) {
		if (at + QCOW2_EXT_HEAD > area->length)
			return area->limit;
		if (load_be32(area->data + at) == QCOW2_EXT_END)
			return (uint32_t)at + QCOW2_EXT_HEAD;
		at += QCOW2_EXT_HEAD +
		      round_up(load_be32(area->data + at + 4), 8);
	}
	return (uint32_t)min_u64(at, area->limit);
}

/* 1: *ext is the extension at offset; 0: there are no more; -1: error. */
static int next_extension(const struct header_area *area, uint32_t offset,
			  struct extension *ext, struct gild_error *err)
{
	uint32_t room = offset < area->limit ? area->limit - offset : 0;

	if (room < QCOW2_EXT_HEAD)
		return 0;
	ext->offset = offset;
	ext->type = load_be32(area->data + offset);
	ext->length = load_be32(area->data + offset + 4);
	ext->data = area->data + offset + QCOW2_EXT_HEAD;
	if (ext->type == QCOW2_EXT_END)
		return 0;
	if (ext->length > room - QCOW2_EXT_HEAD) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "header extension 0x%08x of %u bytes does not fit into the header's cluster",
		     ext->type, ext->length);
		return error_at(err, offset);
	}
	ext->next = offset + QCOW2_EXT_HEAD + padded(ext->length);
	return 1;
}

static int read_string(const struct extension *ext, const char *what,
		       char **string, struct gild_error *err)
{
	if (ext->length == 0 || memchr(ext->data, 0, ext->length)) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the header's %s is empty or holds a zero byte", what);
		return error_at(err, ext->offset);
	}
	*string = (char *)qcow2_header_copy(ext->data, ext->length);
	return *string ? 0 : fail_nomem(err);
}

static int read_names(const struct extension *ext, struct qcow2_header *header,
		      struct gild_error *err)
{
	header->feature_names = qcow2_header_copy(ext->data, ext->length);
	if (!header->feature_names)
		return fail_nomem(err);
	header->feature_names_length = ext->length;
	return 0;
}

static int check_bitmaps(const struct header_area *area,
			 const struct qcow2_header *header,
			 struct gild_error *err)
{
	uint64_t size = header->bitmap_directory_size;

	if (header->bitmap_count < 1 ||
	    header->bitmap_count > QCOW2_MAX_BITMAPS)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "%u bitmaps in the header, 1 to %u are possible",
			    header->bitmap_count, QCOW2_MAX_BITMAPS);
	if (size < 24ULL * header->bitmap_count ||
	    size > QCOW2_MAX_BITMAP_DIRECTORY)
		return fail(
			err, GILD_ERR_CORRUPT, 0,
			"a bitmap directory of %ju bytes cannot hold %u bitmaps",
			(uintmax_t)size, header->bitmap_count);
	return qcow2_header_check_table(header, area->file_length,
					"bitmap directory",
					header->bitmap_directory_offset, size,
					err);
}

/* Only the autoclear bit vouches for what stands there: without it, what makes
 * no sense is forgotten. */
static int read_bitmaps(const struct header_area *area,
			const struct extension *ext,
			struct qcow2_header *header, struct gild_error *err)
{
	bool trusted = header->autoclear & QCOW2_AUTOCLEAR_BITMAPS;

	header->has_bitmaps = true;
	if (ext->length == 24 && load_be32(ext->data + 4) == 0) {
		header->bitmap_count = load_be32(ext->data);
		header->bitmap_directory_size = load_be64(ext->data + 8);
		header->bitmap_directory_offset = load_be64(ext->data + 16);
		if (check_bitmaps(area, header, trusted ? err : NULL) == 0)
			return 0;
	} else if (trusted) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the header's bitmaps extension is damaged");
	}
	header->has_bitmaps = false;
	header->bitmap_count = 0;
	return trusted ? error_at(err, ext->offset) : 0;
}

static int read_crypto(const struct header_area *area,
		       const struct extension *ext, struct qcow2_header *header,
		       struct gild_error *err)
{
	if (ext->length != 16 || header->crypt_method != 2) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the header's encryption pointer is damaged, or stands in an image without LUKS");
		return error_at(err, ext->offset);
	}
	header->has_crypto = true;
	header->crypto_offset = load_be64(ext->data);
	header->crypto_length = load_be64(ext->data + 8);
	return qcow2_header_check_table(header, area->file_length,
					"encryption header",
					header->crypto_offset,
					header->crypto_length, err);
}

static int keep_unknown(const struct extension *ext,
			struct qcow2_header *header, struct gild_error *err)
{
	uint32_t length = QCOW2_EXT_HEAD + padded(ext->length);
	unsigned char *grown;

	grown = realloc(header->unknown, header->unknown_length + length);
	if (!grown)
		return fail_nomem(err);
	header->unknown = grown;
	grown += header->unknown_length;
	memset(grown, 0, length);
	memcpy(grown, ext->data - QCOW2_EXT_HEAD, QCOW2_EXT_HEAD + ext->length);
	header->unknown_length += length;
	return 0;
}

/* Its bit in the set of those seen, 0: may come more than once. */
static unsigned type_bit(const struct qcow2_header *header, uint32_t type)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
		return 1;
	case QCOW2_EXT_FEATURE_NAMES:
		return 2;
	case QCOW2_EXT_BITMAPS:
		return 4;
	case QCOW2_EXT_CRYPTO:
		return 8;
	case QCOW2_EXT_DATA_FILE:
		/* Without its feature bit this is not what it seems. */
		return header->incompatible & QCOW2_INCOMPAT_DATA_FILE ? 16 : 0;
	default:
		return 0;
	}
}

static int read_extension(const struct header_area *area,
			  const struct extension *ext, unsigned bit,
			  struct qcow2_header *header, struct gild_error *err)
{
	if (!bit)
		return keep_unknown(ext, header, err);
	switch (ext->type) {
	case QCOW2_EXT_BACKING_FORMAT:
		return read_string(ext, "backing format",
				   &header->backing_format, err);
	case QCOW2_EXT_FEATURE_NAMES:
		return read_names(ext, header, err);
	case QCOW2_EXT_BITMAPS:
		return read_bitmaps(area, ext, header, err);
	case QCOW2_EXT_CRYPTO:
		return read_crypto(area, ext, header, err);
	default:
		return read_string(ext, "data file name", &header->data_file,
				   err);
	}
}

int qcow2_extensions_read(const struct header_area *area,
			  struct qcow2_header *header, struct gild_error *err)
{
	struct extension ext;
	uint32_t at = area->start;
	unsigned seen = 0, bit;
	int got;

	while ((got = next_extension(area, at, &ext, err)) > 0) {
		bit = type_bit(header, ext.type);
		if (seen & bit) {
			fail(err, GILD_ERR_CORRUPT, 0,
			     "header extension 0x%08x is there twice",
			     ext.type);
			return error_at(err, ext.offset);
		}
		seen |= bit;
		if (read_extension(area, &ext, bit, header, err) < 0)
			return -1;
		at = ext.next;
	}
	return got;
}

int qcow2_extensions_find_names(const struct header_area *area,
				struct qcow2_header *header,
				struct gild_error *err)
{
	struct extension ext;
	uint32_t at = area->start;

	while (next_extension(area, at, &ext, NULL) > 0) {
		if (ext.type == QCOW2_EXT_FEATURE_NAMES)
			return read_names(&ext, header, err);
		at = ext.next;
	}
	return 0;
}

bool qcow2_feature_name(const struct qcow2_header *header, unsigned type,
			unsigned bit, char name[QCOW2_FEATURE_NAME_ENTRY])
{
	const unsigned char *entry = header->feature_names;
	uint32_t left = header->feature_names_length;

	for (; left >= QCOW2_FEATURE_NAME_ENTRY;
	     left -= QCOW2_FEATURE_NAME_ENTRY,
	     entry += QCOW2_FEATURE_NAME_ENTRY) {
		if (entry[0] != type || entry[1] != bit || entry[2] == 0)
			continue;
		memcpy(name, entry + 2, QCOW2_FEATURE_NAME_ENTRY - 2);
		name[QCOW2_FEATURE_NAME_ENTRY - 2] = 0;
		for (; *name; name++)
			if (*name < ' ' || *name > '~')
				*name = '?';
		return true;
	}
	return false;
}
