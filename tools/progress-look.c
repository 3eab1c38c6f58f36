/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How progress looks: a bar for people, "    (45.34/100%)" and a carriage
 * return for scripts that parse qemu-img's, one JSON object a line for those
 * that need not.
 */
#include "tools/progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	BAR_INTERVAL = 100, /* milliseconds */
	PLAIN_INTERVAL = 200,
	JSON_INTERVAL = 250,
	BAR_WIDTH_MAX = 40,
	WHOLE = 10000, /* in hundredths of a percent */
};

enum progress_look progress_look(enum progress_mode mode, bool keep_stdout)
{
	bool terminal = isatty(STDERR_FILENO) &&
			(keep_stdout || isatty(STDOUT_FILENO));

	if (mode == PROGRESS_JSON)
		return LOOK_JSON;
	if (mode == PROGRESS_NONE)
		return LOOK_NONE;
	if (terminal && !is_qemu_img())
		return LOOK_BAR;
	return keep_stdout ? LOOK_PLAIN_STDERR : LOOK_PLAIN;
}

int progress_interval(enum progress_look look)
{
	switch (look) {
	case LOOK_BAR:
		return BAR_INTERVAL;
	case LOOK_PLAIN:
	case LOOK_PLAIN_STDERR:
		return PLAIN_INTERVAL;
	case LOOK_JSON:
		return JSON_INTERVAL;
	case LOOK_NONE:
		break;
	}
	return -1;
}

/* Hundredths of a percent; 0 where the total is not known. */
static unsigned part(const struct progress_state *state)
{
	double share;

	if (!state->total)
		return 0;
	share = (double)state->done / (double)state->total;
	return share >= 1 ? WHOLE : (unsigned)(share * WHOLE);
}

static double rate(const struct progress_state *state)
{
	return state->elapsed > 0 ? (double)state->done / state->elapsed : 0;
}

static void print_plain(FILE *to, const struct progress_state *state, char end)
{
	unsigned hundredths = part(state);

	fprintf(to, "    (%u.%02u/100%%)%c", hundredths / 100, hundredths % 100,
		end);
	fflush(to);
}

static void print_json_line(const struct progress_state *state,
			    const char *what)
{
	char size[24] = "null";

	if (state->total)
		snprintf(size, sizeof(size), "%" PRIu64, state->total);
	fprintf(stderr,
		"{\"transferred\": %" PRIu64 ", \"size\": %s, \"elapsed\": "
		"%.3f, \"rate\": %.0f, \"description\": \"%s\"}\n",
		state->done, size, state->elapsed, rate(state), what);
}

/* "1:02:03" or "0:03". Returns text. */
static char *clock_text(double seconds, char text[static 32])
{
	unsigned long s = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;

	if (s >= 3600)
		snprintf(text, 32, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60,
			 s % 60);
	else
		snprintf(text, 32, "%lu:%02lu", s / 60, s % 60);
	return text;
}

static unsigned terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return 80;
	return size.ws_col;
}

/* "[=====>    ]" in width columns; returns its length. */
static int bar_text(char *text, unsigned width, unsigned hundredths)
{
	unsigned inner = width - 2, filled = inner * hundredths / WHOLE;

	text[0] = '[';
	memset(text + 1, ' ', inner);
	memset(text + 1, '=', filled);
	if (filled < inner)
		text[1 + filled] = '>';
	text[1 + inner] = ']';
	text[2 + inner] = '\0';
	return (int)width;
}

/* What stands behind the bar: amounts, rate, time. */
static int tail_text(char *text, size_t size,
		     const struct progress_state *state, bool over)
{
	double left = rate(state) > 0 ? (double)(state->total - state->done) /
						rate(state) :
					0;
	char done[32], speed[32], time[32];
	bool known = state->total && state->done <= state->total;

	human_size(state->done, done);
	human_size((uint64_t)rate(state), speed);
	if (state->uncounted)
		return snprintf(text, size, " %s",
				clock_text(state->elapsed, time));
	if (over || !known)
		return snprintf(text, size, " %s  %s/s  %s", done, speed,
				clock_text(state->elapsed, time));
	return snprintf(text, size, " %s  %s/s  %s left", done, speed,
			clock_text(left, time));
}

static void print_bar(struct progress_state *state, bool over)
{
	unsigned width = terminal_width(), hundredths = part(state);
	char line[320] = "", tail[160], bar[BAR_WIDTH_MAX + 1] = "";
	int room;

	tail_text(tail, sizeof(tail), state, over);
	room = (int)width - 1 - (int)strlen(state->what) - 9 -
	       (int)strlen(tail);
	if (room > BAR_WIDTH_MAX)
		room = BAR_WIDTH_MAX;
	if (state->total && room >= 10)
		bar_text(bar, (unsigned)room, hundredths);
	if (state->total)
		snprintf(line, sizeof(line), "%s %5.1f %% %s%s", state->what,
			 hundredths / 100.0, bar, tail);
	else
		snprintf(line, sizeof(line), "%s%s", state->what, tail);
	/* Never wider than the terminal, or it would not be overwritten. */
	fprintf(stderr, "\r%.*s\033[K", (int)width - 1, line);
	fflush(stderr);
}

void progress_show(enum progress_look look, struct progress_state *state)
{
	FILE *to = look == LOOK_PLAIN ? stdout : stderr;

	if (look == LOOK_BAR) {
		print_bar(state, false);
	} else if (look == LOOK_JSON) {
		print_json_line(state, state->what);
	} else if (!state->shown || part(state) != state->shown_at) {
		print_plain(to, state, '\r');
		state->shown_at = part(state);
	}
	state->shown = true;
}

void progress_once(enum progress_look look, struct progress_state *state)
{
	if (look == LOOK_JSON)
		print_json_line(state, state->what);
	else if (look == LOOK_BAR)
		print_bar(state, false);
	else
		print_plain(stderr, state, '\n');
}

void progress_end(enum progress_look look, struct progress_state *state,
		  bool success)
{
	FILE *to = look == LOOK_PLAIN ? stdout : stderr;

	if (look == LOOK_NONE)
		return;
	state->uncounted = !state->total && !state->done;
	if (success && !state->total)
		state->total = state->done ? state->done : 1;
	if (success)
		state->done = state->total;
	if (look == LOOK_JSON) {
		print_json_line(state, success ? "finished" : "failed");
		return;
	}
	if (look == LOOK_BAR && (success || state->shown))
		print_bar(state, true);
	else if (look != LOOK_BAR && success)
		print_plain(to, state, '\r');
	if (success || state->shown)
		putc('\n', to);
	fflush(to);
}
