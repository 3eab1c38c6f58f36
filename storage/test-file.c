/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regular files: what may be opened, what is read and written in every mode,
 * and where it ends.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "storage/file.h"
#include "storage/test-disk.h"
#include "util/zeros.h"

TestSuite(file, .init = folder_enter, .fini = folder_leave, .timeout = 60);

/* --- opening ------------------------------------------------------------- */

static void assert_refused(const char *name, unsigned flags,
			   const char *message)
{
	struct gild_error err = { 0 };

	cr_assert_null(storage_file_open(name, flags, &err));
	cr_assert_str_eq(err.message, message);
}

Test(file, kinds_that_are_refused)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX,
				       .sun_path = "socket" };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	mkdir("folder", 0755);
	mkfifo("pipe", 0644);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_refused("folder", 0,
		       "folder: is a folder, not a file or block device");
	assert_refused("pipe", STORAGE_WRITE,
		       "pipe: is a pipe, not a file or block device");
	assert_refused("socket", 0,
		       "socket: is a socket, not a file or block device");
	assert_refused("/dev/zero", 0,
		       "/dev/zero: is a character device, not a file or block "
		       "device");
	assert_refused("absent", 0,
		       "absent: cannot be opened: No such file or directory");
}

Test(file, descriptors_of_the_wrong_kind_are_closed)
{
	struct gild_error err;
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_null(storage_file_from_fd(ends[0], "pipe", 0, &err));
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert_eq(fcntl(ends[0], F_GETFD), -1);
	cr_assert_null(storage_file_from_fd(-1, "none", 0, &err));
	cr_assert_eq(err.sys_errno, EBADF);
}

Test(file, a_file_that_may_not_be_written)
{
	struct gild_error err = { 0 };

	make_file("disk", 512, 1);
	chmod("disk", 0444);
	chmod(".", 0755);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	cr_expect_null(storage_file_open("disk", STORAGE_WRITE, &err));
	cr_assert_eq(seteuid(getuid()), 0);
	cr_assert_str_eq(err.message,
			 "disk: cannot be opened for writing: Permission "
			 "denied");
}

Test(file, writing_needs_the_flag)
{
	struct gild_error err;
	struct storage *disk;

	make_file("disk", 512, 1);
	disk = open_ok("disk", 0);
	cr_assert_eq(storage_write(disk, "x", 1, 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	cr_assert_eq(storage_zero(disk, 0, 1, false, &err), -1);
	cr_assert_eq(storage_discard(disk, 0, 1, &err), -1);
	cr_assert_eq(storage_truncate(disk, 0, false, &err), -1);
	cr_assert(holds(disk, 1, 512, 0));
	storage_close(disk);
}

/* --- reading and writing ------------------------------------------------- */

static const unsigned modes[] = {
	0,
	STORAGE_SYNC_WRITES,
	STORAGE_DIRECT,
	STORAGE_DIRECT | STORAGE_SYNC_WRITES,
	STORAGE_NO_FLUSH,
};

/* Not every file system has O_DIRECT. */
static struct storage *open_mode(const char *name, unsigned flags)
{
	struct gild_error err;
	struct storage *storage =
		storage_file_open(name, flags | STORAGE_WRITE, &err);

	if (!storage && flags & STORAGE_DIRECT && err.sys_errno == EINVAL)
		return NULL;
	cr_assert_not_null(storage, "%s", err.message);
	return storage;
}

Test(file, what_is_written_is_read_in_every_mode)
{
	static const struct {
		size_t length, offset;
	} pieces[] = {
		{ 64 * KiB, 0 },  { 512, 64 * KiB },	{ 1, 100000 },
		{ 4096, 131072 }, { 4095, 139264 },	{ 8192, 151552 + 512 },
		{ MiB, 2 * MiB }, { 3 * KiB, 3 * MiB }, { 100, 4 * MiB - 1 },
	};

	for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		struct storage *disk;

		make_file("disk", 0, 0);
		disk = open_mode("disk", modes[m]);
		if (!disk)
			continue;
		for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++)
			write_ok(disk, i + 1, pieces[i].length,
				 pieces[i].offset);
		for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++)
			cr_assert(holds(disk, i + 1, pieces[i].length,
					pieces[i].offset),
				  "mode %zu, piece %zu", m, i);
		cr_assert_eq(storage_flush(disk, NULL), 0);
		cr_assert_eq(file_length("disk"), 4 * MiB + 99);
		storage_close(disk);
	}
}

Test(file, direct_requests_bypass_the_cache)
{
	struct storage *disk;

	make_file("disk", MiB, 7);
	disk = open_mode("disk", STORAGE_DIRECT);
	if (!disk)
		cr_skip_test("no O_DIRECT on this file system");
	cr_assert_geq(file_of(disk)->direct_fd, 0);
	cr_assert(fcntl(file_of(disk)->direct_fd, F_GETFL) & O_DIRECT);
	cr_assert_not(fcntl(file_of(disk)->fd, F_GETFL) & O_DIRECT);
	/* A read that begins aligned and ends with the file, which does not. */
	cr_assert_eq(storage_truncate(disk, MiB + 700, false, NULL), 0);
	write_ok(disk, 9, 700, MiB);
	cr_assert(holds(disk, 9, 700, MiB));
	cr_assert_not(holds(disk, 9, 4096, MiB));
	storage_close(disk);
}

Test(file, what_lies_beyond_the_end)
{
	struct gild_error err;
	struct storage *disk;
	char buffer[1024];

	make_file("disk", 700, 5);
	disk = open_ok("disk", STORAGE_WRITE);
	memset(buffer, 1, sizeof(buffer));
	cr_assert_eq(storage_read(disk, buffer, 1024, 0, NULL), 0);
	cr_assert_eq(buffer[699], 5);
	cr_assert(is_zero(buffer + 700, 324));
	cr_assert(holds(disk, 0, 512, 5 * MiB));
	cr_assert_eq(storage_read_all(disk, buffer, 700, 0, &err), 0);
	cr_assert_eq(storage_read_all(disk, buffer, 701, 0, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert_eq(err.offset, 700);
	cr_assert_eq(storage_read(disk, buffer, 1, UINT64_MAX, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(storage_write(disk, buffer, 2, INT64_MAX - 1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	storage_close(disk);
}

/* So many bytes of address space that are the same few pages of memory. */
static unsigned char *map_repeatedly(size_t length, size_t pages)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);
	unsigned char *start = mmap(NULL, length, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(start, MAP_FAILED);
	cr_assert_eq(ftruncate(fd, pages), 0);
	for (size_t at = 0; at < length; at += pages)
		cr_assert_neq(mmap(start + at, pages, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, fd, 0),
			      MAP_FAILED);
	close(fd);
	return start;
}

/* The kernel takes at most 0x7ffff000 bytes at a time: short counts go on. */
Test(file, more_than_one_call_can_take)
{
	const size_t length = (2ul << 30) + 16 * MiB;
	struct gild_error err = { 0 };
	unsigned char *buffer = map_repeatedly(length, 16 * MiB);
	struct storage *disk;

	make_file("disk", 0, 0);
	disk = open_ok("disk", STORAGE_WRITE);
	cr_assert_eq(storage_truncate(disk, length, false, NULL), 0);
	write_ok(disk, 3, 4096, length - 4096);
	cr_assert_eq(storage_read_all(disk, buffer, length, 0, &err), 0, "%s",
		     err.message);
	cr_assert_eq(buffer[length - 1], 3);
	cr_assert_eq(buffer[length - 4097], 0);
	munmap(buffer, length);
	storage_close(disk);
}

Test(file, a_size_limit_stops_writing)
{
	struct rlimit limit = { 8 * KiB, RLIM_INFINITY };
	char buffer[12 * KiB] = { 1 };
	struct gild_error err;
	struct storage *disk;

	signal(SIGXFSZ, SIG_IGN);
	make_file("disk", 0, 0);
	disk = open_ok("disk", STORAGE_WRITE);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = 8 * KiB;
	setrlimit(RLIMIT_FSIZE, &limit);
	/* The first 8 KiB are a short count, the rest fails. */
	cr_expect_eq(storage_write(disk, buffer, sizeof(buffer), 0, &err), -1);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	cr_assert_eq(err.sys_errno, EFBIG);
	cr_assert_str_eq(err.message, "disk: cannot write 4096 bytes at "
				      "offset 8192: File too large");
	cr_assert_eq(err.offset, 8 * KiB);
	storage_close(disk);
}
