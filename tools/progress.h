/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How progress looks. Called by one thread at a time: the watcher of
 * progress.c, and after its end the main thread.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include "tools/cli.h"

enum progress_look {
	LOOK_NONE,
	LOOK_BAR,	   /* on the terminal, by standard error */
	LOOK_PLAIN,	   /* qemu-img's lines on standard output */
	LOOK_PLAIN_STDERR, /* the same where standard output is taken */
	LOOK_JSON,	   /* on standard error */
};

struct progress_state {
	const char *what;     /* "converting" */
	double started;	      /* seconds, of the monotonic clock */
	double elapsed;	      /* seconds since then */
	uint64_t done, total; /* bytes; total 0: not known */
	bool uncounted;	      /* over, and the job told no bytes */
	bool shown;	      /* something was printed */
	unsigned shown_at;    /* in hundredths of a percent */
};

enum progress_look progress_look(enum progress_mode mode, bool keep_stdout);

/* Milliseconds from one progress_show to the next; -1: never. */
int progress_interval(enum progress_look look);

void progress_show(enum progress_look look, struct progress_state *state);

/* Somebody asked, by SIGUSR1. */
void progress_once(enum progress_look look, struct progress_state *state);

/* The job is over. */
void progress_end(enum progress_look look, struct progress_state *state,
		  bool success);

#endif
