/* SPDX-License-Identifier: BSD-3-Clause */
/* The steps of making an image, for those that then go on to fill it. */
#ifndef FORMATS_CREATE_H
#define FORMATS_CREATE_H

#include <fcntl.h>

#include "formats/image.h"
#include "storage/newfile.h"

/* Judge the options, and ask the backing file for the size. path: of the
 * image, against which a relative backing name is resolved. */
int create_prepare(const char *path, const struct format_ops *ops,
		   struct gild_create_options *options, struct gild_error *err);

/* Id of the secret for a new image, or NULL. */
const char *create_key_secret(const struct gild_create_options *options);

/* Both get their names, or are forgotten: an image that was made, and what was
 * made with it. A companion that replaced another file has done so for good,
 * should the image's own name fail after it. Frees everything in either
 * case. */
int create_publish(struct newfile *file, struct companion *companion,
		   struct gild_error *err);
void create_abandon(struct newfile *file, struct companion *companion);

/* A storage over the file, for a format to write to; the caller closes it.
 * create: with its wishes to the file system, where the file is still empty;
 * or NULL. */
struct storage *create_storage(const struct newfile *file,
			       const struct gild_create_options *create,
			       unsigned flags, struct gild_error *err);

#endif
