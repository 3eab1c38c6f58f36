/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the plugin's command line says, as options for gild_open. Set while
 * nbdkit reads it, not changed once the server runs.
 */
#ifndef NBD_SETTINGS_H
#define NBD_SETTINGS_H

#include "gild.h"

/* NAME=VALUE; -1: nbdkit_error has been called. */
int settings_set(const char *name, const char *value);

/* The image; NULL: none was named. */
const char *settings_path(void);

/* Valid up to settings_free. */
struct gild_open_options settings_options(void);

/* Passphrases are overwritten. */
void settings_free(void);

/* What --help shows, one parameter a line. */
extern const char settings_help[];

#endif
