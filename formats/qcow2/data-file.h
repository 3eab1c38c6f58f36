/* SPDX-License-Identifier: BSD-3-Clause */
/* Making the external data file of a fresh image. */
#ifndef QCOW2_DATA_FILE_H
#define QCOW2_DATA_FILE_H

#include "formats/qcow2/qcow2.h"

/* Make the data file that options names for the image at image_path: size bytes
 * that read as zeros, with their space reserved or written as the preallocation
 * says. What stood there stays until the companion is published (create.h). */
int qcow2_make_data_file(struct companion *companion, const char *image_path,
			 const struct gild_create_options *create,
			 const struct qcow2_options *options, uint64_t size,
			 struct gild_error *err);

/* Give [offset, end) its space: reserved (FALLOC), written (FULL), or only
 * reached by the file's length. What was there before reads as zeros
 * afterwards. */
int qcow2_reserve(struct storage *storage, uint64_t offset, uint64_t end,
		  enum qcow2_prealloc how, struct gild_error *err);

#endif
