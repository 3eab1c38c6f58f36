/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header: what is read from it, what is refused and how the refusal reads,
 * and that writing keeps what reading found.
 *
 * Images are a header cluster of 64 KiB (unless said otherwise), a refcount
 * table at cluster 1, an L1 table at cluster 3, and nothing else.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/header-parts.h"
#include "storage/faulty.h"
#include "util/bytes.h"
#include "util/cleanup.h"

TestSuite(qcow2_header, .timeout = 20);

#define CLUSTER 65536
#define IMAGE (4 * CLUSTER)

/* Where the fields stand. */
enum {
	VERSION = 4,
	BACKING_OFFSET = 8,
	BACKING_SIZE = 16,
	CLUSTER_BITS = 20,
	SIZE = 24,
	CRYPT = 32,
	L1_SIZE = 36,
	L1_OFFSET = 40,
	REFTABLE_OFFSET = 48,
	REFTABLE_CLUSTERS = 56,
	SNAPSHOTS = 60,
	SNAPSHOTS_OFFSET = 64,
	INCOMPATIBLE = 72,
	COMPATIBLE = 80,
	AUTOCLEAR = 88,
	REFCOUNT_ORDER = 96,
	LENGTH = 100,
	COMPRESSION = 104,
	EXTENSIONS = 112,
};

/* An image under construction; extensions are appended at end. */
struct sample {
	unsigned char bytes[IMAGE];
	uint32_t end;
};

static void make(struct sample *s)
{
	memset(s, 0, sizeof(*s));
	store_be32(s->bytes, QCOW2_MAGIC);
	store_be32(s->bytes + VERSION, 3);
	store_be32(s->bytes + CLUSTER_BITS, 16);
	store_be64(s->bytes + SIZE, 1 << 20);
	store_be32(s->bytes + L1_SIZE, 1);
	store_be64(s->bytes + L1_OFFSET, 3 * CLUSTER);
	store_be64(s->bytes + REFTABLE_OFFSET, CLUSTER);
	store_be32(s->bytes + REFTABLE_CLUSTERS, 1);
	store_be32(s->bytes + REFCOUNT_ORDER, 4);
	store_be32(s->bytes + LENGTH, EXTENSIONS);
	s->end = EXTENSIONS;
}

static void extend(struct sample *s, uint32_t type, const void *data,
		   uint32_t length)
{
	store_be32(s->bytes + s->end, type);
	store_be32(s->bytes + s->end + 4, length);
	if (length)
		memcpy(s->bytes + s->end + 8, data, length);
	s->end += 8 + (uint32_t)round_up(length, 8);
}

static void set_backing(struct sample *s, const char *name)
{
	store_be64(s->bytes + BACKING_OFFSET, s->end + 8);
	store_be32(s->bytes + BACKING_SIZE, (uint32_t)strlen(name));
	memcpy(s->bytes + s->end + 8, name, strlen(name));
}

static int read_bytes(const void *bytes, uint64_t length,
		      struct qcow2_header *header, struct gild_error *err)
{
	struct storage *storage = faulty_new(bytes, length, err);
	int result;

	cr_assert_not_null(storage);
	result = qcow2_header_read(storage, header, err);
	storage_close(storage);
	return result;
}

static struct qcow2_header read_good(const struct sample *s)
{
	struct gild_error err = { 0 };
	struct qcow2_header header;

	cr_assert_eq(read_bytes(s->bytes, IMAGE, &header, &err), 0, "%s",
		     err.message);
	return header;
}

static void assert_refused(const struct sample *s, enum gild_error_kind kind,
			   const char *message)
{
	struct gild_error err = { 0 };
	struct qcow2_header header;

	cr_assert_eq(read_bytes(s->bytes, IMAGE, &header, &err), -1,
		     "taken, but should be: %s", message);
	cr_expect_eq(err.kind, kind, "%s", err.message);
	cr_expect_not_null(strstr(err.message, message), "\"%s\"", err.message);
	cr_expect_null(header.backing_name);
	cr_expect_null(header.unknown);
}

/* --- the fixed fields ---------------------------------------------------- */

Test(qcow2_header, version_3_is_read)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be64(s.bytes + COMPATIBLE, 5);
	header = read_good(&s);
	cr_expect_eq(header.version, 3);
	cr_expect_eq(header.size, 1 << 20);
	cr_expect_eq(header.cluster_bits, 16);
	cr_expect_eq(header.l1_entries, 1);
	cr_expect_eq(header.l1_offset, 3 * CLUSTER);
	cr_expect_eq(header.reftable_offset, CLUSTER);
	cr_expect_eq(header.reftable_clusters, 1);
	cr_expect_eq(header.compatible, 5);
	cr_expect_eq(header.length, 112);
	cr_expect_null(header.backing_name);
	qcow2_header_free(&header);
}

Test(qcow2_header, version_2_has_no_more_fields)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be32(s.bytes + VERSION, 2);
	memset(s.bytes + 72, 0, 40);
	s.end = 72;
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	set_backing(&s, "base");
	header = read_good(&s);
	cr_expect_eq(header.refcount_order, 4);
	cr_expect_eq(header.length, 72);
	cr_expect_eq(header.incompatible, 0);
	cr_expect_str_eq(header.backing_format, "raw");
	cr_expect_str_eq(header.backing_name, "base");
	qcow2_header_free(&header);
}

Test(qcow2_header, version_2_without_extensions_has_its_name_at_72)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be32(s.bytes + VERSION, 2);
	store_be64(s.bytes + BACKING_OFFSET, 72);
	store_be32(s.bytes + BACKING_SIZE, 40);
	memset(s.bytes + 72, 'n', 40);
	header = read_good(&s);
	cr_expect_eq(strlen(header.backing_name), 40);
	cr_expect_null(header.backing_format);
	qcow2_header_free(&header);
}

Test(qcow2_header, shortest_version_3_has_no_compression_field)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be32(s.bytes + LENGTH, 104);
	s.end = 104;
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	header = read_good(&s);
	cr_expect_eq(header.compression, QCOW2_COMPRESSION_ZLIB);
	cr_expect_str_eq(header.backing_format, "qcow2");
	qcow2_header_free(&header);
}

Test(qcow2_header, empty_disk_needs_no_l1_table)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be64(s.bytes + SIZE, 0);
	store_be32(s.bytes + L1_SIZE, 0);
	store_be64(s.bytes + L1_OFFSET, 0);
	header = read_good(&s);
	cr_expect_eq(header.l1_entries, 0);
	qcow2_header_free(&header);
}

Test(qcow2_header, last_cluster_of_the_file_may_be_cut_short)
{
	struct sample s;
	struct gild_error err;
	struct qcow2_header header;

	make(&s);
	cr_assert_eq(read_bytes(s.bytes, 3 * CLUSTER + 8, &header, &err), 0);
	qcow2_header_free(&header);
	cr_assert_eq(read_bytes(s.bytes, 3 * CLUSTER, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect(err.has_offset && err.offset == 3 * CLUSTER);
}

/* One field with another value, and what is said about it. */
struct poke {
	unsigned offset, width;
	uint64_t value;
	enum gild_error_kind kind;
	const char *message;
};

static const struct poke pokes[] = {
	{ 0, 4, 0x12345678, GILD_ERR_FORMAT, "not a qcow2 image" },
	{ VERSION, 4, 1, GILD_ERR_UNSUPPORTED, "version 1" },
	{ VERSION, 4, 4, GILD_ERR_UNSUPPORTED, "version 4" },
	{ CLUSTER_BITS, 4, 8, GILD_ERR_UNSUPPORTED, "2^8" },
	{ CLUSTER_BITS, 4, 22, GILD_ERR_UNSUPPORTED, "2^22" },
	{ CLUSTER_BITS, 4, 0xffffffff, GILD_ERR_UNSUPPORTED, "2^4294967295" },
	{ LENGTH, 4, 96, GILD_ERR_CORRUPT, "96 bytes" },
	{ LENGTH, 4, 108, GILD_ERR_CORRUPT, "108 bytes" },
	{ LENGTH, 4, 65544, GILD_ERR_CORRUPT, "65544 bytes" },
	{ LENGTH, 4, 0xfffffff8, GILD_ERR_CORRUPT, "4294967288 bytes" },
	{ SIZE, 8, UINT64_MAX, GILD_ERR_RANGE, "larger than qcow2" },
	{ SIZE, 8, (1ULL << 56) + 512, GILD_ERR_RANGE, "larger than qcow2" },
	{ SIZE, 8, (1ULL << 29) + 1, GILD_ERR_CORRUPT, "too small" },
	{ CRYPT, 4, 3, GILD_ERR_UNSUPPORTED, "method 3" },
	{ CRYPT, 4, 2, GILD_ERR_CORRUPT, "where its keys are" },
	{ L1_SIZE, 4, 0, GILD_ERR_CORRUPT, "too small" },
	{ L1_SIZE, 4, (4 << 20) + 1, GILD_ERR_RANGE, "larger than 32 MiB" },
	{ L1_SIZE, 4, 0xffffffff, GILD_ERR_RANGE, "larger than 32 MiB" },
	{ L1_SIZE, 4, 8193, GILD_ERR_CORRUPT, "beyond the file's" },
	{ L1_OFFSET, 8, 0, GILD_ERR_CORRUPT, "L1 table stands at 0x0" },
	{ L1_OFFSET, 8, 512, GILD_ERR_CORRUPT, "not on a cluster boundary" },
	{ L1_OFFSET, 8, 4 * CLUSTER, GILD_ERR_CORRUPT, "beyond the file's" },
	{ L1_OFFSET, 8, ~0ULL << 16, GILD_ERR_CORRUPT, "beyond the file's" },
	{ REFTABLE_OFFSET, 8, 0, GILD_ERR_CORRUPT, "refcount table stands" },
	{ REFTABLE_OFFSET, 8, CLUSTER + 8, GILD_ERR_CORRUPT, "boundary" },
	{ REFTABLE_OFFSET, 8, IMAGE, GILD_ERR_CORRUPT, "beyond the file's" },
	{ REFTABLE_CLUSTERS, 4, 0, GILD_ERR_CORRUPT, "no refcount table" },
	{ REFTABLE_CLUSTERS, 4, 4, GILD_ERR_CORRUPT, "beyond the file's" },
	{ REFTABLE_CLUSTERS, 4, 129, GILD_ERR_RANGE, "larger than 8 MiB" },
	{ REFTABLE_CLUSTERS, 4, 0xffffffff, GILD_ERR_RANGE, "than 8 MiB" },
	{ SNAPSHOTS, 4, 1, GILD_ERR_CORRUPT, "snapshot table stands at 0x0" },
	{ SNAPSHOTS, 4, 65537, GILD_ERR_RANGE, "65537 internal snapshots" },
	{ REFCOUNT_ORDER, 4, 7, GILD_ERR_CORRUPT, "2^7 bits" },
	{ REFCOUNT_ORDER, 4, 0xffffffff, GILD_ERR_CORRUPT, "2^4294967295" },
	{ COMPRESSION, 1, 1, GILD_ERR_CORRUPT, "contradicts" },
	{ COMPRESSION, 1, 2, GILD_ERR_UNSUPPORTED, "compression type 2" },
	{ INCOMPATIBLE, 8, 8, GILD_ERR_CORRUPT, "contradicts" },
	{ INCOMPATIBLE, 8, 32, GILD_ERR_UNSUPPORTED, "incompatible bit 5" },
	{ AUTOCLEAR, 8, 1, GILD_ERR_CORRUPT, "there are bitmaps" },
	{ BACKING_OFFSET, 8, 128, GILD_ERR_CORRUPT, "name of 0 bytes" },
};

Test(qcow2_header, fields_that_make_no_sense_are_refused)
{
	struct sample s;

	for (size_t i = 0; i < sizeof(pokes) / sizeof(pokes[0]); i++) {
		const struct poke *p = &pokes[i];

		make(&s);
		if (p->width == 8)
			store_be64(s.bytes + p->offset, p->value);
		else if (p->width == 4)
			store_be32(s.bytes + p->offset, (uint32_t)p->value);
		else
			s.bytes[p->offset] = (unsigned char)p->value;
		assert_refused(&s, p->kind, p->message);
	}
}

Test(qcow2_header, files_shorter_than_the_header)
{
	struct sample s;
	struct gild_error err;
	struct qcow2_header header;

	make(&s);
	cr_assert_eq(read_bytes("", 0, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_FORMAT);
	cr_assert_eq(read_bytes(s.bytes, 111, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect_not_null(strstr(err.message, "ends inside"), "%s",
			   err.message);
}

Test(qcow2_header, extended_l2_needs_clusters_of_16_kib)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	s.bytes[INCOMPATIBLE + 7] = QCOW2_INCOMPAT_EXTENDED_L2;
	header = read_good(&s);
	qcow2_header_free(&header);
	/* Its tables hold half as much. */
	store_be64(s.bytes + SIZE, (1 << 28) + 512);
	assert_refused(&s, GILD_ERR_CORRUPT, "too small");
	store_be32(s.bytes + CLUSTER_BITS, 13);
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "2^14 to 2^21");
}

Test(qcow2_header, snapshot_table_must_lie_in_the_file)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be32(s.bytes + SNAPSHOTS, 3);
	store_be64(s.bytes + SNAPSHOTS_OFFSET, 2 * CLUSTER);
	header = read_good(&s);
	cr_expect_eq(header.snapshot_count, 3);
	qcow2_header_free(&header);
	store_be64(s.bytes + SNAPSHOTS_OFFSET, 4 * CLUSTER);
	assert_refused(&s, GILD_ERR_CORRUPT, "beyond the file's");
	/* Where there are none it may stand anywhere. */
	store_be32(s.bytes + SNAPSHOTS, 0);
	store_be64(s.bytes + SNAPSHOTS_OFFSET, 12345);
	header = read_good(&s);
	qcow2_header_free(&header);
}

Test(qcow2_header, failing_reads_are_reported)
{
	static const unsigned char filler[8192];
	struct sample s;
	struct qcow2_header header;

	make(&s);
	/* More than the first read holds: the second can fail, too. */
	extend(&s, 0x77777777, filler, sizeof(filler));
	for (uint64_t nth = 1; nth <= 2; nth++) {
		const struct faulty_plan plan = { .nth = nth,
						  .ops = 1 << FAULTY_READ,
						  .sys_errno = EIO };
		struct gild_error err = { 0 };
		struct storage *storage = faulty_new(s.bytes, IMAGE, &err);

		faulty_set_plan(storage, &plan);
		cr_assert_eq(qcow2_header_read(storage, &header, &err), -1);
		cr_expect_eq(err.kind, GILD_ERR_IO);
		cr_expect_eq(err.sys_errno, EIO);
		storage_close(storage);
	}
}

/* --- the backing file's name --------------------------------------------- */

Test(qcow2_header, backing_name_must_lie_in_the_first_cluster)
{
	struct sample s;

	make(&s);
	set_backing(&s, "base");
	store_be64(s.bytes + BACKING_OFFSET, CLUSTER - 3);
	assert_refused(&s, GILD_ERR_CORRUPT, "not within the header's cluster");
	store_be64(s.bytes + BACKING_OFFSET, UINT64_MAX - 1);
	assert_refused(&s, GILD_ERR_CORRUPT, "not within the header's cluster");
	store_be64(s.bytes + BACKING_OFFSET, 104);
	assert_refused(&s, GILD_ERR_CORRUPT, "not within the header's cluster");
}

Test(qcow2_header, backing_name_at_the_end_of_the_cluster)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	store_be64(s.bytes + BACKING_OFFSET, CLUSTER - 4);
	store_be32(s.bytes + BACKING_SIZE, 4);
	memcpy(s.bytes + CLUSTER - 4, "base", 4);
	header = read_good(&s);
	cr_expect_str_eq(header.backing_name, "base");
	qcow2_header_free(&header);
}

Test(qcow2_header, backing_name_of_1023_bytes_is_the_longest)
{
	struct sample s;
	struct qcow2_header header;
	char name[1025];

	memset(name, 'n', sizeof(name));
	name[1023] = 0;
	make(&s);
	set_backing(&s, name);
	header = read_good(&s);
	cr_expect_str_eq(header.backing_name, name);
	qcow2_header_free(&header);
	store_be32(s.bytes + BACKING_SIZE, 1024);
	assert_refused(&s, GILD_ERR_CORRUPT, "name of 1024 bytes");
	store_be32(s.bytes + BACKING_SIZE, 0xffffffff);
	assert_refused(&s, GILD_ERR_CORRUPT, "name of 4294967295 bytes");
}

Test(qcow2_header, backing_name_with_a_zero_byte_is_refused)
{
	struct sample s;

	make(&s);
	set_backing(&s, "/etc/shadow");
	s.bytes[s.end + 8 + 4] = 0;
	assert_refused(&s, GILD_ERR_CORRUPT, "holds a zero byte");
}

/* --- extensions ---------------------------------------------------------- */

static void name_feature(struct sample *s, unsigned char type,
			 unsigned char bit, const char *name)
{
	unsigned char entry[48] = { type, bit };

	memcpy(entry + 2, name, strlen(name) < 46 ? strlen(name) : 46);
	extend(s, QCOW2_EXT_FEATURE_NAMES, entry, sizeof(entry));
}

Test(qcow2_header, unknown_features_are_refused_by_name)
{
	struct sample s;

	make(&s);
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

Test(qcow2_header, names_of_unknown_features_are_made_printable)
{
	struct sample s;

	make(&s);
	store_be64(s.bytes + INCOMPATIBLE, 1ULL << 40);
	name_feature(&s, 0, 40, "\x1b[31mred\n");
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "'?[31mred?'");
	make(&s);
	store_be64(s.bytes + INCOMPATIBLE, UINT64_MAX);
	name_feature(&s, 0, 40,
		     "a name that fills all of its forty-six bytes, and more");
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "incompatible bit 5, ");
}

Test(qcow2_header, unknown_extensions_are_kept_in_order)
{
	static const char expected[40] = "\x11\x11\x11\x11\0\0\0\3one\0\0\0\0\0"
					 "\0\0\0\2\0\0\0\0"
					 "\x11\x11\x11\x11\0\0\0\3two";
	struct sample s;
	struct qcow2_header header;

	make(&s);
	extend(&s, 0x11111111, "one", 3);
	s.bytes[s.end - 1] = 0xff; /* padding is nobody's */
	extend(&s, 2, NULL, 0);
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	extend(&s, 0x11111111, "two", 3);
	header = read_good(&s);
	cr_expect_str_eq(header.backing_format, "raw");
	cr_assert_eq(header.unknown_length, 40);
	cr_expect_arr_eq(header.unknown, expected, 40);
	qcow2_header_free(&header);
}

Test(qcow2_header, extensions_end_with_the_cluster_or_the_name)
{
	struct sample s;
	struct qcow2_header header;
	static unsigned char filler[CLUSTER];

	/* No end marker: the last extension ends with the cluster. */
	make(&s);
	memset(filler, 'x', sizeof(filler));
	extend(&s, 0x11111111, filler, CLUSTER - EXTENSIONS - 8);
	header = read_good(&s);
	cr_expect_eq(header.unknown_length, CLUSTER - EXTENSIONS);
	qcow2_header_free(&header);
	/* One byte more is too much. */
	store_be32(s.bytes + EXTENSIONS + 4, CLUSTER - EXTENSIONS - 7);
	assert_refused(&s, GILD_ERR_CORRUPT, "0x11111111 of 65417 bytes");
	store_be32(s.bytes + EXTENSIONS + 4, 0xffffffff);
	assert_refused(&s, GILD_ERR_CORRUPT, "does not fit");
	/* The name's start bounds them as well. */
	make(&s);
	extend(&s, 0x11111111, "12345678", 8);
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

Test(qcow2_header, known_extensions_come_once)
{
	static const uint32_t types[] = { QCOW2_EXT_BACKING_FORMAT,
					  QCOW2_EXT_FEATURE_NAMES,
					  QCOW2_EXT_DATA_FILE };
	struct sample s;

	for (size_t i = 0; i < 3; i++) {
		make(&s);
		store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
		extend(&s, types[i], "name", 4);
		extend(&s, types[i], "name", 4);
		assert_refused(&s, GILD_ERR_CORRUPT, "is there twice");
	}
}

Test(qcow2_header, strings_in_extensions_have_no_zero_byte)
{
	struct sample s;

	make(&s);
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "ra\0w", 4);
	assert_refused(&s, GILD_ERR_CORRUPT, "backing format is empty or");
	make(&s);
	store_be64(s.bytes + INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
	extend(&s, QCOW2_EXT_DATA_FILE, "", 0);
	assert_refused(&s, GILD_ERR_CORRUPT, "data file name is empty or");
}

Test(qcow2_header, data_file_counts_only_with_its_bit)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
	extend(&s, QCOW2_EXT_DATA_FILE, "/etc/passwd", 11);
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

Test(qcow2_header, raw_data_needs_a_data_file_and_no_backing_file)
{
	struct sample s;
	struct qcow2_header header;

	make(&s);
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

static void add_bitmaps(struct sample *s, uint32_t count, uint64_t size,
			uint64_t offset, uint32_t length)
{
	unsigned char data[32] = { 0 };

	store_be32(data, count);
	store_be64(data + 8, size);
	store_be64(data + 16, offset);
	extend(s, QCOW2_EXT_BITMAPS, data, length);
}

Test(qcow2_header, bitmaps_are_checked_where_they_are_vouched_for)
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
		make(&s);
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

Test(qcow2_header, encryption_pointer_goes_with_luks)
{
	unsigned char data[16] = { 0 };
	struct sample s;
	struct qcow2_header header;
	struct gild_error err;

	make(&s);
	store_be64(data, 2 * CLUSTER);
	store_be64(data + 8, 592);
	extend(&s, QCOW2_EXT_CRYPTO, data, sizeof(data));
	assert_refused(&s, GILD_ERR_CORRUPT, "without LUKS");
	store_be32(s.bytes + CRYPT, 2);
	header = read_good(&s);
	cr_expect(header.has_crypto);
	cr_expect_eq(header.crypto_offset, 2 * CLUSTER);
	cr_expect_eq(header.crypto_length, 592);
	cr_assert_eq(qcow2_header_check_crypt(&header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_UNSUPPORTED);
	cr_expect_not_null(strstr(err.message, "LUKS"));
	qcow2_header_free(&header);
	store_be64(s.bytes + EXTENSIONS + 8, IMAGE);
	assert_refused(&s, GILD_ERR_CORRUPT, "beyond the file's");
}

Test(qcow2_header, aes_is_read_but_not_usable)
{
	struct sample s;
	struct qcow2_header header;
	struct gild_error err;

	make(&s);
	header = read_good(&s);
	cr_assert_eq(qcow2_header_check_crypt(&header, &err), 0);
	qcow2_header_free(&header);
	store_be32(s.bytes + CRYPT, 1);
	header = read_good(&s);
	cr_assert_eq(qcow2_header_check_crypt(&header, &err), -1);
	cr_expect_not_null(strstr(err.message, "AES"));
	qcow2_header_free(&header);
}

/* --- for a repair -------------------------------------------------------- */

Test(qcow2_header, repair_forgives_a_lost_refcount_table)
{
	static const struct poke lost[] = {
		{ REFTABLE_OFFSET, 8, 8 * CLUSTER, 0, NULL },
		{ REFTABLE_OFFSET, 8, 77, 0, NULL },
		{ REFTABLE_CLUSTERS, 4, 0, 0, NULL },
		{ REFTABLE_CLUSTERS, 4, 0xffffffff, 0, NULL },
	};
	struct sample s;
	struct qcow2_header header;
	struct gild_error err;

	for (size_t i = 0; i < 4; i++) {
		struct storage *storage;

		make(&s);
		if (lost[i].width == 8)
			store_be64(s.bytes + lost[i].offset, lost[i].value);
		else
			store_be32(s.bytes + lost[i].offset,
				   (uint32_t)lost[i].value);
		storage = faulty_new(s.bytes, IMAGE, &err);
		cr_assert_eq(qcow2_header_read_for_repair(storage, &header,
							  &err),
			     0);
		cr_expect_eq(header.reftable_clusters, 0);
		cr_expect_eq(header.reftable_offset, 0);
		qcow2_header_free(&header);
		storage_close(storage);
	}
}

Test(qcow2_header, repair_forgives_nothing_else)
{
	struct sample s;
	struct qcow2_header header;
	struct gild_error err;
	struct storage *storage;

	make(&s);
	storage = faulty_new(s.bytes, IMAGE, &err);
	cr_assert_eq(qcow2_header_read_for_repair(storage, &header, &err), 0);
	cr_expect_eq(header.reftable_offset, CLUSTER);
	qcow2_header_free(&header);
	storage_close(storage);
	store_be64(s.bytes + L1_OFFSET, 8 * CLUSTER);
	storage = faulty_new(s.bytes, IMAGE, &err);
	cr_assert_eq(qcow2_header_read_for_repair(storage, &header, &err), -1);
	storage_close(storage);
}

/* --- writing ------------------------------------------------------------- */

/* Read s, write it over a copy of itself, and read that. */
static struct qcow2_header rewrite(const struct sample *s,
				   struct qcow2_header *first,
				   struct sample *result)
{
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(s->bytes, IMAGE, &err);
	struct qcow2_header second;
	uint64_t length;
	size_t events;

	*first = read_good(s);
	cr_assert_eq(qcow2_header_write(storage, first, &err), 0, "%s",
		     err.message);
	faulty_log(storage, &events);
	cr_expect_eq(events, 1, "one write, not %zu", events);
	memcpy(result->bytes, faulty_content(storage, &length), IMAGE);
	cr_assert_eq(qcow2_header_read(storage, &second, &err), 0, "%s",
		     err.message);
	storage_close(storage);
	return second;
}

static void make_rich(struct sample *s)
{
	make(s);
	store_be64(s->bytes + INCOMPATIBLE,
		   QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_DATA_FILE);
	s->bytes[COMPRESSION] = 1;
	store_be64(s->bytes + COMPATIBLE, 1ULL << 33);
	store_be64(s->bytes + AUTOCLEAR, 1ULL << 34 | 1);
	store_be32(s->bytes + LENGTH, 128);
	memcpy(s->bytes + 112, "what comes later", 16);
	s->end = 128;
	extend(s, 0x12345678, "unknown", 7);
	extend(s, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	extend(s, QCOW2_EXT_DATA_FILE, "data.raw", 8);
	add_bitmaps(s, 2, 64, 2 * CLUSTER, 24);
	set_backing(s, "base.qcow2");
}

Test(qcow2_header, writing_keeps_what_reading_found)
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

Test(qcow2_header, writing_grows_a_short_header_and_names_features)
{
	struct sample s, result;
	struct qcow2_header a, b;
	char name[QCOW2_FEATURE_NAME_ENTRY];

	make(&s);
	store_be32(s.bytes + LENGTH, 104);
	s.end = 104;
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
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

Test(qcow2_header, writing_version_2_adds_no_fields)
{
	struct sample s, result;
	struct qcow2_header a, b;

	make(&s);
	store_be32(s.bytes + VERSION, 2);
	memset(s.bytes + 72, 0, 40);
	s.end = 72;
	extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	set_backing(&s, "base");
	b = rewrite(&s, &a, &result);
	cr_expect_arr_eq(result.bytes, s.bytes, IMAGE);
	qcow2_header_free(&a);
	qcow2_header_free(&b);
}

Test(qcow2_header, writing_wipes_a_longer_header_of_old)
{
	struct sample s, result;
	struct qcow2_header a, b;
	char name[1024];

	memset(name, 'n', sizeof(name));
	name[1023] = 0;
	make(&s);
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

Test(qcow2_header, small_clusters_go_without_feature_names)
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

Test(qcow2_header, what_does_not_fit_is_an_error)
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

Test(qcow2_header, failing_write_is_reported)
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
