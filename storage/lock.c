/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's byte locks; lock.h says which byte means what.
 *
 * The locks live and die with the open file description, so a descriptor that
 * was duplicated shares them, and no unlock is needed before close. They are
 * all shared, so taking one never waits; whether somebody contradicts is a
 * question (GETLK for an exclusive lock), asked after one's own are in place:
 * of two that start at the same time at least one sees the other.
 */
#include "storage/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"

enum {
	USES_BYTE = 100,
	DENIES_BYTE = 200,
	PERMISSIONS = 4,
	ALL_BYTES = DENIES_BYTE + PERMISSIONS - USES_BYTE,
};

static const char *const permission_names[PERMISSIONS] = {
	"consistent read",
	"write",
	"write unchanged",
	"resize",
};

/* --- single bytes -------------------------------------------------------- */

/* 0, or -1 with errno. */
static int set_byte(int fd, short type, off_t byte)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	while (fcntl(fd, F_OFD_SETLK, &lock))
		if (errno != EINTR)
			return -1;
	return 0;
}

/* Does another description hold one of these bytes? -1 with errno. */
static int is_held(int fd, off_t byte, off_t count)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = count,
	};

	while (fcntl(fd, F_OFD_GETLK, &lock))
		if (errno != EINTR)
			return -1;
	return lock.l_type != F_UNLCK;
}

/* The file system, or the kernel, has no such locks. */
static bool has_no_locks(int eno)
{
	return eno == ENOLCK || eno == EOPNOTSUPP || eno == EINVAL ||
	       eno == ENOSYS;
}

/* --- who holds a byte ---------------------------------------------------- */

struct holder {
	dev_t device;
	ino_t inode;
	off_t byte;
	char pid[16];
	char command[32];
};

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* Does this line of a /proc/PID/fdinfo file say that the byte is locked?
 * "lock:\t1: OFDLCK  ADVISORY  READ -1 fe:00:1234 201 201" */
static bool line_locks(const char *line, off_t byte)
{
	long long first, last;

	if (sscanf(line, "lock: %*s OFDLCK %*s %*s %*s %*s %lld %lld", &first,
		   &last) != 2)
		return false;
	return first <= byte && byte <= last;
}

static bool fdinfo_locks(const char *pid, const char *fd, off_t byte)
{
	char path[64], line[160];
	bool found = false;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/%.15s/fdinfo/%.15s", pid, fd);
	info = fopen(path, "re");
	if (!info)
		return false;
	while (!found && fgets(line, sizeof(line), info))
		found = line_locks(line, byte);
	fclose(info);
	return found;
}

static bool process_holds(const struct holder *holder, const char *pid)
{
	const struct dirent *entry;
	bool found = false;
	char path[64];
	struct stat st;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%.15s/fd", pid);
	fds = opendir(path);
	while (fds && !found && (entry = readdir(fds)))
		found = is_number(entry->d_name) &&
			!fstatat(dirfd(fds), entry->d_name, &st, 0) &&
			st.st_dev == holder->device &&
			st.st_ino == holder->inode &&
			fdinfo_locks(pid, entry->d_name, holder->byte);
	if (fds)
		closedir(fds);
	return found;
}

static void read_command(struct holder *holder)
{
	char path[40];
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%s/comm", holder->pid);
	comm = fopen(path, "re");
	if (!comm || !fgets(holder->command, sizeof(holder->command), comm))
		snprintf(holder->command, sizeof(holder->command), "?");
	holder->command[strcspn(holder->command, "\n")] = 0;
	if (comm)
		fclose(comm);
}

/* Look through /proc, as far as we are allowed to. */
static bool find_holder(int fd, off_t byte, struct holder *holder)
{
	const struct dirent *entry;
	bool found = false;
	struct stat st;
	DIR *processes;

	if (fstat(fd, &st))
		return false;
	*holder = (struct holder){ st.st_dev, st.st_ino, byte, "", "" };
	processes = opendir("/proc");
	while (processes && !found && (entry = readdir(processes))) {
		if (!is_number(entry->d_name) ||
		    !process_holds(holder, entry->d_name))
			continue;
		snprintf(holder->pid, sizeof(holder->pid), "%.15s",
			 entry->d_name);
		read_command(holder);
		found = true;
	}
	if (processes)
		closedir(processes);
	return found;
}

/* --- taking and looking -------------------------------------------------- */

static void release(int fd, unsigned uses, unsigned denies)
{
	for (unsigned i = 0; i < PERMISSIONS; i++) {
		if (uses & 1u << i)
			set_byte(fd, F_UNLCK, USES_BYTE + i);
		if (denies & 1u << i)
			set_byte(fd, F_UNLCK, DENIES_BYTE + i);
	}
}

/* 0, or -1 with errno. */
static int take(int fd, unsigned uses, unsigned denies)
{
	for (unsigned i = 0; i < PERMISSIONS; i++)
		if ((uses & 1u << i && set_byte(fd, F_RDLCK, USES_BYTE + i)) ||
		    (denies & 1u << i &&
		     set_byte(fd, F_RDLCK, DENIES_BYTE + i)))
			return -1;
	return 0;
}

/* The first byte held by another that contradicts, 0: none, -1: errno. */
static off_t find_conflict(int fd, unsigned uses, unsigned denies)
{
	for (unsigned i = 0; i < PERMISSIONS; i++) {
		int held = 0;

		if (uses & 1u << i)
			held = is_held(fd, DENIES_BYTE + i, 1);
		if (held)
			return held < 0 ? -1 : (off_t)(DENIES_BYTE + i);
		if (denies & 1u << i)
			held = is_held(fd, USES_BYTE + i, 1);
		if (held)
			return held < 0 ? -1 : (off_t)(USES_BYTE + i);
	}
	return 0;
}

static int say_busy(int fd, const char *path, off_t byte,
		    struct gild_error *err)
{
	struct holder holder;

	if (byte >= DENIES_BYTE)
		fail(err, GILD_ERR_BUSY, 0,
		     "%s: is in use: cannot get \"%s\" lock", path,
		     permission_names[byte - DENIES_BYTE]);
	else
		fail(err, GILD_ERR_BUSY, 0,
		     "%s: is being written: cannot get shared \"%s\" lock",
		     path, permission_names[byte - USES_BYTE]);
	if (!err)
		return -1;
	if (!find_holder(fd, byte, &holder))
		return error_hint(err,
				  "another process holds it; stop it first");
	if (strtol(holder.pid, NULL, 10) == getpid())
		return error_hint(err, "it is open already in this process");
	return error_hint(err, "process %s (%s) holds it; stop it first",
			  holder.pid, holder.command);
}

static int lock_failed(const char *path, int eno, struct gild_error *err)
{
	if (has_no_locks(eno))
		return 0;
	/* Ours are shared, so somebody has an exclusive one, as QEMU never
	 * does. */
	if (eno == EAGAIN || eno == EACCES)
		return fail(err, GILD_ERR_BUSY, 0,
			    "%s: is locked by another process", path);
	return fail(err, GILD_ERR_IO, eno, "%s: cannot be locked", path);
}

int lock_take(int fd, const char *path, unsigned uses, unsigned denies,
	      struct gild_error *err)
{
	off_t conflict = take(fd, uses, denies);

	if (conflict == 0)
		conflict = find_conflict(fd, uses, denies);
	if (conflict == 0)
		return 0;
	if (conflict < 0) {
		int eno = errno;

		release(fd, uses, denies);
		return lock_failed(path, eno, err);
	}
	release(fd, uses, denies);
	return say_busy(fd, path, conflict, err);
}

int lock_look(int fd, bool *in_use, bool *being_written, struct gild_error *err)
{
	int any = is_held(fd, USES_BYTE, ALL_BYTES);
	int writer = any > 0 ? is_held(fd, USES_BYTE + 1, 1) : 0;

	*in_use = any > 0;
	*being_written = writer > 0;
	if (any >= 0 && writer >= 0)
		return 0;
	if (has_no_locks(errno))
		return 0;
	return fail(err, GILD_ERR_IO, errno, "cannot look at the locks");
}

void lock_release(int fd)
{
	release(fd, (1U << PERMISSIONS) - 1, (1U << PERMISSIONS) - 1);
}
