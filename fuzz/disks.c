/* SPDX-License-Identifier: BSD-3-Clause */
/* See disks.h. */
#include "fuzz/disks.h"

#include <stdlib.h>
#include <string.h>

static void read_disk(struct disks *disks, unsigned n, struct image *image)
{
	disks->length[n] = image->size;
	if (image->size > DISK_MAX)
		return;
	disks->bytes[n] = malloc(image->size + 1);
	if (!disks->bytes[n])
		abort();
	if (image_read(image, disks->bytes[n], image->size, 0, NULL) == 0)
		return;
	free(disks->bytes[n]);
	disks->bytes[n] = NULL;
}

void disks_read(struct disks *disks, struct image *image)
{
	struct image *view;

	*disks = (struct disks){ { NULL }, { 0 } };
	read_disk(disks, 0, image);
	for (unsigned n = 1; n < DISKS; n++) {
		view = image->ops->snapshots->view(image, n - 1, NULL);
		if (view)
			read_disk(disks, n, view);
		image_free(view);
	}
}

void disks_free(struct disks *disks)
{
	for (unsigned n = 0; n < DISKS; n++)
		free(disks->bytes[n]);
}

bool disks_keep(const struct disks *before, unsigned m, const struct disks *now,
		unsigned n)
{
	if (now->length[n] < before->length[m])
		return false;
	if (!before->bytes[m] || now->length[n] > DISK_MAX)
		return true;
	return now->bytes[n] &&
	       !memcmp(now->bytes[n], before->bytes[m], before->length[m]);
}
