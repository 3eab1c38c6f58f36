/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of files as seen from a folder. */
#ifndef JOBS_RELATIVE_H
#define JOBS_RELATIVE_H

/*
 * The way from a folder to a file, both absolute and without links, "." or
 * "..": "../images/base.qcow2". Never looks like a protocol ("a:b" becomes
 * "./a:b"). NULL: out of memory; the caller frees.
 */
char *relative_name(const char *folder, const char *file);

#endif
