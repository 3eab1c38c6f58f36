/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a qcow2 image whose snapshots are taken, applied and deleted, as
 * the input's last bytes say, between writes and other sizes of the disk. An
 * image that was sound must be sound afterwards, and each disk must hold what
 * it should. Nothing may crash, or use more memory than the caps allow.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/disks.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

enum {
	CHANGES = 8,
	KINDS = 7,
};

enum change {
	WRITE,
	ZERO,
	RESIZE,
	FLUSH,
	CREATE,
	APPLY,
	DELETE
};

/* An image, and whether what it holds can be relied upon. */
struct subject {
	struct image *image;
	bool sound;
	struct disks before, after;
	unsigned count; /* of its snapshots, at first */
};

static struct gild_image *handle_of(const struct subject *subject)
{
	return (struct gild_image *)subject->image;
}

/* --- what must have become of the disks ----------------------------------- */

static void must_keep(const struct subject *s, unsigned old, unsigned new)
{
	if (s->sound && old < DISKS && new < DISKS &&
	    (!disks_keep(&s->before, old, &s->after, new) ||
	     s->before.length[old] != s->after.length[new]))
		__builtin_trap();
}

static void judge_create(const struct subject *s)
{
	for (unsigned n = 0; n <= s->count; n++)
		must_keep(s, n, n);
	must_keep(s, 0, s->count + 1);
}

static void judge_apply(const struct subject *s, unsigned which)
{
	for (unsigned n = 1; n <= s->count; n++)
		must_keep(s, n, n);
	must_keep(s, which, 0);
}

static void judge_delete(const struct subject *s, unsigned which)
{
	for (unsigned n = 0; n <= s->count; n++)
		if (n != which)
			must_keep(s, n, n > which ? n - 1 : n);
}

/* --- changes -------------------------------------------------------------- */

/* Does something earlier answer to that id? Then it is that one's. */
static bool is_hidden(const struct gild_info *info, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (!strcmp(info->snapshots[i].id, info->snapshots[index].id))
			return true;
	return false;
}

static void change_snapshot(struct subject *s, enum change what, const char *id,
			    unsigned which)
{
	struct gild_image *image = handle_of(s);
	int ret;

	disks_read(&s->before, s->image);
	if (what == CREATE)
		ret = gild_snapshot_create(image, "new", NULL);
	else if (what == APPLY)
		ret = gild_snapshot_apply(image, id, NULL);
	else
		ret = gild_snapshot_delete(image, id, NULL);
	disks_read(&s->after, s->image);
	if (ret == 0 && what == CREATE)
		judge_create(s);
	else if (ret == 0 && what == APPLY)
		judge_apply(s, which);
	else if (ret == 0)
		judge_delete(s, which);
	disks_free(&s->before);
	disks_free(&s->after);
}

static void change_one(struct subject *s, enum change what, uint8_t choice)
{
	struct gild_info *info = gild_info(handle_of(s), NULL);
	size_t index;

	if (!info)
		return;
	s->count = (unsigned)min_u64(info->snapshot_count, 1000);
	index = s->count ? choice / KINDS % s->count : 0;
	if (what == CREATE)
		change_snapshot(s, what, NULL, 0);
	else if (s->count && !is_hidden(info, index))
		change_snapshot(s, what, info->snapshots[index].id,
				(unsigned)index + 1);
	gild_info_free(info);
}

static void change_disk(struct image *image, enum change what, uint8_t choice)
{
	static const unsigned char buffer[3000] = { 0x5a };
	uint64_t at, size = image->size;

	if (what == RESIZE) {
		size = choice & 1 ? size / 2 : size + ((uint64_t)choice << 12);
		image_resize(image, round_up(size, 512), NULL);
	} else if (what == FLUSH) {
		image_flush(image, choice & 64, NULL);
	} else if (size) {
		at = ((uint64_t)choice << 11) % size;
		size = min_u64(size - at, sizeof(buffer));
		if (what == WRITE)
			image_write(image, buffer, size, at, NULL);
		else
			image_zero(image, at, size,
				   choice & 64 ? GILD_ZERO_UNMAP : 0, NULL);
	}
}

static void change_all(struct subject *s, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < CHANGES && i < size; i++) {
		uint8_t choice = data[size - 1 - i];
		enum change what = choice % KINDS;

		if (what >= CREATE)
			change_one(s, what, choice);
		else
			change_disk(s->image, what, choice);
	}
}

/* What was closed properly opens and is sound. */
static void judge(struct storage *storage)
{
	struct image *image = memory_open(storage, 0, NULL);

	if (!image || !memory_is_sound(image, 0, true))
		__builtin_trap();
	image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct subject subject = { .count = 0 };

	fuzz_accepted = false;
	if (size > FUZZ_MAX_INPUT)
		return 0;
	subject.image =
		memory_open(memory_new(data, size), GILD_OPEN_WRITE, NULL);
	if (!subject.image)
		return 0;
	fuzz_accepted = true;
	subject.sound = memory_is_sound(subject.image, 0, false);
	change_all(&subject, data, size);
	if (image_flush(subject.image, true, NULL) == 0 && subject.sound)
		judge(memory_copy(subject.image->storage));
	image_free(subject.image);
	return 0;
}
