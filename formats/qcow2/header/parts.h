/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What header.c (reading), extensions.c and write.c share; for
 * nobody else.
 */
#ifndef QCOW2_HEADER_PARTS_H
#define QCOW2_HEADER_PARTS_H

#include "formats/qcow2/qcow2.h"

#define QCOW2_FEATURE_NAME_ENTRY 48 /* type, bit, 46 bytes of name */
#define QCOW2_EXT_HEAD 8	    /* type, length */

/* The file's first bytes, as far as the header can reach. */
struct header_area {
	const unsigned char *data;
	uint32_t length; /* bytes in data */
	uint32_t start;	 /* where extensions start: the header's end */
	uint32_t limit;	 /* where they must end */
	uint64_t file_length;
};

/* The bytes that extensions span, from the start of the file; more than the
 * area's length where it has not got them all. */
uint32_t qcow2_extensions_end(const struct header_area *area);

/* Decode the extensions into a header whose fixed fields are filled. */
int qcow2_extensions_read(const struct header_area *area,
			  struct qcow2_header *header, struct gild_error *err);

/* Keep only the feature name table; damage in others does not matter. */
int qcow2_extensions_find_names(const struct header_area *area,
				struct qcow2_header *header,
				struct gild_error *err);

/* What the image itself calls a feature (type 0: incompatible); false: it has
 * no name for it. Unprintable bytes become '?'. */
bool qcow2_feature_name(const struct qcow2_header *header, unsigned type,
			unsigned bit, char name[QCOW2_FEATURE_NAME_ENTRY]);

/* check.c. file_length is the file's, not rounded. */
int qcow2_header_check_features(struct qcow2_header *header,
				struct gild_error *err);
int qcow2_header_check_l1(const struct qcow2_header *header,
			  uint64_t file_length, struct gild_error *err);
int qcow2_header_check_snapshots(const struct qcow2_header *header,
				 uint64_t file_length, struct gild_error *err);
int qcow2_header_check_reftable(const struct qcow2_header *header,
				uint64_t file_length, struct gild_error *err);

/* A table that must lie in the file, on a cluster boundary, and not at 0. */
int qcow2_header_check_table(const struct qcow2_header *header,
			     uint64_t file_length, const char *what,
			     uint64_t offset, uint64_t bytes,
			     struct gild_error *err);

/* A copy of length bytes and a 0 after them; NULL when out of memory. */
unsigned char *qcow2_header_copy(const void *bytes, size_t length);

/* The header area as qcow2_header_write writes it, *length bytes (at most a
 * cluster). Caller frees. */
unsigned char *qcow2_header_encode(const struct qcow2_header *header,
				   uint64_t *length, struct gild_error *err);

#endif
