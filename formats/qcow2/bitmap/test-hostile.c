/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmap directories and tables that make no sense. The disk can be read and
 * written all the same; a bitmap that cannot be kept up to date says so
 * afterwards, and nobody vouches for a directory that cannot be read.
 */
#include "formats/qcow2/bitmap/test-bitmap.h"

#define SIZE (256ULL << 10)

TestSuite(qcow2_bitmap_hostile, .init = folder_enter, .fini = folder_leave,
	  .timeout = 200);

/* Where things are in the file. */
struct places {
	uint64_t directory; /* entries of 32 bytes: "b", enabled; "c", "d" */
	uint64_t table;	    /* of b: one entry */
	uint64_t l1, l2, data;
};

static struct bytes start(struct places *places)
{
	struct bytes bytes = new_bytes("cluster_size=4k", SIZE);
	struct image *image = open_good(&bytes, GILD_OPEN_WRITE);
	struct gild_image *handle = handle_of(image);
	struct qcow2 *q = qcow2_of(image);
	char block[4096] = "data";

	free(bytes.data);
	OK(gild_bitmap_add(handle, "b", 4096, false, &err));
	OK(gild_bitmap_add(handle, "c", 4096, false, &err));
	OK(gild_bitmap_add(handle, "d", 4096, true, &err));
	OK(gild_write(handle, block, sizeof(block), 0, &err));
	OK(image_flush(image, true, &err));
	places->directory = q->header.bitmap_directory_offset;
	places->table = q->bitmaps->list[0].table_offset;
	places->l1 = q->header.l1_offset;
	places->l2 = q->l1.entries[0] & QCOW2_OFFSET_MASK;
	bytes = bytes_of(image->storage);
	places->data = load_be64(bytes.data + places->l2) & QCOW2_OFFSET_MASK;
	image_free(image);
	return bytes;
}

enum where {
	DIRECTORY,
	TABLE,
};

enum outcome {
	MARKED,	 /* b is in use, c goes on */
	DROPPED, /* nobody vouches for any of them */
};

static const struct row {
	const char *name;
	enum where where;
	unsigned offset, length;
	uint64_t value; /* big-endian, in length bytes */
	enum outcome outcome;
	enum gild_error_kind kind; /* when it is to be cleared */
	const char *message;
} rows[] = {
	{ "table in the header", DIRECTORY, 0, 8, 0, MARKED, GILD_ERR_CORRUPT,
	  "none can be" },
	{ "table not aligned", DIRECTORY, 0, 8, 512, MARKED, GILD_ERR_CORRUPT,
	  "none can be" },
	{ "table far away", DIRECTORY, 0, 8, 1ULL << 40, MARKED,
	  GILD_ERR_CORRUPT, "none can be" },
	{ "table at the end of numbers", DIRECTORY, 0, 8, 0xfffffffffffff000ULL,
	  MARKED, GILD_ERR_CORRUPT, "none can be" },
	{ "table without entries", DIRECTORY, 8, 4, 0, MARKED, GILD_ERR_CORRUPT,
	  "another size" },
	{ "table too long", DIRECTORY, 8, 4, 2, MARKED, GILD_ERR_CORRUPT,
	  "another size" },
	{ "table much too long", DIRECTORY, 8, 4, 0xffffffff, MARKED,
	  GILD_ERR_CORRUPT, "another size" },
	{ "unknown flags", DIRECTORY, 12, 4, 10, DROPPED, GILD_ERR_CORRUPT,
	  "unknown flags" },
	{ "unknown type", DIRECTORY, 16, 1, 2, MARKED, GILD_ERR_UNSUPPORTED,
	  "unknown type" },
	{ "fine granularity", DIRECTORY, 17, 1, 8, MARKED, GILD_ERR_UNSUPPORTED,
	  "granularity" },
	{ "coarse granularity", DIRECTORY, 17, 1, 32, MARKED,
	  GILD_ERR_UNSUPPORTED, "granularity" },
	{ "absurd granularity", DIRECTORY, 17, 1, 63, MARKED,
	  GILD_ERR_UNSUPPORTED, "granularity" },
	{ "impossible granularity", DIRECTORY, 17, 1, 64, DROPPED,
	  GILD_ERR_CORRUPT, "granularity" },
	{ "no name", DIRECTORY, 18, 2, 0, DROPPED, GILD_ERR_CORRUPT,
	  "impossible name" },
	{ "endless name", DIRECTORY, 18, 2, 0xffff, DROPPED, GILD_ERR_CORRUPT,
	  "impossible name" },
	{ "long name", DIRECTORY, 18, 2, 200, DROPPED, GILD_ERR_CORRUPT,
	  "cut short" },
	{ "zero in the name", DIRECTORY, 24, 1, 0, DROPPED, GILD_ERR_CORRUPT,
	  "zero byte" },
	{ "endless extra data", DIRECTORY, 20, 4, 0xffffffff, DROPPED,
	  GILD_ERR_CORRUPT, "cut short" },
	{ "swallowed entry", DIRECTORY, 20, 4, 32, DROPPED, GILD_ERR_CORRUPT,
	  "cut short" },
	{ "reserved bit", TABLE, 7, 1, 2, MARKED, GILD_ERR_CORRUPT,
	  "leads nowhere" },
	{ "high reserved bit", TABLE, 0, 1, 1, MARKED, GILD_ERR_CORRUPT,
	  "leads nowhere" },
	{ "offset and all ones", TABLE, 7, 1, 1, MARKED, GILD_ERR_CORRUPT,
	  "leads nowhere" },
	{ "offset not aligned", TABLE, 6, 1, 2, MARKED, GILD_ERR_CORRUPT,
	  "leads nowhere" },
	{ "offset far away", TABLE, 2, 1, 1, MARKED, GILD_ERR_CORRUPT,
	  "leads nowhere" },
};

static void poke(const struct bytes *bytes, uint64_t offset, uint64_t value,
		 unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		bytes->data[offset + i] =
			(unsigned char)(value >> 8 * (length - 1 - i));
}

static struct bytes broken(const struct row *row, struct places *places)
{
	struct bytes bytes = start(places);

	poke(&bytes,
	     (row->where == TABLE ? places->table : places->directory) +
		     row->offset,
	     row->value, row->length);
	return bytes;
}

/* The disk takes a write; what remains of the bitmaps is right. */
static struct bytes write_on(const char *name, const struct bytes *bytes)
{
	struct image *image = open_good(bytes, GILD_OPEN_WRITE);
	char block[4096] = "more", back[4096];
	struct bytes after;
	uint64_t size;
	unsigned char *content;

	OK(gild_write(handle_of(image), block, sizeof(block), 8192, &err));
	OK(gild_read(handle_of(image), back, sizeof(back), 8192, &err));
	cr_assert_eq(memcmp(block, back, sizeof(block)), 0, "%s", name);
	after = close_bytes(image);
	content = content_of(&after, &size);
	cr_assert_str_eq((char *)content, "data", "%s", name);
	cr_assert_str_eq((char *)content + 8192, "more", "%s", name);
	free(content);
	return after;
}

static void expect_outcome(const char *name, const struct bytes *bytes,
			   enum outcome outcome)
{
	struct bytes after = write_on(name, bytes);
	char *text = text_of(&after), *at = strchr(text, '\n');

	if (outcome == DROPPED)
		cr_assert_str_eq(text, "", "%s: %s", name, text);
	else
		cr_assert(at && !strncmp(at - 6, "in use", 6) &&
				  !strcmp(at, "\nc a 4096: 0-4096 8192-12288\n"
					      "d - 4096:\n"),
			  "%s:\n%s", name, text);
	free(text);
	free(after.data);
}

static void expect_refused(const struct row *row, const struct bytes *bytes)
{
	struct image *image = open_good(bytes, GILD_OPEN_WRITE);
	struct gild_error err = { 0 };

	cr_assert_eq(gild_bitmap_clear(handle_of(image), "b", &err), -1, "%s",
		     row->name);
	cr_expect_eq(err.kind, row->kind, "%s: %s", row->name, err.message);
	cr_expect_not_null(strstr(err.message, row->message), "%s: %s",
			   row->name, err.message);
	image_free(image);
}

/* Where it can be told from the others it can be removed. */
static void expect_removed(const struct row *row, const struct bytes *bytes)
{
	struct image *image = open_good(bytes, GILD_OPEN_WRITE);
	struct bytes after;

	OK(gild_bitmap_remove(handle_of(image), "b", &err));
	after = close_bytes(image);
	expect_text(&after, "c a 4096: 0-4096\nd - 4096:\n");
	cr_assert_eq(check_bytes(&after).corruptions, 0, "%s", row->name);
	free(after.data);
}

Test(qcow2_bitmap_hostile, known_kinds_of_damage)
{
	for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
		struct places places;
		struct bytes bytes = broken(&rows[i], &places);

		expect_outcome(rows[i].name, &bytes, rows[i].outcome);
		expect_refused(&rows[i], &bytes);
		if (rows[i].outcome == MARKED)
			expect_removed(&rows[i], &bytes);
		free(bytes.data);
	}
}

/* A table or its clusters where other metadata are: nothing is written there,
 * and nothing of it is freed. */
Test(qcow2_bitmap_hostile, over_other_metadata)
{
	struct places places;
	struct bytes bytes = start(&places), other;

	for (unsigned i = 0; i < 4; i++) {
		const uint64_t over[] = { places.l1, places.l2,
					  places.directory, places.table };
		uint64_t offset = over[i];

		if (offset == places.table)
			poke(&bytes, places.table, offset, 8);
		else
			poke(&bytes, places.directory, offset, 8);
		expect_outcome("table over metadata", &bytes, MARKED);
		expect_removed(&(struct row){ .name = "over" }, &bytes);
		free(bytes.data);
		bytes = start(&places);
		poke(&bytes, places.table, offset, 8);
		expect_outcome("bits over metadata", &bytes, MARKED);
		expect_removed(&(struct row){ .name = "over" }, &bytes);
		free(bytes.data);
		bytes = start(&places);
	}
	/* Two bitmaps with one table: the second one is astray. */
	poke(&bytes, places.directory + 32, places.table, 8);
	other = write_on("shared table", &bytes);
	expect_text(&other, "b a 4096: 0-4096 8192-12288\n"
			    "c a 4096: in use\nd - 4096:\n");
	free(bytes.data);
	free(other.data);
}

Test(qcow2_bitmap_hostile, directory_over_other_metadata)
{
	struct places places;
	struct bytes bytes = start(&places), moved;
	struct gild_error err = { 0 };
	struct image *image;

	/* A directory that is an L2 table at the same time. */
	moved = bytes;
	memcpy(moved.data + places.l2 + 1024, moved.data + places.directory,
	       96);
	for (uint64_t at = 0; at + 8 < 4096; at += 8)
		if (load_be64(moved.data + at) == places.directory)
			poke(&moved, at, places.l1, 8);
	memcpy(moved.data + places.l1 + 1024, moved.data + places.directory,
	       96);
	image = open_bytes(&moved, GILD_OPEN_WRITE, &err);
	cr_assert_not_null(image, "%s", err.message);
	/* The entries that it has do not make a directory, or lie over it. */
	cr_assert_eq(gild_bitmap_clear(handle_of(image), "b", &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT, "%s", err.message);
	image_free(image);
	expect_outcome("directory is L1 table", &moved, DROPPED);
	free(bytes.data);
}

/* What the entries claim is no more than the file has. */
Test(qcow2_bitmap_hostile, more_bits_than_the_file_has)
{
	struct bytes bytes = new_bytes("cluster_size=4k", 1ULL << 30), after;
	struct image *image = open_good(&bytes, GILD_OPEN_WRITE);
	struct gild_image *handle = handle_of(image);
	struct qcow2 *q = qcow2_of(image);
	char block[512] = "data";
	uint64_t table, entry;

	free(bytes.data);
	OK(gild_bitmap_add(handle, "b", 512, false, &err));
	OK(gild_write(handle, block, sizeof(block), 0, &err));
	OK(image_flush(image, true, &err));
	table = q->bitmaps->list[0].table_offset;
	cr_assert_eq(q->bitmaps->list[0].table_entries, 64);
	bytes = bytes_of(image->storage);
	image_free(image);
	/* One cluster of bits 64 times over is more than there is. */
	cr_assert_lt(bytes.length, 64 * 4096);
	entry = load_be64(bytes.data + table);
	cr_assert_neq(entry, 0);
	for (unsigned i = 0; i < 64; i++)
		poke(&bytes, table + i * 8, entry, 8);
	image = open_good(&bytes, GILD_OPEN_WRITE);
	OK(gild_write(handle_of(image), block, sizeof(block), 8192, &err));
	after = close_bytes(image);
	expect_text(&after, "b a 512: in use\n");
	free(bytes.data);
	free(after.data);
}

/* --- much that costs little ---------------------------------------------- */

static struct gild_image *open_sparse(unsigned flags)
{
	const struct gild_open_options options = { .format = "qcow2",
						   .flags = flags };
	struct gild_error err = { 0 };
	struct gild_image *image = gild_open("sparse", &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

/* 2 TiB, and count bitmaps of 512 MiB each. */
static void make_sparse(unsigned count)
{
	struct gild_option option = { "cluster_size", "2M" };
	const struct gild_create_options create = {
		.format = "qcow2",
		.size = 2ULL << 40,
		.options = &option,
		.option_count = 1,
	};
	struct gild_image *image;
	char name[2] = "a";

	OK(gild_create("sparse", &create, &err));
	image = open_sparse(GILD_OPEN_WRITE);
	for (; count; count--, name[0]++)
		OK(gild_bitmap_add(image, name, 512, false, &err));
	OK(gild_close(image, &err));
}

/* All clusters of its bits are there, and holes: they begin at offset. */
static void fill_table(uint64_t table, uint64_t offset)
{
	unsigned char entries[256 * 8];
	FILE *file = fopen("sparse", "r+");

	for (uint64_t i = 0; i < 256; i++)
		store_be64(entries + i * 8, offset + (i << 21));
	cr_assert_not_null(file);
	cr_assert_eq(fseek(file, (long)table, SEEK_SET), 0);
	cr_assert_eq(fwrite(entries, sizeof(entries), 1, file), 1);
	cr_assert_eq(fclose(file), 0);
}

/* An image that takes no space can claim much memory: not more than the
 * bound. What is not enabled does not count. */
Test(qcow2_bitmap_hostile, more_bits_than_memory)
{
	struct gild_image *image;
	struct qcow2_bitmaps bitmaps;
	char byte = 1;

	make_sparse(3);
	image = open_sparse(0);
	OK(qcow2_bitmaps_read(qcow2_of(image_of(image)), &bitmaps, &err));
	for (unsigned i = 0; i < 3; i++)
		fill_table(bitmaps.list[i].table_offset, (1ULL + i) << 30);
	OK(gild_close(image, &err));
	cr_assert_eq(truncate("sparse", 4LL << 30), 0);
	image = open_sparse(GILD_OPEN_WRITE);
	REFUSED(GILD_ERR_RANGE, "1 GiB", gild_write(image, &byte, 1, 0, &err));
	OK(gild_bitmap_disable(image, "a", &err));
	OK(gild_bitmap_disable(image, "b", &err));
	OK(gild_write(image, &byte, 1, 0, &err));
	OK(gild_close(image, &err));
	qcow2_bitmaps_free(&bitmaps);
}

/* Tables are remembered, so that nothing is written over them; not those that
 * would take much memory. */
Test(qcow2_bitmap_hostile, larger_tables_than_all_may_have)
{
	struct places places;
	struct bytes bytes = start(&places);
	struct image *image;
	struct qcow2 *q;

	poke(&bytes, places.directory, 1 << 20, 8);
	poke(&bytes, places.directory + 8, (64 << 20) / 8 + 1, 4);
	bytes.data = realloc(bytes.data, 80 << 20);
	cr_assert_not_null(bytes.data);
	memset(bytes.data + bytes.length, 0, (80 << 20) - bytes.length);
	bytes.length = 80 << 20;
	image = open_good(&bytes, GILD_OPEN_WRITE);
	q = qcow2_of(image);
	OK(gild_bitmap_remove(handle_of(image), "d", &err));
	cr_expect(q->bitmaps->list[0].astray);
	cr_expect_not(q->bitmaps->list[1].astray);
	cr_expect_lt(q->guard.count, 20);
	OK(gild_bitmap_remove(handle_of(image), "b", &err));
	OK(image_flush(image, true, &err));
	image_free(image);
	free(bytes.data);
}

/* Finer than any bitmap may be: not kept up to date, and not in silence. */
Test(qcow2_bitmap_hostile, more_bits_than_a_bitmap_has)
{
	struct gild_image *image;
	char byte = 1;

	make_sparse(0);
	image = open_sparse(GILD_OPEN_WRITE);
	OK(gild_resize(image, 1ULL << 50, &err));
	OK(gild_bitmap_add(image, "a", 1 << 20, false, &err));
	qcow2_of(image_of(image))->bitmaps->list[0].granularity_bits = 9;
	OK(qcow2_bitmaps_write_flags(qcow2_of(image_of(image)), &err));
	OK(gild_close(image, &err));
	image = open_sparse(GILD_OPEN_WRITE);
	REFUSED(GILD_ERR_RANGE, "512 MiB",
		gild_write(image, &byte, 1, 0, &err));
	OK(gild_bitmap_remove(image, "a", &err));
	OK(gild_write(image, &byte, 1, 0, &err));
	OK(gild_close(image, &err));
}

/* Extra data that does not get in the way stays as it is; other keeps the
 * bitmap from being used. */
Test(qcow2_bitmap_hostile, extra_data)
{
	for (unsigned compatible = 0; compatible < 2; compatible++) {
		struct places places;
		struct bytes bytes = start(&places), after;
		unsigned char *entry = bytes.data + places.directory;
		unsigned char *found;

		/* b gets extra data, c and d go: 24 + 8 + 1 + 7 bytes. */
		memmove(entry + 32, "b\0\0\0\0\0\0", 8);
		memcpy(entry + 24, "EXTRA!!!", 8);
		poke(&bytes, places.directory + 20, 8, 4);
		poke(&bytes, places.directory + 12, compatible ? 6 : 2, 4);
		for (uint64_t at = 0; at + 24 < 4096; at += 8)
			if (load_be64(bytes.data + at) == places.directory) {
				poke(&bytes, at - 8, 40, 8);
				poke(&bytes, at - 16, 1, 4);
			}
		after = write_on("extra data", &bytes);
		expect_text(&after, compatible ?
					    "b a 4096: 0-4096 8192-12288\n" :
					    "b a 4096: in use\n");
		found = memmem(after.data, after.length, "EXTRA!!!b", 9);
		cr_assert_not_null(found);
		free(bytes.data);
		free(after.data);
	}
}

static uint64_t below(uint64_t limit)
{
	return (uint64_t)rand() % limit;
}

/* Whatever stands there: no crash, and no corrupt reference counts where the
 * image was sound to begin with but for the bitmaps. */
Test(qcow2_bitmap_hostile, random_damage)
{
	for (unsigned seed = 1; seed <= 400; seed++) {
		struct places places;
		struct bytes bytes = start(&places);
		struct image *image;
		char block[600] = "more";
		uint64_t at;

		srand(seed);
		at = seed % 2 ? places.directory : places.table;
		for (unsigned i = 0; i < 1 + seed % 3; i++)
			bytes.data[at + below(seed % 2 ? 96 : 8)] =
				(unsigned char)rand();
		image = open_bytes(&bytes, GILD_OPEN_WRITE, NULL);
		cr_assert_not_null(image);
		gild_bitmap_merge(handle_of(image), "c", handle_of(image), "b",
				  NULL);
		OK(gild_write(handle_of(image), block, sizeof(block), 5000,
			      &err));
		gild_bitmap_remove(handle_of(image), "b", NULL);
		gild_resize(handle_of(image), 2 * SIZE, NULL);
		gild_bitmap_add(handle_of(image), "e", 0, false, NULL);
		OK(gild_write(handle_of(image), block, sizeof(block), 90000,
			      &err));
		OK(image_flush(image, true, &err));
		image_free(image);
		free(bytes.data);
	}
}
