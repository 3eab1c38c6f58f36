/* SPDX-License-Identifier: BSD-3-Clause */
#define NBDKIT_API_VERSION 2

#include "nbd/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <nbdkit-plugin.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MAX_SECRETS = 16,
	MAX_SECRET = 1 << 20, /* bytes */
};

enum setting_kind {
	SETTING_TEXT,	/* char * */
	SETTING_PATH,	/* char *, absolute: nbdkit leaves the folder */
	SETTING_FLAG,	/* bool */
	SETTING_CACHE,	/* enum gild_cache */
	SETTING_SECRET, /* what nbdkit_read_password takes */
	SETTING_FILE,	/* name of a file with a secret */
};

static struct {
	char *path, *format, *snapshot, *below, *backing_format;
	bool untrusted, stored_names, share;
	enum gild_cache cache;
	char *texts[MAX_SECRETS]; /* secrets */
	struct gild_secret secrets[MAX_SECRETS];
	size_t secret_count;
} settings;

const char settings_help[] =
	"[file=]IMAGE             (required) the image\n"
	"format=FMT               raw, qcow2, luks; else the name decides\n"
	"snapshot=NAME            this internal snapshot, read only\n"
	"secret-file=FILE         passphrase of an encrypted image\n"
	"secret=+FILE|-FD|-       the same, by nbdkit's ways\n"
	"cache=MODE               writeback, none, writethrough ...\n"
	"share=BOOL               read also beside a writer\n"
	"allow-backing=DIR        open backing files only below DIR\n"
	"backing-format=FMT       of backing files without a recorded one\n"
	"untrusted=BOOL           open no file that the image names\n"
	"allow-stored-names=BOOL  follow json: and file: names, too";

/* A text takes the place of another; NULL is an error that was told. */
static int replace(char **to, char *text)
{
	if (!text)
		return -1;
	free(*to);
	*to = text;
	return 0;
}

static char *copy(const char *text)
{
	char *made = strdup(text);

	if (!made)
		nbdkit_error("out of memory");
	return made;
}

static int set_cache(const char *value)
{
	static const char *const names[] = {
		[GILD_CACHE_WRITEBACK] = "writeback",
		[GILD_CACHE_NONE] = "none",
		[GILD_CACHE_WRITETHROUGH] = "writethrough",
		[GILD_CACHE_DIRECTSYNC] = "directsync",
		[GILD_CACHE_UNSAFE] = "unsafe",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(names[i], value)) {
			settings.cache = (enum gild_cache)i;
			return 0;
		}
	}
	nbdkit_error("cache=%s: not writeback, none, writethrough, directsync "
		     "or unsafe",
		     value);
	return -1;
}

static int set_flag(bool *flag, const char *value)
{
	int parsed = nbdkit_parse_bool(value);

	*flag = parsed == 1;
	return parsed < 0 ? -1 : 0;
}

/* --- passphrases ------------------------------------------------------ */

/* Takes the text. */
static int add_secret(char *text, size_t length)
{
	size_t i = settings.secret_count;

	if (i == MAX_SECRETS) {
		explicit_bzero(text, length);
		free(text);
		nbdkit_error("more than %d secrets", MAX_SECRETS);
		return -1;
	}
	settings.texts[i] = text;
	settings.secrets[i] =
		(struct gild_secret){ .bytes = text, .length = length };
	settings.secret_count++;
	return 0;
}

static int read_password(const char *value)
{
	char *text;

	if (nbdkit_read_password(value, &text) < 0)
		return -1;
	return add_secret(text, strlen(text));
}

/* All bytes, but for a line break at the end; -1: errno. */
static ssize_t read_all(int fd, char *to, size_t room)
{
	size_t used = 0;
	ssize_t got;

	do {
		got = read(fd, to + used, room - used);
		if (got > 0)
			used += (size_t)got;
	} while (got > 0 && used < room);
	if (got < 0)
		return -1;
	return (ssize_t)(used && to[used - 1] == '\n' ? used - 1 : used);
}

static int read_secret_file(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	char *text = malloc(MAX_SECRET);
	ssize_t length = -1;

	if (fd >= 0 && text)
		length = read_all(fd, text, MAX_SECRET);
	if (length < 0)
		nbdkit_error("%s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (length >= 0)
		return add_secret(text, (size_t)length);
	free(text);
	return -1;
}

/* --- the table -------------------------------------------------------- */

static const struct setting {
	const char *name;
	enum setting_kind kind;
	void *to;
} table[] = {
	{ "file", SETTING_PATH, &settings.path },
	{ "format", SETTING_TEXT, &settings.format },
	{ "snapshot", SETTING_TEXT, &settings.snapshot },
	{ "secret-file", SETTING_FILE, NULL },
	{ "secret", SETTING_SECRET, NULL },
	{ "cache", SETTING_CACHE, NULL },
	{ "share", SETTING_FLAG, &settings.share },
	{ "allow-backing", SETTING_PATH, &settings.below },
	{ "backing-format", SETTING_TEXT, &settings.backing_format },
	{ "untrusted", SETTING_FLAG, &settings.untrusted },
	{ "allow-stored-names", SETTING_FLAG, &settings.stored_names },
};

/* The name of another server's disk is no path. */
static bool is_served(const char *name)
{
	return !strncmp(name, "nbd:", 4) ||
	       (!strncmp(name, "nbd", 3) && strstr(name, "://"));
}

static int set(const struct setting *setting, const char *value)
{
	switch (setting->kind) {
	case SETTING_TEXT:
		return replace(setting->to, copy(value));
	case SETTING_PATH:
		if (is_served(value))
			return replace(setting->to, copy(value));
		return replace(setting->to, nbdkit_absolute_path(value));
	case SETTING_FLAG:
		return set_flag(setting->to, value);
	case SETTING_CACHE:
		return set_cache(value);
	case SETTING_SECRET:
		return read_password(value);
	case SETTING_FILE:
		return read_secret_file(value);
	}
	return -1;
}

int settings_set(const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(table[i].name, name))
			return set(&table[i], value);
	nbdkit_error("unknown parameter '%s'", name);
	return -1;
}

const char *settings_path(void)
{
	return settings.path;
}

/* Which files the image may lead to; as gild's commands decide. */
static enum gild_follow follow(void)
{
	const char *untrusted = getenv("GILD_UNTRUSTED");

	if ((settings.untrusted ||
	     (untrusted && *untrusted && strcmp(untrusted, "0") != 0)) &&
	    !settings.below)
		return GILD_FOLLOW_NONE;
	return settings.stored_names ? GILD_FOLLOW_NAMES : GILD_FOLLOW_PATHS;
}

struct gild_open_options settings_options(void)
{
	return (struct gild_open_options){
		.format = settings.format,
		.flags = settings.share ? GILD_OPEN_SHARE : 0,
		.cache = settings.cache,
		.snapshot = settings.snapshot,
		.policy = {
			.follow = follow(),
			.below = settings.below,
			.backing_format = settings.backing_format,
			.secrets = settings.secrets,
			.secret_count = settings.secret_count,
		},
	};
}

void settings_free(void)
{
	for (size_t i = 0; i < settings.secret_count; i++) {
		explicit_bzero(settings.texts[i], settings.secrets[i].length);
		free(settings.texts[i]);
	}
	free(settings.path);
	free(settings.format);
	free(settings.snapshot);
	free(settings.below);
	free(settings.backing_format);
}
