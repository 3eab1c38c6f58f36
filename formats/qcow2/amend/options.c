/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be changed of a qcow2 image, by qemu-img's names, and what cannot:
 * all that can be judged without looking at the disk is judged here.
 */
#include "formats/qcow2/amend/amend.h"

#include <string.h>
#include <sys/stat.h>

#include "formats/qcow2/header/parts.h"
#include "util/bytes.h"
#include "util/cleanup.h"

const struct gild_option_help qcow2_amend_help[] = {
	{ "backing_file", "string", NULL,
	  "name of the backing file: must be what it is (see gild rebase)" },
	{ "backing_fmt", "string", NULL,
	  "format of the backing file: must be what it is" },
	{ "compat", "string", NULL,
	  "version of the format: 0.10 (v2) or 1.1 (v3)" },
	{ "data_file", "string", NULL,
	  "another name for the file that holds the data" },
	{ "data_file_raw", "bool", NULL,
	  "off: the data file need not be readable as a raw image" },
	LUKS_AMEND_ROWS("encrypt."),
	{ "lazy_refcounts", "bool", NULL, "write reference counts late" },
	{ "refcount_bits", "number", NULL,
	  "width of a reference count, 1 to 64, a power of two" },
	{ "size", "size", NULL, "size of the virtual disk" },
	{ NULL, NULL, NULL, NULL },
};

/* --- reading -------------------------------------------------------------- */

static const char *get(const struct amend *amend, const char *name)
{
	return option_get(amend->options, amend->option_count, name);
}

static void start_as_is(const struct qcow2 *q, const struct amend *amend,
			struct qcow2_amendment *wanted)
{
	const struct qcow2_header *h = &q->header;

	*wanted = (struct qcow2_amendment){
		.amend = amend,
		.version = h->version,
		.refcount_order = h->refcount_order,
		.lazy_refcounts = h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS,
		.raw_data = q->raw_data,
		.data_file = get(amend, "data_file"),
		.size = q->image.size,
	};
}

static int read_version(const struct amend *amend,
			struct qcow2_amendment *wanted, struct gild_error *err)
{
	const char *text = get(amend, "compat");

	if (!text)
		return 0;
	if (!strcmp(text, "0.10") || !strcmp(text, "v2"))
		wanted->version = 2;
	else if (!strcmp(text, "1.1") || !strcmp(text, "v3"))
		wanted->version = 3;
	else
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"compat\" is 0.10, 1.1, v2 or v3, not "
			    "\"%s\"",
			    text);
	return 0;
}

static int read_width(const struct amend *amend, struct qcow2_amendment *wanted,
		      struct gild_error *err)
{
	uint64_t bits = 1ULL << wanted->refcount_order;

	if (option_size(amend->options, amend->option_count, "refcount_bits",
			&bits, err) < 0)
		return -1;
	if (bits < 1 || bits > 64 || !is_power_of_2(bits))
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"refcount_bits\" is a power of two from 1 "
			    "to 64, not %ju",
			    (uintmax_t)bits);
	for (wanted->refcount_order = 0; bits >> wanted->refcount_order > 1;)
		wanted->refcount_order++;
	return 0;
}

static int read_size(const struct amend *amend, struct qcow2_amendment *wanted,
		     struct gild_error *err)
{
	if (!get(amend, "size"))
		return 0;
	if (option_size(amend->options, amend->option_count, "size",
			&wanted->size, err) < 0)
		return -1;
	if (is_aligned(wanted->size, 512))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "option \"size\" is a multiple of 512, not %ju",
		    (uintmax_t)wanted->size);
}

static int read_all(const struct amend *amend, struct qcow2_amendment *wanted,
		    struct gild_error *err)
{
	const struct gild_option *options = amend->options;
	size_t count = amend->option_count;

	if (read_version(amend, wanted, err) < 0 ||
	    read_width(amend, wanted, err) < 0 ||
	    read_size(amend, wanted, err) < 0 ||
	    option_bool(options, count, "lazy_refcounts",
			&wanted->lazy_refcounts, err) < 0 ||
	    option_bool(options, count, "data_file_raw", &wanted->raw_data,
			err) < 0 ||
	    luks_amend_parse(options, count, "encrypt.", &wanted->has_key,
			     &wanted->key, err) < 0)
		return -1;
	wanted->key.force = amend->force;
	return 0;
}

/* --- judging -------------------------------------------------------------- */

/* Given, it must be what is there. */
static int check_same(const struct amend *amend, const char *name,
		      const char *now, struct gild_error *err)
{
	const char *value = get(amend, name);

	if (!value || !strcmp(value, now ? now : ""))
		return 0;
	fail(err, GILD_ERR_UNSUPPORTED, 0,
	     "another backing file is not given by option \"%s\"", name);
	return error_hint(err, "gild rebase does that (-u: only the name)");
}

/* A name only: what is there may come later. But not the image itself, whose
 * tables would be written over. */
static int check_data_name(const struct qcow2 *q, const char *name,
			   struct gild_error *err)
{
	AUTO_FREE char *path = NULL;
	struct stat image, data;

	if (!(q->header.incompatible & QCOW2_INCOMPAT_DATA_FILE))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "option \"data_file\" is for an image whose data "
			    "is in another file already");
	if (!*name)
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"data_file\" is empty");
	path = door_resolve(q->image.path, name, err);
	if (!path)
		return -1;
	if (fstat(storage_descriptor(q->image.storage), &image) == 0 &&
	    stat(path, &data) == 0 && image.st_dev == data.st_dev &&
	    image.st_ino == data.st_ino)
		return fail(err, GILD_ERR_INVALID, 0,
			    "the image cannot be its own data file");
	return 0;
}

static int check_data_file(const struct qcow2 *q,
			   const struct qcow2_amendment *wanted,
			   struct gild_error *err)
{
	if (wanted->data_file && check_data_name(q, wanted->data_file, err) < 0)
		return -1;
	if (wanted->raw_data && !q->raw_data)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "option \"data_file_raw\" cannot be turned on "
			    "where there are data already");
	return 0;
}

static int check_key(const struct qcow2 *q,
		     const struct qcow2_amendment *wanted,
		     struct gild_error *err)
{
	if (!wanted->has_key || q->header.crypt_method == QCOW2_CRYPT_LUKS)
		return 0;
	return fail(
		err, GILD_ERR_UNSUPPORTED, 0,
		"options \"encrypt....\" are for an image that is encrypted "
		"with luks, and this one is %s",
		q->header.crypt_method ? "with aes" : "not encrypted");
}

static int fail_v3(const char *what, struct gild_error *err)
{
	return fail(err, GILD_ERR_INVALID, 0,
		    "%s needs compatibility level 1.1 (compat=v3)", what);
}

/* What was asked for beside, or is so and stays so. */
static int check_v2_options(const struct qcow2_amendment *wanted,
			    struct gild_error *err)
{
	bool lazy = false;

	option_bool(wanted->amend->options, wanted->amend->option_count,
		    "lazy_refcounts", &lazy, NULL);
	if (lazy)
		return fail_v3("option \"lazy_refcounts\"", err);
	if (wanted->refcount_order == 4)
		return 0;
	if (get(wanted->amend, "refcount_bits"))
		return fail_v3("a refcount_bits other than 16", err);
	fail(err, GILD_ERR_INVALID, 0,
	     "compat=0.10 needs refcount_bits=16, and the image has %u",
	     1U << wanted->refcount_order);
	return error_hint(err, "add refcount_bits=16");
}

/* What version 2 has no place for, whatever is asked. */
static int check_v2_features(const struct qcow2 *q, struct gild_error *err)
{
	const struct qcow2_header *h = &q->header;
	const char *what = NULL;

	if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
		what = "an external data file";
	else if (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2)
		what = "extended L2 entries";
	else if (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		what = "bitmaps";
	if (!what)
		return 0;
	fail(err, GILD_ERR_UNSUPPORTED, 0,
	     "version 2 (compat=0.10) cannot have %s, and the image has", what);
	if (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		return error_hint(err, "gild bitmap --remove removes them");
	return error_hint(err, "convert it: gild convert -o compat=0.10");
}

/* A snapshot's size is not recorded in version 2, and its VM state's size in 32
 * bits. */
static int check_v2_snapshots(struct qcow2 *q, uint64_t size,
			      struct gild_error *err)
{
	struct qcow2_snapshots snapshots;
	const struct gild_snapshot *about;
	int ret = 0;

	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	for (uint32_t i = 0; i < snapshots.count && !ret; i++) {
		about = &snapshots.list[i].about;
		if ((about->disk_size && about->disk_size != size) ||
		    about->vm_state_size > UINT32_MAX)
			ret = fail(err, GILD_ERR_UNSUPPORTED, 0,
				   "snapshot %s prevents compat=0.10: %s",
				   about->id,
				   about->vm_state_size > UINT32_MAX ?
					   "its VM state is too large" :
					   "its disk had another size");
	}
	qcow2_snapshots_free(&snapshots);
	return ret;
}

static int check_version(struct qcow2 *q, struct qcow2_amendment *wanted,
			 struct gild_error *err)
{
	if (wanted->version >= 3)
		return 0;
	if (check_v2_options(wanted, err) < 0)
		return -1;
	wanted->lazy_refcounts = false;
	if (q->header.version < 3)
		return 0;
	if (check_v2_features(q, err) < 0)
		return -1;
	return check_v2_snapshots(q, wanted->size, err);
}

void qcow2_amend_header(const struct qcow2 *q,
			const struct qcow2_amendment *wanted,
			struct qcow2_header *header)
{
	*header = q->header;
	header->version = wanted->version;
	header->refcount_order = wanted->refcount_order;
	header->compatible &= ~(uint64_t)QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (wanted->lazy_refcounts)
		header->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (!wanted->raw_data)
		header->autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_RAW_DATA;
	if (wanted->data_file)
		header->data_file = (char *)(uintptr_t)wanted->data_file;
	header->length = QCOW2_V2_HEADER;
	if (wanted->version >= 3) {
		header->length = (uint32_t)sizeof(struct qcow2_disk_header) +
				 header->extra_length;
		return;
	}
	/* Bits that are not known were for what other programs did. */
	header->incompatible = header->compatible = header->autoclear = 0;
	header->has_bitmaps = false;
	header->compression = QCOW2_COMPRESSION_ZLIB;
	header->extra = NULL;
	header->extra_length = 0;
}

/* Names and extensions may be too long for what a version 3 header has. */
static int check_room(const struct qcow2 *q,
		      const struct qcow2_amendment *wanted,
		      struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = NULL;
	struct qcow2_header header;
	uint64_t length;

	qcow2_amend_header(q, wanted, &header);
	bytes = qcow2_header_encode(&header, &length, err);
	return bytes ? 0 : -1;
}

int qcow2_amend_parse(struct qcow2 *q, const struct amend *amend,
		      struct qcow2_amendment *wanted, struct gild_error *err)
{
	start_as_is(q, amend, wanted);
	if (read_all(amend, wanted, err) < 0 ||
	    check_same(amend, "backing_file", q->header.backing_name, err) <
		    0 ||
	    check_same(amend, "backing_fmt", q->header.backing_format, err) <
		    0 ||
	    check_data_file(q, wanted, err) < 0 ||
	    check_key(q, wanted, err) < 0 || check_version(q, wanted, err) < 0)
		return -1;
	return check_room(q, wanted, err);
}
