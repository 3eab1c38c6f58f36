/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving the bytes of an extent, or of a write plan: the only way in which data
 * of the virtual disk goes from and to a storage, since what stands there may
 * be encrypted. Metadata goes by storage_read and storage_write.
 *
 * The caller is inside the image's epoch. Any thread.
 */
#ifndef FORMATS_EXTENT_IO_H
#define FORMATS_EXTENT_IO_H

#include "formats/image.h"

/* Read all of a DATA extent. */
int extent_read(const struct extent *extent, void *buffer,
		struct gild_error *err);

/* Overwrite all of a writable DATA extent. Where it is encrypted, it consists
 * of whole sectors, or the call is GILD_ERR_INVALID. */
int extent_write(const struct extent *extent, const void *buffer,
		 struct gild_error *err);

/* Write to a plan's place: length bytes of the disk, from offset on, which lie
 * within the plan, or, compressed, the stored bytes. Whole sectors as above. */
int plan_write(const struct write_plan *plan, uint64_t offset,
	       const void *buffer, uint64_t length, struct gild_error *err);

#endif
