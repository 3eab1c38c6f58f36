/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that an NBD server has, through libnbd, which is loaded for the first
 * of them. Names are URIs (nbd:, nbds:, nbd+unix:, nbds+unix:, with //), or
 * QEMU's older nbd:unix:PATH and nbd:HOST:PORT, either with :exportname=NAME.
 */
#ifndef STORAGE_NBD_H
#define STORAGE_NBD_H

#include "storage/storage.h"

/* Is that such a name? */
bool storage_is_nbd(const char *name);

/* Connect, several times over where the server lets one see what another wrote.
 * flags as in storage_file_open; a server has no locks. */
struct storage *storage_nbd_open(const char *name, unsigned flags,
				 struct gild_error *err);

#endif
