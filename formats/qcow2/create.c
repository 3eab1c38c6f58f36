/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fresh image: see layout.h for what goes where. Only what is not zero is
 * written, so an empty overlay costs three small writes; an empty file reads as
 * zeros elsewhere, and what a device held before is wiped.
 *
 * Nobody can see the file yet: there is no order to keep. An external data file
 * gets its name as the last step.
 */
#include <stdlib.h>

#include "formats/crypto/secrets.h"
#include "formats/qcow2/data-file.h"
#include "formats/qcow2/header/parts.h"
#include "formats/qcow2/layout.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"

#define CHUNK 65536 /* bytes of table entries written at a time */

struct creation {
	struct storage *storage;
	const struct gild_create_options *create;
	struct qcow2_options options;
	struct qcow2_layout layout;
	const struct gild_secret *secret; /* where it is to be encrypted */
	struct gild_error *err;
};

/* --- options ------------------------------------------------------------- */

/* Options that stand for fields of struct gild_create_options must agree with
 * them: one of the two would be ignored. */
static int check_field(const struct creation *c, const char *name,
		       const char *field)
{
	const char *value =
		option_get(c->create->options, c->create->option_count, name);

	if (!value || (field && strcmp(value, field) == 0))
		return 0;
	return fail(c->err, GILD_ERR_INVALID, 0,
		    "option \"%s\" is \"%s\", which contradicts \"%s\"", name,
		    value, field ? field : "");
}

static int check_fields(const struct creation *c)
{
	const struct gild_create_options *create = c->create;
	uint64_t size = create->size;

	if (check_field(c, "backing_file", create->backing) < 0 ||
	    check_field(c, "backing_fmt", create->backing_format) < 0 ||
	    option_size(create->options, create->option_count, "size", &size,
			c->err) < 0)
		return -1;
	if (size == create->size)
		return 0;
	return fail(c->err, GILD_ERR_INVALID, 0,
		    "the disk's size is given twice: %ju and %ju bytes",
		    (uintmax_t)size, (uintmax_t)create->size);
}

static int check_backing(const struct creation *c)
{
	const char *backing = c->create->backing;
	const char *format = c->create->backing_format;
	const struct qcow2_options *options = &c->options;

	if (!backing && format)
		return fail(c->err, GILD_ERR_INVALID, 0,
			    "a backing format (%s) without a backing file",
			    format);
	if (!backing)
		return 0;
	if (!*backing)
		return fail(c->err, GILD_ERR_INVALID, 0,
			    "the backing file's name is empty");
	if (!format || !*format)
		return fail(c->err, GILD_ERR_INVALID, 0,
			    "the format of the backing file %s is missing",
			    backing);
	if (options->keep_data_file)
		return fail(c->err, GILD_ERR_INVALID, 0,
			    "keep_data_file would hide the backing file");
	if (options->data_file_raw)
		return fail(
			c->err, GILD_ERR_INVALID, 0,
			"a backing file and data_file_raw exclude each other");
	if (options->preallocation != QCOW2_PREALLOC_OFF &&
	    !options->extended_l2)
		return fail(
			c->err, GILD_ERR_INVALID, 0,
			"preallocation would hide the backing file (with extended_l2=on it does not)");
	return 0;
}

/* Without the secret nobody could open the image. */
static int check_secret(struct creation *c)
{
	if (!c->options.crypt_method)
		return 0;
	c->secret = secrets_find_one(&c->create->policy, c->options.secret_id,
				     c->err);
	return c->secret ? 0 : -1;
}

static int check_reftable(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;

	if (layout->reftable << layout->cluster_bits <=
	    QCOW2_MAX_REFTABLE_BYTES)
		return 0;
	fail(c->err, GILD_ERR_RANGE, 0,
	     "an image of %ju clusters needs a refcount table of more than 8 MiB",
	     (uintmax_t)layout->total);
	return error_hint(
		c->err,
		"try a larger cluster_size, less refcount_bits, or no preallocation");
}

static unsigned parts_of(const struct qcow2_options *options)
{
	/* A raw data file is read without asking the tables, so they have
	 * to say that all of it is there. */
	if (options->preallocation == QCOW2_PREALLOC_OFF)
		return options->data_file_raw ? QCOW2_LAYOUT_TABLES : 0;
	return QCOW2_LAYOUT_TABLES |
	       (options->data_file ? 0 : QCOW2_LAYOUT_DATA);
}

static int plan(struct creation *c)
{
	const struct gild_create_options *create = c->create;

	if (qcow2_options_parse(create->options, create->option_count,
				&c->options, c->err) < 0 ||
	    check_fields(c) < 0 || check_backing(c) < 0 || check_secret(c) < 0)
		return -1;
	if (qcow2_layout_make(create->size, &c->options, parts_of(&c->options),
			      &c->layout, c->err) < 0)
		return -1;
	return check_reftable(c);
}

/* --- where things are, in clusters --------------------------------------- */

static uint64_t first_refblock(const struct qcow2_layout *layout)
{
	return 1 + layout->reftable;
}

static uint64_t l1_table(const struct qcow2_layout *layout)
{
	return first_refblock(layout) + 1;
}

static uint64_t crypto_header(const struct qcow2_layout *layout)
{
	return l1_table(layout) + layout->l1;
}

static uint64_t refblock(const struct qcow2_layout *layout, uint64_t index)
{
	if (index == 0)
		return first_refblock(layout);
	return crypto_header(layout) + layout->crypto + index - 1;
}

static uint64_t l2_tables(const struct qcow2_layout *layout)
{
	if (layout->refblocks == 1)
		return crypto_header(layout) + layout->crypto;
	return refblock(layout, layout->refblocks - 1) + 1;
}

/* Where the file ends; a last L1 table may end inside a cluster. */
static uint64_t metadata_end(const struct qcow2_layout *layout)
{
	if (layout->refblocks > 1 || layout->l2_tables || layout->crypto)
		return (layout->total - layout->data) << layout->cluster_bits;
	return (l1_table(layout) << layout->cluster_bits) +
	       8 * layout->l1_entries;
}

/* --- writing ------------------------------------------------------------- */

/* Entries of a table that point to one cluster after the other. */
struct pointers {
	uint64_t offset; /* of the first entry, in the file */
	uint64_t count;
	uint64_t target, step; /* what the first holds, and how it grows */
	uint32_t entry_size;   /* 8, or 16: then followed by bitmap */
	uint64_t bitmap;
};

static int write_pointers(const struct creation *c, struct pointers p)
{
	uint64_t bytes = p.count * p.entry_size;
	AUTO_FREE unsigned char *chunk = NULL;

	if (bytes == 0)
		return 0;
	chunk = memory_io_buffer(min_u64(bytes, CHUNK));
	if (!chunk)
		return fail_nomem(c->err);
	for (size_t used; p.count; p.offset += used) {
		for (used = 0; p.count && used < CHUNK; p.count--) {
			store_be64(chunk + used, p.target);
			if (p.entry_size == 16)
				store_be64(chunk + used + 8, p.bitmap);
			p.target += p.step;
			used += p.entry_size;
		}
		if (storage_write(c->storage, chunk, used, p.offset, c->err) <
		    0)
			return -1;
	}
	return 0;
}

static int write_reftable(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	uint32_t bits = layout->cluster_bits;
	struct pointers p = {
		.offset = 1ULL << bits,
		.count = 1,
		.target = first_refblock(layout) << bits,
		.step = 1ULL << bits,
		.entry_size = 8,
	};

	if (write_pointers(c, p) < 0)
		return -1;
	p.offset += 8;
	p.count = layout->refblocks - 1;
	p.target = refblock(layout, 1) << bits;
	return write_pointers(c, p);
}

/* Counts of 1, as many as the block at index has, in *length bytes. */
static void fill_refblock(const struct qcow2_layout *layout,
			  unsigned char *block, uint64_t index, size_t *length)
{
	uint64_t room = qcow2_layout_counts(layout);
	uint64_t count = min_u64(room, layout->total - index * room);

	*length = div_round_up(count << layout->refcount_order, 8);
	memset(block, 0, *length);
	for (uint64_t i = 0; i < count; i++)
		qcow2_refcount_encode(block, layout->refcount_order, i, 1);
}

static int write_refblocks(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	uint64_t last = layout->refblocks - 1;
	AUTO_FREE unsigned char *block = NULL;
	size_t length = 0;

	block = memory_io_buffer(1ULL << layout->cluster_bits);
	if (!block)
		return fail_nomem(c->err);
	for (uint64_t i = 0; i <= last; i++) {
		/* All but the last are alike. */
		if (i == 0 || i == last)
			fill_refblock(layout, block, i, &length);
		if (storage_write(c->storage, block, length,
				  refblock(layout, i) << layout->cluster_bits,
				  c->err) < 0)
			return -1;
	}
	return 0;
}

static int write_l1(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	uint32_t bits = layout->cluster_bits;
	struct pointers p = {
		.offset = l1_table(layout) << bits,
		.count = layout->l2_tables,
		.target = l2_tables(layout) << bits | QCOW2_COPIED,
		.step = 1ULL << bits,
		.entry_size = 8,
	};

	return write_pointers(c, p);
}

/* The tables stand in a row, so their entries do. Preallocated subclusters
 * stay unallocated: they read as zeros, or as the backing file does. So do
 * clusters that are to be encrypted, by their flag: what is there does not
 * decrypt to zeros. */
static int write_l2(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	uint32_t bits = layout->cluster_bits;
	uint64_t tables = l2_tables(layout);
	struct pointers p = {
		.offset = tables << bits,
		.target = (tables + layout->l2_tables) << bits | QCOW2_COPIED,
		.step = 1ULL << bits,
		.entry_size = layout->entry_size,
	};

	if (layout->l2_tables == 0)
		return 0;
	p.count = layout->guest_clusters;
	if (c->options.data_file)
		p.target = QCOW2_COPIED;
	if (c->options.data_file_raw || c->options.keep_data_file)
		p.bitmap = UINT32_MAX;
	if (c->options.crypt_method && !c->options.extended_l2)
		p.target |= QCOW2_ZERO;
	return write_pointers(c, p);
}

static struct qcow2_header describe(const struct creation *c)
{
	const struct qcow2_options *options = &c->options;
	const struct qcow2_layout *layout = &c->layout;
	struct qcow2_header header = {
		.version = options->version,
		.cluster_bits = layout->cluster_bits,
		.size = layout->size,
		.l1_entries = (uint32_t)layout->l1_entries,
		.reftable_offset = 1ULL << layout->cluster_bits,
		.reftable_clusters = (uint32_t)layout->reftable,
		.refcount_order = layout->refcount_order,
		.compression = options->compression,
		.crypt_method = options->crypt_method,
	};

	if (layout->crypto) {
		header.has_crypto = true;
		header.crypto_offset = crypto_header(layout)
				       << layout->cluster_bits;
		header.crypto_length = luks_fresh_length(&options->luks);
	}
	if (layout->l1_entries)
		header.l1_offset = l1_table(layout) << layout->cluster_bits;
	if (options->compression != QCOW2_COMPRESSION_ZLIB)
		header.incompatible |= QCOW2_INCOMPAT_COMPRESSION;
	if (options->extended_l2)
		header.incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
	if (options->data_file)
		header.incompatible |= QCOW2_INCOMPAT_DATA_FILE;
	if (options->data_file_raw)
		header.autoclear |= QCOW2_AUTOCLEAR_RAW_DATA;
	if (options->lazy_refcounts)
		header.compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	return header;
}

static int write_header(const struct creation *c)
{
	struct qcow2_header header = describe(c);
	AUTO_FREE char *name = NULL, *format = NULL, *data_file = NULL;

	if (c->create->backing) {
		header.backing_name = name = strdup(c->create->backing);
		header.backing_format = format =
			strdup(c->create->backing_format);
		if (!name || !format)
			return fail_nomem(c->err);
	}
	if (c->options.data_file) {
		header.data_file = data_file = strdup(c->options.data_file);
		if (!data_file)
			return fail_nomem(c->err);
	}
	return qcow2_header_write_new(c->storage, &header, c->err);
}

/* Space first: where it is to be reserved, that covers the tables, too. */
static int make_room(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	uint64_t end = metadata_end(layout);
	enum qcow2_prealloc how = c->options.preallocation;

	if (qcow2_reserve(c->storage, 0, end,
			  how == QCOW2_PREALLOC_OFF ? how :
						      QCOW2_PREALLOC_FALLOC,
			  c->err) < 0)
		return -1;
	if (layout->data == 0)
		return 0;
	return qcow2_reserve(c->storage, end,
			     layout->total << layout->cluster_bits, how,
			     c->err);
}

static int write_crypto(const struct creation *c)
{
	const struct qcow2_layout *layout = &c->layout;
	const struct luks_area area = {
		.storage = c->storage,
		.offset = crypto_header(layout) << layout->cluster_bits,
		.length = luks_fresh_length(&c->options.luks),
		.unpublished = true,
	};
	struct luks_header header;

	if (!layout->crypto)
		return 0;
	return luks_create(&area, &c->options.luks, c->secret, &header, c->err);
}

static int write_image(const struct creation *c)
{
	if (make_room(c) < 0 || write_header(c) < 0 || write_reftable(c) < 0 ||
	    write_refblocks(c) < 0 || write_l1(c) < 0 || write_crypto(c) < 0)
		return -1;
	return write_l2(c);
}

int qcow2_create(struct storage *storage,
		 const struct gild_create_options *options,
		 struct companion *companion, struct gild_error *err)
{
	struct creation c = {
		.storage = storage,
		.create = options,
		.err = err,
	};

	if (plan(&c) < 0)
		return -1;
	if (c.options.data_file &&
	    qcow2_make_data_file(companion, storage->path, options, &c.options,
				 c.layout.size, err) < 0)
		return -1;
	return write_image(&c);
}
