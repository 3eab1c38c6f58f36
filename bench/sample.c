/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a command once and prints what it took, in one line:
 *
 *   sample COMMAND [ARGUMENT...]
 *   WALL USER SYSTEM RSS OTHERS STATUS
 *
 * Seconds from before the start to after the end, processor seconds of the
 * command, its largest resident set in KiB, the processor seconds that the
 * rest of the machine took meanwhile (the kernel's write-back included), and
 * the exit status, 128 more than the signal where there was one. The command's
 * standard output goes to /dev/null, its errors to our own.
 *
 * It is small and starts the command by posix_spawn (which does not copy it),
 * so its own size does not show in the result.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

/* Processor seconds that the machine was busy since it started: all columns of
 * /proc/stat but idle and waiting; 0 where that cannot be read. */
static double machine_busy(void)
{
	unsigned long long v[8] = { 0 };
	FILE *file = fopen("/proc/stat", "re");
	int n = 0;

	if (file) {
		n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu",
			   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
			   &v[7]);
		fclose(file);
	}
	if (n != 8)
		return 0;
	return (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) /
	       (double)sysconf(_SC_CLK_TCK);
}

static int start(pid_t *pid, char **command)
{
	posix_spawn_file_actions_t actions;

	if (posix_spawn_file_actions_init(&actions) ||
	    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
					     "/dev/null", O_WRONLY, 0))
		return -1;
	return posix_spawnp(pid, command[0], &actions, NULL, command, environ);
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	double busy, begin, wall, user, system, others;
	struct rusage usage;
	pid_t pid;
	int status, error;

	if (argc < 2)
		return 1;
	busy = machine_busy();
	begin = now();
	error = start(&pid, argv + 1);
	if (error) {
		fprintf(stderr, "sample: %s: %s\n", argv[1], strerror(error));
		return 1;
	}
	if (wait4(pid, &status, 0, &usage) < 0)
		return 1;
	wall = now() - begin;
	user = seconds(usage.ru_utime);
	system = seconds(usage.ru_stime);
	others = machine_busy() - busy - user - system;
	printf("%.6f %.6f %.6f %ld %.2f %d\n", wall, user, system,
	       usage.ru_maxrss, others > 0 ? others : 0, exit_status(status));
	return 0;
}
