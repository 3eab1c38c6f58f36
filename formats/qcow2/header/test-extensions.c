/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header extensions: what is read from them, what is kept, and what is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/test-sample.h"

TestSuite(qcow2_extensions, .timeout = 20);

static void name_feature(struct sample *s, unsigned char type,
			 unsigned char bit, const char *name)
{
	unsigned char entry[48] = { type, bit };

	memcpy(entry + 2, name, strlen(name) < 46 ? strlen(name) : 46);
	sample_extend(s, QCOW2_EXT_FEATURE_NAMES, entry, sizeof(entry));
}

Test(qcow2_extensions, unknown_features_are_refused_by_name)
{
	struct sample s;

	sample_make(&s);
	store_be64(s.bytes + INCOMPATIBLE, 1ULL << 40);
	name_feature(&s, 0, 40, "time travel");
	assert_refused(&s, GILD_ERR_UNSUPPORTED,
		       "unsupported qcow2 feature 'time travel'");
	store_be64(s.bytes + INCOMPATIBLE, 1ULL << 40 | 1ULL << 63);
	assert_refused(&s, GILD_ERR_UNSUPPORTED,
		       "'time travel', incompatible bit 63");
	/* A name of a compatible feature does not count. */
	s.bytes[EXTENSIONS + 8] = 1;
	assert_refused(&s, GILD_ERR_UNSUPPORTED,
		       "incompatible bit 40, incompatible bit 63");
}

Test(qcow2_extensions, names_of_unknown_features_are_made_printable)
{
	struct sample s;

	sample_make(&s);
	store_be64(s.bytes + INCOMPATIBLE, 1ULL << 40);
	name_feature(&s, 0, 40, "\x1b[31mred\n");
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "'?[31mred?'");
	sample_make(&s);
	store_be64(s.bytes + INCOMPATIBLE, UINT64_MAX);
	name_feature(&s, 0, 40,
		     "a name that fills all of its forty-six bytes, and more");
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "incompatible bit 5, ");
}

Test(qcow2_extensions, unknown_extensions_are_kept_in_order)
{
	static const char expected[40] = "\x11\x11\x11\x11\0\0\0\3one\0\0\0\0\0"
					 "\0\0\0\2\0\0\0\0"
					 "\x11\x11\x11\x11\0\0\0\3two";
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	sample_extend(&s, 0x11111111, "one", 3);
	s.bytes[s.end - 1] = 0xff; /* padding is nobody's */
	sample_extend(&s, 2, NULL, 0);
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	sample_extend(&s, 0x11111111, "two", 3);
	header = read_good(&s);
	cr_expect_str_eq(header.backing_format, "raw");
	cr_assert_eq(header.unknown_length, 40);
	cr_expect_arr_eq(header.unknown, expected, 40);
	qcow2_header_free(&header);
}

Test(qcow2_extensions, extensions_end_with_the_cluster_or_the_name)
{
	struct sample s;
	struct qcow2_header header;
	static unsigned char filler[CLUSTER];

	/* No end marker: the last extension ends with the cluster. */
	sample_make(&s);
	memset(filler, 'x', sizeof(filler));
	sample_extend(&s, 0x11111111, filler, CLUSTER - EXTENSIONS - 8);
	header = read_good(&s);
	cr_expect_eq(header.unknown_length, CLUSTER - EXTENSIONS);
	qcow2_header_free(&header);
	/* One byte more is too much. */
	store_be32(s.bytes + EXTENSIONS + 4, CLUSTER - EXTENSIONS - 7);
	assert_refused(&s, GILD_ERR_CORRUPT, "0x11111111 of 65417 bytes");
	store_be32(s.bytes + EXTENSIONS + 4, 0xffffffff);
	assert_refused(&s, GILD_ERR_CORRUPT, "does not fit");
	/* The name's start bounds them as well. */
	sample_make(&s);
	sample_extend(&s, 0x11111111, "12345678", 8);
	store_be64(s.bytes + BACKING_OFFSET, s.end);
	store_be32(s.bytes + BACKING_SIZE, 4);
	memcpy(s.bytes + s.end, "base", 4);
	header = read_good(&s);
	cr_expect_str_eq(header.backing_name, "base");
	cr_expect_eq(header.unknown_length, 16);
	qcow2_header_free(&header);
	store_be64(s.bytes + BACKING_OFFSET, s.end - 4);
	assert_refused(&s, GILD_ERR_CORRUPT, "does not fit");
}

Test(qcow2_extensions, known_extensions_come_once)
{
	static const uint32_t types[] = { QCOW2_EXT_BACKING_FORMAT,
					  QCOW2_EXT_FEATURE_NAMES,
					  QCOW2_EXT_DATA_FILE };
	struct sample s;

	for (size_t i = 0; i < 3; i++) {
		sample_make(&s);
		store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
		sample_extend(&s, types[i], "name", 4);
		sample_extend(&s, types[i], "name", 4);
		assert_refused(&s, GILD_ERR_CORRUPT, "is there twice");
	}
}

Test(qcow2_extensions, strings_in_extensions_have_no_zero_byte)
{
	struct sample s;

	sample_make(&s);
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "ra\0w", 4);
	assert_refused(&s, GILD_ERR_CORRUPT, "backing format is empty or");
	sample_make(&s);
	store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
	sample_extend(&s, QCOW2_EXT_DATA_FILE, "", 0);
	assert_refused(&s, GILD_ERR_CORRUPT, "data file name is empty or");
}

Test(qcow2_extensions, data_file_counts_only_with_its_bit)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	sample_extend(&s, QCOW2_EXT_DATA_FILE, "/etc/passwd", 11);
	header = read_good(&s);
	cr_expect_null(header.data_file);
	cr_expect_eq(header.unknown_length, 24);
	qcow2_header_free(&header);
	store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
	header = read_good(&s);
	cr_expect_str_eq(header.data_file, "/etc/passwd");
	cr_expect_eq(header.unknown_length, 0);
	qcow2_header_free(&header);
}

Test(qcow2_extensions, raw_data_needs_a_data_file_and_no_backing_file)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	store_be64(s.bytes + AUTOCLEAR, QCOW2_AUTOCLEAR_RAW_DATA | 1ULL << 9);
	header = read_good(&s);
	cr_expect_eq(header.autoclear, 1ULL << 9);
	qcow2_header_free(&header);
	store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
	header = read_good(&s);
	cr_expect_eq(header.autoclear, QCOW2_AUTOCLEAR_RAW_DATA | 1ULL << 9);
	qcow2_header_free(&header);
	set_backing(&s, "base");
	assert_refused(&s, GILD_ERR_CORRUPT, "exclude each other");
}

Test(qcow2_extensions, bitmaps_are_checked_where_they_are_vouched_for)
{
	static const struct {
		uint32_t count;
		uint64_t size, offset;
		uint32_t length;
		const char *message; /* NULL: good */
	} cases[] = {
		{ 2, 64, 2 * CLUSTER, 24, NULL },
		{ 2, 64, 2 * CLUSTER, 32, "extension is damaged" },
		{ 2, 64, 2 * CLUSTER, 16, "extension is damaged" },
		{ 0, 64, 2 * CLUSTER, 24, "0 bitmaps" },
		{ 65536, 64, 2 * CLUSTER, 24, "65536 bitmaps" },
		{ 2, 47, 2 * CLUSTER, 24, "cannot hold 2 bitmaps" },
		{ 2, UINT64_MAX, CLUSTER, 24, "cannot hold 2 bitmaps" },
		{ 2, 64, 0, 24, "bitmap directory stands at 0x0" },
		{ 2, 64, 100, 24, "not on a cluster boundary" },
		{ 2, 64, 4 * CLUSTER, 24, "beyond the file's" },
	};
	struct sample s;
	struct qcow2_header header;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sample_make(&s);
		add_bitmaps(&s, cases[i].count, cases[i].size, cases[i].offset,
			    cases[i].length);
		header = read_good(&s);
		cr_expect_eq(header.has_bitmaps, !cases[i].message);
		qcow2_header_free(&header);
		store_be64(s.bytes + AUTOCLEAR, QCOW2_AUTOCLEAR_BITMAPS);
		if (cases[i].message) {
			assert_refused(&s, GILD_ERR_CORRUPT, cases[i].message);
			continue;
		}
		header = read_good(&s);
		cr_expect_eq(header.bitmap_count, 2);
		cr_expect_eq(header.bitmap_directory_size, 64);
		cr_expect_eq(header.bitmap_directory_offset, 2 * CLUSTER);
		qcow2_header_free(&header);
	}
}

Test(qcow2_extensions, encryption_pointer_goes_with_luks)
{
	unsigned char data[16] = { 0 };
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	store_be64(data, 2 * CLUSTER);
	store_be64(data + 8, 592);
	sample_extend(&s, QCOW2_EXT_CRYPTO, data, sizeof(data));
	assert_refused(&s, GILD_ERR_CORRUPT, "without LUKS");
	store_be32(s.bytes + CRYPT, 2);
	header = read_good(&s);
	cr_expect(header.has_crypto);
	cr_expect_eq(header.crypto_offset, 2 * CLUSTER);
	cr_expect_eq(header.crypto_length, 592);
	qcow2_header_free(&header);
	store_be64(s.bytes + EXTENSIONS + 8, IMAGE);
	assert_refused(&s, GILD_ERR_CORRUPT, "beyond the file's");
}
