/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mount that shows an image:
 *
 *     disk                  the disk, as a raw file
 *     partitions/1 ...      its partitions; by-label/, by-uuid/, by-partlabel/
 *                           and by-partuuid/ lead to them
 *     snapshots/NAME/       each internal snapshot: its disk and partitions
 *     chain/1/ ...          each image below: the same of what it holds
 *     info.json             what the image is
 *
 * The one header of fuse/ that tools/ may include.
 */
#ifndef FUSE_MOUNT_H
#define FUSE_MOUNT_H

#include "gild.h"

struct mount_request {
	/* Open the image; NULL and an error where that fails. Called in the
	 * process that serves the mount. */
	struct gild_image *(*open)(void *opaque, struct gild_error *err);
	/* The text of info.json, a JSON object that is not empty. The caller
	 * frees it; NULL and an error. */
	char *(*describe)(struct gild_image *image, struct gild_error *err);
	void *opaque;
	/* How it is opened, for the snapshots and the images below. */
	const struct gild_open_options *options;
	const char *folder;
	bool writable;
	bool resizable; /* the disk may shrink */
	bool allow_other;
	bool foreground;
};

/*
 * Mount it, and serve until it is unmounted or a signal ends that. Unless in
 * the foreground, returns in the calling process once the mount is there, and
 * the work is done by another one. What fails later is told to report (on
 * standard error in the foreground, else in the system's log).
 */
int mount_serve(const struct mount_request *request, struct gild_error *err);

/*
 * End a mount of this process's user: what was written is on stable storage,
 * the image is free when this returns. Refused while something in there is in
 * use.
 */
int mount_end(const char *folder, struct gild_error *err);

#endif
