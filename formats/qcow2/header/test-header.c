/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fixed fields of the header and the name of the backing file: what is read
 * from them, what is refused, and how the refusal reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/test-sample.h"

TestSuite(qcow2_header, .timeout = 20);

/* --- the fixed fields ---------------------------------------------------- */

Test(qcow2_header, version_3_is_read)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
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

	sample_make(&s);
	store_be32(s.bytes + VERSION, 2);
	memset(s.bytes + 72, 0, 40);
	s.end = 72;
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
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

	sample_make(&s);
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

	sample_make(&s);
	store_be32(s.bytes + LENGTH, 104);
	s.end = 104;
	sample_extend(&s, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	header = read_good(&s);
	cr_expect_eq(header.compression, QCOW2_COMPRESSION_ZLIB);
	cr_expect_str_eq(header.backing_format, "qcow2");
	qcow2_header_free(&header);
}

Test(qcow2_header, empty_disk_needs_no_l1_table)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
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

	sample_make(&s);
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
	{ SIZE, 8, (1ULL << 61) + 512, GILD_ERR_RANGE, "larger than qcow2" },
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

		sample_make(&s);
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

	sample_make(&s);
	cr_assert_eq(read_bytes("", 0, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_FORMAT);
	cr_assert_eq(read_bytes(s.bytes, 111, &header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect_not_null(strstr(err.message, "ends inside"), "%s",
			   err.message);
	cr_assert_eq(read_bytes(s.bytes, 50, &header, &err), -1);
	cr_expect_not_null(strstr(err.message, "ends inside"), "%s",
			   err.message);
}

Test(qcow2_header, extended_l2_needs_clusters_of_16_kib)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	s.bytes[INCOMPATIBLE + 7] = QCOW2_INCOMPAT_EXTENDED_L2;
	header = read_good(&s);
	qcow2_header_free(&header);
	/* Its tables hold half as much. */
	store_be64(s.bytes + SIZE, (1 << 28) + 512);
	assert_refused(&s, GILD_ERR_CORRUPT, "too small");
	store_be32(s.bytes + CLUSTER_BITS, 13);
	assert_refused(&s, GILD_ERR_UNSUPPORTED, "2^14 to 2^21");
}

Test(qcow2_header, encryption_is_for_others_to_judge)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
	store_be32(s.bytes + CRYPT, 1);
	header = read_good(&s);
	cr_expect_eq(header.crypt_method, 1);
	qcow2_header_free(&header);
}

Test(qcow2_header, snapshot_table_must_lie_in_the_file)
{
	struct sample s;
	struct qcow2_header header;

	sample_make(&s);
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

	sample_make(&s);
	/* More than the first read holds: the second can fail, too. */
	sample_extend(&s, 0x77777777, filler, sizeof(filler));
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

	sample_make(&s);
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

	sample_make(&s);
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
	sample_make(&s);
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

	sample_make(&s);
	set_backing(&s, "/etc/shadow");
	s.bytes[s.end + 8 + 4] = 0;
	assert_refused(&s, GILD_ERR_CORRUPT, "holds a zero byte");
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

		sample_make(&s);
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

	sample_make(&s);
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
