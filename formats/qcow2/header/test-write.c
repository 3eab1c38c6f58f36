/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing the header keeps what reading it found, and fails where it must.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/test-sample.h"

TestSuite(qcow2_header_writing, .timeout = 20);

/* Read s, write it over a copy of itself, and read that. */
static struct qcow2_header rewrite(const struct sample *s,
				   struct qcow2_header *first,
				   struct sample *result)
{
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(s->bytes, IMAGE, &err);
	struct qcow2_header second;
	uint64_t length;

	*first = read_good(s);
	cr_assert_eq(qcow2_header_write(storage, first, &err), 0, "%s",
		     err.message);
	memcpy(result->bytes, faulty_content(storage, &length), IMAGE);
	cr_assert_eq(qcow2_header_read(storage, &second, &err), 0, "%s",
		     err.message);
	storage_close(storage);
	return second;
}

static void make_rich(struct sample *s)
{
	sample_make(s);
	store_be64(s->bytes + INCOMPATIBLE,
		   QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_DATA_FILE);
	s->bytes[COMPRESSION] = 1;
	store_be64(s->bytes + COMPATIBLE, 1ULL << 33);
	store_be64(s->bytes + AUTOCLEAR, 1ULL << 34 | 1);
	store_be32(s->bytes + LENGTH, 128);
	memcpy(s->bytes + 112, "what comes later", 16);
	s->end = 128;
	sample_extend(s, 0x12345678, "unknown", 7);
	sample_extend(s, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	sample_extend(s, QCOW2_EXT_DATA_FILE, "data.raw", 8);
	add_bitmaps(s, 2, 64, 2 * CLUSTER, 24);
	set_backing(s, "base.qcow2");
}

Test(qcow2_header_writing, writing_keeps_what_reading_found)
{
	struct sample s, result;
	struct qcow2_header a, b;

	make_rich(&s);
	b = rewrite(&s, &a, &result);
	cr_expect_str_eq(b.backing_name, "base.qcow2");
	cr_expect_str_eq(b.backing_format, "qcow2");
	cr_expect_str_eq(b.data_file, "data.raw");
	cr_expect_eq(b.extra_length, 16);
	cr_expect_arr_eq(b.extra, "what comes later", 16);
	cr_assert_eq(b.unknown_length, a.unknown_length);
	cr_expect_arr_eq(b.unknown, a.unknown, a.unknown_length);
	cr_expect_eq(b.incompatible, a.incompatible);
	cr_expect_eq(b.compatible, a.compatible);
	cr_expect_eq(b.autoclear, a.autoclear);
	cr_expect_eq(b.compression, 1);
	cr_expect(b.has_bitmaps);
	cr_expect_eq(b.bitmap_directory_offset, 2 * CLUSTER);
	cr_expect_arr_eq(result.bytes, s.bytes, 8);
	cr_expect_arr_eq(result.bytes + 16, s.bytes + 16, 112);
	qcow2_header_free(&a);
	qcow2_header_free(&b);
}

Test(qcow2_header_writing, writing_grows_a_short_header_and_names_features)
{
	struct sample s, result;
	struct qcow2_header a, b;
	char name[QCOW2_FEATURE_NAME_ENTRY];

	sample_make(&s);
	store_be32(s.bytes + LENGTH, 104);
	s.end = 104;
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	b = rewrite(&s, &a, &result);
	cr_expect_eq(b.length, 112);
	cr_expect_str_eq(b.backing_format, "raw");
	cr_expect_eq(b.feature_names_length, 8 * 48);
	cr_assert(qcow2_feature_name(&b, 0, 4, name));
	cr_expect_str_eq(name, "extended L2 entries");
	cr_assert(qcow2_feature_name(&b, 2, 1, name));
	cr_expect_str_eq(name, "raw external data");
	cr_expect_not(qcow2_feature_name(&b, 0, 5, name));
	qcow2_header_free(&a);
	qcow2_header_free(&b);
}

Test(qcow2_header_writing, writing_version_2_adds_no_fields)
{
	struct sample s, result;
	struct qcow2_header a, b;

	sample_make(&s);
	store_be32(s.bytes + VERSION, 2);
	memset(s.bytes + 72, 0, 40);
	s.end = 72;
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	set_backing(&s, "base");
	b = rewrite(&s, &a, &result);
	cr_expect_arr_eq(result.bytes, s.bytes, IMAGE);
	qcow2_header_free(&a);
	qcow2_header_free(&b);
}

Test(qcow2_header_writing, writing_wipes_a_longer_header_of_old)
{
	struct sample s, result;
	struct qcow2_header a, b;
	char name[1024];

	memset(name, 'n', sizeof(name));
	name[1023] = 0;
	sample_make(&s);
	set_backing(&s, name);
	memset(s.bytes + 2000, 'n', 1000);
	b = rewrite(&s, &a, &result);
	for (unsigned at = 1700; at < 4096; at++)
		cr_assert_eq(result.bytes[at], 0, "at %u", at);
	qcow2_header_free(&a);
	qcow2_header_free(&b);
}

static char *repeat(char c, size_t length)
{
	char *text = malloc(length + 1);

	memset(text, c, length);
	text[length] = 0;
	return text;
}

Test(qcow2_header_writing, small_clusters_go_without_feature_names)
{
	struct qcow2_header header = { .version = 3, .cluster_bits = 9 };
	AUTO_FREE unsigned char *bytes = NULL;
	AUTO_FREE char *name = repeat('n', 512 - 120);
	struct gild_error err;
	uint64_t length;

	/* 112 bytes and eight names and the end: just. */
	bytes = qcow2_header_encode(&header, &length, &err);
	cr_assert_not_null(bytes);
	cr_expect_eq(length, 512);
	cr_expect_eq(load_be32(bytes + 112), QCOW2_EXT_FEATURE_NAMES);
	free(bytes);
	header.backing_name = name;
	bytes = qcow2_header_encode(&header, &length, &err);
	cr_assert_not_null(bytes, "%s", err.message);
	cr_expect_eq(load_be32(bytes + 112), QCOW2_EXT_END);
	cr_expect_eq(load_be64(bytes + BACKING_OFFSET), 120);
	cr_expect_arr_eq(bytes + 120, name, 512 - 120);
}

Test(qcow2_header_writing, what_does_not_fit_is_an_error)
{
	struct qcow2_header header = { .version = 3, .cluster_bits = 9 };
	AUTO_FREE char *long_name = repeat('n', 1024);
	AUTO_FREE char *name = repeat('n', 512 - 119);
	struct gild_error err;
	struct storage *storage = faulty_new(NULL, 0, &err);
	size_t events;

	header.backing_name = name;
	cr_assert_eq(qcow2_header_write(storage, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	cr_expect_not_null(strstr(err.message, "513 bytes"), "%s", err.message);
	header.backing_name = long_name;
	header.cluster_bits = 16;
	cr_assert_eq(qcow2_header_write(storage, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	faulty_log(storage, &events);
	cr_expect_eq(events, 0);
	storage_close(storage);
}

Test(qcow2_header_writing, failing_write_is_reported)
{
	const struct qcow2_header header = { .version = 3, .cluster_bits = 16 };
	const struct faulty_plan plan = { .nth = 1,
					  .ops = 1 << FAULTY_WRITE,
					  .sys_errno = ENOSPC };
	struct gild_error err;
	struct storage *storage = faulty_new(NULL, 0, &err);

	faulty_set_plan(storage, &plan);
	cr_assert_eq(qcow2_header_write(storage, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_IO);
	cr_expect_eq(err.sys_errno, ENOSPC);
	storage_close(storage);
}
