/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small image in memory whose header is good until a test changes it: a
 * header cluster of 64 KiB, a refcount table at cluster 1, an L1 table at
 * cluster 3, and nothing else.
 */
#ifndef QCOW2_TEST_SAMPLE_H
#define QCOW2_TEST_SAMPLE_H

#include <criterion/criterion.h>

#include "formats/qcow2/header/parts.h"
#include "storage/faulty.h"
#include "util/bytes.h"
#include "util/cleanup.h"

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

static inline void sample_make(struct sample *s)
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

static inline void sample_extend(struct sample *s, uint32_t type,
				 const void *data, uint32_t length)
{
	store_be32(s->bytes + s->end, type);
	store_be32(s->bytes + s->end + 4, length);
	if (length)
		memcpy(s->bytes + s->end + 8, data, length);
	s->end += 8 + (uint32_t)round_up(length, 8);
}

static inline void set_backing(struct sample *s, const char *name)
{
	store_be64(s->bytes + BACKING_OFFSET, s->end + 8);
	store_be32(s->bytes + BACKING_SIZE, (uint32_t)strlen(name));
	memcpy(s->bytes + s->end + 8, name, strlen(name));
}

static inline int read_bytes(const void *bytes, uint64_t length,
			     struct qcow2_header *header,
			     struct gild_error *err)
{
	struct storage *storage = faulty_new(bytes, length, err);
	int result;

	cr_assert_not_null(storage);
	result = qcow2_header_read(storage, header, err);
	storage_close(storage);
	return result;
}

static inline struct qcow2_header read_good(const struct sample *s)
{
	struct gild_error err = { 0 };
	struct qcow2_header header;

	cr_assert_eq(read_bytes(s->bytes, IMAGE, &header, &err), 0, "%s",
		     err.message);
	return header;
}

static inline void assert_refused(const struct sample *s,
				  enum gild_error_kind kind,
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

static inline void add_bitmaps(struct sample *s, uint32_t count, uint64_t size,
			       uint64_t offset, uint32_t length)
{
	unsigned char data[32] = { 0 };

	store_be32(data, count);
	store_be64(data + 8, size);
	store_be64(data + 16, offset);
	sample_extend(s, QCOW2_EXT_BITMAPS, data, length);
}

#endif
