/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/signatures.h"

#include <stdlib.h>

#include "guest/text.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/memory.h"

enum {
	UUID_SIZE = 16
};

int signature_set(char **to, char *text, struct gild_error *err)
{
	free(*to);
	*to = text;
	return text ? 0 : fail_nomem(err);
}

static char *format_uuid(const unsigned char *b)
{
	return memory_printf("%08x-%04x-%04x-%04x-%04x%08x", load_be32(b),
			     load_be16(b + 4), load_be16(b + 6),
			     load_be16(b + 8), load_be16(b + 10),
			     load_be32(b + 12));
}

static bool is_zero(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i])
			return false;
	return true;
}

/* What the columns of the table say. */
static int fill(const struct probe *probe, const struct signature *signature,
		struct gild_content *content, struct gild_error *err)
{
	const unsigned char *label = probe->head + signature->label;
	const unsigned char *uuid = probe->head + signature->uuid;

	if (signature_set(&content->type, strdup(signature->type), err) < 0)
		return -1;
	if (signature->label && *label &&
	    signature_set(&content->label,
			  text_from_bytes(label, signature->label_size, err),
			  err) < 0)
		return -1;
	if (!signature->uuid || is_zero(uuid, UUID_SIZE))
		return 0;
	return signature_set(&content->uuid, format_uuid(uuid), err);
}

static void clear(struct gild_content *content)
{
	free(content->type);
	free(content->label);
	free(content->uuid);
	*content = (struct gild_content){ .type = NULL };
}

static int try_one(const struct probe *probe, const struct signature *signature,
		   struct gild_content *content, struct gild_error *err)
{
	int result = 1;

	if (memcmp(probe->head + signature->at, signature->mark,
		   signature->length) != 0)
		return 0;
	if (fill(probe, signature, content, err) < 0)
		return -1;
	if (signature->refine)
		result = signature->refine(probe, signature, content, err);
	if (result != 1)
		clear(content);
	return result;
}

static int try_all(const struct probe *probe, struct gild_content *content,
		   struct gild_error *err)
{
	/* What is made of several volumes goes before what is in it. */
	static const struct signature *const tables[] = { signatures_members,
							  signatures_linux,
							  signatures_foreign };

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct signature *s = tables[i]; s->type; s++) {
			int result = try_one(probe, s, content, err);

			if (result)
				return result;
		}
	}
	return 0;
}

int signatures_look(const struct volume *volume, struct gild_content *content,
		    struct gild_error *err)
{
	AUTO_FREE unsigned char *head = malloc(HEAD_SIZE);
	const struct probe probe = { volume, head };

	if (!head)
		return fail_nomem(err);
	if (volume_read(volume, head, HEAD_SIZE, 0, err) < 0)
		return -1;
	return try_all(&probe, content, err) < 0 ? -1 : 0;
}
