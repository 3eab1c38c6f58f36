/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a file appears: whole, or not at all. newfile.h has the rules.
 *
 * begin decides between three ways:
 *   new        unnamed file (or temporary name)    -> link (or rename)
 *   replaces   the same, with the old attributes   -> sync, then rename over
 *   in place   the target itself
 * An unnamed file cannot be linked over a name, so one that replaces gets a
 * temporary name for the moment between link and rename.
 */
#include "storage/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/lock.h"
#include "storage/newfile-parts.h"
#include "storage/nbd.h"
#include "util/cleanup.h"
#include "util/memory.h"

enum {
	NAME_TRIES = 100
};

static int failed(const struct newfile *file, const char *what, int eno,
		  struct gild_error *err)
{
	fail(err, GILD_ERR_IO, eno, "%s: %s", file->path, what);
	if (eno == ENOENT && !(file->flags & NEWFILE_KEEP))
		error_hint(err, "the folder that it is to be in must be there");
	if (eno == EEXIST)
		error_hint(err, "nothing is replaced here: remove it first, or "
				"choose another name");
	return -1;
}

static void forget(struct newfile *file)
{
	int saved = errno;

	if (file->temporary)
		unlinkat(file->folder_fd, file->temporary, 0);
	if (file->fd >= 0)
		close(file->fd);
	if (file->old_fd >= 0 && file->old_fd != file->fd)
		close(file->old_fd);
	if (file->folder_fd >= 0)
		close(file->folder_fd);
	free(file->path);
	free(file->name);
	free(file->temporary);
	*file = (struct newfile){ .fd = -1, .folder_fd = -1, .old_fd = -1 };
	errno = saved;
}

void newfile_abandon(struct newfile *file)
{
	forget(file);
}

void newfile_unpublish(const char *path)
{
	unlink(path);
}

/* --- begin: a file that is not there yet --------------------------------- */

static char *temporary_name(void)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return NULL;
	return memory_printf(".gild-%016jx", (uintmax_t)random);
}

static int open_named(struct newfile *file, mode_t mode)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		AUTO_FREE char *name = temporary_name();

		if (!name)
			return -1;
		file->fd = openat(file->folder_fd, name,
				  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (file->fd >= 0)
			file->temporary = steal_ptr(name);
		if (file->fd >= 0 || errno != EEXIST)
			break;
	}
	return file->fd < 0 ? -1 : 0;
}

/* Without /proc an unnamed file might not get a name in the end. */
static bool can_name_later(const struct newfile *file)
{
	return !(file->flags & NEWFILE_NAMED) && !access("/proc/self/fd", X_OK);
}

/* -1 with errno. */
static int open_successor(struct newfile *file)
{
	mode_t mode = file->flags & NEWFILE_PRIVATE ? 0600 : 0666;

	if (can_name_later(file)) {
		file->fd = openat(file->folder_fd, ".",
				  O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
		if (file->fd >= 0)
			return 0;
		/* Old kernels and file systems see a folder opened to write. */
		if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
			return -1;
	}
	return open_named(file, mode);
}

/* Fills folder_fd and name; -1 with errno. */
static int open_folder(struct newfile *file, bool follow)
{
	AUTO_FREE char *folder = NULL;
	int (*place)(const char *, char **, char **) = follow ? place_resolve :
								place_split;

	if (place(file->path, &folder, &file->name) < 0)
		return -1;
	file->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return file->folder_fd < 0 ? -1 : 0;
}

static int begin_new(struct newfile *file, struct gild_error *err)
{
	struct stat st;
	bool only = file->flags & NEWFILE_NEW_ONLY;

	if (open_folder(file, !only) < 0)
		return failed(file, "cannot be created", errno, err);
	if (only) {
		int taken = fstatat(file->folder_fd, file->name, &st,
				    AT_SYMLINK_NOFOLLOW) == 0;

		if (taken || errno != ENOENT)
			return failed(file, "cannot be created",
				      taken ? EEXIST : errno, err);
	}
	if (open_successor(file) < 0)
		return failed(file, "cannot be created", errno, err);
	return 0;
}

/* --- begin: something is there ------------------------------------------- */

/* Something mounted on the name itself cannot be renamed over. */
static bool is_mount_point(int fd)
{
	struct statx st;

	return !statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) &&
	       st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* Is the name that we found the file that we opened? Paths below /proc can
 * lead to files that have no name. */
static bool is_named(const struct newfile *file, const struct stat *old)
{
	struct stat st;

	return !fstatat(file->folder_fd, file->name, &st,
			AT_SYMLINK_NOFOLLOW) &&
	       st.st_dev == old->st_dev && st.st_ino == old->st_ino;
}

/* Does this error say that the folder is not ours to write? */
static bool is_closed(int eno)
{
	return eno == EACCES || eno == EPERM || eno == EROFS;
}

static void drop_successor(struct newfile *file)
{
	if (file->temporary)
		unlinkat(file->folder_fd, file->temporary, 0);
	free(steal_ptr(file->temporary));
	close(steal_fd(&file->fd));
}

/* A successor like the old file; 1 where that cannot be, -1 with errno. */
static int prepare_successor(struct newfile *file, const struct stat *old)
{
	if (old->st_nlink != 1 || is_mount_point(file->old_fd))
		return 1;
	if (open_folder(file, true) < 0)
		return -1;
	if (!is_named(file, old))
		return 1;
	if (open_successor(file) < 0)
		return is_closed(errno) ? 1 : -1;
	if (!attributes_copy(file->fd, file->old_fd,
			     file->flags & NEWFILE_PRIVATE))
		return 0;
	drop_successor(file);
	return 1;
}

static int use_in_place(struct newfile *file)
{
	file->in_place = true;
	file->fd = file->old_fd;
	fcntl(file->fd, F_SETFL, 0);
	return 0;
}

static int empty_in_place(struct newfile *file, struct gild_error *err)
{
	use_in_place(file);
	if (ftruncate(file->fd, 0))
		return failed(file, "cannot be emptied", errno, err);
	if (file->flags & NEWFILE_PRIVATE && fchmod(file->fd, 0600))
		return failed(file, "cannot be made private", errno, err);
	return 0;
}

static int begin_regular(struct newfile *file, struct gild_error *err)
{
	struct stat st;
	int cannot;

	file->old_fd = open(file->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (file->old_fd < 0 || fstat(file->old_fd, &st))
		return failed(file, "cannot be opened for writing", errno, err);
	if (lock_take(file->old_fd, file->path, LOCK_WRITER_USES,
		      LOCK_WRITER_DENIES, err) < 0)
		return -1;
	if (file->flags & NEWFILE_KEEP)
		return use_in_place(file);
	cannot = prepare_successor(file, &st);
	if (cannot < 0)
		return failed(file, "cannot be replaced", errno, err);
	if (cannot)
		return empty_in_place(file, err);
	file->replaces = true;
	return 0;
}

static int begin_device(struct newfile *file, mode_t type,
			struct gild_error *err)
{
	int mode = type == S_IFBLK || type == S_IFCHR ? O_RDWR : O_WRONLY;

	file->in_place = true;
	file->is_device = true;
	file->fd = open(file->path, mode | O_CLOEXEC | O_NOCTTY);
	/* A terminal or printer that only takes. */
	if (file->fd < 0 && errno == EACCES && type == S_IFCHR)
		file->fd = open(file->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (file->fd < 0)
		return failed(file, "cannot be opened for writing", errno, err);
	if (type != S_IFBLK)
		return 0;
	return lock_take(file->fd, file->path, LOCK_WRITER_USES,
			 LOCK_WRITER_DENIES, err);
}

static int begin(struct newfile *file, struct gild_error *err)
{
	struct stat st;

	if (file->flags & NEWFILE_NEW_ONLY)
		return begin_new(file, err);
	if (stat(file->path, &st))
		return errno == ENOENT && !(file->flags & NEWFILE_KEEP) ?
			       begin_new(file, err) :
			       failed(file,
				      file->flags & NEWFILE_KEEP ?
					      "cannot be opened" :
					      "cannot be created",
				      errno, err);
	if (S_ISREG(st.st_mode))
		return begin_regular(file, err);
	if (S_ISDIR(st.st_mode))
		return failed(file, "cannot be written", EISDIR, err);
	return begin_device(file, st.st_mode & S_IFMT, err);
}

/* What a server has is there already. */
static int begin_served(struct newfile *file, struct gild_error *err)
{
	if (file->flags & NEWFILE_NEW_ONLY) {
		failed(file, "cannot be made", EEXIST, err);
		forget(file);
		return -1;
	}
	file->served = file->in_place = file->is_device = true;
	return 0;
}

int newfile_begin(struct newfile *file, const char *path, unsigned flags,
		  struct gild_error *err)
{
	*file = (struct newfile){ .fd = -1, .folder_fd = -1, .old_fd = -1 };
	file->flags = flags;
	file->path = strdup(path);
	if (!file->path)
		return fail_nomem(err);
	if (storage_is_nbd(path))
		return begin_served(file, err);
	if (begin(file, err) == 0)
		return 0;
	forget(file);
	return -1;
}

/* --- publish ------------------------------------------------------------- */

static int link_as(struct newfile *file, const char *name)
{
	char self[40];

	/* The first needs a privilege, the second /proc. */
	if (!linkat(file->fd, "", file->folder_fd, name, AT_EMPTY_PATH))
		return 0;
	if (errno != ENOENT && errno != EPERM && errno != EINVAL)
		return -1;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, file->folder_fd, name, AT_SYMLINK_FOLLOW);
}

/* A temporary name for what has none; -1 with errno. */
static int name_for_now(struct newfile *file)
{
	for (int i = 0; i < NAME_TRIES && !file->temporary; i++) {
		AUTO_FREE char *name = temporary_name();

		if (!name)
			return -1;
		if (!link_as(file, name))
			file->temporary = steal_ptr(name);
		else if (errno != EEXIST)
			return -1;
	}
	return file->temporary ? 0 : -1;
}

static int rename_over(struct newfile *file)
{
	if (!file->temporary && name_for_now(file) < 0)
		return -1;
	if (renameat(file->folder_fd, file->temporary, file->folder_fd,
		     file->name))
		return -1;
	free(steal_ptr(file->temporary));
	return 0;
}

/* Where the file system has no rename that refuses to replace: a link refuses
 * too, and where there are no links, looking first has to do. */
static int rename_if_free(struct newfile *file)
{
	int folder = file->folder_fd;
	struct stat st;

	if (!linkat(folder, file->temporary, folder, file->name, 0))
		return unlinkat(folder, file->temporary, 0);
	if (errno == EEXIST)
		return -1;
	if (!fstatat(folder, file->name, &st, AT_SYMLINK_NOFOLLOW)) {
		errno = EEXIST;
		return -1;
	}
	return renameat(folder, file->temporary, folder, file->name);
}

/* Move the temporary name to a name that must be free; -1 with errno. */
static int rename_new(struct newfile *file)
{
	int folder = file->folder_fd;

	if (renameat2(folder, file->temporary, folder, file->name,
		      RENAME_NOREPLACE) &&
	    ((errno != EINVAL && errno != ENOSYS) || rename_if_free(file) < 0))
		return -1;
	free(steal_ptr(file->temporary));
	return 0;
}

/* What appeared under a new name meanwhile is not ours to replace: EEXIST. */
static int take_name(struct newfile *file)
{
	if (file->replaces)
		return rename_over(file);
	return file->temporary ? rename_new(file) : link_as(file, file->name);
}

/* The name itself on stable storage; -1 with errno. */
static int sync_folder(const struct newfile *file)
{
	AUTO_CLOSE int fd = openat(file->folder_fd, ".",
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* A folder that we may write but not read. */
	if (fd < 0)
		return errno == EACCES ? syncfs(file->fd) : -1;
	/* Some file systems do not know how to sync a folder. */
	return fsync(fd) && errno != EINVAL ? -1 : 0;
}

static int publish(struct newfile *file, struct gild_error *err)
{
	bool sync = file->flags & NEWFILE_SYNC;

	if (sync || file->replaces)
		/* Pipes and terminals have nothing to sync. */
		if (fsync(file->fd) && !(file->is_device && errno == EINVAL))
			return failed(file, "did not reach the disk", errno,
				      err);
	if (file->in_place)
		return 0;
	if (take_name(file) < 0)
		return failed(file, "cannot be given its name", errno, err);
	if (!sync || sync_folder(file) == 0)
		return 0;
	failed(file, "its folder did not reach the disk", errno, err);
	if (!file->replaces)
		unlinkat(file->folder_fd, file->name, 0);
	return -1;
}

int newfile_publish(struct newfile *file, struct gild_error *err)
{
	int result = file->served ? 0 : publish(file, err);

	forget(file);
	return result;
}
