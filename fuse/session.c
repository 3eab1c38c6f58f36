/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a mount: it is made, served by threads until it is unmounted or a
 * signal ends it, and then the image is closed. Unless in the foreground that
 * is done by a process of its own, which says through a pipe that the mount is
 * there (or why not), so that nobody waits for it by trying.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <syslog.h>
#include <unistd.h>

#include "fuse/fail.h"
#include "fuse/mount.h"
#include "fuse/operations.h"

enum {
	THREADS_MAX = 16,
};

/* --- reports ---------------------------------------------------------- */

static void report_to_terminal(const struct gild_error *err)
{
	fprintf(stderr, "gild: %s\n", err->message);
}

static void report_to_log(const struct gild_error *err)
{
	syslog(LOG_ERR, "%s", err->message);
}

/* --- the session ------------------------------------------------------ */

/* "fsname=" and the image, as it shall stand in the table of mounts; a comma
 * would end it. */
static int add_source(char *options, size_t size, const char *path)
{
	size_t used = strlen(options);

	for (; *path && used + 3 < size; path++) {
		if (*path == ',' || *path == '\\')
			options[used++] = '\\';
		options[used++] = *path;
	}
	options[used] = '\0';
	return *path ? -1 : 0;
}

static int make_options(const struct mount_request *request, const char *path,
			char *options, size_t size, struct gild_error *err)
{
	snprintf(options, size,
		 "-o%s,nosuid,nodev,default_permissions,max_read=%d%s,"
		 "subtype=gild,fsname=",
		 request->writable ? "rw" : "ro", LARGEST_REQUEST,
		 request->allow_other ? ",allow_other" : "");
	if (add_source(options, size, path) < 0)
		return fuse_fail(err, ENAMETOOLONG, "%s", path);
	return 0;
}

static struct fuse_session *
new_session(const char *options, struct mount *mount, struct gild_error *err)
{
	struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;

	if (libfuse.fuse_opt_add_arg(&arguments, "gild") == 0 &&
	    libfuse.fuse_opt_add_arg(&arguments, options) == 0)
		session = libfuse.fuse_session_new(&arguments, &operations,
						   sizeof(operations), mount);
	libfuse.fuse_opt_free_args(&arguments);
	if (!session)
		fuse_fail(err, 0, "libfuse does not start");
	return session;
}

static int serve(struct fuse_session *session)
{
	struct fuse_loop_config *config = libfuse.fuse_loop_cfg_create();
	int result;

	if (!config)
		return -ENOMEM;
	libfuse.fuse_loop_cfg_set_clone_fd(config, 1);
	libfuse.fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	libfuse.fuse_loop_cfg_set_idle_threads(config, THREADS_MAX);
	result = libfuse.fuse_session_loop_mt_312(session, config);
	libfuse.fuse_loop_cfg_destroy(config);
	return result;
}

/* --- one mount -------------------------------------------------------- */

struct life {
	struct mount mount;
	char options[PATH_MAX * 2 + 200];
	bool mounted;
};

static int look_at_image(struct mount *mount, const char *path,
			 struct gild_error *err)
{
	/* What is not a file has no times, and is ours. */
	if (stat(path, &mount->image) && errno != ENOENT)
		return fuse_fail(err, errno, "%s", path);
	/* What others may is said of groups that are not the user's, or in
	 * ACLs: then only of all others is it sure. */
	if (mount->image.st_gid != getgid() ||
	    getxattr(path, "system.posix_acl_access", NULL, 0) > 0)
		mount->image.st_mode &= ~(mode_t)S_IRWXG;
	mount->image.st_uid = getuid();
	mount->image.st_gid = getgid();
	return 0;
}

/* libfuse has told on standard error what is wrong. */
static int fail_mount(const struct mount_request *request,
		      struct gild_error *err)
{
	fuse_fail(err, 0, "%s: cannot be mounted there", request->folder);
	if (request->allow_other && geteuid() != 0)
		snprintf(err->hint, sizeof(err->hint),
			 "--allow-other needs user_allow_other in "
			 "/etc/fuse.conf");
	return -1;
}

static int open_tree(struct life *life, const struct mount_request *request,
		     struct gild_error *err)
{
	struct gild_image *image = request->open(request->opaque, err);

	if (!image)
		return -1;
	if (look_at_image(&life->mount, gild_path(image), err) < 0 ||
	    make_options(request, gild_path(image), life->options,
			 sizeof(life->options), err) < 0) {
		gild_close(image, NULL);
		return -1;
	}
	life->mount.tree = tree_new(image, request, err);
	return life->mount.tree ? 0 : -1;
}

/* Each snapshot that is looked into is a file, or several. */
static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int begin(struct life *life, const struct mount_request *request,
		 struct gild_error *err)
{
	struct mount *mount = &life->mount;

	mount->allow_other = request->allow_other;
	mount->report = report_to_terminal;
	allow_many_files();
	if (libfuse_load(err) < 0 || open_tree(life, request, err) < 0 ||
	    tree_check_folder(mount->tree, request->folder, err) < 0)
		return -1;
	mount->session = new_session(life->options, mount, err);
	if (!mount->session)
		return -1;
	mount->helpers = helpers_new();
	libfuse.fuse_set_signal_handlers(mount->session);
	if (libfuse.fuse_session_mount(mount->session, request->folder) < 0)
		return fail_mount(request, err);
	life->mounted = true;
	return 0;
}

/* The image is closed whatever happened; the first failure is told. */
static int end(struct life *life, int result, struct gild_error *err)
{
	struct mount *mount = &life->mount;

	if (life->mounted)
		libfuse.fuse_session_unmount(mount->session);
	if (mount->session) {
		libfuse.fuse_remove_signal_handlers(mount->session);
		libfuse.fuse_session_destroy(mount->session);
	}
	helpers_free(mount->helpers);
	if (tree_free(mount->tree, result < 0 ? NULL : err) < 0)
		result = -1;
	return result;
}

static int run(struct life *life, struct gild_error *err)
{
	int result = serve(life->mount.session);

	/* A signal is a way to end it. */
	return result < 0 ? fuse_fail(err, -result, "serving the mount") : 0;
}

/* --- in the background ------------------------------------------------ */

/* The begin went so. */
static void tell(int pipe, int result, const struct gild_error *err)
{
	struct gild_error told = *err;

	if (result == 0)
		told.kind = GILD_ERR_NONE;
	if (write(pipe, &told, sizeof(told)) != sizeof(told))
		_exit(1);
	close(pipe);
}

/* Nothing of the caller's terminal is held; its folder is, since the names of
 * images count from there. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

static void live(struct life *life, const struct mount_request *request,
		 int pipe)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	int result = begin(life, request, &err);

	if (result < 0) { /* the image is free when this is heard */
		end(life, result, &err);
		tell(pipe, result, &err);
		_exit(1);
	}
	tell(pipe, result, &err);
	if (result == 0) {
		detach();
		openlog("gild-mount", LOG_PID, LOG_USER);
		life->mount.report = report_to_log;
		result = run(life, &err);
	}
	result = end(life, result, &err);
	if (result < 0 && life->mounted)
		report_to_log(&err);
	_exit(result < 0);
}

/* What the process that serves has to say of its begin. */
static int hear(int pipe, struct gild_error *err)
{
	struct gild_error told;

	if (read(pipe, &told, sizeof(told)) != sizeof(told))
		return fuse_fail(err, 0,
				 "the process that serves the mount "
				 "ended at once");
	if (told.kind == GILD_ERR_NONE)
		return 0;
	*err = told;
	return -1;
}

static int in_background(struct life *life, const struct mount_request *request,
			 struct gild_error *err)
{
	int ends[2], result;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return fuse_fail(err, errno, "pipe");
	fflush(NULL);
	child = fork();
	if (child == 0) {
		close(ends[0]);
		live(life, request, ends[1]);
	}
	close(ends[1]);
	result = child < 0 ? fuse_fail(err, errno, "fork") : hear(ends[0], err);
	close(ends[0]);
	return result;
}

int mount_serve(const struct mount_request *request, struct gild_error *err)
{
	struct life life = { .mounted = false };
	int result;

	signal(SIGPIPE, SIG_IGN);
	if (!request->foreground)
		return in_background(&life, request, err);
	result = begin(&life, request, err);
	if (result == 0)
		result = run(&life, err);
	return end(&life, result, err);
}
