/* SPDX-License-Identifier: BSD-3-Clause */
/* Between open.c and follow.c: opening one file, without what it names. */
#ifndef FORMATS_OPEN_H
#define FORMATS_OPEN_H

#include <sys/stat.h>

#include "formats/image.h"

/* A file with its locks taken, as the options' flags and cache mode say. */
struct storage *open_file(const char *path,
			  const struct gild_open_options *options,
			  struct gild_error *err);

/* One layer. */
struct image *open_path(const char *path,
			const struct gild_open_options *options,
			struct gild_error *err);

struct file_id open_identity(const struct stat *st);
bool open_is_same(const struct file_id *a, const struct file_id *b);

#endif
