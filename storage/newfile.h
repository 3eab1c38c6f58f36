/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a file appears: whole, or not at all.
 *
 *     struct newfile file;
 *     newfile_begin(&file, path, flags, err);
 *     ... write through file.fd (dup it for a storage) ...
 *     newfile_publish(&file, err);      or newfile_abandon(&file);
 *
 * A new name is an unnamed file (O_TMPFILE) that gets its name at the end, or
 * a temporary name and a rename where the file system has no unnamed files. A
 * regular file that is replaced keeps owner, mode and extended attributes; its
 * successor is synced before the rename. Symbolic links are resolved first.
 * Devices, pipes, files with several links, or in a folder that cannot be
 * written, or whose owner or attributes cannot be given to a successor, are
 * written in place: a regular file is then empty when begin returns.
 *
 * A name of an NBD server's disk is a device, too; there is no descriptor for
 * it, and what is written is durable once it is flushed.
 *
 * What exists is locked as a writer locks it until publish or abandon, so that
 * nothing is replaced or emptied while a VM, or an image open in this process,
 * uses it (GILD_ERR_BUSY).
 *
 * Threads: the caller serialises.
 */
#ifndef STORAGE_NEWFILE_H
#define STORAGE_NEWFILE_H

#include "util/error.h"

enum {
	NEWFILE_NEW_ONLY = 1 << 0, /* an existing name is an error (EEXIST) */
	NEWFILE_SYNC = 1 << 1,	   /* durable when publish returns */
	NEWFILE_PRIVATE = 1 << 2,  /* mode 0600 */
	NEWFILE_NAMED = 1 << 3,	   /* do without unnamed files, as some file
				    * systems have to (for tests) */
	NEWFILE_KEEP = 1 << 4,	   /* it is there, and stays: opened in place,
				    * with what is in it */
};

struct newfile {
	int fd;		 /* read and write (a pipe: write); owned */
	int folder_fd;	 /* of the final name; owned; -1 in place */
	int old_fd;	 /* the file to replace, for its lock; owned; or -1 */
	char *path;	 /* as the caller gave it, for messages */
	char *name;	 /* final name within the folder, links resolved */
	char *temporary; /* temporary name, or NULL: unnamed */
	unsigned flags;
	bool in_place;	/* fd is the target itself */
	bool is_device; /* in place, and cannot be truncated */
	bool replaces;	/* a regular file of that name existed at the start */
	bool served;	/* a server's disk: in place, a device, without fd */
};

/* On failure everything is freed already. */
int newfile_begin(struct newfile *file, const char *path, unsigned flags,
		  struct gild_error *err);

/* Give it its name; on failure the old file is as it was and nothing is left
 * behind. Frees everything in either case. */
int newfile_publish(struct newfile *file, struct gild_error *err);

/* Forget it: no debris; an old file stays as it was (one that was written in
 * place cannot be restored). */
void newfile_abandon(struct newfile *file);

/* Remove a file that this process published a moment ago, as part of undoing
 * a batch. */
void newfile_unpublish(const char *path);

#endif
