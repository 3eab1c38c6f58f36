/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfuse, loaded when something is mounted and not before: all other commands
 * start without it. What is used of it is listed here.
 */
#ifndef FUSE_LIBFUSE_H
#define FUSE_LIBFUSE_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "gild.h"

#define LIBFUSE_FUNCTIONS(X)              \
	X(fuse_add_direntry)              \
	X(fuse_buf_copy)                  \
	X(fuse_loop_cfg_create)           \
	X(fuse_loop_cfg_destroy)          \
	X(fuse_loop_cfg_set_clone_fd)     \
	X(fuse_loop_cfg_set_idle_threads) \
	X(fuse_loop_cfg_set_max_threads)  \
	X(fuse_opt_add_arg)               \
	X(fuse_opt_free_args)             \
	X(fuse_remove_signal_handlers)    \
	X(fuse_reply_attr)                \
	X(fuse_reply_buf)                 \
	X(fuse_reply_data)                \
	X(fuse_reply_entry)               \
	X(fuse_reply_err)                 \
	X(fuse_reply_lseek)               \
	X(fuse_reply_none)                \
	X(fuse_reply_open)                \
	X(fuse_reply_readlink)            \
	X(fuse_reply_statfs)              \
	X(fuse_reply_write)               \
	X(fuse_req_userdata)              \
	X(fuse_session_destroy)           \
	X(fuse_session_exit)              \
	X(fuse_session_mount)             \
	X(fuse_session_new)               \
	X(fuse_session_unmount)           \
	X(fuse_set_signal_handlers)

struct libfuse {
#define X(name) __typeof__(name) *name;
	LIBFUSE_FUNCTIONS(X)
#undef X
	int (*fuse_session_loop_mt_312)(struct fuse_session *session,
					struct fuse_loop_config *config);
};

/* Filled by libfuse_load, constant afterwards. */
extern struct libfuse libfuse;

/* Load it, once. Errors name the package. */
int libfuse_load(struct gild_error *err);

#endif
