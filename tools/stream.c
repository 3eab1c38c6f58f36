/* SPDX-License-Identifier: BSD-3-Clause */
/* Pipes in the place of files, at either end of a copy. */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool stream_is_pipe(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

int stream_open(const char *path, int flags, struct gild_error *err)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? tool_fail(err, "%s: %s", path, strerror(errno)) : fd;
}

/* Take standard output for the disk: what is printed goes to standard error
 * from now on. Returns the descriptor. */
static int claim_stdout(struct gild_error *err)
{
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return tool_fail(err, "standard output: %s", strerror(errno));
	return fd;
}

int stream_target(struct gild_convert_options *options, bool to_stdout,
		  struct gild_error *err)
{
	const char *path = options->target;

	if (!to_stdout && !stream_is_pipe(path))
		return 0;
	options->target = NULL;
	options->stream_out = to_stdout ? claim_stdout(err) :
					  stream_open(path, O_WRONLY, err);
	return options->stream_out < 0 ? -1 : 0;
}
