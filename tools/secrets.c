/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passphrases from the command line: --secret-file FILE, and qemu-img's
 * --object secret,id=ID,data=TEXT|file=FILE[,format=raw|base64].
 *
 * They are kept for the whole run, since images may be opened at any time, and
 * wiped at its end. What stood on the command line is overwritten there, so
 * that it is not shown any longer than needed.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MAX_SECRET = 1 << 20,
};

static struct gild_secret *secrets;
static size_t secret_count;

/* Bytes under construction; owned. */
struct bytes {
	char *data;
	size_t length;
};

static void bytes_free(struct bytes *bytes)
{
	if (bytes->data)
		explicit_bzero(bytes->data, bytes->length);
	free(bytes->data);
	*bytes = (struct bytes){ .length = 0 };
}

/* --- base64 --------------------------------------------------------------- */

static int digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = c ? strchr(digits, c) : NULL;

	return found ? (int)(found - digits) : -1;
}

/* In place; what it gives is shorter. Line breaks are passed over. */
static int decode_base64(struct bytes *bytes, struct gild_error *err)
{
	size_t used = 0, digits = 0, pads = 0;
	unsigned group = 0;

	for (size_t i = 0; i < bytes->length; i++) {
		char c = bytes->data[i];

		if (c == '\n' || c == '\r')
			continue;
		if (c == '=')
			pads++;
		else if (digit(c) < 0 || pads)
			return tool_fail(err, "the secret is not base64");
		group = group << 6 | (c == '=' ? 0 : (unsigned)digit(c));
		if (++digits % 4)
			continue;
		bytes->data[used++] = (char)(group >> 16);
		bytes->data[used++] = (char)(group >> 8);
		bytes->data[used++] = (char)group;
	}
	if (digits % 4 || pads > 2)
		return tool_fail(err, "the secret is not base64");
	explicit_bzero(bytes->data + used - pads, bytes->length - used + pads);
	bytes->length = used - pads;
	return 0;
}

/* --- where they come from ------------------------------------------------- */

static int read_all(int fd, const char *path, struct bytes *bytes,
		    struct gild_error *err)
{
	ssize_t n;

	for (;;) {
		n = read(fd, bytes->data + bytes->length,
			 MAX_SECRET + 1 - bytes->length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tool_fail(err, "%s: reading the secret: %s",
					 path, strerror(errno));
		bytes->length += (size_t)n;
		if (bytes->length > MAX_SECRET)
			return tool_fail(err, "%s: is too long for a secret",
					 path);
		if (n == 0)
			return 0;
	}
}

static int read_file(const char *path, struct bytes *bytes,
		     struct gild_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result;

	*bytes = (struct bytes){ .data = NULL };
	if (fd < 0)
		return tool_fail(err, "%s: reading the secret: %s", path,
				 strerror(errno));
	bytes->data = malloc(MAX_SECRET + 1);
	result = bytes->data ? read_all(fd, path, bytes, err) :
			       tool_fail(err, "out of memory");
	close(fd);
	if (result < 0)
		bytes_free(bytes);
	return result;
}

static int copy_text(const char *text, struct bytes *bytes,
		     struct gild_error *err)
{
	bytes->data = strdup(text);
	bytes->length = strlen(text);
	return bytes->data ? 0 : tool_fail(err, "out of memory");
}

/* --- keeping them --------------------------------------------------------- */

/* Takes the bytes, also on failure. id may be NULL. */
static int keep(const char *id, struct bytes *bytes, struct gild_error *err)
{
	struct gild_secret *grown =
		realloc(secrets, (secret_count + 1) * sizeof(*secrets));
	char *copy = id ? strdup(id) : NULL;

	if (grown)
		secrets = grown;
	if (!grown || (id && !copy)) {
		bytes_free(bytes);
		free(copy);
		return tool_fail(err, "out of memory");
	}
	secrets[secret_count++] = (struct gild_secret){
		.id = copy,
		.bytes = bytes->data,
		.length = bytes->length,
	};
	return 0;
}

int secrets_add_file(const char *path, struct gild_error *err)
{
	struct bytes bytes;

	if (read_file(path, &bytes, err) < 0)
		return -1;
	/* Editors end a line; nobody means that by a passphrase. */
	if (bytes.length && bytes.data[bytes.length - 1] == '\n')
		bytes.length--;
	return keep(NULL, &bytes, err);
}

/* --- objects -------------------------------------------------------------- */

static bool is_known(const char *id)
{
	for (size_t i = 0; i < secret_count; i++)
		if (secrets[i].id && !strcmp(secrets[i].id, id))
			return true;
	return false;
}

/* What is not understood may be a secret, or, behind a comma, a part of one: it
 * is not shown. */
static int fail_part(struct gild_error *err)
{
	tool_misuse(err, "--object secret takes id, data, file and format, and "
			 "something else is there");
	tool_hint(err, "a comma that is part of a value is written twice");
	return -1;
}

static int check_names(const struct option_list *list, struct gild_error *err)
{
	static const char *const known[] = { "id", "data", "file", "format" };

	for (size_t i = 1; i < list->count; i++) {
		const char *name = list->items[i].name;
		bool found = false;

		for (size_t j = 0; j < 4; j++)
			found = found || !strcmp(name, known[j]);
		if (!found)
			return fail_part(err);
	}
	return list->help ? fail_part(err) : 0;
}

/* "secret,..." or "qom-type=secret,..." with an id of its own. */
static int check_object(const struct option_list *list, struct gild_error *err)
{
	const char *id = option_list_get(list, "id");
	const struct gild_option *first = list->items;

	if (!list->count ||
	    strcmp(strcmp(first->name, "qom-type") ? first->name : first->value,
		   "secret") != 0)
		return tool_misuse(err,
				   "--object takes secret,id=ID,file=FILE");
	if (check_names(list, err) < 0)
		return -1;
	if (!id || !*id)
		return tool_misuse(err, "--object secret: an id is missing");
	if (is_known(id))
		return tool_misuse(
			err, "--object secret: the id '%s' is there twice", id);
	return 0;
}

static int fill_object(const struct option_list *list, struct bytes *bytes,
		       struct gild_error *err)
{
	const char *data = option_list_get(list, "data");
	const char *file = option_list_get(list, "file");
	const char *format = option_list_get(list, "format");
	bool base64 = format && !strcmp(format, "base64");
	int result;

	if (!data == !file)
		return tool_misuse(err, "--object secret takes either data or "
					"file");
	if (format && !base64 && strcmp(format, "raw") != 0)
		return tool_misuse(err,
				   "--object secret: format is raw or base64, "
				   "and something else is there");
	result = data ? copy_text(data, bytes, err) :
			read_file(file, bytes, err);
	if (result < 0 || !base64)
		return result;
	result = decode_base64(bytes, err);
	if (result < 0)
		bytes_free(bytes);
	return result;
}

/* What stands behind "data=" in the arguments that ps shows. */
static void hide(char *text)
{
	char *data = strstr(text, "data=");

	if (data)
		memset(data + 5, '*', strlen(data + 5));
}

int secrets_add_object(char *text, struct gild_error *err)
{
	struct option_list list = { .count = 0 };
	struct bytes bytes = { .length = 0 };
	size_t length = strlen(text);
	int result = -1;

	if (option_list_add(&list, text, err) < 0) {
		if (err->kind != GILD_ERR_NOMEM)
			fail_part(err);
	} else if (check_object(&list, err) == 0 &&
		   fill_object(&list, &bytes, err) == 0) {
		result = keep(option_list_get(&list, "id"), &bytes, err);
	}
	if (list.text_count)
		explicit_bzero(list.texts[0], length);
	option_list_free(&list);
	hide(text);
	return result;
}

void secrets_give(struct gild_policy *policy)
{
	policy->secrets = secrets;
	policy->secret_count = secret_count;
}

void secrets_wipe(void)
{
	while (secret_count) {
		struct gild_secret *last = &secrets[--secret_count];
		struct bytes bytes = { (char *)(uintptr_t)last->bytes,
				       last->length };

		bytes_free(&bytes);
		free((char *)(uintptr_t)last->id);
	}
	free(secrets);
	secrets = NULL;
}
