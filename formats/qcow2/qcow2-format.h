/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands on the disk in a qcow2 image, as the specification "Qcow2 Image
 * File Format" (docs/interop/qcow2.rst of QEMU) has it. All big-endian.
 * Only header.c, entry.h and the tables' readers look at these.
 */
#ifndef QCOW2_FORMAT_H
#define QCOW2_FORMAT_H

#include <assert.h>
#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbU /* "QFI\xfb" */

/* "Header" */
struct qcow2_disk_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_file_offset;
	uint32_t backing_file_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	/* version 3 */
	uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint32_t refcount_order;
	uint32_t header_length;
	/* "Additional fields" */
	uint8_t compression_type;
	uint8_t padding[7];
};

static_assert(sizeof(struct qcow2_disk_header) == 112, "qcow2 header");

#define QCOW2_V2_HEADER 72
#define QCOW2_V3_HEADER_MIN 104

enum {
	QCOW2_INCOMPAT_DIRTY = 1 << 0,
	QCOW2_INCOMPAT_CORRUPT = 1 << 1,
	QCOW2_INCOMPAT_DATA_FILE = 1 << 2,
	QCOW2_INCOMPAT_COMPRESSION = 1 << 3,
	QCOW2_INCOMPAT_EXTENDED_L2 = 1 << 4,
	QCOW2_INCOMPAT_KNOWN = (1 << 5) - 1,
	QCOW2_COMPAT_LAZY_REFCOUNTS = 1 << 0,
	QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
	QCOW2_AUTOCLEAR_RAW_DATA = 1 << 1,
};

/* Values of crypt_method. The specification gives AES keys of 256 bits: they
 * have 128. */
enum {
	QCOW2_CRYPT_NONE = 0,
	QCOW2_CRYPT_AES = 1,
	QCOW2_CRYPT_LUKS = 2,
};

enum {
	QCOW2_COMPRESSION_ZLIB = 0, /* raw deflate */
	QCOW2_COMPRESSION_ZSTD = 1,
};

/* "Header extensions" */
enum {
	QCOW2_EXT_END = 0x00000000,
	QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
	QCOW2_EXT_BITMAPS = 0x23852875,
	QCOW2_EXT_CRYPTO = 0x0537be77,
	QCOW2_EXT_DATA_FILE = 0x44415441,
};
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU

/* Limits: the specification's, and caps against hostile headers. */
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_EXT_L2_MIN_CLUSTER_BITS 14
#define QCOW2_MAX_L1_BYTES (32ULL << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8ULL << 20)
#define QCOW2_MAX_BACKING_NAME 1023
#define QCOW2_MAX_SNAPSHOTS 65536
#define QCOW2_MAX_BITMAPS 65535
#define QCOW2_MAX_BITMAP_DIRECTORY (64ULL << 20)
#define QCOW2_MAX_SIZE (1ULL << 61) /* what the largest L1 table reaches */

/* "Cluster mapping": L1 entries, standard L2 entries, refcount table entries */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL /* bits 9 to 55 */
#define QCOW2_COPIED (1ULL << 63)
#define QCOW2_COMPRESSED (1ULL << 62)
#define QCOW2_ZERO (1ULL << 0)
#define QCOW2_REFTABLE_MASK 0xfffffffffffffe00ULL
#define QCOW2_L1_RESERVED 0x7f000000000001ffULL
#define QCOW2_L2_RESERVED 0x3f000000000001feULL
#define QCOW2_REFTABLE_RESERVED 0x1ffULL

#define QCOW2_SUBCLUSTERS 32

#endif
