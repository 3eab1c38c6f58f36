/* SPDX-License-Identifier: BSD-3-Clause */
/* See model.h. */
#include "tests/lib/model.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/error.h"

#define MOST_VERSIONS 64

static void add_version(struct model_sector *sector, const unsigned char *bytes,
			bool current)
{
	for (unsigned i = 0; i < sector->count; i++) {
		if (!memcmp(sector->versions[i].bytes, bytes, SECTOR)) {
			sector->versions[i].current |= current;
			return;
		}
	}
	sector->versions =
		realloc(sector->versions,
			(sector->count + 1) * sizeof(*sector->versions));
	cr_assert_not_null(sector->versions);
	sector->versions[sector->count].current = current;
	memcpy(sector->versions[sector->count++].bytes, bytes, SECTOR);
}

static void add_sectors(struct model *model, uint64_t count)
{
	static const unsigned char zeros[SECTOR];

	if (count <= model->count)
		return;
	model->sectors =
		realloc(model->sectors, count * sizeof(*model->sectors));
	cr_assert_not_null(model->sectors);
	for (uint64_t i = model->count; i < count; i++) {
		model->sectors[i] = (struct model_sector){ 0 };
		add_version(&model->sectors[i], zeros, true);
	}
	model->count = count;
}

struct model *model_new(const void *content, uint64_t length, uint64_t size)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t n;

	cr_assert_not_null(model);
	add_sectors(model, div_round_up(size, SECTOR));
	model->sizes[model->size_count++] = size;
	model->size_choice = 1;
	model->below = malloc(length + 1);
	model->below_length = length;
	cr_assert_not_null(model->below);
	memcpy(model->below, content, length);
	for (uint64_t at = 0; at < length && at < size; at += n) {
		n = min_u64(SECTOR, min_u64(length, size) - at);
		memcpy(model->sectors[at / SECTOR].versions[0].bytes,
		       model->below + at, n);
	}
	return model;
}

static struct model_sector *dup_sectors(const struct model_sector *sectors,
					uint64_t count)
{
	struct model_sector *dup = calloc(count + 1, sizeof(*dup));
	size_t bytes;

	cr_assert_not_null(dup);
	for (uint64_t i = 0; i < count; i++) {
		dup[i] = sectors[i];
		bytes = sectors[i].count * sizeof(*sectors[i].versions);
		dup[i].versions = malloc(bytes);
		cr_assert_not_null(dup[i].versions);
		memcpy(dup[i].versions, sectors[i].versions, bytes);
	}
	return dup;
}

static void free_sectors(struct model_sector *sectors, uint64_t count)
{
	for (uint64_t i = 0; sectors && i < count; i++)
		free(sectors[i].versions);
	free(sectors);
}

static uint64_t saved_count(const struct model *model)
{
	return div_round_up(model->saved_size, SECTOR);
}

struct model *model_dup(const struct model *model)
{
	struct model *dup = malloc(sizeof(*dup));

	cr_assert_not_null(dup);
	*dup = *model;
	dup->sectors = dup_sectors(model->sectors, model->count);
	dup->below = malloc(model->below_length + 1);
	cr_assert_not_null(dup->below);
	memcpy(dup->below, model->below, model->below_length);
	if (model->saved)
		dup->saved = dup_sectors(model->saved, saved_count(model));
	return dup;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	free_sectors(model->sectors, model->count);
	free_sectors(model->saved, saved_count(model));
	free(model->below);
	free(model);
}

static void keep_current(struct model_sector *sector)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < sector->count; i++)
		if (sector->versions[i].current)
			sector->versions[kept++] = sector->versions[i];
	sector->count = kept;
	sector->mixed = false;
}

void model_flushed(struct model *model)
{
	for (uint64_t i = 0; i < model->count; i++)
		keep_current(&model->sectors[i]);
	memmove(model->sizes,
		model->sizes + model->size_count - model->size_choice,
		model->size_choice * sizeof(model->sizes[0]));
	model->size_count = model->size_choice;
}

static bool is_mixture(const struct model_sector *sector,
		       const unsigned char *bytes, size_t length)
{
	bool found = true;

	for (size_t at = 0; at < length && found; at++) {
		found = false;
		for (unsigned i = 0; i < sector->count && !found; i++)
			found = sector->versions[i].bytes[at] == bytes[at];
	}
	return found;
}

static bool sector_allows(const struct model_sector *sector,
			  const unsigned char *bytes, size_t length,
			  bool crashed)
{
	if (crashed && sector->mixed)
		return is_mixture(sector, bytes, length);
	for (unsigned i = 0; i < sector->count; i++)
		if ((crashed || sector->versions[i].current) &&
		    !memcmp(sector->versions[i].bytes, bytes, length))
			return true;
	return false;
}

static bool allows_size(const struct model *model, uint64_t size, bool crashed)
{
	for (unsigned i = crashed ? 0 : model->size_count - model->size_choice;
	     i < model->size_count; i++)
		if (model->sizes[i] == size)
			return true;
	return false;
}

static bool sectors_allow(const struct model_sector *sectors,
			  const unsigned char *disk, uint64_t size,
			  bool crashed, struct gild_error *err)
{
	uint64_t n;

	for (uint64_t at = 0; at < size; at += n) {
		n = min_u64(SECTOR, size - at);
		if (sector_allows(&sectors[at / SECTOR], disk + at, n, crashed))
			continue;
		fail(err, GILD_ERR_CORRUPT, 0,
		     "sector %ju reads %02x %02x %02x ..., none of %u versions",
		     (uintmax_t)(at / SECTOR), disk[at], disk[at + 1],
		     disk[at + 2], sectors[at / SECTOR].count);
		return false;
	}
	return true;
}

bool model_allows(const struct model *model, const unsigned char *disk,
		  uint64_t size, bool crashed, struct gild_error *err)
{
	if (allows_size(model, size, crashed))
		return sectors_allow(model->sectors, disk, size, crashed, err);
	fail(err, GILD_ERR_CORRUPT, 0, "the disk's size is %ju",
	     (uintmax_t)size);
	return false;
}

bool model_allows_saved(const struct model *model, const unsigned char *disk,
			uint64_t size, struct gild_error *err)
{
	if (model->saved && model->saved_size == size)
		return sectors_allow(model->saved, disk, size, false, err);
	fail(err, GILD_ERR_CORRUPT, 0, "the snapshot's size is %ju",
	     (uintmax_t)size);
	return false;
}

void model_adopt(struct model *model, const unsigned char *disk)
{
	uint64_t size = model->sizes[model->size_count - 1];
	struct model_sector *sector;

	for (uint64_t at = 0; at < size; at += SECTOR) {
		sector = &model->sectors[at / SECTOR];
		for (unsigned i = 0; i < sector->count; i++)
			if (memcmp(sector->versions[i].bytes, disk + at,
				   min_u64(SECTOR, size - at)))
				sector->versions[i].current = false;
	}
}

/* --- operations ---------------------------------------------------------- */

void op_fill(unsigned char *buffer, uint64_t offset, uint64_t length,
	     uint32_t seed)
{
	uint64_t word;

	for (uint64_t at = offset; at < offset + length; at++) {
		/* A sector repeats one word, or never repeats. */
		word = (uint64_t)seed << 32 |
		       (seed & 1 ? at / 8 + 1 : at / SECTOR + 1);
		word ^= word >> 29;
		word *= 0xbf58476d1ce4e5b9ULL;
		word ^= word >> 32;
		buffer[at - offset] = (unsigned char)(word >> (at & 7) * 8);
	}
}

static int run_write(struct image *image, const struct op *op,
		     struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = malloc(op->length + 1);

	if (!bytes)
		return fail_nomem(err);
	op_fill(bytes, op->offset, op->length, op->seed);
	if (op->kind == OP_WRITE)
		return image_write(image, bytes, op->length, op->offset, err);
	return gild_write_compressed((struct gild_image *)image, bytes,
				     op->length, op->offset, err);
}

static int run_allocate(struct image *image, const struct op *op,
			struct gild_error *err)
{
	enum gild_preallocation how =
		GILD_PREALLOCATION_METADATA + op->seed % 3;
	uint64_t done;

	for (uint64_t at = 0; at < op->length; at += done)
		if (image_allocate(image, op->offset + at, op->length - at, how,
				   &done, err) < 0)
			return -1;
	return 0;
}

static int run_adopt(struct image *image, const struct op *op,
		     struct gild_error *err)
{
	struct image *view = image->ops->snapshots->view(image, 0, err);
	int ret;

	if (!view)
		return -1;
	ret = image_adopt(image, view, op->offset, op->length, err);
	image_free(view);
	return ret;
}

static int run_marks(struct gild_image *image, enum op_kind kind,
		     struct gild_error *err)
{
	switch (kind) {
	case OP_MARKS_ADD:
		return gild_bitmap_add(image, "n", 0, false, err);
	case OP_MARKS_REMOVE:
		return gild_bitmap_remove(image, "n", err);
	case OP_MARKS_MERGE:
		return gild_bitmap_merge(image, "off", image, "b", err);
	default:
		return gild_bitmap_clear(image, "off", err);
	}
}

static int run_amend(struct image *image, uint32_t kind, struct gild_error *err)
{
	static const struct gild_option options[][3] = {
		[AMEND_V2] = { { "compat", "0.10" },
			       { "refcount_bits", "16" } },
		[AMEND_LAZY] = { { "compat", "1.1" },
				 { "lazy_refcounts", "on" } },
		[AMEND_8_BITS] = { { "compat", "1.1" },
				   { "refcount_bits", "8" } },
		[AMEND_64_BITS] = { { "compat", "1.1" },
				    { "refcount_bits", "64" },
				    { "lazy_refcounts", "off" } },
	};
	const struct gild_amend_options how = {
		.options = options[kind],
		.option_count = options[kind][2].name ? 3 : 2,
	};

	return gild_amend((struct gild_image *)image, &how, NULL, err);
}

int op_run(struct image *image, const struct op *op, struct gild_error *err)
{
	switch (op->kind) {
	case OP_WRITE:
	case OP_COMPRESS:
		return run_write(image, op, err);
	case OP_ZERO:
		return image_zero(image, op->offset, op->length, 0, err);
	case OP_ZERO_UNMAP:
		return image_zero(image, op->offset, op->length,
				  GILD_ZERO_UNMAP, err);
	case OP_DISCARD:
		return image_discard(image, op->offset, op->length, err);
	case OP_ALLOCATE:
		return run_allocate(image, op, err);
	case OP_FLUSH:
		return image_flush(image, false, err);
	case OP_RESIZE:
		return image_resize(image, op->length, err);
	case OP_SNAPSHOT:
		return gild_snapshot_create((struct gild_image *)image, "s",
					    err);
	case OP_APPLY:
		return gild_snapshot_apply((struct gild_image *)image, "s",
					   err);
	case OP_DELETE:
		return gild_snapshot_delete((struct gild_image *)image, "s",
					    err);
	case OP_ADOPT:
		return run_adopt(image, op, err);
	case OP_AMEND:
		return run_amend(image, op->seed, err);
	case OP_EMPTY:
		return image->ops->empty(image, err);
	default:
		return run_marks((struct gild_image *)image, op->kind, err);
	}
}

/* Lay the operation's bytes over each version. What is no longer current may
 * be there all the same after a crash: the new bytes reached the disk, and what
 * the rest of the sector was written with before did not. */
static void overlay(struct model_sector *sector, uint64_t at, uint64_t from,
		    uint64_t to, const struct op *op, bool keep)
{
	unsigned count = sector->count;
	unsigned char bytes[SECTOR];
	bool was[MOST_VERSIONS];

	cr_assert_lt(count, MOST_VERSIONS);
	sector->mixed |= to - from < SECTOR;
	for (unsigned i = 0; i < count; i++)
		was[i] = sector->versions[i].current;
	for (unsigned i = 0; i < count && !keep; i++)
		sector->versions[i].current = false;
	for (unsigned i = 0; i < count; i++) {
		memcpy(bytes, sector->versions[i].bytes, SECTOR);
		if (op->kind == OP_WRITE || op->kind == OP_COMPRESS)
			op_fill(bytes + (from - at), from, to - from, op->seed);
		else
			memset(bytes + (from - at), 0, to - from);
		add_version(sector, bytes, was[i]);
	}
}

static void note_size(struct model *model, uint64_t size, bool failed)
{
	uint64_t old = model->sizes[model->size_count - 1];

	cr_assert_lt(model->size_count, 14);
	model->sizes[model->size_count++] = size;
	model->size_choice = 1;
	if (!failed)
		return;
	model->sizes[model->size_count++] = old;
	model->size_choice = 2;
}

/* What is beyond either end is zeros, if it ever comes back. */
static void note_resize(struct model *model, const struct op *op, bool failed)
{
	uint64_t old = model->sizes[model->size_count - 1];
	struct op zero = { OP_ZERO, min_u64(old, op->length), 0, 0 };

	add_sectors(model, div_round_up(op->length, SECTOR));
	zero.length = max_u64(old, op->length) - zero.offset;
	op_note(model, &zero, failed);
	note_size(model, op->length, failed);
}

static void note_snapshot(struct model *model, bool failed)
{
	uint64_t size = model->sizes[model->size_count - 1];

	if (failed)
		return;
	free_sectors(model->saved, saved_count(model));
	model->saved = dup_sectors(model->sectors, div_round_up(size, SECTOR));
	model->saved_size = size;
}

/* The disk may read as that, and unless failed must. */
static void become(struct model_sector *sector, const struct model_sector *that,
		   bool failed)
{
	for (unsigned i = 0; i < sector->count && !failed; i++)
		sector->versions[i].current = false;
	for (unsigned i = 0; i < that->count; i++)
		if (that->versions[i].current)
			add_version(sector, that->versions[i].bytes, true);
}

static void note_apply(struct model *model, bool failed)
{
	for (uint64_t i = 0; i < saved_count(model); i++)
		become(&model->sectors[i], &model->saved[i], failed);
	note_size(model, model->saved_size, failed);
}

static void note_adopt(struct model *model, const struct op *op, bool failed)
{
	uint64_t end = min_u64(op->offset + op->length, model->saved_size);

	for (uint64_t i = op->offset / SECTOR; i < end / SECTOR; i++)
		become(&model->sectors[i], &model->saved[i], failed);
}

static void note_empty(struct model *model, bool failed)
{
	uint64_t size = model->sizes[model->size_count - 1];
	struct model *empty =
		model_new(model->below, model->below_length, size);

	for (uint64_t i = 0; i < empty->count; i++)
		become(&model->sectors[i], &empty->sectors[i], failed);
	model_free(empty);
}

static void note_bytes(struct model *model, const struct op *op, bool failed)
{
	bool keep = failed || op->kind == OP_DISCARD;
	uint64_t end = op->offset + op->length, at;

	for (at = round_down(op->offset, SECTOR); at < end; at += SECTOR)
		overlay(&model->sectors[at / SECTOR], at,
			max_u64(at, op->offset), min_u64(at + SECTOR, end), op,
			keep);
}

void op_note(struct model *model, const struct op *op, bool failed)
{
	switch (op->kind) {
	case OP_ALLOCATE:
	case OP_FLUSH:
	case OP_DELETE:
	case OP_MARKS_ADD:
	case OP_MARKS_REMOVE:
	case OP_MARKS_MERGE:
	case OP_MARKS_CLEAR:
	case OP_AMEND:
		break;
	case OP_RESIZE:
		note_resize(model, op, failed);
		break;
	case OP_SNAPSHOT:
		note_snapshot(model, failed);
		break;
	case OP_APPLY:
		note_apply(model, failed);
		break;
	case OP_EMPTY:
		note_empty(model, failed);
		break;
	case OP_ADOPT:
		note_adopt(model, op, failed);
		break;
	default:
		note_bytes(model, op, failed);
	}
}

const char *op_text(const struct op *op)
{
	static const char *const names[OP_KINDS] = {
		"write",    "compress", "zero",	  "unmap",    "discard",
		"allocate", "flush",	"resize", "snapshot", "apply",
		"delete",   "empty",	"adopt",  "amend",    "add",
		"remove",   "merge",	"clear",
	};
	static char text[100];

	snprintf(text, sizeof(text), "%s %ju+%ju (%u)", names[op->kind],
		 (uintmax_t)op->offset, (uintmax_t)op->length, op->seed);
	return text;
}
