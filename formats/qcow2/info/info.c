/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What "info" says about a qcow2 image beyond what every format has. Keys and
 * their order are those of "format-specific.data" in qemu-img's JSON, which
 * for version 2 leaves out what that version cannot have.
 */
#include "formats/qcow2/info/parts.h"

static int add_compression(const struct qcow2_header *header,
			   struct gild_value *to)
{
	return value_add_string(to, "compression-type",
				header->compression == QCOW2_COMPRESSION_ZSTD ?
					"zstd" :
					"zlib");
}

static int add_data_file(const struct qcow2_header *header,
			 struct gild_value *to)
{
	if (!(header->incompatible & QCOW2_INCOMPAT_DATA_FILE))
		return 0;
	if (header->data_file &&
	    value_add_string(to, "data-file", header->data_file) < 0)
		return -1;
	return value_add_bool(to, "data-file-raw",
			      header->autoclear & QCOW2_AUTOCLEAR_RAW_DATA);
}

static int add_flags(const struct qcow2_header *header, struct gild_value *to)
{
	if (header->version < 3)
		return 0;
	if (value_add_bool(to, "corrupt",
			   header->incompatible & QCOW2_INCOMPAT_CORRUPT) < 0)
		return -1;
	return value_add_bool(to, "extended-l2",
			      header->incompatible &
				      QCOW2_INCOMPAT_EXTENDED_L2);
}

static int add_lazy(const struct qcow2_header *header, struct gild_value *to)
{
	if (header->version < 3)
		return 0;
	return value_add_bool(to, "lazy-refcounts",
			      header->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
}

static int add_specific(struct qcow2 *q, struct gild_info *info,
			struct gild_error *err)
{
	struct gild_value *to = info->specific;
	const struct qcow2_header *header = &q->header;

	if (value_add_string(to, "compat",
			     header->version < 3 ? "0.10" : "1.1") < 0 ||
	    add_compression(header, to) < 0 || add_lazy(header, to) < 0)
		return fail_nomem(err);
	if (qcow2_info_bitmaps(q, info, to, err) < 0)
		return -1;
	if (value_add_number(to, "refcount-bits",
			     1U << header->refcount_order) < 0)
		return fail_nomem(err);
	if (qcow2_info_encryption(q, to, err) < 0)
		return -1;
	if (add_data_file(header, to) < 0 || add_flags(header, to) < 0)
		return fail_nomem(err);
	return 0;
}

static int describe(struct qcow2 *q, struct gild_info *info,
		    struct gild_error *err)
{
	info->encrypted = q->header.crypt_method != 0;
	info->dirty = q->header.incompatible & QCOW2_INCOMPAT_DIRTY;
	info->specific = value_object();
	if (!info->specific)
		return fail_nomem(err);
	if (add_specific(q, info, err) < 0)
		return -1;
	return qcow2_info_snapshots(q, info, err);
}

/* What is there on failure is freed with the info. */
int qcow2_info(struct image *image, struct gild_info *info,
	       struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int result;

	pthread_rwlock_rdlock(&q->lock);
	result = describe(q, info, err);
	pthread_rwlock_unlock(&q->lock);
	return result;
}
