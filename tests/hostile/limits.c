/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limits SECONDS REPORT COMMAND [ARG...]
 *
 * Runs a command, kills it when its time is over (status 124), and writes to
 * the file REPORT how many KiB of memory it took at most. Its status is the
 * command's, or 128 and the signal that ended it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;
static volatile sig_atomic_t over;

static void end(int signal)
{
	over = signal == SIGALRM;
	kill(child, SIGKILL);
}

static int report(const char *path, const struct rusage *usage)
{
	FILE *file = fopen(path, "w");

	if (!file)
		return -1;
	fprintf(file, "%ld\n", usage->ru_maxrss);
	return fclose(file);
}

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;

	if (argc < 4)
		return 125;
	child = fork();
	if (child < 0)
		return 125;
	if (child == 0) {
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	signal(SIGALRM, end);
	signal(SIGTERM, end);
	alarm((unsigned)atoi(argv[1]));
	while (wait4(child, &status, 0, &usage) < 0)
		;
	if (report(argv[2], &usage) < 0)
		return 125;
	if (over)
		return 124;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
