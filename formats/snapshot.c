/* SPDX-License-Identifier: BSD-3-Clause */
/* Internal snapshots, for every format that has them. */
#include <string.h>
#include <time.h>

#include "formats/image.h"

static int change(struct gild_image *handle, enum snapshot_change what,
		  const struct gild_snapshot *wanted, struct gild_error *err)
{
	struct image *image = image_of(handle);

	if (!image->ops->snapshot)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has no snapshots", image->path,
			    image->ops->name);
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (image->ops->snapshot(image, what, wanted, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

/* An offline snapshot: no VM state, clocks at zero. */
static struct gild_snapshot named(char *name)
{
	return (struct gild_snapshot){ .name = name, .has_icount = true };
}

int gild_snapshot_create(struct gild_image *image, const char *name,
			 struct gild_error *err)
{
	struct gild_snapshot wanted = named((char *)(uintptr_t)name);
	struct timespec now;

	if (strlen(name) > UINT16_MAX || !*name)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a snapshot's name has 1 to 65535 bytes");
	clock_gettime(CLOCK_REALTIME, &now);
	wanted.date_sec = (uint32_t)now.tv_sec;
	wanted.date_nsec = (uint32_t)now.tv_nsec;
	return change(image, SNAPSHOT_CREATE, &wanted, err);
}

int gild_snapshot_apply(struct gild_image *image, const char *id_or_name,
			struct gild_error *err)
{
	struct gild_snapshot wanted = named((char *)(uintptr_t)id_or_name);

	return change(image, SNAPSHOT_APPLY, &wanted, err);
}

int gild_snapshot_delete(struct gild_image *image, const char *id_or_name,
			 struct gild_error *err)
{
	struct gild_snapshot wanted = named((char *)(uintptr_t)id_or_name);

	return change(image, SNAPSHOT_DELETE, &wanted, err);
}
