/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/volume.h"

#include <string.h>

#include "util/bytes.h"

int volume_read(const struct volume *volume, void *buffer, size_t length,
		uint64_t offset, struct gild_error *err)
{
	size_t there = 0;

	if (offset < volume->length)
		there = (size_t)min_u64(length, volume->length - offset);
	memset((char *)buffer + there, 0, length - there);
	if (!there)
		return 0;
	return gild_read(volume->image, buffer, there, volume->start + offset,
			 err);
}
