/* SPDX-License-Identifier: BSD-3-Clause */
/* Between open.c, spec-open.c and follow.c: opening one file, without what it
 * names. */
#ifndef FORMATS_OPEN_H
#define FORMATS_OPEN_H

#include <sys/stat.h>

#include "formats/image.h"

struct spec_node;

/* A file with its locks taken, as the options' flags and cache mode say. */
struct storage *open_file(const char *path,
			  const struct gild_open_options *options,
			  struct gild_error *err);

/* The same with these flags (STORAGE_*) in place of those that the options
 * stand for. locked: take the locks that open_flags ask for. */
struct storage *open_file_as(const char *path, unsigned storage_flags,
			     unsigned open_flags, bool locked,
			     struct gild_error *err);

/* The format of what begins so, and the layer; takes the storage, also on
 * failure. name: whose suffix counts. node: by which it is opened, or NULL. */
struct image *open_probed(struct storage *storage, const char *name,
			  const struct gild_open_options *options,
			  const struct spec_node *node, struct gild_error *err);

/* A layer as a text says, see spec.h; stored: in an image. */
struct image *open_spec(const char *text, bool stored,
			const struct gild_open_options *options,
			struct gild_error *err);

/* What a layer is backed by, as far as its flags ask for it; frees the layer
 * where that fails. NULL is allowed. */
struct image *open_chain(struct image *image, struct gild_error *err);

/* One layer. */
struct image *open_path(const char *path,
			const struct gild_open_options *options,
			struct gild_error *err);

/* Could a file that begins so be taken for an image of a format other than raw,
 * by gild or by QEMU? */
bool begins_like_image(const unsigned char *head, size_t length);

/* The layer's format is a guess: where that is raw, it is not written so that
 * the next guess would be another one. */
void open_set_guessed(struct image *image);

struct file_id open_identity(const struct stat *st);
bool open_is_same(const struct file_id *a, const struct file_id *b);

#endif
