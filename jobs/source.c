/* SPDX-License-Identifier: BSD-3-Clause */
/* Several images as one disk; see source.h. */
#include "jobs/source.h"

#include <sys/stat.h>

#include "util/bytes.h"

int source_init(struct source *source, struct gild_image *const *images,
		size_t count, struct gild_error *err)
{
	uint64_t size;

	*source = (struct source){ .images = images, .count = count };
	for (size_t i = 0; i < count; i++) {
		size = gild_size(images[i]);
		if (size > INT64_MAX - source->size)
			return fail(err, GILD_ERR_RANGE, 0,
				    "the sources together are too large");
		source->size += size;
	}
	return 0;
}

int source_cut(struct source *source, uint64_t start, uint64_t length,
	       struct gild_error *err)
{
	if (!range_within(start, length, source->size))
		return fail(err, GILD_ERR_RANGE, 0,
			    "%llu bytes at %llu lie beyond the end of the "
			    "source (%llu)",
			    (unsigned long long)length,
			    (unsigned long long)start,
			    (unsigned long long)source->size);
	source->start = start;
	source->size = length;
	return 0;
}

struct image *source_find(const struct source *source, uint64_t offset,
			  uint64_t *inside)
{
	size_t i = 0;

	offset += source->start;
	while (i + 1 < source->count && offset >= gild_size(source->images[i]))
		offset -= gild_size(source->images[i++]);
	*inside = offset;
	return image_of(source->images[i]);
}

int source_map(const struct source *source, uint64_t offset, uint64_t length,
	       struct extent *extent, struct image **layer, struct image **top,
	       struct gild_error *err)
{
	uint64_t inside;

	*top = source_find(source, offset, &inside);
	length = min_u64(length, (*top)->size - inside);
	return chain_map_deep(*top, inside, length, extent, layer, err);
}

int source_read(const struct source *source, void *buffer, uint64_t length,
		uint64_t offset, struct gild_error *err)
{
	unsigned char *at = buffer;
	struct image *image;
	uint64_t inside, n;

	for (; length; length -= n, offset += n, at += n) {
		image = source_find(source, offset, &inside);
		n = min_u64(length, image->size - inside);
		if (image_read(image, at, n, inside, err) < 0)
			return -1;
	}
	return 0;
}

static bool is_file(struct storage *storage, const struct stat *file)
{
	int fd = storage_descriptor(storage);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	if (S_ISBLK(st.st_mode) && S_ISBLK(file->st_mode))
		return st.st_rdev == file->st_rdev;
	return st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

bool source_uses(const struct source *source, int fd)
{
	struct stat file;

	if (fstat(fd, &file))
		return false;
	for (size_t i = 0; i < source->count; i++)
		for (struct image *image = image_of(source->images[i]); image;
		     image = image->backing)
			if (is_file(image->storage, &file) ||
			    (image->ops->data_storage &&
			     is_file(image->ops->data_storage(image), &file)))
				return true;
	return false;
}
