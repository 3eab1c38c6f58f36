/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild serve: an image as an NBD export. nbdkit does that, with gild's plugin
 * (nbd/); this finds both, says it in their words, and becomes nbdkit.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct arguments {
	struct open_arguments open;
	const char *socket, *port, *listen, *certificates, *cache;
	bool rw, quiet;
};

static const struct option_row rows[] = {
	FLAG_ROW(0, "rw", struct arguments, rw,
		 "clients may write (otherwise they read)"),
	STRING_ROW(0, "socket", "PATH", struct arguments, socket,
		   "listen on this Unix socket"),
	STRING_ROW(0, "port", "N", struct arguments, port,
		   "listen on this TCP port"),
	STRING_ROW(0, "listen", "ADDRESS", struct arguments, listen,
		   "of this address (otherwise 127.0.0.1)"),
	STRING_ROW(0, "tls-certificates", "DIR", struct arguments, certificates,
		   "demand TLS, with the certificates in DIR"),
	SNAPSHOT_ROW(0, struct arguments, open),
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "raw, qcow2, luks (otherwise the name decides)"),
	DOOR_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	STRING_ROW('t', "cache", "MODE", struct arguments, cache,
		   "how the host caches: writeback, none ..."),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* --- nbdkit's command line -------------------------------------------- */

struct command {
	char *items[64]; /* NULL at the end */
	size_t count;
	bool failed; /* out of memory, or too many */
};

static void add(struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void add(struct command *command, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (!text || command->count + 1 ==
			     sizeof(command->items) / sizeof(*command->items)) {
		free(text);
		command->failed = true;
		return;
	}
	command->items[command->count++] = text;
}

static void command_free(struct command *command)
{
	for (size_t i = 0; i < command->count; i++)
		free(command->items[i]);
}

static void add_setting(struct command *command, const char *name,
			const char *value)
{
	if (value)
		add(command, "%s=%s", name, value);
}

static void add_flag(struct command *command, const char *name, bool set)
{
	if (set)
		add(command, "%s=yes", name);
}

/* Beside the program in the build tree, or as "make install" puts it in a
 * prefix; else nbdkit knows where it is. */
static void add_plugin(struct command *command)
{
	static const char *const places[] = { "", "/../lib/nbdkit/plugins" };
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *plugin;

	path[length < 0 ? 0 : length] = '\0';
	if (strrchr(path, '/'))
		*strrchr(path, '/') = '\0';
	for (size_t i = 0; length > 0 && i < 2; i++) {
		if (asprintf(&plugin, "%s%s/nbdkit-gild-plugin.so", path,
			     places[i]) < 0)
			continue;
		if (!access(plugin, R_OK)) {
			add(command, "%s", plugin);
			free(plugin);
			return;
		}
		free(plugin);
	}
	add(command, "gild");
}

/* Passphrases go on in memory: a file without a name. */
static int add_secrets(struct command *command,
		       const struct gild_policy *policy, struct gild_error *err)
{
	for (size_t i = 0; i < policy->secret_count; i++) {
		const struct gild_secret *secret = &policy->secrets[i];
		int fd = memfd_create("secret", 0);
		ssize_t put;

		if (fd < 0)
			return tool_fail(err, "memfd_create: %s",
					 strerror(errno));
		put = write(fd, secret->bytes, secret->length);
		/* Its last line break would be taken off. */
		if (put < 0 || (size_t)put != secret->length ||
		    write(fd, "\n", 1) != 1)
			return tool_fail(err, "cannot hand a secret on");
		add(command, "secret-file=/dev/fd/%d", fd);
	}
	return 0;
}

static void add_place(struct command *command,
		      const struct arguments *arguments)
{
	if (arguments->socket) {
		add(command, "-U");
		add(command, "%s", arguments->socket);
	} else {
		add(command, "-i");
		add(command, "%s",
		    arguments->listen ? arguments->listen : "127.0.0.1");
		add(command, "-p");
		add(command, "%s", arguments->port);
	}
	if (!arguments->certificates)
		return;
	add(command, "--tls=require");
	add(command, "--tls-certificates=%s", arguments->certificates);
}

static int build(struct command *command, const struct arguments *arguments,
		 const struct operands *operands, struct gild_error *err)
{
	struct gild_policy policy = open_policy(&arguments->open);

	add(command, "nbdkit");
	add(command, "-f");
	if (!arguments->rw)
		add(command, "-r");
	add_place(command, arguments);
	add_plugin(command);
	add(command, "file=%s", operands->items[0]);
	add_setting(command, "format", arguments->open.format);
	add_setting(command, "snapshot", arguments->open.snapshot);
	add_setting(command, "backing-format", policy.backing_format);
	add_setting(command, "allow-backing", policy.below);
	add_flag(command, "untrusted", policy.follow == GILD_FOLLOW_NONE);
	add_flag(command, "allow-stored-names",
		 policy.follow == GILD_FOLLOW_NAMES);
	add_flag(command, "share", arguments->open.share);
	add_setting(command, "cache", arguments->cache);
	if (add_secrets(command, &policy, err) < 0)
		return -1;
	for (int i = 1; i < operands->count; i++)
		add(command, "%s", operands->items[i]);
	return command->failed ? tool_fail(err, "too many arguments") : 0;
}

/* --- the socket ------------------------------------------------------- */

/* One that a server left behind, to which nobody listens, is in the way. */
static void remove_stale(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (lstat(path, &st) || !S_ISSOCK(st.st_mode) ||
	    strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static void say_uri(const struct arguments *arguments)
{
	const char *tls = arguments->certificates ? "s" : "";

	if (arguments->socket)
		printf("nbd%s+unix:///?socket=%s\n", tls, arguments->socket);
	else
		printf("nbd%s://%s:%s/\n", tls,
		       arguments->listen ? arguments->listen : "127.0.0.1",
		       arguments->port);
}

/* ------------------------------------------------------------------------- */

static int check_arguments(const struct arguments *arguments,
			   const struct operands *operands,
			   struct gild_error *err)
{
	if (operands->count < 1)
		return tool_misuse(err, "the name of an image is needed");
	if (!arguments->socket == !arguments->port)
		return tool_misuse(err, "one of --socket and --port is needed");
	if (arguments->socket && arguments->listen)
		return tool_misuse(err, "--listen goes with --port");
	if (arguments->rw && arguments->open.share)
		return tool_misuse(err, "-U is for reading only");
	if (arguments->rw && arguments->open.snapshot)
		return tool_misuse(err, "a snapshot cannot be written");
	return 0;
}

/* Better said now than to each client. */
static int check_writable(const struct arguments *arguments, const char *path,
			  struct gild_error *err)
{
	struct gild_image *image =
		open_image(&arguments->open, path, GILD_OPEN_WRITE, err);

	return image ? gild_close(image, err) : -1;
}

static int serve(const struct arguments *arguments,
		 const struct operands *operands, struct gild_error *err)
{
	struct command command = { .count = 0 };

	if (arguments->rw &&
	    check_writable(arguments, operands->items[0], err) < 0)
		return -1;
	if (build(&command, arguments, operands, err) < 0) {
		command_free(&command);
		return -1;
	}
	if (arguments->socket)
		remove_stale(arguments->socket);
	if (!arguments->quiet) {
		say_uri(arguments);
		if (finish_output(err) < 0) {
			command_free(&command);
			return -1;
		}
	}
	execvp(command.items[0], command.items);
	tool_fail(err, "nbdkit: %s", strerror(errno));
	if (errno == ENOENT)
		tool_hint(err, "it comes with the package nbdkit");
	command_free(&command);
	return -1;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .rw = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (check_arguments(&arguments, &operands, err) < 0)
		return 1;
	return serve(&arguments, &operands, err) < 0;
}

const struct verb verb_serve = {
	.name = "serve",
	.summary = "let others read an image, or write it, over NBD",
	.operands = "FILE [NBDKIT-ARGUMENT...]",
	.details = "Runs nbdkit with gild's plugin, until it is stopped. What "
		   "follows FILE is\nnbdkit's: after --, its options and those "
		   "of its filters.\n",
	.example = "  gild serve --socket /tmp/disk.sock disk.qcow2\n",
	.rows = rows,
	.run = run,
};
