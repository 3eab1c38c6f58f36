/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of a mount. Its process is named in info.json, and when that has
 * ended the image is closed and free. What was written is flushed before, so
 * that a failure is told while there is somebody to hear it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/fail.h"
#include "fuse/mount.h"

enum {
	INFO_MAX = 64 << 10,
};

/* Read a file of the mount: a text, or NULL and errno. Caller frees. */
static char *read_text(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	char *text = malloc(INFO_MAX);
	ssize_t length = -1;

	if (fd >= 0 && text)
		length = read(fd, text, INFO_MAX - 1);
	if (fd >= 0)
		close(fd);
	if (length < 0) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}

/* The process that serves a mount; 0: its info names none. */
static pid_t find_process(int folder)
{
	static const char key[] = "\"mount-process\": ";
	char *text = read_text(folder, "info.json");
	const char *at = text ? strstr(text, key) : NULL;
	pid_t pid = at ? (pid_t)strtol(at + strlen(key), NULL, 10) : 0;

	free(text);
	return pid;
}

static int flush(int folder, const char *name, struct gild_error *err)
{
	int fd = openat(folder, "disk", O_RDONLY | O_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return fuse_fail(err, errno, "%s/disk", name);
	if (fsync(fd))
		result = fuse_fail(err, errno,
				   "%s: what was written cannot "
				   "be stored",
				   name);
	close(fd);
	return result;
}

/* how: "-u", or "-uz": also while somebody has files open. */
static int run_fusermount(const char *how, const char *folder,
			  struct gild_error *err)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		execlp("fusermount3", "fusermount3", how, "--", folder, NULL);
		fprintf(stderr, "fusermount3: %s (package fuse3)\n",
			strerror(errno));
		_exit(1);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return fuse_fail(err, errno, "fusermount3");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return fuse_fail(err, 0, "%s: still mounted", folder);
}

static void wait_for(int process)
{
	struct pollfd end = { .fd = process, .events = POLLIN };

	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		;
}

/* Of a mount that answers. */
static int end_live(int folder, const char *name, struct gild_error *err)
{
	pid_t pid = find_process(folder);
	int process, result;

	if (!pid) {
		close(folder);
		return fuse_fail(err, 0, "%s: is no mount of gild", name);
	}
	/* Held, so that its number cannot become another's. */
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	result = flush(folder, name, err);
	close(folder);
	if (result == 0)
		result = run_fusermount("-u", name, err);
	if (result == 0 && process >= 0)
		wait_for(process);
	if (process >= 0)
		close(process);
	return result;
}

/* The folder without links; what is mounted there may be dead, and is not
 * asked. Caller frees; NULL: errno. */
static char *real_folder(const char *folder)
{
	char *copy = strdup(folder), *real = NULL, *parent, *slash;

	while (copy && strlen(copy) > 1 && copy[strlen(copy) - 1] == '/')
		copy[strlen(copy) - 1] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : *copy ? copy : "/", NULL);
	if (!parent ||
	    asprintf(&real, "%s/%s", strcmp(parent, "/") ? parent : "",
		     slash ? slash + 1 : copy) < 0)
		real = NULL;
	free(parent);
	free(copy);
	return real;
}

/* Is that, or what it leads to, where a mount of gild is? */
static bool is_ours(const char *folder)
{
	char *real = real_folder(folder), *followed = realpath(folder, NULL);
	FILE *table = setmntent("/proc/self/mounts", "r");
	const struct mntent *entry;
	bool found = false;

	while (table && (entry = getmntent(table)))
		if (!strcmp(entry->mnt_type, "fuse.gild") &&
		    ((real && !strcmp(entry->mnt_dir, real)) ||
		     (followed && !strcmp(entry->mnt_dir, followed))))
			found = true;
	if (table)
		endmntent(table);
	free(followed);
	free(real);
	return found;
}

int mount_end(const char *folder, struct gild_error *err)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno != ENOTCONN)
		return fuse_fail(err, errno, "%s", folder);
	if (!is_ours(folder)) {
		if (fd >= 0)
			close(fd);
		return fuse_fail(err, 0, "%s: is no mount of gild", folder);
	}
	/* Its process is gone: there is nothing to wait for, and who has files
	 * open there gets nothing any more. */
	if (fd < 0)
		return run_fusermount("-uz", folder, err);
	return end_live(fd, folder, err);
}
